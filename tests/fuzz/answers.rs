//! Answers from Places: HTTP/1.1 as a server, or whoever sits between, may send it.
//!
//! Every cutting gives the same answer or the same fault, at the same byte. An answer that is accepted is
//! the one that a slow reading of the same bytes finds, a plain one is accepted, and what is held stays
//! within its bounds.

use herd::server::places::upstream::Upstream;
use herd::wire::http::body::{DISCARD_MAX_BYTES, FRAMING_LINE_MAX_BYTES};
use herd::wire::http::response::{INTERIM_MAX, Response, ResponseReader};
use herd::wire::http::{HEAD_MAX_BYTES, HttpError};

use crate::cut::cuttings;
use crate::engine::{Target, replay_and_probe};
use crate::heads::Head;

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
        b"Content-Encoding: \r\n",
        b"Content-Encoding: utf-8\r\n",
        b"Content-Length:\r\n 5\r\n",
        b"\r\n ",
        b"\n\t",
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
    let slow = slow(input);
    match &expected {
        Ok(response) => {
            let slow = slow.expect("only what is whole and sound is accepted");
            assert_eq!((response.status, &response.body, end), (slow.status, &slow.body, slow.end));
            check_answer(response)
        }
        Err(fault) => {
            assert!(slow.is_none_or(|slow| !slow.plain), "a plain answer was refused: {fault}");
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

fn check_answer(response: &Response) -> String {
    assert!(response.body.len() <= BODY_MAX_BYTES);
    assert!((200..=999).contains(&response.status));
    for upstream in Upstream::ALL {
        let Err(words) = upstream.judge(response) else { continue };
        assert!(words.is_ascii() && words.len() < 600, "{words:?}");
        assert!(!words.contains(|c: char| c.is_control()), "{words:?}");
        assert!(!words.contains("=KEY") && !words.contains("KEY@"), "{words:?}");
    }
    let status = response.status.clamp(199, 400);
    let (body, kept) = (response.body.len().min(3), response.keep_alive);
    format!("{status} {body} {kept} {}", response.location.is_some())
}

/// A whole answer, as the slow reading finds it.
struct Slow {
    status: u16,
    body: Vec<u8>,
    end: usize,
    /// Its heads are such that it has to be accepted.
    plain: bool,
}

/// The answer that stands in the input, `None` when there is none that is whole and sound.
fn slow(input: &[u8]) -> Option<Slow> {
    let (mut at, mut plain) = (0, true);
    for _ in 0..=INTERIM_MAX {
        let (head, end) = Head::read(input, at)?;
        at = end;
        plain &= head.plain;
        let (version, rest) = head.first.split_at_checked(8)?;
        let status: u16 = rest.get(1..4)?.parse().ok()?;
        if !["HTTP/1.0", "HTTP/1.1"].contains(&version) || status < 100 {
            return None;
        }
        plain &= rest.starts_with(' ') && !rest[1..].starts_with('+');
        plain &= rest.get(4..5).is_none_or(|space| space == " ");
        match status {
            101 => return None,
            100..200 => continue,
            _ => {}
        }
        let (body, end) = body(input, at, &head, status, version)?;
        return (body.len() <= BODY_MAX_BYTES).then_some(Slow { status, body, end, plain });
    }
    None
}

/// The body of a final answer whose head ends at `at`, and where it ends (RFC 9112, 6.3).
fn body(
    input: &[u8],
    at: usize,
    head: &Head,
    status: u16,
    version: &str,
) -> Option<(Vec<u8>, usize)> {
    let coding = head.values("transfer-encoding");
    let chunked = match coding.as_slice() {
        [] => false,
        [one] if one.eq_ignore_ascii_case("chunked") => true,
        _ => return None,
    };
    let length = head.length().ok()?;
    if chunked && length.is_some() {
        return None;
    }
    let codings = head.values("content-encoding").join(",");
    let mut codings = codings.split(',').map(|coding| coding.trim_matches([' ', '\t']));
    let changes = |coding: &str| !coding.is_empty() && !coding.eq_ignore_ascii_case("identity");
    if status == 200 && codings.any(changes) {
        return None;
    }
    match length {
        _ if [204, 304].contains(&status) => Some((Vec::new(), at)),
        _ if chunked && version == "HTTP/1.0" => None,
        _ if chunked => unchunked(input, at),
        Some(length) => {
            let end = at.checked_add(length)?;
            Some((input.get(at..end)?.to_vec(), end))
        }
        None => Some((input[at..].to_vec(), input.len())),
    }
}

/// The body in the chunks that begin at `at`, and where the last trailer ends (RFC 9112, 7.1).
fn unchunked(input: &[u8], mut at: usize) -> Option<(Vec<u8>, usize)> {
    let (mut body, mut discarded) = (Vec::new(), 0);
    loop {
        let line = framing_line(input, &mut at)?;
        let digits = line.split(';').next()?.trim_ascii_end();
        discarded += line.len() - digits.len();
        let sound =
            (1..=16).contains(&digits.len()) && digits.chars().all(|c| c.is_ascii_hexdigit());
        if !sound || discarded > DISCARD_MAX_BYTES {
            return None;
        }
        match usize::from_str_radix(digits, 16).ok()? {
            0 => break,
            size => {
                let end = at.checked_add(size)?;
                body.extend_from_slice(input.get(at..end)?);
                (body.len() <= BODY_MAX_BYTES).then_some(())?;
                at = end + 2;
                (input.get(end..at)? == b"\r\n").then_some(())?;
            }
        }
    }
    loop {
        let line = framing_line(input, &mut at)?;
        discarded += line.len();
        if discarded > DISCARD_MAX_BYTES {
            return None;
        }
        if line.is_empty() {
            return Some((body, at));
        }
    }
}

/// The line that begins at `at`, with each byte as a character; `at` is moved behind it.
fn framing_line(input: &[u8], at: &mut usize) -> Option<String> {
    let line = input.get(*at..)?.split_inclusive(|byte| *byte == b'\n').next()?;
    *at += line.len();
    let inside = line.strip_suffix(b"\r\n")?;
    let fits = line.len() <= FRAMING_LINE_MAX_BYTES + 1 && !inside.contains(&b'\r');
    fits.then(|| inside.iter().copied().map(char::from).collect())
}

#[test]
fn the_corpus_and_new_inputs_pass() {
    replay_and_probe(&TARGET);
}
