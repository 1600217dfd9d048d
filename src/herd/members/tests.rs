//! Tests of topologies that change while a server runs.

use super::*;
use crate::herd::Settings;
use crate::herd::clock::ClockNews;
use crate::herd::links::{Nonsense, Taken};
use crate::wire::peer::HelloFields;
use crate::wire::time::NANOS_PER_SECOND;

fn topology(text: &str) -> (Topology, ServerId) {
    let (topology, _) = Topology::parse("t", text).unwrap();
    let me = topology.by_name(b"A").unwrap();
    (topology, me)
}

fn herd(text: &str) -> Herd {
    let (topology, me) = topology(text);
    Herd::new(topology, me, 1, Settings::default())
}

fn change(herd: &mut Herd, text: &str) -> Vec<NeighbourChange> {
    let (topology, me) = topology(text);
    herd.change_topology(topology, me).unwrap()
}

/// The link that the server dialled to this neighbour comes up.
fn link_up(herd: &mut Herd, name: &str) -> NeighbourId {
    let id = herd.neighbour_named(name.as_bytes()).unwrap();
    let hello = format!("HELLO 1 {name} 0000000000000007");
    for line in [hello.as_bytes(), b"RESUME 0000000000000000 0"] {
        herd.listener_line_received(id, line).unwrap();
    }
    id
}

fn pumped(herd: &mut Herd, id: NeighbourId) -> String {
    let mut out = Vec::new();
    herd.pump(id, &mut out, usize::MAX);
    String::from_utf8(out).unwrap()
}

const KIWI: &str = "AT B +0.000000000 kiwi +1-1 7";

#[test]
fn who_stays_keeps_its_link_and_its_cursor_wherever_it_stands_in_the_file() {
    let mut herd = herd("A h:1 B\nB h:2");
    let b = link_up(&mut herd, "B");
    let c_first = "C h:3 A B\nB h:2 A\nA h:9";
    let [NeighbourChange::Added(c)] = change(&mut herd, c_first)[..] else { panic!() };
    assert!(herd.link_is_up(b) && !herd.link_is_up(c));
    assert_eq!((herd.name(), herd.neighbour_named(b"B")), ("A", Some(b)));
    assert_eq!(herd.neighbour_server(c).unwrap().name, "C");
    // What B brings goes to C and not back.
    let from = herd.hello_received(1, b"B", 7).unwrap();
    assert_eq!(herd.dialler_line_received(from, KIWI.as_bytes()), Ok(Taken::Changed));
    assert_eq!(link_up(&mut herd, "C"), c);
    assert_eq!(
        (pumped(&mut herd, b), pumped(&mut herd, c)),
        (String::new(), KIWI.to_owned() + "\nMARK 1\n")
    );
    assert_eq!(change(&mut herd, c_first), []);
}

#[test]
fn who_leaves_is_no_neighbour_and_is_known_when_it_comes_back() {
    let mut herd = herd("A h:1 B C\nB h:2\nC h:3");
    let (b, c) = (link_up(&mut herd, "B"), link_up(&mut herd, "C"));
    herd.hello_received(1, b"B", 7).unwrap();
    herd.dialler_line_received(b, KIWI.as_bytes()).unwrap();
    herd.dialler_line_received(b, b"MARK 5").unwrap();
    assert_eq!(change(&mut herd, "A h:1 C\nC h:3 B\nB h:2"), [NeighbourChange::Removed(b)]);
    assert_eq!((herd.neighbour_named(b"B"), herd.neighbour_server(b)), (None, None));
    assert!(!herd.link_is_up(b) && herd.link_is_up(c));
    assert!(herd.hello_received(1, b"B", 7).is_err());
    assert_eq!(herd.dialled_at(b), None);
    // Its place is not given to another name, which would not be sent what B had brought.
    let [NeighbourChange::Added(d)] = change(&mut herd, "A h:1 C D\nC h:3\nD h:2")[..] else {
        panic!()
    };
    assert_eq!(link_up(&mut herd, "D"), d);
    assert!(d != b && pumped(&mut herd, d).starts_with(KIWI));
    let back = change(&mut herd, "A h:1 B C\nC h:3\nB h:4");
    assert_eq!(back, [NeighbourChange::Removed(d), NeighbourChange::Added(b)]);
    assert_eq!(herd.hello_received(1, b"B", 7), Ok(b));
    let mut resume = Vec::new();
    herd.write_resume(b, &mut resume);
    assert!(String::from_utf8(resume).unwrap().ends_with("RESUME 0000000000000007 5\n"));
    link_up(&mut herd, "B");
    assert_eq!(pumped(&mut herd, b), "", "it had brought the only record itself");
}

#[test]
fn who_is_dialled_elsewhere_has_moved() {
    let mut herd = herd("A h:1 B C\nB h:2\nC h:3");
    let moved = change(&mut herd, "A h:1 B C\nB h:2 links=h:12\nC h:4");
    let [b, c] = [b"B", b"C"].map(|name| herd.neighbour_named(name).unwrap());
    assert_eq!(moved, [NeighbourChange::Moved(b), NeighbourChange::Moved(c)]);
    assert_eq!(herd.dialled_at(b).unwrap().address(), "h:12");
    // Only clients find it elsewhere.
    assert_eq!(change(&mut herd, "A h:1 B C\nB h:5 links=h:12\nC h:4"), []);
}

#[test]
fn the_clock_of_who_comes_counts_and_that_of_who_goes_counts_no_more() {
    let mut herd = herd("A h:1 B\nB h:2");
    let says = |clock| HelloFields { clock: Some(clock), ..HelloFields::default() };
    let (now, other) = (1_500_000_000 * NANOS_PER_SECOND, 1_400_000_000 * NANOS_PER_SECOND);
    assert_eq!(herd.clock_read(0, now), None);
    let b = herd.neighbour_named(b"B").unwrap();
    assert_eq!(herd.clock_told(b, &says(other)), Some(other - now));
    let [NeighbourChange::Added(c)] = change(&mut herd, "A h:1 B C\nB h:2\nC h:3")[..] else {
        panic!()
    };
    assert_eq!(herd.clock_told(c, &says(now)), Some(0));
    assert_eq!(herd.clock_read(1, now + 1), None, "one against one");
    change(&mut herd, "A h:1 C\nC h:3\nB h:2");
    assert_eq!(herd.clock().difference(b), None);
    assert!(matches!(herd.clock_read(2, now + 2), Some(ClockNews::Trusted { .. })));
    change(&mut herd, "A h:1 B C\nB h:2\nC h:3");
    assert_eq!(herd.clock().difference(b), None, "it has not said anything since");
}

#[test]
fn there_is_a_bound_for_neighbours_and_past_it_the_old_topology_stays() {
    let mut herd = herd("A h:1");
    let with = |name: usize| topology(&format!("A h:1 N{name}\nN{name} h:2"));
    for name in 0..NEIGHBOURS_EVER_MAX {
        let (topology, me) = with(name);
        herd.change_topology(topology, me).unwrap();
    }
    let last = NEIGHBOURS_EVER_MAX - 1;
    let (topology, me) = with(last + 1);
    assert_eq!(herd.change_topology(topology, me), Err(TooManyNeighbours));
    assert!(herd.neighbour_named(format!("N{last}").as_bytes()).is_some());
    let (topology, me) = with(0);
    herd.change_topology(topology, me).unwrap();
    assert!(herd.neighbour_named(b"N0").is_some());
}

#[test]
fn a_record_of_a_server_that_the_topology_lacks_is_kept_and_told_on_with_one_warning_a_name() {
    let mut herd = herd("A h:1 B C\nB h:2\nC h:3");
    let from = herd.hello_received(1, b"B", 7).unwrap();
    let c = link_up(&mut herd, "C");
    let line = |server: &str, client: usize| format!("AT {server} +0.000000000 k{client} +1-1 7");
    for (server, client) in [("New", 1), ("New", 2), ("B", 3), ("n-_9", 4)] {
        let taken = herd.dialler_line_received(from, line(server, client).as_bytes());
        assert_eq!(taken, Ok(Taken::Changed), "{server}");
    }
    let told = |herd: &mut Herd| {
        std::iter::from_fn(|| herd.next_stranger()).map(|it| it.to_string()).collect::<Vec<_>>()
    };
    let warning = |name: &str| {
        format!(
            "a record names the server {name}, which is not in this topology; it is kept and passed on"
        )
    };
    assert_eq!(told(&mut herd), [warning("n-_9"), warning("New")]);
    assert_eq!(pumped(&mut herd, c).lines().count(), 5, "four records and a mark");
    // It joins, and leaves for good: a warning once more.
    change(&mut herd, "A h:1 B C\nB h:2\nC h:3\nNew h:4 C");
    herd.dialler_line_received(from, line("New", 5).as_bytes()).unwrap();
    assert_eq!(told(&mut herd), [""; 0]);
    change(&mut herd, "A h:1 B C\nB h:2\nC h:3");
    herd.dialler_line_received(from, line("New", 6).as_bytes()).unwrap();
    assert_eq!(told(&mut herd), [warning("New")]);
    for bad in ["-x", "_x", "x.y", "x\u{e9}", &"x".repeat(64)] {
        let taken = herd.dialler_line_received(from, line(bad, 9).as_bytes());
        assert_eq!(taken, Err(Nonsense::ServerName(bad.to_owned())));
    }
    assert_eq!((herd.clients(), told(&mut herd)), (6, vec![]));
}

#[test]
fn names_that_are_warned_of_are_bounded_and_records_are_not() {
    let mut herd = herd("A h:1 B\nB h:2");
    let from = herd.hello_received(1, b"B", 7).unwrap();
    let mut told = Vec::new();
    for name in 0..STRANGERS_MAX + 10 {
        let line = format!("AT N{name} +0.000000000 k{name} +1-1 7");
        herd.dialler_line_received(from, line.as_bytes()).unwrap();
        told.extend(herd.next_stranger());
    }
    assert_eq!((herd.clients(), told.len()), (STRANGERS_MAX + 10, STRANGERS_MAX));
    let last = told.last().unwrap().to_string();
    assert!(
        last.ends_with("256 such names are known now, and further ones are not logged"),
        "{last}"
    );
}
