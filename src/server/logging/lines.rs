//! The lines that wait to be written: one buffer, and the two ways into it.
//!
//! Owns what a line looks like and how much may wait. It never waits and makes no system call but the
//! clock's, and that only for lines outside a turn. Filled through the `log` macros ([`Sink`], behind
//! `fern`) and by the clients' protocol ([`received`], [`sent`]); emptied by `Log`.

use std::cell::RefCell;
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::SystemTime;

use log::Level;

use super::text::Text;
use crate::reactor::{Peer, Token};
use crate::server::unix_nanos;
use crate::wire::time::write_utc;

/// What may wait to be written: what a busy server says in a tenth of a second. Beyond it lines are dropped
/// and counted. As much again may be with the writing thread.
pub const LOG_WAITING_MAX_BYTES: usize = 16 * 1024 * 1024;

thread_local! {
    /// The lines that the loop's thread says, which are nearly all: no lock is taken for each.
    static LINES: RefCell<Lines> = const { RefCell::new(Lines::new()) };
}

/// What other threads say, until the end of the turn.
static OF_OTHERS: Mutex<Lines> = Mutex::new(Lines::new());

/// The lines of this thread, which is the loop's. What is done with them must not log.
pub fn with_lines<R>(work: impl FnOnce(&mut Lines) -> R) -> R {
    LINES.with_borrow_mut(work)
}

/// Lines in memory, ready to be written as they are.
pub struct Lines {
    text: Vec<u8>,
    /// How many more there would be, had they found room.
    lost: u64,
    /// The time of the turn, in which the clock is not read again.
    turn: Option<SystemTime>,
    /// That time as text, empty until the turn's first line.
    stamp: Vec<u8>,
    /// How a line of traffic begins, up to the peer: what comes from it in a turn and goes to it bears the
    /// same time, level and name, often a hundred times over.
    head: Vec<u8>,
    /// Whose head that is in this turn. A token is compared more cheaply than an address, and an address
    /// need not be looked up for it.
    head_of: Option<Token>,
}

/// Whether lines of traffic are told: one comparison where nobody wants to know.
pub fn tells_traffic() -> bool {
    Level::Info <= log::max_level()
}

/// Logs a line that has come from `who`, if lines of traffic are told; on the loop's thread. `peer` says
/// who that is: it is not asked for each line, and must not log.
pub fn received(who: Token, peer: impl FnOnce() -> Peer, line: &[u8]) {
    if tells_traffic() {
        with_lines(|lines| lines.push_traffic(who, peer, *b" > ", line));
    }
}

/// The same for what is sent to `who`, without the LF at its end.
pub fn sent(who: Token, peer: impl FnOnce() -> Peer, text: &[u8]) {
    if tells_traffic() {
        let line = text.strip_suffix(b"\n").unwrap_or(text);
        with_lines(|lines| lines.push_traffic(who, peer, *b" < ", line));
    }
}

/// Where `fern` sends what the `log` macros say.
pub struct Sink {
    /// The loop's thread.
    home: ThreadId,
}

impl Sink {
    /// For a loop on the thread that calls this.
    pub fn at_home() -> Self {
        Self { home: thread::current().id() }
    }
}

impl log::Log for Sink {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let push = |lines: &mut Lines| lines.push(record.level(), record.args());
        if thread::current().id() == self.home {
            with_lines(push);
        } else {
            push(&mut of_others());
        }
    }

    fn flush(&self) {}
}

/// What other threads have said. A lock that a panicking thread held is as good as any other: the data are bytes.
pub fn of_others() -> MutexGuard<'static, Lines> {
    OF_OTHERS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lines {
    /// None yet.
    pub const fn new() -> Self {
        Self {
            text: Vec::new(),
            lost: 0,
            turn: None,
            stamp: Vec::new(),
            head: Vec::new(),
            head_of: None,
        }
    }

    /// Whether there is nothing to tell, not even of a loss.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty() && self.lost == 0
    }

    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// Lines are of this moment until the turn ends.
    pub fn turn_begins(&mut self, now: SystemTime) {
        self.turn = Some(now);
        self.stamp.clear();
        self.head_of = None;
    }

    /// The loop may sleep now: no line may go on bearing the turn's time.
    pub fn turn_ends(&mut self) {
        self.turn = None;
        self.head_of = None;
    }

    /// Moves the lines of others behind these.
    pub fn take_in(&mut self, others: &mut Self) {
        self.text.append(&mut others.text);
        self.lost += std::mem::take(&mut others.lost);
    }

    /// Takes out the lines and how many are lost after them, and goes on in `spare`, which is empty.
    pub fn take(&mut self, spare: Vec<u8>) -> (Vec<u8>, u64) {
        (std::mem::replace(&mut self.text, spare), std::mem::take(&mut self.lost))
    }

    /// Appends a line: its time, its level and a message.
    pub fn push(&mut self, level: Level, message: &std::fmt::Arguments<'_>) {
        if !self.has_room() {
            return;
        }
        self.stamp();
        self.text.extend_from_slice(&self.stamp);
        self.text.extend_from_slice(&level_word(level));
        let start = self.text.len();
        // Writing into memory cannot fail.
        let _ = self.text.write_fmt(*message);
        // A second guard: whatever a message held, it is one line.
        let line = self.text.get_mut(start..).unwrap_or_default();
        if line.iter().fold(0, |found, byte| found | u8::from(*byte < b' ')) != 0 {
            line.iter_mut().filter(|byte| **byte < b' ').for_each(|byte| *byte = b'?');
        }
        self.text.push(b'\n');
    }

    /// Appends what `push(Level::Info, "{peer}{way}{Text(text)}")` would, by copying: this is done twice
    /// for every command of every client.
    fn push_traffic(&mut self, who: Token, peer: impl FnOnce() -> Peer, way: [u8; 3], text: &[u8]) {
        if !self.has_room() {
            return;
        }
        if self.head_of != Some(who) {
            self.make_head(who, peer());
        }
        self.text.extend_from_slice(&self.head);
        self.text.extend_from_slice(&way);
        Text(text).append_to(&mut self.text);
        self.text.push(b'\n');
    }

    /// Once for each peer and turn; outside a turn for each line, as its time is another.
    #[cold]
    fn make_head(&mut self, who: Token, peer: Peer) {
        self.stamp();
        self.head.clear();
        self.head.extend_from_slice(&self.stamp);
        self.head.extend_from_slice(&level_word(Level::Info));
        peer.append_to(&mut self.head);
        self.head_of = self.turn.map(|_| who);
    }

    /// Sees to it that the stamp is that of a line said now.
    fn stamp(&mut self) {
        if self.turn.is_none() || self.stamp.is_empty() {
            self.stamp.clear();
            let moment = self.turn.unwrap_or_else(SystemTime::now);
            write_utc(&mut self.stamp, unix_nanos(moment));
        }
    }

    fn has_room(&mut self) -> bool {
        let room = self.text.len() < LOG_WAITING_MAX_BYTES;
        self.lost += u64::from(!room);
        room
    }
}

/// A level as it stands between time and message, of one width for all.
fn level_word(level: Level) -> [u8; 7] {
    *match level {
        Level::Error => b" ERROR ",
        Level::Warn => b" WARN  ",
        Level::Info => b" INFO  ",
        Level::Debug => b" DEBUG ",
        Level::Trace => b" TRACE ",
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn peer(text: &str) -> Peer {
        Peer::Tcp(text.parse().unwrap())
    }

    /// What has gathered, taken out.
    fn taken(lines: &mut Lines) -> String {
        String::from_utf8(lines.take(Vec::new()).0).unwrap()
    }

    #[test]
    fn a_message_is_one_line_with_its_time_even_if_it_holds_two() {
        let mut lines = Lines::new();
        lines.push(Level::Info, &format_args!("one\nINFO  two"));
        let text = taken(&mut lines);
        assert_eq!(text.lines().count(), 1);
        assert!(text.ends_with("Z INFO  one?INFO  two\n"), "{text}");
    }

    #[test]
    fn all_lines_of_a_turn_bear_its_time_and_those_outside_the_clocks() {
        let mut lines = Lines::new();
        let times = |lines: &mut Lines| {
            lines.push(Level::Warn, &format_args!("a message"));
            lines.push_traffic(Token::of_test(0), || peer("127.0.0.1:1"), *b" > ", b"a line");
            let text = taken(lines);
            text.lines().map(|line| line[..27].to_owned()).collect::<Vec<_>>()
        };
        lines.turn_begins(UNIX_EPOCH + Duration::from_micros(1));
        assert_eq!(times(&mut lines), ["1970-01-01T00:00:00.000001Z"; 2]);
        lines.turn_begins(UNIX_EPOCH + Duration::from_micros(2));
        assert_eq!(times(&mut lines), ["1970-01-01T00:00:00.000002Z"; 2]);
        lines.turn_ends();
        for _ in 0..2 {
            assert!(times(&mut lines).iter().all(|time| time.as_str() > "2020"));
        }
    }

    #[test]
    fn a_line_of_traffic_looks_like_any_other() {
        let mut lines = Lines::new();
        lines.turn_begins(UNIX_EPOCH);
        let peers = [peer("127.0.0.1:1"), peer("[::1]:65535"), Peer::Unix];
        let texts: [&[u8]; 4] = [b"", b"IAMAT kiwi", b"\\ \x1b\xff\n", &[b'x'; 600]];
        for text in texts {
            for who in [0, 0, 1, 2, 0] {
                let peer = peers[who];
                for way in [b" < ", b" > "] {
                    lines.push_traffic(Token::of_test(who), || peer, *way, text);
                    let way = str::from_utf8(way).unwrap();
                    let copied = taken(&mut lines);
                    lines.push(Level::Info, &format_args!("{peer}{way}{}", Text(text)));
                    assert_eq!(copied, taken(&mut lines));
                }
            }
        }
    }

    #[test]
    fn lines_beyond_the_bound_are_counted_not_kept() {
        let mut lines = Lines::new();
        let long = "x".repeat(1 << 20);
        for _ in 0..20 {
            lines.push(Level::Info, &format_args!("{long}"));
        }
        lines.push_traffic(Token::of_test(0), || Peer::Unix, *b" > ", b"one more");
        assert!(lines.len() < LOG_WAITING_MAX_BYTES + (1 << 20) + 64);
        assert_eq!(lines.take(Vec::new()).1, 5);
        assert!(lines.is_empty());
    }

    #[test]
    fn another_thread_than_the_loops_is_heard_too() {
        let (sink, mut others) = (Sink::at_home(), Lines::new());
        let record = log::Record::builder().level(Level::Info).args(format_args!("hello")).build();
        log::Log::log(&sink, &record);
        assert!(with_lines(taken).ends_with(" INFO  hello\n"));
        std::thread::spawn(move || {
            let record = log::Record::builder().args(format_args!("from afar")).build();
            log::Log::log(&sink, &record);
            assert!(with_lines(|lines| lines.is_empty()), "nobody would take it out here");
        })
        .join()
        .unwrap();

        let mut lines = Lines::new();
        lines.push(Level::Info, &format_args!("mine"));
        others.push(Level::Warn, &format_args!("theirs"));
        others.lost = 2;
        lines.take_in(&mut others);
        assert!(others.is_empty());
        assert_eq!(lines.lost, 2);
        let text = taken(&mut lines);
        assert!(text.lines().map(|line| &line[28..]).eq(["INFO  mine", "WARN  theirs"]), "{text}");
    }
}
