//! The rows of the table, in its order. Each is a small function that reads from top to bottom: start the
//! servers, measure them in turn, say what came out beside the goal.
//!
//! This file owns their names and their order. Called by `main`.

mod clients;
mod growth;
mod idle;
mod instructions;
mod journal;
mod ring;
mod same_client;
mod start;
mod syscalls;
mod throughput;
mod tls_idle;
mod turn;
mod whatsat;

use crate::bench::Bench;
use crate::table::Row;

/// One piece of work, which makes one row or a few.
pub struct Work {
    /// Its name for `--only`.
    pub name: &'static str,
    /// Measures it.
    pub measure: fn(&mut Bench) -> Result<Vec<Row>, String>,
}

/// All of them. The last ones tell what was seen under all others.
pub const ROWS: &[Work] = &[
    Work { name: "throughput", measure: throughput::full },
    Work { name: "instructions", measure: instructions::instructions },
    Work { name: "log", measure: throughput::logging },
    Work { name: "depth-1", measure: throughput::depth_one },
    Work { name: "round-trip", measure: throughput::round_trip },
    Work { name: "syscalls", measure: syscalls::syscalls },
    Work { name: "idle", measure: idle::idle },
    Work { name: "tls-idle", measure: tls_idle::tls_idle },
    Work { name: "beside-idle", measure: idle::beside_idle },
    Work { name: "ring", measure: ring::ring },
    Work { name: "same-client", measure: same_client::same_client },
    Work { name: "clients", measure: clients::clients },
    Work { name: "catch-up", measure: clients::catch_up },
    Work { name: "journal", measure: journal::journal },
    Work { name: "whatsat", measure: whatsat::whatsat },
    Work { name: "start", measure: start::start },
    Work { name: "connections", measure: growth::connections },
    Work { name: "servers", measure: growth::servers },
    Work { name: "turn", measure: turn::longest },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_rows_share_a_name() {
        let mut names: Vec<_> = ROWS.iter().map(|work| work.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ROWS.len());
    }
}
