//! Tests of what a turn puts on a link, with a neighbour that is a plain socket.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::Links;
use crate::herd::topology::Topology;
use crate::herd::{Herd, Settings};
use crate::reactor::bounds::limits::TURN_READ_BUDGETS;
use crate::reactor::{ListenOptions, Now, Reactor};
use crate::server::client::Clients;
use crate::server::trust::Trust;
use crate::server::{Server, alone};
use crate::wire::command::{Command, parse_command};

/// A server whose one link is up, and the other end of that link.
fn linked() -> (Reactor<Server>, BufReader<TcpStream>) {
    let (reactor, other, _) = linked_to_listener();
    (reactor, other)
}

/// The same with the listener that the server dials.
fn linked_to_listener() -> (Reactor<Server>, BufReader<TcpStream>, TcpListener) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let text = format!("Solo 127.0.0.1:1 Other\nOther 127.0.0.1:{port}\n");
    let (topology, _) = Topology::parse("test", &text).unwrap();
    let me = topology.by_name(b"Solo").unwrap();
    let mut server = alone();
    server.herd = Herd::new(topology, me, 1, Settings::default());
    server.links = Links::new(&server.herd, Trust::Addresses(BTreeMap::new()));
    let id = server.herd.neighbours().next().unwrap();
    let mut reactor = Reactor::new(server).unwrap();
    let cx = reactor.context();
    cx.app.links.dial(&cx.app.herd, id, cx.io);
    let (mut other, _) = listener.accept().unwrap();
    let clock = crate::server::unix_nanos(std::time::SystemTime::now()) / 1_000_000_000;
    let hello = format!("HELLO 1 Other 0000000000000007 clock={clock}\n");
    other.write_all(format!("{hello}RESUME 0000000000000000 0\n").as_bytes()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while !reactor.app().herd.link_is_up(id) {
        assert!(Instant::now() < deadline, "the link does not come up");
        turn(&mut reactor);
    }
    let mut other = BufReader::new(other);
    let hello = line(&mut other);
    let start = "HELLO 1 Solo 0000000000000001 clients=1000000 memory=1073741824 clock=";
    assert!(hello.starts_with(start), "{hello}");
    (reactor, other, listener)
}

fn turn(reactor: &mut Reactor<Server>) {
    reactor.sleep(Some(Duration::from_millis(10))).unwrap();
    reactor.advance(Now::read());
}

fn line(other: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    other.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

#[test]
fn however_many_updates_of_a_client_a_turn_brings_a_link_carries_one() {
    let (mut reactor, mut other) = linked();
    for turns in 1..=3u64 {
        for update in 1..=100 {
            let said = format!("IAMAT kiwi +1-1 {}", turns * 1_000 + update);
            let Some(Command::IAmAt(said)) = parse_command(said.as_bytes()) else { panic!() };
            reactor.app().herd.client_heard(&said, 0, &mut Vec::new()).unwrap();
        }
        turn(&mut reactor);
        let newest = turns * 1_000 + 100;
        assert_eq!(line(&mut other), format!("AT Solo -{newest}.000000000 kiwi +1-1 {newest}"));
        assert_eq!(line(&mut other), format!("MARK {}", turns * 100));
    }
}

/// Connections that each send a whole read of reports at a time, and how many turns they have done so.
struct Crowd(Vec<TcpStream>, usize);

impl Crowd {
    fn new(reactor: &mut Reactor<Server>) -> Self {
        let any_port = (Ipv4Addr::LOCALHOST, 0).into();
        let options = ListenOptions::default();
        let listener = reactor.io().listen_tcp(any_port, options, Box::new(Clients)).unwrap();
        let address = reactor.io().local_address(listener).unwrap();
        let connect = |_| {
            let stream = TcpStream::connect(address).unwrap();
            stream.set_nonblocking(true).unwrap();
            stream
        };
        let crowd = Self((0..TURN_READ_BUDGETS).map(connect).collect(), 0);
        while reactor.app().clients < crowd.0.len() {
            turn(reactor);
        }
        crowd
    }

    /// All of them report, one turn takes it in, and they read their replies. Gives how many reports
    /// the turn has brought.
    fn report(&mut self, reactor: &mut Reactor<Server>) -> usize {
        self.1 += 1;
        for (number, client) in self.0.iter_mut().enumerate() {
            let time = self.1;
            let line = |each| format!("IAMAT {number}-{each:0>1000} +1-1 {time}\n");
            let lines: String = (0..60).map(line).collect();
            client.write_all(lines.as_bytes()).unwrap();
        }
        let before = reactor.app().herd.last_change();
        turn(reactor);
        let brought = reactor.app().herd.last_change() - before;
        let mut buffer = vec![0; 1 << 20];
        for client in &mut self.0 {
            while client.read(&mut buffer).is_ok_and(|length| length > 0) {}
        }
        usize::try_from(brought).unwrap()
    }
}

fn status(reactor: &mut Reactor<Server>) -> super::LinkStatus {
    let server = reactor.app();
    server.links.status(&server.herd, server.herd.neighbours().next().unwrap()).unwrap()
}

#[test]
fn a_turn_ends_with_all_that_it_brought_on_the_link_until_the_neighbour_does_not_take_it() {
    let (mut reactor, mut other) = linked();
    let mut crowd = Crowd::new(&mut reactor);
    // Several times what a link that is behind gets in a turn.
    let brought = crowd.report(&mut reactor);
    assert!(brought > 150, "{brought}");
    let link = status(&mut reactor);
    assert_eq!((link.backlog, link.is_behind), (0, false));
    for _ in 0..brought {
        assert!(line(&mut other).starts_with("AT Solo "));
    }
    assert_eq!(line(&mut other), format!("MARK {brought}"));
    // It does not read any more, and when the kernel is full, nobody waits for it.
    while !status(&mut reactor).is_behind {
        assert!(crowd.1 < 1_000, "the kernel is never full");
        crowd.report(&mut reactor);
    }
    assert!(crowd.report(&mut reactor) > 0);
    let link = status(&mut reactor);
    assert_eq!((link.is_behind, link.times_behind), (true, 1));
    assert!(link.backlog > 0, "what it does not take is not written");
    // It reads again, and is current when it has all.
    other.get_ref().set_nonblocking(true).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut buffer = vec![0; 1 << 20];
    while status(&mut reactor).is_behind {
        assert!(Instant::now() < deadline, "it never catches up");
        while other.read(&mut buffer).is_ok_and(|length| length > 0) {}
        turn(&mut reactor);
    }
    assert_eq!(status(&mut reactor).backlog, 0);
}

/// The next HELLO to the listener of a server that dials. It gets this answer.
fn next_hello(
    reactor: &mut Reactor<Server>,
    listener: &TcpListener,
    now: impl Fn() -> Now,
    answer: &str,
) -> (String, BufReader<TcpStream>) {
    listener.set_nonblocking(true).unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    let other = loop {
        reactor.sleep(Some(Duration::from_millis(10))).unwrap();
        reactor.advance(now());
        match listener.accept() {
            Ok((other, _)) => break other,
            Err(e) => assert!(Instant::now() < deadline, "it is not dialled again: {e}"),
        }
    };
    other.set_nonblocking(false).unwrap();
    let mut other = BufReader::new(other);
    other.get_mut().write_all(answer.as_bytes()).unwrap();
    for _ in 0..20 {
        reactor.sleep(Some(Duration::from_millis(10))).unwrap();
        reactor.advance(now());
    }
    (line(&mut other), other)
}

#[test]
fn a_clock_that_jumps_is_told_to_the_neighbours_and_one_that_comes_back_starts_anew() {
    const HOUR: Duration = Duration::from_secs(3_600);
    let (mut reactor, mut other, listener) = linked_to_listener();
    let report = |reactor: &mut Reactor<Server>, line: &str, server_time: i128| {
        let Some(Command::IAmAt(said)) = parse_command(line.as_bytes()) else { panic!() };
        let _ = reactor.app().herd.client_heard(&said, server_time, &mut Vec::new());
    };
    let right = Now::read;
    let wrong = || {
        let now = Now::read();
        Now { wall: now.wall + 50 * HOUR, ..now }
    };
    let nanos = |now: Now| crate::server::unix_nanos(now.wall);
    report(&mut reactor, "IAMAT kiwi +1-1 1", nanos(right()));
    turn(&mut reactor);
    assert!(line(&mut other).contains(" kiwi +1-1 1"));

    reactor.advance(wrong());
    let answer = "HELLO 1 Other 0000000000000007\nRESUME 0000000000000001 1\n";
    let (hello, mut second) = next_hello(&mut reactor, &listener, wrong, answer);
    assert!(hello.starts_with("HELLO 1 Solo 0000000000000001 "), "{hello}");
    assert!(hello.contains(" jumped=1"), "{hello}");
    assert!(reactor.app().herd.clock().is_doubted());
    report(&mut reactor, "IAMAT kiwi +2-2 2", nanos(wrong()));
    reactor.advance(wrong());
    assert!(line(&mut second).contains(" kiwi +2-2 2"));

    reactor.advance(right());
    let answer = "HELLO 1 Other 0000000000000007\nRESUME 0000000000000000 0\n";
    let (hello, _third) = next_hello(&mut reactor, &listener, right, answer);
    assert!(!hello.contains(" 0000000000000001 "), "another identity: {hello}");
    assert!(!hello.contains("jumped="), "{hello}");
    let herd = &reactor.app().herd;
    assert!(!herd.clock().is_doubted());
    let kiwi = herd.where_is(b"kiwi").unwrap();
    assert!(
        kiwi.line.ends_with(b" kiwi +1-1 1"),
        "what it let in is gone, and what that beat is back"
    );
}
