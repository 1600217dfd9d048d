//! Tests of journals as bytes: what is written, and what is found again however they were cut or spoilt.

use proptest::prelude::*;

use super::*;
use crate::herd::links::{Answer, NeighbourId, PUMP_ENTRIES_MAX, Resumed, ResumedFrom};
use crate::herd::store::WhenFull;
use crate::herd::topology::Topology;
use crate::herd::{Herd, Settings};
use crate::wire::command::{Command, parse_command};
use crate::wire::journal::{write_header, write_record, write_taken};
use crate::wire::line::LINE_MAX_BYTES;
use crate::wire::peer::HelloFields;
use crate::wire::time::NANOS_PER_SECOND;

/// More than any pump here writes.
const PLENTY: usize = 1 << 20;

const IDENTITY_OF_B: u64 = 0xb;

/// A server between two others.
fn herd() -> Herd {
    herd_with(Settings::default())
}

fn herd_with(settings: Settings) -> Herd {
    let (topology, _) = Topology::parse("chain", "A h:1 B C\nB h:2\nC h:3").unwrap();
    let me = topology.by_name(b"A").unwrap();
    Herd::new(topology, me, 1, settings)
}

/// A client of `herd` reports, at second 1000 of the server's clock.
fn report(herd: &mut Herd, client: &str, time: u32) {
    let line = format!("IAMAT {client} +1-1 {time}");
    let Some(Command::IAmAt(said)) = parse_command(line.as_bytes()) else { panic!("{line}") };
    herd.client_heard(&said, 1_000 * NANOS_PER_SECOND, &mut Vec::new()).unwrap();
}

/// B has dialled, and tells some lines.
fn told_by_b(herd: &mut Herd, lines: &[&str]) -> NeighbourId {
    let from = herd.hello_received(1, b"B", IDENTITY_OF_B).unwrap();
    for line in lines {
        herd.dialler_line_received(from, line.as_bytes()).unwrap();
    }
    from
}

fn pumped(writer: &mut Writer, herd: &Herd) -> Vec<u8> {
    let mut out = Vec::new();
    assert!(!writer.pump(herd, &mut out, PLENTY));
    out
}

/// Everything that a server knows, as a fresh journal.
fn dump(herd: &Herd) -> Vec<u8> {
    pumped(&mut Writer::new(), herd)
}

/// The texts of a journal, without check sums.
fn texts(file: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(file);
    text.lines().map(|line| line.rsplit_once(" #").unwrap().0.to_owned()).collect()
}

fn replayed(file: &[u8]) -> (Herd, Replayed, Writer) {
    let mut herd = herd();
    let (replayed, writer) = replay_into(&mut herd, &[file]);
    (herd, replayed, writer)
}

fn replay_into(herd: &mut Herd, chunks: &[&[u8]]) -> (Replayed, Writer) {
    let mut replay = Replay::new(herd);
    for chunk in chunks {
        replay.receive(chunk);
    }
    replay.finish()
}

/// What a RESUME to B says.
fn resume_to_b(herd: &mut Herd) -> String {
    let from = herd.hello_received(1, b"B", IDENTITY_OF_B).unwrap();
    let mut out = Vec::new();
    herd.write_resume(from, &mut out);
    String::from_utf8(out).unwrap().lines().last().unwrap().to_owned()
}

/// A journal with all kinds of lines: three records, a mark, a record, a mark.
fn sample() -> Vec<u8> {
    let mut herd = herd();
    let mut writer = Writer::new();
    report(&mut herd, "k1", 1);
    let mut file = pumped(&mut writer, &herd);
    let (k2, k3) = ("AT B +0.000000000 k2 +1-1 7", "AT C +0.000000000 k3 +1-1 7");
    told_by_b(&mut herd, &[k2, k3, "MARK 5"]);
    file.extend(pumped(&mut writer, &herd));
    told_by_b(&mut herd, &["AT B +0.000000000 k2 +1-1 8", "MARK 6"]);
    file.extend(pumped(&mut writer, &herd));
    assert_eq!(writer.file_bytes(), file.len() as u64);
    file
}

#[test]
fn a_journal_has_the_newest_records_once_then_the_marks_that_they_bear_out() {
    let mut herd = herd();
    let mut writer = Writer::new();
    for time in 1..4 {
        report(&mut herd, "k1", time);
        report(&mut herd, "k2", time);
    }
    told_by_b(&mut herd, &["AT B +0.000000000 k1 +1-1 7", "MARK 42"]);
    let first = [
        "HERD-JOURNAL 1",
        "AT A +997.000000000 k2 +1-1 3",
        "AT B +0.000000000 k1 +1-1 7",
        "TAKEN B 000000000000000b 42",
    ];
    assert_eq!(texts(&pumped(&mut writer, &herd)), first);
    assert_eq!(texts(&pumped(&mut writer, &herd)), [""; 0]);
    told_by_b(&mut herd, &["MARK 42", "MARK 43", "MARK 44"]);
    assert_eq!(texts(&pumped(&mut writer, &herd)), ["TAKEN B 000000000000000b 44"]);
    assert_eq!(writer.cursor(), herd.last_change());
}

#[test]
fn a_pump_is_bounded_and_marks_come_only_at_the_end() {
    let mut herd = herd();
    told_by_b(&mut herd, &["AT B +0.000000000 k1 +1-1 7", "AT B +0.000000000 k2 +1-1 7", "MARK 2"]);
    let mut writer = Writer::new();
    let mut pump = |limit_bytes| {
        let mut out = b"owed before".to_vec();
        let more = writer.pump(&herd, &mut out, limit_bytes);
        (texts(&out["owed before".len()..]).len(), more)
    };
    assert_eq!(pump(1), (1, true), "the first line");
    assert_eq!(pump(1), (1, true), "a record");
    assert_eq!(pump(1), (2, false), "a record and the mark");
    assert_eq!(pump(1), (0, false));
    let many = PUMP_ENTRIES_MAX + 1;
    (0..many).for_each(|client| report(&mut herd, &format!("m{client}"), 7));
    let mut out = Vec::new();
    assert!(writer.pump(&herd, &mut out, PLENTY));
    assert!(!writer.pump(&herd, &mut out, PLENTY));
    assert_eq!(texts(&out).len(), many);
}

#[test]
fn a_replay_finds_all_again_and_the_writer_goes_on_where_the_file_ends() {
    let file = sample();
    let (mut herd, replayed, mut writer) = replayed(&file);
    let keep_bytes = file.len() as u64;
    assert_eq!(replayed, Replayed { records: 4, marks: 1, keep_bytes, ..Replayed::default() });
    let texts_of = |file: &[u8]| texts(file).split_off(1);
    assert_eq!(
        texts_of(&dump(&herd)),
        [
            "AT A +999.000000000 k1 +1-1 1",
            "AT C +0.000000000 k3 +1-1 7",
            "AT B +0.000000000 k2 +1-1 8",
            "TAKEN B 000000000000000b 6"
        ]
    );
    assert_eq!(resume_to_b(&mut herd), "RESUME 000000000000000b 6");
    assert_eq!(pumped(&mut writer, &herd), b"");
    report(&mut herd, "k1", 2);
    assert_eq!(texts(&pumped(&mut writer, &herd)), ["AT A +998.000000000 k1 +1-1 2"]);
}

#[test]
fn a_server_that_comes_back_is_sent_only_what_it_missed() {
    let (topology, _) = Topology::parse("chain", "A h:1 B C\nB h:2\nC h:3").unwrap();
    let me = topology.by_name(b"B").unwrap();
    let mut b = Herd::new(topology, me, IDENTITY_OF_B, Settings::default());
    let to = b.neighbour_named(b"A").unwrap();
    let mut a = herd();
    let mut file = Vec::new();
    let mut writer = Writer::new();
    for (identity_of_a, time) in [(1, 1), (2, 2)] {
        b.link_lost(to);
        let resume = resume_to_b(&mut a);
        let hello = format!("HELLO 1 A {identity_of_a:016x}");
        assert_eq!(
            b.listener_line_received(to, hello.as_bytes()),
            Ok(Answer::Hello(HelloFields::default()))
        );
        if time == 2 {
            report(&mut b, "k7", 2);
            let resumed = Resumed { from: ResumedFrom::Mark(9), behind: 1 };
            let answer = b.listener_line_received(to, resume.as_bytes());
            assert_eq!(answer, Ok(Answer::Resumed(resumed)));
        } else {
            (0..9).for_each(|client| report(&mut b, &format!("k{client}"), 1));
            b.listener_line_received(to, resume.as_bytes()).unwrap();
        }
        let mut sent = Vec::new();
        assert_eq!(b.pump(to, &mut sent, PLENTY).records, if time == 1 { 9 } else { 1 });
        let sent = String::from_utf8(sent).unwrap();
        told_by_b(&mut a, &sent.lines().collect::<Vec<_>>());
        file.extend(pumped(&mut writer, &a));
        // It is killed, and starts anew.
        (a, _, writer) = replayed(&file);
    }
    assert_eq!(a.clients(), 9);
    assert_eq!(resume_to_b(&mut a), "RESUME 000000000000000b 10");
}

#[test]
fn a_file_cut_anywhere_has_all_whole_lines_and_no_mark_without_what_it_covers() {
    let file = sample();
    for cut in 0..=file.len() {
        let kept = &file[..cut];
        let whole = kept.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        let (mut herd, replayed, mut writer) = replayed(kept);
        assert_eq!(replayed.damaged_lines, 0);
        assert_eq!(
            (replayed.keep_bytes, replayed.torn_bytes),
            (whole as u64, (cut - whole) as u64)
        );
        let expected = texts(&kept[..whole]);
        let records = expected.iter().filter(|line| line.starts_with("AT ")).count();
        assert_eq!(replayed.records, records as u64);
        let (identity, mark) = match expected.len() {
            0..5 => (0, 0),
            5 | 6 => (IDENTITY_OF_B, 5),
            _ => (IDENTITY_OF_B, 6),
        };
        assert_eq!(resume_to_b(&mut herd), format!("RESUME {identity:016x} {mark}"));
        // What is appended to the whole lines is found the next time.
        report(&mut herd, "new", 7);
        let next = [&kept[..whole], &pumped(&mut writer, &herd)].concat();
        let (_, replayed, _) = self::replayed(&next);
        assert_eq!((replayed.damaged_lines, replayed.torn_bytes), (0, 0));
        assert_eq!(replayed.records, records as u64 + 1);
    }
}

#[test]
fn a_file_whose_line_ends_became_crlf_is_read_and_gone_on_with() {
    let mut herd = herd();
    report(&mut herd, "k1", 1);
    let longest = "c".repeat(LINE_MAX_BYTES - "IAMAT  +1-1 1".len());
    report(&mut herd, &longest, 1);
    told_by_b(&mut herd, &["AT B +0.000000000 k2 +1-1 7", "MARK 42"]);
    let file = String::from_utf8(dump(&herd)).unwrap().replace('\n', "\r\n").into_bytes();
    let (mut again, found, mut writer) = replayed(&file);
    assert_eq!((found.records, found.damaged_lines, found.marks), (3, 0, 1));
    assert_eq!((found.keep_bytes, found.torn_bytes), (file.len() as u64, 0));
    report(&mut again, "k3", 1);
    let (_, found, _) = replayed(&[file, pumped(&mut writer, &again)].concat());
    assert_eq!((found.records, found.damaged_lines, found.torn_bytes), (4, 0, 0));
    // One CR is a line's end, two are damage.
    let mut twice = dump(&herd);
    twice.splice(twice.len() - 1.., *b"\r\r\n");
    assert_eq!(replayed(&twice).1.damaged_lines, 1);
}

#[test]
fn damage_anywhere_costs_its_line_and_the_marks_below() {
    let file = sample();
    let lines: Vec<&[u8]> = file.split_inclusive(|&byte| byte == b'\n').collect();
    let (mut line, mut start) = (0, 0);
    for place in 0..file.len() {
        if place == start + lines[line].len() {
            (line, start) = (line + 1, place);
        }
        let mut damaged = file.clone();
        damaged[place] ^= 0x20;
        let (mut herd, replayed, writer) = replayed(&damaged);
        let is_end = place + 1 == start + lines[line].len();
        // Without its LF, a line becomes one with the next, and the last one is torn.
        let torn = is_end && line + 1 == lines.len();
        assert_eq!(replayed.damaged_lines, u64::from(!torn), "{place}");
        assert_eq!(replayed.first_damaged_line, if torn { 0 } else { line as u64 + 1 });
        assert_eq!(writer.wants_rewrite(&herd), !torn);
        let lost = |i| i == line || is_end && i == line + 1;
        let records = (0..lines.len()).filter(|&i| !lost(i) && lines[i].starts_with(b"AT "));
        assert_eq!(replayed.records, records.count() as u64);
        let (identity, mark) = if line < 5 { (0, 0) } else { (IDENTITY_OF_B, 5) };
        assert_eq!(resume_to_b(&mut herd), format!("RESUME {identity:016x} {mark}"), "{place}");
    }
}

#[test]
fn lines_of_another_version_are_damage_and_those_of_no_version_are_not() {
    let file = sample();
    let first = file.iter().position(|&byte| byte == b'\n').unwrap() + 1;
    let (_, replayed, _) = replayed(&file[first..]);
    assert_eq!((replayed.records, replayed.damaged_lines), (4, 0));
    let mut other = Vec::new();
    write_record(&mut other, b"HERD-JOURNAL 2");
    let (herd, replayed, _) = self::replayed(&[&other, &file[first..]].concat());
    assert_eq!((replayed.records, replayed.damaged_lines, herd.clients()), (0, 7, 0));
    let (_, replayed, _) = self::replayed(&[&other, &file[..]].concat());
    assert_eq!((replayed.records, replayed.damaged_lines), (4, 1));
}

#[test]
fn whole_lines_that_have_no_place_here_are_dropped_and_are_no_damage() {
    let mut file = Vec::new();
    write_header(&mut file);
    write_record(&mut file, b"AT B +0.000000000 k1 +1-1 10");
    write_record(&mut file, b"AT B +0.000000000 k2 +1-1 10");
    write_record(&mut file, b"AT B +0.000000000 k3 +1-1 9.999999999");
    write_record(&mut file, b"AT B +0.000000000 k4 +1-1 10");
    write_taken(&mut file, b"Gone", 7, 7);
    write_taken(&mut file, b"A", 7, 7);
    write_taken(&mut file, b"B", 7, 7);
    let (forget_after, when_full) = (Some(10 * NANOS_PER_SECOND), WhenFull::Refuse);
    let mut herd =
        herd_with(Settings { forget_after, max_clients: 1, when_full, ..Settings::default() });
    herd.forget(20 * NANOS_PER_SECOND - 1, 0);
    let (replayed, _) = replay_into(&mut herd, &[&file]);
    let (records, dropped, marks) = (replayed.records, replayed.dropped, replayed.marks);
    assert_eq!((records, dropped, marks, replayed.damaged_lines), (1, 3, 1, 0));
    assert!(herd.where_is(b"k1").is_some());
}

#[test]
fn records_of_a_server_that_has_left_the_topology_are_known_and_a_name_that_is_none_is_damage() {
    let mut file = Vec::new();
    write_header(&mut file);
    write_record(&mut file, b"AT Gone +0.000000000 k1 +1-1 10");
    write_record(&mut file, b"AT Gone +0.000000000 k2 +1-1 10");
    write_record(&mut file, b"AT -Gone +0.000000000 k3 +1-1 10");
    let mut herd = herd();
    let (replayed, _) = replay_into(&mut herd, &[&file]);
    assert_eq!((replayed.records, replayed.dropped, replayed.damaged_lines), (2, 0, 1));
    assert!(herd.where_is(b"k1").is_some() && herd.where_is(b"k3").is_none());
    assert!(herd.next_stranger().unwrap().to_string().contains("names the server Gone,"));
    assert_eq!(herd.next_stranger(), None);
}

#[test]
fn a_rewrite_is_a_second_writer_that_catches_up_while_changes_go_on() {
    let mut herd = herd();
    let mut writer = Writer::new();
    let mut file = Vec::new();
    let mut time = 0;
    while !writer.wants_rewrite(&herd) {
        time += 1;
        (0..10).for_each(|client| report(&mut herd, &format!("k{client}"), time));
        file.extend(pumped(&mut writer, &herd));
    }
    assert!(file.len() as u64 > REWRITE_SLACK_BYTES);
    assert!(file.len() as u64 <= REWRITE_SLACK_BYTES + 4_000, "{}", file.len());
    told_by_b(&mut herd, &["MARK 3"]);
    let (mut second, mut fresh) = (Writer::new(), Vec::new());
    while second.pump(&herd, &mut fresh, 100) {
        time += 1;
        report(&mut herd, &format!("k{}", time % 10), time);
        file.extend(pumped(&mut writer, &herd));
    }
    assert!(fresh.len() < 3_000, "{}", fresh.len());
    assert!(!second.wants_rewrite(&herd));
    assert_eq!(second.cursor(), herd.last_change());
    let (again, replayed, _) = replayed(&fresh);
    assert_eq!((dump(&again), replayed.marks), (dump(&herd), 1));
}

#[test]
fn a_write_that_failed_is_made_good_by_going_back_to_the_writer_before_it() {
    let mut herd = herd();
    let mut writer = Writer::new();
    report(&mut herd, "k1", 1);
    let mut file = pumped(&mut writer, &herd);
    let before = writer.clone();
    told_by_b(&mut herd, &["AT B +0.000000000 k2 +1-1 7", "MARK 42"]);
    let lost = pumped(&mut writer, &herd);
    file.extend(&lost[..lost.len() / 3]);
    // The disk is full for a while.
    writer = before;
    report(&mut herd, "k1", 2);
    file.truncate(usize::try_from(writer.file_bytes()).unwrap());
    file.extend(pumped(&mut writer, &herd));
    let (again, replayed, _) = replayed(&file);
    assert_eq!((dump(&again), replayed.marks), (dump(&herd), 1));
}

proptest! {
    #[test]
    fn any_cutting_into_chunks_gives_the_same(
        cuts in prop::collection::vec(0..700usize, 0..20),
        spoilt in prop::option::of((0..600usize, any::<u8>())),
    ) {
        let mut file = sample();
        if let Some((place, byte)) = spoilt {
            file.insert(place.min(file.len()), byte);
        }
        let (expected, outcome, _) = replayed(&file);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(file.len())).collect();
        cuts.extend([0, file.len()]);
        cuts.sort_unstable();
        let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &file[pair[0]..pair[1]]).collect();
        let mut herd = herd();
        let (replayed, _) = replay_into(&mut herd, &chunks);
        prop_assert_eq!(replayed, outcome);
        prop_assert_eq!(dump(&herd), dump(&expected));
    }

    #[test]
    fn garbage_is_damage_and_nothing_more(
        garbage in prop::collection::vec(prop_oneof![3 => any::<u8>(), 1 => Just(b'\n')], 0..400),
    ) {
        let (herd, replayed, writer) = replayed(&garbage);
        prop_assert_eq!((herd.clients(), replayed.records, replayed.marks), (0, 0, 0));
        prop_assert_eq!(replayed.keep_bytes + replayed.torn_bytes, garbage.len() as u64);
        prop_assert_eq!(writer.file_bytes(), replayed.keep_bytes);
    }
}
