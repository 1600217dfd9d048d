//! The first line of a link: who speaks, and optional fields about that server.
//!
//! Owns the spelling of a HELLO in both directions. It never decides what a difference between two
//! servers means. Called by the other parts of [`peer`](super).
//!
//! `HELLO 1 Alford 00c0ffee00c0ffee clients=1000000 memory=1073741824 clock=1479413884.392014450`
//!
//! The version, the name and the identity are always there. The fields after them are optional and
//! may come in any order, so that a later version can add one: a reader passes over a key that it
//! does not know. It refuses a key of its own that comes twice or has a value that it cannot read.

use super::{LINK_VERSION, PeerLine, parse_identity, split_field, split_server, write_identity};
use crate::wire::decimal::{parse_u64, write_integer};
use crate::wire::time::{Nanos, parse_time, write_time};

/// The longest text of all optional fields together, with the space before each. Those of this
/// version take 118 bytes at most.
pub const HELLO_FIELDS_MAX_BYTES: usize = 512;

/// What a server says about itself in its HELLO. A field is `None` when its line lacks it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HelloFields {
    /// `clients=`: how many clients its store holds at most.
    pub clients: Option<u64>,
    /// `memory=`: how many bytes its store holds at most.
    pub memory: Option<u64>,
    /// `clock=`: its wall clock when it wrote the line, in seconds since 1970.
    pub clock: Option<Nanos>,
    /// `jumped=`: by how many seconds that clock has jumped, if it is doubted for that.
    pub jumped: Option<Nanos>,
}

/// Reads what follows the word HELLO and one space; `None` for nonsense.
pub(super) fn parse_hello(text: &[u8]) -> Option<PeerLine<'_>> {
    let (version, text) = split_field(text)?;
    let (server, text) = split_server(text)?;
    let (identity, fields) = text.split_at_checked(text.len().min(16))?;
    let (version, identity) = (parse_u64(version)?, parse_identity(identity)?);
    Some(PeerLine::Hello { version, server, identity, fields: parse_fields(fields)? })
}

/// Appends a HELLO of this version, with its LF.
pub fn write_hello(out: &mut Vec<u8>, server: &[u8], identity: u64, fields: &HelloFields) {
    out.extend_from_slice(b"HELLO ");
    write_integer(out, LINK_VERSION);
    out.push(b' ');
    out.extend_from_slice(server);
    out.push(b' ');
    write_identity(out, identity);
    for (key, value) in [(" clients=", fields.clients), (" memory=", fields.memory)] {
        if let Some(value) = value {
            out.extend_from_slice(key.as_bytes());
            write_integer(out, value);
        }
    }
    for (key, value) in [(" clock=", fields.clock), (" jumped=", fields.jumped)] {
        if let Some(value) = value {
            out.extend_from_slice(key.as_bytes());
            write_time(out, value);
        }
    }
    out.push(b'\n');
}

/// Reads ` key=value` any number of times, up to the end of the line.
fn parse_fields(text: &[u8]) -> Option<HelloFields> {
    let mut fields = HelloFields::default();
    let mut texts = text.split(|byte| *byte == b' ');
    if text.len() > HELLO_FIELDS_MAX_BYTES || !texts.next()?.is_empty() {
        return None;
    }
    for field in texts {
        let (key, value) = split_key(field)?;
        match key {
            b"clients" => set_once(&mut fields.clients, parse_u64(value))?,
            b"memory" => set_once(&mut fields.memory, parse_u64(value))?,
            b"clock" => set_once(&mut fields.clock, parse_time(value))?,
            b"jumped" => set_once(&mut fields.jumped, parse_time(value))?,
            _ => {}
        }
    }
    Some(fields)
}

/// Takes `key=value` apart: lower-case letters and hyphens, then visible ASCII.
fn split_key(field: &[u8]) -> Option<(&[u8], &[u8])> {
    let (key, value) = field.split_at_checked(field.iter().position(|byte| *byte == b'=')?)?;
    let value = value.strip_prefix(b"=")?;
    let is_key = |byte: &u8| byte.is_ascii_lowercase() || *byte == b'-';
    let is_good = !key.is_empty() && key.iter().all(is_key);
    (is_good && !value.is_empty() && value.iter().all(u8::is_ascii_graphic)).then_some((key, value))
}

/// Stores a value that was read; `None` when there was none, or when the field has one already.
fn set_once<T>(field: &mut Option<T>, value: Option<T>) -> Option<()> {
    let is_first = field.is_none();
    *field = Some(value?);
    is_first.then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::peer::parse_peer_line;

    const START: &str = "HELLO 1 Alford 00c0ffee00c0ffee";

    fn fields_of(line: &str) -> Option<HelloFields> {
        match parse_peer_line(line.as_bytes())? {
            PeerLine::Hello { version: 1, server: b"Alford", identity, fields } => {
                assert_eq!(identity, 0x00c0_ffee_00c0_ffee);
                Some(fields)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_optional_fields_are_read_as_they_are_written() {
        let bounds = HelloFields {
            clients: Some(1_000_000),
            memory: Some(1 << 30),
            ..HelloFields::default()
        };
        for (fields, text) in [
            (HelloFields::default(), ""),
            (bounds, " clients=1000000 memory=1073741824"),
            (
                HelloFields { clock: Some(1_500_000_000), ..bounds },
                " clients=1000000 memory=1073741824 clock=1.500000000",
            ),
            (
                HelloFields { jumped: Some(-1_500_000_000), ..HelloFields::default() },
                " jumped=-1.500000000",
            ),
            (HelloFields { clock: Some(-1), ..HelloFields::default() }, " clock=-0.000000001"),
        ] {
            let mut line = Vec::new();
            write_hello(&mut line, b"Alford", 0x00c0_ffee_00c0_ffee, &fields);
            assert_eq!(String::from_utf8(line).unwrap(), format!("{START}{text}\n"));
            assert_eq!(fields_of(&format!("{START}{text}")), Some(fields));
        }
    }

    #[test]
    fn the_fields_of_a_later_version_are_passed_over() {
        let line = format!("{START} colour=blue memory=7 x-y=a=b,c colour=red clients=0");
        let known = HelloFields { clients: Some(0), memory: Some(7), ..HelloFields::default() };
        assert_eq!(fields_of(&line), Some(known));
    }

    #[test]
    fn the_fields_have_a_bound() {
        let filled = |bytes: usize| format!("{START} x={}", "y".repeat(bytes - " x=".len()));
        assert!(fields_of(&filled(HELLO_FIELDS_MAX_BYTES)).is_some());
        assert_eq!(fields_of(&filled(HELLO_FIELDS_MAX_BYTES + 1)), None);
        let widest = HelloFields {
            clients: Some(u64::MAX),
            memory: Some(u64::MAX),
            clock: parse_time(b"-999999999999.999999999"),
            jumped: parse_time(b"-999999999999.999999999"),
        };
        let mut line = Vec::new();
        write_hello(&mut line, b"Alford", 0, &widest);
        assert_eq!(line.len(), START.len() + 118 + "\n".len());
    }

    #[test]
    fn nonsense_in_a_field_is_none() {
        for text in [
            " ",
            "  ",
            "x",
            "=",
            " =",
            " =1",
            " clients",
            " clients=",
            " clients=x",
            " clients=01",
            " jumped=",
            " jumped=1 jumped=1",
            " clients=-1",
            " clients=1 ",
            " clients=1  memory=2",
            " clients=1 clients=1",
            " memory=18446744073709551616",
            " clock=",
            " clock=1.",
            " clock=+1",
            " clock=1 clock=2",
            " Clients=1",
            " c\u{e9}=1",
            " x=\u{e9}",
            " x=\r",
            " x=\t",
            "\tx=1",
            " clients=1\r",
            "0",
            "0 clients=1",
            " x1=1",
        ] {
            assert_eq!(fields_of(&format!("{START}{text}")), None, "{text:?}");
        }
    }
}
