//! HTTP/1.1 (RFC 9112) as pure state machines: bytes in, values out, no socket and no clock.
//!
//! `response` and `request` are the client's half, for the GET to Places; `server` is the half of
//! the stand-in that answers it; `body` frames the bytes after a head for both. Heads are parsed by
//! httparse, all the rest here. The end of the stream is an input like any other, because it is what
//! ends some bodies. Every bound is a named constant, so no peer decides how much is held for it.

pub mod body;
pub mod request;
pub mod response;
pub mod server;

#[cfg(test)]
mod tests;

use std::fmt;

/// The longest head (start line and fields), in bytes. Real ones have one or two thousand.
pub const HEAD_MAX_BYTES: usize = 16 * 1024;

/// The most fields in one head. Google's answers have about fifteen.
pub const HEADERS_MAX: usize = 64;

/// The longest body of an answer, in bytes. Twenty places are about 30 KiB, so this leaves room and
/// still bounds what the pool of connections can hold altogether.
pub const ANSWER_MAX_BYTES: usize = 1024 * 1024;

/// Why an answer cannot be used, or a request not be written. `Display` gives words that can be
/// shown to a client: they hold numbers and names of rules, never bytes from the peer or a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpError {
    /// The stream ended before any byte of an answer. On a kept-alive connection that is how a
    /// stale one shows, and the request may be sent once more on a fresh connection.
    ClosedBeforeAnswer,
    /// The stream ended inside the head, or after an interim answer.
    ClosedInHead,
    /// The stream ended inside a body whose framing promised more.
    ClosedInBody {
        /// Bytes of the body that came.
        got: usize,
        /// What `Content-Length` promised; `None` for a chunked body.
        promised: Option<usize>,
    },
    /// The first bytes are not those of an HTTP/1 answer.
    NotHttp,
    /// The head does not end within [`HEAD_MAX_BYTES`].
    HeadTooLong,
    /// The head has more than [`HEADERS_MAX`] fields.
    TooManyHeaders,
    /// The head does not parse; httparse's own reason.
    BadHead(httparse::Error),
    /// `Content-Length` is not one plain decimal number.
    BadLength,
    /// More than one `Content-Length` (RFC 9112 §6.3 allows refusing even equal ones).
    LengthTwice,
    /// Both `Content-Length` and `Transfer-Encoding`: the sign of a smuggled message (RFC 9112 §6.3).
    LengthAndCoding,
    /// A transfer coding other than one `chunked`, or any at all in HTTP/1.0.
    BadCoding,
    /// The body is compressed although `identity` was asked for.
    Compressed,
    /// `Content-Encoding` names something that is no content coding.
    UnknownEncoding,
    /// The body is longer than this limit, in bytes.
    TooLong(usize),
    /// Chunked framing is broken (RFC 9112 §7.1).
    BadChunk,
    /// A chunk's size line, or a trailer, is longer than [`body::FRAMING_LINE_MAX_BYTES`].
    ChunkLineTooLong,
    /// Chunk extensions and trailers are longer than [`body::DISCARD_MAX_BYTES`] altogether.
    TooMuchBetweenChunks,
    /// More than [`response::INTERIM_MAX`] interim answers.
    TooManyInterim,
    /// 101: the peer wants to speak another protocol, which nobody asked it to.
    SwitchesProtocols,
    /// Bytes after the answer was whole, or after it was found broken.
    AfterAnswer,
    /// This part of a request holds bytes that could end a line or begin another field.
    UnsafeRequest(&'static str),
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClosedBeforeAnswer => f.write_str("closed before any byte of the answer"),
            Self::ClosedInHead => f.write_str("closed in the middle of the answer's head"),
            Self::ClosedInBody { got, promised: Some(promised) } => {
                write!(f, "closed after {got} of the {promised} bytes of the answer")
            }
            Self::ClosedInBody { got, promised: None } => {
                write!(f, "closed after {got} bytes of the answer, before its last chunk")
            }
            Self::NotHttp => f.write_str("the answer is not HTTP/1"),
            Self::HeadTooLong => {
                write!(f, "the answer's head is longer than {HEAD_MAX_BYTES} bytes")
            }
            Self::TooManyHeaders => write!(f, "the answer has more than {HEADERS_MAX} headers"),
            Self::BadHead(why) => write!(f, "the answer's head is broken: {why}"),
            Self::BadLength => f.write_str("the answer's Content-Length is not a number"),
            Self::LengthTwice => f.write_str("the answer has more than one Content-Length"),
            Self::LengthAndCoding => {
                f.write_str("the answer has both Content-Length and Transfer-Encoding")
            }
            Self::BadCoding => f.write_str("the answer's Transfer-Encoding is not plain chunked"),
            Self::Compressed => f.write_str("the answer is compressed, which was not asked for"),
            Self::UnknownEncoding => {
                f.write_str("the answer's Content-Encoding names no coding that HTTP has")
            }
            Self::TooLong(limit) => write!(f, "the answer is longer than {limit} bytes"),
            Self::BadChunk => f.write_str("the answer's chunks are broken"),
            Self::ChunkLineTooLong => write!(
                f,
                "a line between the answer's chunks is longer than {} bytes",
                body::FRAMING_LINE_MAX_BYTES
            ),
            Self::TooMuchBetweenChunks => write!(
                f,
                "the answer's chunk extensions and trailers are longer than {} bytes",
                body::DISCARD_MAX_BYTES
            ),
            Self::TooManyInterim => {
                write!(f, "more than {} interim answers and no final one", response::INTERIM_MAX)
            }
            Self::SwitchesProtocols => {
                f.write_str("the answer switches to another protocol, which was not asked for")
            }
            Self::AfterAnswer => f.write_str("bytes that belong to no answer"),
            Self::UnsafeRequest(part) => {
                write!(f, "the request's {part} holds a byte that does not belong there")
            }
        }
    }
}

impl std::error::Error for HttpError {}

/// Collects a head, from its first byte to the empty line that ends it.
#[derive(Debug)]
struct HeadBuffer {
    bytes: Vec<u8>,
    /// How every head of this kind begins. A peer that speaks something else is told apart at its
    /// first byte, rather than waited for until a deadline.
    prefix: &'static [u8],
}

impl HeadBuffer {
    fn new(prefix: &'static [u8]) -> Self {
        Self { bytes: Vec::new(), prefix }
    }

    /// Takes from `data` what belongs to the head and leaves the rest; true when the head is whole.
    fn receive(&mut self, data: &mut &[u8]) -> Result<bool, HttpError> {
        while let [byte, rest @ ..] = *data {
            if self.prefix.get(self.bytes.len()).is_some_and(|expected| expected != byte) {
                return Err(HttpError::NotHttp);
            }
            if self.bytes.len() == HEAD_MAX_BYTES {
                return Err(HttpError::HeadTooLong);
            }
            self.bytes.push(*byte);
            *data = rest;
            // A bare LF ends a line too (RFC 9112 §2.2), and httparse agrees; if the two saw different
            // ends, bytes of a body could be read as fields.
            if *byte == b'\n' && (self.bytes.ends_with(b"\n\r\n") || self.bytes.ends_with(b"\n\n"))
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Replaces each fold in a whole head by spaces: the end of a line and the white space that begins the
/// next are a part of one field (RFC 9112 §5.2). White space behind the start line belongs to no field,
/// and stays for the parser to refuse (§2.2).
fn unfold(head: &mut [u8]) {
    let mut is_start_line = true;
    for index in 0..head.len() {
        if head.get(index) != Some(&b'\n') || std::mem::take(&mut is_start_line) {
            continue;
        }
        if !matches!(head.get(index + 1), Some(b' ' | b'\t')) {
            continue;
        }
        for end in [index.checked_sub(1), Some(index)].into_iter().flatten() {
            if let Some(byte @ (b'\r' | b'\n')) = head.get_mut(end) {
                *byte = b' ';
            }
        }
    }
}

/// httparse's refusal of a head in our terms.
fn head_error(why: httparse::Error) -> HttpError {
    match why {
        httparse::Error::TooManyHeaders => HttpError::TooManyHeaders,
        other => HttpError::BadHead(other),
    }
}
