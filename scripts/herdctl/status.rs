//! `status`: asks every server of the topology how it is and prints a table.
//!
//! Changes nothing. All is well only when every server answers and every link is up.

use crate::local_herd::LocalHerd;
use crate::print::layout;
use crate::process::{self, Noted};
use crate::ready::lack;
use crate::run_dir::PLACES;
use crate::stop;
use crate::talk::{self, Status};
use std::fmt::Write as _;

/// The table, and whether all is well.
pub fn status(herd: &LocalHerd) -> Result<(String, bool), String> {
    let mut rows = Vec::new();
    let mut lacks = String::new();
    let mut remarks = String::new();
    let mut describe = |name: &str, address: Option<String>, neighbours: &[&str]| {
        let noted = process::noted(&herd.run.process_file(name))?;
        let status = match &noted {
            Noted::Running(_) => talk::status(&herd.run.socket(name)),
            Noted::Stale(why) => Err(format!("it does not run: {why}")),
            Noted::Nothing => Err("it does not run".to_owned()),
        };
        if let Some(lack) = lack(neighbours, &status) {
            _ = writeln!(lacks, "{name}: {lack}.");
        }
        if let Some(trouble) = status.as_ref().ok().and_then(|status| status.log_trouble.as_ref()) {
            _ = writeln!(remarks, "{name}: its log is not written: {trouble}.");
        }
        if let Some(trouble) =
            status.as_ref().ok().and_then(|status| status.journal_trouble.as_ref())
        {
            _ = writeln!(remarks, "{name}: its journal is not kept: {trouble}.");
        }
        if let Some(trouble) = status.as_ref().ok().and_then(|status| status.clock_trouble.as_ref())
        {
            _ = writeln!(remarks, "{name}: its clock is {trouble}.");
        }
        for link in status.iter().flat_map(|status| &status.links) {
            if let Some(seconds) = link.clock_ahead_s.filter(|seconds| seconds.abs() > 60.0) {
                let neighbour = &link.name;
                _ = writeln!(
                    remarks,
                    "{name}: the clock of {neighbour} is {seconds:+.0} s off its own."
                );
            }
        }
        if let Some(fullness) = status.as_ref().ok().and_then(fullness) {
            _ = writeln!(remarks, "{name}: {fullness}.");
        }
        let address = address.or_else(|| status.as_ref().ok()?.address.clone());
        rows.push(row(name, address, &noted, status.ok().as_ref()));
        Ok::<(), String>(())
    };
    for id in herd.topology.ids() {
        let neighbours: Vec<&str> = herd.neighbours(id).collect();
        describe(herd.topology.name(id), Some(herd.address(id)), &neighbours)?;
    }
    if herd.stand_in {
        describe(PLACES, None, &[])?;
    }
    let columns = [
        "name",
        "address",
        "process",
        "state",
        "links up",
        "clients",
        "records",
        "longest turn",
        "most CPU of a turn",
    ];
    let mut text = layout(&columns, &rows);
    if !stop::anything_runs(&herd.run)? {
        text.push_str("\nNothing runs. `scripts/herd start` starts it.\n");
    } else if !lacks.is_empty() || !remarks.is_empty() {
        _ = write!(text, "\n{lacks}{remarks}");
    }
    Ok((text, lacks.is_empty()))
}

/// One process as a row; `status` is what it said, if it did.
fn row(name: &str, address: Option<String>, noted: &Noted, status: Option<&Status>) -> Vec<String> {
    let (process, state) = match (noted, status) {
        (Noted::Running(process), Some(_)) => (Some(process.pid.to_string()), "running"),
        (Noted::Running(process), None) => (Some(process.pid.to_string()), "silent"),
        _ => (None, "down"),
    };
    let unknown = || "-".to_owned();
    let mut row = vec![
        name.to_owned(),
        address.unwrap_or_else(unknown),
        process.unwrap_or_else(unknown),
        state.to_owned(),
    ];
    match status {
        // The stand-in has no part in what the other columns count.
        Some(status) if name != PLACES => {
            let up = status.links.iter().filter(|link| link.state == "up").count();
            row.push(format!("{up} of {}", status.links.len()));
            row.push(status.clients.to_string());
            row.push(status.records.to_string());
            row.push(milliseconds(status.longest_turn_us));
            row.push(milliseconds(status.longest_turn_cpu_us));
        }
        _ => row.resize(9, unknown()),
    }
    row
}

/// What a store that is or was full has done.
fn fullness(status: &Status) -> Option<String> {
    let Status { evicted, refused, .. } = status;
    (evicted + refused > 0).then(|| {
        format!(
            "its store was full: {evicted} clients were forgotten to make room, {refused} records of \
             new ones were not taken in"
        )
    })
}

/// Microseconds as milliseconds with one digit behind the point.
fn milliseconds(us: u64) -> String {
    let tenths = us / 100;
    format!("{}.{} ms", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::talk::Link;

    fn answered(states: &[(&str, &str)]) -> Status {
        let link = |&(name, state): &(&str, &str)| Link {
            name: name.to_owned(),
            state: state.to_owned(),
            backlog: 0,
            clock_ahead_s: None,
        };
        Status {
            clients: 3,
            records: 12,
            longest_turn_us: 17_250,
            longest_turn_cpu_us: 1_990,
            links: states.iter().map(link).collect(),
            ..Status::default()
        }
    }

    #[test]
    fn a_server_is_ready_when_it_answers_and_its_links_are_up() {
        let good = Ok(answered(&[("Welsh", "up"), ("Hamilton", "up"), ("Ball", "down")]));
        assert_eq!(lack(&["Hamilton", "Welsh"], &good), None);
        assert_eq!(lack(&["Ball"], &good), Some("its link with Ball is down".into()));
        assert_eq!(lack(&["Holiday"], &good), Some("it knows of no link with Holiday".into()));
        assert_eq!(lack(&[], &Err("no answer".into())), Some("no answer".into()));
    }

    #[test]
    fn a_store_that_was_full_is_remarked_on() {
        assert_eq!(fullness(&answered(&[])), None);
        let words = fullness(&Status { evicted: 7, refused: 2, ..Status::default() }).unwrap();
        assert!(
            words.contains("7 clients were forgotten") && words.contains(", 2 records"),
            "{words}"
        );
    }

    #[test]
    fn a_row_tells_running_from_silent_from_down() {
        let gone = Noted::Stale("process 1 is gone".into());
        let cells = row("A", Some("a:1".into()), &gone, None);
        assert_eq!(cells, ["A", "a:1", "-", "down", "-", "-", "-", "-", "-"]);
        let this = crate::process::Process::this().unwrap();
        let (pid, this) = (this.pid.to_string(), Noted::Running(this));
        assert_eq!(row("A", None, &this, None)[..4], ["A", "-", pid.as_str(), "silent"]);
        let status = answered(&[("W", "up"), ("H", "dialling")]);
        let cells = row("A", None, &this, Some(&status));
        assert_eq!(cells[3..], ["running", "1 of 2", "3", "12", "17.2 ms", "1.9 ms"]);
        assert_eq!(
            row(PLACES, None, &this, Some(&status))[3..],
            ["running", "-", "-", "-", "-", "-"]
        );
    }
}
