//! What all rows share: the machine, the sizes, the peers that are there, and what has been measured.
//!
//! Owns the scratch folder, the ports and the files of results. It starts nothing by itself and judges
//! nothing. Made by `main`, handed to every row.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::machine;
use crate::options::{Options, Sizes};
use crate::peers::{PEERS, Peer, Places};
use crate::pictures::Pictures;
use crate::process::Stop;
use crate::table::{Row, markdown};

/// The servers' ports, below those that the system gives to outgoing connections.
const PORTS: std::ops::Range<u16> = 12_000..30_000;

/// The longest turns of one server.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    /// The row of which it was measured.
    pub row: &'static str,
    /// The longest by the clock, in microseconds.
    pub us: f64,
    /// The most processor time that one used, in microseconds, of those that a single event did not bring.
    pub cpu_us: f64,
    /// Others had the server's CPU now and then, perhaps in the middle of a turn.
    pub disturbed: bool,
}

/// See the module's documentation.
pub struct Bench {
    /// How much is measured.
    pub sizes: Sizes,
    /// Whether the release is built from nothing, too.
    pub build: bool,
    /// The machine, by its kind.
    pub machine: String,
    /// Whether to stop.
    pub stop: Stop,
    /// The program under measurement.
    pub herd: PathBuf,
    /// The top of the repository.
    pub root: PathBuf,
    /// The folder of builds.
    pub target: PathBuf,
    /// A folder for what is written during the run.
    pub scratch: PathBuf,
    /// Where the peers are.
    pub places: Places,
    /// Those of them that are installed.
    pub peers: Vec<Peer>,
    /// Those that are not, each with how to get it.
    pub missing: Vec<(Peer, &'static str)>,
    /// The table so far.
    pub rows: Vec<Row>,
    /// What the pictures are drawn from.
    pub pictures: Pictures,
    /// Every sample, as `herd load` told it.
    pub samples: Vec<Value>,
    /// The name of the row that is being measured.
    pub row: &'static str,
    /// The longest turns of servers of ours.
    pub turns: Vec<Turn>,
    next_port: u16,
}

impl Bench {
    /// Looks round: the programs, the peers, the folders.
    pub fn prepare(options: &Options) -> Result<Self, String> {
        let sizes = options.sizes;
        let bench = std::env::current_exe().map_err(|error| error.to_string())?;
        let herd = bench.with_file_name("herd");
        if !herd.is_file() {
            return Err(format!(
                "{} is missing: run scripts/bench, which builds it",
                herd.display()
            ));
        }
        let target = bench.ancestors().nth(2).unwrap_or(Path::new("target")).to_path_buf();
        let root = std::env::var_os("HERD_ROOT").map_or_else(|| PathBuf::from("."), PathBuf::from);
        let scratch = target.join("bench").join(format!("scratch-{}", std::process::id()));
        make_folder(&scratch)?;
        let places =
            Places { sources: root.join("scripts/peers"), installed: target.join("bench-peers") };
        let (mut peers, mut missing) = (Vec::new(), Vec::new());
        for peer in PEERS.into_iter().filter(|_| sizes.peers) {
            match places.missing(peer) {
                None => peers.push(peer),
                Some(hint) => missing.push((peer, hint)),
            }
        }
        let first = PORTS.start + u16::try_from(std::process::id() % 10_000).unwrap_or(0);
        Ok(Self {
            sizes,
            build: options.build,
            machine: machine::kind(),
            stop: Stop::catch()?,
            herd,
            root,
            target,
            scratch,
            places,
            peers,
            missing,
            rows: Vec::new(),
            pictures: Pictures::default(),
            samples: Vec::new(),
            row: "",
            turns: Vec::new(),
            next_port: first,
        })
    }

    /// Says how far it is.
    #[allow(clippy::unused_self, reason = "all that is said comes from the bench")]
    pub fn say(&self, words: &str) {
        eprintln!("bench: {words}");
    }

    /// An error for the results, which name no folder of this machine.
    pub fn without_paths(&self, words: &str) -> String {
        let folders = [&self.scratch, &self.target, &self.root].into_iter();
        let folders = folders.filter(|folder| folder.is_absolute());
        folders.fold(words.to_owned(), |words, folder| {
            words.replace(&folder.display().to_string(), "…")
        })
    }

    /// A port on which nobody listens, and which is not given out again soon.
    pub fn port(&mut self) -> Result<u16, String> {
        for _ in PORTS {
            let port = self.next_port;
            self.next_port = if port + 1 < PORTS.end { port + 1 } else { PORTS.start };
            if TcpListener::bind(("127.0.0.1", port)).is_ok() {
                return Ok(port);
            }
        }
        Err("no port of 127.0.0.1 is free".to_owned())
    }

    /// Prints the table, and writes it, the samples and the pictures into a folder.
    pub fn publish(&self, folder: Option<&Path>) -> Result<(), String> {
        let folder = folder.map_or_else(|| self.target.join("bench"), Path::to_path_buf);
        make_folder(&folder)?;
        let (machine, day, mode) = (&self.machine, machine::today(), self.sizes.mode);
        let table = format!(
            "{}\nMeasured by `scripts/bench{mode}` on {machine}, {day}.\n",
            markdown(&self.rows)
        );
        print!("{table}");
        let turns: Vec<Value> = self
            .turns
            .iter()
            .map(|turn| {
                json!({ "row": turn.row, "longest_turn_us": turn.us, "longest_turn_cpu_us": turn.cpu_us })
            })
            .collect();
        let results = json!({
            "machine": machine,
            "day": day,
            "rows": self.rows.iter().map(Row::json).collect::<Vec<_>>(),
            "turns": turns,
            "samples": self.samples,
        });
        write(&folder.join("results.json"), &format!("{results:#}\n"))?;
        write(&folder.join("table.md"), &table)?;
        for (name, svg) in self.pictures.draw(&self.machine) {
            write(&folder.join(name), &svg)?;
        }
        self.say(&format!("results.json, table.md and pictures are in {}", folder.display()));
        Ok(())
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.scratch);
    }
}

/// Makes a folder and those above it.
pub fn make_folder(folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))
}

/// Writes a file.
pub fn write(file: &Path, text: &str) -> Result<(), String> {
    let written = fs::write(file, text);
    // One of them is a key, which must be its owner's alone.
    let private = || fs::set_permissions(file, fs::Permissions::from_mode(0o600));
    written
        .and_then(|()| private())
        .map_err(|error| format!("cannot write {}: {error}", file.display()))
}
