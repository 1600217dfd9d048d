//! What `herd serve` reads at its start and again on SIGHUP: the topology and the keys, and what follows
//! from them for neighbours and addresses.
//!
//! Reading opens files and looks names up, so it may block: it is done before the loop runs, and later
//! on a thread. It changes nothing; `server/reload.rs` does.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pico_args::Arguments;

use super::Failure;
use super::options::{TOPOLOGY, addresses, path, topology_and_warnings};
use super::trust::TrustOptions;
use crate::herd::topology::{Endpoint, ServerEntry, ServerId, Topology};
use crate::server::reload::{Files, ReadFiles};

/// The flags that say which files, and where to listen in spite of them.
#[derive(Clone)]
pub struct FileOptions {
    topology: PathBuf,
    trust: TrustOptions,
    listen: Option<String>,
    listen_links: Option<String>,
}

impl FileOptions {
    /// Takes the flags.
    pub fn take(arguments: &mut Arguments) -> Result<Self, Failure> {
        let topology = path(arguments, "--topology")?.unwrap_or_else(|| PathBuf::from(TOPOLOGY));
        let trust = TrustOptions::take(arguments)?;
        let listen = arguments.opt_value_from_str("--listen")?;
        let listen_links = arguments.opt_value_from_str("--listen-links")?;
        Ok(Self { topology, trust, listen, listen_links })
    }

    /// What is spoken, for the log.
    pub fn words(&self) -> &'static str {
        self.trust.words()
    }

    /// Reads everything for the server of that name. The error names every fault.
    pub fn read(&self, name: &str) -> Result<Files, Failure> {
        let (topology, warnings) = topology_and_warnings(&self.topology)?;
        let me = find(&topology, name)?;
        let entry = topology.server(me).ok_or_else(|| "the topology is empty".to_owned())?;
        let listen = listening(self.listen.as_deref(), &entry.address())?;
        let listen_links = match (&self.listen_links, &entry.links) {
            (None, None) => Vec::new(),
            (flag, links) => {
                let named = links.as_ref().map(Endpoint::address).unwrap_or_default();
                listening(flag.as_deref(), &named)?
            }
        };
        if let Some(both) = listen_links.iter().find(|it| it.port() > 0 && listen.contains(it)) {
            return Err(Failure::Usage(format!(
                "{both} is for clients and for links: links need an address of their own"
            )));
        }
        let all = [&listen[..], &listen_links].concat();
        let believed = self.trust.read(&topology, me, &all)?;
        let warnings = warnings.iter().map(ToString::to_string).collect();
        Ok(Files { topology, me, warnings, believed, listen, listen_links })
    }

    /// Reads everything anew while the server runs. What is no file any more is not waited for.
    pub fn reader(&self, name: &str) -> ReadFiles {
        let (options, name) = (self.clone(), name.to_owned());
        Arc::new(move || {
            is_file(&options.topology)?;
            options.read(&name).map_err(|failure| match failure {
                Failure::Usage(words) | Failure::Failed(words) => words,
            })
        })
    }
}

/// A pipe that was named at the start has been read, and would never come to an end again.
fn is_file(path: &Path) -> Result<(), String> {
    match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => {
            Err(format!("the topology {} is no ordinary file", path.display()))
        }
        // What else is wrong, reading tells.
        _ => Ok(()),
    }
}

fn find(topology: &Topology, name: &str) -> Result<ServerId, Failure> {
    topology.by_name(name.as_bytes()).ok_or_else(|| {
        let names: Vec<&str> = topology.ids().map(|id| topology.name(id)).collect();
        let names = names.join(", ");
        Failure::Usage(format!("no server {name:?} in the topology; there are {names}"))
    })
}

/// Where to listen: as the flag says, or else the topology.
fn listening(flag: Option<&str>, named: &str) -> Result<Vec<SocketAddr>, Failure> {
    match flag {
        Some(text) => addresses(text).map_err(Failure::Usage),
        None => Ok(addresses(named)?),
    }
}

/// Every address at which a server of the topology may be, as the file writes them.
pub fn endpoints(entry: &ServerEntry) -> Vec<Endpoint> {
    let shared = Endpoint { host: entry.host.clone(), port: entry.port };
    entry.links.iter().cloned().chain([shared]).collect()
}
