//! System calls per request of one client who waits for each answer: wait, read, write, and nothing else.
//!
//! Counted by `strace -c`. Two runs of different lengths are subtracted, so that starting, connecting and
//! stopping fall out.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::bench::Bench;
use crate::load::load;
use crate::process::find;
use crate::servers::QUIET;
use crate::servers::{ANSWER_PATIENCE, Stage};
use crate::table::{Check, Row, short};

/// Requests of the shorter and of the longer run.
const FEW: u32 = 1_000;
const MANY: u32 = 5_000;

/// What one request needs: to wait for it, to read it, and to answer. The standard library reads and writes
/// sockets with `recvfrom` and `sendto`; some systems have their own names for the waiting.
const NEEDED: [&str; 7] =
    ["epoll_wait", "epoll_pwait", "epoll_pwait2", "recvfrom", "read", "sendto", "write"];

/// Calls of a kind, by the name of the kind.
type Calls = BTreeMap<String, f64>;

/// Counts them, where strace is installed.
pub fn syscalls(bench: &mut Bench) -> Result<Vec<Row>, String> {
    let work = "1 connection × 1: system calls per request";
    let goal = "wait, read, write; no other";
    if find("strace").is_none() {
        bench.say("without strace: install it by your system's packages");
        return Ok(vec![Row::new(work, goal, "skipped: strace is not installed".to_owned())]);
    }
    let (few, many) = (count(bench, FEW)?, count(bench, MANY)?);
    let each = per_request(&few, &many, f64::from(MANY - FEW));
    let (needed, other): (Calls, Calls) =
        each.into_iter().partition(|(name, _)| NEEDED.contains(&name.as_str()));
    let told: Vec<String> = needed
        .iter()
        .filter(|(_, calls)| **calls > 0.0)
        .map(|(name, calls)| format!("{name} {}", short(*calls)))
        .collect();
    let (needed, other) = (needed.values().sum(), other.values().sum());
    let row = Row::new(work, goal, format!("{}; others {}", told.join(", "), short(other)));
    // A wait that was interrupted or a timer of the server's own comes once in a while.
    Ok(vec![row.judged(&[Check::at_most(needed, 3.01), Check::at_most(other, 0.01)])])
}

/// All calls of a server's life with so many requests.
fn count(bench: &mut Bench, requests: u32) -> Result<Calls, String> {
    let stage = Stage::alone(bench)?;
    let counted = stage.folder().join("strace.txt");
    let server = stage.serve_counted(bench, "Alford", QUIET, &counted)?;
    let words = format!("--connections 1 --depth 1 --requests {requests}");
    load(bench, &format!("{} {words}", server.address()))?;
    drop(server);
    // strace writes when the server has ended.
    let whole = || read(&counted);
    let calls = bench.stop.wait(ANSWER_PATIENCE, whole);
    calls.ok_or_else(|| "strace counted nothing: is it allowed to trace here?".to_owned())
}

fn read(counted: &Path) -> Option<Calls> {
    parse(&fs::read_to_string(counted).ok()?)
}

/// Reads the summary of `strace -c`; nothing while it is not whole.
///
/// ```text
///  20.19    0.040133           8      5004        12 sendto
/// ```
fn parse(summary: &str) -> Option<Calls> {
    let mut calls = Calls::new();
    for line in summary.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        // The column of errors is empty where there were none.
        let ([_, _, _, count, name] | [_, _, _, count, _, name]) = words.as_slice() else {
            continue;
        };
        if *name == "total" {
            return Some(calls);
        }
        if let Ok(count) = count.parse() {
            calls.insert((*name).to_owned(), count);
        }
    }
    None
}

/// What each further request has added.
fn per_request(few: &Calls, many: &Calls, requests: f64) -> Calls {
    let added = |(name, calls): (&String, &f64)| {
        let more = calls - few.get(name).copied().unwrap_or(0.0);
        let each = more.max(0.0) / requests;
        // To the thousandth, so that a wait that took in two things is no long fraction in the table.
        (name.clone(), (each * 1e3).round() / 1e3)
    };
    many.iter().map(added).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "% time     seconds  usecs/call     calls    errors syscall\n\
                        ------ ----------- ----------- --------- --------- ----------------\n";

    #[test]
    fn the_summary_is_read_when_it_is_whole() {
        let lines = " 20.19    0.040133           8      5004           sendto\n\
                     \x20 8.07    0.016030           3      5003         1 recvfrom\n";
        assert_eq!(parse(&format!("{HEAD}{lines}")), None);
        let total = "100.00    0.198753          13     15200         4 total\n";
        let calls = parse(&format!("{HEAD}{lines}{total}")).unwrap();
        let expected = [("recvfrom".to_owned(), 5003.0), ("sendto".to_owned(), 5004.0)];
        assert_eq!(calls, Calls::from(expected));
    }

    #[test]
    fn only_what_requests_have_added_counts() {
        let calls =
            |sent, mapped| Calls::from([("sendto".to_owned(), sent), ("mmap".to_owned(), mapped)]);
        let each = per_request(&calls(104.0, 30.0), &calls(204.0, 29.0), 100.0);
        assert_eq!(each, calls(1.0, 0.0));
    }
}
