//! The herd that is soaked: five servers of the real program with keys and journals that are waited for,
//! every link and the upstream behind a wire that can be cut, and what their processes hold.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::load::{WALKERS, walker};
use super::relay::Relay;
use super::support::{ALFORD, Client, Folder, HERD, Herd, Process, eventually};

pub const NAMES: [&str; 5] = ["Alford", "Ball", "Hamilton", "Holiday", "Welsh"];

/// The server whose clock can be set.
pub const CLOCKED: &str = "Welsh";

const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// How much more memory a process may keep after a fault, see `tests/storms/scene.rs`; more than there,
/// since a soak has dozens of faults, and each may leave a thread and its stack.
const KEPT_KIB_MAX: u64 = 12 * 1024;

/// Descriptors of connections that are on their way out when they are counted.
const KEPT_DESCRIPTORS_MAX: usize = 4;

/// Questions on one connection before the replies are read, below what one connection may have waiting.
const ASKED_AT_ONCE: usize = 30;

pub struct Soaked {
    pub herd: Herd,
    /// The stand-in for Google Places, which lives as long as this.
    _places: Process,
    pub upstream: Relay,
    /// Who dials whom, by name.
    pub wires: Vec<(&'static str, &'static str, Relay)>,
    /// Whether the servers have a name service of their own.
    pub has_names: bool,
    pub has_clock: bool,
    before: Vec<(u64, usize)>,
}

impl Soaked {
    pub fn start() -> Self {
        let mut herd = Herd::new(ALFORD).with_keys();
        let (places, port) = stand_in(&herd.folder);
        let upstream = Relay::to(port);
        let path = |name: &str| herd.folder.path(name).display().to_string();
        let (journal, ca) = (path("journal"), path("ca.pem"));
        herd.arguments.clear();
        let keys = path("keys");
        let at = format!("https://localhost:{}", upstream.port);
        for argument in
            ["--keys", &keys, "--places", &at, "--places-ca", &ca, "--journal", &journal]
        {
            herd.arguments.push(argument.to_owned());
        }
        let rest = "--sync always --log-level warn --max-waiting 64";
        herd.arguments.extend(rest.split(' ').map(str::to_owned));
        // Resident memory is then what a process holds, see `tests/storms/scene.rs`.
        herd.environment.push(("MALLOC_MMAP_THRESHOLD_".to_owned(), "4096".to_owned()));
        let wires = ALFORD.iter().flat_map(|(one, others)| {
            let one = *one;
            others.split_whitespace().flat_map(move |other| [(one, other), (other, one)])
        });
        let wires = wires.map(|(from, to)| (from, to, Relay::to(herd.port(to)))).collect();
        let mut soaked = Self {
            has_names: may_mount(&herd.folder),
            has_clock: Path::new(FAKETIME).exists(),
            herd,
            _places: places,
            upstream,
            wires,
            before: Vec::new(),
        };
        soaked.set_names(true);
        soaked.set_clock(0);
        for name in NAMES {
            soaked.start_one(name);
        }
        for name in NAMES {
            soaked.herd.wait_until_linked(name);
        }
        soaked
    }

    /// Starts one server with the topology as it sees it: its neighbours are at the other ends of wires.
    pub fn start_one(&mut self, name: &str) {
        let rows = ALFORD.iter().map(|(other, links)| {
            let is_it = |(from, to, _): &&(&str, &str, Relay)| *from == name && to == other;
            let wire = self.wires.iter().find(is_it).map(|(.., relay)| relay.port);
            let port = wire.unwrap_or_else(|| self.herd.port(other));
            format!("{other} 127.0.0.1:{port} {links}\n")
        });
        let topology: String = rows.collect();
        self.herd.folder.write("topology.txt", topology);
        if self.has_names {
            self.herd.first = NAMES_FIRST;
        }
        let folder = self.herd.folder.path("").display().to_string();
        let kept = self.herd.environment.len();
        self.herd.environment.push(("SOAK".to_owned(), folder.trim_end_matches('/').to_owned()));
        if self.has_clock && name == CLOCKED {
            let file = self.herd.folder.path("clock").display().to_string();
            for (key, value) in [
                ("LD_PRELOAD", FAKETIME),
                ("FAKETIME_TIMESTAMP_FILE", &file),
                ("FAKETIME_NO_CACHE", "1"),
                ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ] {
                self.herd.environment.push((key.to_owned(), value.to_owned()));
            }
        }
        self.herd.start_one(name);
        self.herd.environment.truncate(kept);
    }

    /// Whether names are found, or the name service keeps silent.
    pub fn set_names(&self, found: bool) {
        let hosts = if found { "127.0.0.1 localhost\n" } else { "" };
        self.herd.folder.write("hosts", hosts);
        // An address of this machine where a socket takes questions and answers none.
        self.herd.folder.write("resolv.conf", "nameserver 127.77.0.1\noptions timeout:5\n");
    }

    /// Sets the clock of [`CLOCKED`] so many seconds off.
    pub fn set_clock(&self, seconds: i64) {
        self.herd.folder.write("clock", format!("{seconds:+}\n"));
    }

    pub fn pid(&self, name: &str) -> u32 {
        let mut servers = self.herd.servers.iter();
        servers.find(|(n, ..)| n == name).unwrap().2.as_ref().unwrap().child.id()
    }

    /// Waits until all links are up and all servers know the same of each walker, no less than what
    /// was acknowledged. Gives how many seconds that took.
    pub fn agree(&self, acknowledged: &[u64]) -> f64 {
        let begun = Instant::now();
        for name in NAMES {
            self.herd.wait_until_linked(name);
        }
        let mut seen = String::new();
        eventually("all servers know the same, and all that was acknowledged", || {
            let known: Vec<Vec<String>> = NAMES.iter().map(|name| self.known(name)).collect();
            let lost = acknowledged.iter().enumerate().find_map(|(number, time)| {
                let short = known.iter().position(|lines| time_of(&lines[number]) < *time)?;
                Some(format!("{} lacks {} of {time}", NAMES[short], walker(number)))
            });
            let differs = || {
                let (number, _) = known[0]
                    .iter()
                    .enumerate()
                    .find(|(number, line)| known.iter().any(|lines| lines[*number] != **line))?;
                let lines: Vec<&String> = known.iter().map(|lines| &lines[number]).collect();
                Some(format!("servers differ: {lines:?}"))
            };
            let Some(wrong) = lost.or_else(differs) else { return Some(()) };
            if wrong != seen && begun.elapsed().as_secs() >= 5 {
                eprintln!("soak: {wrong}");
            }
            seen = wrong;
            None
        });
        begun.elapsed().as_secs_f64()
    }

    /// The AT line of each walker at one server; empty where it knows none.
    fn known(&self, name: &str) -> Vec<String> {
        let mut client = Client::connect(self.herd.port(name));
        let mut lines = Vec::new();
        for first in (0..WALKERS).step_by(ASKED_AT_ONCE) {
            let numbers = first..WALKERS.min(first + ASKED_AT_ONCE);
            let questions = numbers.clone().map(|it| format!("WHATSAT {} 1 0\n", walker(it)));
            client.send(questions.collect::<String>());
            for _ in numbers {
                let line = client.text_line();
                if line.starts_with("? ") {
                    lines.push(String::new());
                } else {
                    while !client.line().is_empty() {}
                    lines.push(line);
                }
            }
        }
        lines
    }

    /// Notes what each process holds in peace.
    pub fn note(&mut self) {
        self.before = NAMES.iter().map(|name| self.held(name)).collect();
    }

    /// Waits until each process holds no more than was noted. Gives by how much memory has grown at most.
    pub fn came_back(&self) -> i64 {
        let mut grown = i64::MIN;
        for (name, before) in NAMES.iter().zip(&self.before) {
            let mut seen = *before;
            eventually(&format!("{name} holds what it held"), || {
                let now = self.held(name);
                if std::mem::replace(&mut seen, now) != now
                    && now.1 > before.1 + KEPT_DESCRIPTORS_MAX
                {
                    eprintln!("soak: {name} held {before:?} (KiB, descriptors), holds {now:?}");
                }
                let fits = now.0 <= before.0 + KEPT_KIB_MAX;
                (fits && now.1 <= before.1 + KEPT_DESCRIPTORS_MAX).then_some(())
            });
            grown = grown.max(seen.0 as i64 - before.0 as i64);
        }
        grown
    }

    /// Resident KiB, and descriptors but those of connections to the upstream, which are kept for a while.
    fn held(&self, name: &str) -> (u64, usize) {
        let pid = self.pid(name);
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        let resident_kib = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        let upstream = self.herd.status(name)["upstream_connections"].as_u64().unwrap_or(0);
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
        (resident_kib, descriptors.saturating_sub(usize::try_from(upstream).unwrap()))
    }
}

/// A server with a name service of its own is begun by this shell, in a mount namespace.
const NAMES_FIRST: &str = "if [ -z \"$SOAK_INSIDE\" ]; then \
    SOAK_INSIDE=1 exec unshare --mount sh -c 'mount --bind \"$SOAK/hosts\" /etc/hosts && \
    mount --bind \"$SOAK/resolv.conf\" /etc/resolv.conf && exec \"$0\" \"$@\"' \"$0\" \"$@\"; fi";

/// Whether mount namespaces may be made here, which takes root.
fn may_mount(folder: &Folder) -> bool {
    folder.write("probe", "");
    let script = "mount --bind \"$0\" /etc/hosts";
    let probe = folder.path("probe");
    let tried = Command::new("unshare").args(["--mount", "sh", "-c", script]).arg(probe).output();
    tried.is_ok_and(|output| output.status.success())
}

fn stand_in(folder: &Folder) -> (Process, u16) {
    let mut command = Command::new(HERD);
    command.args(["places", "--listen", "127.0.0.1:0", "--log-level", "off", "--ca-out"]);
    command.arg(folder.path("ca.pem")).stdout(Stdio::piped());
    let mut process = Process::spawn("places", &mut command, folder);
    let mut first = String::new();
    BufReader::new(process.child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let address = first.strip_prefix("listening on ").unwrap().split(": ").next().unwrap();
    let port = address.rsplit(':').next().unwrap().parse().unwrap();
    (process, port)
}

/// The client's time in an AT line; 0 for none.
fn time_of(line: &str) -> u64 {
    line.rsplit(' ').next().and_then(|time| time.parse().ok()).unwrap_or(0)
}
