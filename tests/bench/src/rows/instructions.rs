//! User-space instructions per IAMAT, as `scripts/instructions` counts them with callgrind.
//!
//! The one figure here that repeats exactly, whatever else the machine does.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::bench::Bench;
use crate::process::{Process, find};
use crate::table::{Check, Row, short};

/// How long the counting may take; a server under valgrind is some fifty times slower.
const PATIENCE: Duration = Duration::from_secs(300);

/// Counts them, where valgrind is installed.
pub fn instructions(bench: &mut Bench) -> Result<Vec<Row>, String> {
    let row = |herd: String| Row::new("64 × 64: user instructions per IAMAT", "≤ 700", herd);
    if !bench.sizes.peers {
        return Ok(vec![row("skipped: a smoke has no time for it".to_owned())]);
    }
    if find("valgrind").is_none() {
        return Ok(vec![row("skipped: valgrind is not installed".to_owned())]);
    }
    let mut command = Command::new(bench.root.join("scripts/instructions"));
    command.env("CARGO_TARGET_DIR", &bench.target);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut counting = Process::spawn(&mut command, "scripts/instructions".to_owned())?;
    let status = counting.finish(&bench.stop, PATIENCE)?;
    let (out, err) = counting.output();
    let count = out.split(' ').next().and_then(|word| word.parse::<f64>().ok());
    let count = count.filter(|_| status.success()).ok_or_else(|| err.trim().to_owned())?;
    Ok(vec![row(short(count)).judged(&[Check::at_most(count, 700.0)])])
}
