//! A load generator on the project's own reactor: the same loop, seen from the client's side.
//!
//! It keeps a server busy over many connections, checks every reply byte for byte, and tells replies a
//! second, latencies and what both sides spent. A second example of how a program on the reactor is made
//! (the first is the echo server in [`reactor`](crate::reactor)): an [`Application`] that decides, a
//! protocol a connection that asks, and no factory, since nothing is accepted. `herd load` calls it.
//!
//! | file | what |
//! |---|---|
//! | `request.rs` | requests, composed without allocation (pure) |
//! | `reply.rs` | replies, checked (pure) |
//! | `schedule.rs` | when the requests of an open loop are due (pure) |
//! | `histogram.rs` | latencies (pure) |
//! | `caller.rs` | one connection: where these meet a socket |
//! | `app.rs`, `connecting.rs`, `seconds.rs` | the run and its phases |
//! | `updates.rs`, `observer.rs` | another load: how fast an update reaches all servers of a herd |
//! | `measurement.rs` | what counts, between warm-up and end |
//! | `process.rs` | processor time and memory of processes |
//! | `figures.rs`, `summary.rs`, `spread.rs` | what is told in the end (pure) |
//!
//! A *closed loop* sends a request when a reply has come: it finds how much a server can do. An *open loop*
//! ([`Plan::rate`]) sends when it is time, as a crowd of strangers does: it finds how long they wait.

mod app;
mod caller;
mod connecting;
mod figures;
mod histogram;
mod measurement;
mod observer;
mod process;
mod reply;
mod request;
mod schedule;
mod seconds;
mod spread;
mod summary;
mod updates;

use std::net::SocketAddr;
use std::time::Duration;

pub use process::PIDS_MAX;
pub use request::{CLIENTS_MAX, Kind};
pub use schedule::RATE_MAX;
pub use spread::Spread;
pub use summary::{Idle, Summary};

use crate::reactor::{Application, Now, Reactor};

/// Connections that ask, and idle ones: what a process may have open on a generous system.
pub const CONNECTIONS_MAX: usize = 100_000;

/// Requests in flight on one connection of a closed loop. About 50 bytes each here, and what they are on
/// the wire in the output.
pub const DEPTH_MAX: usize = 10_000;

/// The longest run, and the longest warm-up.
pub const DURATION_MAX: Duration = Duration::from_secs(24 * 3600);

/// Replies, or updates, after which a run can be made to end: more than a day's.
pub const REQUESTS_MAX: u64 = 100_000_000_000;

/// Further addresses.
pub const ADDRESSES_MAX: usize = 1000;

/// Files that a process needs beside its connections.
const FILES_BESIDE: usize = 32;

/// What to ask Places for.
#[derive(Clone, Debug)]
pub struct Question {
    /// As it is written in a WHATSAT.
    pub radius: String,
    /// As it is written in a WHATSAT.
    pub bound: String,
}

/// What is to be done. The command line checks the bounds.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The server.
    pub address: SocketAddr,
    /// Others: for idle connections further addresses of the same server, for updates the servers that
    /// they have to reach.
    pub to: Vec<SocketAddr>,
    /// What is spoken.
    pub kind: Kind,
    /// Connections that ask.
    pub connections: usize,
    /// Requests that each keeps in flight, in a closed loop.
    pub depth: usize,
    /// Clients spoken of, at least one a connection.
    pub clients: usize,
    /// How long to measure.
    pub seconds: Duration,
    /// How long to load without measuring before that.
    pub warmup: Duration,
    /// How long nothing may come before the server is given up.
    pub patience: Duration,
    /// Requests a second, in an open loop.
    pub rate: Option<u32>,
    /// Ask this about each client instead of telling where it is.
    pub whatsat: Option<Question>,
    /// End after exactly so many replies instead of a time.
    pub requests: Option<u64>,
    /// Connections that say nothing, beside the others.
    pub idle: usize,
    /// The processes of the server whose processor time is told; the memory of the first.
    pub pids: Vec<u32>,
    /// Whether to tell on standard error how it goes, each second.
    pub progress: bool,
}

impl Default for Plan {
    /// What `herd load` does when it is told nothing but an address.
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            to: Vec::new(),
            kind: Kind::Iamat,
            connections: 64,
            depth: 1,
            clients: 1000,
            seconds: Duration::from_secs(5),
            warmup: Duration::from_millis(500),
            // More than a server gives Places to answer.
            patience: Duration::from_secs(15),
            rate: None,
            whatsat: None,
            requests: None,
            idle: 0,
            pids: Vec::new(),
            progress: false,
        }
    }
}

/// Loads the server, and tells what came of it. The error says what failed, or which reply was wrong.
pub fn run(plan: Plan) -> Result<Summary, String> {
    enough_files(plan.connections + plan.idle)?;
    let mut reactor = reactor(app::Load::new(plan))?;
    let cx = reactor.context();
    cx.app.start(cx.io);
    turn_until(&mut reactor, app::Load::is_over)?;
    reactor.app().outcome()
}

/// Sends `updates` updates to the herd's first server, and tells how fast they reach the others.
pub fn spread(plan: Plan, updates: u64) -> Result<Spread, String> {
    let mut reactor = reactor(updates::Updates::new(plan, updates))?;
    let cx = reactor.context();
    cx.app.start(cx.io);
    turn_until(&mut reactor, updates::Updates::is_over)?;
    reactor.app().outcome()
}

fn reactor<A: Application>(app: A) -> Result<Reactor<A>, String> {
    Reactor::new(app).map_err(|e| format!("the event loop cannot start: {e}"))
}

/// Turns of the loop until it is done. Not an orderly stop: nothing is owed to anybody, and a server
/// that hangs would only be waited for.
fn turn_until<A: Application>(
    reactor: &mut Reactor<A>,
    is_over: impl Fn(&A) -> bool,
) -> Result<(), String> {
    while !is_over(reactor.app()) {
        reactor.sleep(None).map_err(|e| format!("the event loop cannot go on: {e}"))?;
        reactor.advance(Now::read());
    }
    Ok(())
}

/// Whether this process may open so many connections; better said before than found out halfway.
fn enough_files(connections: usize) -> Result<(), String> {
    let needed = connections + FILES_BESIDE;
    match process::files_max() {
        Some(allowed) if allowed < needed => Err(format!(
            "{connections} connections need {needed} open files, and this process may have {allowed}; \
             allow more with: ulimit -n {needed}"
        )),
        _ => Ok(()),
    }
}

/// Words for a server that could not be connected to.
fn refused(to: &str, why: &str) -> String {
    format!(
        "cannot connect to {to}: {why}; is a server listening there? (start one with herd serve NAME, or \
         see scripts/herd status)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_connections_than_files_are_refused_with_the_cure() {
        if process::files_max().is_some_and(|allowed| allowed < 1 << 40) {
            let words = enough_files(1 << 40).unwrap_err();
            assert!(words.ends_with("ulimit -n 1099511627808"), "{words}");
        }
        assert_eq!(enough_files(1), Ok(()));
    }
}
