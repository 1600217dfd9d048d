//! Connections that take up room and give nothing back: replies that nobody reads, and long silence.
//!
//! Both are watched lazily, by delayed calls that look again when time may be up and not by one for each
//! read or write, so a busy connection costs nothing here. Whoever is past a bound is closed with a
//! [`Reason::Bound`]. Urgent connections (links) are excepted: somebody else looks after their lives, and one
//! that catches up, or whose machine stands still for a moment, is not to be cut. Called by the steps of a turn.

use std::time::{Duration, Instant};

use crate::reactor::bounds::limits::LOSE_TIMEOUT;
use crate::reactor::connection::{Connection, Phase};
use crate::reactor::io::sockets::{Due, find};
use crate::reactor::timers::DelayedCall;
use crate::reactor::{Application, Io, Reason, Token};

/// What is kept of a connection where silence has a bound.
pub(in crate::reactor) struct Idle {
    /// The next look at it.
    call: DelayedCall,
    /// When the peer last had something from us, or we from it.
    since: Instant,
}

impl Connection {
    /// From now on it is the peer's turn to say something.
    pub fn silence_begins(&mut self, now: Instant) {
        if let Some(idle) = &mut self.idle {
            idle.since = now;
        }
    }

    /// Whether it is silent because it waits for us: for a reply, for its output to leave, or to be
    /// read at all.
    fn waits_for_us(&self) -> bool {
        self.owed > 0 || self.backlog() > 0 || self.phase > Phase::Open || !self.wants_reading()
    }
}

impl<A: Application> Io<A> {
    /// After a write: some output may be left that the kernel does not take. Links may leave as much
    /// unread as they like and for as long, while they are open; whoever is to go has only so long.
    pub(in crate::reactor) fn watch_output(&mut self, token: Token) {
        let Some(connection) = find(&mut self.sockets, token) else { return };
        let (unread, bounded) = (connection.unread(), !connection.urgent);
        if bounded && self.limits.unread_bytes.is_some_and(|max| unread > max) {
            let words = format!("closed: {unread} bytes of its replies lay unread");
            return self.end(token, Reason::Bound(words));
        }
        let limit = match connection.phase {
            Phase::Losing => Some(LOSE_TIMEOUT),
            Phase::Open if bounded && unread > 0 => self.limits.unread_timeout,
            _ => None,
        };
        if let Some(limit) = limit.filter(|_| connection.timer.is_none()) {
            let sent = connection.sent_bytes();
            let call = self.timers.add(self.after(limit), Due::LookAtOutput { token, sent });
            if let Some(connection) = find(&mut self.sockets, token) {
                connection.timer = Some(call);
            }
        }
    }

    /// The kernel had taken so many bytes when [`watch_output`](Self::watch_output) arranged for this.
    /// If it has taken more since then, whoever reads them is slow and not gone.
    pub(in crate::reactor) fn look_at_output(&mut self, token: Token, sent: u64) {
        let Some(connection) = find(&mut self.sockets, token) else { return };
        connection.timer = None;
        let stands_still = connection.sent_bytes() == sent;
        let unread = connection.unread() > 0;
        match (connection.phase, self.limits.unread_timeout) {
            (Phase::Losing, _) if stands_still && unread => {
                self.end(token, Reason::TimedOut("the peer did not take its replies in time"));
            }
            (Phase::Losing, _) if stands_still && connection.owed > 0 => {
                self.end(
                    token,
                    Reason::TimedOut("a reply that was owed to it did not come in time"),
                );
            }
            (Phase::Open, Some(limit)) if stands_still && unread && !connection.urgent => {
                let words = format!("closed: its replies lay unread for {} s", seconds(limit));
                self.end(token, Reason::Bound(words));
            }
            // What is left is watched anew, and if nothing is, the buffer may go.
            _ => self.queue_flush(token),
        }
    }

    /// A connection was accepted: from now on its silence is measured, where that has a bound.
    pub(in crate::reactor) fn watch_silence(&mut self, token: Token) {
        let Some(limit) = self.limits.idle_timeout else { return };
        let call = self.timers.add(self.after(limit), Due::LookAtSilence(token));
        if let Some(connection) = find(&mut self.sockets, token) {
            connection.idle = Some(Box::new(Idle { call, since: self.now }));
        }
    }

    /// A connection may have been silent for too long. If it has not, this looks again when it will have
    /// been. Urgent connections are not looked at again: whoever declared one so (see `set_urgent`) finds
    /// out by other means whether its peer still lives, and knows how long it may say nothing.
    pub(in crate::reactor) fn look_at_silence(&mut self, token: Token) {
        let (Some(limit), now) = (self.limits.idle_timeout, self.now) else { return };
        let Some(connection) = find(&mut self.sockets, token) else { return };
        if connection.urgent {
            connection.idle = None;
            return;
        }
        if connection.waits_for_us() {
            connection.silence_begins(now);
        }
        let Some(idle) = &mut connection.idle else { return };
        let left = limit.saturating_sub(now.saturating_duration_since(idle.since));
        if left.is_zero() {
            let words = format!("closed: nothing was heard from it for {} s", seconds(limit));
            self.end(token, Reason::Bound(words));
        } else {
            idle.call = self.timers.add(now + left, Due::LookAtSilence(token));
        }
    }

    /// The connection is gone, and with it what was watched.
    pub(in crate::reactor) fn stop_watching(&mut self, token: Token) {
        self.clear_limit(token);
        if let Some(idle) = find(&mut self.sockets, token).and_then(|c| c.idle.take()) {
            self.timers.cancel(idle.call);
        }
    }
}

/// As people write it: 60, or 0.2.
fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}
