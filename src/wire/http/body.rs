//! Where a body ends (RFC 9112 §6 and §7): by its length, by its last chunk, or with the stream.
//!
//! [`Fields`] reads from a head what decides that; [`BodyReader`] then takes the body's bytes in any
//! cutting and no byte more. Chunk extensions and trailers are read and thrown away, as §7.1.1 and
//! §7.1.2 allow. Called by the response and the request reader; it knows of no status or method.

use super::HttpError;

/// The longest line of chunked framing, in bytes: a size with its extensions, or one trailer.
pub const FRAMING_LINE_MAX_BYTES: usize = 1024;

/// The most bytes of chunk extensions and trailers in one body. They are thrown away, so this bounds
/// the work that a peer can cause without sending any body.
pub const DISCARD_MAX_BYTES: usize = 16 * 1024;

/// The most digits of a chunk's size: what 64 bits can have. More would be zeros, sent to be counted.
const CHUNK_DIGITS_MAX: usize = 16;

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// After this many bytes.
    Length(usize),
    /// After the last chunk and the trailers.
    Chunked,
    /// With the end of the stream: no field says anything. (A request then has no body.)
    ToClose,
}

/// The codings that change a body, as IANA's registry of content codings has them.
const CODINGS: [&str; 12] = [
    "aes128gcm",
    "br",
    "compress",
    "dcb",
    "dcz",
    "deflate",
    "exi",
    "gzip",
    "pack200-gzip",
    "x-compress",
    "x-gzip",
    "zstd",
];

/// What `Content-Encoding` says of a body (RFC 9110 §8.4). The greater of two is the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Encoding {
    /// The body is as it is: there is no such field, or it is empty or says `identity`.
    Identity,
    /// It names something that is no coding, as `utf-8`. What the body is then is anybody's guess.
    Unknown,
    /// The body is compressed or otherwise coded.
    Coded,
}

impl Encoding {
    /// Reads one field's value, which is a list.
    fn read(value: &[u8]) -> Self {
        let codings = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
        codings.map(Self::of_coding).max().unwrap_or(Self::Identity)
    }

    fn of_coding(name: &[u8]) -> Self {
        if name.is_empty() || name.eq_ignore_ascii_case(b"identity") {
            Self::Identity
        } else if CODINGS.iter().any(|coding| name.eq_ignore_ascii_case(coding.as_bytes())) {
            Self::Coded
        } else {
            Self::Unknown
        }
    }
}

/// What the fields of a head say about the message's framing and about the connection.
#[derive(Debug, PartialEq, Eq)]
pub struct Fields {
    /// How the body ends, were it not for the status.
    pub framing: Framing,
    /// What `Content-Encoding` says of the body.
    pub encoding: Encoding,
    /// `Connection` names `close`.
    pub close: bool,
    /// `Connection` names `keep-alive`.
    pub keep_alive: bool,
}

impl Fields {
    /// Reads the fields. Anything on which two readers could differ about the body's end is an error
    /// rather than a guess (RFC 9112 §6.3 and §11.2).
    pub fn read(headers: &[httparse::Header<'_>]) -> Result<Self, HttpError> {
        let (mut length, mut chunked) = (None, false);
        let (mut encoding, mut close, mut keep_alive) = (Encoding::Identity, false, false);
        for header in headers {
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            let value = header.value.trim_ascii();
            if is("content-length") {
                if length.replace(parse_length(value)?).is_some() {
                    return Err(HttpError::LengthTwice);
                }
            } else if is("transfer-encoding") {
                if chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(HttpError::BadCoding);
                }
                chunked = true;
            } else if is("content-encoding") {
                encoding = encoding.max(Encoding::read(value));
            } else if is("connection") {
                for option in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
                    close |= option.eq_ignore_ascii_case(b"close");
                    keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
        }
        let framing = match (length, chunked) {
            (Some(_), true) => return Err(HttpError::LengthAndCoding),
            (Some(length), false) => Framing::Length(length),
            (None, true) => Framing::Chunked,
            (None, false) => Framing::ToClose,
        };
        Ok(Self { framing, encoding, close, keep_alive })
    }

    /// Whether the sender keeps the connection open after this message (RFC 9112 §9.3). `minor` is
    /// the minor version: HTTP/1.1 keeps by default, HTTP/1.0 only when it says so.
    pub fn persists(&self, minor: u8) -> bool {
        !self.close && (minor == 1 || self.keep_alive)
    }
}

/// A `Content-Length`: digits and nothing else. `parse` alone would take a sign.
fn parse_length(value: &[u8]) -> Result<usize, HttpError> {
    if !value.iter().all(u8::is_ascii_digit) {
        return Err(HttpError::BadLength);
    }
    str::from_utf8(value).ok().and_then(|text| text.parse().ok()).ok_or(HttpError::BadLength)
}

/// Where in the body the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// So many bytes of a body with a length are still to come; never zero.
    Length { left: usize },
    /// In a body that ends with the stream.
    ToClose,
    /// In the line that begins a chunk.
    ChunkSize,
    /// So many bytes of a chunk are still to come; never zero.
    Chunk { left: usize },
    /// These bytes must follow: the CR LF after a chunk, or the rest of it.
    ChunkEnd { expected: &'static [u8] },
    /// In a trailer, or in the empty line that ends them.
    Trailers,
    /// Nothing more belongs to the body.
    Whole,
}

/// Takes in one body, however it is cut into reads.
#[derive(Debug)]
pub struct BodyReader {
    state: State,
    body: Vec<u8>,
    limit: usize,
    /// The line of chunked framing that is being collected.
    line: Vec<u8>,
    /// Bytes of extensions and trailers so far.
    discarded: usize,
}

impl BodyReader {
    /// A reader for one body of at most `limit` bytes. A length beyond that is refused at once.
    pub fn new(framing: Framing, limit: usize) -> Result<Self, HttpError> {
        let state = match framing {
            Framing::Length(length) if length > limit => return Err(HttpError::TooLong(limit)),
            Framing::Length(0) => State::Whole,
            Framing::Length(left) => State::Length { left },
            Framing::Chunked => State::ChunkSize,
            Framing::ToClose => State::ToClose,
        };
        Ok(Self { state, body: Vec::new(), limit, line: Vec::new(), discarded: 0 })
    }

    /// Takes from `data` what belongs to the body and leaves the rest; true when the body is whole.
    pub fn receive(&mut self, data: &mut &[u8]) -> Result<bool, HttpError> {
        while self.state != State::Whole && !data.is_empty() {
            self.state = self.step(data)?;
        }
        Ok(self.state == State::Whole)
    }

    /// The end of the stream: fine where it is what ends the body, a truncation anywhere else.
    pub fn finish(&self) -> Result<(), HttpError> {
        let got = self.body.len();
        match self.state {
            State::Whole | State::ToClose => Ok(()),
            State::Length { left } => {
                Err(HttpError::ClosedInBody { got, promised: Some(got.saturating_add(left)) })
            }
            _ => Err(HttpError::ClosedInBody { got, promised: None }),
        }
    }

    /// The bytes of the body so far, without any framing.
    pub fn into_body(self) -> Vec<u8> {
        self.body
    }

    /// Takes at least one byte of `data`, which is not empty, and says what comes next.
    fn step(&mut self, data: &mut &[u8]) -> Result<State, HttpError> {
        Ok(match self.state {
            State::Length { left } => match self.take(data, left)? {
                0 => State::Whole,
                left => State::Length { left },
            },
            State::ToClose => {
                self.take(data, usize::MAX)?;
                State::ToClose
            }
            State::ChunkSize => {
                if self.take_line(data)? {
                    self.begin_chunk()?
                } else {
                    State::ChunkSize
                }
            }
            State::Trailers => {
                if self.take_line(data)? {
                    self.end_trailer()?
                } else {
                    State::Trailers
                }
            }
            State::Chunk { left } => match self.take(data, left)? {
                0 => State::ChunkEnd { expected: b"\r\n" },
                left => State::Chunk { left },
            },
            State::ChunkEnd { expected } => take_expected(data, expected)?,
            State::Whole => State::Whole,
        })
    }

    /// Moves up to `left` bytes into the body and returns how many of them are still to come.
    fn take(&mut self, data: &mut &[u8], left: usize) -> Result<usize, HttpError> {
        let (taken, rest) = data.split_at_checked(left).unwrap_or((*data, &[]));
        if taken.len() > self.limit - self.body.len() {
            return Err(HttpError::TooLong(self.limit));
        }
        self.body.extend_from_slice(taken);
        *data = rest;
        Ok(left - taken.len())
    }

    /// Collects a line of framing; true when it is whole and stands in `line` without its CR LF. A
    /// bare LF or CR is an error here: only heads are old enough to deserve leniency.
    fn take_line(&mut self, data: &mut &[u8]) -> Result<bool, HttpError> {
        while let [byte, rest @ ..] = *data {
            *data = rest;
            if *byte == b'\n' {
                let clean = self.line.pop() == Some(b'\r') && !self.line.contains(&b'\r');
                return if clean { Ok(true) } else { Err(HttpError::BadChunk) };
            }
            if self.line.len() == FRAMING_LINE_MAX_BYTES {
                return Err(HttpError::ChunkLineTooLong);
            }
            self.line.push(*byte);
        }
        Ok(false)
    }

    /// Reads a chunk's size from `line`: hexadecimal digits, then perhaps extensions after a `;`,
    /// with white space before it (RFC 9112 §7.1.1).
    fn begin_chunk(&mut self) -> Result<State, HttpError> {
        let line = std::mem::take(&mut self.line);
        let digits = line.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii_end();
        self.discard(line.len() - digits.len())?;
        let plausible = (1..=CHUNK_DIGITS_MAX).contains(&digits.len());
        if !plausible || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(HttpError::BadChunk);
        }
        let size =
            str::from_utf8(digits).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
        match size {
            Some(0) => Ok(State::Trailers),
            Some(left) if left <= self.limit - self.body.len() => Ok(State::Chunk { left }),
            _ => Err(HttpError::TooLong(self.limit)),
        }
    }

    fn end_trailer(&mut self) -> Result<State, HttpError> {
        let length = std::mem::take(&mut self.line).len();
        self.discard(length)?;
        Ok(if length == 0 { State::Whole } else { State::Trailers })
    }

    fn discard(&mut self, bytes: usize) -> Result<(), HttpError> {
        self.discarded += bytes;
        if self.discarded > DISCARD_MAX_BYTES {
            return Err(HttpError::TooMuchBetweenChunks);
        }
        Ok(())
    }
}

/// Takes the first of the `expected` bytes.
fn take_expected(data: &mut &[u8], expected: &'static [u8]) -> Result<State, HttpError> {
    match (*data, expected) {
        ([byte, rest @ ..], [first, more @ ..]) if byte == first => {
            *data = rest;
            Ok(match more {
                [] => State::ChunkSize,
                _ => State::ChunkEnd { expected: more },
            })
        }
        _ => Err(HttpError::BadChunk),
    }
}
