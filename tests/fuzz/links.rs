//! Whole conversations with a neighbour, as far as the pure core decides them.
//!
//! The input is what Alford hears: each line on a connection that Ball or Welsh dialled, or, behind a `<`,
//! on the one that Alford dialled to Ball. Whatever they say, Alford holds the greatest of the records it
//! let in, each as it came, and tells Welsh exactly those, but for what Welsh said itself.

use std::collections::HashMap;

use herd::herd::links::{Answer, NeighbourId, ResumedFrom, Taken};
use herd::herd::record::Record;
use herd::herd::topology::Topology;
use herd::herd::{Herd, Settings};
use herd::wire::peer::{PEER_LINE_MAX_BYTES, PeerLine, parse_at, parse_peer_line};

use crate::engine::{Target, replay_and_probe};
use crate::slow::server_name;

pub const TARGET: Target = Target {
    name: "links",
    check,
    tokens: &[
        b"HELLO 1 Ball 00c0ffee00c0ffee\n",
        b"HELLO 1 Welsh 00c0ffee00c0ffee\n",
        b"HELLO 1 Welsh 00c0ffee00c0ffef\n",
        b"HELLO 1 Ball 00c0ffee00c0ffef\n",
        b"<HELLO 1 Ball 00c0ffee00c0ffee\n",
        b"<RESUME 0000000000000000 0\n",
        b"<RESUME 0000000000000007 1\n",
        b"<RESUME 0000000000000007 2\n",
        b"<HERE 0\n",
        b"<HERE 1\n",
        b"MARK 1\n",
        b"AT Ball +0.000000001 kiwi +1+1 7\n",
        b"AT Ball +0.000000000 kiwi +1+1 7\n",
        b"AT Welsh +0.000000001 kiwi +1+1 7.0\n",
        b"AT Alford -1.000000000 emu -1-1 -8\n",
        b"AT Nobody +0.000000000 kiwi +1+1 7\n",
        b"Ball",
        b"Welsh",
        b"Alford",
        b"kiwi",
        b"emu",
        b"7",
        b"8",
        b"<",
        b"\n",
    ],
    extremes: &[64, PEER_LINE_MAX_BYTES],
    input_max_bytes: 2 * PEER_LINE_MAX_BYTES,
};

/// Of this start of Alford.
const IDENTITY: u64 = 7;

const TOPOLOGY: &str =
    "Alford 127.0.0.1:11550 Ball Welsh\nBall 127.0.0.1:11551\nWelsh 127.0.0.1:11552\n";

/// A neighbour that has dialled, and the identity that it gave.
type Dialler = (NeighbourId, u64);

/// The records that were let in: the greatest of each client, and who said it first.
type Latest = HashMap<Vec<u8>, (Vec<u8>, Dialler)>;

/// Welsh's identity when it is told everything at the end.
const WELSH: u64 = 0x00c0_ffee_00c0_ffee;

fn check(input: &[u8]) -> String {
    let mut herd = alford();
    let mut latest = Latest::new();
    let mut dialler = None;
    let mut marked = 0;
    let mut behaviour = String::new();
    let lines = input.split(|byte| *byte == b'\n').filter(|line| line.len() <= PEER_LINE_MAX_BYTES);
    for line in lines.take(60) {
        let letter = match line.strip_prefix(b"<") {
            Some(line) => answer(&mut herd, &mut marked, line),
            None => said(&mut herd, &mut dialler, &mut latest, line),
        };
        if !behaviour.ends_with(letter) {
            behaviour.push(letter);
        }
        assert_eq!(herd.clients(), latest.len());
    }
    for (client, (line, _)) in &latest {
        assert_eq!(herd.where_is(client).map(|record| record.line), Some(line.as_slice()));
    }
    check_pumped(&mut herd, &latest);
    behaviour.truncate(5);
    behaviour
}

fn alford() -> Herd {
    let (topology, _) = Topology::parse("three", TOPOLOGY).unwrap();
    let me = topology.by_name(b"Alford").unwrap();
    Herd::new(topology, me, IDENTITY, Settings::default())
}

fn neighbour(herd: &Herd, name: &str) -> NeighbourId {
    herd.neighbour_named(name.as_bytes()).unwrap()
}

/// A line on the connection that Alford dialled, on which the last mark was `marked`. Nonsense ends it.
fn answer(herd: &mut Herd, marked: &mut u64, line: &[u8]) -> char {
    let ball = neighbour(herd, "Ball");
    let up_before = herd.link_is_up(ball);
    match herd.listener_line_received(ball, line) {
        Ok(Answer::Hello(_)) => {
            assert!(!up_before && line.starts_with(b"HELLO 1 Ball "));
            'h'
        }
        Ok(Answer::Resumed(resumed)) => {
            assert!(herd.link_is_up(ball) && resumed.behind <= herd.clients());
            let mut out = Vec::new();
            herd.pump(ball, &mut out, usize::MAX);
            *marked = match (last_line(&out), resumed.from) {
                (Some(PeerLine::Mark(mark)), _) | (None, ResumedFrom::Mark(mark)) => mark,
                (None, ResumedFrom::Start) => 0,
                other => panic!("{other:?}"),
            };
            'r'
        }
        Ok(Answer::Here(mark)) => {
            assert!(up_before && mark <= *marked, "only what was sent can have been taken in");
            'e'
        }
        Err(nonsense) => {
            check_words(&nonsense.to_string());
            herd.link_lost(ball);
            assert!(!herd.link_is_up(ball));
            'x'
        }
    }
}

/// A line on the connection that Ball dialled, which begins with a HELLO. Nonsense ends it, and the next
/// line belongs to a new one.
fn said(herd: &mut Herd, dialler: &mut Option<Dialler>, latest: &mut Latest, line: &[u8]) -> char {
    let Some((id, identity)) = *dialler else {
        let Some(PeerLine::Hello { version, server, identity, .. }) = parse_peer_line(line) else {
            return '-';
        };
        return match herd.hello_received(version, server, identity) {
            Ok(id) => {
                // Only these two are there to be: a name outside is refused.
                assert!(version == 1 && [&b"Ball"[..], b"Welsh"].contains(&server));
                *dialler = Some((id, identity));
                'H'
            }
            Err(refusal) => {
                check_words(&refusal.to_string());
                'R'
            }
        };
    };
    match herd.dialler_line_received(id, line) {
        Ok(Taken::Mark) => {
            check_resume(herd, id, line);
            'M'
        }
        Ok(taken) => {
            let changed = let_in(latest, line, (id, identity));
            assert_eq!(taken == Taken::Changed, changed, "the greatest record is held");
            if changed { 'A' } else { 'a' }
        }
        Err(nonsense) => {
            check_words(&nonsense.to_string());
            *dialler = None;
            'X'
        }
    }
}

/// Notes a record that the herd took in; whether it is the greatest of its client so far.
fn let_in(latest: &mut Latest, line: &[u8], from: Dialler) -> bool {
    let at = parse_at(line).expect("only records are let in");
    assert!(server_name(at.server), "of servers that may exist");
    let record = Record::new(line, &at).expect("it fits");
    assert_eq!((record.client(), record.server()), (at.client, at.server));
    assert_eq!(record.location(), at.location_text);
    // Time, then the earlier server time, then the lesser server and line: written as one key.
    let key = |line: &[u8]| {
        let at = parse_at(line).unwrap();
        (at.time, std::cmp::Reverse((at.server_time(), at.server.to_vec(), line.to_vec())))
    };
    let held = latest.get(at.client);
    let wins = held.is_none_or(|(held, _)| key(line) > key(held));
    if wins {
        latest.insert(at.client.to_vec(), (line.to_vec(), from));
    }
    wins
}

/// After a mark, a new connection resumes at that mark or a later one.
fn check_resume(herd: &Herd, id: NeighbourId, line: &[u8]) {
    let Some(PeerLine::Mark(mark)) = parse_peer_line(line) else { panic!("a mark") };
    let mut out = Vec::new();
    herd.write_resume(id, &mut out);
    let Some(PeerLine::Resume { mark: resumed, .. }) = last_line(&out) else { panic!("a RESUME") };
    assert!(resumed >= mark);
}

/// What the last of some lines says; `None` when there are none.
fn last_line(out: &[u8]) -> Option<PeerLine<'_>> {
    let last = out.strip_suffix(b"\n")?.rsplit(|byte| *byte == b'\n').next()?;
    Some(parse_peer_line(last).expect("what is written is read"))
}

/// Words for a log: of a length that can be read, and nothing in them that moves a cursor.
fn check_words(words: &str) {
    assert!(words.len() < 1000 && !words.contains(char::is_control), "{words:?}");
}

/// Tells everything to Welsh, in small portions, and looks whether it is all and nothing else.
fn check_pumped(herd: &mut Herd, latest: &Latest) {
    const PORTION_BYTES: usize = 100;
    let welsh = neighbour(herd, "Welsh");
    herd.link_lost(welsh);
    herd.listener_line_received(welsh, b"HELLO 1 Welsh 00c0ffee00c0ffee").unwrap();
    herd.listener_line_received(welsh, b"RESUME 0000000000000000 0").unwrap();
    let mut told: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
    let mut portions = 0;
    while herd.lacks_changes(welsh) {
        let mut out = Vec::new();
        let pumped = herd.pump(welsh, &mut out, PORTION_BYTES);
        assert!(out.len() < PORTION_BYTES + PEER_LINE_MAX_BYTES + 40);
        let lines = out.split_inclusive(|byte| *byte == b'\n');
        let lines = lines.map(|line| line.strip_suffix(b"\n").expect("whole lines"));
        let mut records = 0;
        for line in lines.filter(|line| line.starts_with(b"AT ")) {
            let at = parse_at(line).expect("a record as it came");
            assert_eq!(told.insert(at.client.to_vec(), line.to_vec()), None, "each once");
            records += 1;
        }
        assert_eq!(records, pumped.records);
        portions += 1;
        assert!(portions <= 200, "it ends");
    }
    for (client, (line, from)) in latest {
        match told.remove(client) {
            Some(told) => assert_eq!(told, *line),
            // Only what Welsh said itself since it last started need not go back to it.
            None => assert_eq!(*from, (welsh, WELSH)),
        }
    }
    assert!(told.is_empty(), "and nothing else");
}

#[test]
fn the_corpus_and_new_inputs_pass() {
    replay_and_probe(&TARGET);
}
