//! User-space instructions per IAMAT by callgrind: the difference of two runs that differ in length only.
//!
//! The one figure here that repeats exactly, whatever else the machine does.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::QUIET;
use crate::bench::Bench;
use crate::load::load;
use crate::process::find;
use crate::servers::Stage;
use crate::table::{Check, Row, short};

/// Requests of the shorter run; the longer one has twice as many.
const REQUESTS: u32 = 40_000;

/// Counts both runs.
pub fn instructions(bench: &mut Bench) -> Result<Vec<Row>, String> {
    let (connections, depth) = bench.sizes.full;
    let work = format!("{connections} × {depth}: user instructions per IAMAT");
    let goal = "≤ 700";
    if !bench.sizes.peers || find("valgrind").is_none() {
        return Ok(vec![Row::new(
            &work,
            goal,
            "skipped: it takes valgrind and some time".to_owned(),
        )]);
    }
    let words = format!("--connections {connections} --depth {depth}");
    let short_run = counted(bench, &format!("{words} --requests {REQUESTS}"))?;
    let long_run = counted(bench, &format!("{words} --requests {}", 2 * REQUESTS))?;
    let each = (long_run - short_run) / f64::from(REQUESTS);
    let check = Check::at_most(each, 700.0);
    Ok(vec![Row::new(&work, goal, short(each)).judged(&[check])])
}

/// All instructions that a server executes from its start to its end, with this load.
fn counted(bench: &mut Bench, words: &str) -> Result<f64, String> {
    let stage = Stage::alone(bench)?;
    let counts = stage.folder().join("callgrind.out");
    let mut under = Command::new("valgrind");
    under.arg("--tool=callgrind").arg(format!("--callgrind-out-file={}", counts.display()));
    let server = stage.serve_under(bench, under, QUIET)?;
    load(bench, &format!("{} {words}", server.address()))?;
    drop(server);
    total(&counts)
}

/// Reads the sum of callgrind's file, whose line is `totals:` or, in older versions, `summary:`.
fn total(file: &Path) -> Result<f64, String> {
    let shown = file.display();
    let text = fs::read_to_string(file).map_err(|error| format!("cannot read {shown}: {error}"))?;
    let sum = |name| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    sum("totals:").or_else(|| sum("summary:")).ok_or_else(|| format!("{shown} has no totals"))
}
