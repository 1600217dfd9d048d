//! What clients say, line by line, and the replies and records that come of it.
//!
//! Held against the slow reading of each field. What is accepted becomes a record in a herd of one, and
//! the reply has to say again what was said, to the byte and to the nanosecond.

use std::collections::HashMap;

use herd::herd::topology::Topology;
use herd::herd::{Herd, Settings};
use herd::wire::command::{
    Command, IAmAt, WhatsAt, looks_like_http, parse_command, write_cut_off, write_refusal,
};
use herd::wire::line::LINE_MAX_BYTES;
use herd::wire::location::write_query;
use herd::wire::peer::{PEER_LINE_MAX_BYTES, parse_at};
use herd::wire::plain::take_report;

use crate::engine::{Target, replay_and_probe};
use crate::slow;

pub const TARGET: Target = Target {
    name: "commands",
    check,
    tokens: &[
        b"IAMAT",
        b"WHATSAT",
        b"WHATISAT",
        b"AT",
        b" ",
        b"\t",
        b"\r",
        b"\r\0",
        b"\n",
        b"\x0b",
        b"\x0c",
        b"\0",
        b"+",
        b"-",
        b".",
        b"kiwi.cs.ucla.edu",
        b"k\xc3\xafwi",
        b"\xff",
        b"+34.068930-118.445127",
        b"+90-180",
        b"-090.000000000000000+180.000000000000000",
        b"-0.0-0.0",
        b"1479413884.392014450",
        b"-1.000000001",
        b"999999999999.999999999",
        b"10",
        b"5",
        b"50.000",
        b"0050",
        b"0.0000009",
        b"1e1",
        b"GET / HTTP/1.1",
        b"Host: x",
        b"+0x1",
        b"\xd9\xa3",
    ],
    extremes: &[1, 3, 9, 12, 15, 64, LINE_MAX_BYTES],
    input_max_bytes: LINE_MAX_BYTES + 100,
};

/// The server's clock while a client is heard.
const SERVER_TIME: i128 = 1_479_413_884_655_887_836;

fn check(input: &[u8]) -> String {
    let (topology, _) = Topology::parse("one", "Alford 127.0.0.1:11550\n").unwrap();
    let me = topology.ids().next().unwrap();
    let mut herd = Herd::new(topology, me, 1, Settings { max_ahead: None, ..Settings::default() });
    let mut latest = HashMap::new();
    let mut behaviour = String::new();
    let lines = input.split(|byte| *byte == b'\n').filter(|line| line.len() <= LINE_MAX_BYTES);
    for line in lines.take(20) {
        let letter = match parse_command(line) {
            Some(Command::IAmAt(said)) => {
                check_report(line, &said);
                // The reply to the plain spelling is another copy of its bytes.
                let plain = [line, b"\n"].concat();
                let plain = take_report(&mut plain.as_slice(), LINE_MAX_BYTES);
                check_reply(&mut herd, &mut latest, plain.as_ref().map_or(&said, |(_, said)| said))
            }
            Some(Command::WhatsAt(asked)) => {
                check_question(line, &asked);
                if herd.where_is(asked.client).is_some() { 'w' } else { 'W' }
            }
            None => {
                check_refusal(line);
                if looks_like_http(line) { 'h' } else { refused_because(line) }
            }
        };
        behaviour.push(letter);
    }
    assert_eq!(herd.clients(), latest.len());
    // What followed on what at the end.
    behaviour.split_off(behaviour.len().saturating_sub(3))
}

fn check_report(line: &[u8], said: &IAmAt<'_>) {
    let fields = slow::fields(line);
    let expected: [&[u8]; 4] = [b"IAMAT", said.client, said.location_text, said.time_text];
    assert_eq!(fields, expected);
    assert_eq!(slow::time(said.time_text), Some(said.time));
    assert!(slow::location(said.location_text).is_some(), "a location");
    let mut query = Vec::new();
    write_query(&mut query, said.location_text);
    assert_eq!(String::from_utf8(query).ok(), slow::query(said.location_text));
    assert!(!looks_like_http(line), "no valid command is taken for a browser's");
    check_plain(line, said);
}

/// Reading a line in one pass gives the same, or leaves it.
fn check_plain(line: &[u8], said: &IAmAt<'_>) {
    let input = [line, b"\nbehind"].concat();
    let mut data = input.as_slice();
    let Some((taken, plain)) = take_report(&mut data, LINE_MAX_BYTES) else { return };
    assert_eq!((taken, data), (line, b"behind".as_slice()));
    assert_eq!((plain.client, plain.time), (said.client, said.time));
    assert_eq!((plain.location_text, plain.time_text), (said.location_text, said.time_text));
}

/// Lets the herd hear it. Reply and record are one line, which is read as it was written.
fn check_reply(
    herd: &mut Herd,
    latest: &mut HashMap<Vec<u8>, (i128, Vec<u8>)>,
    said: &IAmAt<'_>,
) -> char {
    let mut reply = Vec::new();
    herd.client_heard(said, SERVER_TIME, &mut reply).expect("no limit is reached");
    assert_eq!(reply.pop(), Some(b'\n'));
    assert!(reply.len() <= PEER_LINE_MAX_BYTES);
    let difference = slow::written_difference(SERVER_TIME - said.time);
    let expected: [&[u8]; 6] =
        [b"AT", b"Alford", difference.as_bytes(), said.client, said.location_text, said.time_text];
    assert_eq!(reply, expected.join(&b' '));
    let at = parse_at(&reply).expect("what is sent to a neighbour is what it reads");
    assert_eq!((at.client, at.time), (said.client, said.time));
    assert_eq!((at.location_text, at.time_text), (said.location_text, said.time_text));
    assert_eq!(at.server_time(), SERVER_TIME);

    let mut letter = 'i';
    latest
        .entry(said.client.to_vec())
        .and_modify(|known| {
            letter = 'k';
            if said.time > known.0 {
                letter = 'n';
                *known = (said.time, reply.clone());
            }
        })
        .or_insert_with(|| (said.time, reply.clone()));
    let record = herd.where_is(said.client).map(|record| record.line.to_vec());
    assert_eq!(record.as_ref(), latest.get(said.client).map(|(_, line)| line));
    letter
}

fn check_question(line: &[u8], asked: &WhatsAt<'_>) {
    let fields = slow::fields(line);
    let [b"WHATSAT" | b"WHATISAT", client, radius, bound] = fields.as_slice() else {
        panic!("{fields:?} is no question")
    };
    assert_eq!(*client, asked.client);
    let mut metres = Vec::new();
    asked.radius.write_metres(&mut metres);
    let metres = String::from_utf8(metres).unwrap();
    assert_eq!(Some(&metres), slow::radius_in_metres(radius).as_ref());
    let exact: f64 = metres.parse().unwrap();
    assert!((asked.radius.as_metres_f64() - exact).abs() < 1e-9);
    assert!((asked.radius.as_kilometres_f64() * 1000.0 - exact).abs() < 1e-9);
    assert_eq!(Some(asked.bound), slow::bound(bound));
    assert!(!looks_like_http(line), "no valid command is taken for a browser's");
}

/// A line that was refused is one that the slow reading refuses, and is copied back.
fn check_refusal(line: &[u8]) {
    let valid = match slow::fields(line).as_slice() {
        [b"IAMAT", _, location, time] => {
            slow::location(location).is_some() && slow::time(time).is_some()
        }
        [b"WHATSAT" | b"WHATISAT", _, radius, bound] => {
            slow::radius_in_metres(radius).is_some() && slow::bound(bound).is_some()
        }
        _ => false,
    };
    assert!(!valid, "a valid command was refused");
    let plain = [line, b"\n"].concat();
    assert_eq!(take_report(&mut plain.as_slice(), LINE_MAX_BYTES), None, "not in one pass either");
    let mut reply = Vec::new();
    write_refusal(&mut reply, line);
    write_cut_off(&mut reply, line);
    assert_eq!(reply, [b"? ", line, b"\n? ", line, b"...\n"].concat());
}

/// The first thing that is wrong with a line, so that each wrong thing is a behaviour.
fn refused_because(line: &[u8]) -> char {
    match slow::fields(line).as_slice() {
        [] => 'e',
        [b"IAMAT", _, location, time] => {
            match (slow::location(location).is_some(), slow::time(time).is_some()) {
                (false, false) => '0',
                (false, true) => '1',
                (true, _) => '2',
            }
        }
        [b"WHATSAT" | b"WHATISAT", _, radius, _] => {
            if slow::radius_in_metres(radius).is_none() {
                '3'
            } else {
                '4'
            }
        }
        [b"IAMAT" | b"WHATSAT" | b"WHATISAT", ..] => '5',
        _ => 'x',
    }
}

#[test]
fn the_corpus_and_new_inputs_pass() {
    replay_and_probe(&TARGET);
}
