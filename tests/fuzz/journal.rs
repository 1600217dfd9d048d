//! Journals, however they were cut, spoilt, or written by somebody else.
//!
//! A line of the input that ends with ` #` is given the check sum that it asks for: by chance alone, no
//! line would ever be whole. What a replay finds is held against a slow reading of the same file, and
//! what it leaves in the herd is found again in a journal that is written anew.

use std::collections::BTreeMap;

use herd::herd::journal::{Replay, Replayed, Writer};
use herd::herd::topology::Topology;
use herd::herd::{Herd, Settings};
use herd::wire::journal::{JOURNAL_LINE_MAX_BYTES, JOURNAL_VERSION, parse_journal_line};
use herd::wire::peer::{PeerLine, parse_at, parse_peer_line};

use crate::cut::cuttings;
use crate::engine::{Target, replay_and_probe};
use crate::slow;

pub const TARGET: Target = Target {
    name: "journal",
    check,
    tokens: &[
        b"HERD-JOURNAL 1 #\n",
        b"HERD-JOURNAL 2 #\n",
        b"AT Ball +0.000000001 kiwi +1+1 7 #\n",
        b"AT Ball +0.000000000 kiwi +1+1 7 #\n",
        b"AT Alford -1.000000000 emu -1-1 -8 #\n",
        b"AT Nobody +0.000000000 kiwi +1+1 9 #\n",
        b"TAKEN Ball 00c0ffee00c0ffee 42 #\n",
        b"TAKEN Welsh 00c0ffee00c0ffef 7 #\n",
        b"TAKEN Nobody 00c0ffee00c0ffee 1 #\n",
        b"HERD-JOURNAL 1 #fd902b5e\n",
        b" #",
        b" #00000000",
        b"TAKEN",
        b"AT",
        b"Ball",
        b"Welsh",
        b" ",
        b"0",
        b"1",
        b"\n",
        b"\r\n",
        b"\0",
    ],
    extremes: &[10, 11, JOURNAL_LINE_MAX_BYTES - 10, JOURNAL_LINE_MAX_BYTES],
    input_max_bytes: 3 * JOURNAL_LINE_MAX_BYTES,
};

const TOPOLOGY: &str =
    "Alford 127.0.0.1:11550 Ball Welsh\nBall 127.0.0.1:11551\nWelsh 127.0.0.1:11552\n";

/// What a file leaves behind.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    replayed: Replayed,
    /// By client, its greatest record.
    records: BTreeMap<Vec<u8>, Vec<u8>>,
    /// By neighbour, the identity and mark that can be believed.
    marks: BTreeMap<Vec<u8>, (u64, u64)>,
}

fn check(input: &[u8]) -> String {
    let file = sealed(input);
    let expected = slow(&file);
    for reads in cuttings(&file) {
        let mut herd = alford();
        let mut replay = Replay::new(&mut herd);
        let empty_bytes = if reads.len() == 1 { format!("{replay:?}").len() } else { 0 };
        for read in &reads {
            replay.receive(read);
        }
        if reads.len() == 1 {
            // A byte that is held shows in at most five bytes of this text, the herd's in it too.
            // The name of a server that the topology lacks is held twice beside its record.
            let known: usize = expected.records.values().map(|line| 10 * line.len() + 2000).sum();
            let held_bytes = format!("{replay:?}").len().saturating_sub(empty_bytes);
            assert!(held_bytes < 5 * JOURNAL_LINE_MAX_BYTES + known + 5000, "holds {held_bytes}");
        }
        let (replayed, mut writer) = replay.finish();
        assert_eq!(replayed, expected.replayed);
        check_herd(&mut herd, &expected);
        check_writer(&mut writer, &herd, &replayed);
        check_written_anew(&herd, &expected);
    }
    let Replayed { records, dropped, marks, damaged_lines, torn_bytes, .. } = expected.replayed;
    let (records, damaged, dropped) = (records.min(3), damaged_lines.min(3), dropped.min(2));
    let clients = expected.records.len().min(3);
    format!("{records} {clients} {marks} {damaged} {dropped} {}", torn_bytes > 0)
}

fn alford() -> Herd {
    let (topology, _) = Topology::parse("three", TOPOLOGY).unwrap();
    let me = topology.by_name(b"Alford").unwrap();
    Herd::new(topology, me, 1, Settings::default())
}

/// The herd holds what was found, and would resume where it was found to be.
fn check_herd(herd: &mut Herd, expected: &Found) {
    assert_eq!(herd.clients(), expected.records.len());
    for (client, line) in &expected.records {
        assert_eq!(herd.where_is(client).map(|record| record.line), Some(line.as_slice()));
    }
    for (name, (identity, mark)) in &expected.marks {
        let id = herd.hello_received(1, name, *identity).expect("a neighbour");
        let mut out = Vec::new();
        herd.write_resume(id, &mut out);
        let last = out.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty()).unwrap();
        let identity = if *mark == 0 { 0 } else { *identity };
        assert_eq!(parse_peer_line(last), Some(PeerLine::Resume { identity, mark: *mark }));
    }
}

/// The writer goes on where the file ends: nothing is missing from it but perhaps its first line.
fn check_writer(writer: &mut Writer, herd: &Herd, replayed: &Replayed) {
    assert_eq!(writer.file_bytes(), replayed.keep_bytes);
    assert_eq!(writer.cursor(), herd.last_change());
    let mut out = Vec::new();
    assert!(!writer.pump(herd, &mut out, usize::MAX));
    assert_eq!(out.is_empty(), replayed.keep_bytes > 0);
    assert_eq!(writer.wants_rewrite(herd), replayed.damaged_lines > 0);
}

/// A journal of all that the herd holds has every line whole, and the same in it.
fn check_written_anew(herd: &Herd, expected: &Found) {
    let mut file = Vec::new();
    assert!(!Writer::new().pump(herd, &mut file, usize::MAX));
    let again = slow(&file);
    let mut marks = expected.marks.clone();
    // A mark of 0 says nothing, so it is not said again.
    marks.retain(|_, (_, mark)| *mark > 0);
    assert_eq!((&again.records, &again.marks), (&expected.records, &marks));
    let clients = expected.records.len() as u64;
    assert_eq!((again.replayed.records, again.replayed.damaged_lines), (clients, 0));
    assert_eq!((again.replayed.dropped, again.replayed.torn_bytes), (0, 0));
}

/// The input with the check sums that its lines ask for.
fn sealed(input: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    for line in input.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_suffix(b" #\n") {
            Some(text) => {
                file.extend_from_slice(text);
                file.extend_from_slice(format!(" #{:08x}\n", crc32(text)).as_bytes());
            }
            None => file.extend_from_slice(line),
        }
    }
    file
}

/// CRC-32 as in Ethernet and gzip, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0xedb8_8320 * (sum & 1)))
    })
}

/// What is in a file, line by line.
fn slow(file: &[u8]) -> Found {
    let mut found = Found::default();
    let end = file.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let (whole, torn) = file.split_at(end);
    found.replayed.keep_bytes = whole.len() as u64;
    found.replayed.torn_bytes = torn.len() as u64;
    let mut readable = true;
    for (line, number) in whole.split_inclusive(|byte| *byte == b'\n').zip(1..) {
        let text = unsealed(line);
        let fields: Vec<&[u8]> = text.unwrap_or_default().split(|byte| *byte == b' ').collect();
        let sound = match *fields.as_slice() {
            [b"HERD-JOURNAL", version] => slow::number(version).is_some_and(|version| {
                readable = version == JOURNAL_VERSION;
                readable
            }),
            [b"TAKEN", name, identity, mark] => {
                readable && taken(&mut found, name, identity, mark).is_some()
            }
            _ => readable && text.is_some_and(|text| record(&mut found, text).is_some()),
        };
        if text.is_some() && parse_journal_line(&line[..line.len() - 1]).is_none() {
            assert!(!sound, "a sound line was not read");
        }
        if !sound {
            found.replayed.damaged_lines += 1;
            if found.replayed.damaged_lines == 1 {
                found.replayed.first_damaged_line = number;
            }
        }
    }
    found.replayed.marks = found.marks.len();
    found
}

/// The text of a line of the file that has its check sum and is not too long.
fn unsealed(line: &[u8]) -> Option<&[u8]> {
    let line = line.strip_suffix(b"\n")?;
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let line = Some(line).filter(|line| line.len() < JOURNAL_LINE_MAX_BYTES)?;
    let text = line.get(..line.len().checked_sub(10)?)?;
    (line[text.len()..] == *format!(" #{:08x}", crc32(text)).as_bytes()).then_some(text)
}

/// Takes in a record; `None` when it is none.
fn record(found: &mut Found, text: &[u8]) -> Option<()> {
    let at = parse_at(text)?;
    slow::server_name(at.server).then_some(())?;
    found.replayed.records += 1;
    // Time, then the earlier server time, then the lesser server and line: written as one key.
    let key = |line: &[u8]| {
        let at = parse_at(line).unwrap();
        (at.time, std::cmp::Reverse((at.server_time(), at.server.to_vec(), line.to_vec())))
    };
    let held = found.records.entry(at.client.to_vec()).or_insert_with(|| text.to_vec());
    if key(text) > key(held) {
        *held = text.to_vec();
    }
    Some(())
}

/// Takes in a mark; `None` when it is none. One below damage, or of no neighbour, changes nothing.
fn taken(found: &mut Found, name: &[u8], identity: &[u8], mark: &[u8]) -> Option<()> {
    let (identity, mark) = (slow::hexadecimal(identity)?, slow::number(mark)?);
    (slow::fields(name) == [name] && name.len() <= 64).then_some(())?;
    if found.replayed.damaged_lines == 0 && [&b"Ball"[..], b"Welsh"].contains(&name) {
        found.marks.insert(name.to_vec(), (identity, mark));
    }
    Some(())
}

#[test]
fn the_corpus_and_new_inputs_pass() {
    replay_and_probe(&TARGET);
}
