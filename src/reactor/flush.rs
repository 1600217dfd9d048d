//! Steps 6 and 7 of a turn, **flush** and **sweep**: what was written is sent, what has ended is freed.
//!
//! What a protocol has written meets the kernel here and nowhere else, and only here a connection with a
//! protocol loses its slot. (Elsewhere go: the alert that tells why a handshake fails, and sockets that got
//! no protocol.) Called by the turn, when all handlers have said what they had to say.

use super::connection::Phase;
use super::turn::Reactor;
use super::{Application, Ctx, Reason, Token};
use crate::reactor::bounds::limits::LINGER;
use crate::reactor::connection::stream::Stream;
use crate::reactor::io::sockets::find;

impl<A: Application> Reactor<A> {
    /// Step 6, **flush**: one write attempt for each connection that has something to say, all links
    /// before the first client, so that a neighbour knows before the client is answered. Those for whom
    /// no time is left stay at the front of the queue.
    pub(super) fn flush(&mut self) {
        for _ in 0..self.io.urgent_writes.len() {
            if let Some(token) = self.io.urgent_writes.pop_front() {
                self.flush_connection(token);
            }
        }
        // Begun after the links, whose writes may be long, or little time would be left for clients.
        self.pace.begin_step(self.io.writes.len());
        for _ in 0..self.io.writes.len() {
            if self.pace.is_over() {
                break;
            }
            if let Some(token) = self.io.writes.pop_front() {
                self.flush_connection(token);
            }
            self.pace.spend(0);
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
        let had_output = connection.backlog() > 0;
        if let Err(why) = connection.flush(&mut io.spare) {
            return io.end(token, why);
        }
        if had_output && connection.backlog() == 0 {
            connection.silence_begins(io.now);
        }
        let drained = connection.has_drained(io.limits.low_water_bytes());
        let finished = connection.is_finished();
        let waits = !connection.writable || connection.phase == Phase::Losing;
        if drained {
            io.drained.push_back(token);
            io.queue_read(token);
        }
        if finished {
            self.finish(token);
        } else if waits {
            io.watch_output(token);
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
    /// (Listeners that a stop closes, attempts to connect and sockets that got no protocol go at once: the
    /// generation tells.)
    pub(super) fn sweep(&mut self) {
        self.pace.begin_step(self.io.ended.len());
        for _ in 0..self.io.ended.len() {
            if self.pace.is_over() {
                break;
            }
            self.pace.spend(0);
            let Some((token, why)) = self.io.ended.pop_front() else { return };
            let Some(connection) = find(&mut self.io.sockets, token) else { continue };
            // Closing takes the descriptor out of the kernel's list too.
            connection.stream = None;
            if let Some(standing) = connection.standing {
                let peer = connection.peer.get();
                self.io.free_place(token, standing, peer);
            }
            // Births of this very turn may be for this slot.
            self.settle_births();
            if let Some(mut protocol) = self.move_out(token) {
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
