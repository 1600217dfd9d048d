//! Google Places, Nearby Search (New): what projects use that can no longer enable the older one.
//!
//! `POST /v1/places:searchNearby`, the question as JSON, key and wanted fields in headers; the list is
//! `places`, and an answer without any place has none. `maxResultCount` is 1 to 20, so a WHATSAT with
//! bound 0 asks like any other and its list is cut to nothing here. The radius is above 0 up to
//! 50,000 m: one below 1 m is asked as 1 m. Unlike the older service it answers errors with an HTTP
//! status, a wrong key with 400. Source: the reference of `places.searchNearby`.

use super::{Question, RESULTS_MAX, Secret, Server, path};
use crate::wire::http::HttpError;
use crate::wire::http::request::{Request, write_request};

const PATH: &str = "/v1/places:searchNearby";

/// The fields of a place that are asked for; without a mask the service refuses. They match what the
/// older service says of a place, and each further one can make a request dearer.
const FIELD_MASK: &str =
    "places.id,places.displayName,places.formattedAddress,places.location,places.types";

/// The least radius asked for, since the service takes none of 0.
const RADIUS_LEAST_METRES: f64 = 1.0;

/// The greatest radius that the service takes.
const RADIUS_MAX_METRES: f64 = 50_000.0;

/// Appends the request.
pub fn build(
    out: &mut Vec<u8>,
    server: Server<'_>,
    question: &Question,
    key: Option<&Secret>,
) -> Result<(), HttpError> {
    let Question { latitude, longitude, .. } = question;
    let radius = question.metres_within(RADIUS_LEAST_METRES, RADIUS_MAX_METRES);
    let circle = format!(
        r#"{{"center":{{"latitude":{latitude},"longitude":{longitude}}},"radius":{radius}}}"#
    );
    let body = format!(
        r#"{{"maxResultCount":{RESULTS_MAX},"locationRestriction":{{"circle":{circle}}}}}"#
    );
    let mut headers = vec![("Content-Type", "application/json"), ("X-Goog-FieldMask", FIELD_MASK)];
    if let Some(key) = key {
        headers.push(("X-Goog-Api-Key", key.expose()));
    }
    write_request(
        out,
        &Request {
            method: "POST",
            host: server.host_field,
            target: &path(server.prefix, PATH),
            headers: &headers,
            body: Some(body.as_bytes()),
        },
    )
}

/// What a status other than 200 means.
pub fn meaning(status: u16) -> Option<&'static str> {
    match status {
        400 => Some("the request or the key is not valid"),
        401 | 403 => Some("the key may not use this service"),
        429 => Some("too many requests"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::Upstream::GoogleNew;
    use super::super::tests::{built, key, received, shown};

    const ANSWER: &str = r#"{
  "places": [
    {
      "id": "ChIJL9-0GAO8woAR",
      "types": [
        "university"
      ],
      "formattedAddress": "Los Angeles, CA 90095, USA",
      "location": {
        "latitude": 34.068921,
        "longitude": -118.4451811
      },
      "displayName": {
        "text": "University of California, Los Angeles",
        "languageCode": "en"
      }
    },
    {
      "id": "ChIJx"
    }
  ]
}
"#;

    fn body(radius_metres: &str) -> Value {
        let text = built(GoogleNew, radius_metres, None);
        serde_json::from_slice(&received(&text).body).unwrap()
    }

    #[test]
    fn the_question_is_json_and_the_key_a_header() {
        let text = built(GoogleNew, "10000", Some(&key()));
        assert!(text.starts_with("POST /v1/places:searchNearby HTTP/1.1\r\n"), "{text}");
        for field in [
            "Host: places.googleapis.com",
            "Content-Type: application/json",
            "X-Goog-Api-Key: AI+za/Sy%key=",
            "X-Goog-FieldMask: places.id,",
        ] {
            assert!(text.contains(&format!("\r\n{field}")), "{text}");
        }
        assert!(!built(GoogleNew, "10000", None).contains("X-Goog-Api-Key"));
    }

    #[test]
    fn the_body_asks_for_the_greatest_bound_within_the_circle() {
        let expected = json!({
            "maxResultCount": 20,
            "locationRestriction": { "circle": {
                "center": { "latitude": 34.06893, "longitude": -118.445_127 },
                "radius": 10000,
            }},
        });
        assert_eq!(body("10000"), expected);
    }

    #[test]
    fn the_radius_is_brought_within_the_limits() {
        let radius = |metres| body(metres)["locationRestriction"]["circle"]["radius"].as_f64();
        assert_eq!(radius("0"), Some(1.0));
        assert_eq!(radius("0.5"), Some(1.0));
        assert_eq!(radius("1234.567"), Some(1234.567));
        assert_eq!(radius("50000"), Some(50_000.0));
    }

    #[test]
    fn the_list_is_places() {
        let cut = shown(GoogleNew, ANSWER, 1);
        let expected = ANSWER.replace(",\n    {\n      \"id\": \"ChIJx\"\n    }", "");
        assert_eq!(cut, expected.trim_end());
        assert_eq!(shown(GoogleNew, ANSWER, 0), "{\n  \"places\": []\n}");
        assert_eq!(shown(GoogleNew, "{}\n", 5), "{}");
    }
}
