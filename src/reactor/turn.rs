//! The reactor, and one turn of its loop: the heart of the project, in the order in which it beats.
//!
//! `run` is `sleep` and `advance`, again and again. Handlers are called from here only (through
//! `calling.rs`): one handler is borrowed out of `handlers`, and is handed the application and `Io`, three
//! disjoint fields. A handler can therefore reach every socket but no other handler; re-entrancy is not
//! avoided by convention, it does not type-check.
//!
//! Every queue is drained by the length that it had when its step began, so no handler can hold the
//! turn for ever by giving itself more to do; and no longer than a step may take (`bounds/pace.rs`).

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant, SystemTime};

use mio::Events;

use super::{Application, Ctx, Factory, Io, Limits, Protocol, Token};
use crate::reactor::bounds::limits::{EVENTS_PER_TURN, STEP_TIME};
use crate::reactor::bounds::pace::Pace;
use crate::reactor::bounds::turn_time::{Beginning, Told};
use crate::reactor::io::sockets::{Due, SIGNALS, WAKER, find};

/// The time of one turn, read once.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For delays: never jumps.
    pub monotonic: Instant,
    /// For people: may jump.
    pub wall: SystemTime,
}

impl Now {
    /// Reads both clocks.
    pub fn read() -> Self {
        Self { monotonic: Instant::now(), wall: SystemTime::now() }
    }
}

/// An event loop with its handlers and its application. See the [module's documentation](super).
pub struct Reactor<A: Application> {
    pub(super) app: A,
    pub(super) io: Io<A>,
    /// The protocols, each at its socket's slot.
    pub(super) handlers: Vec<Option<Box<dyn Protocol<A>>>>,
    /// Who makes them, by their listeners, of which there are few.
    pub(super) factories: Vec<(Token, Box<dyn Factory<A>>)>,
    /// What the last sleep brought.
    events: Events,
    /// The one read buffer. Data is handed to a protocol where it was read; who needs it longer copies.
    pub(super) scratch: Vec<u8>,
    /// What TLS made of it.
    pub(super) plain: Vec<u8>,
    /// When the log was last told of a long turn.
    slow_turn_told: Told,
    /// How long each step may go on.
    pub(super) pace: Pace,
}

impl<A: Application> Reactor<A> {
    /// A reactor that has nothing to do yet. The error is the system's (out of descriptors).
    pub fn new(app: A) -> io::Result<Self> {
        Self::with_limits(app, Limits::default())
    }

    /// The same with other bounds for its connections.
    pub fn with_limits(app: A, limits: Limits) -> io::Result<Self> {
        let scratch = vec![0; limits.input_bytes.max(1)];
        Ok(Self {
            app,
            io: Io::new(limits)?,
            handlers: Vec::new(),
            factories: Vec::new(),
            events: Events::with_capacity(EVENTS_PER_TURN),
            scratch,
            plain: Vec::new(),
            slow_turn_told: Told::default(),
            pace: Pace::new(Instant::now()),
        })
    }

    /// For setting up: listeners, first connections, first delayed calls.
    pub fn io(&mut self) -> &mut Io<A> {
        &mut self.io
    }

    /// The application.
    pub fn app(&mut self) -> &mut A {
        &mut self.app
    }

    /// Both at once, as a callback has them.
    pub fn context(&mut self) -> Ctx<'_, A> {
        Ctx { app: &mut self.app, io: &mut self.io }
    }

    /// Turns of the loop until it is stopped ([`Io::stop`]) and everything has ended. The error is the
    /// system's refusal to poll, after which no loop can go on.
    pub fn run(&mut self) -> io::Result<()> {
        self.pace.step_max = Some(STEP_TIME);
        while !self.has_stopped() {
            self.sleep(None)?;
            let now = Now::read();
            let beginning = Beginning::of_turn(now.monotonic, !self.is_quiet());
            self.advance(now);
            beginning.ends(&mut self.io.stats, &mut self.slow_turn_told);
        }
        Ok(())
    }

    /// Whether the coming turn has been brought by a single event: a client who waits for each reply has no other
    /// turns, and no system call is to be spent on measuring them.
    pub(super) fn is_quiet(&self) -> bool {
        self.events.iter().take(2).count() == 1 && !self.io.is_busy()
    }

    /// Whether an orderly stop has been completed.
    pub fn has_stopped(&self) -> bool {
        self.io.is_stopping() && self.io.sockets.is_empty() && self.io.ended.is_empty()
    }

    /// Step 1, **sleep**: until the kernel has something, the next delayed call is due, or `limit` is
    /// over. Not at all when a queue is not empty. The error is the system's.
    pub fn sleep(&mut self, limit: Option<Duration>) -> io::Result<()> {
        let timeout = if self.io.is_busy() {
            Some(Duration::ZERO)
        } else {
            // Rounded up to the kernel's grain by mio, or the last millisecond would be spent spinning.
            let due = self.io.timers.next_due();
            let until_due = due.map(|due| due.saturating_duration_since(Instant::now()));
            until_due.into_iter().chain(limit).min()
        };
        match self.io.poll.poll(&mut self.events, timeout) {
            Err(e) if e.kind() == ErrorKind::Interrupted => {
                self.events.clear();
                Ok(())
            }
            result => result,
        }
    }

    /// Steps 2 to 7 of a turn, at the time `now`. Handed the time, so that a test can drive the loop
    /// through an hour in a moment.
    pub fn advance(&mut self, now: Now) {
        // What was set up between two turns, before the first above all.
        self.settle_births();
        self.pace.begin_turn(now.monotonic);
        self.note(now);
        self.app.turn_begin(&mut self.io);
        self.due();
        self.serve();
        self.io.told_after_turn_end = false;
        self.app.turn_end(&mut self.io);
        self.settle_births();
        self.flush();
        self.sweep();
        self.carry_on_stopping();
        self.io.stats.turns += 1;
    }

    /// Step 2, **note**: kernel events become flags and queue entries. No handler runs while events are
    /// being reaped, and an event for a socket that is gone falls out here, by its generation.
    pub(super) fn note(&mut self, now: Now) {
        (self.io.now, self.io.wall) = (now.monotonic, now.wall);
        for event in &self.events {
            match event.token() {
                WAKER => self.io.woken = true,
                SIGNALS => self.io.signalled = true,
                token => note_event(&mut self.io, Token::from_mio(token), event),
            }
        }
        self.events.clear();
    }

    /// Step 3, **due**: delayed calls whose time has come, in order, but only those that existed when
    /// the step began.
    fn due(&mut self) {
        let mark = self.io.timers.mark();
        self.pace.begin_step(0);
        while !self.pace.is_over() {
            let Some(due) = self.io.timers.take_due(self.io.now, mark) else { return };
            match due {
                Due::Event(target, event) => self.deliver(target, event),
                Due::PhaseOver(token) => self.io.phase_over(token),
                Due::LookAtOutput { token, sent } => self.io.look_at_output(token, sent),
                Due::LookAtSilence(token) => self.io.look_at_silence(token),
                Due::ProofOver(token) => self.io.proof_over(token),
                Due::AcceptAgain(token) => self.io.resume_accepting(token),
                Due::LogWarnings => self.io.log_due_warnings(),
                Due::StopNow => self.abort_all(),
            }
            self.pace.spend(0);
        }
    }
}

/// What one kernel event means for one socket.
fn note_event<A: Application>(io: &mut Io<A>, token: Token, event: &mio::event::Event) {
    let Some(connection) = find(&mut io.sockets, token) else {
        // A listener, an attempt to connect, or a socket that is gone.
        io.note_attempt(token, event);
        return io.queue_accept(token);
    };
    connection.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
    connection.announced |= event.is_read_closed() || event.is_error() || event.is_priority();
    if event.is_writable() {
        connection.writable = true;
        if connection.backlog() > 0 {
            io.queue_flush(token);
        }
    }
    if find(&mut io.sockets, token).is_some_and(|c| c.readable) {
        io.mark_ready(token);
    }
}
