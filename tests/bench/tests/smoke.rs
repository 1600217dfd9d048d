//! `scripts/bench` as CI meets it: a smoke of every row, without peers and without a network. Whether it works
//! is looked at, never how fast.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

fn bench(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
    command
        .args(words)
        .env("HERD_ROOT", concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .env_remove("HERD_RUN");
    command
}

/// Two that measure at the same time would take each other's CPUs, and might meet each other's servers.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-{name}"));
    let _ = fs::remove_dir_all(&folder);
    folder
}

/// The command lines that name a bench's scratch folder: its servers and generators.
fn left_over(bench: u32) -> Vec<String> {
    let scratch = format!("scratch-{bench}/");
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).into_owned());
    lines.filter(|line| line.contains(&scratch)).collect()
}

#[test]
fn a_smoke_measures_every_row_and_writes_the_results() {
    let _alone = alone();
    let out = folder("smoke");
    let child = bench(&["--smoke", "--out"]).arg(&out).stdout(Stdio::piped()).spawn().unwrap();
    let pid = child.id();
    let output = child.wait_with_output().unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && !table.contains("failed"), "{table}");

    let text = fs::read_to_string(out.join("results.json")).unwrap();
    let results: serde_json::Value = serde_json::from_str(&text).unwrap();
    let rows = results["rows"].as_array().unwrap();
    assert_eq!(table.lines().filter(|line| line.starts_with("| ")).count(), rows.len() + 1);
    let help = String::from_utf8(bench(&["--help"]).output().unwrap().stdout).unwrap();
    let (_, names) = help.split_once("rows only, of:").unwrap();
    let names = names.split_once("--rounds").unwrap().0.split(',').count();
    assert!(rows.len() >= names, "{} rows of {names} works", rows.len());
    // A smoke judges nothing: its figures mean nothing.
    assert!(rows.iter().all(|row| row["met"] == "-"), "{table}");
    assert!(results["samples"].as_array().unwrap().len() > rows.len() / 2);

    assert_eq!(fs::read_to_string(out.join("table.md")).unwrap(), table);
    for picture in ["throughput.svg", "latency.svg"] {
        let svg = fs::read_to_string(out.join(picture)).unwrap();
        assert!(svg.starts_with("<svg ") && svg.contains(">herd</text>"), "{svg}");
    }
    assert_eq!(left_over(pid), [""; 0]);
}

#[test]
fn what_it_has_started_ends_with_it() {
    let _alone = alone();
    let out = folder("ended");
    let mut command = bench(&["--smoke", "--rounds", "100", "--only", "ring", "--out"]);
    let mut child =
        command.arg(&out).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap() == "bench: ring"));
    let asked = Command::new("sh").args(["-c", &format!("kill {}", child.id())]).status().unwrap();
    assert!(asked.success());
    let pid = child.id();
    let rest: Vec<String> = said.map_while(Result::ok).collect();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(rest.iter().any(|line| line.contains("stopped before the end")), "{rest:?}");
    assert_eq!(left_over(pid), [""; 0]);
}

#[test]
fn a_wrong_call_is_told_and_measures_nothing() {
    let output = bench(&["--smoke", "--only", "speed"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("there is no row \"speed\""), "{said}");
}
