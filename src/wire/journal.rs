//! The lines of a journal, the file in which a server finds again what it knew.
//!
//! Owns their spelling in both directions, check sums included. It never opens a file, and never
//! decides what is written or believed; [`herd::journal`](crate::herd::journal) does.
//!
//! | line | meaning |
//! |---|---|
//! | `HERD-JOURNAL 1 #fd902b5e` | this is a journal, in this version |
//! | `AT Alford +0.263873386 kiwi.cs.ucla.edu +34.068930-118.445127 1479413884.392014450 #5bcb6e01` | a record, as it travels |
//! | `TAKEN Ball 00c0ffee00c0ffee 42 #7770a3d3` | all that Ball had told by its mark 42, under that identity, stands above |
//!
//! Each ends with the CRC-32 of what stands before it, so that a line that was written halfway, or that
//! the disk has spoilt, is told from one that is whole. As on a link, a line is read strictly, as this
//! file writes it.

use super::crc32::crc32;
use super::decimal::{parse_u64, write_integer};
use super::peer::{
    AtLine, PEER_LINE_MAX_BYTES, parse_at, parse_identity, split_field, split_server,
    write_identity,
};

/// The version of the journal's lines that this program writes and reads.
pub const JOURNAL_VERSION: u64 = 1;

/// What a line has beside its text: ` #`, eight digits and an LF.
pub const SEAL_BYTES: usize = 11;

/// The longest line of a journal, with its LF.
pub const JOURNAL_LINE_MAX_BYTES: usize = PEER_LINE_MAX_BYTES + SEAL_BYTES;

const HEADER_WORD: &[u8] = b"HERD-JOURNAL";

/// A line of a journal, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalLine<'a> {
    /// What this file is.
    Header {
        /// [`JOURNAL_VERSION`], or one that is not known here.
        version: u64,
    },
    /// A record.
    Record {
        /// The AT line, as it goes over the wire.
        line: &'a [u8],
        /// What was read from it.
        at: AtLine<'a>,
    },
    /// How far a neighbour has told what stands above.
    Taken {
        /// The neighbour's name.
        neighbour: &'a [u8],
        /// Its identity, as in its HELLO.
        identity: u64,
        /// The last mark taken in from it.
        mark: u64,
    },
}

/// Reads a line of a journal, without its LF; `None` for one that is damaged or none at all.
pub fn parse_journal_line(line: &[u8]) -> Option<JournalLine<'_>> {
    let (text, seal) = line.split_at_checked(line.len().checked_sub(SEAL_BYTES - 1)?)?;
    if seal != seal_of(text) {
        return None;
    }
    let (word, fields) = split_field(text)?;
    match word {
        b"AT" => parse_at(text).map(|at| JournalLine::Record { line: text, at }),
        b"TAKEN" => {
            let (neighbour, fields) = split_server(fields)?;
            let (identity, mark) = split_field(fields)?;
            let (identity, mark) = (parse_identity(identity)?, parse_u64(mark)?);
            Some(JournalLine::Taken { neighbour, identity, mark })
        }
        HEADER_WORD => Some(JournalLine::Header { version: parse_u64(fields)? }),
        _ => None,
    }
}

/// Appends the first line of a journal.
pub fn write_header(out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(HEADER_WORD);
    out.push(b' ');
    write_integer(out, JOURNAL_VERSION);
    seal(out, start);
}

/// Appends a record, given its AT line.
pub fn write_record(out: &mut Vec<u8>, line: &[u8]) {
    let start = out.len();
    out.extend_from_slice(line);
    seal(out, start);
}

/// Appends how far a neighbour has told what stands above.
pub fn write_taken(out: &mut Vec<u8>, neighbour: &[u8], identity: u64, mark: u64) {
    let start = out.len();
    out.extend_from_slice(b"TAKEN ");
    out.extend_from_slice(neighbour);
    out.push(b' ');
    write_identity(out, identity);
    out.push(b' ');
    write_integer(out, mark);
    seal(out, start);
}

/// Ends the line that began at `start`.
fn seal(out: &mut Vec<u8>, start: usize) {
    let seal = seal_of(out.get(start..).unwrap_or_default());
    out.extend_from_slice(&seal);
    out.push(b'\n');
}

/// A space, `#`, and eight lower-case hexadecimal digits.
fn seal_of(text: &[u8]) -> [u8; SEAL_BYTES - 1] {
    let [[a0, a1], [b0, b1], [c0, c1], [d0, d1]] = crc32(text).to_be_bytes().map(hexadecimal);
    [b' ', b'#', a0, a1, b0, b1, c0, c1, d0, d1]
}

fn hexadecimal(byte: u8) -> [u8; 2] {
    HEXADECIMAL.get(usize::from(byte)).copied().unwrap_or_default()
}

/// Each byte in two lower-case digits: a look-up is a fifth of the instructions that telling digits from
/// letters takes, eight times a record.
const HEXADECIMAL: [[u8; 2]; 256] = {
    let mut pairs = [[0; 2]; 256];
    let mut rest: &mut [[u8; 2]] = &mut pairs;
    let mut byte = 0u8;
    while let [first, others @ ..] = rest {
        *first = [digit(byte >> 4), digit(byte & 0xf)];
        byte = byte.wrapping_add(1);
        rest = others;
    }
    pairs
};

const fn digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
}

#[cfg(test)]
mod tests {
    use super::super::line::LINE_MAX_BYTES;
    use super::super::peer::{SERVER_NAME_MAX_BYTES, write_at};
    use super::*;

    const KIWI: &[u8] =
        b"AT Alford +0.263873386 kiwi.cs.ucla.edu +34.068930-118.445127 1479413884.392014450";

    fn written(write: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out);
        assert_eq!(out.pop(), Some(b'\n'));
        out
    }

    fn sealed(text: &str) -> Vec<u8> {
        [text.as_bytes(), &seal_of(text.as_bytes())].concat()
    }

    #[test]
    fn each_line_is_read_as_it_is_written() {
        let identity = 0x00c0_ffee_00c0_ffee;
        let at = parse_at(KIWI).unwrap();
        for (line, text, meaning) in [
            (
                written(write_header),
                "HERD-JOURNAL 1 #fd902b5e".to_owned(),
                JournalLine::Header { version: JOURNAL_VERSION },
            ),
            (
                written(|out| write_record(out, KIWI)),
                format!("{} #5bcb6e01", String::from_utf8_lossy(KIWI)),
                JournalLine::Record { line: KIWI, at },
            ),
            (
                written(|out| write_taken(out, b"Ball", identity, 42)),
                "TAKEN Ball 00c0ffee00c0ffee 42 #7770a3d3".to_owned(),
                JournalLine::Taken { neighbour: b"Ball", identity, mark: 42 },
            ),
        ] {
            assert_eq!(String::from_utf8(line.clone()).unwrap(), text);
            assert_eq!(parse_journal_line(&line), Some(meaning));
        }
    }

    #[test]
    fn a_line_with_any_one_byte_damaged_missing_or_too_many_is_none() {
        let line = written(|out| write_record(out, KIWI));
        for place in 0..line.len() {
            for wrong in [0, b' ', b'#', b'0', b'1', b'a', 0xff] {
                let mut damaged = line.clone();
                damaged[place] = wrong;
                assert_eq!(parse_journal_line(&damaged).is_some(), damaged == line, "{place}");
            }
            let (start, end) = line.split_at(place);
            assert_eq!(parse_journal_line(start), None);
            assert_eq!(parse_journal_line(end).is_some(), place == 0);
            assert_eq!(parse_journal_line(&[start, &end[1..]].concat()), None);
            assert_eq!(parse_journal_line(&[start, b"x", end].concat()), None);
        }
    }

    #[test]
    fn a_check_sum_alone_makes_no_line() {
        for text in [
            "",
            "AT",
            "AT Alford",
            "AT Alford 0.263873386 kiwi +34-118 7",
            "AT Alford +0.263873386 kiwi +94-118 7",
            "at Alford +0.263873386 kiwi +34-118 7",
            "TAKEN Ball 00c0ffee00c0ffee",
            "TAKEN Ball 00c0ffee 42",
            "TAKEN Ball 00c0ffee00c0ffee -1",
            "TAKEN  00c0ffee00c0ffee 42",
            "HERD-JOURNAL",
            "HERD-JOURNAL one",
            "MARK 7",
        ] {
            assert_eq!(parse_journal_line(&sealed(text)), None, "{text}");
        }
        let other = parse_journal_line(&sealed("HERD-JOURNAL 7")).map(|line| format!("{line:?}"));
        assert_eq!(other.as_deref(), Some("Header { version: 7 }"));
    }

    #[test]
    fn the_longest_record_and_mark_fit_the_longest_line() {
        let client = vec![b'c'; LINE_MAX_BYTES - b"IAMAT  +0+0 0".len()];
        let server = [b's'; SERVER_NAME_MAX_BYTES];
        let mut at = Vec::new();
        write_at(&mut at, &server, -9_999_999_999_999_999_999_999, &client, b"+0+0", b"0");
        let mut out = Vec::new();
        write_record(&mut out, &at);
        assert!(out.len() <= JOURNAL_LINE_MAX_BYTES);
        assert!(parse_journal_line(&out[..out.len() - 1]).is_some());
        out.clear();
        write_taken(&mut out, &server, u64::MAX, u64::MAX);
        assert!(out.len() <= JOURNAL_LINE_MAX_BYTES);
    }
}
