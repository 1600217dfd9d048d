//! What goes wrong while a herd is soaked: each fault is begun, lasts a while, and is ended.

use std::fs;
use std::net::{TcpStream, UdpSocket};
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::herd::{CLOCKED, NAMES, Soaked};
use super::random::Random;
use super::relay::Wire;

/// The kinds, in the order in which they are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL of one server, which comes back.
    Kill,
    /// SIGKILL of all servers: what is known then is what their journals have.
    KillAll,
    /// SIGSTOP of one server, and SIGCONT.
    Freeze,
    /// A link whose connections end, or from which nothing comes any more.
    Cut,
    /// Files of one server cannot grow.
    FullDisk,
    /// One server may open no more descriptors.
    NoDescriptors,
    /// Names are looked up in vain, for as long as the resolver tries.
    SilentNames,
    /// The upstream hangs, or hangs up.
    Upstream,
    /// Hundreds who connect and say nothing.
    Crowd,
    /// One server's clock jumps ahead or back.
    Clock,
}

pub const ALL: [Fault; 10] = [
    Fault::Kill,
    Fault::KillAll,
    Fault::Freeze,
    Fault::Cut,
    Fault::FullDisk,
    Fault::NoDescriptors,
    Fault::SilentNames,
    Fault::Upstream,
    Fault::Crowd,
    Fault::Clock,
];

/// How many stand in a crowd.
const CROWD: usize = 400;

/// How many seconds a clock jumps: as much as a wrong time zone, and less than a day, which is refused.
const JUMPS: [i64; 4] = [-7_200, -90, 90, 7_200];

impl Fault {
    /// Why it cannot be had here.
    pub fn missing(self, soaked: &Soaked) -> Option<&'static str> {
        match self {
            Fault::SilentNames if !soaked.has_names => Some("mount namespaces need root"),
            Fault::Clock if !soaked.has_clock => Some("libfaketime is not installed"),
            Fault::FullDisk | Fault::NoDescriptors if !has_prlimit() => {
                Some("prlimit (util-linux) is not installed")
            }
            _ => None,
        }
    }

    /// Whether a report may be refused meanwhile, and for ten seconds after.
    pub fn may_refuse(self) -> bool {
        matches!(self, Fault::FullDisk | Fault::NoDescriptors | Fault::Clock)
    }

    /// Lets it happen for so long. Gives what it was, in words.
    pub fn strike(self, soaked: &mut Soaked, random: &mut Random, lasts: Duration) -> String {
        let name = random.pick(&NAMES);
        match self {
            Fault::Kill => {
                soaked.herd.kill(name);
                thread::sleep(lasts / 2);
                soaked.start_one(name);
                format!("SIGKILL of {name}")
            }
            Fault::KillAll => {
                for name in NAMES {
                    soaked.herd.kill(name);
                }
                for name in NAMES {
                    soaked.start_one(name);
                }
                "SIGKILL of all".to_owned()
            }
            Fault::Freeze => {
                soaked.herd.process(name).signal("-STOP");
                thread::sleep(lasts);
                soaked.herd.process(name).signal("-CONT");
                format!("{name} frozen")
            }
            Fault::Cut => cut(soaked, random, lasts),
            Fault::FullDisk => {
                let journal = soaked.herd.folder.path(&format!("journal/{name}.journal"));
                let length = fs::metadata(journal).unwrap().len();
                limit(soaked, name, "fsize", &length.to_string());
                thread::sleep(lasts);
                limit(soaked, name, "fsize", "unlimited");
                format!("no room on the disk of {name}")
            }
            Fault::NoDescriptors => {
                let pid = soaked.pid(name);
                let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
                let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
                let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
                let before = line.split_whitespace().nth(3).unwrap();
                limit(soaked, name, "nofile", &open.to_string());
                thread::sleep(lasts);
                limit(soaked, name, "nofile", before);
                format!("no descriptors for {name}")
            }
            Fault::SilentNames => {
                let silent = UdpSocket::bind("127.77.0.1:53");
                soaked.set_names(false);
                // New connections need new look-ups.
                soaked.upstream.set(Wire::Cut);
                thread::sleep(Duration::from_millis(100));
                soaked.upstream.set(Wire::Whole);
                thread::sleep(lasts);
                soaked.set_names(true);
                format!("a silent name server{}", if silent.is_ok() { "" } else { " (refusing)" })
            }
            Fault::Upstream => {
                let wire = random.pick(&[Wire::Silent, Wire::Cut]);
                soaked.upstream.set(wire);
                thread::sleep(lasts);
                soaked.upstream.set(Wire::Whole);
                format!("the upstream {wire:?}")
            }
            Fault::Crowd => {
                let port = soaked.herd.port(name);
                let come = || TcpStream::connect(("127.0.0.1", port));
                let crowd: Vec<TcpStream> = (0..CROWD).map_while(|_| come().ok()).collect();
                thread::sleep(lasts);
                format!("a crowd of {} at {name}", crowd.len())
            }
            Fault::Clock => {
                let seconds = random.pick(&JUMPS);
                soaked.set_clock(seconds);
                thread::sleep(lasts);
                soaked.set_clock(0);
                format!("the clock of {CLOCKED} {seconds:+} s off")
            }
        }
    }
}

/// Both directions of one edge.
fn cut(soaked: &Soaked, random: &mut Random, lasts: Duration) -> String {
    let (one, other, _) = &soaked.wires[random.index(soaked.wires.len())];
    let wire = random.pick(&[Wire::Silent, Wire::Cut]);
    let is_edge = |from: &str, to: &str| [(from, to), (to, from)].contains(&(*one, *other));
    let both = || soaked.wires.iter().filter(|(from, to, _)| is_edge(from, to));
    both().for_each(|(.., relay)| relay.set(wire));
    thread::sleep(lasts);
    both().for_each(|(.., relay)| relay.set(Wire::Whole));
    format!("the link of {one} and {other} {wire:?}")
}

/// Sets a limit of a process; the hard one stays.
fn limit(soaked: &Soaked, name: &str, what: &str, value: &str) {
    let pid = soaked.pid(name).to_string();
    let output =
        Command::new("prlimit").args(["--pid", &pid, &format!("--{what}={value}:")]).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn has_prlimit() -> bool {
    Command::new("prlimit").arg("--version").output().is_ok()
}
