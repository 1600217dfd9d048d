//! An application server herd: a few servers that hear from moving clients where they are, tell each
//! other directly, and answer from any server where a client is and what is near it. It comes from a
//! well-known course project on Twisted; this is the same thing on a hand-written event loop in Rust.
//!
//! # The map
//!
//! ```text
//!             main ── cli: reads flags, builds the parts, runs the reactor
//!              │
//!    ┌─────────┴─────────┐
//!    │  server/          │  the handlers: what to do when a line, a link, a reply or a timer arrives
//!    │   client          │    telnet and other clients: IAMAT, WHATSAT, ?
//!    │   link            │    neighbours: dial, introduce, pump, resume
//!    │   places          │    WHATSAT's HTTPS GET: pool, deadlines, replies
//!    └──┬──────┬──────┬──┘
//!       │      │      │
//!    reactor/  │   herd/       the herd's own truth: records, the change log, topology
//!       │      │                  (no socket, no clock, no reactor)
//!       │   wire/              bytes to meaning and back: lines, Telnet, HTTP/1.1, commands, times
//!       │                         (no socket, no clock, no reactor, no herd)
//!    mio, rustls, slab
//! ```
//!
//! # The tour
//!
//! Read the modules in this order; each begins with what it owns, what it never does, and who calls it.
//!
//! 1. [`reactor`]: the event loop. It starts with an echo server and walks through one turn. If you have
//!    come to understand event loops, this is the part that you have come for.
//! 2. [`wire`]: pure functions and small state machines from bytes to values.
//! 3. [`herd`]: what a server knows and what its neighbours lack. The change log is the one idea behind
//!    flooding, catching up, slow neighbours and resuming.
//! 4. [`server`]: where both meet. `server/client.rs` answers a line; `server/link.rs` carries a change on.
//! 5. [`keys`]: the herd's authority and certificates, made before any loop runs.
//! 6. [`load`]: the same loop from the client's side: a load generator, the second example.
//! 7. [`cli`]: from a command line to a running reactor.
//! 8. [`local`]: a herd on one machine, started and stopped by plain blocking code.
//! 9. [`costs`]: where the time goes, a chapter without code.
//!
//! # Three rules that hold everywhere
//!
//! *The loop never blocks.* What must block runs on a thread and comes back as an event: one thread for the
//! journal's file, one for the log's, and up to four for look-ups of names, each begun when it is first
//! needed. None of them ever does another's work, so nothing waits behind work that it has nothing to do with.
//!
//! *Everything is bounded*: lines, buffers, queues, connections, times. Each bound is a named constant
//! with its reason.
//!
//! *Pure core, thin shell.* `wire` and `herd` are handed bytes and times, so their tests need neither a
//! socket nor a clock, and cut every input at every place.

pub mod cli;
pub mod costs;
pub mod herd;
pub mod keys;
pub mod load;
pub mod local;
pub mod reactor;
pub mod server;
pub mod wire;
