//! Tests of what the upstreams share, and helpers for the tests of each.

use super::*;
use crate::wire::http::server::{Incoming, RequestReader};
use crate::wire::json::{cut_list, squeeze_newlines};

const KEY: &str = "AI+za/Sy%key=";

pub(super) fn key() -> Secret {
    Secret::parse(KEY.as_bytes()).unwrap()
}

pub(super) fn question(radius_metres: &str) -> Question {
    Question {
        latitude: "34.068930".into(),
        longitude: "-118.445127".into(),
        radius_metres: radius_metres.into(),
    }
}

pub(super) fn answered(status: u16, location: Option<&str>) -> Response {
    let location = location.map(str::to_owned);
    Response { status, location, body: b"secret body".to_vec(), keep_alive: true }
}

/// The request as text.
pub(super) fn built(upstream: Upstream, radius_metres: &str, key: Option<&Secret>) -> String {
    let server = Server { host_field: upstream.default_host(), prefix: "" };
    let mut out = Vec::new();
    upstream.build(&mut out, server, &question(radius_metres), key).unwrap();
    String::from_utf8(out).unwrap()
}

/// What a server reads of the request.
pub(super) fn received(text: &str) -> Incoming {
    let mut data = text.as_bytes();
    let incoming = RequestReader::new().receive(&mut data).unwrap().unwrap();
    assert!(data.is_empty());
    incoming
}

/// An answer as a client gets it: cut and squeezed.
pub(super) fn shown(upstream: Upstream, answer: &str, bound: usize) -> String {
    let parts = cut_list(answer.as_bytes(), upstream.list_name(), bound).unwrap();
    let mut out = Vec::new();
    squeeze_newlines(&mut out, &parts);
    String::from_utf8(out).unwrap()
}

#[test]
fn names_are_read_and_others_refused_with_the_list() {
    for upstream in Upstream::ALL {
        assert_eq!(Upstream::parse(upstream.name()), Ok(upstream));
    }
    let words = "unknown upstream \"Google\"; there are google, google-new, overpass, tweets";
    assert_eq!(Upstream::parse("Google"), Err(words.to_owned()));
}

#[test]
fn every_request_is_one_that_a_server_reads() {
    for upstream in Upstream::ALL {
        for key in [None, Some(key())] {
            let server = Server { host_field: "[::1]:8443", prefix: "/pre/fix" };
            let mut out = Vec::new();
            upstream.build(&mut out, server, &question("10000"), key.as_ref()).unwrap();
            let text = String::from_utf8(out).unwrap();
            assert!(text.contains("\r\nHost: [::1]:8443\r\n"), "{text}");
            assert!(received(&text).target.starts_with("/pre/fix/"), "{text}");
            assert_eq!(
                received(&text).method,
                if text.starts_with("POST") { "POST" } else { "GET" }
            );
        }
    }
}

#[test]
fn only_a_last_word_may_be_kept() {
    for (upstream, body, settled) in [
        (Upstream::Google, r#"{"results":[],"status":"OK"}"#, true),
        (Upstream::Google, r#"{"results":[],"status":"\u004fK"}"#, true),
        (Upstream::Google, r#"{"results":[],"status":"ZERO_RESULTS"}"#, true),
        (Upstream::Google, r#"{"results":[],"status":"OVER_QUERY_LIMIT"}"#, false),
        (Upstream::Google, r#"{"results":[],"status":"REQUEST_DENIED"}"#, false),
        (Upstream::Google, r#"{"results":[],"status":"UNKNOWN_ERROR"}"#, false),
        (Upstream::Google, r#"{"results":[],"status":["OK"]}"#, false),
        (Upstream::Google, r#"{"results":[{"status":"OK"}]}"#, false),
        (Upstream::GoogleNew, r#"{"places":[]}"#, true),
        (Upstream::GoogleNew, "{}", true),
        (Upstream::GoogleNew, r#"{"error":{"code":429}}"#, false),
        (Upstream::Overpass, r#"{"elements":[]}"#, true),
        (Upstream::Overpass, r#"{"elements":[],"remark":"runtime error: timed out"}"#, false),
        (Upstream::Tweets, r#"{"meta":{"result_count":0}}"#, true),
        (Upstream::Tweets, r#"{"data":[],"errors":[{}]}"#, false),
    ] {
        assert_eq!(upstream.is_settled(body.as_bytes()), settled, "{upstream}: {body}");
    }
}

#[test]
fn an_address_with_its_path_is_asked_as_it_is() {
    let target = |upstream: Upstream, prefix: &str| {
        let server = Server { host_field: "a.test", prefix };
        let mut out = Vec::new();
        upstream.build(&mut out, server, &question("10000"), None).unwrap();
        let target = received(&String::from_utf8(out).unwrap()).target;
        target.split('?').next().unwrap().to_owned()
    };
    for prefix in ["/api/interpreter", "/oapi/interpreter", "/osm/tools/api/interpreter"] {
        assert_eq!(target(Upstream::Overpass, prefix), prefix);
    }
    assert_eq!(target(Upstream::Overpass, "/osm"), "/osm/api/interpreter");
    for upstream in Upstream::ALL {
        let own = target(upstream, "");
        assert_eq!(target(upstream, &own), own);
        assert_eq!(target(upstream, &format!("/mirror{own}")), format!("/mirror{own}"));
    }
}

#[test]
fn a_request_with_a_stray_byte_is_not_built() {
    for upstream in Upstream::ALL {
        let server = Server { host_field: "x\r\ny", prefix: "" };
        let mut out = Vec::new();
        assert!(upstream.build(&mut out, server, &question("1"), None).is_err());
        assert!(out.is_empty());
    }
}

#[test]
fn only_200_is_passed_on() {
    for upstream in Upstream::ALL {
        assert_eq!(upstream.judge(&answered(200, None)), Ok(()));
        for status in [201, 204, 206, 300, 302, 304, 400, 401, 403, 404, 406, 429, 500, 503, 504] {
            let words = upstream.judge(&answered(status, None)).unwrap_err();
            assert!(words.starts_with(&format!("places: answered {status}")), "{words}");
            assert!(!words.contains("secret"), "{words}");
        }
        assert_eq!(upstream.judge(&answered(500, None)).unwrap_err(), "places: answered 500");
        let many = upstream.judge(&answered(429, None)).unwrap_err();
        assert_eq!(many, "places: answered 429 (too many requests)");
    }
}

#[test]
fn a_redirect_names_its_host_and_nothing_else() {
    let long = format!("https://{}/", "a".repeat(SHOWN_HOST_MAX_BYTES + 1));
    let cases = [
        ("https://consent.google.com/x?key=KEY", "host \"consent.google.com\""),
        ("HTTP://Evil:8080#KEY", "host \"Evil:8080\""),
        ("//[::1]:1\\KEY", "host \"[::1]:1\""),
        ("https://user:KEY@host", "host \"host\""),
        ("https://a@KEY@host/", "host \"host\""),
        ("/maps?key=KEY", "the same host"),
        ("?key=KEY", "the same host"),
        ("../KEY//x", "the same host"),
        ("https://", "no readable address"),
        ("https://a b/", "no readable address"),
        ("https://\u{1b}[31m/", "no readable address"),
        (long.as_str(), "no readable address"),
        ("ftp://KEY", "no readable address"),
        ("KEY", "no readable address"),
        ("", "no readable address"),
    ];
    for (location, target) in cases {
        let words = Upstream::Google.judge(&answered(302, Some(location))).unwrap_err();
        let expected =
            format!("places: answered 302, a redirect to {target}, which is not followed");
        assert_eq!(words, expected, "{location}");
    }
    // A location that belongs to no redirect is not looked at.
    let words = Upstream::Google.judge(&answered(500, Some("https://x"))).unwrap_err();
    assert_eq!(words, "places: answered 500");
}

#[test]
fn a_key_is_read_out_of_a_file_or_the_environment() {
    assert_eq!(Secret::parse(b" \n AIzaSy-_x\r\n").unwrap().expose(), "AIzaSy-_x");
    let long = vec![b'k'; KEY_MAX_BYTES + 1];
    let cases: [(&[u8], &str); 6] = [
        (b" \n", "the key is empty"),
        (b"hunter2\r\nX: y", "byte 8 of the key"),
        (b"hunter2 hunter3", "byte 8 of the key"),
        (b"hunter2\0", "byte 8 of the key"),
        ("hunter2\u{e9}".as_bytes(), "byte 8 of the key"),
        (&long, "the key is longer than 4096 bytes"),
    ];
    for (bytes, words) in cases {
        let error = Secret::parse(bytes).unwrap_err();
        assert!(error.contains(words) && !error.contains("hunter"), "{error}");
    }
    assert!(Secret::parse(&long[1..]).is_ok());
}

#[test]
fn a_key_is_never_shown() {
    let shown = format!("{:?} {:#?}", key(), Some(key()));
    assert!(!shown.contains("AI") && !shown.contains("za"), "{shown}");
    assert_eq!(question("10000").to_string(), "34.068930,-118.445127 within 10000 m");
}
