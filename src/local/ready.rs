//! Whether servers are ready: they run, answer their control socket and a client, and are linked.
//!
//! `start` waits here; `status` asks the same question once.

use crate::herd::topology::ServerId;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::local_herd::LocalHerd;
use super::logs::last_words;
use super::print::program;
use super::process::{self, Noted};
use super::talk::{self, Door, Status};

/// Starting takes a fraction of a second; this is for a machine that is busy with something else.
pub const START_PATIENCE: Duration = Duration::from_secs(20);

/// How often it is asked whether all are ready: often enough not to be felt.
pub const POLL: Duration = Duration::from_millis(15);

/// How long a server may take for the reply to a line that needs nobody else.
const REPLY_PATIENCE: Duration = Duration::from_secs(2);

/// A command that any server answers at once, changes nothing, and is not to be mistaken: no
/// client bears that name, so the reply is a question mark and the command.
const PROBE: &str = "WHATSAT scripts/herd 0 0";

/// Waits until all are ready at once.
pub fn wait_until_ready(herd: &LocalHerd, chosen: &[ServerId]) -> Result<(), String> {
    let deadline = Instant::now() + START_PATIENCE;
    // Each is sent its line once: it stands in the server's log.
    let mut unheard: Vec<ServerId> = chosen.to_vec();
    loop {
        let mut faults: Vec<(ServerId, String)> = Vec::new();
        let mut ended: Vec<(ServerId, String)> = Vec::new();
        for &id in chosen {
            let name = herd.topology.name(id);
            let runs = matches!(process::noted(&herd.run.process_file(name))?, Noted::Running(_));
            if !runs {
                ended.push((id, "it ended".to_owned()));
                continue;
            }
            let fault = link_fault(herd, id).or_else(|| {
                let answered = !unheard.contains(&id) || probe(&herd.door(id)).is_ok();
                unheard.retain(|&other| other != id || !answered);
                (!answered).then(|| format!("{} does not answer", herd.address(id)))
            });
            faults.extend(fault.map(|fault| (id, fault)));
        }
        // What the others lack follows from that, or they have just not got so far.
        if !ended.is_empty() {
            return Err(failure(herd, &ended, chosen.len()));
        }
        if faults.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(failure(herd, &faults, chosen.len()));
        }
        std::thread::sleep(POLL);
    }
}

/// Says one line as a client and looks at the reply: another program at that port would give another.
fn probe(door: &Door) -> Result<(), String> {
    let reply = talk::say(door, PROBE.as_bytes(), REPLY_PATIENCE)?;
    if reply == format!("? {PROBE}\n").as_bytes() {
        return Ok(());
    }
    Err(format!("{} answers {:?}", door.address, String::from_utf8_lossy(&reply)))
}

/// What keeps a server's links with those that run from being up. A link is two connections, one
/// from either side, so the neighbours are asked too.
fn link_fault(herd: &LocalHerd, id: ServerId) -> Option<String> {
    let name = herd.topology.name(id);
    let neighbours = running_neighbours(herd, id);
    lack(&neighbours, &talk::status(&herd.run.socket(name))).or_else(|| {
        neighbours.into_iter().find_map(|neighbour| {
            let lack = lack(&[name], &talk::status(&herd.run.socket(neighbour)))?;
            Some(format!("on the side of {neighbour}: {lack}"))
        })
    })
}

/// The neighbours whose processes run here: a link to a server that was not started cannot be up.
fn running_neighbours(herd: &LocalHerd, id: ServerId) -> Vec<&str> {
    herd.neighbours(id)
        .filter(|name| {
            matches!(process::noted(&herd.run.process_file(name)), Ok(Noted::Running(_)))
        })
        .collect()
}

/// What a server lacks to be ready, given whom it should have links with.
pub fn lack(neighbours: &[&str], status: &Result<Status, String>) -> Option<String> {
    let status = match status {
        Ok(status) => status,
        Err(fault) => return Some(fault.clone()),
    };
    neighbours.iter().find_map(|&neighbour| {
        match status.links.iter().find(|link| link.name == neighbour) {
            Some(link) if link.state == "up" => None,
            Some(link) => Some(format!("its link with {neighbour} is {}", link.state)),
            None => Some(format!("it knows of no link with {neighbour}")),
        }
    })
}

/// The sentence about each server that did not become ready, with the end of its log.
fn failure(herd: &LocalHerd, faults: &[(ServerId, String)], asked: usize) -> String {
    let mut text = format!("{} of {asked} servers did not become ready.\n", faults.len());
    for (id, fault) in faults {
        let name = herd.topology.name(*id);
        _ = write!(text, "\n{name}: {fault}.\n{}", last_words(&herd.run, name));
    }
    _ = write!(text, "\nWhat was started still runs; `{} stop` stops it.", program());
    text
}
