//! Tests of answers: framing, bounds and ends, each in every cutting.

use proptest::prelude::*;

use super::body::{DISCARD_MAX_BYTES, FRAMING_LINE_MAX_BYTES};
use super::response::{INTERIM_MAX, Response, ResponseReader};
use super::{ANSWER_MAX_BYTES, HEAD_MAX_BYTES, HEADERS_MAX, HttpError};

/// Reads `pieces` as a connection would bring them, then its end.
fn read<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    limit: usize,
) -> Result<Response, HttpError> {
    let mut reader = ResponseReader::new(limit);
    for piece in pieces {
        if let Some(response) = reader.receive(piece)? {
            return Ok(response);
        }
    }
    reader.finish()
}

/// Reads `bytes` whole, byte by byte, and cut once at every place, and insists that it does not
/// matter. `bytes` must not go on after the answer.
fn answer(bytes: impl AsRef<[u8]>) -> Result<Response, HttpError> {
    let bytes = bytes.as_ref();
    let whole = read([bytes], ANSWER_MAX_BYTES);
    assert_eq!(read(bytes.chunks(1), ANSWER_MAX_BYTES), whole);
    if bytes.len() < 4096 {
        for cut in 0..bytes.len() {
            let (head, tail) = bytes.split_at(cut);
            assert_eq!(read([head, tail], ANSWER_MAX_BYTES), whole, "cut at {cut}");
        }
    }
    whole
}

fn body_of(bytes: impl AsRef<[u8]>) -> String {
    String::from_utf8(answer(bytes).unwrap().body).unwrap()
}

fn error_of(bytes: impl AsRef<[u8]>) -> HttpError {
    answer(bytes).unwrap_err()
}

#[test]
fn a_body_ends_after_its_length() {
    let response = answer("HTTP/1.1 200 OK\r\ncontent-length: 5 \r\nX: y\r\n\r\nhello").unwrap();
    let expected =
        Response { status: 200, location: None, body: b"hello".to_vec(), keep_alive: true };
    assert_eq!(response, expected);
    assert_eq!(body_of("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), "");
    assert_eq!(body_of("HTTP/1.1 200 OK\nContent-Length: 2\n\nok"), "ok");
}

#[test]
fn a_body_ends_after_its_last_chunk_and_trailers() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n";
    let plain = format!("{head}5\r\nhello\r\n00A;a=b;c=\"d\"\r\n, world!\r\n\r\n0\r\n\r\n");
    assert_eq!(body_of(&plain), "hello, world!\r\n");
    assert!(answer(&plain).unwrap().keep_alive);
    let trailers = format!("{head}2  ;x\r\nok\r\n0\r\nExpires: never\r\nA: b\r\n\r\n");
    assert_eq!(body_of(trailers), "ok");
    assert_eq!(body_of(format!("{head}0\r\n\r\n")), "");
}

#[test]
fn a_body_without_a_length_ends_with_the_stream() {
    let response = answer("HTTP/1.1 200 OK\r\n\r\nhello\r\n\r\n").unwrap();
    assert_eq!(
        (response.body.as_slice(), response.keep_alive),
        (b"hello\r\n\r\n".as_slice(), false)
    );
    assert_eq!(body_of("HTTP/1.0 200 OK\r\n\r\n"), "");
}

#[test]
fn some_statuses_have_no_body() {
    for status in [204, 304] {
        let text = format!("HTTP/1.1 {status} X\r\nContent-Length: 5\r\n\r\n");
        let response = answer(text).unwrap();
        assert_eq!((response.status, response.body.len(), response.keep_alive), (status, 0, true));
    }
}

#[test]
fn interim_answers_are_skipped() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
    let last = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    assert_eq!(body_of(format!("{interim}{last}")), "ok");
    let most = "HTTP/1.1 100 C\r\n\r\n".repeat(INTERIM_MAX);
    assert_eq!(body_of(format!("{most}{last}")), "ok");
    assert_eq!(error_of(format!("{most}HTTP/1.1 100 C\r\n\r\n{last}")), HttpError::TooManyInterim);
    assert_eq!(error_of(interim), HttpError::ClosedInHead);
    assert_eq!(error_of("HTTP/1.1 101 Up\r\n\r\n"), HttpError::SwitchesProtocols);
}

#[test]
fn a_connection_is_kept_when_both_sides_can() {
    let cases = [
        ("HTTP/1.1", "", true),
        ("HTTP/1.1", "Connection: Close\r\n", false),
        ("HTTP/1.1", "Connection: x, close\r\n", false),
        ("HTTP/1.1", "Connection: keep-alive\r\n", true),
        ("HTTP/1.1", "Connection: keep-alive\r\nConnection: close\r\n", false),
        ("HTTP/1.0", "", false),
        ("HTTP/1.0", "Connection: Keep-Alive\r\n", true),
    ];
    for (version, field, expected) in cases {
        let text = format!("{version} 200 OK\r\nContent-Length: 2\r\n{field}\r\nok");
        assert_eq!(answer(&text).unwrap().keep_alive, expected, "{text}");
    }
}

#[test]
fn a_connection_with_stray_bytes_is_not_kept() {
    let text = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let stray = format!("{text}HTTP/1.1 200 OK\r\n");
    let response = read([stray.as_bytes()], 10).unwrap();
    assert_eq!((response.body.as_slice(), response.keep_alive), (b"ok".as_slice(), false));

    let mut reader = ResponseReader::new(10);
    assert!(reader.receive(text.as_bytes()).unwrap().unwrap().keep_alive);
    assert_eq!(reader.receive(b"H"), Err(HttpError::AfterAnswer));
    assert_eq!(reader.finish(), Err(HttpError::AfterAnswer));
}

#[test]
fn a_redirect_tells_its_location() {
    let text = "HTTP/1.1 302 Found\r\nLocation: https://x/y\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(answer(text).unwrap().location.as_deref(), Some("https://x/y"));
    let latin1 = b"HTTP/1.1 302 Found\r\nLocation: \xe9\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(answer(latin1).unwrap().location, None);
}

#[test]
fn the_end_of_the_stream_tells_what_is_missing() {
    let mut reader = ResponseReader::new(10);
    assert_eq!(reader.receive(b""), Ok(None));
    assert!(!reader.has_begun());
    assert_eq!(reader.finish(), Err(HttpError::ClosedBeforeAnswer));

    let mut reader = ResponseReader::new(10);
    assert_eq!(reader.receive(b"H"), Ok(None));
    assert!(reader.has_begun());
    assert_eq!(reader.finish(), Err(HttpError::ClosedInHead));

    assert_eq!(error_of("HTTP/1.1 200 OK\r\n"), HttpError::ClosedInHead);
    let missing = |got, promised| HttpError::ClosedInBody { got, promised };
    let length = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    assert_eq!(error_of(length), missing(0, Some(5)));
    assert_eq!(error_of(format!("{length}hell")), missing(4, Some(5)));
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let cuts = [("", 0), ("2", 0), ("2\r\nok", 2), ("2\r\nok\r\n0\r\n", 2), ("0\r\nA: b\r\n", 0)];
    for (text, got) in cuts {
        assert_eq!(error_of(format!("{chunked}{text}")), missing(got, None), "{text:?}");
    }
}

#[test]
fn what_is_not_http_is_told_apart_at_once() {
    for text in
        ["SSH-2.0-OpenSSH_9\r\n", "HTTP/2 200\r\n", "\r\nHTTP/1.1 200 OK\r\n\r\n", "\x16\x03"]
    {
        let mut reader = ResponseReader::new(10);
        assert_eq!(reader.receive(text.as_bytes()), Err(HttpError::NotHttp), "{text:?}");
        assert_eq!(reader.receive(b"HTTP/1.1 200 OK\r\n\r\n"), Err(HttpError::AfterAnswer));
    }
}

#[test]
fn two_opinions_of_a_body_are_an_error() {
    let cases = [
        ("Content-Length: 5\r\nContent-Length: 5", HttpError::LengthTwice),
        ("Content-Length: 5\r\nContent-Length: 6", HttpError::LengthTwice),
        ("Content-Length: 5, 5", HttpError::BadLength),
        ("Content-Length: +5", HttpError::BadLength),
        ("Content-Length: -5", HttpError::BadLength),
        ("Content-Length: 0x5", HttpError::BadLength),
        ("Content-Length:", HttpError::BadLength),
        ("Content-Length: 99999999999999999999999", HttpError::BadLength),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", HttpError::LengthAndCoding),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5", HttpError::LengthAndCoding),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", HttpError::BadCoding),
        ("Transfer-Encoding: gzip, chunked", HttpError::BadCoding),
        ("Transfer-Encoding: identity", HttpError::BadCoding),
        ("Content-Length: 5\r\nContent-Encoding: gzip", HttpError::Compressed),
        ("Content-Length: 5\r\nContent-Encoding: utf-8", HttpError::UnknownEncoding),
        ("Content-Length: 5\r\n folded", HttpError::BadLength),
        ("Content-Length: 5\r\n 6", HttpError::BadLength),
        ("Content-Length : 5", HttpError::BadHead(httparse::Error::HeaderName)),
        ("no colon", HttpError::BadHead(httparse::Error::HeaderName)),
        ("X: a\0b", HttpError::BadHead(httparse::Error::HeaderValue)),
    ];
    for (fields, expected) in cases {
        assert_eq!(error_of(format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n0\r\n\r\n")), expected);
    }
    let old = "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(error_of(old), HttpError::BadCoding);
    let status = error_of("HTTP/1.1 099 OK\r\n\r\n");
    assert_eq!(status, HttpError::BadHead(httparse::Error::Status));
}

#[test]
fn the_status_counts_more_than_a_compressed_body() {
    let text = "HTTP/1.1 500 Oh\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nz";
    assert_eq!(answer(text).unwrap().status, 500);
    let identity = "HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\nContent-Length: 1\r\n\r\nz";
    assert_eq!(body_of(identity), "z");
}

#[test]
fn a_body_that_is_not_coded_is_told_from_a_compressed_one_and_from_nonsense() {
    let read = |fields: &str| {
        answer(format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 1\r\n\r\nz")).map(|r| r.status)
    };
    for plain in ["", " ", "identity", "Identity", "identity, ", "identity,identity", ","] {
        assert_eq!(read(&format!("Content-Encoding: {plain}\r\n")), Ok(200), "{plain:?}");
    }
    for coded in ["gzip", "GZIP", "x-gzip", "br", "deflate", "zstd", "identity, gzip", "utf-8, br"]
    {
        let error = read(&format!("Content-Encoding: {coded}\r\n"));
        assert_eq!(error, Err(HttpError::Compressed), "{coded:?}");
    }
    for nonsense in ["utf-8", "UTF8", "none", "binary", "8bit", "json", "\"gzip\"", "identity; q"] {
        let error = read(&format!("Content-Encoding: {nonsense}\r\n"));
        assert_eq!(error, Err(HttpError::UnknownEncoding), "{nonsense:?}");
    }
    let twice = read("Content-Encoding: \r\nContent-Encoding: gzip\r\n");
    assert_eq!(twice, Err(HttpError::Compressed));
    let words = "the answer's Content-Encoding names no coding that HTTP has";
    assert_eq!(HttpError::UnknownEncoding.to_string(), words);
}

#[test]
fn folded_fields_are_read_as_one_line() {
    for fields in [
        "Content-Security-Policy:\r\n   default-src 'self';\r\n\tscript-src 'self'\r\nContent-Length: 2",
        "Content-Length:\r\n 2",
        "Content-Length:\n\t2",
        "X: a\r\n \r\nContent-Length: 2",
        "Content-Length: 2\r\nX: y\r\n z",
        "Transfer-Encoding:\r\n\tchunked",
    ] {
        let body = if fields.contains("chunked") { "2\r\nok\r\n0\r\n\r\n" } else { "ok" };
        let text = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n{body}");
        assert_eq!(body_of(&text), "ok", "{fields:?}");
    }
    // The field goes on in the next line; what stands there is no field of its own.
    let hidden = answer("HTTP/1.1 200 OK\r\nX: a\r\n Content-Length: 9\r\n\r\nto the end").unwrap();
    assert_eq!(hidden.body, b"to the end");
    // Behind the status line there is no field that could go on.
    let orphan = error_of("HTTP/1.1 200 OK\r\n Content-Length: 2\r\n\r\nok");
    assert_eq!(orphan, HttpError::BadHead(httparse::Error::HeaderName));
}

#[test]
fn the_status_is_known_with_the_head() {
    let mut reader = ResponseReader::new(10);
    assert_eq!(reader.receive(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 408 Late\r\n"), Ok(None));
    assert_eq!(reader.status(), None);
    assert!(reader.receive(b"Content-Length: 11\r\n\r\n").is_err());
    assert_eq!(reader.status(), Some(408));
}

#[test]
fn broken_chunks_are_an_error() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let cases = [
        "\r\n",
        "x\r\n",
        "-1\r\n",
        "0x5\r\n",
        " 5\r\nhello\r\n",
        "5\nhello\r\n",
        "5\r\r\n",
        "5;a\rb\r\n",
        "2\r\nokay\r\n",
        "2\r\nok\n",
        "2\r\nok\r\r\n",
        "00000000000000001\r\n",
        "0\r\nA: b\n",
    ];
    for chunks in cases {
        assert_eq!(error_of(format!("{head}{chunks}")), HttpError::BadChunk, "{chunks:?}");
    }
}

#[test]
fn heads_are_bounded() {
    let head_of = |bytes: usize| {
        let fixed = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: \r\n\r\n".len();
        let filler = "x".repeat(bytes - fixed);
        format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: {filler}\r\n\r\n")
    };
    assert!(answer(head_of(HEAD_MAX_BYTES)).is_ok());
    assert_eq!(error_of(head_of(HEAD_MAX_BYTES + 1)), HttpError::HeadTooLong);
    let words = HttpError::HeadTooLong.to_string();
    assert_eq!(words, "the answer's head is longer than 16384 bytes");

    let fields = |count: usize| {
        format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{}\r\n", "X: y\r\n".repeat(count - 1))
    };
    assert!(answer(fields(HEADERS_MAX)).is_ok());
    assert_eq!(error_of(fields(HEADERS_MAX + 1)), HttpError::TooManyHeaders);
}

#[test]
fn bodies_are_bounded_however_they_are_framed() {
    let cases = [
        ("Content-Length: 10\r\n\r\n0123456789", "Content-Length: 11\r\n\r\n"),
        (
            "Transfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n6\r\n",
        ),
        ("\r\n0123456789", "\r\n0123456789x"),
    ];
    for (fits, too_long) in cases {
        for (rest, expected) in [(fits, Ok(10)), (too_long, Err(HttpError::TooLong(10)))] {
            let text = format!("HTTP/1.1 200 OK\r\n{rest}");
            for size in [1, 3, text.len()] {
                let result = read(text.as_bytes().chunks(size), 10);
                assert_eq!(result.map(|response| response.body.len()), expected, "{text}");
            }
        }
    }
    let huge = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n";
    assert_eq!(error_of(huge), HttpError::TooLong(ANSWER_MAX_BYTES));
}

#[test]
fn what_stands_between_chunks_is_bounded() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    // The CR before the LF counts into the line.
    let size_line = |bytes: usize| format!("0;{}\r\n", "x".repeat(bytes - "0;\r".len()));
    assert_eq!(body_of(format!("{head}{}\r\n", size_line(FRAMING_LINE_MAX_BYTES))), "");
    let long = format!("{head}{}", size_line(FRAMING_LINE_MAX_BYTES + 1));
    assert_eq!(error_of(long), HttpError::ChunkLineTooLong);
    let trailer = "x".repeat(FRAMING_LINE_MAX_BYTES + 1);
    assert_eq!(error_of(format!("{head}0\r\n{trailer}")), HttpError::ChunkLineTooLong);

    let trailers = "0123456789abcdef\r\n".repeat(DISCARD_MAX_BYTES / 16);
    assert_eq!(body_of(format!("{head}0\r\n{trailers}\r\n")), "");
    assert_eq!(error_of(format!("{head}0\r\n{trailers}x\r\n")), HttpError::TooMuchBetweenChunks);
    let extensions = "1;123456789abcdef\r\nx\r\n".repeat(DISCARD_MAX_BYTES / 16 + 1);
    assert_eq!(error_of(format!("{head}{extensions}")), HttpError::TooMuchBetweenChunks);
}

/// An answer with some framing, and what it should be read as.
fn any_answer() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let interim = prop::collection::vec(Just("HTTP/1.1 100 Continue\r\nA: b\r\n\r\n"), 0..3);
    let pieces = prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6);
    (interim, pieces, 0..3, prop::option::of("[a-z]{1,9}")).prop_map(
        |(interim, pieces, framing, extension)| {
            let body = pieces.concat();
            let mut text = format!("{}HTTP/1.1 200 OK\r\nX: y\r\n", interim.concat()).into_bytes();
            match framing {
                0 => text.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes()),
                1 => text.extend(b"Transfer-Encoding: chunked\r\n\r\n"),
                _ => text.extend(b"\r\n"),
            }
            if framing != 1 {
                text.extend(&body);
                return (text, body);
            }
            let extension = extension.map(|text| format!(" ; {text}")).unwrap_or_default();
            for piece in &pieces {
                text.extend(format!("{:x}{extension}\r\n", piece.len()).bytes());
                text.extend(piece);
                text.extend(b"\r\n");
            }
            text.extend(b"0\r\nTrailer: x\r\n\r\n");
            (text, body)
        },
    )
}

/// Lengths of reads, used round and round.
fn any_cutting() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1usize..60, 1..20)
}

fn cut<'a>(mut bytes: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for length in lengths.iter().cycle() {
        if bytes.is_empty() {
            break;
        }
        let (piece, rest) = bytes.split_at((*length).min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

proptest! {
    #[test]
    fn any_cutting_gives_the_same_answer((text, body) in any_answer(), lengths in any_cutting()) {
        let response = read(cut(&text, &lengths), ANSWER_MAX_BYTES).unwrap();
        prop_assert_eq!(&response.body, &body);
        prop_assert_eq!(&read([text.as_slice()], ANSWER_MAX_BYTES).unwrap(), &response);
    }

    #[test]
    fn a_truncated_answer_is_never_taken_for_a_whole_one(
        (text, body) in any_answer(), at in any::<prop::sample::Index>(), lengths in any_cutting(),
    ) {
        let text = &text[..at.index(text.len())];
        let result = read(cut(text, &lengths), ANSWER_MAX_BYTES);
        prop_assert_eq!(&read([text], ANSWER_MAX_BYTES), &result);
        // Only a body that ends with the stream cannot tell, and it ends where the stream does.
        if let Ok(response) = result {
            prop_assert!(!response.keep_alive);
            prop_assert!(body.starts_with(&response.body));
        }
    }

    #[test]
    fn no_bytes_are_too_wild(
        start in 0usize..5, noise in prop::collection::vec(any::<u8>(), 0..300), lengths in any_cutting(),
    ) {
        let starts = [
            "", "HTTP/1.1 ", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        ];
        let text = [starts[start].as_bytes(), &noise].concat();
        let whole = read([text.as_slice()], 100).map(|response| response.body);
        let in_pieces = read(cut(&text, &lengths), 100).map(|response| response.body);
        prop_assert_eq!(whole, in_pieces);
    }
}
