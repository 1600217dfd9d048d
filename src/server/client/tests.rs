//! How long a line may take, on the real reactor over loopback, with a clock that the test moves.

mod bounds;

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Instant, SystemTime};

use super::*;
use crate::reactor::{Limits, ListenOptions, Now, Reactor, Speech};
use crate::server::alone;
use crate::server::bounds::Bounds;

/// A server without neighbours, and one client of it.
struct Scene {
    reactor: Reactor<Server>,
    port: u16,
    client: TcpStream,
    began: Instant,
    /// What the clock shows, from the beginning.
    clock: Duration,
}

impl Scene {
    fn new() -> Self {
        Self::with(Bounds::default(), Speech::Plain)
    }

    fn with(bounds: Bounds, speech: Speech) -> Self {
        // Only the time of a line is looked at here.
        let limits = Limits { unread_timeout: None, ..Limits::default() };
        let mut reactor = Reactor::with_limits(Server { bounds, ..alone() }, limits).unwrap();
        let any_port = (Ipv4Addr::LOCALHOST, 0).into();
        let options = ListenOptions { speech, ..ListenOptions::default() };
        let listener = reactor.io().listen_tcp(any_port, options, Box::new(Clients)).unwrap();
        let port = reactor.io().local_address(listener).unwrap().port();
        let client = connect(port);
        Self { reactor, port, client, began: Instant::now(), clock: Duration::ZERO }
    }

    /// One turn of the loop, at the time that the clock shows.
    fn turn(&mut self) {
        self.reactor.sleep(Some(Duration::from_millis(1))).unwrap();
        let monotonic = self.began + self.clock;
        self.reactor.advance(Now { monotonic, wall: SystemTime::UNIX_EPOCH + self.clock });
    }

    /// Moves the clock to so many milliseconds from the beginning, and lets happen what is then due.
    fn at(&mut self, milliseconds: u64) {
        self.clock = Duration::from_millis(milliseconds);
        self.settle();
    }

    /// Turns until all has been handled that was sent before: a client that comes now is answered.
    fn settle(&mut self) {
        let mut other = connect(self.port);
        other.write_all(b"settled\n").unwrap();
        let mut buffer = [0; 64];
        while !matches!(other.read(&mut buffer), Ok(1..)) {
            self.turn();
        }
    }

    fn says(&mut self, text: &str) {
        self.client.write_all(text.as_bytes()).unwrap();
        self.settle();
    }

    /// What has come from the server since it was asked last, and whether the server has closed.
    fn hears(&mut self) -> (String, bool) {
        let mut text = Vec::new();
        let mut buffer = [0; 64];
        loop {
            match self.client.read(&mut buffer) {
                Ok(0) => return (String::from_utf8(text).unwrap(), true),
                Ok(length) => text.extend_from_slice(&buffer[..length]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    return (String::from_utf8(text).unwrap(), false);
                }
                Err(e) => panic!("{e}"),
            }
        }
    }

    fn assert_hears(&mut self, text: &str, closed: bool) {
        assert_eq!(self.hears(), (text.to_owned(), closed), "at {:?}", self.clock);
    }
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_nonblocking(true).unwrap();
    // Or the second of two short writes waits for the first to be acknowledged.
    stream.set_nodelay(true).unwrap();
    stream
}

#[test]
fn a_line_once_begun_must_end_within_sixty_seconds() {
    let mut scene = Scene::new();
    scene.says("IAMAT kiwi");
    scene.at(59_999);
    scene.assert_hears("", false);
    scene.at(60_000);
    scene.assert_hears("? IAMAT kiwi...\n", true);
}

#[test]
fn a_line_that_ends_in_time_is_answered() {
    let mut scene = Scene::new();
    scene.says("hal");
    scene.at(59_999);
    scene.says("f\n");
    scene.at(1_000_000);
    scene.assert_hears("? half\n", false);
}

#[test]
fn a_line_that_drips_is_cut_off_from_its_first_byte_on() {
    let mut scene = Scene::new();
    for second in 0..60 {
        scene.at(second * 1000);
        scene.says("x");
        scene.assert_hears("", false);
    }
    scene.at(60_000);
    scene.assert_hears(&format!("? {}...\n", "x".repeat(60)), true);
}

#[test]
fn each_line_has_sixty_seconds_of_its_own() {
    let mut scene = Scene::new();
    scene.says("one");
    scene.at(59_000);
    scene.says("\ntw");
    scene.assert_hears("? one\n", false);
    scene.at(118_999);
    scene.assert_hears("", false);
    scene.says("o\nthree");
    scene.assert_hears("? two\n", false);
    scene.at(178_998);
    scene.assert_hears("", false);
    scene.at(178_999);
    scene.assert_hears("? three...\n", true);
}

#[test]
fn a_line_that_begins_while_another_is_looked_after_is_cut_off_too() {
    let mut scene = Scene::new();
    scene.says("one");
    scene.at(59_000);
    scene.says("\ntwo");
    // Here the first line would have been late.
    scene.at(60_000);
    scene.assert_hears("? one\n", false);
    scene.at(119_000);
    scene.assert_hears("? two...\n", true);
}

#[test]
fn an_unfinished_telnet_command_is_an_unfinished_line() {
    let mut scene = Scene::new();
    scene.client.write_all(&[255, 250, 24]).unwrap();
    scene.settle();
    scene.at(60_000);
    scene.assert_hears("? ...\n", true);
}

#[test]
fn a_report_is_none_where_a_line_or_a_telnet_command_has_begun() {
    let mut scene = Scene::new();
    scene.says("x");
    scene.says("IAMAT k +1+1 1\n");
    scene.assert_hears("? xIAMAT k +1+1 1\n", false);
    scene.client.write_all(&[255, 250]).unwrap();
    scene.settle();
    scene.says("IAMAT k +1+1 1\n");
    scene.client.write_all(&[255, 240]).unwrap();
    scene.says("half\n");
    scene.assert_hears("? half\n", false);
    scene.says("IAMAT k +1+1 1\n");
    scene.assert_hears("AT Solo -1.000000000 k +1+1 1\n", false);
}

#[test]
fn an_idle_connection_may_stay_as_long_as_it_likes() {
    let mut scene = Scene::new();
    scene.at(3_600_000);
    scene.says("one\n");
    scene.assert_hears("? one\n", false);
    // Also after a line that came in pieces, and a Telnet command.
    scene.says("tw");
    scene.says("o\n");
    scene.client.write_all(&[255, 241]).unwrap();
    scene.at(7_200_000);
    scene.says("three\n");
    scene.assert_hears("? two\n? three\n", false);
}

#[test]
fn a_line_that_we_do_not_read_is_not_late() {
    let mut scene = Scene::new();
    // Answers that nobody takes, until the server stops reading in the middle of a line.
    let lines = format!("{}\n", "x".repeat(997)).repeat(1024);
    let mut unsent: &[u8] = &[];
    let mut rounds_without_progress = 0;
    while rounds_without_progress < 100 {
        unsent = if unsent.is_empty() { lines.as_bytes() } else { unsent };
        match scene.client.write(unsent) {
            Ok(length) => (unsent, rounds_without_progress) = (&unsent[length..], 0),
            Err(e) if e.kind() == ErrorKind::WouldBlock => rounds_without_progress += 1,
            Err(e) => panic!("{e}"),
        }
        scene.turn();
    }
    scene.at(60_000);
    scene.at(120_000);
    // Now they are taken, all of them: the server goes on where it had stopped.
    for _ in 0..100 {
        let (heard, closed) = scene.hears();
        assert!(!closed && !heard.contains("..."), "{}", &heard[heard.len().saturating_sub(80)..]);
        scene.turn();
    }
}
