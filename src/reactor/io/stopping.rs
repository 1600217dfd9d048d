//! An orderly stop: who goes first, and what is waited for.
//!
//! Listeners close at once; accepted connections are lost as soon as their replies are sent; only then
//! those that we made, because a reply may still depend on what they bring. Called at the end of each
//! turn, and once by a delayed call when all this takes too long.

use crate::reactor::bounds::limits::STOP_TIMEOUT;
use crate::reactor::io::sockets::{Due, Kind, Socket, Stopping, find};
use crate::reactor::turn::Reactor;
use crate::reactor::{Application, Reason, Token};

impl<A: Application> Reactor<A> {
    /// An orderly stop, one step further if what it waits for has happened.
    pub(in crate::reactor) fn carry_on_stopping(&mut self) {
        match self.io.stopping {
            Stopping::No | Stopping::Made => return,
            Stopping::Asked => {
                self.close_listeners();
                self.io.timers.add(self.io.now + STOP_TIMEOUT, Due::StopNow);
                self.io.stopping = Stopping::Accepted;
                self.lose_where(true);
            }
            Stopping::Accepted => {}
        }
        if self.io.stats.accepted == 0 {
            self.io.stopping = Stopping::Made;
            self.lose_where(false);
        }
    }

    fn close_listeners(&mut self) {
        for (token, _) in self.factories.drain(..) {
            self.io.sockets.try_remove(token.slot());
        }
    }

    fn lose_where(&mut self, accepted: bool) {
        for token in self.connections() {
            if find(&mut self.io.sockets, token).is_some_and(|c| c.standing.is_some() == accepted) {
                self.io.lose_connection(token);
            }
        }
    }

    pub(in crate::reactor) fn abort_all(&mut self) {
        for token in self.connections() {
            self.io.end(token, Reason::Aborted);
        }
    }

    pub(in crate::reactor) fn connections(&self) -> Vec<Token> {
        let sockets = self.io.sockets.iter();
        sockets
            .filter(|(_, socket)| matches!(socket.kind, Kind::Connection(_)))
            .map(|(slot, Socket { generation, .. })| Token::new(slot, *generation))
            .collect()
    }
}
