//! What one client may take of a server, as numbers that the command line can set.
//!
//! The bounds of the protocol: lines and questions. Those of connections and bytes are the reactor's
//! ([`limits`](crate::reactor::bounds::limits)). Read by `client.rs` and `places`.

use crate::wire::line::LINE_MAX_BYTES;

/// The bounds of the protocol.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The longest line of a client without its LF, bytes. At most [`LINE_MAX_BYTES`], because neighbours
    /// take no longer ones.
    pub line_max_bytes: usize,
    /// How many lines of one connection are answered in one turn; the rest waits for the next, behind
    /// everybody else's. A read of ordinary commands holds fewer.
    pub lines_per_turn: usize,
    /// WHATSATs of one connection that may wait for Places at a time. Beyond it the answer is
    /// `OVER_QUERY_LIMIT` at once.
    pub waiting_max: usize,
    /// WHATSATs of all connections that may wait for Places at a time. Beyond it the newest of whoever has
    /// most waiting is answered so.
    pub waiting_in_all_max: usize,
    /// What all connections together may hold of answers that have come and are not sent, because one
    /// before them is waited for or the peer does not read. With so much held the answer to a WHATSAT is
    /// `OVER_QUERY_LIMIT` at once; what had been asked before is held all the same. Many times what crowds
    /// that read leave here, and little beside what a server has.
    pub held_in_all_max_bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            line_max_bytes: LINE_MAX_BYTES,
            lines_per_turn: 1024,
            waiting_max: 32,
            waiting_in_all_max: 10_000,
            held_in_all_max_bytes: 64 * 1024 * 1024,
        }
    }
}
