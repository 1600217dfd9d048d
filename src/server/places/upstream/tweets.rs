//! Posts on X near the point, of the last seven days.
//!
//! `GET /2/tweets/search/recent` with `point_radius:[LON LAT RADIUSkm]` and a bearer token; the list is
//! `data`, and an answer without any post has none. The service's limits: accounts below a certain
//! level get 400 or 403 for `point_radius`; its radius is below 25 miles; `max_results` is 10 to 100, so
//! it is 20 here and a smaller bound is cut afterwards; few posts carry a place, and reposts never
//! match. Source: the X API's references of recent search and of its operators.

use super::{Question, RESULTS_MAX, Secret, Server, path, write_get};
use crate::wire::http::HttpError;
use crate::wire::http::request::percent_encode;

const PATH: &str = "/2/tweets/search/recent";

/// The greatest radius asked for, also in place of greater ones: the last whole kilometre below the
/// service's 25 miles (40.23 km).
pub const RADIUS_MAX_METRES: f64 = 40_000.0;

/// The least radius asked for, in place of 0: the service documents none.
const RADIUS_LEAST_METRES: f64 = 1.0;

/// The fields of a post that are asked for; without them there are only its number and its text.
const POST_FIELDS: &str = "created_at,geo";

/// Appends the request.
pub fn build(
    out: &mut Vec<u8>,
    server: Server<'_>,
    question: &Question,
    key: Option<&Secret>,
) -> Result<(), HttpError> {
    let Question { latitude, longitude, .. } = question;
    let radius_km = question.metres_within(RADIUS_LEAST_METRES, RADIUS_MAX_METRES) / 1000.0;
    let query = format!("point_radius:[{longitude} {latitude} {radius_km}km]");
    let mut target = format!(
        "{}?max_results={RESULTS_MAX}&tweet.fields={POST_FIELDS}&query=",
        path(server.prefix, PATH)
    );
    percent_encode(&mut target, query.as_bytes());
    let bearer = key.map(|key| format!("Bearer {}", key.expose()));
    let headers: Vec<_> = bearer.iter().map(|value| ("Authorization", value.as_str())).collect();
    write_get(out, server, &target, &headers)
}

/// What a status other than 200 means.
pub fn meaning(status: u16) -> Option<&'static str> {
    match status {
        400 => Some("the query is not valid, or the account's level has no point_radius"),
        401 => Some("the bearer token is not valid"),
        403 => Some("the account's level does not include this search"),
        429 => Some("too many requests"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Upstream::Tweets;
    use super::super::tests::{built, key, received, shown};
    use crate::wire::http::server::query_pairs;

    const ANSWER: &str = r#"{"data":[{"edit_history_tweet_ids":["2"],"text":"Go Bruins]\n\n!","id":"2","geo":{"place_id":"3b77caf94bfc81fe"}},{"id":"1","text":"x"}],"meta":{"newest_id":"2","oldest_id":"1","result_count":2}}"#;

    fn query(radius_metres: &str) -> String {
        let (_, mut pairs) = query_pairs(&received(&built(Tweets, radius_metres, None)).target);
        pairs.pop().unwrap().1
    }

    #[test]
    fn the_query_puts_longitude_first_and_the_token_in_a_header() {
        let text = built(Tweets, "10000", Some(&key()));
        assert!(text.starts_with("GET /2/tweets/search/recent?max_results=20&"), "{text}");
        assert!(text.contains("\r\nHost: api.x.com\r\n"), "{text}");
        assert!(text.contains("\r\nAuthorization: Bearer AI+za/Sy%key=\r\n"), "{text}");
        let (_, pairs) = query_pairs(&received(&text).target);
        let expected = [
            ("max_results", "20"),
            ("tweet.fields", "created_at,geo"),
            ("query", "point_radius:[-118.445127 34.068930 10km]"),
        ];
        assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert!(!built(Tweets, "10000", None).contains("Authorization"));
    }

    #[test]
    fn the_radius_is_brought_within_the_limits() {
        for (metres, expected) in [
            ("0", "0.001km"),
            ("0.001", "0.001km"),
            ("1500", "1.5km"),
            ("12345.678", "12.345678km"),
            ("40000", "40km"),
            ("40000.001", "40km"),
            ("50000", "40km"),
        ] {
            assert_eq!(query(metres), format!("point_radius:[-118.445127 34.068930 {expected}]"));
        }
    }

    #[test]
    fn the_list_is_data() {
        let expected = ANSWER.replace(",{\"id\":\"1\",\"text\":\"x\"}", "");
        assert_eq!(shown(Tweets, ANSWER, 1), expected);
        let nothing = r#"{"meta":{"result_count":0}}"#;
        assert_eq!(shown(Tweets, nothing, 1), nothing);
    }
}
