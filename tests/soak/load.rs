//! Clients that come and go: they report walkers, ask for them, pipeline, reconnect, and leave in every way.
//!
//! Each walker belongs to one thread, and its times only grow. What has been acknowledged of it is what
//! every server has to know from then on, or something later.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::random::Random;

/// Threads that report, and walkers of each.
pub const THREADS: usize = 8;
const WALKERS_EACH: usize = 50;
pub const WALKERS: usize = THREADS * WALKERS_EACH;

/// Most lines that are sent before the replies are read.
const PIPELINE_MAX: usize = 24;

/// A server that takes longer to reply is given up: it may be frozen.
const REPLY_WAIT: Duration = Duration::from_secs(15);

/// Between two pipelines of a thread: the load is steady, not the most that is possible.
const PAUSE: Duration = Duration::from_millis(8);

/// What all threads of the load share.
pub struct Load {
    /// By walker, the latest time that was acknowledged; 0 for none.
    pub acknowledged: Vec<AtomicU64>,
    pub reports: AtomicU64,
    pub questions: AtomicU64,
    pub refused: AtomicU64,
    /// Pipelines that ended without all of their replies.
    pub broken: AtomicU64,
    paused: AtomicBool,
    over: AtomicBool,
    /// Threads that rest because the load is paused.
    resting: AtomicU64,
}

/// Why a reply is not one.
struct Gone;

/// The name of a walker.
pub fn walker(number: usize) -> String {
    format!("walker{number}.soak.example")
}

impl Load {
    pub fn new() -> Self {
        Self {
            acknowledged: (0..WALKERS).map(|_| AtomicU64::new(0)).collect(),
            reports: AtomicU64::new(0),
            questions: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            broken: AtomicU64::new(0),
            paused: AtomicBool::new(false),
            over: AtomicBool::new(false),
            resting: AtomicU64::new(0),
        }
    }

    pub fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    /// Stops the load; [`is_at_rest`](Self::is_at_rest) tells when every thread has.
    pub fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::SeqCst);
    }

    pub fn is_at_rest(&self) -> bool {
        self.resting.load(Ordering::SeqCst) == THREADS as u64
    }

    /// One thread of the load, until it is over.
    pub fn run(&self, thread: usize, ports: &[u16], mut random: Random) {
        let mut now = 0;
        while !self.over.load(Ordering::SeqCst) {
            if self.paused.load(Ordering::SeqCst) {
                self.resting.fetch_add(1, Ordering::SeqCst);
                while self.paused.load(Ordering::SeqCst) && !self.over.load(Ordering::SeqCst) {
                    thread::sleep(PAUSE);
                }
                self.resting.fetch_sub(1, Ordering::SeqCst);
                continue;
            }
            let visits = random.between(1, 30);
            if self.visit(thread, random.pick(ports), visits, &mut now, &mut random).is_err() {
                self.broken.fetch_add(1, Ordering::SeqCst);
                thread::sleep(PAUSE);
            }
        }
    }

    /// One connection, and a few pipelines on it.
    fn visit(
        &self,
        thread: usize,
        port: u16,
        pipelines: u64,
        now: &mut u64,
        random: &mut Random,
    ) -> Result<(), Gone> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(|_| Gone)?;
        let _ = stream.set_nodelay(true);
        stream.set_read_timeout(Some(REPLY_WAIT)).unwrap();
        stream.set_write_timeout(Some(REPLY_WAIT)).unwrap();
        let mut replies = BufReader::new(stream.try_clone().unwrap());
        for number in 0..pipelines {
            if self.paused.load(Ordering::SeqCst) || self.over.load(Ordering::SeqCst) {
                break;
            }
            let mut text = String::new();
            let mut lines = Vec::new();
            for _ in 0..=random.index(PIPELINE_MAX) {
                let walker = thread * WALKERS_EACH + random.index(WALKERS_EACH);
                *now += 1;
                let is_report = !random.one_in(6);
                let line = if is_report {
                    format!("IAMAT {} +34.068930-118.445127 {now}", self::walker(walker))
                } else {
                    format!("WHATSAT {} {} 3", self::walker(walker), random.between(1, 9))
                };
                text += &line;
                text += random.pick(&["\n", "\r\n"]);
                lines.push((walker, is_report.then_some(*now), line));
            }
            // In two pieces, as it may come over a wire.
            let (first, rest) = text.split_at(random.index(text.len()));
            for piece in [first, rest] {
                stream.write_all(piece.as_bytes()).map_err(|_| Gone)?;
            }
            let leaves = number + 1 == pipelines;
            if leaves && random.one_in(8) {
                // Gone before the replies are there.
                return Ok(());
            }
            if leaves && random.one_in(2) {
                stream.shutdown(Shutdown::Write).map_err(|_| Gone)?;
            }
            for (walker, time, line) in lines {
                self.reply(&mut replies, walker, time, &line)?;
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Reads the reply to one line, and holds it to the protocol.
    fn reply(
        &self,
        replies: &mut BufReader<TcpStream>,
        walker: usize,
        time: Option<u64>,
        line: &str,
    ) -> Result<(), Gone> {
        let reply = next_line(replies)?;
        if reply.starts_with("? ") {
            assert_eq!(reply, format!("? {line}"), "a copy of the line");
            if time.is_some() {
                self.refused.fetch_add(1, Ordering::SeqCst);
            }
            return Ok(());
        }
        let name = self::walker(walker);
        let fields: Vec<&str> = reply.split(' ').collect();
        assert!(fields.len() == 6 && fields[0] == "AT" && fields[3] == name, "{line}: {reply}");
        if let Some(time) = time {
            assert_eq!(fields[5], time.to_string(), "{line}: {reply}");
            self.acknowledged[walker].fetch_max(time, Ordering::SeqCst);
            self.reports.fetch_add(1, Ordering::SeqCst);
        } else {
            while !next_line(replies)?.is_empty() {}
            self.questions.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }
}

fn next_line(replies: &mut BufReader<TcpStream>) -> Result<String, Gone> {
    let mut line = String::new();
    replies.read_line(&mut line).map_err(|_| Gone)?;
    line.strip_suffix('\n').map(str::to_owned).ok_or(Gone)
}
