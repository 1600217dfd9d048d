//! Requests from bytes and answers to bytes: the server's half of HTTP/1.1, as small as a stand-in
//! for Places needs it.
//!
//! A [`RequestReader`] belongs to one connection and takes requests from it one at a time; what it
//! cannot read is a [`Refusal`], which is answered and ends the connection. It routes nothing and
//! knows no path. Called by the `herd places` stand-in, and by tests that play an upstream.

use super::body::{BodyReader, Fields, Framing};
use super::{HEADERS_MAX, HeadBuffer, HttpError};

/// The longest body of a request, in bytes. The longest that an upstream is sent is under 200.
pub const REQUEST_BODY_MAX_BYTES: usize = 64 * 1024;

/// A request, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// `GET`, `POST`, … as it was sent.
    pub method: String,
    /// Path and query as they were sent; see [`query_pairs`].
    pub target: String,
    /// Whether the client wants to send another request on this connection.
    pub keep_alive: bool,
    /// The body; empty when there was none.
    pub body: Vec<u8>,
}

/// Why a request is not served. Answer with it and close: where the next request begins is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The status to answer with.
    pub status: u16,
    /// Its reason phrase.
    pub reason: &'static str,
}

impl Refusal {
    const BAD_REQUEST: Self = Self { status: 400, reason: "Bad Request" };
    const TOO_LARGE: Self = Self { status: 413, reason: "Content Too Large" };
    const HEAD_TOO_LARGE: Self = Self { status: 431, reason: "Request Header Fields Too Large" };
    const NOT_IMPLEMENTED: Self = Self { status: 501, reason: "Not Implemented" };
    const BAD_VERSION: Self = Self { status: 505, reason: "HTTP Version Not Supported" };
}

/// Takes in the requests of one connection.
#[derive(Debug)]
pub struct RequestReader {
    state: State,
}

#[derive(Debug)]
enum State {
    Head(HeadBuffer),
    /// The request without its body, and the body so far.
    Body(Incoming, BodyReader),
    /// After a refusal.
    Refused(Refusal),
}

impl State {
    fn begin() -> Self {
        Self::Head(HeadBuffer::new(b""))
    }
}

impl Default for RequestReader {
    fn default() -> Self {
        Self::new()
    }
}

impl RequestReader {
    /// A reader at the beginning of a connection.
    pub fn new() -> Self {
        Self { state: State::begin() }
    }

    /// Takes the next request from `data` and leaves what follows it there, so nothing is held for a
    /// client beyond one request: call it until it answers `None`. Once it has refused, it always
    /// answers that refusal.
    pub fn receive(&mut self, data: &mut &[u8]) -> Result<Option<Incoming>, Refusal> {
        let result = self.advance(data);
        if let Err(refusal) = result {
            self.state = State::Refused(refusal);
        }
        result
    }

    fn advance(&mut self, data: &mut &[u8]) -> Result<Option<Incoming>, Refusal> {
        if let State::Head(buffer) = &mut self.state {
            if buffer.bytes.is_empty() {
                skip_empty_lines(data);
            }
            if !buffer.receive(data).map_err(refuse)? {
                return Ok(None);
            }
            let (incoming, length) = parse_head(&buffer.bytes)?;
            let body =
                BodyReader::new(Framing::Length(length), REQUEST_BODY_MAX_BYTES).map_err(refuse)?;
            self.state = State::Body(incoming, body);
        }
        match &mut self.state {
            State::Body(_, body) => {
                if !body.receive(data).map_err(refuse)? {
                    return Ok(None);
                }
            }
            State::Refused(refusal) => return Err(*refusal),
            State::Head(_) => return Ok(None),
        }
        Ok(match std::mem::replace(&mut self.state, State::begin()) {
            State::Body(incoming, body) => Some(Incoming { body: body.into_body(), ..incoming }),
            State::Head(_) | State::Refused(_) => None,
        })
    }
}

/// Some clients end a body with a CR LF that belongs to nothing; it is no request (RFC 9112 §2.2).
fn skip_empty_lines(data: &mut &[u8]) {
    while let [b'\r' | b'\n', rest @ ..] = *data {
        *data = rest;
    }
}

/// A request without its body, and that body's length.
fn parse_head(bytes: &[u8]) -> Result<(Incoming, usize), Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    parsed.parse(bytes).map_err(|why| match why {
        httparse::Error::TooManyHeaders => Refusal::HEAD_TOO_LARGE,
        httparse::Error::Version => Refusal::BAD_VERSION,
        _ => Refusal::BAD_REQUEST,
    })?;
    let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version)
    else {
        return Err(Refusal::BAD_REQUEST);
    };
    let hosts = parsed.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("host"));
    // RFC 9112 §3.2: exactly one, but HTTP/1.0 did not have it.
    if !matches!((hosts.count(), minor), (1, _) | (0, 0)) {
        return Err(Refusal::BAD_REQUEST);
    }
    let fields = Fields::read(parsed.headers).map_err(refuse)?;
    let length = match fields.framing {
        Framing::Chunked => return Err(Refusal::NOT_IMPLEMENTED),
        Framing::Length(length) => length,
        Framing::ToClose => 0,
    };
    let incoming = Incoming {
        method: method.to_owned(),
        target: target.to_owned(),
        keep_alive: fields.persists(minor),
        body: Vec::new(),
    };
    Ok((incoming, length))
}

/// The refusal that answers a fault of framing.
fn refuse(why: HttpError) -> Refusal {
    match why {
        HttpError::HeadTooLong => Refusal::HEAD_TOO_LARGE,
        HttpError::TooLong(_) => Refusal::TOO_LARGE,
        HttpError::BadCoding => Refusal::NOT_IMPLEMENTED,
        _ => Refusal::BAD_REQUEST,
    }
}

/// Appends an answer with a body. `reason` and `fields` are the program's own constants.
pub fn write_response(
    out: &mut Vec<u8>,
    status: u16,
    reason: &str,
    fields: &[(&str, &str)],
    body: &[u8],
    keep_alive: bool,
) {
    let connection = if keep_alive { "keep-alive" } else { "close" };
    out.extend_from_slice(format!("HTTP/1.1 {status} {reason}\r\n").as_bytes());
    for (name, value) in fields {
        out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    let length = body.len();
    let end = format!("Content-Length: {length}\r\nConnection: {connection}\r\n\r\n");
    out.extend_from_slice(end.as_bytes());
    out.extend_from_slice(body);
}

/// Splits a target into its path and the pairs of its query, all decoded. `+` in the query is a
/// space, as in HTML forms and as Google reads it; a name without `=` has an empty value.
pub fn query_pairs(target: &str) -> (String, Vec<(String, String)>) {
    let target = target.split('#').next().unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let decode = |text: &str| percent_decode(&text.replace('+', " "));
    let pairs = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect();
    (percent_decode(path), pairs)
}

/// Undoes percent-encoding. A `%` without two hexadecimal digits stands for itself, and bytes that
/// are not UTF-8 become U+FFFD: a wrong value then finds nothing, rather than failing.
pub fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        match rest {
            [b'%', high, low, after @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                bytes.push(hex_value(*high) << 4 | hex_value(*low));
                rest = after;
            }
            _ => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The value of a hexadecimal digit.
fn hex_value(digit: u8) -> u8 {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::HEAD_MAX_BYTES;
    use super::*;

    /// All requests in `pieces`, and the refusal that ended them, if one did.
    fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Incoming>, Option<Refusal>) {
        let mut reader = RequestReader::new();
        let mut requests = Vec::new();
        for mut data in pieces {
            loop {
                match reader.receive(&mut data) {
                    Ok(Some(request)) => requests.push(request),
                    Ok(None) => break,
                    Err(refusal) => return (requests, Some(refusal)),
                }
            }
            assert!(data.is_empty());
        }
        (requests, None)
    }

    fn read_any_cutting(text: &str) -> (Vec<Incoming>, Option<Refusal>) {
        let bytes = text.as_bytes();
        let whole = read([bytes]);
        for size in 1..bytes.len().min(100) {
            assert_eq!(read(bytes.chunks(size)), whole, "in reads of {size}");
        }
        whole
    }

    fn incoming(method: &str, target: &str, keep_alive: bool, body: &str) -> Incoming {
        let (method, target) = (method.to_owned(), target.to_owned());
        Incoming { method, target, keep_alive, body: body.as_bytes().to_vec() }
    }

    #[test]
    fn pipelined_requests_come_one_at_a_time() {
        let text = "\r\n\nGET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n\
                    POST /p HTTP/1.1\r\nhost: x\r\nContent-Length: 4\r\n\r\nbody\r\n\
                    GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let (requests, refusal) = read_any_cutting(text);
        let expected = [
            incoming("GET", "/a?b=c", true, ""),
            incoming("POST", "/p", true, "body"),
            incoming("GET", "/", false, ""),
        ];
        assert_eq!((requests.as_slice(), refusal), (expected.as_slice(), None));
    }

    #[test]
    fn http_1_0_closes_unless_it_says_otherwise() {
        let (requests, _) = read_any_cutting(
            "GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /b HTTP/1.0\r\n\r\n",
        );
        assert_eq!(requests.iter().map(|r| r.keep_alive).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn what_is_not_served_is_refused_with_its_status() {
        let host = "GET / HTTP/1.1\r\nHost: x\r\n";
        let many = "X: y\r\n".repeat(HEADERS_MAX);
        let long = "x".repeat(HEAD_MAX_BYTES);
        let cases = [
            ("nonsense\r\n\r\n".to_owned(), 400),
            ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
            (format!("{host}Host: y\r\n\r\n"), 400),
            (format!("{host}Content-Length: 1\r\nContent-Length: 1\r\n\r\nx"), 400),
            (format!("{host}Content-Length: x\r\n\r\n"), 400),
            (format!("{host}Content-Length: {}\r\n\r\n", REQUEST_BODY_MAX_BYTES + 1), 413),
            (format!("{host}{many}\r\n"), 431),
            (format!("{host}X: {long}"), 431),
            (format!("{host}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 501),
            (format!("{host}Transfer-Encoding: gzip\r\n\r\n"), 501),
            ("GET / HTTP/2.0\r\nHost: x\r\n\r\n".to_owned(), 505),
        ];
        for (text, status) in cases {
            let (requests, refusal) = read_any_cutting(&text);
            assert_eq!((requests.len(), refusal.map(|r| r.status)), (0, Some(status)), "{text}");
        }
    }

    #[test]
    fn the_longest_body_is_taken() {
        let body = "x".repeat(REQUEST_BODY_MAX_BYTES);
        let head = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
        let (requests, _) = read([head.as_bytes(), body.as_bytes()]);
        assert_eq!(requests.first().map(|request| request.body.len()), Some(body.len()));
    }

    #[test]
    fn a_refusal_is_final() {
        let mut reader = RequestReader::default();
        let refusal = reader.receive(&mut b"?\r\n\r\n".as_slice()).unwrap_err();
        let good = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        assert_eq!(reader.receive(&mut good.as_slice()), Err(refusal));
    }

    #[test]
    fn a_response_is_written_to_the_letter() {
        let mut out = Vec::new();
        write_response(&mut out, 200, "OK", &[("Content-Type", "application/json")], b"{}", true);
        let expected = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\
                        Connection: keep-alive\r\n\r\n{}";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        let mut out = Vec::new();
        write_response(&mut out, 404, "Not Found", &[], b"", false);
        let text = String::from_utf8(out).unwrap();
        assert!(text.ends_with("Content-Length: 0\r\nConnection: close\r\n\r\n"), "{text}");
    }

    #[test]
    fn a_target_is_a_path_and_pairs() {
        // The pairs that are expected are written `name>value;`.
        let cases = [
            ("/json?location=34.0,-118.4&radius=10", "/json", "location>34.0,-118.4;radius>10;"),
            ("/a%2Fb+c", "/a/b+c", ""),
            ("/?a=b%20c+d&&e&=f&g=h=i&%6b=%C3%A9", "/", "a>b c d;e>;>f;g>h=i;k>\u{e9};"),
            ("/?a=%&b=%4&c=%zz&d=%ff#x?y", "/", "a>%;b>%4;c>%zz;d>\u{fffd};"),
            ("?", "", ""),
            ("", "", ""),
        ];
        for (target, path, expected) in cases {
            let (found, pairs) = query_pairs(target);
            let pairs: Vec<_> =
                pairs.iter().map(|(name, value)| format!("{name}>{value};")).collect();
            assert_eq!((found.as_str(), pairs.concat().as_str()), (path, expected), "{target}");
        }
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(bytes in prop::collection::vec(any::<u8>(), 0..50)) {
            let mut text = String::new();
            super::super::request::percent_encode(&mut text, &bytes);
            prop_assert_eq!(percent_decode(&text), String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn no_bytes_are_too_wild(
            noise in prop::collection::vec(any::<u8>(), 0..200), text in ".{0,40}", size in 1usize..50,
        ) {
            let start = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc".as_slice();
            let bytes = [start, &noise].concat();
            prop_assert_eq!(read([bytes.as_slice()]), read(bytes.chunks(size)));
            query_pairs(&text);
        }
    }
}
