//! Step 4 of a turn, **serve**: what has come is handed to the handlers, each source within its budget.
//!
//! Accepting, reading and the events that handlers send each other; the only step beside the delayed calls
//! in which handlers hear of the world. What they write is sent, and what they end is freed, by the steps
//! after it (`flush.rs`); only a socket that gets no protocol goes at once, as does the alert that tells a
//! peer what was wrong with its TLS. Called by the turn.

use super::calling::call_open;
use super::connection::{Data, End, Heard, Phase};
use super::turn::Reactor;
use super::{About, Application, Ctx, Reason, Token};
use crate::reactor::bounds::limits::ACCEPT_BUDGET;
use crate::reactor::bounds::pace::LOOK_AFTER_BYTES;
use crate::reactor::io::sockets::{Handler, find};
use crate::reactor::net::accept::{Accepted, find_listener};
use crate::reactor::net::connect::find_attempt;
use crate::reactor::threads::signals::Signals;
use crate::reactor::threads::workers::Returned;

impl<A: Application> Reactor<A> {
    /// Step 4, **serve**: signals and the results of threads; then reads from links, events that
    /// handlers sent each other, and last accepts and reads from everybody else. Links come before
    /// events because an event may answer a client's line that an earlier turn has read, and a client
    /// may ask for what the link brings. What one source leaves over goes to the back of its queue;
    /// those whose turn did not come stay at its front. Links, events and everybody else have a budget
    /// of bytes and a time of their own, so that none of the three can take that of the others. So
    /// there is a bound on what one turn brings, and the turn's end need not have one.
    pub(super) fn serve(&mut self) {
        if std::mem::take(&mut self.io.signalled) {
            self.serve_signals();
        }
        if std::mem::take(&mut self.io.woken) {
            self.serve_threads();
        }
        self.begin_reading(self.io.urgent_ready.len());
        for _ in 0..self.io.urgent_ready.len() {
            if self.is_done_reading() {
                break;
            }
            if let Some(token) = self.io.urgent_ready.pop_front() {
                self.serve_ready(token);
            }
        }
        self.serve_events();
        self.begin_reading(self.io.ready.len());
        for _ in 0..self.io.ready.len() {
            if self.is_done_reading() {
                break;
            }
            if let Some(token) = self.io.ready.pop_front() {
                self.serve_ready(token);
            }
        }
    }

    /// What handlers sent each other, and whose output has drained. Each may make a handler go on with
    /// as much as a whole read had brought.
    fn serve_events(&mut self) {
        self.begin_reading(self.io.posted.len());
        for _ in 0..self.io.posted.len() {
            if self.is_done_reading() {
                break;
            }
            if let Some((target, event)) = self.io.posted.pop_front() {
                self.deliver(target, event);
            }
            self.pace.spend(LOOK_AFTER_BYTES);
        }
        self.pace.begin_step(self.io.drained.len());
        for _ in 0..self.io.drained.len() {
            if self.pace.is_over() {
                break;
            }
            if let Some(token) = self.io.drained.pop_front() {
                self.call(token, |protocol, cx| protocol.resume_producing(token, cx));
            }
            self.pace.spend(LOOK_AFTER_BYTES);
        }
    }

    fn begin_reading(&mut self, waiting: usize) {
        self.io.input_left = self.io.limits.turn_input_bytes();
        self.pace.begin_step(waiting);
    }

    fn is_done_reading(&self) -> bool {
        self.io.input_left == 0 || self.pace.is_over()
    }

    fn serve_signals(&mut self) {
        for signal in self.io.signals.as_mut().map(Signals::take).unwrap_or_default() {
            self.app.signal_received(signal, &mut self.io);
            self.settle_births();
        }
    }

    fn serve_threads(&mut self) {
        // Those that were under way when the step began: their wake-up is used up. A job that is begun
        // from here brings its own.
        for _ in 0..self.io.threads.under_way() {
            match self.io.threads.take_result() {
                None => return,
                Some(Returned::Job(_, target, event)) => self.deliver(target, event()),
                Some(Returned::LookUp(thread, answer)) => {
                    self.io.look_up_answered(thread, &answer);
                }
            }
        }
    }

    fn serve_ready(&mut self, token: Token) {
        let left = self.io.input_left;
        self.serve_source(token);
        self.pace.spend(left - self.io.input_left);
    }

    fn serve_source(&mut self, token: Token) {
        match find(&mut self.io.sockets, token) {
            None => {
                if find_attempt(&mut self.io.sockets, token).is_some() {
                    self.serve_attempt(token);
                } else {
                    self.serve_listener(token);
                }
            }
            Some(connection) => {
                connection.in_ready = false;
                self.serve_connection(token);
            }
        }
    }

    fn serve_listener(&mut self, listener: Token) {
        let Some(listening) = find_listener(&mut self.io.sockets, listener) else { return };
        listening.in_ready = false;
        for _ in 0..ACCEPT_BUDGET {
            if self.pace.is_over() {
                break;
            }
            self.pace.spend(0);
            let arrival = match self.io.accept(listener) {
                Accepted::Arrival(arrival) => arrival,
                Accepted::Gone => continue,
                Accepted::Nobody => return,
            };
            let peer = arrival.peer;
            let token = match self.io.admit(arrival) {
                Ok(token) => token,
                Err(e) => {
                    let words = format_args!(
                        "the connection from {peer} cannot be served and is closed: {e}"
                    );
                    self.io.warn("cannot be served", About::Everybody, 0, words);
                    continue;
                }
            };
            let factory = self.factories.iter_mut().find(|(of, _)| *of == listener);
            let Some((_, factory)) = factory else { return self.io.turn_away(token) };
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
        self.io.queue_accept(listener);
    }

    fn serve_attempt(&mut self, attempt: Token) {
        if let Some(token) = self.io.check_attempt(attempt) {
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
        let before = connection.phase;
        let received = connection.receive(&mut self.scratch);
        let length = received.length();
        let heard = connection.hear(received, &self.scratch, &mut self.plain);
        let begins_tls = before == Phase::Undecided && connection.tls().is_some();
        connection.silence_begins(self.io.now);
        // A step of a handshake makes a signature or proves one, which takes as long as many commands
        // do: it is paid for with a whole connection's budget.
        let shakes_hands = length > 0 && (before == Phase::Handshaking || begins_tls);
        let cost = if shakes_hands { self.io.limits.input_bytes } else { length };
        self.io.input_left = self.io.input_left.saturating_sub(cost);
        let heard = match heard {
            Ok(heard) => heard,
            Err(why) => return self.io.fail(token, why),
        };
        let owes_records = connection.tls().is_some_and(|tls| !tls.records.is_empty());
        if connection.phase == Phase::Lingering && connection.read_closed {
            self.io.end(token, Reason::Done);
        } else if heard.made || owes_records {
            self.io.queue_flush(token);
        }
        if begins_tls {
            // Not known before, so it had no limit yet: whoever says nothing might have spoken text.
            self.io.limit_phase(token, self.io.limits.handshake_timeout);
        }
        self.tell(token, &heard);
        self.io.queue_read(token);
    }

    /// One reading's news in their order: made, data, end.
    fn tell(&mut self, token: Token, heard: &Heard) {
        if heard.made {
            self.io.clear_limit(token);
            self.io.note_that_it_worked(token);
            self.call_open(token, |protocol, cx| protocol.connection_made(token, cx));
        }
        let data = match heard.data {
            Data::None => &[],
            Data::Scratch(length) => self.scratch.get(..length).unwrap_or_default(),
            Data::Plain => self.plain.as_slice(),
        };
        if !data.is_empty() {
            let (handlers, app, io) = (&mut self.handlers, &mut self.app, &mut self.io);
            call_open(handlers, app, io, token, |p, cx| p.data_received(token, data, cx));
        }
        self.settle_births();
        match heard.end {
            Some(End::InOrder) => {
                self.call_open(token, |protocol, cx| protocol.read_closed(token, cx));
            }
            Some(End::Truncated) => {
                self.call_open(token, |protocol, cx| protocol.read_truncated(token, cx));
            }
            None => {}
        }
    }
}
