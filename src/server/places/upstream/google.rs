//! Google Places, Nearby Search (Legacy): the default, and the interface of the stand-in.
//!
//! `GET /maps/api/place/nearbysearch/json?location=LAT,LON&radius=METRES&key=KEY`; the list is
//! `results`. Google needs a radius, and lessens one above 50,000 m by itself. It documents no least
//! one, so 0 is asked as it is. It answers 200 with a `status` of its own to nearly everything, also
//! to a wrong key or a spent quota, and then that JSON is what the client gets. Source: the "Nearby
//! Search (Legacy)" page of the Places API's documentation.

use super::{Question, Secret, Server, path, write_get};
use crate::wire::http::HttpError;
use crate::wire::http::request::percent_encode;

const PATH: &str = "/maps/api/place/nearbysearch/json";

/// Appends the request. It returns at most 20 places, whatever is asked: the greatest bound.
pub fn build(
    out: &mut Vec<u8>,
    server: Server<'_>,
    question: &Question,
    key: Option<&Secret>,
) -> Result<(), HttpError> {
    let Question { latitude, longitude, radius_metres } = question;
    let mut target = format!(
        "{}?location={latitude},{longitude}&radius={radius_metres}",
        path(server.prefix, PATH)
    );
    if let Some(key) = key {
        target.push_str("&key=");
        percent_encode(&mut target, key.expose().as_bytes());
    }
    write_get(out, server, &target, &[])
}

/// What a status other than 200 means.
pub fn meaning(status: u16) -> Option<&'static str> {
    match status {
        403 => Some("the key may not use this service"),
        429 => Some("too many requests"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Upstream::Google;
    use super::super::tests::{built, key, received, shown};
    use crate::wire::http::server::query_pairs;

    const ANSWER: &str = r#"{
   "html_attributions" : [],
   "next_page_token" : "AciIO2d",
   "results" : [
      {
         "geometry" : {
            "location" : {
               "lat" : 34.0689254,
               "lng" : -118.4451811
            }
         },
         "name" : "University of California, Los Angeles",
         "place_id" : "ChIJL9-0GAO8woAR",
         "types" : [ "university", "point_of_interest", "establishment" ],
         "vicinity" : "Los Angeles"
      },
      {
         "name" : "Westwood",
         "types" : [ "neighborhood", "political" ]
      }
   ],

   "status" : "OK"
}
"#;

    #[test]
    fn the_request_is_to_the_letter() {
        let text = built(Google, "10000", None);
        let line = "GET /maps/api/place/nearbysearch/json\
                    ?location=34.068930,-118.445127&radius=10000 HTTP/1.1\r\n\
                    Host: maps.googleapis.com\r\n";
        assert!(text.starts_with(line), "{text}");
    }

    #[test]
    fn the_key_is_encoded_and_comes_last() {
        let text = built(Google, "0", Some(&key()));
        assert!(text.contains("&radius=0&key=AI%2Bza%2FSy%25key%3D HTTP/1.1\r\n"), "{text}");
        let (path, pairs) = query_pairs(&received(&text).target);
        assert_eq!(path, "/maps/api/place/nearbysearch/json");
        assert_eq!(pairs.last().unwrap(), &("key".into(), "AI+za/Sy%key=".into()));
    }

    #[test]
    fn the_list_is_results() {
        assert_eq!(shown(Google, ANSWER, 2), ANSWER.replace("\n\n", "\n").trim_end());
        let (before, rest) =
            ANSWER.split_once(",\n      {\n         \"name\" : \"Westwood\"").unwrap();
        let (_, after) = rest.split_once("}\n   ]").unwrap();
        let expected = format!("{before}\n   ]{after}").replace("\n\n", "\n");
        assert_eq!(shown(Google, ANSWER, 1), expected.trim_end());
    }

    #[test]
    fn an_error_of_its_own_is_passed_on() {
        let denied = "{\n   \"error_message\" : \"The provided API key is invalid.\",\n   \
                      \"html_attributions\" : [],\n   \"results\" : [],\n   \
                      \"status\" : \"REQUEST_DENIED\"\n}\n";
        assert_eq!(shown(Google, denied, 5), denied.trim_end());
    }
}
