//! The stand-in for Google Places as a process: starts it and finds out where it listens.
//!
//! Called by `start`, before the servers that are to ask it.

use std::process::Command;
use std::time::Instant;

use super::leftovers::settle;
use super::local_herd::LocalHerd;
use super::logs::last_words;
use super::options::PLACES_RATE;
use super::process::{self, Process};
use super::ready::{POLL, START_PATIENCE};
use super::run_dir::PLACES;
use super::talk;

/// The flags that point a server to the stand-in, which is started when it does not run yet; none
/// when answers come from elsewhere.
pub fn upstream_arguments(herd: &LocalHerd) -> Result<Vec<String>, String> {
    if !herd.stand_in {
        return Ok(Vec::new());
    }
    let process = match settle(herd, PLACES)? {
        Some(process) => process,
        None => start(herd)?,
    };
    let deadline = Instant::now() + START_PATIENCE;
    loop {
        if let Some(address) = address(herd) {
            let ca = herd.run.places_ca().to_string_lossy().into_owned();
            let port = address.rsplit(':').next().unwrap_or_default();
            let url = format!("https://localhost:{port}");
            let mut flags = vec!["--places".into(), url, "--places-ca".into(), ca];
            // Nobody pays for its answers.
            if herd.options.get(PLACES_RATE).is_none() {
                flags.extend([PLACES_RATE.into(), "0".into()]);
            }
            return Ok(flags);
        }
        if !process.runs() || Instant::now() > deadline {
            let why = if process.runs() { "does not listen" } else { "ended" };
            return Err(format!(
                "the stand-in for Google Places {why}.\n{}",
                last_words(&herd.run, PLACES)
            ));
        }
        std::thread::sleep(POLL);
    }
}

fn start(herd: &LocalHerd) -> Result<Process, String> {
    let mut command = Command::new(&herd.program);
    command.args([PLACES, "--listen", "127.0.0.1:0"]);
    command.arg("--ca-out").arg(herd.run.places_ca());
    command.arg("--control").arg(herd.run.socket(PLACES));
    command.arg("--log-dir").arg(herd.run.logs());
    let process = process::spawn(&mut command, &herd.run.output(PLACES))?;
    process.note(&herd.run.process_file(PLACES))?;
    Ok(process)
}

/// Where the stand-in listens: it took a free port.
pub fn address(herd: &LocalHerd) -> Option<String> {
    talk::status(&herd.run.socket(PLACES)).ok()?.address
}
