//! Those who ask and do not read, and those who take their time to say anything, by the hundred.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;

use super::scene::{KEPT_KIB_MAX, Scene};
use super::support::{Client, DEADLINE, eventually};

const SLOW_READERS: usize = 100;
const SLOW_WRITERS: usize = 300;

/// Long lines fill all that lies between a server and a client with few of them.
const LONG: usize = 15_000;

/// What a server may hold for one who does not read: the output's high-water mark and the replies to one
/// more read, a line, and what a buffer grows beyond what is in it.
const EACH_UNREAD_KIB_MAX: u64 = 512;

/// What stays when they have gone: by design 64 spare output buffers of at most 128 KiB, all of them used.
const SPARE_BUFFERS_KIB: u64 = 64 * 128;

/// Somebody who asks until nothing more is taken.
struct SlowReader {
    stream: TcpStream,
    number: usize,
    /// What has been said so far.
    bytes: usize,
}

impl SlowReader {
    fn new(port: u16, number: usize) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nonblocking(true).unwrap();
        Self { stream, number, bytes: 0 }
    }

    /// One line of three kinds; all are as long and are answered with a line that is at least as long.
    fn line(&self) -> String {
        let id = "x".repeat(LONG);
        match self.number % 3 {
            0 => format!("IAMAT {}{id} +1-1 5\n", self.number),
            1 => format!("WHATSAT {}{id} 1 5\n", self.number),
            _ => format!("nonsense {}{id}\n", self.number),
        }
    }

    /// Says more until nothing is taken, and tells whether anything was.
    fn ask(&mut self) -> bool {
        let line = self.line();
        let before = self.bytes;
        loop {
            match self.stream.write(&line.as_bytes()[self.bytes % line.len()..]) {
                Ok(written) => self.bytes += written,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return self.bytes > before,
                Err(e) => panic!("the connection has ended: {e}"),
            }
        }
    }

    /// Reads at last: there is an answer to each line, and nothing else.
    fn read(mut self) {
        let line = self.line();
        let lines = self.bytes.div_ceil(line.len());
        self.stream.set_nonblocking(false).unwrap();
        self.stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let replies = BufReader::new(self.stream.try_clone().unwrap());
        thread::scope(|scope| {
            scope.spawn(move || {
                let rest = lines * line.len() - self.bytes;
                self.stream.write_all(&line.as_bytes()[line.len() - rest..]).unwrap();
                self.stream.shutdown(Shutdown::Write).unwrap();
            });
            let mut begin = ["AT Middle +", "? WHATSAT ", "? nonsense "].iter();
            let begin = begin.nth(self.number % 3).unwrap();
            let mut answers = 0;
            for answer in replies.lines() {
                let answer = answer.unwrap();
                assert!(answer.starts_with(begin) && answer.len() > LONG, "{answer:.80}");
                answers += 1;
            }
            assert_eq!(answers, lines);
        });
    }
}

#[test]
fn slow_readers_by_the_hundred_hold_up_only_themselves() {
    let scene = Scene::start();
    let port = scene.herd.port("Middle");
    let mut readers: Vec<_> =
        (0..SLOW_READERS).map(|number| SlowReader::new(port, number)).collect();
    let mut active = Client::connect(port);
    let mut time = 0;
    // Until the server has stopped reading each of them: it takes nothing more, however long one waits.
    let mut refusals = 0;
    while refusals < 10 {
        let taken = readers.iter_mut().filter_map(|reader| reader.ask().then_some(())).count();
        refusals = if taken == 0 { refusals + 1 } else { 0 };
        time += 1;
        assert!(active.ask(&format!("IAMAT active +1-1 {time}")).starts_with("AT Middle +"));
    }
    scene.answers();
    let peak = scene.peak_kib();
    assert!(peak < SLOW_READERS as u64 * EACH_UNREAD_KIB_MAX, "{peak} KiB");
    // Half of them read after all, and the others go with their replies unread.
    thread::scope(|scope| {
        for reader in readers.drain(..SLOW_READERS / 2) {
            scope.spawn(|| reader.read());
        }
    });
    drop(readers);
    drop(active);
    scene.is_at_peace_with(SPARE_BUFFERS_KIB + KEPT_KIB_MAX);
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
