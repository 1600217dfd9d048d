//! Servers under measurement: herds of ours with a topology of their own, and peers, on CPU 0.
//!
//! A started server answers; it stops with the value that stands for it. What is measured on it is not
//! known here. Called by the rows.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::bench::{Bench, Turn, make_folder, write};
use crate::peers::Peer;
use crate::process::{DISTURBED, LOAD_CPU, Process};

/// The CPU of the servers.
pub const SERVER_CPU: u32 = 0;

/// The five servers of the original project, each with those that it dials.
pub const RING: [(&str, &[&str]); 5] = [
    ("Alford", &["Hamilton", "Welsh"]),
    ("Ball", &["Holiday", "Welsh"]),
    ("Hamilton", &["Holiday"]),
    ("Holiday", &[]),
    ("Welsh", &[]),
];

/// What quiet servers log.
pub const QUIET: &str = "--log-level warn";

/// How long a server may take to answer after its start; a journal or an interpreter takes a while.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// How long a link or a record may take to arrive.
pub const HERD_PATIENCE: Duration = Duration::from_secs(60);

/// How long a server may take to answer a question.
pub const ANSWER_PATIENCE: Duration = Duration::from_secs(60);

/// Nobody listens there, so that a WHATSAT ends at once and asks nobody outside.
const NO_PLACES: &str = "https://127.0.0.1:1";

/// A running server.
pub struct Server {
    /// The name in the table.
    pub title: String,
    /// The language in which `herd load` speaks to it.
    pub kind: &'static str,
    /// Its process.
    pub process: Process,
    /// Where it listens.
    pub port: u16,
    /// Whether its threads wait for each other on its CPU: the log's where every line is told, and the one that
    /// syncs a journal.
    pub shares_cpu: bool,
    control: Option<PathBuf>,
    log: Option<PathBuf>,
}

impl Server {
    fn start(
        bench: &Bench,
        title: &str,
        command: &Command,
        cpu: u32,
        port: u16,
    ) -> Result<Self, String> {
        let output = bench.scratch.join(format!("{title}-{port}.out"));
        let mut process = Process::start(command, Some(cpu), &output)?;
        let answers = bench.stop.wait(START_PATIENCE, || {
            let open = TcpStream::connect(("127.0.0.1", port)).is_ok();
            if open { Some(true) } else { process.ended().map(|_| false) }
        });
        if answers != Some(true) {
            let said = fs::read_to_string(&output).unwrap_or_default();
            return Err(format!(
                "{title} does not answer after its start; it said: {}",
                said.trim()
            ));
        }
        Ok(Self {
            title: title.to_owned(),
            kind: "iamat",
            process,
            port,
            shares_cpu: false,
            control: None,
            log: None,
        })
    }

    /// Empties the log of a server of ours in place, under its hands: it writes on at the new end, as it has
    /// opened the file for appending. Else it would grow from sample to sample, and sooner or later into memory
    /// that a virtual machine must first get from its host, which is not what is measured here.
    pub fn empty_log(&self) -> Result<(), String> {
        let Some(log) = &self.log else { return Ok(()) };
        let file = fs::OpenOptions::new().write(true).open(log).and_then(|file| file.set_len(0));
        file.map_err(|error| format!("the log of {} cannot be emptied: {error}", self.title))
    }

    /// A peer. The ports are those of its neighbours.
    pub fn peer(
        bench: &Bench,
        peer: Peer,
        name: &str,
        port: u16,
        neighbours: &[u16],
    ) -> Result<Self, String> {
        let command = bench.places.command(peer, name, port, neighbours);
        let server = Self::start(bench, peer.name(), &command, SERVER_CPU, port)?;
        Ok(Self { kind: peer.kind(), ..server })
    }

    /// A program that listens on this port.
    pub fn other(bench: &Bench, title: &str, command: &Command, port: u16) -> Result<Self, String> {
        Self::start(bench, title, command, SERVER_CPU, port)
    }

    /// Where it listens, as `herd load` wants it.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Says a line and reads one of the answer, on a connection of its own.
    pub fn say(&self, line: &str) -> Result<String, String> {
        let fault = |error: std::io::Error| format!("{}: {error}", self.title);
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).map_err(fault)?;
        stream.set_read_timeout(Some(ANSWER_PATIENCE)).map_err(fault)?;
        stream.write_all(format!("{line}\n").as_bytes()).map_err(fault)?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).map_err(fault)?;
        Ok(answer)
    }

    /// What a server of ours tells of itself.
    pub fn status(&self) -> Result<Value, String> {
        let fault =
            |error: std::io::Error| format!("the control socket of {}: {error}", self.title);
        let path = self.control.as_ref().ok_or("only our servers have a control socket")?;
        let mut stream = UnixStream::connect(path).map_err(fault)?;
        stream.set_read_timeout(Some(ANSWER_PATIENCE)).map_err(fault)?;
        stream.write_all(b"STATUS\n").map_err(fault)?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).map_err(fault)?;
        serde_json::from_str(&answer).map_err(|error| format!("{}: {error}", self.title))
    }

    /// Records the longest turns of a server of ours under the present row's work. Called before the
    /// server is stopped.
    pub fn note_turn(&self, bench: &mut Bench) {
        // A server that does not answer has no turn to report.
        let status = self.status().unwrap_or_default();
        let number = |key| status.get(key).and_then(Value::as_f64);
        let longest = number("longest_turn_us").zip(number("longest_turn_cpu_us"));
        let disturbed = self.process.waited_share().is_ok_and(|share| share > DISTURBED);
        let row = bench.row;
        bench.turns.extend(longest.map(|(us, cpu_us)| Turn { row, us, cpu_us, disturbed }));
    }

    /// A number of its status.
    pub fn counts(&self, key: &str) -> Result<f64, String> {
        let number = self.status()?.get(key).and_then(Value::as_f64);
        number.ok_or_else(|| format!("the status of {} has no {key:?}", self.title))
    }
}

/// A herd of ours for one measurement: a folder with a topology, logs and sockets, gone with this value.
pub struct Stage {
    folder: PathBuf,
    servers: Vec<(String, u16)>,
    links: usize,
}

impl Stage {
    /// Writes a topology of these servers, each with those that it dials.
    pub fn set(bench: &mut Bench, servers: &[(&str, &[&str])]) -> Result<Self, String> {
        let mut text = String::new();
        let mut named = Vec::new();
        for (name, neighbours) in servers {
            let port = bench.port()?;
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name} 127.0.0.1:{port} {}", neighbours.join(" "));
            named.push(((*name).to_owned(), port));
        }
        let first = named.first().map_or(0, |(_, port)| *port);
        let folder = bench.scratch.join(format!("herd-{first}"));
        make_folder(&folder)?;
        write(&folder.join("topology.txt"), &text)?;
        let links = servers.iter().map(|(_, neighbours)| neighbours.len()).sum();
        Ok(Self { folder, servers: named, links })
    }

    /// One server without neighbours.
    pub fn alone(bench: &mut Bench) -> Result<Self, String> {
        Self::set(bench, &[("Alford", &[])])
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes the keys of the herd, and says how a server is told of them.
    pub fn keys(&self, bench: &Bench) -> Result<String, String> {
        let keys = self.folder.join("keys");
        let mut command = Command::new(&bench.herd);
        command.arg("keys").arg("--topology").arg(self.folder.join("topology.txt")).arg(&keys);
        let output = command.output().map_err(|error| format!("herd keys: {error}"))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        Ok(format!("--keys {}", keys.display()))
    }

    /// Starts one of its servers with these further flags of `herd serve`.
    pub fn serve(
        &self,
        bench: &Bench,
        name: &str,
        title: &str,
        flags: &str,
    ) -> Result<Server, String> {
        self.serve_on(bench, name, title, flags, SERVER_CPU)
    }

    /// Starts the stand-in for Places, which writes its certificate into the file.
    pub fn stand_in(&self, bench: &Bench, port: u16, ca: &Path) -> Result<Server, String> {
        let control = self.folder.join("places.sock");
        let mut command = Command::new(&bench.herd);
        command.args(["places", "--listen", &format!("127.0.0.1:{port}"), "--ca-out"]).arg(ca);
        command.arg("--log-dir").arg(&self.folder).args(["--log-level", "info"]);
        command.arg("--control").arg(&control);
        let server = Server::start(bench, "places", &command, LOAD_CPU, port)?;
        // The certificate is written after the port is taken, so a second stand-in never overwrites the first
        // one's.
        let written = bench.stop.wait(START_PATIENCE, || ca.is_file().then_some(()));
        written.ok_or("the stand-in for Places does not write its certificate")?;
        Ok(Server { control: Some(control), ..server })
    }

    /// The same on another CPU.
    pub fn serve_on(
        &self,
        bench: &Bench,
        name: &str,
        title: &str,
        flags: &str,
        cpu: u32,
    ) -> Result<Server, String> {
        let found = self.servers.iter().find(|(server, _)| server == name);
        let (_, port) = found.ok_or_else(|| format!("no server {name} in this herd"))?;
        let command = self.command(bench, name, flags);
        let server = Server::start(bench, title, &command, cpu, *port)?;
        let log = Some(self.folder.join(format!("{name}.log")));
        let shares_cpu = !flags.contains(QUIET) || flags.contains("--journal ");
        Ok(Server { control: Some(self.control(name)), log, shares_cpu, ..server })
    }

    /// Starts one of them whose system calls are counted into a file, which is written when it has ended.
    pub fn serve_counted(
        &self,
        bench: &Bench,
        name: &str,
        flags: &str,
        counted: &Path,
    ) -> Result<Server, String> {
        let found = self.servers.iter().find(|(server, _)| server == name);
        let (_, port) = found.ok_or_else(|| format!("no server {name} in this herd"))?;
        let command = self.command(bench, name, flags);
        // -DD: the counting is done beside the server and out of its group, so that the process that was
        // started is the server, and its end does not end the counting before its time.
        let mut strace = Command::new("strace");
        strace.args(["-DD", "-f", "-c", "-o"]).arg(counted);
        strace.arg(command.get_program()).args(command.get_args());
        Server::start(bench, name, &strace, SERVER_CPU, *port)
    }

    fn command(&self, bench: &Bench, name: &str, flags: &str) -> Command {
        let mut command = Command::new(&bench.herd);
        command.args(["serve", name, "--topology"]).arg(self.folder.join("topology.txt"));
        command.arg("--log-dir").arg(&self.folder).arg("--control").arg(self.control(name));
        if !flags.contains("--places ") {
            command.args(["--places", NO_PLACES]);
        }
        command.args(flags.split_whitespace());
        command
    }

    fn control(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.sock"))
    }

    /// Starts all of them and waits until every link is up.
    pub fn serve_all(
        &self,
        bench: &Bench,
        title: &str,
        flags: &str,
    ) -> Result<Vec<Server>, String> {
        let names = self.servers.iter().map(|(name, _)| self.serve(bench, name, title, flags));
        let servers = names.collect::<Result<Vec<_>, _>>()?;
        let linked = || (links_up(&servers) == 2 * self.links).then_some(());
        let up = bench.stop.wait(HERD_PATIENCE, linked);
        up.ok_or_else(|| format!("the links of {title} do not come up"))?;
        Ok(servers)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// How many ends of links are up.
fn links_up(servers: &[Server]) -> usize {
    let up = |status: Value| {
        let links = status.get("links").and_then(Value::as_array).cloned().unwrap_or_default();
        links.iter().filter(|link| link.get("state").is_some_and(|state| state == "up")).count()
    };
    servers.iter().filter_map(|server| server.status().ok()).map(up).sum()
}
