//! The reactor, and one turn of its loop: the heart of the project, in the order in which it beats.
//!
//! `run` is `sleep` and `advance`, again and again. Handlers are called from here only (through
//! `calling.rs`): one handler is borrowed out of `handlers`, and is handed the application and `Io`, three
//! disjoint fields. A handler can therefore reach every socket but no other handler; re-entrancy is not
//! avoided by convention, it does not type-check.
//!
//! Every queue is drained by the length that it had when its step began, so no handler can hold the
//! turn for ever by giving itself more to do.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant, SystemTime};

use mio::Events;

use super::accept::Accepted;
use super::calling::call_open;
use super::connection::{Data, Phase};
use super::helper::Returned;
use super::limits::{
    ACCEPT_BUDGET, EVENTS_PER_TURN, HANDSHAKE_TIMEOUT, LINGER, LOSE_TIMEOUT, READ_BUDGET_BYTES,
    TURN_READ_BUDGET_BYTES,
};
use super::signals::Signals;
use super::slots::{Due, Handler, SIGNALS, WAKER, find};
use super::transport::Stream;
use super::{Application, Ctx, Io, Reason, Token};

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
    /// The protocols and factories, each at its socket's slot.
    pub(super) handlers: Vec<Option<Handler<A>>>,
    /// What the last sleep brought.
    events: Events,
    /// The one read buffer. Data is handed to a protocol where it was read; who needs it longer copies.
    scratch: Vec<u8>,
    /// What TLS made of it.
    plain: Vec<u8>,
    /// How much may still be read in this turn, bytes.
    read_left: usize,
}

impl<A: Application> Reactor<A> {
    /// A reactor that has nothing to do yet. The error is the system's (out of descriptors).
    pub fn new(app: A) -> io::Result<Self> {
        Ok(Self {
            app,
            io: Io::new()?,
            handlers: Vec::new(),
            events: Events::with_capacity(EVENTS_PER_TURN),
            scratch: vec![0; READ_BUDGET_BYTES],
            plain: Vec::new(),
            read_left: 0,
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
        while !self.has_stopped() {
            self.sleep(None)?;
            let now = Now::read();
            self.advance(now);
            let took = now.monotonic.elapsed();
            self.io.stats.longest_turn = self.io.stats.longest_turn.max(took);
        }
        Ok(())
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
    fn note(&mut self, now: Now) {
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
        while let Some(due) = self.io.timers.take_due(self.io.now, mark) {
            match due {
                Due::Event(target, event) => self.deliver(target, event),
                Due::PhaseOver(token) => self.io.phase_over(token),
                Due::AcceptAgain(token) => self.io.resume_accepting(token),
                Due::StopNow => self.abort_all(),
            }
        }
    }

    /// Step 4, **serve**: what came from signals, the helper thread and other handlers; then accepts and
    /// reads, links first, each with a budget, and all together too. What one leaves over goes to the
    /// back of the queue; those whose turn did not come stay at its front.
    fn serve(&mut self) {
        if std::mem::take(&mut self.io.signalled) {
            self.serve_signals();
        }
        if std::mem::take(&mut self.io.woken) {
            self.serve_helper();
        }
        for _ in 0..self.io.posted.len() {
            if let Some((target, event)) = self.io.posted.pop_front() {
                self.deliver(target, event);
            }
        }
        for _ in 0..self.io.drained.len() {
            if let Some(token) = self.io.drained.pop_front() {
                self.call(token, |protocol, cx| protocol.resume_producing(token, cx));
            }
        }
        self.read_left = TURN_READ_BUDGET_BYTES;
        for _ in 0..self.io.urgent_ready.len() {
            if let Some(token) = self.io.urgent_ready.pop_front() {
                self.serve_ready(token);
            }
        }
        for _ in 0..self.io.ready.len() {
            if self.read_left == 0 {
                return;
            }
            if let Some(token) = self.io.ready.pop_front() {
                self.serve_ready(token);
            }
        }
    }

    fn serve_signals(&mut self) {
        for signal in self.io.signals.as_mut().map(Signals::take).unwrap_or_default() {
            self.app.signal_received(signal, &mut self.io);
            self.settle_births();
        }
    }

    fn serve_helper(&mut self) {
        // Those that were under way when the step began: their wake-up is used up. A job that is begun
        // from here brings its own.
        for _ in 0..self.io.helper.under_way() {
            match self.io.helper.take_result() {
                None => return,
                Some(Returned::Event(target, event)) => self.deliver(target, event),
                Some(Returned::Addresses(token, answer)) => {
                    self.io.addresses_received(token, answer);
                }
            }
        }
    }

    fn serve_ready(&mut self, token: Token) {
        match find(&mut self.io.sockets, token) {
            None => self.serve_listener(token),
            Some(connection) => {
                connection.in_ready = false;
                match connection.phase {
                    Phase::Connecting => self.serve_connecting(token),
                    _ => self.serve_connection(token),
                }
            }
        }
    }

    fn serve_listener(&mut self, listener: Token) {
        for _ in 0..ACCEPT_BUDGET {
            let arrival = match self.io.accept(listener) {
                Accepted::Arrival(arrival) => arrival,
                Accepted::Gone => continue,
                Accepted::Nobody => return,
            };
            let peer = arrival.peer;
            let token = match self.io.admit(arrival) {
                Ok(token) => token,
                Err(e) => {
                    log::warn!("the connection from {peer} cannot be watched and is closed: {e}");
                    continue;
                }
            };
            let Some(Some(Handler::Factory(factory))) = self.handlers.get_mut(listener.slot())
            else {
                return self.io.turn_away(token);
            };
            let mut cx = Ctx { app: &mut self.app, io: &mut self.io };
            match factory.build_protocol(peer, &mut cx) {
                Some(protocol) => {
                    self.move_in(token, Handler::Protocol(protocol));
                    // Over TLS it is made when the handshake is done.
                    self.call_open(token, |protocol, cx| protocol.connection_made(token, cx));
                }
                None => self.io.turn_away(token),
            }
            self.settle_births();
        }
        self.io.ready.push_back(listener);
    }

    fn serve_connecting(&mut self, token: Token) {
        if self.io.check_connecting(token) {
            self.call_open(token, |protocol, cx| protocol.connection_made(token, cx));
        }
    }

    fn serve_connection(&mut self, token: Token) {
        let Some(connection) = find(&mut self.io.sockets, token) else { return };
        if !connection.wants_reading() {
            // Nobody wants to hear, but a reset is not something to be heard.
            if connection.announced
                && let Some(why) = connection.failure()
            {
                self.io.end(token, why);
            }
            return;
        }
        let heard = match connection.hear(&mut self.scratch, &mut self.plain) {
            Ok(heard) => heard,
            Err(why) => return self.io.end(token, why),
        };
        // One that began with this very byte.
        let unlimited = connection.phase == Phase::Handshaking && connection.timer.is_none();
        let owes_records = connection.tls.as_ref().is_some_and(|tls| !tls.records.is_empty());
        if connection.phase == Phase::Lingering && connection.read_closed {
            self.io.end(token, Reason::Done);
        } else if heard.made || owes_records {
            self.io.queue_flush(token);
        }
        if unlimited {
            self.io.limit_phase(token, HANDSHAKE_TIMEOUT);
        }
        if heard.made {
            self.io.clear_limit(token);
            self.call_open(token, |protocol, cx| protocol.connection_made(token, cx));
        }
        match heard.data {
            Data::None => {}
            Data::Scratch(length) => {
                self.read_left = self.read_left.saturating_sub(length);
                let data = self.scratch.get(..length).unwrap_or_default();
                let (handlers, app, io) = (&mut self.handlers, &mut self.app, &mut self.io);
                call_open(handlers, app, io, token, |p, cx| p.data_received(token, data, cx));
            }
            Data::Plain => {
                let data = self.plain.as_slice();
                self.read_left = self.read_left.saturating_sub(data.len());
                let (handlers, app, io) = (&mut self.handlers, &mut self.app, &mut self.io);
                call_open(handlers, app, io, token, |p, cx| p.data_received(token, data, cx));
            }
        }
        self.settle_births();
        if heard.closed {
            self.call_open(token, |protocol, cx| protocol.read_closed(token, cx));
        }
        self.io.queue_read(token);
    }

    /// Step 6, **flush**: one write attempt for each connection that has something to say, links before
    /// clients, so that a neighbour knows before the client is answered.
    fn flush(&mut self) {
        for _ in 0..self.io.urgent_writes.len() {
            if let Some(token) = self.io.urgent_writes.pop_front() {
                self.flush_connection(token);
            }
        }
        for _ in 0..self.io.writes.len() {
            if let Some(token) = self.io.writes.pop_front() {
                self.flush_connection(token);
            }
        }
    }

    fn flush_connection(&mut self, token: Token) {
        let io = &mut self.io;
        let Some(connection) = find(&mut io.sockets, token) else { return };
        connection.in_writes = false;
        match connection.phase {
            Phase::LookingUp | Phase::Connecting | Phase::Undecided | Phase::Ended => return,
            Phase::Handshaking | Phase::Open | Phase::Losing | Phase::Lingering => {}
        }
        if let Err(why) = connection.flush(&mut io.spare) {
            return io.end(token, why);
        }
        let (drained, producer) = (connection.has_drained(), connection.producer);
        let (finished, losing) = (connection.is_finished(), connection.phase == Phase::Losing);
        let unlimited = connection.timer.is_none();
        if drained && producer {
            io.drained.push_back(token);
        }
        if drained {
            io.queue_read(token);
        }
        if finished {
            self.finish(token);
        } else if losing && unlimited {
            io.limit_phase(token, LOSE_TIMEOUT);
        }
    }

    /// Everything is said: our FIN, and then theirs is waited for, unless it has come.
    fn finish(&mut self, token: Token) {
        let io = &mut self.io;
        let Some(connection) = find(&mut io.sockets, token) else { return };
        let shut = connection.stream.as_ref().map(Stream::close_write_side);
        if connection.read_closed || !matches!(shut, Some(Ok(()))) {
            return io.end(token, Reason::Done);
        }
        connection.phase = Phase::Lingering;
        io.limit_phase(token, LINGER);
    }

    /// Step 7, **sweep**: close, tell `connection_lost`, free the slot. The only place where a
    /// connection with a protocol loses its slot, so that no event of this turn can meet a stranger in it.
    /// (Listeners that a stop closes and sockets that got no protocol go at once: the generation tells.)
    fn sweep(&mut self) {
        for _ in 0..self.io.ended.len() {
            let Some((token, why)) = self.io.ended.pop_front() else { return };
            let Some(connection) = find(&mut self.io.sockets, token) else { continue };
            // Closing takes the descriptor out of the kernel's list too.
            connection.stream = None;
            let accepted = usize::from(connection.accepted);
            self.io.stats.accepted = self.io.stats.accepted.saturating_sub(accepted);
            // Births of this very turn may be for this slot.
            self.settle_births();
            if let Some(Handler::Protocol(mut protocol)) = self.move_out(token) {
                self.io.told_after_turn_end = true;
                let mut cx = Ctx { app: &mut self.app, io: &mut self.io };
                protocol.connection_lost(token, &why, &mut cx);
            }
            self.settle_births();
            // A protocol that was switched in by the very last callback goes without a word.
            self.move_out(token);
            self.io.sockets.try_remove(token.slot());
        }
    }
}

/// What one kernel event means for one socket.
fn note_event<A: Application>(io: &mut Io<A>, token: Token, event: &mio::event::Event) {
    let Some(connection) = find(&mut io.sockets, token) else {
        // A listener, or a socket that is gone; the queue's reader finds out which.
        return io.ready.push_back(token);
    };
    connection.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
    connection.announced |= event.is_read_closed() || event.is_error() || event.is_priority();
    // The outcome of connecting is to be asked for, and not to be read.
    let outcome = event.is_writable() && connection.phase == Phase::Connecting;
    if event.is_writable() && !outcome {
        connection.writable = true;
        if connection.backlog() > 0 {
            io.queue_flush(token);
        }
    }
    if find(&mut io.sockets, token).is_some_and(|c| c.readable || outcome) {
        io.mark_ready(token);
    }
}
