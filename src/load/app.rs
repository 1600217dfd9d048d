//! The run of a load: from its first connection through warm-up, measuring and draining to its figures.
//!
//! The application that all connections of a run share. It decides the phase, counts what they tell it,
//! and ends the run; it never looks into a request or a reply (`caller.rs` does). Called by the protocols
//! and, for everything that is a matter of time, by delayed calls.

use std::time::{Duration, Instant, SystemTime};

use super::measurement::Measurement;
use super::plan::Plan;
use super::request::{Kind, Requests, Stamp, TIME_BYTES};
use super::schedule::Schedule;
use super::summary::{Idle, Summary};
use crate::reactor::{Application, Io, Target, Token};

/// Requests that an open loop has in flight, all connections together; about 50 bytes each. What is due
/// beyond it waits to be sent, and its latency counts.
pub const IN_FLIGHT_MAX: usize = 1 << 20;

/// Sleeping is no finer than the kernel's millisecond and what it takes to wake up. With the next request
/// of an open loop nearer than this, the loop turns without sleeping, so that it leaves on time.
const TURN_BELOW: Duration = Duration::from_millis(2);

/// What the delayed calls of a run and its parts tell each other.
#[derive(Debug)]
pub enum Event {
    /// To a connection: send what may be sent.
    Send,
    /// Requests of an open loop may have become due.
    Tick,
    /// The server has had time to accept the idle connections.
    Settled,
    /// The present phase has lasted as long as it should.
    PhaseOver,
    /// A second has passed.
    Second,
}

/// How far a run has come. It only ever moves down this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Idle connections are made.
    Opening,
    /// The server's memory is about to be read.
    Settling,
    /// The connections that ask are made.
    Connecting,
    /// The clients that will be asked for tell where they are.
    Telling,
    /// Load, but what it gives does not count yet.
    Warming,
    /// Load that counts.
    Measuring,
    /// No new requests; replies still come.
    Draining,
    /// Done or failed.
    Over,
}

/// The application of a load run.
pub struct Load {
    pub(super) plan: Plan,
    origin: Instant,
    reports: Requests,
    questions: Option<Requests>,
    pub(super) schedule: Option<Schedule>,
    stamp: Stamp,
    pub(super) phase: Phase,
    failure: Option<String>,

    pub(super) callers: Vec<Token>,
    pub(super) dialled: usize,
    pub(super) made: usize,
    told: usize,
    pub(super) connecting_since: u64,
    connect_nanos: u64,

    /// When the load began, in nanoseconds since `origin`, as all times here.
    pub(super) began: u64,
    /// Of an open loop: before this request the connections have been told to send.
    ticked_to: u64,
    /// Of an open loop: no request from this number on is ever due.
    due_end: u64,
    pub(super) issued: u64,
    pub(super) answered: u64,
    pub(super) last_reply: u64,
    pub(super) drain_began: u64,

    pub(super) measured: Measurement,
    pub(super) resident: (Option<u64>, Option<u64>),
    /// Replies at the last progress line.
    pub(super) shown: u64,
}

impl Load {
    /// A run that has not begun.
    pub fn new(mut plan: Plan) -> Self {
        plan.clients = plan.clients.max(plan.connections);
        let run = std::process::id();
        let questions = plan.whatsat.as_ref();
        let limit = plan.requests.unwrap_or(u64::MAX);
        Self {
            reports: Requests::reports(plan.kind, run, plan.clients),
            questions: questions
                .map(|q| Requests::questions(run, plan.clients, &q.radius, &q.bound)),
            schedule: plan.rate.map(|rate| Schedule::new(rate, plan.connections)),
            plan,
            origin: Instant::now(),
            stamp: Stamp::default(),
            phase: Phase::Opening,
            failure: None,
            callers: Vec::new(),
            dialled: 0,
            made: 0,
            told: 0,
            connecting_since: 0,
            connect_nanos: 0,
            began: 0,
            ticked_to: 0,
            due_end: limit,
            issued: 0,
            answered: 0,
            last_reply: 0,
            drain_began: 0,
            measured: Measurement::default(),
            resident: (None, None),
            shown: 0,
        }
    }

    /// Whether the run has ended.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// The figures, or why there are none.
    pub fn outcome(&mut self) -> Result<Summary, String> {
        if let Some(why) = self.failure.take() {
            return Err(why);
        }
        let due = self.schedule.map_or(self.issued, |_| self.due_end);
        let idle = (self.plan.idle > 0).then_some(Idle {
            connections: self.plan.idle,
            resident_before_kb: self.resident.0,
            resident_after_kb: self.resident.1,
        });
        let measured = std::mem::take(&mut self.measured);
        Ok(Summary {
            kind: if self.questions.is_some() { "whatsat" } else { self.plan.kind.name() },
            connections: self.plan.connections,
            depth: self.plan.depth,
            rate: self.plan.rate,
            unanswered: self.issued - self.answered,
            unsent: due.saturating_sub(self.issued),
            connect_nanos: self.connect_nanos,
            measured,
            idle,
        })
    }

    // What the connections ask.

    /// Nanoseconds since the program's start.
    pub fn nanos(&self) -> u64 {
        self.nanos_at(Instant::now())
    }

    fn nanos_at(&self, moment: Instant) -> u64 {
        let since = moment.saturating_duration_since(self.origin);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }

    /// How far the run has come.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// What server is spoken to.
    pub fn kind(&self) -> Kind {
        self.plan.kind
    }

    /// Requests that a connection of a closed loop keeps in flight.
    pub fn depth(&self) -> usize {
        self.plan.depth
    }

    /// How many connections ask.
    pub fn connections(&self) -> usize {
        self.plan.connections
    }

    /// How many clients there are, at least one a connection.
    pub fn clients(&self) -> usize {
        self.plan.clients
    }

    /// Whether the load is WHATSAT.
    pub fn asks_questions(&self) -> bool {
        self.questions.is_some()
    }

    /// The requests of the present phase.
    pub fn requests(&self) -> &Requests {
        match &self.questions {
            Some(questions) if self.phase != Phase::Telling => questions,
            _ => &self.reports,
        }
    }

    /// When requests are due, in an open loop.
    pub fn schedule(&self) -> Option<Schedule> {
        self.schedule
    }

    /// When the request of that number was due, if its time has come.
    pub fn due_at(&self, number: u64, now: u64) -> Option<u64> {
        let due = self.schedule?.due_at(number).saturating_add(self.began);
        (number < self.due_end && due <= now).then_some(due)
    }

    /// Whether a closed loop goes on.
    pub fn may_issue(&self) -> bool {
        self.phase < Phase::Draining && self.issued < self.plan.requests.unwrap_or(u64::MAX)
    }

    /// Requests that a connection of an open loop may have in flight.
    pub fn in_flight_max(&self) -> usize {
        (IN_FLIGHT_MAX / self.plan.connections.max(1)).max(1)
    }

    /// The time that the next request says.
    pub fn next_time(&mut self) -> [u8; TIME_BYTES] {
        self.stamp.next()
    }

    // What the connections tell.

    /// A client has told where it is.
    pub fn told(&mut self, now: u64) {
        self.told += 1;
        self.last_reply = now;
    }

    /// A request was sent.
    pub fn issued(&mut self) {
        self.issued += 1;
        if self.phase == Phase::Measuring {
            self.measured.bytes_out += self.requests().length() as u64;
        }
    }

    /// A right reply of so many bytes has come to the request that was due then.
    pub fn replied(&mut self, due: u64, now: u64, bytes: usize, fault: bool) {
        self.answered += 1;
        self.last_reply = now;
        if self.phase == Phase::Measuring {
            self.measured.replies += 1;
            self.measured.bytes_in += bytes as u64;
            self.measured.faults += u64::from(fault);
        }
        // An open loop's request counts by when it was due, however late its answer.
        let counts = match self.schedule {
            None => self.phase == Phase::Measuring,
            Some(_) => self.phase >= Phase::Measuring && due >= self.measured.from,
        };
        if counts {
            self.measured.histogram.record(now.saturating_sub(due));
        }
    }

    /// Goes on to the next phase if what the present one waits for has happened.
    pub fn look_whether_done(&mut self, io: &mut Io<Self>) {
        match self.phase {
            Phase::Telling if self.told == self.plan.clients => self.warm_up(io),
            Phase::Measuring if self.plan.requests == Some(self.answered) => {
                self.measured.end(self.nanos(), &self.plan.pids);
                self.phase = Phase::Over;
            }
            Phase::Draining
                if self.answered == self.issued
                    && (self.schedule.is_none() || self.issued >= self.due_end) =>
            {
                self.phase = Phase::Over;
            }
            _ => {}
        }
    }

    /// The run has failed. The first reason stands.
    pub fn fail(&mut self, why: String) {
        self.failure.get_or_insert(why);
        self.phase = Phase::Over;
    }

    // The phases.

    /// All connections are made.
    pub(super) fn begin(&mut self, io: &mut Io<Self>) {
        self.last_reply = self.nanos();
        self.connect_nanos = self.last_reply - self.connecting_since;
        self.set_stamp(io);
        if self.questions.is_some() {
            self.phase = Phase::Telling;
            self.tell_all_to_send(io);
        } else {
            self.warm_up(io);
        }
    }

    fn warm_up(&mut self, io: &mut Io<Self>) {
        // By the turn's clock, as delayed calls are, or the run could end before its time.
        self.began = self.nanos_at(io.now());
        self.phase = Phase::Warming;
        // So many replies, all of them counted.
        if self.plan.requests.is_some() || self.plan.warmup.is_zero() {
            self.measure(io);
        } else {
            io.call_later(self.plan.warmup, Target::Application, Event::PhaseOver);
        }
        if self.schedule.is_some() {
            io.post(Target::Application, Event::Tick);
        } else {
            self.tell_all_to_send(io);
        }
    }

    fn measure(&mut self, io: &mut Io<Self>) {
        self.phase = Phase::Measuring;
        self.measured.begin(self.nanos_at(io.now()), &self.plan.pids);
        if self.plan.requests.is_none() {
            io.call_later(self.plan.seconds, Target::Application, Event::PhaseOver);
        }
    }

    fn drain(&mut self, io: &mut Io<Self>) {
        self.measured.end(self.nanos(), &self.plan.pids);
        self.phase = Phase::Draining;
        self.drain_began = self.nanos();
        if let Some(schedule) = self.schedule {
            self.due_end = self.due_end.min(schedule.due_by(self.drain_began - self.began));
            self.tell_due_to_send(schedule, self.due_end, io);
        }
        self.look_whether_done(io);
    }

    fn tell_all_to_send(&self, io: &mut Io<Self>) {
        for caller in &self.callers {
            io.post(*caller, Event::Send);
        }
    }

    /// Tells those to send whose requests have become due by now.
    fn tell_due_to_send(&mut self, schedule: Schedule, due: u64, io: &mut Io<Self>) {
        for lane in schedule.connections(self.ticked_to, due) {
            if let Some(caller) = self.callers.get(lane) {
                io.post(*caller, Event::Send);
            }
        }
        self.ticked_to = due;
    }

    /// Tells the connections whose requests have become due, and comes back when the next one is.
    fn tick(&mut self, io: &mut Io<Self>) {
        let Some(schedule) = self.schedule.filter(|_| self.phase < Phase::Draining) else { return };
        let passed = self.nanos() - self.began;
        let due = schedule.due_by(passed).min(self.due_end);
        self.tell_due_to_send(schedule, due, io);
        let gap = Duration::from_nanos(schedule.due_at(due).saturating_sub(passed));
        match gap.checked_sub(TURN_BELOW) {
            Some(pause) => _ = io.call_later(pause, Target::Application, Event::Tick),
            None => io.post(Target::Application, Event::Tick),
        }
    }

    fn set_stamp(&mut self, io: &Io<Self>) {
        let since = io.wall_clock().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.stamp.set(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX));
    }
}

impl Application for Load {
    type Event = Event;

    fn event_received(&mut self, event: Event, io: &mut Io<Self>) {
        match event {
            Event::Settled => self.settled(io),
            Event::PhaseOver if self.phase == Phase::Warming => self.measure(io),
            Event::PhaseOver if self.phase == Phase::Measuring => self.drain(io),
            Event::Tick => self.tick(io),
            Event::Second => self.second(io),
            Event::PhaseOver | Event::Send => {}
        }
    }

    /// The time of the next turn's requests is the wall clock's.
    fn turn_end(&mut self, io: &mut Io<Self>) {
        self.set_stamp(io);
    }
}
