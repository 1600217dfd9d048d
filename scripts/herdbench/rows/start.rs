//! How long the release takes to build from nothing, and `scripts/herd start` to the first answer.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::bench::{Bench, make_folder, write};
use crate::process::Process;
use crate::servers::RING;
use crate::table::{Check, Row, short};

/// How long the build may take at all.
const BUILD_PATIENCE: Duration = Duration::from_secs(900);

/// How long `scripts/herd` may take at all.
const HERD_PATIENCE: Duration = Duration::from_secs(120);

/// Both, the build only when it was asked for.
pub fn start(bench: &mut Bench) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    if bench.build {
        rows.push(build(bench)?);
    }
    rows.push(first_answer(bench)?);
    Ok(rows)
}

/// Builds into an empty folder. What cargo has fetched stays.
fn build(bench: &Bench) -> Result<Row, String> {
    let mut command = Command::new("cargo");
    command.args(["build", "--release", "--locked", "--quiet", "--bin", "herd", "--manifest-path"]);
    command.arg(bench.root.join("Cargo.toml")).arg("--target-dir").arg(bench.scratch.join("build"));
    let started = Instant::now();
    let mut process = Process::spawn(command.stdin(Stdio::null()), "cargo build".to_owned())?;
    let status = process.finish(&bench.stop, BUILD_PATIENCE)?;
    let seconds = started.elapsed().as_secs_f64();
    if !status.success() {
        return Err("the release does not build".to_owned());
    }
    Ok(Row::new("release build from nothing", "≤ 90 s", format!("{} s", short(seconds)))
        .judged(&[Check::at_most(seconds, 90.0)]))
}

/// The time from the call to the first answer of the first server, of a herd that was started before.
fn first_answer(bench: &mut Bench) -> Result<Row, String> {
    let ports = RING.map(|_| bench.port()).into_iter().collect::<Result<Vec<_>, _>>()?;
    let folder = bench.scratch.join("start");
    make_folder(&folder)?;
    let lines = RING.iter().zip(&ports).map(|((name, neighbours), port)| {
        format!("{name} 127.0.0.1:{port} {}\n", neighbours.join(" "))
    });
    write(&folder.join("topology.txt"), &lines.collect::<String>())?;
    let port = *ports.first().ok_or("a ring has servers")?;

    // The first start makes the keys, and looks whether something must be built.
    script(bench, &["start"])?.finish(&bench.stop, HERD_PATIENCE)?;
    script(bench, &["stop"])?.finish(&bench.stop, HERD_PATIENCE)?;
    let started = Instant::now();
    let mut starting = script(bench, &["start"])?;
    let answer = bench.stop.wait(HERD_PATIENCE, || answers(port));
    let answered = started.elapsed().as_secs_f64();
    let status = starting.finish(&bench.stop, HERD_PATIENCE);
    let ready = started.elapsed().as_secs_f64();
    script(bench, &["stop"])?.finish(&bench.stop, HERD_PATIENCE)?;
    answer.ok_or("scripts/herd start does not make the herd answer")?;
    if !status?.success() {
        return Err("scripts/herd start failed".to_owned());
    }
    let told = format!("{} s (all five linked: {} s)", short(answered), short(ready));
    let work = "`scripts/herd start` of a built herd: the first answer";
    Ok(Row::new(work, "≤ 0.5 s", told).judged(&[Check::at_most(answered, 0.5)]))
}

fn script(bench: &Bench, words: &[&str]) -> Result<Process, String> {
    let folder = bench.scratch.join("start");
    let mut command = Command::new(bench.root.join("scripts/herd"));
    if !bench.sizes.peers {
        // The script would build a release, which a smoke has no time for.
        command = Command::new(bench.herd.with_file_name("herdctl"));
        command.env("HERD_ROOT", &bench.root);
    }
    command.args(words).arg("--run").arg(folder.join("run"));
    if words != ["stop"] {
        command.arg("--topology").arg(folder.join("topology.txt"));
    }
    command.env("CARGO_TARGET_DIR", &bench.target).env_remove("PLACES_API_KEY");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Process::spawn(&mut command, "scripts/herd".to_owned())
}

/// One question on a new connection; an answer, if there is one.
fn answers(port: u16) -> Option<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(HERD_PATIENCE)).ok()?;
    stream
        .write_all(b"IAMAT kiwi.cs.ucla.edu +34.068930-118.445127 1479413884.392014450\n")
        .ok()?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).ok()?;
    answer.starts_with("AT ").then_some(())
}
