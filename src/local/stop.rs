//! `stop` and `kill`: ends processes that are written down in the run folder, and no others.
//!
//! Needs no topology: what the run folder names can be stopped even when that file has changed since.

use std::fs;
use std::time::Duration;

use super::print::{program, remark};
use super::process::{self, Noted, Process};
use super::run_dir::{PLACES, RunDir};
use super::talk;

/// Servers flush what they owe before they end, and give up on that after some seconds; what has not
/// ended by then is not going to.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// The end by SIGKILL takes no deciding on the process's side.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// Stops the processes of these names in order, or all; says what was stopped.
pub fn stop(run: &RunDir, names: &[String]) -> Result<String, String> {
    let mut asked = Vec::new();
    for name in chosen(run, names)? {
        match process::noted(&run.process_file(&name))? {
            Noted::Running(process) => {
                // The socket is the polite way and cannot hit a stranger; a signal reaches also a
                // server that does not listen to its own yet.
                if talk::stop(&run.socket(&name)).is_err() {
                    process.signal("TERM")?;
                }
                asked.push((name, process));
            }
            Noted::Stale(why) => {
                remark(&format!("{name} does not run: {why}."));
                forget(run, &name);
            }
            Noted::Nothing => remark(&format!("{name} does not run.")),
        }
    }
    if asked.is_empty() {
        return Ok("Nothing runs that could be stopped.\n".to_owned());
    }
    for (name, process) in &asked {
        // Stopped processes (SIGSTOP) hear nothing but SIGCONT and SIGKILL.
        if !process.ends_within(STOP_PATIENCE) {
            let patience = STOP_PATIENCE.as_secs();
            remark(&format!("{name} has not ended after {patience} s; it is killed."));
            end_now(process, name)?;
        }
        forget(run, name);
    }
    let stopped: Vec<&str> = asked.iter().map(|(name, _)| name.as_str()).collect();
    Ok(format!("Stopped: {}.\n", stopped.join(", ")))
}

/// Ends one process without a warning, as a crash or a power cut would.
pub fn kill(run: &RunDir, name: &str) -> Result<String, String> {
    let Noted::Running(process) = process::noted(&run.process_file(name))? else {
        return Err(not_running(run, name)?);
    };
    end_now(&process, name)?;
    forget(run, name);
    // The stand-in's certificate is another after each start, so the servers must start with it.
    let back = if name == PLACES { "restart".to_owned() } else { format!("start {name}") };
    let pid = process.pid;
    let program = program();
    Ok(format!("Killed {name}, process {pid}. `{program} {back}` brings it back.\n"))
}

fn end_now(process: &Process, name: &str) -> Result<(), String> {
    process.signal("KILL")?;
    if process.ends_within(KILL_PATIENCE) {
        return Ok(());
    }
    Err(format!("{name}, process {}, does not end even by SIGKILL", process.pid))
}

/// Removes the traces of a process that is gone. Its logs stay.
fn forget(run: &RunDir, name: &str) {
    let _ = fs::remove_file(run.process_file(name));
    let _ = fs::remove_file(run.socket(name));
}

/// The names, or those of all process files: servers first, then the stand-in that they ask.
fn chosen(run: &RunDir, names: &[String]) -> Result<Vec<String>, String> {
    let known = known(run)?;
    if names.is_empty() {
        return Ok(known);
    }
    match names.iter().find(|name| !known.contains(name)) {
        Some(name) => Err(not_running(run, name)?),
        None => Ok(names.to_vec()),
    }
}

/// All names that have a process file.
pub fn known(run: &RunDir) -> Result<Vec<String>, String> {
    let fault = |error: std::io::Error| format!("cannot list {}: {error}", run.path().display());
    let mut names = Vec::new();
    for entry in fs::read_dir(run.path()).map_err(fault)? {
        let path = entry.map_err(fault)?.path();
        if path.extension().is_some_and(|extension| extension == "pid") {
            names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
        }
    }
    names.sort_by_key(|name| (name == PLACES, name.clone()));
    Ok(names)
}

/// Whether anything runs here.
pub fn anything_runs(run: &RunDir) -> Result<bool, String> {
    Ok(!running(run)?.is_empty())
}

/// All names whose process runs.
fn running(run: &RunDir) -> Result<Vec<String>, String> {
    let mut names = known(run)?;
    // A file that cannot be read is no proof of anything running.
    names.retain(|name| matches!(process::noted(&run.process_file(name)), Ok(Noted::Running(_))));
    Ok(names)
}

/// The sentence about a name that does not run, with those that do.
fn not_running(run: &RunDir, name: &str) -> Result<String, String> {
    let running = running(run)?;
    if running.is_empty() {
        return Ok(format!("{name} does not run, and nothing else does"));
    }
    Ok(format!("{name} does not run; these do: {}", running.join(", ")))
}
