//! The run's connections: made a few at a time, the idle ones first, and never to be lost before its end.
//!
//! The part of the application that opens connections and hears of their ends. When all are made, the
//! run begins (`app.rs`). Called by the protocols.

use std::net::SocketAddr;
use std::time::Duration;

use super::app::{Event, Load, Phase};
use super::caller::{Caller, Idler};
use super::plan::refused;
use super::process;
use crate::reactor::{ConnectOptions, Io, Reason, Target};

/// Connections under way at once, so that a listener's backlog is never what is measured.
const CONNECTING_MAX: usize = 64;

/// How long connecting may take: a server that is busy with the others has to come to it first.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// After the idle connections are made, before the server's memory is read: it has to accept the last
/// ones, and to give back what it needed only for that.
const SETTLE: Duration = Duration::from_millis(500);

impl Load {
    /// Makes the first connections.
    pub fn start(&mut self, io: &mut Io<Self>) {
        self.resident.0 = self.watched().and_then(process::resident_kb);
        io.call_later(Duration::from_secs(1), Target::Application, Event::Second);
        if self.plan.idle == 0 {
            self.connect_callers(io);
        } else {
            self.dial_more(io);
        }
    }

    /// A connection is made.
    pub fn connected(&mut self, io: &mut Io<Self>) {
        self.made += 1;
        match self.phase {
            Phase::Opening if self.made == self.plan.idle => {
                self.phase = Phase::Settling;
                io.call_later(SETTLE, Target::Application, Event::Settled);
            }
            Phase::Connecting if self.made == self.plan.connections => self.begin(io),
            _ => self.dial_more(io),
        }
    }

    /// The server has accepted the idle connections and has come to rest.
    pub(super) fn settled(&mut self, io: &mut Io<Self>) {
        self.resident.1 = self.watched().and_then(process::resident_kb);
        self.connect_callers(io);
    }

    /// A connection is gone or could not be made.
    pub fn lost(&mut self, which: &str, waiting: usize, why: &Reason) {
        if self.is_over() {
            return;
        }
        self.fail(match why {
            Reason::ConnectFailed { to, why } => refused(to, why),
            Reason::Done => format!(
                "{which}: the server closed it with {waiting} requests unanswered; see its log for the \
                 reason, and whether it still runs"
            ),
            why => format!(
                "{which}: it broke with {waiting} requests unanswered: {why}; see whether the server \
                 still runs"
            ),
        });
    }

    fn dial_more(&mut self, io: &mut Io<Self>) {
        let idle = self.phase == Phase::Opening;
        let wanted = if idle { self.plan.idle } else { self.plan.connections };
        while self.dialled < wanted && self.dialled - self.made < CONNECTING_MAX {
            let options = ConnectOptions { connect_timeout: CONNECT_TIMEOUT, ..Default::default() };
            let address = if idle { self.idle_address(self.dialled) } else { self.plan.address };
            let (host, port) = (address.ip().to_string(), address.port());
            if idle {
                io.connect_tcp(&host, port, options, Box::new(Idler));
            } else {
                let caller = Caller::new(self.dialled);
                self.callers.push(io.connect_tcp(&host, port, options, Box::new(caller)));
            }
            self.dialled += 1;
        }
    }

    /// Idle connections go to all addresses in turn: one has no more than some thousand ports.
    fn idle_address(&self, number: usize) -> SocketAddr {
        let others = &self.plan.to;
        let turn = number % (others.len() + 1);
        turn.checked_sub(1).and_then(|i| others.get(i)).copied().unwrap_or(self.plan.address)
    }

    fn connect_callers(&mut self, io: &mut Io<Self>) {
        self.phase = Phase::Connecting;
        (self.dialled, self.made) = (0, 0);
        self.connecting_since = self.nanos();
        self.dial_more(io);
    }

    /// The process whose memory is told.
    fn watched(&self) -> Option<u32> {
        self.plan.pids.first().copied()
    }
}
