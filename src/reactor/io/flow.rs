//! Holding back: input that nobody wants yet, what a turn may take up, and who goes first.
//!
//! The part of [`Io`] by which handlers steer the flow of a connection. Reading stops of itself above the
//! high-water mark; everything else here is asked for. Called by handlers.
//!
//! The words for "not now", side by side:
//!
//! | word | what waits | since | until |
//! |---|---|---|---|
//! | paused | input | its handler asked ([`Io::pause_producing`]) | [`Io::resume_producing`] |
//! | choked | input; a producer's producing | the output reached its high-water mark | it is drained |
//! | held back | input | paused, or choked and no producer | neither is so any more |
//! | producer | nothing by itself | [`Io::register_producer`] | for ever: choked, it is read and does not produce |
//! | drained | nothing any more | a choked output came down to the low mark | its handler is told to resume |

use crate::reactor::connection::{Connection, Phase};
use crate::reactor::io::sockets::find;
use crate::reactor::{Application, Io, Token};

impl<A: Application> Io<A> {
    /// Stops reading from this connection, until [`Io::resume_producing`].
    pub fn pause_producing(&mut self, token: Token) {
        if let Some(connection) = find(&mut self.sockets, token) {
            connection.paused = true;
        }
    }

    /// Reads from this connection again. Re-queued here, for no new edge will come for what has
    /// arrived meanwhile.
    pub fn resume_producing(&mut self, token: Token) {
        if let Some(connection) = find(&mut self.sockets, token) {
            connection.paused = false;
            connection.silence_begins(self.now);
            self.queue_read(token);
        }
    }

    /// Declares that this connection's protocol makes output of its own accord. The high-water mark
    /// then holds back its producing ([`Io::may_produce`]), not its reading. It goes on when
    /// `resume_producing` tells it, like everybody, that its output has drained.
    pub fn register_producer(&mut self, token: Token) {
        if let Some(connection) = find(&mut self.sockets, token) {
            connection.producer = true;
            self.queue_read(token);
        }
    }

    /// Whether a producer may write more: up, and not above the high-water mark.
    pub fn may_produce(&self, token: Token) -> bool {
        self.connection(token).is_some_and(|c| c.phase == Phase::Open && !c.choked)
    }

    /// Whether its output stands above the high-water mark, also of a connection that is being lost:
    /// `resume_producing` will tell when it has drained.
    pub fn is_choked(&self, token: Token) -> bool {
        self.connection(token).is_some_and(|c| c.choked)
    }

    /// Whether the connection is not read at present: paused, or above the high-water mark. What its
    /// peer has sent meanwhile may be waiting unread.
    pub fn is_held_back(&self, token: Token) -> bool {
        self.connection(token).is_some_and(|c| c.phase == Phase::Open && !c.wants_reading())
    }

    /// Output not yet with the kernel, bytes.
    pub fn backlog(&self, token: Token) -> usize {
        self.connection(token).map_or(0, Connection::backlog)
    }

    /// Reads and flushes this connection before all that are not urgent, and closes it neither for its
    /// silence nor for what lies unread: who declares it so looks after its life. For links.
    pub fn set_urgent(&mut self, token: Token) {
        let Some(connection) = find(&mut self.sockets, token) else { return };
        if std::mem::replace(&mut connection.urgent, true) {
            return;
        }
        // The connection changes queues. Its old entries stay behind, and find nothing left to do.
        if std::mem::take(&mut connection.in_ready) {
            self.mark_ready(token);
        }
        if find(&mut self.sockets, token).is_some_and(|c| std::mem::take(&mut c.in_writes)) {
            self.queue_flush(token);
        }
    }

    /// Counts input that an earlier turn has read and left, and that this turn takes up, against the
    /// turn's budget. When the budget is used up, the remaining events wait for the next turn.
    pub fn charge_input(&mut self, bytes: usize) {
        self.input_left = self.input_left.saturating_sub(bytes);
    }
}
