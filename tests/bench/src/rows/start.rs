//! How long the release takes to build from nothing, and `scripts/herd start` to the first answer.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::bench::{Bench, make_folder, write};
use crate::process::Process;
use crate::servers::RING;
use crate::table::{Check, Row, short};

/// How long the build may take at all: several times its goal, for slow machines.
const BUILD_PATIENCE: Duration = Duration::from_secs(400);

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
    let mut first = Started::start(bench)?;
    first.finish()?;
    drop(first);
    let started = Instant::now();
    let mut again = Started::start(bench)?;
    let answer = bench.stop.wait(HERD_PATIENCE, || answers(port));
    let answered = started.elapsed().as_secs_f64();
    again.finish()?;
    let ready = started.elapsed().as_secs_f64();
    answer.ok_or("scripts/herd start does not make the herd answer")?;
    let told = format!("{} s (all five linked: {} s)", short(answered), short(ready));
    let work = "`scripts/herd start` of a built herd: the first answer";
    Ok(Row::new(work, "≤ 0.5 s", told).judged(&[Check::at_most(answered, 0.5)]))
}

/// A herd that `scripts/herd` was asked to start. It is stopped with this value, however the row ends.
struct Started<'a> {
    bench: &'a Bench,
    starting: Option<Process>,
}

impl<'a> Started<'a> {
    fn start(bench: &'a Bench) -> Result<Self, String> {
        let mut command = script(bench, "start");
        command.arg("--topology").arg(bench.scratch.join("start/topology.txt"));
        let starting = Process::spawn(&mut command, "scripts/herd start".to_owned())?;
        Ok(Self { bench, starting: Some(starting) })
    }

    /// Waits until it says that all of it is up.
    fn finish(&mut self) -> Result<(), String> {
        let Some(starting) = &mut self.starting else { return Ok(()) };
        let status = starting.finish(&self.bench.stop, HERD_PATIENCE)?;
        status.success().then_some(()).ok_or_else(|| "scripts/herd start failed".to_owned())
    }
}

impl Drop for Started<'_> {
    fn drop(&mut self) {
        // First the one that starts servers, then those that it has started.
        self.starting = None;
        let _ = script(self.bench, "stop").status();
    }
}

fn script(bench: &Bench, word: &str) -> Command {
    let mut command = Command::new(bench.root.join("scripts/herd"));
    if !bench.sizes.peers {
        // The script would build a release, which a smoke has no time for.
        command = Command::new(&bench.herd);
        command.env("HERD_ROOT", &bench.root);
    }
    command.arg(word).arg("--run").arg(bench.scratch.join("start/run"));
    command.env("CARGO_TARGET_DIR", &bench.target).env_remove("PLACES_API_KEY");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
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
