//! What a load is to do: the plan, its bounds, and the words when there is no server.
//!
//! Plain values. The command line fills a plan in and checks it against the bounds; the runs read it.

use std::net::SocketAddr;
use std::time::Duration;

use super::request::Kind;

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

/// Words for a server that could not be connected to.
pub fn refused(to: &str, why: &str) -> String {
    format!(
        "cannot connect to {to}: {why}; is a server listening there? (start one with herd serve NAME, or \
         see scripts/herd status)"
    )
}
