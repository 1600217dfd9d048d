//! Who is compared with: which of them are installed, how each is started, and how to get it.
//!
//! The peers of our own are in `scripts/peers`, and `scripts/bench --install` puts what they need into a
//! folder. Nothing is started here. Called by `bench` and `servers`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::find;

/// A server that the herd is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// A raw epoll echo in C: what one thread can do at all.
    Echo,
    /// Redis, with SET.
    Redis,
    /// memcached, with set, on one thread.
    Memcached,
    /// The herd on tokio.
    Tokio,
    /// The herd on Node.
    Node,
    /// The herd on asyncio over uvloop.
    Uvloop,
    /// The herd on asyncio.
    Asyncio,
    /// The herd on Twisted.
    Twisted,
}

/// All of them, the quickest first.
pub const PEERS: [Peer; 8] = [
    Peer::Echo,
    Peer::Redis,
    Peer::Memcached,
    Peer::Tokio,
    Peer::Node,
    Peer::Uvloop,
    Peer::Asyncio,
    Peer::Twisted,
];

/// What those that have a bound are told, above the most that is measured.
const CONNECTIONS_MAX: &str = "16000";

/// How to get what `scripts/bench --install` brings.
const INSTALL: &str = "scripts/bench --install gets it";

impl Peer {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Redis => "Redis",
            Self::Memcached => "memcached",
            Self::Tokio => "tokio",
            Self::Node => "Node",
            Self::Uvloop => "uvloop",
            Self::Asyncio => "asyncio",
            Self::Twisted => "Twisted",
        }
    }

    /// The language in which `herd load` speaks to it.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Redis => "redis",
            Self::Memcached => "memcached",
            _ => "iamat",
        }
    }

    /// Whether it is a herd, with links.
    pub fn is_herd(self) -> bool {
        self.kind() == "iamat"
    }
}

/// Where the peers are.
pub struct Places {
    /// `scripts/peers`.
    pub sources: PathBuf,
    /// What `--install` has made.
    pub installed: PathBuf,
}

impl Places {
    /// The Python of the virtual environment.
    pub fn python(&self) -> PathBuf {
        self.installed.join("python/bin/python")
    }

    /// Whether that Python has a module.
    pub fn has_module(&self, module: &str) -> bool {
        let tried = Command::new(self.python()).args(["-c", &format!("import {module}")]).output();
        tried.is_ok_and(|output| output.status.success())
    }

    /// How to get a peer, or nothing when it is there.
    pub fn missing(&self, peer: Peer) -> Option<&'static str> {
        let (there, hint) = match peer {
            Peer::Echo => (self.installed.join("echo").is_file(), INSTALL),
            Peer::Tokio => (self.tokio().is_file(), INSTALL),
            Peer::Uvloop => (self.has_module("uvloop"), INSTALL),
            Peer::Asyncio => (self.python().is_file(), INSTALL),
            Peer::Twisted => (self.has_module("twisted"), INSTALL),
            Peer::Redis => (find("redis-server").is_some(), "install the package redis-server"),
            Peer::Memcached => (find("memcached").is_some(), "install the package memcached"),
            Peer::Node => (find("node").is_some(), "install the package nodejs"),
        };
        (!there).then_some(hint)
    }

    fn tokio(&self) -> PathBuf {
        self.installed.join("tokio/release/tokio-herd")
    }

    /// How a peer is started, listening on a port of 127.0.0.1. Herds get a name and the ports of the
    /// neighbours that they tell; the others take no notice of both.
    pub fn command(&self, peer: Peer, name: &str, port: u16, neighbours: &[u16]) -> Command {
        let source = |file: &str| self.sources.join(file).into_os_string();
        let port = port.to_string();
        let mut command = match peer {
            Peer::Echo => words(&self.installed.join("echo"), &[&port]),
            Peer::Redis => words(
                Path::new("redis-server"),
                &[
                    "--port",
                    &port,
                    "--bind",
                    "127.0.0.1",
                    "--save",
                    "",
                    "--appendonly",
                    "no",
                    "--maxclients",
                    CONNECTIONS_MAX,
                ],
            ),
            Peer::Memcached => words(
                Path::new("memcached"),
                &["-p", &port, "-l", "127.0.0.1", "-t", "1", "-c", CONNECTIONS_MAX, "-u", "nobody"],
            ),
            Peer::Tokio => words(&self.tokio(), &[name, &port]),
            Peer::Node => {
                let mut command = Command::new("node");
                command.arg(source("node_herd.js")).args([name, &port]);
                command
            }
            Peer::Uvloop | Peer::Asyncio | Peer::Twisted => {
                let file =
                    if peer == Peer::Twisted { "twisted_herd.py" } else { "asyncio_herd.py" };
                let mut command = Command::new(self.python());
                command.arg(source(file)).args((peer == Peer::Uvloop).then_some("--uvloop"));
                command.args([name, &port]);
                command
            }
        };
        if peer.is_herd() {
            command.args(neighbours.iter().map(u16::to_string));
        }
        command
    }
}

fn words(program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_installed_is_said_with_a_hint() {
        let places =
            Places { sources: "scripts/peers".into(), installed: "/nonexistent/peers".into() };
        for peer in [Peer::Echo, Peer::Tokio, Peer::Uvloop, Peer::Twisted] {
            assert_eq!(places.missing(peer), Some(INSTALL), "{}", peer.name());
        }
    }

    #[test]
    fn herds_are_told_their_neighbours_and_the_others_are_not() {
        let places = Places { sources: "peers".into(), installed: "made".into() };
        let said = |peer| {
            let command = places.command(peer, "Alford", 7000, &[7001, 7002]);
            let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
            words.join(" ")
        };
        assert_eq!(said(Peer::Uvloop), "peers/asyncio_herd.py --uvloop Alford 7000 7001 7002");
        assert_eq!(said(Peer::Tokio), "Alford 7000 7001 7002");
        assert_eq!(said(Peer::Echo), "7000");
        assert!(!said(Peer::Redis).contains("7001"));
    }
}
