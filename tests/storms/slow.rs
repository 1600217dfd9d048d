//! Those who ask and do not read, and those who take their time to say anything, by the hundred.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;

use super::scene::Scene;
use super::support::{Client, DEADLINE, eventually};

const SLOW_READERS: usize = 100;
const SLOW_WRITERS: usize = 300;

/// Long lines fill all that lies between a server and a client with few of them.
const LONG: usize = 15_000;

/// How much one of them says before it is another's turn, and in all: more than fits into the kernel's
/// buffers for the replies, so that the server has to stop reading.
const AT_ONCE: usize = 1 << 20;
const SAID_MAX: usize = 8 << 20;

/// What a server may hold for one who does not read: the output's high-water mark and the replies to one
/// more read, a line, and what a buffer grows beyond what is in it.
const EACH_UNREAD_KIB_MAX: u64 = 256;

/// Somebody who asks until nothing more is taken.
struct SlowReader {
    stream: TcpStream,
    /// What it says again and again: a line of one of three kinds.
    line: String,
    /// What each line is answered with: how the lines of the answer begin.
    answer: &'static [&'static str],
    /// What has been said so far.
    bytes: usize,
}

impl SlowReader {
    fn new(port: u16, number: usize) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nonblocking(true).unwrap();
        let id = "x".repeat(LONG);
        // All are long, and so are their answers.
        let (line, answer): (_, &[&str]) = match number % 3 {
            0 => (format!("IAMAT {number}{id} +1-1 5\n"), &["AT Middle +"]),
            1 => (format!("WHATSAT {id} 1 5\n"), &["AT Middle +", "{\"html_attributions\":[]", ""]),
            _ => (format!("nonsense {number}{id}\n"), &["? nonsense "]),
        };
        Self { stream, line, answer, bytes: 0 }
    }

    /// Says some more as far as it is taken, and tells whether anything was.
    fn ask(&mut self) -> bool {
        let line = self.line.as_bytes();
        let before = self.bytes;
        while self.bytes < SAID_MAX && self.bytes - before < AT_ONCE {
            match self.stream.write(&line[self.bytes % line.len()..]) {
                Ok(written) => self.bytes += written,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return self.bytes > before,
                Err(e) => panic!("the connection has ended: {e}"),
            }
        }
        self.bytes > before
    }

    /// Reads at last: there is an answer to each line, and nothing else.
    fn read(mut self) {
        let lines = self.bytes.div_ceil(self.line.len());
        self.stream.set_nonblocking(false).unwrap();
        self.stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let replies = BufReader::new(self.stream.try_clone().unwrap());
        thread::scope(|scope| {
            scope.spawn(move || {
                let rest = lines * self.line.len() - self.bytes;
                self.stream.write_all(&self.line.as_bytes()[self.line.len() - rest..]).unwrap();
                self.stream.shutdown(Shutdown::Write).unwrap();
            });
            let mut told = 0;
            for (reply, begin) in replies.lines().zip(self.answer.iter().cycle()) {
                let reply = reply.unwrap();
                assert!(reply.starts_with(begin), "{reply:.80} instead of {begin}");
                told += 1;
            }
            assert_eq!(told, lines * self.answer.len());
        });
    }
}

#[test]
fn slow_readers_by_the_hundred_hold_up_only_themselves() {
    // On a slow machine it takes minutes until nobody's words are taken any more.
    let scene = Scene::start_with(&["--unread-timeout", "0"]);
    let port = scene.herd.port("Middle");
    let mut readers: Vec<_> =
        (0..SLOW_READERS).map(|number| SlowReader::new(port, number)).collect();
    let mut active = Client::connect(port);
    // Whom they ask for.
    assert!(active.ask(&format!("IAMAT {} +1-1 5", "x".repeat(LONG))).starts_with("AT Middle +"));
    let mut time = 0;
    // Until nobody's words are taken any more, some time after the server has stopped reading.
    let mut refusals = 0;
    while refusals < 10 {
        let taken = readers.iter_mut().filter_map(|reader| reader.ask().then_some(())).count();
        refusals = if taken == 0 { refusals + 1 } else { 0 };
        time += 1;
        assert!(active.ask(&format!("IAMAT active +1-1 {time}")).starts_with("AT Middle +"));
        let peak = scene.peak_kib();
        assert!(peak < SLOW_READERS as u64 * EACH_UNREAD_KIB_MAX, "{peak} KiB");
    }
    scene.answers();
    // Some of them read after all, and the others go with their replies unread.
    thread::scope(|scope| {
        for reader in readers.drain(..SLOW_READERS / 4) {
            scope.spawn(|| reader.read());
        }
    });
    drop((readers, active));
    scene.is_at_peace();
}

#[test]
fn slow_writers_by_the_hundred_get_their_answers_and_hold_up_nobody() {
    let scene = Scene::start();
    let port = scene.herd.port("Middle");
    let mut writers: Vec<Client> = (0..SLOW_WRITERS).map(|_| Client::connect(port)).collect();
    let lines: Vec<String> =
        (0..SLOW_WRITERS).map(|n| format!("IAMAT slow{n:03} +1-1 5")).collect();
    let mut active = Client::connect(port);
    for place in 0..lines[0].len() {
        for (writer, line) in writers.iter_mut().zip(&lines) {
            writer.send(&line[place..=place]);
        }
        assert!(active.ask(&format!("IAMAT active +1-1 {place}")).starts_with("AT Middle +"));
    }
    // Those who never come to an end of their lines are not waited for.
    let rest = writers.split_off(SLOW_WRITERS / 2);
    assert!(!scene.herd.knows("Middle", "slow000"), "a line without an end is none yet");
    for (writer, line) in writers.iter_mut().zip(&lines) {
        let reply = writer.ask("");
        assert!(reply.starts_with("AT Middle +") && reply.ends_with(&line[6..]), "{reply}");
    }
    drop((writers, rest, active));
    eventually("all have gone", || (scene.herd.status("Middle")["clients"] == 0).then_some(()));
    scene.is_at_peace();
}
