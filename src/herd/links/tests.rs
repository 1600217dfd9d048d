//! Tests of one link at a time: its lines, its cursor, and what it refuses.

use super::*;
use crate::herd::Settings;
use crate::herd::topology::Topology;
use crate::wire::command::{Command, parse_command};
use crate::wire::time::{NANOS_PER_SECOND, Nanos};

/// More than any pump here writes.
const PLENTY: usize = 1 << 20;

const CHAIN: &str = "A h:1 B\nB h:2 C\nC h:3";

fn herd(name: &str, identity: u64, catch_up: CatchUp) -> Herd {
    let (topology, _) = Topology::parse("chain", CHAIN).unwrap();
    let me = topology.by_name(name.as_bytes()).unwrap();
    Herd::new(topology, me, identity, Settings { catch_up, ..Settings::default() })
}

/// A client of `herd` reports, at second 1000 of the server's clock. Gives the reply.
fn report(herd: &mut Herd, client: &str, time: u32) -> String {
    let line = format!("IAMAT {client} +1-1 {time}");
    let Some(Command::IAmAt(said)) = parse_command(line.as_bytes()) else { panic!("{line}") };
    let mut out = Vec::new();
    herd.client_heard(&said, 1_000 * NANOS_PER_SECOND, &mut out).unwrap();
    text(&out)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    text(&out)
}

fn pumped(herd: &mut Herd, id: NeighbourId) -> String {
    let mut out = Vec::new();
    assert!(!herd.pump(id, &mut out, PLENTY).more);
    text(&out)
}

/// Both ends of a direction, from a dialler and a listener.
fn ends(dialler: &Herd, listener: &Herd) -> (NeighbourId, NeighbourId) {
    let id = |herd: &Herd, name: &str| {
        let of_name = |&id: &NeighbourId| herd.neighbour_server(id).unwrap().name == name;
        herd.neighbours().find(of_name).unwrap()
    };
    (id(dialler, listener.name()), id(listener, dialler.name()))
}

/// Says hello to a listener, and gives its answer: HELLO and RESUME.
fn answer_to_hello(dialler: &Herd, listener: &mut Herd) -> String {
    let (_, from) = ends(dialler, listener);
    let hello = written(|out| dialler.hello(out));
    let Some(PeerLine::Hello { version, server, identity, .. }) =
        parse_peer_line(hello.trim_end().as_bytes())
    else {
        panic!("{hello}")
    };
    assert_eq!(listener.hello_received(version, server, identity), Ok(from));
    written(|out| listener.write_resume(from, out))
}

/// Brings the link up from a dialler to a listener.
fn dial(dialler: &mut Herd, listener: &mut Herd) -> Resumed {
    let (to, _) = ends(dialler, listener);
    let answer = answer_to_hello(dialler, listener);
    dialler.link_lost(to);
    let told = answer.lines().map(|line| dialler.listener_line_received(to, line.as_bytes()));
    match told.collect::<Vec<_>>()[..] {
        [Ok(Answer::Hello(_)), Ok(Answer::Resumed(resumed))] => resumed,
        ref other => panic!("{other:?}"),
    }
}

/// Pumps everything that `dialler` has for `listener`, delivers it, and gives the AT lines.
fn flow(dialler: &mut Herd, listener: &mut Herd) -> Vec<String> {
    let (to, from) = ends(dialler, listener);
    let lines = pumped(dialler, to);
    for line in lines.lines() {
        listener.dialler_line_received(from, line.as_bytes()).unwrap();
    }
    lines.lines().filter(|line| line.starts_with("AT ")).map(str::to_owned).collect()
}

#[test]
fn a_report_is_answered_with_the_exact_difference_and_is_then_known() {
    let mut herd = herd("A", 1, CatchUp::On);
    assert_eq!(report(&mut herd, "kiwi", 999), "AT A +1.000000000 kiwi +1-1 999\n");
    assert_eq!(herd.where_is(b"kiwi").unwrap().line, b"AT A +1.000000000 kiwi +1-1 999");
    assert_eq!(herd.where_is(b"kiwi").unwrap().location(), b"+1-1");
    assert_eq!(herd.where_is(b"Kiwi"), None);
    assert_eq!(herd.clients(), 1);
}

#[test]
fn a_report_that_is_not_newer_is_answered_and_changes_nothing() {
    let (mut a, mut b) = (herd("A", 1, CatchUp::On), herd("B", 2, CatchUp::On));
    dial(&mut a, &mut b);
    dial(&mut b, &mut a);
    report(&mut a, "kiwi", 999);
    flow(&mut a, &mut b);
    assert_eq!(report(&mut b, "kiwi", 999), "AT B +1.000000000 kiwi +1-1 999\n");
    assert_eq!(report(&mut b, "kiwi", 998), "AT B +2.000000000 kiwi +1-1 998\n");
    assert_eq!(b.where_is(b"kiwi").unwrap().line, b"AT A +1.000000000 kiwi +1-1 999");
    assert_eq!(flow(&mut b, &mut a), [""; 0]);
    assert_eq!(report(&mut b, "kiwi", 1001), "AT B -1.000000000 kiwi +1-1 1001\n");
    assert_eq!(flow(&mut b, &mut a), ["AT B -1.000000000 kiwi +1-1 1001"]);
}

#[test]
fn a_link_opens_with_hello_and_resume_and_carries_records_and_marks() {
    let (mut a, mut b) = (herd("A", 0x00c0_ffee, CatchUp::On), herd("B", 2, CatchUp::On));
    let (to, from) = ends(&a, &b);
    assert_eq!(
        written(|out| a.hello(out)),
        "HELLO 1 A 0000000000c0ffee clients=1000000 memory=1073741824\n"
    );
    report(&mut a, "kiwi", 7);
    report(&mut a, "plum", 7);
    assert_eq!(pumped(&mut a, to), "", "no link yet");
    assert_eq!(a.backlog(to), 2);
    assert_eq!(dial(&mut a, &mut b), Resumed { from: ResumedFrom::Start, behind: 2 });
    assert!(a.link_is_up(to) && !b.link_is_up(from));
    let sent = pumped(&mut a, to);
    assert_eq!(sent, "AT A +993.000000000 kiwi +1-1 7\nAT A +993.000000000 plum +1-1 7\nMARK 2\n");
    assert_eq!(a.backlog(to), 0);
    assert_eq!(written(|out| b.write_here(from, out)), "HERE 0\n");
    let taken: Vec<_> = sent
        .lines()
        .chain(["AT A +993.000000000 plum +1-1 7", "MARK 1"])
        .map(|line| b.dialler_line_received(from, line.as_bytes()).unwrap())
        .collect();
    assert_eq!(taken, [Taken::Changed, Taken::Changed, Taken::Mark, Taken::Kept, Taken::Mark]);
    assert_eq!(written(|out| b.write_here(from, out)), "HERE 2\n");
    assert_eq!(
        answer_to_hello(&a, &mut b),
        "HELLO 1 B 0000000000000002 clients=1000000 memory=1073741824\nRESUME 0000000000c0ffee 2\n"
    );
    assert_eq!(a.listener_line_received(to, b"HERE 2"), Ok(Answer::Here(2)));
    let ahead = Err(Nonsense::MarkAhead { here: 3, marked: 2 });
    assert_eq!(a.listener_line_received(to, b"HERE 3"), ahead);
    a.link_lost(to);
    assert!(!a.link_is_up(to));
    assert_eq!(a.listener_line_received(to, b"HERE 2"), Err(Nonsense::OutOfPlace));
    assert_eq!(written(|out| a.write_mark(to, out)), "");
}

#[test]
fn an_update_goes_on_but_never_back() {
    let [mut a, mut b, mut c] = ["A", "B", "C"].map(|name| herd(name, 1, CatchUp::On));
    dial(&mut a, &mut b);
    dial(&mut b, &mut a);
    dial(&mut b, &mut c);
    dial(&mut c, &mut b);
    let line = report(&mut a, "kiwi", 7).trim_end().to_owned();
    assert_eq!(flow(&mut a, &mut b), [line.as_str()]);
    assert_eq!(flow(&mut b, &mut a), [""; 0]);
    assert_eq!(flow(&mut b, &mut c), [line]);
    assert_eq!(flow(&mut c, &mut b), [""; 0]);
    // A heartbeat still says that there was nothing to say.
    let (to, _) = ends(&c, &b);
    assert_eq!(written(|out| c.write_mark(to, out)), "MARK 1\n");
}

#[test]
fn a_pump_stops_at_its_limits_and_goes_on_where_it_stopped() {
    let (mut a, mut b) = (herd("A", 1, CatchUp::On), herd("B", 2, CatchUp::On));
    let (to, from) = ends(&a, &b);
    dial(&mut a, &mut b);
    for client in ["k1", "k2", "k3"] {
        report(&mut a, client, 7);
    }
    let mut out = b"owed before\n".to_vec();
    assert_eq!(a.pump(to, &mut out, 40), Pumped { records: 2, more: true });
    assert_eq!(text(&out).lines().last(), Some("MARK 2"));
    assert_eq!(a.pump(to, &mut out, 0), Pumped { records: 0, more: true });
    assert_eq!(a.pump(to, &mut out, 1), Pumped { records: 1, more: false });
    assert_eq!(a.pump(to, &mut out, 1), Pumped { records: 0, more: false });
    assert_eq!(text(&out).lines().last(), Some("MARK 3"));
    // What is skipped writes nothing, and is bounded too.
    dial(&mut b, &mut a);
    let many = PUMP_ENTRIES_MAX + 1;
    for client in 0..many {
        let line = format!("AT C +0.000000000 m{client} +1-1 7");
        a.dialler_line_received(to, line.as_bytes()).unwrap();
    }
    assert_eq!(a.pump(to, &mut out, PLENTY), Pumped { records: 0, more: true });
    assert_eq!(a.pump(to, &mut out, PLENTY), Pumped { records: 0, more: false });
    assert_eq!(b.backlog(from), 0);
}

#[test]
fn a_current_link_gets_all_that_a_turn_brought_and_one_that_is_behind_a_share() {
    let (mut a, mut b) = (herd("A", 1, CatchUp::On), herd("B", 2, CatchUp::On));
    let (to, _) = ends(&a, &b);
    a.turn_begins(to, true);
    assert!(!a.is_behind(to), "it is down");
    // It comes up in the middle of a turn, and is not current before the next.
    dial(&mut a, &mut b);
    report(&mut a, "kiwi", 7);
    assert!(a.is_behind(to));
    let mut out = Vec::new();
    assert_eq!(a.pump(to, &mut out, 0), Pumped { records: 0, more: true });
    assert_eq!(a.pump(to, &mut out, PLENTY), Pumped { records: 1, more: false });
    a.turn_begins(to, true);
    assert!(!a.is_behind(to));
    let many = PUMP_ENTRIES_MAX + 1;
    let brings = |a: &mut Herd, time| {
        for client in 0..many {
            report(a, &format!("m{client}"), time);
        }
    };
    brings(&mut a, 7);
    assert_eq!(a.pump(to, &mut out, 0), Pumped { records: many, more: false });
    assert_eq!(text(&out).lines().last(), Some(&*format!("MARK {}", many + 1)));
    // The kernel has not taken all of it.
    a.turn_begins(to, false);
    brings(&mut a, 8);
    assert_eq!((a.is_behind(to), a.times_behind(to)), (true, 1));
    assert_eq!(a.pump(to, &mut out, PLENTY), Pumped { records: PUMP_ENTRIES_MAX, more: true });
    // All is taken, but not all was written.
    a.turn_begins(to, true);
    assert_eq!((a.is_behind(to), a.times_behind(to)), (true, 1));
    assert_eq!(a.pump(to, &mut out, PLENTY), Pumped { records: 1, more: false });
    a.turn_begins(to, true);
    assert!(!a.is_behind(to));
    a.link_lost(to);
    assert!(!a.is_behind(to));
    dial(&mut a, &mut b);
    assert!(a.is_behind(to));
}

#[test]
fn resuming_sends_exactly_what_was_missed() {
    let (mut a, mut b) = (herd("A", 1, CatchUp::On), herd("B", 2, CatchUp::On));
    let (to, _) = ends(&a, &b);
    dial(&mut a, &mut b);
    for client in ["k1", "k2", "k3", "k4"] {
        report(&mut a, client, 1);
    }
    assert_eq!(flow(&mut a, &mut b).len(), 4);
    a.link_lost(to);
    for (client, time) in [("k2", 2), ("k4", 2), ("k2", 3), ("k5", 1)] {
        report(&mut a, client, time);
    }
    let resumed = dial(&mut a, &mut b);
    assert_eq!(resumed.from, ResumedFrom::Mark(4));
    let missed = [("k4", 2), ("k2", 3), ("k5", 1)];
    let lines = missed.map(|(client, t)| format!("AT A +{}.000000000 {client} +1-1 {t}", 1000 - t));
    assert_eq!(flow(&mut a, &mut b), lines);
}

#[test]
fn what_was_lost_on_the_way_is_sent_again() {
    let (mut a, mut b) = (herd("A", 1, CatchUp::On), herd("B", 2, CatchUp::On));
    let (to, from) = ends(&a, &b);
    dial(&mut a, &mut b);
    report(&mut a, "k1", 1);
    report(&mut a, "k2", 1);
    let sent = pumped(&mut a, to);
    let first = sent.lines().next().unwrap();
    b.dialler_line_received(from, first.as_bytes()).unwrap();
    a.link_lost(to);
    assert_eq!(dial(&mut a, &mut b).from, ResumedFrom::Start);
    assert_eq!(flow(&mut a, &mut b).len(), 2);
    assert_eq!(b.clients(), 2);
}

#[test]
fn a_restarted_listener_gets_everything_also_what_it_told_itself() {
    let (mut a, mut b) = (herd("A", 1, CatchUp::On), herd("B", 2, CatchUp::On));
    dial(&mut a, &mut b);
    dial(&mut b, &mut a);
    report(&mut a, "k1", 1);
    report(&mut b, "k2", 1);
    flow(&mut a, &mut b);
    flow(&mut b, &mut a);

    let mut b = herd("B", 3, CatchUp::On);
    dial(&mut b, &mut a);
    assert_eq!(dial(&mut a, &mut b).from, ResumedFrom::Start);
    assert_eq!(flow(&mut a, &mut b).len(), 2);
    assert_eq!(b.clients(), 2);
    // What it tells from now on is not sent back again.
    report(&mut b, "k3", 1);
    flow(&mut b, &mut a);
    assert_eq!(flow(&mut a, &mut b), [""; 0]);
}

#[test]
fn a_restarted_neighbour_gets_its_own_back_before_it_has_said_hello_itself() {
    let (mut a, mut b) = (herd("A", 1, CatchUp::On), herd("B", 2, CatchUp::On));
    let (to, _) = ends(&a, &b);
    dial(&mut b, &mut a);
    report(&mut a, "k1", 1);
    report(&mut b, "k2", 1);
    flow(&mut b, &mut a);

    let mut b = herd("B", 3, CatchUp::On);
    dial(&mut a, &mut b);
    // A last word of the old B, which the new one has never heard.
    a.dialler_line_received(to, b"AT B +0.000000000 k3 +1-1 7").unwrap();
    assert_eq!(flow(&mut a, &mut b).len(), 3);
    // That A has sent a mark for it all must not be believed to cover what it left out.
    a.link_lost(to);
    dial(&mut b, &mut a);
    dial(&mut a, &mut b);
    assert_eq!(flow(&mut a, &mut b), [""; 0]);
    assert_eq!(b.clients(), 3);
}

#[test]
fn a_restarted_dialler_starts_anew() {
    let (mut a, mut b) = (herd("A", 1, CatchUp::On), herd("B", 2, CatchUp::On));
    dial(&mut a, &mut b);
    report(&mut a, "k1", 1);
    report(&mut b, "k2", 1);
    flow(&mut a, &mut b);

    let mut a = herd("A", 4, CatchUp::On);
    dial(&mut b, &mut a);
    assert_eq!(flow(&mut b, &mut a).len(), 2);
    report(&mut a, "k3", 1);
    assert_eq!(dial(&mut a, &mut b).from, ResumedFrom::Start);
    // B has not started anew: what came from it does not go back to it.
    let lines = flow(&mut a, &mut b);
    assert_eq!(lines, ["AT A +999.000000000 k3 +1-1 1"]);
    assert_eq!((a.clients(), b.clients()), (3, 3));
}

#[test]
fn a_mark_of_another_start_or_above_the_last_change_means_the_beginning() {
    let mut a = herd("A", 1, CatchUp::On);
    let to = a.neighbours().next().unwrap();
    report(&mut a, "k1", 1);
    for (identity, mark, from) in [
        (1, 1, ResumedFrom::Mark(1)),
        (1, 0, ResumedFrom::Mark(0)),
        (1, 2, ResumedFrom::Start),
        (1, u64::MAX, ResumedFrom::Start),
        (2, 1, ResumedFrom::Start),
        (0, 0, ResumedFrom::Start),
    ] {
        a.link_lost(to);
        a.listener_line_received(to, b"HELLO 1 B 0000000000000007").unwrap();
        let resume = format!("RESUME {identity:016x} {mark}");
        match a.listener_line_received(to, resume.as_bytes()) {
            Ok(Answer::Resumed(resumed)) => assert_eq!(resumed.from, from, "{resume}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_listener_says_who_it_is_then_where_to_go_on_then_only_heartbeats() {
    let mut a = herd("A", 1, CatchUp::On);
    let to = a.neighbours().next().unwrap();
    let mut told = |line: &str| a.listener_line_received(to, line.as_bytes());
    let (hello, resume) = ("HELLO 1 B 0000000000000007", "RESUME 0000000000000000 0");
    for line in [resume, "HERE 0", "MARK 0", "AT B +0.000000000 k +1-1 7"] {
        assert_eq!(told(line), Err(Nonsense::OutOfPlace), "{line}");
    }
    let said = |told: Result<Answer, Nonsense>| told.unwrap_err().to_string();
    assert_eq!(said(told("HELLO 1 C 0000000000000007")), "\"C\" answers where B should be");
    assert_eq!(
        said(told("HELLO 9 B 0000000000000007")),
        "it speaks version 9 of the link, and this is 1"
    );
    assert_eq!(told("? HELLO"), Err(Nonsense::Syntax));
    assert_eq!(told(hello), Ok(Answer::Hello(HelloFields::default())));
    assert_eq!(told(hello), Err(Nonsense::OutOfPlace));
    assert!(matches!(told(resume), Ok(Answer::Resumed(_))));
    assert_eq!(told(resume), Err(Nonsense::OutOfPlace));
    assert_eq!(told("HERE 0"), Ok(Answer::Here(0)));
    assert_eq!(told("MARK 0"), Err(Nonsense::OutOfPlace));
}

#[test]
fn without_catching_up_a_returning_neighbour_gets_only_what_is_new() {
    let (mut a, mut b) = (herd("A", 1, CatchUp::Off), herd("B", 2, CatchUp::Off));
    let (to, _) = ends(&a, &b);
    dial(&mut a, &mut b);
    report(&mut a, "k1", 1);
    assert_eq!(flow(&mut a, &mut b).len(), 1);
    a.link_lost(to);
    report(&mut a, "k2", 1);
    assert_eq!(dial(&mut a, &mut b), Resumed { from: ResumedFrom::Now, behind: 0 });
    assert_eq!(flow(&mut a, &mut b), [""; 0]);

    let mut b = herd("B", 3, CatchUp::Off);
    dial(&mut b, &mut a);
    assert_eq!(dial(&mut a, &mut b).from, ResumedFrom::Now);
    let line = report(&mut a, "k3", 1);
    assert_eq!(flow(&mut a, &mut b), [line.trim_end()]);
    assert_eq!(b.clients(), 1);
}

#[test]
fn a_hello_from_a_stranger_or_in_another_version_is_refused_in_words() {
    let mut a = herd("A", 1, CatchUp::On);
    let refused = |herd: &mut Herd, version, name: &[u8]| {
        herd.hello_received(version, name, 7).unwrap_err().to_string()
    };
    assert_eq!(refused(&mut a, 2, b"B"), "it speaks version 2 of the link, and this is 1");
    assert_eq!(refused(&mut a, 1, b"C"), "\"C\" is no neighbour of A");
    assert_eq!(refused(&mut a, 1, b"A"), "\"A\" is no neighbour of A");
    assert_eq!(refused(&mut a, 1, b"\xff\n"), "\"\u{fffd}\\n\" is no neighbour of A");
    assert!(a.hello_received(1, b"B", 7).is_ok());
}

#[test]
fn nonsense_is_told_and_not_kept() {
    let mut a = herd("A", 1, CatchUp::On);
    let from = a.hello_received(1, b"B", 7).unwrap();
    for (line, nonsense) in [
        ("AT C +0.000000000 k +1-1", Nonsense::Syntax),
        ("AT C +0.000000000 k +91-1 7", Nonsense::Syntax),
        ("AT C +0.000000000 k +1-181 7", Nonsense::Syntax),
        ("AT C 0.000000000 k +1-1 7", Nonsense::Syntax),
        ("AT -D +0.000000000 k +1-1 7", Nonsense::ServerName("-D".to_owned())),
        ("", Nonsense::Syntax),
        ("MARK", Nonsense::Syntax),
        ("MARK -1", Nonsense::Syntax),
        ("IAMAT k +1-1 7", Nonsense::Syntax),
        ("HERE 1", Nonsense::OutOfPlace),
        ("HELLO 1 B 0000000000000007", Nonsense::OutOfPlace),
        ("RESUME 0000000000000007 1", Nonsense::OutOfPlace),
    ] {
        assert_eq!(a.dialler_line_received(from, line.as_bytes()), Err(nonsense), "{line}");
    }
    assert_eq!(a.clients(), 0);
    // A server that the topology has but that is no neighbour may well have heard the client.
    assert_eq!(a.dialler_line_received(from, b"AT C +0.000000000 k +1-1 7"), Ok(Taken::Changed));
}

/// While the clock is doubted, records that lose to one from far ahead are set aside and come back.
#[test]
fn what_is_not_taken_in_while_the_clock_is_doubted_does_not_come_back_when_it_is_right() {
    const DAY: i64 = 86_400;
    let at = |server: &str, client: &str, heard: i64, reported: i64| {
        format!("AT {server} {:+}.000000000 {client} +1-1 {reported}", heard - reported)
    };
    let mut herd = herd("A", 1, CatchUp::On);
    let wall = |days: i64| Nanos::from(days * DAY) * NANOS_PER_SECOND;
    assert_eq!(herd.clock_read(0, wall(10)), None);
    let from = herd.hello_received(1, b"B", 7).unwrap();
    for client in ["k1", "k2", "k3"] {
        let far = at("B", client, 10 * DAY, 10 * DAY);
        assert_eq!(herd.dialler_line_received(from, far.as_bytes()), Ok(Taken::Changed));
    }
    for (line, taken) in [
        (at("B", "k1", DAY, DAY), Ok(Taken::Kept)),
        (at("-D", "k2", DAY, DAY), Err(Nonsense::ServerName("-D".to_owned()))),
        (at("B", "k3", DAY, 3 * DAY), Ok(Taken::Kept)),
    ] {
        assert_eq!(herd.dialler_line_received(from, line.as_bytes()), taken);
    }
    assert!(herd.clock_read(1, wall(5)).is_some());
    herd.clock_told(from, &HelloFields { clock: Some(wall(5)), ..HelloFields::default() });
    assert!(herd.clock_read(2, wall(5)).is_some());
    let corrected = herd.search_ahead(usize::MAX, 9).unwrap();
    assert_eq!((corrected.dropped, corrected.restored), (3, 1));
    assert!(herd.where_is(b"k1").is_some() && herd.clients() == 1);
}
