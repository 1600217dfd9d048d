//! Connections that take up room and give nothing back: replies that nobody reads, and long silence.
//!
//! Both are watched lazily, by delayed calls that look again when time may be up and not by one for each
//! read or write, so a busy connection costs nothing here. Whoever is past a bound is closed with a
//! [`Reason::Bound`]. Called by the steps of a turn.

use std::time::{Duration, Instant};

use super::connection::Phase;
use super::limits::LOSE_TIMEOUT;
use super::slots::{Due, find};
use super::timers::DelayedCall;
use super::{Application, Io, Reason, Token};

/// What is kept of a connection where silence has a bound.
pub(super) struct Idle {
    call: DelayedCall,
    /// When something was last heard.
    pub heard: Instant,
}

impl<A: Application> Io<A> {
    /// After a write: some output may be left that the kernel does not take.
    pub(super) fn watch_output(&mut self, token: Token) {
        let Some(connection) = find(&mut self.sockets, token) else { return };
        let unread = connection.unread();
        if self.limits.unread_bytes.is_some_and(|max| unread > max) {
            let words = format!("closed: {unread} bytes of its replies lay unread");
            return self.end(token, Reason::Bound(words));
        }
        let limit = match connection.phase {
            Phase::Losing => Some(LOSE_TIMEOUT),
            Phase::Open if unread > 0 => self.limits.unread_timeout,
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
    pub(super) fn look_at_output(&mut self, token: Token, sent: u64) {
        let Some(connection) = find(&mut self.sockets, token) else { return };
        connection.timer = None;
        let (phase, stuck) = (connection.phase, connection.sent_bytes() == sent);
        match (phase, self.limits.unread_timeout) {
            (Phase::Losing, _) if stuck => {
                self.end(token, Reason::TimedOut("the peer did not take its replies in time"));
            }
            (Phase::Open, Some(limit)) if stuck => {
                let words = format!("closed: its replies lay unread for {} s", seconds(limit));
                self.end(token, Reason::Bound(words));
            }
            // Sent meanwhile, or a part of it: what is left is watched anew, and if nothing is, the
            // buffer may go.
            _ => self.queue_flush(token),
        }
    }

    /// A connection was accepted: from now on its silence is measured, where that has a bound.
    pub(super) fn watch_silence(&mut self, token: Token) {
        let Some(limit) = self.limits.idle_timeout else { return };
        let call = self.timers.add(self.after(limit), Due::LookAtSilence(token));
        if let Some(connection) = find(&mut self.sockets, token) {
            connection.idle = Some(Box::new(Idle { call, heard: self.now }));
        }
    }

    /// It may have been silent for too long, unless it waits for us. Urgent connections are excepted:
    /// whoever declares one so watches over its life himself, and may do so in larger steps.
    pub(super) fn look_at_silence(&mut self, token: Token) {
        let (Some(limit), now) = (self.limits.idle_timeout, self.now) else { return };
        let Some(connection) = find(&mut self.sockets, token) else { return };
        let waits_for_us = connection.owed > 0
            || connection.backlog() > 0
            || connection.phase > Phase::Open
            || !connection.wants_reading();
        let Some(idle) = &mut connection.idle else { return };
        if waits_for_us {
            idle.heard = now;
        }
        let left = limit.saturating_sub(now.saturating_duration_since(idle.heard));
        if connection.urgent {
            connection.idle = None;
        } else if left.is_zero() {
            let words = format!("closed: nothing was heard from it for {} s", seconds(limit));
            self.end(token, Reason::Bound(words));
        } else {
            idle.call = self.timers.add(now + left, Due::LookAtSilence(token));
        }
    }

    /// The connection is gone, and with it what was watched.
    pub(super) fn stop_watching(&mut self, token: Token) {
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
