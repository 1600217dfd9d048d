//! Tests of what a turn puts on a link, with a neighbour that is a plain socket.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::Links;
use crate::herd::topology::Topology;
use crate::herd::{Herd, Settings};
use crate::reactor::{Now, Reactor};
use crate::server::trust::Trust;
use crate::server::{Server, alone};
use crate::wire::command::{Command, parse_command};

/// A server whose one link is up, and the other end of that link.
fn linked() -> (Reactor<Server>, BufReader<TcpStream>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let text = format!("Solo 127.0.0.1:1 Other\nOther 127.0.0.1:{port}\n");
    let (topology, _) = Topology::parse("test", &text).unwrap();
    let me = topology.by_name(b"Solo").unwrap();
    let mut server = alone();
    server.herd = Herd::new(topology, me, 1, Settings::default());
    server.links = Links::new(&server.herd, Trust::Addresses(Vec::new()));
    let id = server.herd.neighbours().next().unwrap();
    let mut reactor = Reactor::new(server).unwrap();
    let cx = reactor.context();
    cx.app.links.dial(&cx.app.herd, id, cx.io);
    let (mut other, _) = listener.accept().unwrap();
    other.write_all(b"HELLO 1 Other 0000000000000007\nRESUME 0000000000000000 0\n").unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while !reactor.app().herd.link_is_up(id) {
        assert!(Instant::now() < deadline, "the link does not come up");
        turn(&mut reactor);
    }
    let mut other = BufReader::new(other);
    let hello = line(&mut other);
    let start = "HELLO 1 Solo 0000000000000001 clients=1000000 memory=1073741824 clock=";
    assert!(hello.starts_with(start), "{hello}");
    (reactor, other)
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
