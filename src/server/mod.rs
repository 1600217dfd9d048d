//! The handlers: what to do when a line, a link, a reply or a timer arrives.
//!
//! The only part that knows both sides: sockets through `reactor`, meaning through `wire` and `herd`.
//! [`Server`] is the one value that all handlers of a server share, Twisted's `self.factory`.
//!
//! Reading order: [`client`] and [`replies`] (what a client says and hears), [`link`] and [`trust`]
//! (neighbours), [`reload`] and [`doors`] (what changes while it runs), [`listening`], [`places`]
//! (WHATSAT's HTTPS GET), [`journal`] (what outlives a stop), [`control`] (the local
//! socket), [`logging`], [`clock`], [`expiry`], [`bounds`]. [`stand_in`] is another application on the
//! same reactor.

pub mod bounds;
pub mod client;
pub mod clock;
pub mod control;
pub mod doors;
pub mod expiry;
pub mod journal;
pub mod link;
pub mod listening;
pub mod logging;
pub mod places;
pub mod reload;
pub mod replies;
pub mod stand_in;
pub mod trust;

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::herd::links::NeighbourId;
use crate::herd::store::{Fullness, WhenFull};
use crate::herd::{FORGET_STEP_CLIENTS, Herd};
use crate::reactor::{Application, Io, Signal, Target};
use crate::wire::time::Nanos;
use bounds::Bounds;
use clock::Seldom;
use expiry::Expiry;
use journal::{Journal, JournalEvent};
use link::Links;
use logging::{Log, LogEvent};
use places::{Fetch, Places};
use reload::Reload;
use replies::Reply;

/// How often clients whose time is over are looked for.
pub const FORGET_INTERVAL: Duration = Duration::from_secs(1);

/// What handlers post to each other, what delayed calls deliver, what threads send back.
#[derive(Debug)]
pub enum Event {
    /// To a client: its turn has come again, for what was read and not answered yet.
    GoOn,
    /// To a client: the journal has decided on replies that waited for it.
    SendReady,
    /// To a client: its line has had 60 s.
    LineOver,
    /// To a client: the reply to its command number `place`, or the place's time is over.
    Reply {
        /// The place in the order of the connection's replies.
        place: u64,
        /// The reply, whose long part may be shared.
        reply: Reply,
    },
    /// To the application: another turn has come, for those who could not be answered in the one before.
    Deliver,
    /// To the application: questions that wait may be sent now.
    AssignQuestions,
    /// To the application: dial this neighbour.
    Dial(NeighbourId),
    /// To the application: some link has more to send than one turn allows.
    PumpAgain,
    /// To a link: see whether it lives.
    Beat,
    /// To an upstream connection that is idle: fetch this.
    Fetch(Box<Fetch>),
    /// To an upstream connection: no byte of this question's answer has come in time.
    FirstByteOver(u64),
    /// To an upstream connection: nobody has needed it for long.
    IdleOver,
    /// To the application: this question has had all its time.
    QuestionOver(u64),
    /// To the application: see how long the certificate is still valid.
    LookAtExpiry,
    /// To the application: news of the log.
    Log(LogEvent),
    /// To the application: news of the journal.
    Journal(JournalEvent),
    /// To the application: some clients may have to be forgotten.
    Forget,
    /// To the application: the topology and the keys have been read anew.
    FilesRead(Box<reload::Read>),
}

impl From<LogEvent> for Event {
    fn from(event: LogEvent) -> Self {
        Self::Log(event)
    }
}

/// One server of the herd.
pub struct Server {
    /// What it knows.
    pub herd: Herd,
    /// Its connections to neighbours.
    pub links: Links,
    /// Whom it asks what is near.
    pub places: Places,
    /// Where it keeps what it knows, if it does.
    pub journal: Option<Journal>,
    /// Where it writes what happened.
    pub log: Log,
    /// When it started, nanoseconds since 1970.
    pub started: Nanos,
    /// Clients connected now.
    pub clients: usize,
    /// What one client may take of it.
    pub bounds: Bounds,
    /// The answers to what has been read of one connection, on their way to it: they are handed over as
    /// one. Empty whenever no client's callback runs.
    pub answers: Vec<u8>,
    /// What all clients' connections [hold](replies::Replies::hold) behind questions to Places, bytes.
    pub held_bytes: usize,
    /// The end of its certificate, if it has one.
    pub expiry: Option<Expiry>,
    /// The moment from which the monotonic clock is counted.
    pub clock_origin: Instant,
    /// When a refused report was last warned of.
    pub refused_from_ahead: Seldom,
    /// When a jump of the clock was last warned of.
    pub jumped: Seldom,
    /// The turn's reading of the wall clock, nanoseconds since 1970.
    pub clock: Nanos,
    /// The server time of the next report.
    pub next_stamp: Nanos,
    /// That the store was full has been logged.
    pub fullness_is_logged: bool,
    /// How its files are read anew, and the ports that they have opened.
    pub reload: Option<Reload>,
}

impl Application for Server {
    type Event = Event;

    fn event_received(&mut self, event: Event, io: &mut Io<Self>) {
        match event {
            Event::Dial(neighbour) => self.links.dial(&self.herd, neighbour, io),
            Event::QuestionOver(id) => self.places.question_over(id, io),
            Event::Deliver => {
                self.places.deliver_again(io);
                self.assign_questions(io);
            }
            Event::AssignQuestions => {
                let has_room = self.has_room_for_answers();
                self.places.assign_again(has_room, io);
            }
            Event::Log(event) => self.log.event_received(event),
            Event::LookAtExpiry => self.look_at_expiry(io),
            Event::Journal(event) => {
                if let Some(journal) = &mut self.journal {
                    journal.event_received(event, io);
                }
            }
            Event::Forget => self.forget(io),
            Event::FilesRead(read) => self.files_read(*read, io),
            // The first has done its work by waking the loop; the others are for connections only.
            Event::PumpAgain
            | Event::GoOn
            | Event::SendReady
            | Event::LineOver
            | Event::Reply { .. }
            | Event::Beat
            | Event::Fetch(_)
            | Event::FirstByteOver(_)
            | Event::IdleOver => {}
        }
    }

    fn turn_begin(&mut self, io: &mut Io<Self>) {
        self.log.turn_begins(io.wall_clock());
        self.look_at_clock(io);
        self.links.turn_begins(&mut self.herd, io);
    }

    /// What the turn changed goes to the journal and to the neighbours, once, however many lines brought
    /// it, and before any reply leaves; then the turn's log lines go to the log's thread.
    fn turn_end(&mut self, io: &mut Io<Self>) {
        if self.herd.make_room() {
            io.post(Target::Application, Event::PumpAgain);
        }
        self.log_fullness();
        if let Some(journal) = &mut self.journal {
            journal.turn_end(&self.herd, io);
        }
        self.links.pump(&mut self.herd, io);
        self.log.hand_over(io);
    }

    fn signal_received(&mut self, signal: Signal, io: &mut Io<Self>) {
        match signal {
            Signal::User1 => self.log.reopen(signal),
            Signal::Hangup => {
                self.log.reopen(signal);
                self.reload(io);
            }
            Signal::Terminate | Signal::Interrupt => {
                log::info!("stopping: {signal:?} received");
                io.stop();
            }
        }
    }
}

impl Server {
    /// Sends questions that wait to the upstream, as far as they may be sent.
    pub fn assign_questions(&mut self, io: &mut Io<Self>) {
        let has_room = self.has_room_for_answers();
        self.places.assign(has_room, io);
    }

    /// Whether answers that clients do not take leave room for more.
    fn has_room_for_answers(&self) -> bool {
        self.held_bytes < self.bounds.held_in_all_max_bytes
    }

    /// Warns of the end of the certificate when it is near; to be called at the start, and then by itself.
    pub fn look_at_expiry(&mut self, io: &mut Io<Self>) {
        if let Some(expiry) = &mut self.expiry {
            expiry.look(self.herd.name(), io);
        }
    }

    /// The server time of the next report. Each has its own, a nanosecond after the one before it in this
    /// turn, for which the clock is read once: a store that is full lets the earliest go.
    pub fn next_stamp(&mut self, io: &Io<Self>) -> Nanos {
        let now = unix_nanos(io.wall_clock());
        if now != self.clock {
            (self.clock, self.next_stamp) = (now, now);
        }
        self.next_stamp
    }

    /// Warns when the first client has to make room for another, or is not taken in.
    fn log_fullness(&mut self) {
        let fullness = self.herd.store().fullness();
        if self.fullness_is_logged || fullness == Fullness::default() {
            return;
        }
        self.fullness_is_logged = true;
        let (clients, weight) = (self.herd.clients(), self.herd.store().weight());
        let happens = match self.herd.store().capacity().when_full {
            WhenFull::Evict => "clients that were not heard for the longest are forgotten",
            WhenFull::Refuse => "reports of new clients are refused",
        };
        log::warn!(
            "the store is full with {clients} clients ({weight} bytes), and {happens} from now on; see \
             --max-clients, --max-memory and --when-full (status counts them)"
        );
    }

    /// Warns of servers that records name and the topology lacks; to be called when some were taken in.
    pub fn warn_of_strangers(&mut self) {
        while let Some(stranger) = self.herd.next_stranger() {
            log::warn!("{stranger}");
        }
    }

    /// Forgets clients whose time is over, and arranges to be called again. To be called once at the
    /// start, before a journal is replayed, where clients are to be forgotten at all.
    pub fn forget(&mut self, io: &mut Io<Self>) {
        self.herd.forget(unix_nanos(io.wall_clock()), FORGET_STEP_CLIENTS);
        io.call_later(FORGET_INTERVAL, Target::Application, Event::Forget);
    }
}

/// A moment of the wall clock as the protocol counts it: nanoseconds since 1970.
pub fn unix_nanos(moment: SystemTime) -> Nanos {
    let nanos = |d: Duration| i128::try_from(d.as_nanos()).unwrap_or(i128::MAX);
    match moment.duration_since(UNIX_EPOCH) {
        Ok(since) => nanos(since),
        Err(before) => -nanos(before.duration()),
    }
}

/// A random number, from the seed that the standard library gives each of its hash maps.
pub fn random() -> u64 {
    RandomState::new().hash_one(0u8)
}

/// A server without neighbours, keys, log or upstream, for tests.
#[cfg(test)]
pub(crate) fn alone() -> Server {
    use crate::herd::Settings;
    use crate::herd::topology::Topology;
    use crate::reactor::TlsClient;
    use crate::wire::http::request::Url;
    use places::upstream::Upstream;
    use trust::Trust;

    let (topology, _) = Topology::parse("test", "Solo 127.0.0.1:1\n").unwrap();
    let me = topology.by_name(b"Solo").unwrap();
    let herd = Herd::new(topology, me, 1, Settings::default());
    let places = places::Config {
        upstream: Upstream::Google,
        url: Url::parse("https://127.0.0.1:1").unwrap(),
        tls: TlsClient::web().unwrap(),
        key: None,
        question_timeout: places::QUESTION_TIMEOUT,
        calls_per_second: 0,
        cache: Duration::ZERO,
    };
    Server {
        links: Links::new(&herd, Trust::Addresses(std::collections::BTreeMap::new())),
        herd,
        places: Places::new(places),
        journal: None,
        log: Log::nowhere(),
        started: 0,
        clients: 0,
        bounds: Bounds::default(),
        answers: Vec::new(),
        held_bytes: 0,
        expiry: None,
        clock_origin: Instant::now(),
        refused_from_ahead: Seldom::default(),
        jumped: Seldom::default(),
        clock: 0,
        next_stamp: 0,
        fullness_is_logged: false,
        reload: None,
    }
}
