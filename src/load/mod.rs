//! A load generator on the project's own reactor: the same loop, seen from the client's side.
//!
//! It keeps a server busy over many connections, checks every reply byte for byte, and tells replies a
//! second, latencies and what both sides spent. A second example of how a program on the reactor is made
//! (the first is the echo server in [`reactor`](crate::reactor)): an [`Application`] that decides, a
//! protocol a connection that asks, and no factory, since nothing is accepted. `herd load` calls it.
//!
//! | file | what |
//! |---|---|
//! | `plan.rs` | what is to be done, and its bounds |
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
mod plan;
mod process;
mod reply;
mod request;
mod schedule;
mod seconds;
mod spread;
mod summary;
mod updates;

pub use plan::{
    ADDRESSES_MAX, CONNECTIONS_MAX, DEPTH_MAX, DURATION_MAX, Plan, Question, REQUESTS_MAX,
};
pub use process::PIDS_MAX;
pub use request::{CLIENTS_MAX, Kind};
pub use schedule::RATE_MAX;
pub use spread::Spread;
pub use summary::{Idle, Summary};

use crate::reactor::{Application, Now, Reactor};

/// Files that a process needs beside its connections.
const FILES_BESIDE: usize = 32;

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
    observer::start(cx.app, cx.io);
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
