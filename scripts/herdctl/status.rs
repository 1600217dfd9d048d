//! `status`: asks every server of the topology how it is and prints a table.
//!
//! Changes nothing. All is well only when every server answers and every link is up.

use crate::local_herd::LocalHerd;
use crate::print::layout;
use crate::process::{self, Noted};
use crate::ready::lack;
use crate::run_dir::PLACES;
use crate::stand_in;
use crate::stop;
use crate::talk::{self, Status};
use std::fmt::Write as _;

/// The table, and whether all is well.
pub fn status(herd: &LocalHerd) -> Result<(String, bool), String> {
    let mut rows = Vec::new();
    let mut remarks = String::new();
    for id in herd.topology.ids() {
        let name = herd.topology.name(id);
        let noted = process::noted(&herd.run.process_file(name))?;
        let status = match &noted {
            Noted::Running(_) => talk::status(&herd.run.socket(name)),
            Noted::Stale(why) => Err(format!("it does not run: {why}")),
            Noted::Nothing => Err("it does not run".to_owned()),
        };
        let neighbours: Vec<&str> = herd.neighbours(id).collect();
        if let Some(lack) = lack(&neighbours, &status) {
            _ = writeln!(remarks, "{name}: {lack}.");
        }
        rows.push(row(name, herd.address(id), &noted, status.ok().as_ref()));
    }
    if herd.stand_in {
        let noted = process::noted(&herd.run.process_file(PLACES))?;
        let address = match noted {
            Noted::Running(_) => stand_in::address(herd),
            _ => None,
        };
        if address.is_none() {
            remarks.push_str("places: the stand-in for Google Places does not run.\n");
        }
        let address = address.unwrap_or_else(|| "-".to_owned());
        rows.push(row(PLACES, address, &noted, None));
    }
    let columns =
        ["name", "address", "process", "state", "links up", "clients", "records", "longest turn"];
    let mut text = layout(&columns, &rows);
    if !stop::anything_runs(&herd.run)? {
        text.push_str("\nNothing runs. `scripts/herd start` starts it.\n");
    } else if !remarks.is_empty() {
        _ = write!(text, "\n{remarks}");
    }
    Ok((text, remarks.is_empty()))
}

/// One process as a row; `status` is what it said, if it did.
fn row(name: &str, address: String, noted: &Noted, status: Option<&Status>) -> Vec<String> {
    let (process, state) = match (noted, status) {
        (Noted::Running(process), None) if name != PLACES => (process.pid.to_string(), "silent"),
        (Noted::Running(process), _) => (process.pid.to_string(), "running"),
        _ => ("-".to_owned(), "down"),
    };
    let mut row = vec![name.to_owned(), address, process, state.to_owned()];
    match status {
        Some(status) => {
            let up = status.links.iter().filter(|link| link.state == "up").count();
            row.push(format!("{up} of {}", status.links.len()));
            row.push(status.clients.to_string());
            row.push(status.records.to_string());
            row.push(milliseconds(status.longest_turn_us));
        }
        None => row.resize(8, "-".to_owned()),
    }
    row
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
        };
        Status {
            clients: 3,
            records: 12,
            longest_turn_us: 1_250,
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
    fn a_row_tells_running_from_silent_from_down() {
        let gone = Noted::Stale("process 1 is gone".into());
        assert_eq!(
            row("A", "a:1".into(), &gone, None),
            ["A", "a:1", "-", "down", "-", "-", "-", "-"]
        );
        let status = answered(&[("W", "up"), ("H", "dialling")]);
        let cells = row("A", "a:1".into(), &Noted::Nothing, Some(&status));
        assert_eq!(cells[4..], ["1 of 2", "3", "12", "1.2 ms"]);
    }
}
