//! Another load: updates told to one server of a herd, and how long until all the others have them.
//!
//! The application decides what is to be seen next; `observer.rs` has the connections that look. One at
//! a time, each update is timed from its sending to its sight on the last server. Many at a time, all are
//! sent, then the last is looked for: what came before it has come before it on every link. In the end
//! a sample of clients is asked for everywhere, and every server has to hold the same. Servers can only be
//! asked by WHATSAT, so let them have an upstream that answers fast, or none that does.

use std::time::{Duration, Instant, SystemTime};

use super::histogram::Histogram;
use super::plan::{Plan, refused};
use super::process::{self, Cpu};
use super::request::{Kind, Requests, Stamp};
use super::spread::Spread;
use crate::reactor::{Application, Io, Reason, Target, Token};

/// Clients that are asked for everywhere in the end.
pub const SAMPLE_MAX: usize = 100;

/// To the connections of this load, from its application.
#[derive(Debug)]
pub enum Event {
    /// Send updates, or ask for what is to be seen.
    Go,
    /// A second has passed.
    Second,
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Connecting,
    /// Updates are being sent.
    Sending,
    /// Of one at a time, or of all the last one: everybody is being asked for it.
    Looking,
    /// Everything has arrived, it seems; a sample of it is looked at.
    Sampling,
    Over,
}

/// The application of this load.
pub struct Updates {
    pub(super) plan: Plan,
    /// Updates to be sent.
    wanted: u64,
    origin: Instant,
    pub(super) requests: Requests,
    stamp: Stamp,
    pub(super) stage: Stage,
    failure: Option<String>,
    sender: Option<Token>,
    observers: Vec<Token>,
    made: usize,
    sent: u64,
    answered: u64,
    /// The AT line of each client, as the first server has answered it.
    lines: Vec<Vec<u8>>,
    /// The client that is looked for.
    pub(super) sought: usize,
    unseen: usize,
    sampled: usize,
    sent_at: u64,
    began: u64,
    ended: u64,
    last_progress: u64,
    before: Option<Cpu>,
    cpu: Option<Cpu>,
    load_before: Option<Cpu>,
    load: Option<Cpu>,
    histogram: Histogram,
}

impl Updates {
    /// A load that has not begun.
    pub fn new(plan: Plan, wanted: u64) -> Self {
        // More clients than updates would only be texts that nobody sends.
        let clients = plan.clients.min(usize::try_from(wanted).unwrap_or(usize::MAX)).max(1);
        let requests = Requests::reports(Kind::Iamat, std::process::id(), clients);
        Self {
            lines: vec![Vec::new(); requests.clients()],
            requests,
            plan,
            wanted,
            origin: Instant::now(),
            stamp: Stamp::default(),
            stage: Stage::Connecting,
            failure: None,
            sender: None,
            observers: Vec::new(),
            made: 0,
            sent: 0,
            answered: 0,
            sought: 0,
            unseen: 0,
            sampled: 0,
            sent_at: 0,
            began: 0,
            ended: 0,
            last_progress: 0,
            before: None,
            cpu: None,
            load_before: None,
            load: None,
            histogram: Histogram::default(),
        }
    }

    /// Takes note of the connections that were begun: to the first server, and to the others.
    pub(super) fn begin(&mut self, sender: Token, observers: Vec<Token>, io: &mut Io<Self>) {
        self.sender = Some(sender);
        self.observers = observers;
        io.call_later(Duration::from_secs(1), Target::Application, Event::Second);
    }

    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    /// The figures, or why there are none.
    pub fn outcome(&mut self) -> Result<Spread, String> {
        if let Some(why) = self.failure.take() {
            return Err(why);
        }
        Ok(Spread {
            servers: self.observers.len() + 1,
            updates: self.wanted,
            clients: self.requests.clients(),
            depth: self.plan.depth,
            nanos: self.ended - self.began,
            cpu: self.cpu,
            load: self.load,
            histogram: std::mem::take(&mut self.histogram),
        })
    }

    // What the connections ask and tell.

    pub(super) fn nanos(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// A connection is made.
    pub(super) fn connected(&mut self, io: &mut Io<Self>) {
        self.made += 1;
        if self.made == self.observers.len() + 1 {
            self.stage = Stage::Sending;
            self.set_stamp(io);
            self.before = process::cpu(&self.plan.pids);
            self.load_before = process::cpu(&[std::process::id()]);
            self.began = self.nanos();
            self.last_progress = self.began;
            self.tell_sender(io);
        }
    }

    /// The next update, if one may be sent with so many unanswered: the client and its time.
    pub(super) fn next_update(&mut self, unanswered: usize) -> Option<(usize, [u8; 20])> {
        let may =
            self.stage == Stage::Sending && self.sent < self.wanted && unanswered < self.plan.depth;
        if !may {
            return None;
        }
        let client = usize::try_from(self.sent % self.requests.clients() as u64).unwrap_or(0);
        self.sent += 1;
        self.sent_at = self.nanos();
        Some((client, self.stamp.next()))
    }

    /// The first server has answered an update with this line.
    pub(super) fn answered(&mut self, client: usize, line: &[u8], io: &mut Io<Self>) {
        self.answered += 1;
        self.last_progress = self.nanos();
        if let Some(kept) = self.lines.get_mut(client) {
            kept.clear();
            kept.extend_from_slice(line);
        }
        let alone = self.plan.depth == 1;
        if alone || self.answered == self.wanted {
            self.stage = Stage::Looking;
            self.look_for(client, io);
        }
    }

    /// What every server has to say of the client that is looked for.
    pub(super) fn line(&self) -> &[u8] {
        self.lines.get(self.sought).map(Vec::as_slice).unwrap_or_default()
    }

    /// One of the other servers has it.
    pub(super) fn seen(&mut self, io: &mut Io<Self>) {
        self.unseen = self.unseen.saturating_sub(1);
        self.last_progress = self.nanos();
        if self.unseen > 0 {
            return;
        }
        if self.stage == Stage::Looking {
            if self.plan.depth == 1 {
                self.histogram.record(self.last_progress - self.sent_at);
            }
            if self.answered < self.wanted {
                self.stage = Stage::Sending;
                return self.tell_sender(io);
            }
            self.ended = self.last_progress;
            let after = process::cpu(&self.plan.pids);
            self.cpu = after.zip(self.before).map(|(after, before)| after - before);
            let after = process::cpu(&[std::process::id()]);
            self.load = after.zip(self.load_before).map(|(after, before)| after - before);
            self.stage = Stage::Sampling;
        }
        self.sample(io);
    }

    /// It has failed. The first reason stands.
    pub(super) fn fail(&mut self, why: String) {
        self.failure.get_or_insert(why);
        self.stage = Stage::Over;
    }

    /// A connection is gone or could not be made.
    pub(super) fn lost(&mut self, why: &Reason) {
        if !self.is_over() {
            self.fail(match why {
                Reason::ConnectFailed { to, why } => refused(to, why),
                why => format!("a server has ended its connection: {why}; see its log"),
            });
        }
    }

    fn sample(&mut self, io: &mut Io<Self>) {
        let clients = self.requests.clients();
        let wanted = clients.min(SAMPLE_MAX);
        if self.sampled == wanted {
            self.stage = Stage::Over;
            return;
        }
        let client = self.sampled * clients / wanted;
        self.sampled += 1;
        self.look_for(client, io);
    }

    fn look_for(&mut self, client: usize, io: &mut Io<Self>) {
        self.sought = client;
        self.unseen = self.observers.len();
        for observer in &self.observers {
            io.post(*observer, Event::Go);
        }
    }

    fn tell_sender(&self, io: &mut Io<Self>) {
        if let Some(sender) = self.sender {
            io.post(sender, Event::Go);
        }
    }

    fn set_stamp(&mut self, io: &Io<Self>) {
        let since = io.wall_clock().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.stamp.set(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX));
    }

    fn second(&mut self, io: &mut Io<Self>) {
        io.call_later(Duration::from_secs(1), Target::Application, Event::Second);
        let silence = Duration::from_nanos(self.nanos().saturating_sub(self.last_progress));
        if self.stage > Stage::Connecting && silence > self.plan.patience {
            let (answered, unseen) = (self.answered, self.unseen);
            let line = super::reply::shown(self.line());
            self.fail(format!(
                "nothing has gone on for {} s (--patience): {answered} updates are answered, and {unseen} \
                 servers do not have the last, {line}; see whether their links are up (scripts/herd status)",
                self.plan.patience.as_secs_f64()
            ));
        }
    }
}

impl Application for Updates {
    type Event = Event;

    fn event_received(&mut self, event: Event, io: &mut Io<Self>) {
        if let Event::Second = event {
            self.second(io);
        }
    }

    fn turn_end(&mut self, io: &mut Io<Self>) {
        self.set_stamp(io);
    }
}
