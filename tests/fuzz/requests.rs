//! Requests to the stand-in for Places: HTTP/1.1 as any client may send it.
//!
//! Every cutting gives the same requests and the same refusal; plain ones are read as a slow reading of
//! the same bytes has them. A request that was read and is written again is read as the same, and the
//! stand-in answers any target with sound JSON.

use std::sync::LazyLock;

use herd::server::stand_in::answer::{PATH, answer};
use herd::server::stand_in::gazetteer::Gazetteer;
use herd::wire::http::HEAD_MAX_BYTES;
use herd::wire::http::request::{Request, percent_encode, write_request};
use herd::wire::http::server::{
    Incoming, REQUEST_BODY_MAX_BYTES, Refusal, RequestReader, query_pairs,
};
use serde_json::Value;

use crate::cut::cuttings;
use crate::engine::{Target, replay_and_probe};
use crate::heads::Head;

pub const TARGET: Target = Target {
    name: "http-requests",
    check,
    tokens: &[
        b"GET /maps/api/place/nearbysearch/json?location=34.0,-118.4&radius=50000&key=k HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\n", b"POST /p HTTP/1.0\r\n", b"HEAD / HTTP/2.0\r\n", b"Host: x\r\n",
        b"host:x\r\n", b"Content-Length: 5\r\n", b"Content-Length: 65537\r\n",
        b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"Connection: keep-alive\r\n",
        b"\r\n", b"\n", b"\r", b"hello", b"?", b"&", b"=", b"%", b"%2", b"%2C", b"%ff", b"%C3%A9",
        b"+", b"#", b"/", b"location", b"radius", b"key=", b"34.0,-118.4", b"NaN", b"inf", b"1e999",
        b"-0", b"HTTP/1.1", b"\0", b"\xc3\xa9",
    ],
    extremes: &[64, HEAD_MAX_BYTES, REQUEST_BODY_MAX_BYTES],
    input_max_bytes: REQUEST_BODY_MAX_BYTES + HEAD_MAX_BYTES,
};

/// The most results that the stand-in gives.
const RESULTS_MAX: usize = 20;

static GAZETTEER: LazyLock<Gazetteer<'static>> = LazyLock::new(|| Gazetteer::built_in().unwrap());

fn check(input: &[u8]) -> String {
    let mut outcomes = cuttings(input).into_iter().map(|reads| outcome(&reads));
    let (requests, refusal) = outcomes.next().unwrap();
    for other in outcomes {
        assert_eq!(other, (requests.clone(), refusal));
    }
    let plain = slow(input);
    assert!(requests.len() >= plain.len(), "a plain request was refused: {refusal:?}");
    for (request, slow) in requests.iter().zip(&plain) {
        assert_eq!((&request.method, &request.target, &request.body), (&slow.0, &slow.1, &slow.2));
    }
    let mut behaviour = String::new();
    for request in requests.iter().take(4) {
        check_written_again(request);
        behaviour += &check_target(request);
    }
    behaviour + &refusal.map_or_else(String::new, |refusal| refusal.status.to_string())
}

/// All requests in some reads, and the refusal that ended them.
fn outcome(reads: &[&[u8]]) -> (Vec<Incoming>, Option<Refusal>) {
    let mut reader = RequestReader::new();
    let mut requests = Vec::new();
    for read in reads {
        let mut data = *read;
        loop {
            match reader.receive(&mut data) {
                Ok(Some(request)) => {
                    assert!(request.body.len() <= REQUEST_BODY_MAX_BYTES);
                    requests.push(request);
                }
                Ok(None) => break,
                Err(refusal) => {
                    assert!((400..600).contains(&refusal.status));
                    let again = reader.receive(&mut b"GET / HTTP/1.0\r\n\r\n".as_slice());
                    assert_eq!(again, Err(refusal), "a refusal is final");
                    return (requests, Some(refusal));
                }
            }
        }
        assert!(data.is_empty(), "all is taken");
    }
    if reads.len() == 1 {
        // A byte that is held shows in at most five bytes of this text, as in `255, `.
        let held = format!("{reader:?}").len();
        assert!(held < 5 * (HEAD_MAX_BYTES + REQUEST_BODY_MAX_BYTES) + 1000, "holds {held}");
    }
    (requests, None)
}

/// Method, target and body of the requests at the beginning that nobody may refuse.
fn slow(input: &[u8]) -> Vec<(String, String, Vec<u8>)> {
    let mut requests = Vec::new();
    let mut at = 0;
    loop {
        at += input[at..].iter().take_while(|byte| b"\r\n".contains(byte)).count();
        let Some((head, end)) = Head::read(input, at) else { return requests };
        let Ok(length) = head.length() else { return requests };
        let parts: Vec<&str> = head.first.split(' ').collect();
        let &[method, target, version] = parts.as_slice() else { return requests };
        let plain = head.plain
            && head.values("transfer-encoding").is_empty()
            && !method.is_empty()
            && method.bytes().all(|byte| byte.is_ascii_uppercase())
            && target.starts_with('/');
        let hosts = head.values("host").len();
        let hosts_fit = matches!((version, hosts), ("HTTP/1.1", 1) | ("HTTP/1.0", 0 | 1));
        let end_of_body = end.saturating_add(length.unwrap_or(0));
        let body = input.get(end..end_of_body).filter(|body| body.len() <= REQUEST_BODY_MAX_BYTES);
        let (true, Some(body)) = (plain && hosts_fit, body) else { return requests };
        requests.push((method.to_owned(), target.to_owned(), body.to_vec()));
        at = end_of_body;
    }
}

/// Only our own writer's kind of request: upper-case method, absolute path, visible ASCII.
fn check_written_again(request: &Incoming) {
    let Incoming { method, target, body, .. } = request;
    let (host, headers) = ("x", &[] as &[(&str, &str)]);
    let again = Request { method, host, target, headers, body: Some(body) };
    let mut out = Vec::new();
    let written = write_request(&mut out, &again);
    let plain = method.bytes().all(|byte| byte.is_ascii_uppercase())
        && target.starts_with('/')
        && target.bytes().all(|byte| byte.is_ascii_graphic());
    assert_eq!(written.is_ok(), plain);
    if plain && out.len() < HEAD_MAX_BYTES {
        let (requests, refusal) = outcome(&[out.as_slice()]);
        assert_eq!((requests.len(), refusal), (1, None));
        let read = &requests[0];
        assert_eq!((&read.method, &read.target, &read.body), (method, target, body));
    }
}

fn check_target(request: &Incoming) -> String {
    let (path, pairs) = query_pairs(&request.target);
    let length = path.len() + pairs.iter().map(|(a, b)| a.len() + b.len()).sum::<usize>();
    // A byte that is not UTF-8 becomes three.
    assert!(length <= 3 * request.target.len());
    let mut encoded = String::from("/?");
    for (name, value) in &pairs {
        percent_encode(&mut encoded, name.as_bytes());
        encoded.push('=');
        percent_encode(&mut encoded, value.as_bytes());
        encoded.push('&');
    }
    assert_eq!(query_pairs(&encoded).1, pairs, "decoding undoes encoding");
    assert_eq!((&path, &pairs), (&slow_pairs(&request.target).0, &slow_pairs(&request.target).1));

    let (status, body) = answer(&GAZETTEER, &path, &pairs);
    let body: Value = serde_json::from_slice(&body).expect("sound JSON");
    assert_eq!(status == 404, path != PATH);
    let results = body.get("results").and_then(Value::as_array).map_or(0, Vec::len);
    assert!(results <= RESULTS_MAX);
    let (pairs, results) = (pairs.len().min(4), results.min(1));
    format!("{status} {} {pairs} {results} {};", body["status"], request.keep_alive)
}

/// Path and pairs of a target, as forms have them.
fn slow_pairs(target: &str) -> (String, Vec<(String, String)>) {
    let target = target.split('#').next().unwrap();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(&name.replace('+', "%20")), decoded(&value.replace('+', "%20")))
    });
    (decoded(path), pairs.collect())
}

/// A text without its percent signs: each begins two digits and the rest, or stands for itself.
fn decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap().as_bytes().to_vec();
    for part in parts {
        let digits = part.get(..2).filter(|digits| digits.chars().all(|c| c.is_ascii_hexdigit()));
        match digits {
            Some(digits) => {
                bytes.push(u8::from_str_radix(digits, 16).unwrap());
                bytes.extend_from_slice(&part.as_bytes()[2..]);
            }
            None => bytes.extend([b"%", part.as_bytes()].concat()),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn the_corpus_and_new_inputs_pass() {
    replay_and_probe(&TARGET);
}
