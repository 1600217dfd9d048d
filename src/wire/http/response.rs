//! One answer from bytes: the client's half of HTTP/1.1.
//!
//! A [`ResponseReader`] is made for each request, is handed what the connection brings, in any
//! cutting, and hands back one [`Response`]. It never asks for another one: redirects, retries and
//! what a status means are its caller's business. Called by the connections to Places.

use super::body::{BodyReader, Encoding, Fields, Framing};
use super::{HEADERS_MAX, HeadBuffer, HttpError, head_error, unfold};

/// The most interim answers (1xx) before the final one. Servers send one or two; without a bound, one
/// could send them for ever.
pub const INTERIM_MAX: usize = 8;

/// How every answer that httparse reads begins.
const PREFIX: &[u8] = b"HTTP/1.";

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code, 200 to 999.
    pub status: u16,
    /// The `Location` field, for an error that names the host of a redirect. It may hold what the
    /// request held, a key too, so show no more of it than that host.
    pub location: Option<String>,
    /// The body, without its framing.
    pub body: Vec<u8>,
    /// Whether the connection may carry another request: the server keeps it, and no stray byte
    /// followed this answer in the same read.
    pub keep_alive: bool,
}

/// Takes in the answer to one request.
///
/// ```
/// use herd::wire::http::response::ResponseReader;
///
/// let mut reader = ResponseReader::new(1024);
/// assert_eq!(reader.receive(b"HTTP/1.1 200 OK\r\nContent-Le"), Ok(None));
/// let answer = reader.receive(b"ngth: 2\r\n\r\n{}").unwrap().unwrap();
/// assert_eq!((answer.status, answer.body.as_slice()), (200, b"{}".as_slice()));
/// ```
#[derive(Debug)]
pub struct ResponseReader {
    state: State,
    body_max_bytes: usize,
    begun: bool,
    status: Option<u16>,
    interims: usize,
}

#[derive(Debug)]
enum State {
    Head(HeadBuffer),
    Body(Head, BodyReader),
    /// The answer was handed out, or was found broken.
    Spent,
}

/// What is kept of a final answer's head until its body is there.
#[derive(Debug)]
struct Head {
    status: u16,
    location: Option<String>,
    framing: Framing,
    persists: bool,
}

impl ResponseReader {
    /// A reader for one answer with a body of at most `body_max_bytes`, usually
    /// [`super::ANSWER_MAX_BYTES`].
    pub fn new(body_max_bytes: usize) -> Self {
        let state = State::Head(HeadBuffer::new(PREFIX));
        Self { state, body_max_bytes, begun: false, status: None, interims: 0 }
    }

    /// Whether any byte of an answer has come. While none has, a lost connection may have been stale,
    /// and the request may be sent once more elsewhere.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// The answer's status, once its head is whole, whatever becomes of its body.
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    /// Takes in what the connection brought; the answer once it is whole. After that, or after an
    /// error, the reader is spent and the connection's next bytes are an error.
    pub fn receive(&mut self, data: &[u8]) -> Result<Option<Response>, HttpError> {
        self.begun |= !data.is_empty();
        let result = self.advance(data);
        if result.is_err() {
            self.state = State::Spent;
        }
        result
    }

    /// The connection's orderly end. It completes a body that has no other end; anything else that is
    /// not whole was cut off. At an end that is not orderly (a reset, TLS without `close_notify`) a body
    /// that ends with the stream may be cut off too: then whoever calls this has to know in another way
    /// that the body is whole.
    pub fn finish(&mut self) -> Result<Response, HttpError> {
        match std::mem::replace(&mut self.state, State::Spent) {
            State::Head(_) if !self.begun => Err(HttpError::ClosedBeforeAnswer),
            State::Head(_) => Err(HttpError::ClosedInHead),
            State::Body(head, body) => {
                body.finish()?;
                // The stream is at its end, whatever the head said of keeping it.
                Ok(head.with(body, false))
            }
            State::Spent => Err(HttpError::AfterAnswer),
        }
    }

    fn advance(&mut self, mut data: &[u8]) -> Result<Option<Response>, HttpError> {
        loop {
            match &mut self.state {
                State::Head(buffer) => {
                    if !buffer.receive(&mut data)? {
                        return Ok(None);
                    }
                    unfold(&mut buffer.bytes);
                    self.state = match parse_head(&buffer.bytes)? {
                        Some(head) => {
                            self.status = Some(head.status);
                            let body = BodyReader::new(head.framing, self.body_max_bytes)?;
                            State::Body(head, body)
                        }
                        None if self.interims == INTERIM_MAX => {
                            return Err(HttpError::TooManyInterim);
                        }
                        None => {
                            self.interims += 1;
                            State::Head(HeadBuffer::new(PREFIX))
                        }
                    };
                }
                State::Body(_, body) => {
                    if !body.receive(&mut data)? {
                        return Ok(None);
                    }
                    return Ok(self.hand_out(data.is_empty()));
                }
                State::Spent => return Err(HttpError::AfterAnswer),
            }
        }
    }

    /// The answer, whose body is whole. `clean` says that nothing followed it.
    fn hand_out(&mut self, clean: bool) -> Option<Response> {
        match std::mem::replace(&mut self.state, State::Spent) {
            State::Body(head, body) => Some(head.with(body, clean)),
            State::Head(_) | State::Spent => None,
        }
    }
}

impl Head {
    fn with(self, body: BodyReader, clean: bool) -> Response {
        Response {
            status: self.status,
            location: self.location,
            body: body.into_body(),
            keep_alive: self.persists && clean,
        }
    }
}

/// Parses a head; `None` for an interim answer, which is skipped (RFC 9110 §15.2).
fn parse_head(bytes: &[u8]) -> Result<Option<Head>, HttpError> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Response::new(&mut headers);
    parsed.parse(bytes).map_err(head_error)?;
    // The head is whole, so a field that httparse left out is one that it could not make out.
    let (Some(status), Some(minor)) = (parsed.code, parsed.version) else {
        return Err(HttpError::BadHead(httparse::Error::Status));
    };
    match status {
        0..=99 => return Err(HttpError::BadHead(httparse::Error::Status)),
        101 => return Err(HttpError::SwitchesProtocols),
        100..=199 => return Ok(None),
        _ => {}
    }
    let fields = Fields::read(parsed.headers)?;
    let framing = match (status, fields.framing) {
        (204 | 304, _) => Framing::Length(0),
        // A coding that HTTP/1.0 does not have: the framing is faulty (RFC 9112 §6.1).
        (_, Framing::Chunked) if minor == 0 => return Err(HttpError::BadCoding),
        (_, framing) => framing,
    };
    // Of a refusal the status alone is looked at, so its body may come as it likes.
    match fields.encoding {
        Encoding::Coded if status == 200 => return Err(HttpError::Compressed),
        Encoding::Unknown if status == 200 => return Err(HttpError::UnknownEncoding),
        _ => {}
    }
    let location = parsed
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("location"))
        .and_then(|header| String::from_utf8(header.value.to_vec()).ok());
    Ok(Some(Head { status, location, framing, persists: fields.persists(minor) }))
}
