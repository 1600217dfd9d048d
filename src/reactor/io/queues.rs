//! Names, queues and time limits, as the turn and the other files of the reactor need them.
//!
//! The inner side of [`Io`]: where a socket gets its name, how a connection comes into a queue once and
//! not twice, and the one way to the sweep. No handler sees any of this.

use std::io;
use std::time::{Duration, Instant};

use crate::reactor::bounds::limits::{DELAY_MAX, LINGER};
use crate::reactor::connection::{Connection, Phase};
use crate::reactor::io::sockets::{
    Birth, Due, GENERATIONS_END, Handler, Kind, Socket, Stopping, find,
};
use crate::reactor::net::accept::Listener;
use crate::reactor::{Application, Factory, Io, Reason, Token};

impl<A: Application> Io<A> {
    pub(in crate::reactor) fn connection(&self, token: Token) -> Option<&Connection> {
        match self.sockets.get(token.slot()) {
            Some(Socket { generation, kind: Kind::Connection(connection) })
                if *generation == token.generation() =>
            {
                Some(connection)
            }
            _ => None,
        }
    }

    /// The name that the next socket will get.
    pub(in crate::reactor) fn next_token(&self) -> Token {
        Token::new(self.sockets.vacant_key(), self.next_generation)
    }

    pub(in crate::reactor) fn keep(&mut self, kind: Kind) -> Token {
        let generation = self.next_generation;
        self.next_generation = (generation + 1) % GENERATIONS_END;
        Token::new(self.sockets.insert(Socket { generation, kind }), generation)
    }

    pub(in crate::reactor) fn keep_listener(
        &mut self,
        listener: Listener,
        factory: Box<dyn Factory<A>>,
    ) -> Token {
        let token = self.keep(Kind::Listener(listener));
        self.births.push_back((token, Handler::Factory(factory), Birth::Silent));
        token
    }

    /// A listener that came after the others were closed would keep the loop from ever ending.
    pub(in crate::reactor) fn refuse_when_stopping(&self) -> io::Result<()> {
        if self.is_stopping() { Err(io::Error::other("this server is stopping")) } else { Ok(()) }
    }

    /// Queues a connection for reading, if it has something and somebody wants it.
    pub(in crate::reactor) fn queue_read(&mut self, token: Token) {
        let connection = self.connection(token);
        let wanted = |c: &Connection| c.readable && c.wants_reading();
        if connection.is_some_and(wanted) {
            self.mark_ready(token);
        }
    }

    /// Queues a connection for reading, unless it stands there already.
    pub(in crate::reactor) fn mark_ready(&mut self, token: Token) {
        let connection = find(&mut self.sockets, token).filter(|c| !c.in_ready);
        if let Some(connection) = connection {
            connection.in_ready = true;
            let urgent = connection.urgent;
            if urgent { &mut self.urgent_ready } else { &mut self.ready }.push_back(token);
        }
    }

    pub(in crate::reactor) fn queue_flush(&mut self, token: Token) {
        let connection = find(&mut self.sockets, token).filter(|c| !c.in_writes);
        if let Some(connection) = connection {
            connection.in_writes = true;
            let urgent = connection.urgent;
            if urgent { &mut self.urgent_writes } else { &mut self.writes }.push_back(token);
        }
    }

    /// When `delay` will be over.
    pub(in crate::reactor) fn after(&self, delay: Duration) -> Instant {
        self.now.checked_add(delay.min(DELAY_MAX)).unwrap_or(self.now)
    }

    /// Gives the present phase a time limit, in place of the one before.
    pub(in crate::reactor) fn limit_phase(&mut self, token: Token, limit: Duration) {
        self.limit_phase_until(token, self.after(limit));
    }

    /// The same, by the moment at which it ends.
    pub(in crate::reactor) fn limit_phase_until(&mut self, token: Token, moment: Instant) {
        self.clear_limit(token);
        let call = self.timers.add(moment, Due::PhaseOver(token));
        if let Some(connection) = find(&mut self.sockets, token) {
            connection.timer = Some(call);
        }
    }

    pub(in crate::reactor) fn clear_limit(&mut self, token: Token) {
        if let Some(call) = find(&mut self.sockets, token).and_then(|c| c.timer.take()) {
            self.timers.cancel(call);
        }
    }

    /// What was read on a connection ends it: at once, or when its peer has had time for an alert.
    pub(in crate::reactor) fn fail(&mut self, token: Token, why: Reason) {
        self.note_that_it_broke(token);
        let Some(connection) = find(&mut self.sockets, token) else { return };
        if let Err(why) = connection.linger_after(why) {
            return self.end(token, why);
        }
        self.stop_watching(token);
        self.limit_phase(token, LINGER);
        self.queue_read(token);
    }

    /// The only way to the sweep: whatever ends a connection comes through here, once.
    pub(in crate::reactor) fn end(&mut self, token: Token, why: Reason) {
        let Some(connection) = find(&mut self.sockets, token) else { return };
        if connection.phase != Phase::Ended {
            self.note_that_it_broke(token);
            self.stop_dialling(token);
            self.stop_watching(token);
            let Some(connection) = find(&mut self.sockets, token) else { return };
            connection.phase = Phase::Ended;
            let why = connection.reason(why);
            self.ended.push_back((token, why));
        }
    }

    /// Ends a TLS connection whose peer sent a bare FIN.
    pub(in crate::reactor) fn end_truncated(&mut self, token: Token) {
        self.end(token, Reason::Tls("the peer hung up without TLS's close_notify".to_owned()));
    }

    /// Whether the loop has something to do without waiting for the kernel.
    pub(in crate::reactor) fn is_busy(&self) -> bool {
        !(self.births.is_empty()
            && self.posted.is_empty()
            && self.drained.is_empty()
            && self.urgent_ready.is_empty()
            && self.ready.is_empty()
            && self.urgent_writes.is_empty()
            && self.writes.is_empty()
            && self.ended.is_empty()
            && !self.told_after_turn_end
            && self.stopping != Stopping::Asked)
    }
}
