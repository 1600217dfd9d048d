//! What neighbours say, one line at a time.
//!
//! A line is accepted exactly when it is what this program would have written: there is one spelling of
//! each, since records are kept and compared byte for byte. Only the optional fields of a HELLO have
//! several: any order, and keys of later versions between them.

use herd::wire::location::is_location;
use herd::wire::peer::{
    AtLine, HELLO_FIELDS_MAX_BYTES, HelloFields, PEER_LINE_MAX_BYTES, PeerLine,
    SERVER_NAME_MAX_BYTES, parse_at, parse_peer_line, write_at, write_hello, write_here,
    write_mark, write_resume,
};

use crate::engine::{Target, replay_and_probe};
use crate::slow;

pub const TARGET: Target = Target {
    name: "peer-lines",
    check,
    tokens: &[
        b"AT",
        b"MARK",
        b"HERE",
        b"HELLO",
        b"RESUME",
        b" ",
        b"  ",
        b"\t",
        b"\r",
        b"\0",
        b"\n",
        b"Alford",
        b"+0.263873386",
        b"-0.000000000",
        b"+0.000000000",
        b"+1999999999998.999999998",
        b"kiwi.cs.ucla.edu",
        b"\xff",
        b"+34.068930-118.445127",
        b"1479413884.392014450",
        b"-1",
        b"0",
        b"1",
        b"18446744073709551615",
        b"18446744073709551616",
        b"00c0ffee00c0ffee",
        b"0000000000000000",
        b"00C0FFEE00C0FFEE",
        b" clients=1000000",
        b" memory=1073741824",
        b" clock=1479413884.392014450",
        b" colour=blue",
        b"=",
    ],
    extremes: &[9, 13, 16, 20, SERVER_NAME_MAX_BYTES, HELLO_FIELDS_MAX_BYTES, PEER_LINE_MAX_BYTES],
    input_max_bytes: PEER_LINE_MAX_BYTES + 100,
};

fn check(line: &[u8]) -> String {
    let expected = slow(line);
    let found = parse_peer_line(line);
    assert_eq!(found.is_some(), expected.is_some(), "accepted and acceptable agree");
    assert_eq!(parse_at(line).is_some(), matches!(found, Some(PeerLine::At(_))));
    let Some(found) = found else { return refused_because(line) };
    assert_eq!(Some(&found), expected.as_ref());
    let mut written = Vec::new();
    match found {
        PeerLine::At(at) => {
            let AtLine { server, difference, client, location_text, time_text, .. } = at;
            write_at(&mut written, server, difference, client, location_text, time_text);
            written.push(b'\n');
        }
        PeerLine::Mark(mark) => write_mark(&mut written, mark),
        PeerLine::Here(mark) => write_here(&mut written, mark),
        PeerLine::Hello { version: 1, server, identity, fields } => {
            write_hello(&mut written, server, identity, &fields);
            assert_eq!(parse_peer_line(&written[..written.len() - 1]), Some(found));
            if fields != HelloFields::default() {
                return format!("HELLO {fields:?}").replace(|c: char| c.is_ascii_digit(), "");
            }
            written = line.iter().chain(b"\n").copied().collect();
        }
        // Other versions are read to be named, and never written.
        PeerLine::Hello { .. } => written.extend(line.iter().chain(b"\n")),
        PeerLine::Resume { identity, mark } => write_resume(&mut written, identity, mark),
    }
    assert_eq!(written.strip_suffix(b"\n"), Some(line), "written back as it was");
    format!("{:?}", std::mem::discriminant(&found))
}

/// Which kind of line it might have been, and how many fields of it were there.
fn refused_because(line: &[u8]) -> String {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let known = [&b"AT"[..], b"MARK", b"HERE", b"HELLO", b"RESUME"];
    let word = known.iter().position(|word| fields.first() == Some(word));
    let good = |field: &[u8]| {
        slow::difference(field).is_some() || slow::time(field).is_some() || is_location(field)
    };
    let good: String =
        fields.iter().take(8).map(|field| if good(field) { '+' } else { '-' }).collect();
    format!("refused {word:?} {good}")
}

/// The line, read by splitting at every single space.
fn slow(line: &[u8]) -> Option<PeerLine<'_>> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    if fields.iter().any(|field| slow::fields(field) != [*field]) {
        return None;
    }
    match *fields.as_slice() {
        [b"AT", server, difference, client, location_text, time_text] => {
            Some(PeerLine::At(AtLine {
                server: named(server)?,
                difference: slow::difference(difference)?,
                client,
                location_text: slow::location(location_text).map(|_| location_text)?,
                time: slow::time(time_text)?,
                time_text,
            }))
        }
        [b"MARK", mark] => Some(PeerLine::Mark(slow::number(mark)?)),
        [b"HERE", mark] => Some(PeerLine::Here(slow::number(mark)?)),
        [b"HELLO", version, server, identity, ref fields @ ..] => Some(PeerLine::Hello {
            version: slow::number(version)?,
            server: named(server)?,
            identity: slow::hexadecimal(identity)?,
            fields: hello_fields(fields)?,
        }),
        [b"RESUME", identity, mark] => Some(PeerLine::Resume {
            identity: slow::hexadecimal(identity)?,
            mark: slow::number(mark)?,
        }),
        _ => None,
    }
}

/// The optional fields of a HELLO, each key looked for among all of them.
fn hello_fields(fields: &[&[u8]]) -> Option<HelloFields> {
    let texts: Vec<&str> =
        fields.iter().map(|field| std::str::from_utf8(field)).collect::<Result<_, _>>().ok()?;
    let pairs: Vec<(&str, &str)> =
        texts.iter().map(|text| text.split_once('=')).collect::<Option<_>>()?;
    let bytes: usize = texts.iter().map(|text| 1 + text.len()).sum();
    let is_good = |(key, value): &(&str, &str)| {
        let key_is_good = key.chars().all(|c| c.is_ascii_lowercase() || c == '-');
        key_is_good
            && !key.is_empty()
            && !value.is_empty()
            && value.chars().all(|c| c.is_ascii_graphic())
    };
    if bytes > HELLO_FIELDS_MAX_BYTES || !pairs.iter().all(is_good) {
        return None;
    }
    let value = |key: &str| match pairs.iter().filter(|pair| pair.0 == key).collect::<Vec<_>>()[..]
    {
        [] => Some(None),
        [(_, value)] => Some(Some(value.as_bytes())),
        _ => None,
    };
    let number = |text: Option<&[u8]>| match text {
        Some(text) => slow::number(text).map(Some),
        None => Some(None),
    };
    let time = |text: Option<&[u8]>| match text {
        Some(text) => slow::time(text).map(Some),
        None => Some(None),
    };
    Some(HelloFields {
        clients: number(value("clients")?)?,
        memory: number(value("memory")?)?,
        clock: time(value("clock")?)?,
        jumped: time(value("jumped")?)?,
    })
}

fn named(server: &[u8]) -> Option<&[u8]> {
    (server.len() <= SERVER_NAME_MAX_BYTES).then_some(server)
}

#[test]
fn the_corpus_and_new_inputs_pass() {
    replay_and_probe(&TARGET);
}
