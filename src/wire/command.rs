//! What a client says: IAMAT, WHATSAT, and everything else.
//!
//! Owns the splitting of a line into fields and the meaning of the fields. It never answers a
//! command and never knows whether a client is known; the client's handler does, with a line that
//! [`line`](super::line) has cut out of the input: without its LF and without a CR just before it.
//! Most lines never come here, since [`plain`](super::plain) takes them.

use super::decimal::{Radius, parse_bound, parse_radius};
use super::http::request::is_token;
use super::location::is_location;
use super::scan::{find_white_space, is_white_space};
use super::time::{Nanos, parse_time};

/// A valid command, borrowed from its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// A client says where it is.
    IAmAt(IAmAt<'a>),
    /// A client asks what is near another.
    WhatsAt(WhatsAt<'a>),
}

/// `IAMAT kiwi.cs.ucla.edu +34.068930-118.445127 1479413884.392014450`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IAmAt<'a> {
    /// Who: any bytes without white space.
    pub client: &'a [u8],
    /// Where, in ISO 6709 as it was written.
    pub location_text: &'a [u8],
    /// When, by the client's clock.
    pub time: Nanos,
    /// When, as it was written, for the copy in the reply.
    pub time_text: &'a [u8],
    /// All three as they stand in a plain line, from the space before them to its LF; else empty.
    pub(super) as_written: &'a [u8],
}

impl IAmAt<'_> {
    /// Appends how its AT line ends: the three fields, each behind one space, and an LF. Nearly always
    /// that is one piece of the line.
    pub fn write_end(&self, out: &mut Vec<u8>) {
        if self.as_written.is_empty() {
            for field in [self.client, self.location_text, self.time_text] {
                out.push(b' ');
                out.extend_from_slice(field);
            }
            out.push(b'\n');
        } else {
            out.extend_from_slice(self.as_written);
        }
    }
}

/// `WHATSAT kiwi.cs.ucla.edu 10 5`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WhatsAt<'a> {
    /// Near whom.
    pub client: &'a [u8],
    /// How near.
    pub radius: Radius,
    /// How many results at most.
    pub bound: u8,
}

/// Reads a line as a command; `None` is an invalid command.
pub fn parse_command(line: &[u8]) -> Option<Command<'_>> {
    let line = after_white_space(line);
    if let Some(fields) = after_word(line, b"IAMAT") {
        return parse_iamat(fields).map(Command::IAmAt);
    }
    // The second spelling is that of one of the original reports.
    let fields = after_word(line, b"WHATSAT").or_else(|| after_word(line, b"WHATISAT"))?;
    parse_whatsat(fields).map(Command::WhatsAt)
}

fn parse_iamat(mut fields: Fields<'_>) -> Option<IAmAt<'_>> {
    let (client, location_text, time_text) = (fields.next()?, fields.next()?, fields.next()?);
    let time = parse_time(time_text).filter(|_| is_location(location_text) && fields.are_over())?;
    Some(IAmAt { client, location_text, time, time_text, as_written: &[] })
}

/// What follows a command's word, if the line begins with it.
fn after_word<'a>(line: &'a [u8], word: &[u8]) -> Option<Fields<'a>> {
    let rest = line.strip_prefix(word)?;
    is_white_space(*rest.first()?).then_some(Fields { rest })
}

fn parse_whatsat(mut fields: Fields<'_>) -> Option<WhatsAt<'_>> {
    let (client, radius, bound) = (fields.next()?, fields.next()?, fields.next()?);
    let (radius, bound) = (parse_radius(radius)?, parse_bound(bound)?);
    fields.are_over().then_some(WhatsAt { client, radius, bound })
}

/// Appends the answer to an invalid command: `? `, a copy of `line`, LF.
///
/// The line comes from the receiver, which has taken off its LF and a CR just before it; all
/// other bytes are copied untouched.
pub fn write_refusal(out: &mut Vec<u8>, line: &[u8]) {
    out.extend_from_slice(b"? ");
    out.extend_from_slice(line);
    out.push(b'\n');
}

/// Appends the answer to a line that was too long or too slow: `? `, its `start`, `...`, LF.
pub fn write_cut_off(out: &mut Vec<u8>, start: &[u8]) {
    out.extend_from_slice(b"? ");
    out.extend_from_slice(start);
    out.extend_from_slice(b"...\n");
}

/// Whether a connection's first line is a browser's: an HTTP request line, or a header.
///
/// A web page can make a browser send a request with a body of the page's choice to any port, so
/// the lines after such a first line must not be taken for commands.
pub fn looks_like_http(line: &[u8]) -> bool {
    is_request_line(line) || is_browser_header(line)
}

/// A method, a target and `HTTP/`, as RFC 9112 section 3 has it. The method may be any token and
/// the target anything: the version at the end is what no command has.
fn is_request_line(line: &[u8]) -> bool {
    let mut fields = Fields { rest: line };
    let (Some(method), Some(_target)) = (fields.next(), fields.next()) else { return false };
    is_token(method) && fields.last().is_some_and(|version| version.starts_with(b"HTTP/"))
}

/// A field line of RFC 9112 section 5 whose name is one that browsers send.
fn is_browser_header(line: &[u8]) -> bool {
    let Some(colon) = line.iter().position(|byte| *byte == b':') else { return false };
    let name = line.get(..colon).unwrap_or_default();
    let starts_with = |start: &&str| {
        name.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start.as_bytes()))
    };
    is_token(name)
        && (BROWSER_HEADERS.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
            || BROWSER_HEADER_STARTS.iter().any(starts_with))
}

/// Names of headers that browsers send with requests, by whole name.
const BROWSER_HEADERS: [&str; 20] = [
    "Host",
    "User-Agent",
    "Accept",
    "Connection",
    "Keep-Alive",
    "Content-Length",
    "Content-Type",
    "Content-Encoding",
    "Transfer-Encoding",
    "Origin",
    "Referer",
    "Cookie",
    "Authorization",
    "Cache-Control",
    "Pragma",
    "Range",
    "DNT",
    "TE",
    "Priority",
    "Upgrade-Insecure-Requests",
];

/// Families of headers that browsers send, by the start of their names.
const BROWSER_HEADER_STARTS: [&str; 5] =
    ["Accept-", "Sec-", "If-", "X-", "Access-Control-Request-"];

/// The fields of a line: its runs of bytes without white space.
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Fields<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let start = after_white_space(self.rest);
        let end = find_white_space(start).unwrap_or(start.len());
        let (field, rest) = start.split_at(end);
        self.rest = rest;
        (!field.is_empty()).then_some(field)
    }
}

impl Fields<'_> {
    /// Whether nothing but white space follows.
    fn are_over(&self) -> bool {
        after_white_space(self.rest).is_empty()
    }
}

/// `text` without its leading white space. A NUL right after a CR belongs to it, because that is
/// how RFC 854 sends a bare carriage return; any other NUL is an ordinary byte.
fn after_white_space(text: &[u8]) -> &[u8] {
    // Nearly always it is one space.
    let mut rest = text.strip_prefix(b" ").unwrap_or(text);
    loop {
        match rest {
            // All white space is among the bytes up to the space.
            [byte, ..] if *byte > b' ' => return rest,
            [b'\r', 0, after @ ..] => rest = after,
            [byte, after @ ..] if is_white_space(*byte) => rest = after,
            _ => return rest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIWI: &[u8] = b"IAMAT kiwi.cs.ucla.edu +34.068930-118.445127 1479413884.392014450";

    fn client(line: &[u8]) -> Option<Vec<u8>> {
        match parse_command(line)? {
            Command::IAmAt(IAmAt { client, .. }) | Command::WhatsAt(WhatsAt { client, .. }) => {
                Some(client.to_vec())
            }
        }
    }

    #[test]
    fn iamat_has_a_client_a_location_and_a_time() {
        let Some(Command::IAmAt(said)) = parse_command(KIWI) else { panic!() };
        assert_eq!(said.client, b"kiwi.cs.ucla.edu");
        assert_eq!(said.location_text, b"+34.068930-118.445127");
        assert_eq!(said.time, 1_479_413_884_392_014_450);
        assert_eq!(said.time_text, b"1479413884.392014450");
    }

    #[test]
    fn whatsat_has_a_client_a_radius_and_a_bound_in_both_spellings() {
        for line in ["WHATSAT kiwi.cs.ucla.edu 10 5", "WHATISAT kiwi.cs.ucla.edu 10.0 05"] {
            let Some(Command::WhatsAt(asked)) = parse_command(line.as_bytes()) else { panic!() };
            assert_eq!(asked.client, b"kiwi.cs.ucla.edu");
            assert_eq!(Some(asked.radius), parse_radius(b"10"));
            assert_eq!(asked.bound, 5);
        }
        assert_eq!(client(b"WHATSAT k 0 0").as_deref(), Some(&b"k"[..]));
        assert_eq!(client(b"WHATSAT k 50 20").as_deref(), Some(&b"k"[..]));
        assert_eq!(client(b"WHATSAT k 50.1 20"), None);
        assert_eq!(client(b"WHATSAT k 50 21"), None);
    }

    #[test]
    fn fields_are_separated_by_any_run_of_the_six_white_space_characters() {
        let line = b" \t\r\n\x0b\x0cWHATSAT\t\tk\x0b\x0c \r10\n5 \t\r\n\x0b\x0c";
        assert_eq!(client(line).as_deref(), Some(&b"k"[..]));
        for not_white in [0x00, 0x1c, 0x1f, 0x85, 0xa0] {
            let line = [&b"WHATSAT k"[..], &[not_white], b"10 5"].concat();
            assert_eq!(client(&line), None, "{not_white:#x}");
        }
    }

    #[test]
    fn a_client_id_is_any_bytes_without_white_space() {
        for id in [&b"\xff\xfe\x80"[..], b"\0", b"a\0b", "h\u{e9}rde".as_bytes(), b"?", b"IAMAT"] {
            let line = [b"WHATSAT ", id, b" 10 5"].concat();
            assert_eq!(client(&line).as_deref(), Some(id));
        }
    }

    #[test]
    fn a_cr_nul_is_white_space_and_any_other_nul_is_not() {
        assert_eq!(client(b"WHATSAT\r\0k\r\x0010\r\r\0\x205\r\0").as_deref(), Some(&b"k"[..]));
        assert_eq!(client(b"WHATSAT \0k\0 10 5").as_deref(), Some(&b"\0k\0"[..]));
        assert_eq!(client(b"WHATSAT\r\0\0k 10 5").as_deref(), Some(&b"\0k"[..]));
        assert_eq!(client(b"WHATSAT k 10 5 \0"), None);
    }

    #[test]
    fn the_number_of_fields_is_exact_and_words_are_upper_case() {
        for line in [
            "",
            " ",
            "IAMAT",
            "IAMAT kiwi +34-118",
            "IAMAT kiwi +34-118 1 2",
            "WHATSAT kiwi 10",
            "WHATSAT kiwi 10 5 1",
            "iamat kiwi +34-118 1",
            "Whatsat kiwi 10 5",
            "IAMATT kiwi +34-118 1",
            "WHATSAT kiwi +34-118 1",
            "IAMAT kiwi 10 5",
            "IAMAT kiwi +34-118 x",
            "AT Alford +0.263873386 kiwi +34.068930-118.445127 1479413884.392014450",
        ] {
            assert_eq!(parse_command(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn a_refusal_is_a_copy_of_the_line() {
        let mut out = Vec::new();
        write_refusal(&mut out, b"");
        write_refusal(&mut out, b"  a\r\0b\xff\r ");
        write_cut_off(&mut out, b"long");
        assert_eq!(out, b"? \n?   a\r\0b\xff\r \n? long...\n");
    }

    #[test]
    fn request_lines_and_browser_headers_are_http() {
        for line in [
            "GET / HTTP/1.1",
            "POST /a?b HTTP/1.0",
            "PRI * HTTP/2.0",
            "M-SEARCH * HTTP/1.1",
            "GET  /a b  HTTP/1.1 ",
            "Host: localhost",
            "host:localhost",
            "USER-AGENT: x",
            "Sec-Fetch-Mode: no-cors",
            "X-Requested-With: XMLHttpRequest",
        ] {
            assert!(looks_like_http(line.as_bytes()), "{line}");
        }
    }

    #[test]
    fn commands_and_other_lines_are_not_http() {
        for line in [
            std::str::from_utf8(KIWI).unwrap(),
            "WHATSAT HTTP/1.1 10 5",
            "WHATSAT Host: 10 5",
            "",
            ":",
            "HTTP/1.1",
            "GET HTTP/1.1",
            "hello: world",
            "Hosts: x",
            "Host : x",
            "G(T / HTTP/1.1",
        ] {
            assert!(!looks_like_http(line.as_bytes()), "{line}");
        }
    }
}
