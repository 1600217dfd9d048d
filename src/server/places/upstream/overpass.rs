//! OpenStreetMap through the Overpass API: no key, no account, named amenities around the point.
//!
//! `GET /api/interpreter?data=QUERY`, the query in Overpass QL; the list is `elements`. It gives the
//! elements in the order of their kinds and numbers, not by distance or fame. The public servers ask
//! callers to name themselves (the request's `User-Agent`), to be few, and to wait after a 429; a
//! query that runs out of its time is answered 200 with a `remark` beside what was found, or 504.
//! Source: the OpenStreetMap wiki's "Overpass QL" and the rules of overpass-api.de.

use super::{Question, RESULTS_MAX, Server, write_get};
use crate::wire::http::HttpError;
use crate::wire::http::request::percent_encode;

const PATH: &str = "/api/interpreter";

/// How an address ends that was given with its path. What stands before it differs from server to server
/// (`/api`, `/oapi`, `/cgi`).
const INTERPRETER: &str = "/interpreter";

/// How long the server may work at it, in seconds. Longer than a client waits would be wasted; the
/// server also reckons its load by it, and lets short ones in sooner.
const TIMEOUT_S: u32 = 10;

/// Appends the request.
pub fn build(out: &mut Vec<u8>, server: Server<'_>, question: &Question) -> Result<(), HttpError> {
    let Question { latitude, longitude, radius_metres } = question;
    // A place may be drawn as a node, a way or a relation: `nwr` is all three, and `center` gives the
    // latter two a point.
    let query = format!(
        "[out:json][timeout:{TIMEOUT_S}];\
         nwr(around:{radius_metres},{latitude},{longitude})[amenity][name];\
         out center {RESULTS_MAX};"
    );
    let own = if server.prefix.ends_with(INTERPRETER) { "" } else { PATH };
    let mut target = format!("{}{own}?data=", server.prefix);
    percent_encode(&mut target, query.as_bytes());
    write_get(out, server, &target, &[])
}

/// What a status other than 200 means.
pub fn meaning(status: u16) -> Option<&'static str> {
    match status {
        400 => Some("the query is not valid"),
        406 => Some("the server does not take this program's User-Agent"),
        429 => Some("too many requests"),
        504 => Some("the server is too busy"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Upstream::Overpass;
    use super::super::tests::{built, key, received, shown};
    use crate::wire::http::server::query_pairs;

    const ANSWER: &str = r#"{
  "version": 0.6,
  "generator": "Overpass API 0.7.62.4 2c8e5a5d",
  "osm3s": {
    "timestamp_osm_base": "2025-01-01T00:00:00Z"
  },
  "elements": [

{
  "type": "node",
  "id": 1,
  "lat": 34.0653471,
  "lon": -118.4440302,
  "tags": {
    "amenity": "cafe",
    "name": "Kerckhoff"
  }
},
{
  "type": "way",
  "id": 2,
  "center": {
    "lat": 34.0721,
    "lon": -118.4419
  },
  "tags": {
    "amenity": "library",
    "name": "Powell"
  }
}

  ]
}
"#;

    #[test]
    fn the_query_is_encoded_and_decodes_to_the_letter() {
        let text = built(Overpass, "10000", None);
        assert!(text.starts_with("GET /api/interpreter?data=%5Bout%3Ajson%5D%5Btimeout"), "{text}");
        assert!(text.contains("\r\nHost: overpass-api.de\r\nUser-Agent: herd/"), "{text}");
        let (path, pairs) = query_pairs(&received(&text).target);
        let query = "[out:json][timeout:10];\
                     nwr(around:10000,34.068930,-118.445127)[amenity][name];\
                     out center 20;";
        assert_eq!(
            (path.as_str(), pairs),
            ("/api/interpreter", vec![("data".into(), query.into())])
        );
    }

    #[test]
    fn a_key_is_not_sent() {
        assert!(!Overpass.needs_key());
        assert_eq!(built(Overpass, "1", Some(&key())), built(Overpass, "1", None));
    }

    #[test]
    fn the_list_is_elements_and_its_empty_lines_go() {
        let first = ANSWER.find(",\n{\n  \"type\": \"way\"").unwrap();
        let expected = format!("{}\n  ]\n}}", &ANSWER[..first]).replace("\n\n", "\n");
        assert_eq!(shown(Overpass, ANSWER, 1), expected);
        assert_eq!(shown(Overpass, ANSWER, 2), ANSWER.replace("\n\n", "\n").trim_end());
    }
}
