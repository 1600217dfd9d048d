//! One request for Nearby Search in, one answer in Google's legacy layout out.
//!
//! Owns which parameters are asked for, what is refused with which status, and how the JSON is laid
//! out: three spaces a level, `"key" : value`, keys in alphabetical order, short lists on one line, as
//! `maps.googleapis.com` writes it. The fields are those of Google's that a table of towns can fill
//! truthfully. Never sees a socket; the HTTPS server of `herd places` calls it once a request.
//!
//! The interface: <https://developers.google.com/maps/documentation/places/web-service/legacy/search-nearby>.

use super::gazetteer::{Gazetteer, Town};

/// The one path that is answered.
pub const PATH: &str = "/maps/api/place/nearbysearch/json";

/// Google's page holds 20 results, and further pages are not asked for by anybody here.
const RESULTS_MAX: usize = 20;

/// Google does not refuse a greater radius but takes this one instead.
const RADIUS_MAX_METRES: f64 = 50_000.0;

/// The answer to a request with the decoded parameters `query`: an HTTP status and a body of JSON.
///
/// As with Google, what is wrong with the parameters is said in the body, under status 200; only
/// another path is a 404. Any key will do, but there must be one, so that a program that forgets
/// to send its key learns so here and not on the day it meets Google.
pub fn answer(gazetteer: &Gazetteer<'_>, path: &str, query: &[(String, String)]) -> (u16, Vec<u8>) {
    if path != PATH {
        let message = format!("This stand-in for Google Places answers {PATH} and nothing else.");
        return (404, failure("NOT_FOUND", Some(&message)));
    }
    let value = |name: &str| {
        query.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.trim())
    };
    if value("key").is_empty() {
        let message = "The request carries no API key. This is a stand-in for Google Places: \
                       any key will do, but there must be one, as there must be for Google.";
        return (200, failure("REQUEST_DENIED", Some(message)));
    }
    let body = match (location(value("location")), radius_metres(value("radius"))) {
        (Some((latitude, longitude)), Some(radius)) => {
            success(&gazetteer.nearest(latitude, longitude, radius, RESULTS_MAX))
        }
        _ => failure("INVALID_REQUEST", None),
    };
    (200, body)
}

/// Reads `latitude,longitude` in degrees.
fn location(text: &str) -> Option<(f64, f64)> {
    let (latitude, longitude) = text.split_once(',')?;
    Some((degrees(latitude, 90.0)?, degrees(longitude, 180.0)?))
}

fn degrees(text: &str, bound: f64) -> Option<f64> {
    text.trim().parse().ok().filter(|degrees: &f64| degrees.abs() <= bound)
}

/// Reads a radius. One beyond the bound is taken as the bound.
fn radius_metres(text: &str) -> Option<f64> {
    let radius: f64 = text.parse().ok()?;
    (radius >= 0.0).then_some(radius.min(RADIUS_MAX_METRES))
}

/// The answer that lists `found`, which may be nothing.
fn success(found: &[(&Town<'_>, f64)]) -> Vec<u8> {
    let results: Vec<String> = found.iter().map(|(town, _)| result(town)).collect();
    let (results, status) = if results.is_empty() {
        ("[]".to_owned(), "ZERO_RESULTS")
    } else {
        (format!("[\n{}\n   ]", results.join(",\n")), "OK")
    };
    format!(
        "{{\n   \"html_attributions\" : [],\n   \"results\" : {results},\n   \"status\" : \"{status}\"\n}}\n"
    )
    .into_bytes()
}

/// The answer that says what is wrong. Google explains some statuses and not others.
pub fn failure(status: &str, message: Option<&str>) -> Vec<u8> {
    let message = message.map_or(String::new(), |message| {
        format!("   \"error_message\" : {},\n", json_string(message))
    });
    format!(
        "{{\n{message}   \"html_attributions\" : [],\n   \"results\" : [],\n   \"status\" : \"{status}\"\n}}\n"
    )
    .into_bytes()
}

/// One town as an entry of `results`. Google gives a locality its own name as its vicinity.
fn result(town: &Town<'_>) -> String {
    let name = json_string(town.name);
    let Town { id, latitude, longitude, .. } = town;
    format!(
        r#"      {{
         "geometry" : {{
            "location" : {{
               "lat" : {latitude},
               "lng" : {longitude}
            }}
         }},
         "name" : {name},
         "place_id" : "geonames-{id}",
         "types" : [ "locality", "political" ],
         "vicinity" : {name}
      }}"#
    )
}

/// Text as a JSON string. Letters beyond ASCII stay as they are, as with Google.
fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TOWNS: &str = "\
        1\tFar \"Away\"\t-33.5\t151.25\t60000\tAU\n\
        2\tSão Roque\t34\t-118.5\t60000\tXX\n\
        3\tWestwood\t34.05612\t-118.43063\t2019\tUS\n";

    fn ask(towns: &str, path: &str, query: &[(&str, &str)]) -> (u16, String) {
        let query: Vec<(String, String)> =
            query.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let (status, body) = answer(&Gazetteer::parse(towns).unwrap(), path, &query);
        (status, String::from_utf8(body).unwrap())
    }

    fn near(location: &str, radius: &str) -> String {
        let query = [("location", location), ("radius", radius), ("key", "any")];
        let (status, body) = ask(TOWNS, PATH, &query);
        assert_eq!(status, 200);
        body
    }

    #[test]
    fn the_layout_is_googles_to_the_letter() {
        let expected = r#"{
   "html_attributions" : [],
   "results" : [
      {
         "geometry" : {
            "location" : {
               "lat" : 34.05612,
               "lng" : -118.43063
            }
         },
         "name" : "Westwood",
         "place_id" : "geonames-3",
         "types" : [ "locality", "political" ],
         "vicinity" : "Westwood"
      },
      {
         "geometry" : {
            "location" : {
               "lat" : 34,
               "lng" : -118.5
            }
         },
         "name" : "São Roque",
         "place_id" : "geonames-2",
         "types" : [ "locality", "political" ],
         "vicinity" : "São Roque"
      }
   ],
   "status" : "OK"
}
"#;
        assert_eq!(near("34.068930,-118.445127", "10000"), expected);
    }

    #[test]
    fn nothing_near_is_zero_results() {
        let expected = "{\n   \"html_attributions\" : [],\n   \"results\" : [],\n   \"status\" : \"ZERO_RESULTS\"\n}\n";
        assert_eq!(near("0,0", "50000"), expected);
        assert_eq!(near("34.06,-118.44", "0"), expected);
    }

    #[test]
    fn a_name_with_quotes_is_still_json() {
        let body = near("-33.5,151.25", "0");
        let json: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(json["results"][0]["name"], "Far \"Away\"");
    }

    #[test]
    fn a_request_without_a_key_is_denied() {
        let complete = [("location", "34,-118"), ("radius", "10")];
        for key in [None, Some(("key", "")), Some(("key", " "))] {
            let query: Vec<_> = complete.into_iter().chain(key).collect();
            let (status, body) = ask(TOWNS, PATH, &query);
            assert_eq!(status, 200);
            assert!(body.starts_with("{\n   \"error_message\" : \"The request carries no API key"));
            assert!(body.ends_with(
                ",\n   \"html_attributions\" : [],\n   \"results\" : [],\n   \"status\" : \"REQUEST_DENIED\"\n}\n"
            ));
        }
    }

    #[test]
    fn missing_and_senseless_parameters_are_an_invalid_request() {
        let expected = "{\n   \"html_attributions\" : [],\n   \"results\" : [],\n   \"status\" : \"INVALID_REQUEST\"\n}\n";
        for location in
            ["", "34", "34,", ",-118", "34;-118", "34,-118,7", "north,west", "90.1,0", "0,-180.1"]
        {
            assert_eq!(near(location, "10"), expected, "location {location:?}");
        }
        assert_eq!(near("NaN,0", "10"), expected);
        for radius in ["", "far", "-1", "NaN", "10km"] {
            assert_eq!(near("34,-118", radius), expected, "radius {radius:?}");
        }
        assert_eq!(ask(TOWNS, PATH, &[("key", "any"), ("radius", "1")]).1, expected);
        assert_eq!(ask(TOWNS, PATH, &[("key", "any"), ("location", "1,1")]).1, expected);
    }

    #[test]
    fn a_radius_beyond_the_bound_is_taken_as_the_bound() {
        // About 49 and 51 km north of the equator's crossing with Greenwich.
        let towns = "1\tInside\t0.4407\t0\t5\tXX\n2\tOutside\t0.4587\t0\t5\tXX\n";
        for radius in ["50000", "50001", "1e300", "inf"] {
            let (_, body) =
                ask(towns, PATH, &[("location", "0,0"), ("radius", radius), ("key", "any")]);
            assert!(body.contains("Inside") && !body.contains("Outside"), "{radius}: {body}");
        }
    }

    #[test]
    fn at_most_twenty_are_listed() {
        let towns = "7\tA\t1\t1\t5\tXX\n".repeat(21);
        let (_, body) = ask(&towns, PATH, &[("location", "1,1"), ("radius", "1"), ("key", "any")]);
        assert_eq!(body.matches("place_id").count(), 20);
    }

    #[test]
    fn another_path_is_not_found() {
        for path in ["/", "/maps/api/place/nearbysearch/xml", "/maps/api/place/nearbysearch/json/"]
        {
            let (status, body) = ask(TOWNS, path, &[("key", "any")]);
            assert_eq!(status, 404);
            assert!(body.contains("\"status\" : \"NOT_FOUND\""), "{body}");
        }
    }

    proptest! {
        #[test]
        fn any_parameters_get_an_answer_that_is_json(
            location in ".{0,20}",
            numbers in (any::<f64>(), any::<f64>()),
            radius in any::<f64>(),
        ) {
            let pair = format!("{},{}", numbers.0, numbers.1);
            for location in [location, pair] {
                let body = near(&location, &radius.to_string());
                prop_assert!(serde_json::from_str::<serde_json::Value>(&body).is_ok());
                let well_ended = body.ends_with("\n}\n") && !body.contains("\n\n");
                prop_assert!(well_ended);
            }
        }
    }
}
