//! Addresses of upstreams, as somebody may write them on a command line.
//!
//! One that is accepted can be written down again and stands safely in a request. The words of a refusal
//! repeat nothing that could be a password.

use herd::wire::http::request::{Request, Url, write_request};

use crate::engine::{Target, replay_and_probe};

pub const TARGET: Target = Target {
    name: "urls",
    check,
    tokens: &[
        b"https://",
        b"HTTPS://",
        b"http://",
        b"://",
        b":",
        b"/",
        b"//",
        b"[",
        b"]",
        b"[::1]",
        b"[::ffff:1.2.3.4]",
        b"127.0.0.1",
        b"localhost",
        b"places.test",
        b"a-b_c",
        b".",
        b"..",
        b":443",
        b":8443",
        b":0",
        b":65535",
        b":65536",
        b":+80",
        b":080",
        b"/prefix",
        b"?q",
        b"#f",
        b"user:PASSWORD@",
        b"@",
        b"%20",
        b" ",
        b"\r\n",
        b"\0",
        b"\xc3\xa9",
        b"\\",
    ],
    extremes: &[63, 64, 253, 254],
    input_max_bytes: 1000,
};

fn check(input: &[u8]) -> String {
    let text = String::from_utf8_lossy(input);
    let url = match Url::parse(&text) {
        Ok(url) => url,
        Err(words) => {
            assert!(!words.contains(char::is_control), "{words:?}");
            assert!(words.len() < 200 + 6 * text.len(), "{words:?}");
            // Where there is an `@`, what stands before it may be a password.
            assert!(!(words.contains("PASSWORD") && text.contains("PASSWORD@")), "{words:?}");
            // Without what is quoted, which is the input's own.
            let start = words.find('"').unwrap_or(words.len());
            let end = words.rfind('"').unwrap_or(0).max(start);
            return [&words[..start], &words[end..]].concat();
        }
    };
    assert!(url.port != 0 && !url.host.is_empty() && url.host.len() <= 253);
    assert!(url.prefix.is_empty() || url.prefix.starts_with('/'));
    assert!(!url.prefix.ends_with('/'));
    let host = url.host_field();
    let again = Url::parse(&format!("https://{host}{}", url.prefix));
    assert_eq!(again.as_ref(), Ok(&url), "written down and read again");

    let target = format!("{}/json", url.prefix);
    let request = Request { method: "GET", host: &host, target: &target, headers: &[], body: None };
    let mut out = Vec::new();
    write_request(&mut out, &request).expect("fit to stand in a request");
    let expected = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n");
    assert!(out.starts_with(expected.as_bytes()));
    let lines = out.split(|byte| *byte == b'\n').count();
    assert_eq!(lines, 8, "no part begins a line of its own");
    let (v6, port) = (url.host.contains(':'), url.port == 443);
    format!("{v6} {port} {}", url.prefix.matches('/').count().min(3))
}

#[test]
fn the_corpus_and_new_inputs_pass() {
    replay_and_probe(&TARGET);
}
