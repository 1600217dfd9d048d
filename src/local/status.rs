//! `status`: asks every server of the topology how it is and prints a table.
//!
//! Changes nothing. All is well only when every server answers and every link is up.

use super::local_herd::LocalHerd;
use super::print::{layout, program};
use super::process::{self, Noted};
use super::ready::lack;
use super::run_dir::PLACES;
use super::stop;
use super::talk::{self, Link, LookUp, Status};
use std::fmt::Write as _;

/// A look-up that takes longer is worth a remark.
const LOOK_UP_SECONDS: f64 = 1.0;

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
        if let Ok(status) = &status {
            remarks.push_str(&remarks_on(name, status));
        }
        if let Some(fullness) = status.as_ref().ok().and_then(fullness) {
            _ = writeln!(remarks, "{name}: {fullness}.");
        }
        for link in status.iter().flat_map(|status| &status.links).filter(|link| link.behind) {
            let Link { name: neighbour, backlog, .. } = link;
            _ = writeln!(
                remarks,
                "{name}: its link with {neighbour} is behind by {backlog} records; replies do not wait for it."
            );
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
        _ = writeln!(text, "\nNothing runs. `{} start` starts it.", program());
    } else if !lacks.is_empty() || !remarks.is_empty() {
        _ = write!(text, "\n{lacks}{remarks}");
    }
    Ok((text, lacks.is_empty()))
}

/// What else there is to know of a server: what is wrong with its log, its journal and its clock, and what
/// waits.
fn remarks_on(name: &str, status: &Status) -> String {
    let mut text = String::new();
    if let Some(trouble) = &status.log_trouble {
        _ = writeln!(text, "{name}: its log is not written: {trouble}.");
    }
    if let Some(trouble) = &status.journal_trouble {
        _ = writeln!(text, "{name}: its journal is not safe on disk: {trouble}.");
    }
    if let Some(trouble) = &status.clock_trouble {
        _ = writeln!(text, "{name}: its clock is {trouble}.");
    }
    for link in &status.links {
        if let Some(seconds) = link.clock_ahead_s.filter(|seconds| seconds.abs() > 60.0) {
            let neighbour = &link.name;
            _ = writeln!(text, "{name}: the clock of {neighbour} is {seconds:+.0} s off its own.");
        }
    }
    for look_up in status.look_ups.iter().filter(|l| l.seconds >= LOOK_UP_SECONDS) {
        let LookUp { name: host, since, seconds, is_running, connections } = look_up;
        let what = if *is_running { "no answer" } else { "no free thread" };
        let waiting = match connections {
            0 => "nobody waits for it any more".to_owned(),
            1 => "1 connection waits for it".to_owned(),
            several => format!("{several} connections wait for it"),
        };
        _ = writeln!(
            text,
            "{name}: the look-up of {host} has had {what} since {since}, {seconds:.1} s; {waiting}."
        );
    }
    text
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

    fn answered(states: &[(&str, &str)]) -> Status {
        let link = |&(name, state): &(&str, &str)| Link {
            name: name.to_owned(),
            state: state.to_owned(),
            backlog: 0,
            behind: false,
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
        let this = crate::local::process::Process::this().unwrap();
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

    #[test]
    fn what_waits_is_told_with_its_time_once_it_takes_long() {
        let look_up = |name: &str, seconds, is_running, connections| LookUp {
            name: name.to_owned(),
            since: "2026-01-02T03:04:05Z".to_owned(),
            seconds,
            is_running,
            connections,
        };
        let clock_of = |(name, clock_ahead_s): (&str, _)| Link {
            name: name.to_owned(),
            state: "up".to_owned(),
            backlog: 0,
            behind: false,
            clock_ahead_s,
        };
        let status = Status {
            log_trouble: Some("No space left on device".to_owned()),
            clock_trouble: Some("doubted: neighbours disagree".to_owned()),
            links: [("B", Some(-3_600.4)), ("C", Some(59.9)), ("D", None)].map(clock_of).into(),
            journal_trouble: Some("a sync has not come back for 6.1 s".to_owned()),
            look_ups: vec![
                look_up("quick.test", 0.3, true, 1),
                look_up("places.test", 7.25, true, 3),
                look_up("given-up.test", 30.0, true, 0),
                look_up("fifth.test", 2.0, false, 1),
            ],
            ..Status::default()
        };
        let since = "since 2026-01-02T03:04:05Z";
        let lines = [
            "A: its log is not written: No space left on device.".to_owned(),
            "A: its journal is not safe on disk: a sync has not come back for 6.1 s.".to_owned(),
            "A: its clock is doubted: neighbours disagree.".to_owned(),
            "A: the clock of B is -3600 s off its own.".to_owned(),
            format!(
                "A: the look-up of places.test has had no answer {since}, 7.2 s; 3 connections wait for it."
            ),
            format!(
                "A: the look-up of given-up.test has had no answer {since}, 30.0 s; nobody waits for it any more."
            ),
            format!(
                "A: the look-up of fifth.test has had no free thread {since}, 2.0 s; 1 connection waits for it."
            ),
        ];
        assert_eq!(remarks_on("A", &status), lines.join("\n") + "\n");
        assert_eq!(remarks_on("A", &Status::default()), "");
    }
}
