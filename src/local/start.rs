//! `start`: brings servers up and returns when each one answers and its links are up, or says which
//! did not and why.
//!
//! Everything that can be seen to be wrong is refused before the first process starts. What was
//! started and did not become ready is left as it is, for a look at it; `stop` ends it.

use crate::herd::topology::ServerId;
use std::fs;
use std::io::ErrorKind;
use std::net::{TcpListener, ToSocketAddrs};
use std::process::Command;

use super::keys::keys_arguments;
use super::leftovers::settle;
use super::local_herd::LocalHerd;
use super::options::TOPOLOGY;
use super::print::{layout, program, remark};
use super::process::{self, Noted, Process};
use super::ready::wait_until_ready;
use super::run_dir::PLACES;
use super::stand_in::{self, upstream_arguments};

/// What the servers send the stand-in in place of a key: it takes any.
const STAND_IN_KEY: &str = "stand-in";

/// Starts the servers of these names, or all, and returns when they are ready.
pub fn start(herd: &LocalHerd, names: &[String]) -> Result<(), String> {
    let chosen = herd.choose(names)?;
    // Two at once would each start what the other has not written down yet.
    let starting = herd.run.starting();
    if let Noted::Running(other) = process::noted(&starting)? {
        return Err(format!("a start is already under way, as process {}; wait for it", other.pid));
    }
    Process::this()?.note(&starting)?;
    let started = start_chosen(herd, &chosen);
    let _ = fs::remove_file(starting);
    started
}

fn start_chosen(herd: &LocalHerd, chosen: &[ServerId]) -> Result<(), String> {
    let mut missing = Vec::new();
    for &id in chosen {
        let name = herd.topology.name(id);
        if let Some(process) = settle(herd, name)? {
            remark(&format!("{name} already runs as process {}.", process.pid));
        } else {
            missing.push(id);
        }
    }
    for &id in &missing {
        for address in herd.addresses(id) {
            check_port(herd, id, &address)?;
        }
    }
    herd.options.note(&herd.run.options())?;
    if !missing.is_empty() {
        let more = [keys_arguments(herd)?, upstream_arguments(herd)?].concat();
        for &id in &missing {
            start_server(herd, id, &more)?;
        }
    }
    wait_until_ready(herd, chosen)
}

/// Finds out before the start whether a server will be able to listen.
fn check_port(herd: &LocalHerd, id: ServerId, address: &str) -> Result<(), String> {
    let name = herd.topology.name(id);
    let file = herd.topology_file.display();
    match bind_all(address) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AddrInUse => Err(format!(
            "{name} cannot listen at {address}: another program does. `ss -ltnp` or `lsof -i -nP` \
             shows which one; stop it, or give {name} another port in {file}. Nothing was started."
        )),
        Err(error) if error.kind() == ErrorKind::AddrNotAvailable => Err(format!(
            "{name} cannot listen at {address}: this machine does not have that address. \
             `{} start NAME…` starts only the servers that belong here. Nothing was started.",
            program()
        )),
        Err(error) => Err(format!("{name} cannot listen at {address}: {error}")),
    }
}

/// Binds every address that a host and port stand for, as the server will. Those that this machine does
/// not have count only where it has none of them.
fn bind_all(address: &str) -> std::io::Result<()> {
    let mut outcome = Err(ErrorKind::AddrNotAvailable.into());
    for address in address.to_socket_addrs()? {
        match TcpListener::bind(address) {
            Ok(_) => outcome = Ok(()),
            Err(error) if error.kind() == ErrorKind::AddrInUse => return Err(error),
            Err(error) => outcome = outcome.or(Err(error)),
        }
    }
    outcome
}

fn start_server(herd: &LocalHerd, id: ServerId, more: &[String]) -> Result<(), String> {
    let name = herd.topology.name(id);
    let mut command = Command::new(&herd.program);
    command.args(["serve", name]);
    command.arg("--log-dir").arg(herd.run.logs());
    command.arg("--journal").arg(herd.run.journal());
    command.arg("--control").arg(herd.run.socket(name));
    command.args(herd.options.arguments()).args(more);
    if herd.options.get(TOPOLOGY).is_none() {
        command.arg(TOPOLOGY).arg(&herd.topology_file);
    }
    if herd.stand_in {
        command.env("PLACES_API_KEY", STAND_IN_KEY);
    }
    process::spawn(&mut command, &herd.run.output(name))?.note(&herd.run.process_file(name))
}

/// The servers of these names, or all, as a table, with the stand-in if there is one.
pub fn table(herd: &LocalHerd, names: &[String]) -> Result<String, String> {
    let mut rows = Vec::new();
    for id in herd.choose(names)? {
        let name = herd.topology.name(id);
        let log = herd.run.shown(&herd.run.log(name));
        rows.push(vec![name.to_owned(), herd.address(id), number(herd, name)?, log]);
    }
    if let (true, Some(address)) = (herd.stand_in, stand_in::address(herd)) {
        let log = herd.run.shown(&herd.run.log(PLACES));
        rows.push(vec![PLACES.to_owned(), address, number(herd, PLACES)?, log]);
    }
    let mut text = layout(&["name", "address", "process", "log"], &rows);
    if herd.stand_in {
        text.push_str("\nplaces is a stand-in for Google Places: real towns, no key needed.\n");
    }
    Ok(text)
}

/// The number of the process of that name.
fn number(herd: &LocalHerd, name: &str) -> Result<String, String> {
    Ok(match process::noted(&herd.run.process_file(name))? {
        Noted::Running(process) => process.pid.to_string(),
        _ => "-".to_owned(),
    })
}
