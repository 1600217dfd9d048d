//! Answers from Places: HTTP/1.1 as a server, or whoever sits between, may send it.
//!
//! Every cutting gives the same answer or the same fault, at the same byte. An answer that is accepted is
//! the one that a slow reading of the same bytes finds, and what is held stays within its bounds.

use herd::server::places::upstream::Upstream;
use herd::wire::http::body::{DISCARD_MAX_BYTES, FRAMING_LINE_MAX_BYTES};
use herd::wire::http::response::{Response, ResponseReader};
use herd::wire::http::{HEAD_MAX_BYTES, HttpError};

use crate::cut::cuttings;
use crate::engine::{Target, replay_and_probe};

pub const TARGET: Target = Target {
    name: "http-answers",
    check,
    tokens: &[
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.0 200 OK\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n",
        b"HTTP/1.1 302 Found\r\n",
        b"HTTP/1.1 101 Switching\r\n",
        b"Content-Length: 5\r\n",
        b"content-length:5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Encoding: identity\r\n",
        b"Content-Encoding: gzip\r\n",
        b"Connection: keep-alive, close\r\n",
        b"Location: https://user:KEY@host/?key=KEY\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b":",
        b" ",
        b"\t",
        b";",
        b"0",
        b"5",
        b"a",
        b"F",
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"0\r\nTrailer: x\r\n\r\n",
        b"5;name=value\r\n",
        b"hello",
        b"+",
        b"-",
        b"0x",
        b"ffffffffffffffff",
        b"200",
        b"304",
        b"999",
        b"\xff",
        b"\0",
    ],
    extremes: &[16, BODY_MAX_BYTES, FRAMING_LINE_MAX_BYTES, DISCARD_MAX_BYTES, HEAD_MAX_BYTES],
    input_max_bytes: 3 * HEAD_MAX_BYTES,
};

/// A small limit, so that inputs of a readable length go past it.
const BODY_MAX_BYTES: usize = 200;

/// What became of some bytes, and how many of them it took.
type Outcome = (Result<Response, HttpError>, usize);

fn check(input: &[u8]) -> String {
    let singles: Vec<&[u8]> = input.chunks(1).collect();
    let (expected, end) = outcome(&singles);
    for reads in cuttings(input) {
        let (found, reached) = outcome(&reads);
        // In single bytes an answer ends exactly at its end; in reads, with the read that it ends in.
        assert!(reached >= end, "nothing ends early");
        let mut expected = expected.clone();
        if let Ok(expected) = &mut expected {
            expected.keep_alive &= reached == end;
        }
        assert_eq!(found, expected, "{reads:?}");
    }
    match &expected {
        Ok(response) => check_answer(input, response, end),
        Err(fault) => {
            let words = fault.to_string();
            assert!(words.is_ascii() && words.len() < 200, "{words:?}");
            let kind: String =
                format!("{fault:?}").chars().filter(|c| !c.is_ascii_digit()).collect();
            kind
        }
    }
}

/// Feeds reads to a reader until it has an answer or a fault, and else tells it that this was all.
fn outcome(reads: &[&[u8]]) -> Outcome {
    let mut reader = ResponseReader::new(BODY_MAX_BYTES);
    let mut reached = 0;
    for read in reads {
        reached += read.len();
        match reader.receive(read) {
            Ok(None) => {}
            Ok(Some(response)) => {
                assert_eq!(reader.receive(b"x"), Err(HttpError::AfterAnswer));
                return (Ok(response), reached);
            }
            Err(fault) => {
                assert_eq!(reader.receive(b"x"), Err(HttpError::AfterAnswer));
                assert_eq!(reader.finish(), Err(HttpError::AfterAnswer));
                return (Err(fault), reached);
            }
        }
    }
    assert_eq!(reader.has_begun(), reached > 0);
    if reads.len() == 1 {
        // A byte that is held shows in at most five bytes of this text, as in `255, `.
        let held = format!("{reader:?}").len();
        let most = HEAD_MAX_BYTES + BODY_MAX_BYTES + FRAMING_LINE_MAX_BYTES;
        assert!(held < 5 * most + 1000, "holds {held}");
    }
    (reader.finish(), reached)
}

fn check_answer(input: &[u8], response: &Response, end: usize) -> String {
    assert!(response.body.len() <= BODY_MAX_BYTES);
    assert!((200..=999).contains(&response.status));
    let (status, body, slow_end) = slow(input);
    assert_eq!((response.status, &response.body), (status, &body));
    assert_eq!(slow_end, end);
    for upstream in Upstream::ALL {
        let Err(words) = upstream.judge(response) else { continue };
        assert!(words.is_ascii() && words.len() < 600, "{words:?}");
        assert!(!words.contains(|c: char| c.is_control()), "{words:?}");
        assert!(!words.contains("=KEY") && !words.contains("KEY@"), "{words:?}");
    }
    let status = status.clamp(199, 400);
    let (body, kept) = (body.len().min(3), response.keep_alive);
    format!("{status} {body} {kept} {}", response.location.is_some())
}

/// Status, body and end of an answer that has been accepted: by texts, and trusting that it is sound.
fn slow(input: &[u8]) -> (u16, Vec<u8>, usize) {
    let mut end = head_end(input, 0);
    let mut head = text(&input[..end]);
    while head.get(9..10) == Some("1") {
        let start = end;
        end = head_end(input, start);
        head = text(&input[start..end]);
    }
    let status: u16 = head[9..12].parse().unwrap();
    let field = |wanted: &str| {
        let mut fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
        let found = fields.find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.trim_matches([' ', '\t']).to_owned())
    };
    if [204, 304].contains(&status) {
        return (status, Vec::new(), end);
    }
    if field("transfer-encoding").is_some() {
        let (body, end) = unchunked(input, end);
        return (status, body, end);
    }
    let length = field("content-length");
    let length = length.map_or(input.len() - end, |length| length.parse().unwrap());
    (status, input[end..end + length].to_vec(), end + length)
}

/// Where the head ends that begins at `start`: after its first empty line.
fn head_end(input: &[u8], start: usize) -> usize {
    let mut at = start;
    for line in input[start..].split_inclusive(|byte| *byte == b'\n') {
        at += line.len();
        if line == b"\r\n" || line == b"\n" {
            break;
        }
    }
    at
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The body in the chunks that begin at `at`, and where the last trailer ends.
fn unchunked(input: &[u8], mut at: usize) -> (Vec<u8>, usize) {
    let mut body = Vec::new();
    loop {
        let line = next_line(input, at);
        at += line.len();
        let digits = text(line);
        let digits = digits.split([';', ' ', '\t', '\r']).next().unwrap();
        match usize::from_str_radix(digits, 16).unwrap() {
            0 => break,
            size => {
                body.extend_from_slice(&input[at..at + size]);
                at += size + b"\r\n".len();
            }
        }
    }
    loop {
        let line = next_line(input, at);
        at += line.len();
        if line == b"\r\n" {
            return (body, at);
        }
    }
}

fn next_line(input: &[u8], at: usize) -> &[u8] {
    input[at..].split_inclusive(|byte| *byte == b'\n').next().unwrap()
}

#[test]
fn the_corpus_and_new_inputs_pass() {
    replay_and_probe(&TARGET);
}
