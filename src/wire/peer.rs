//! What neighbours say to each other: the AT line that travels, and the link's own lines.
//!
//! Owns their spelling in both directions. It never decides who is a neighbour or which of two
//! records wins. Called by the link's handler for every line of a proven neighbour, by the
//! client's handler to write an AT reply, and by the herd, which keeps AT lines.
//!
//! A link is opened by the server that dials:
//!
//! | who says | line | meaning |
//! |---|---|---|
//! | dialler | `HELLO 1 Alford 00c0ffee00c0ffee` | this protocol, this server, this start of it, and [fields](HelloFields) |
//! | listener | `RESUME 00c0ffee00c0ffee 42` | up to where it has taken in whose changes; zeros for nothing |
//! | dialler | `AT …` | a record, as the server that heard it wrote it |
//! | dialler | `MARK 43` | all changes up to here have been sent; repeated as a heartbeat |
//! | listener | `HERE 43` | the last mark taken in; repeated as a heartbeat |
//!
//! These lines are read strictly, as this file writes them, fields apart by exactly one space: a record
//! is kept and compared byte for byte, so there must not be two ways to write one.

mod hello;

use super::decimal::{parse_u64, write_integer};
use super::line::LINE_MAX_BYTES;
use super::location::take_location;
use super::scan::{find_white_space, is_white_space};
use super::time::{Nanos, parse_difference, take_time, write_difference};

use hello::parse_hello;
pub use hello::{HELLO_FIELDS_MAX_BYTES, HelloFields, write_hello};

/// The version of the link's lines that this program speaks.
pub const LINK_VERSION: u64 = 1;

/// The longest name of a server, so that an AT line has a bound.
pub const SERVER_NAME_MAX_BYTES: usize = 64;

/// The longest line of a link. An AT line is as long as the IAMAT line that caused it, whose word
/// gives way to the shorter `AT`, a server's name, and a difference of up to 24 bytes.
pub const PEER_LINE_MAX_BYTES: usize = LINE_MAX_BYTES + SERVER_NAME_MAX_BYTES + 32;

/// A line of a link, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerLine<'a> {
    /// A record. First, because it is nearly all that a link carries.
    At(AtLine<'a>),
    /// All changes up to this number have been sent.
    Mark(u64),
    /// The last mark taken in.
    Here(u64),
    /// The dialler's first line.
    Hello {
        /// Of the link's lines: [`LINK_VERSION`], or one that is not known here.
        version: u64,
        /// The name of the server that dials, by its own word.
        server: &'a [u8],
        /// New at each start of that server: whose count of changes the marks are in.
        identity: u64,
        /// What else it says about itself.
        fields: HelloFields,
    },
    /// The listener's answer to it: where to go on.
    Resume {
        /// The identity that the mark belongs to, 0 for none.
        identity: u64,
        /// The last mark taken in, 0 for none.
        mark: u64,
    },
}

/// `AT Alford +0.263873386 kiwi.cs.ucla.edu +34.068930-118.445127 1479413884.392014450`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtLine<'a> {
    /// The server that heard the client.
    pub server: &'a [u8],
    /// Its clock minus the client's.
    pub difference: Nanos,
    /// Who: any bytes without white space.
    pub client: &'a [u8],
    /// Where, as the client wrote it.
    pub location_text: &'a [u8],
    /// When, by the client's clock.
    pub time: Nanos,
    /// When, as the client wrote it.
    pub time_text: &'a [u8],
}

impl AtLine<'_> {
    /// The clock of the server that heard the client, at that moment.
    pub fn server_time(&self) -> Nanos {
        self.time + self.difference
    }
}

/// Whether a line, from anybody, begins with a word of links: what a client's line is looked at for.
pub fn has_peer_word(line: &[u8]) -> bool {
    peer_word(line).is_some()
}

/// The word of links that a line, from anybody, begins with.
pub fn peer_word(line: &[u8]) -> Option<&'static str> {
    const WORDS: [&str; 5] = ["AT", "MARK", "HERE", "HELLO", "RESUME"];
    let word = line.split(|byte| is_white_space(*byte)).find(|word| !word.is_empty())?;
    WORDS.into_iter().find(|known| known.as_bytes() == word)
}

/// The texts of an AT line, not read yet: a line that came before need not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtFields<'a> {
    server: &'a [u8],
    difference: &'a [u8],
    /// Who.
    pub client: &'a [u8],
    /// Where and when.
    rest: &'a [u8],
}

impl<'a> AtFields<'a> {
    /// Takes an AT line, without its LF, apart as far as its client; `None` for what cannot be one.
    pub fn split(line: &'a [u8]) -> Option<AtFields<'a>> {
        let (server, fields) = split_server(line.strip_prefix(b"AT ")?)?;
        let (difference, fields) = split_field(fields)?;
        let (client, rest) = split_field(fields)?;
        Some(AtFields { server, difference, client, rest })
    }

    /// Reads the texts; `None` for nonsense.
    pub fn read(self) -> Option<AtLine<'a>> {
        let AtFields { server, difference, client, rest } = self;
        let difference = parse_difference(difference)?;
        let (location_text, rest) = take_location(rest)?;
        let time_text = rest.strip_prefix(b" ")?;
        let (time, []) = take_time(time_text)? else { return None };
        Some(AtLine { server, difference, client, location_text, time, time_text })
    }
}

/// Reads a line of a link, without its LF; `None` for nonsense.
pub fn parse_peer_line(line: &[u8]) -> Option<PeerLine<'_>> {
    let (word, fields) = split_field(line)?;
    match word {
        b"AT" => parse_at(line).map(PeerLine::At),
        b"MARK" => parse_u64(fields).map(PeerLine::Mark),
        b"HERE" => parse_u64(fields).map(PeerLine::Here),
        b"HELLO" => parse_hello(fields),
        b"RESUME" => {
            let (identity, mark) = split_field(fields)?;
            let (identity, mark) = (parse_identity(identity)?, parse_u64(mark)?);
            Some(PeerLine::Resume { identity, mark })
        }
        _ => None,
    }
}

/// Reads an AT line, without its LF, exactly as [`write_at`] writes it.
pub fn parse_at(line: &[u8]) -> Option<AtLine<'_>> {
    AtFields::split(line)?.read()
}

/// Appends an AT line without an LF, since that is how a record is kept: the LF belongs to the
/// connection that it is sent on.
pub fn write_at(
    out: &mut Vec<u8>,
    server: &[u8],
    difference: Nanos,
    client: &[u8],
    location_text: &[u8],
    time_text: &[u8],
) {
    write_at_start(out, server);
    write_difference(out, difference);
    for field in [client, location_text, time_text] {
        out.push(b' ');
        out.extend_from_slice(field);
    }
}

/// Appends what all AT lines of a server begin with.
pub fn write_at_start(out: &mut Vec<u8>, server: &[u8]) {
    out.extend_from_slice(b"AT ");
    out.extend_from_slice(server);
    out.push(b' ');
}

/// Appends the listener's first line, with its LF: where the dialler is to go on. Both are 0 when
/// nothing has been taken in from it.
pub fn write_resume(out: &mut Vec<u8>, identity: u64, mark: u64) {
    out.extend_from_slice(b"RESUME ");
    write_identity(out, identity);
    out.push(b' ');
    write_integer(out, mark);
    out.push(b'\n');
}

/// Appends the dialler's mark, with its LF: all changes up to `mark` have been sent.
pub fn write_mark(out: &mut Vec<u8>, mark: u64) {
    out.extend_from_slice(b"MARK ");
    write_integer(out, mark);
    out.push(b'\n');
}

/// Appends the listener's heartbeat, with its LF: the last mark that it has taken in.
pub fn write_here(out: &mut Vec<u8>, mark: u64) {
    out.extend_from_slice(b"HERE ");
    write_integer(out, mark);
    out.push(b'\n');
}

/// The first field and what follows the one space after it.
pub(super) fn split_field(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (field, rest) = text.split_at_checked(find_white_space(text)?)?;
    match rest {
        [b' ', rest @ ..] if !field.is_empty() => Some((field, rest)),
        _ => None,
    }
}

/// [`split_field`] for the name of a server, which has a bound.
pub(super) fn split_server(text: &[u8]) -> Option<(&[u8], &[u8])> {
    split_field(text).filter(|(server, _)| server.len() <= SERVER_NAME_MAX_BYTES)
}

/// Reads exactly 16 lower-case hexadecimal digits.
pub(super) fn parse_identity(text: &[u8]) -> Option<u64> {
    if text.len() != 16 {
        return None;
    }
    text.iter().try_fold(0, |value, byte| match byte {
        b'0'..=b'9' => Some(value << 4 | u64::from(byte - b'0')),
        b'a'..=b'f' => Some(value << 4 | u64::from(byte - b'a' + 10)),
        _ => None,
    })
}

/// Appends 16 lower-case hexadecimal digits.
pub(super) fn write_identity(out: &mut Vec<u8>, identity: u64) {
    for nibble in identity.to_be_bytes().iter().flat_map(|byte| [byte >> 4, byte & 0xf]) {
        out.push(if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIWI: &str =
        "AT Alford +0.263873386 kiwi.cs.ucla.edu +34.068930-118.445127 1479413884.392014450";

    fn written(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn parsed(line: &str) -> Option<PeerLine<'_>> {
        parse_peer_line(line.as_bytes())
    }

    #[test]
    fn an_at_line_holds_everything_about_a_report() {
        let at = parse_at(KIWI.as_bytes()).unwrap();
        assert_eq!(at.server, b"Alford");
        assert_eq!(at.difference, 263_873_386);
        assert_eq!(at.client, b"kiwi.cs.ucla.edu");
        assert_eq!(at.location_text, b"+34.068930-118.445127");
        assert_eq!(at.time, 1_479_413_884_392_014_450);
        assert_eq!(at.time_text, b"1479413884.392014450");
        assert_eq!(at.server_time(), 1_479_413_884_655_887_836);
        assert_eq!(parsed(KIWI), Some(PeerLine::At(at)));
    }

    #[test]
    fn an_at_line_is_written_as_it_is_read() {
        let line = written(|out| {
            write_at(
                out,
                b"Alford",
                263_873_386,
                b"kiwi.cs.ucla.edu",
                b"+34.068930-118.445127",
                b"1479413884.392014450",
            );
        });
        assert_eq!(line, KIWI);
    }

    #[test]
    fn an_at_line_has_one_spelling() {
        for line in [
            KIWI.replacen(' ', "  ", 1),
            KIWI.replacen(' ', "\t", 2),
            KIWI.replace(" kiwi", "  kiwi"),
            KIWI.replace("kiwi", "ki\u{b}wi"),
            KIWI.replace("+0.26", "0.26"),
            KIWI.replace("+0.26", "+00.26"),
            KIWI.replace("+34.068930", "34.068930"),
            KIWI.replace("+34.0", "+94.0"),
            KIWI.replace(" Alford", " "),
            KIWI.replace("Alford", &"A".repeat(SERVER_NAME_MAX_BYTES + 1)),
            KIWI.replace("AT", "At"),
            format!(" {KIWI}"),
            format!("{KIWI} "),
            format!("{KIWI}\r"),
            format!("{KIWI} 1"),
            KIWI.rsplit_once(' ').unwrap().0.to_string(),
        ] {
            assert_eq!(parsed(&line), None, "{line}");
        }
        let longest = KIWI.replace("Alford", &"A".repeat(SERVER_NAME_MAX_BYTES));
        assert!(parsed(&longest).is_some());
    }

    #[test]
    fn the_longest_at_line_fits_the_longest_line_of_a_link() {
        let client = vec![b'c'; LINE_MAX_BYTES - b"IAMAT  +0+0 0".len()];
        let server = [b's'; SERVER_NAME_MAX_BYTES];
        let mut line = Vec::new();
        let widest = -9_999_999_999_999_999_999_999;
        write_at(&mut line, &server, widest, &client, b"+0+0", b"0");
        assert!(line.len() <= PEER_LINE_MAX_BYTES);
        assert_eq!(parse_at(&line).map(|at| at.difference), Some(widest));
    }

    #[test]
    fn the_links_own_lines_are_read_as_they_are_written() {
        let (identity, fields) = (0x00c0_ffee_0123_4567, HelloFields::default());
        let hello = written(|out| write_hello(out, b"Alford", identity, &fields));
        let resume = written(|out| write_resume(out, identity, u64::MAX));
        let nothing = written(|out| write_resume(out, 0, 0));
        let mark = written(|out| write_mark(out, 43));
        let here = written(|out| write_here(out, 0));
        for (line, text, meaning) in [
            (
                hello,
                "HELLO 1 Alford 00c0ffee01234567\n",
                PeerLine::Hello { version: 1, server: b"Alford", identity, fields },
            ),
            (
                resume,
                "RESUME 00c0ffee01234567 18446744073709551615\n",
                PeerLine::Resume { identity, mark: u64::MAX },
            ),
            (nothing, "RESUME 0000000000000000 0\n", PeerLine::Resume { identity: 0, mark: 0 }),
            (mark, "MARK 43\n", PeerLine::Mark(43)),
            (here, "HERE 0\n", PeerLine::Here(0)),
        ] {
            assert_eq!(line, text);
            assert_eq!(parsed(line.trim_end()), Some(meaning));
        }
    }

    #[test]
    fn nonsense_from_a_neighbour_is_none() {
        for line in [
            "",
            " ",
            "MARK",
            "MARK ",
            "MARK -1",
            "MARK 1 ",
            "MARK 1 2",
            "MARK  1",
            "mark 1",
            "MARK 18446744073709551616",
            "HERE x",
            "HELLO 1 Alford",
            "HELLO 1 Alford 00c0ffee",
            "HELLO 1 Alford 00C0FFEE00C0FFEE",
            "HELLO 1 Alford 00c0ffee00c0ffeeg",
            "HELLO 1 Alford 00c0ffee00c0ffee ",
            "HELLO one Alford 00c0ffee00c0ffee",
            "HELLO 1  00c0ffee00c0ffee",
            "RESUME 00c0ffee00c0ffee",
            "RESUME 00c0ffee00c0ffee x",
            "IAMAT kiwi +34.068930-118.445127 1479413884.392014450",
        ] {
            assert_eq!(parsed(line), None, "{line}");
        }
    }

    #[test]
    fn the_words_of_links_are_known_in_any_client_s_line() {
        for line in ["AT", "AT x", " \tAT\x0bx", "HELLO 1 Alford", "RESUME", "MARK 1", "HERE\r"] {
            assert!(has_peer_word(line.as_bytes()), "{line}");
        }
        for line in ["", " ", "at x", "ATx", "xAT", "x AT", "IAMAT AT +1+1 1", "WHATSAT AT 1 1"] {
            assert!(!has_peer_word(line.as_bytes()), "{line}");
        }
    }

    #[test]
    fn an_unknown_version_is_read_so_that_it_can_be_named() {
        let hello = parsed("HELLO 7 Alford 00c0ffee00c0ffee");
        assert!(matches!(hello, Some(PeerLine::Hello { version: 7, .. })));
    }
}
