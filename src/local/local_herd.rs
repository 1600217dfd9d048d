//! What the commands work on: the topology, the run folder, the options and the program to start.
//!
//! Owns how servers are named on the command line. Starts and stops nothing itself.

use crate::herd::topology::{Endpoint, ServerEntry, ServerId, Topology};
use std::path::{Path, PathBuf};

use super::options::{CLIENTS, KEYS, Options, TOPOLOGY};
use super::run_dir::{PLACES, RunDir};
use super::talk::Door;
use super::tls::Expected;

/// A herd as one command sees it.
pub struct LocalHerd {
    /// Where its processes are written down.
    pub run: RunDir,
    /// Its servers and links.
    pub topology: Topology,
    /// The file that says so.
    pub topology_file: PathBuf,
    /// What its servers are started with.
    pub options: Options,
    /// The `herd` program.
    pub program: PathBuf,
    /// Whether answers come from the stand-in.
    pub stand_in: bool,
}

impl LocalHerd {
    /// Reads the topology that the options name, or else the one at the top of the repository.
    pub fn open(
        root: &Path,
        run: RunDir,
        options: Options,
        key_in_environment: bool,
    ) -> Result<Self, String> {
        let file = options.get(TOPOLOGY).map_or_else(|| root.join("topology.txt"), PathBuf::from);
        let text = std::fs::read_to_string(&file)
            .map_err(|error| format!("cannot read the topology {}: {error}", file.display()))?;
        let shown = file.strip_prefix(root).unwrap_or(&file).to_string_lossy().into_owned();
        let (topology, _) = Topology::parse(&shown, &text).map_err(|errors| errors.to_string())?;
        if topology.by_name(PLACES.as_bytes()).is_some() {
            return Err(format!(
                "{shown}: a server named {PLACES} would mix its files with those of the stand-in \
                 for Google Places; give it another name"
            ));
        }
        let program = herd_program()?;
        let stand_in = options.want_stand_in(key_in_environment);
        Ok(Self { run, topology, topology_file: file, options, program, stand_in })
    }

    /// The servers of these names; all when there are none.
    pub fn choose(&self, names: &[String]) -> Result<Vec<ServerId>, String> {
        if names.is_empty() {
            return Ok(self.topology.ids().collect());
        }
        let mut chosen: Vec<ServerId> = Vec::new();
        for name in names {
            let id = self.find(name)?;
            if !chosen.contains(&id) {
                chosen.push(id);
            }
        }
        Ok(chosen)
    }

    /// The server of that name.
    pub fn find(&self, name: &str) -> Result<ServerId, String> {
        self.topology.by_name(name.as_bytes()).ok_or_else(|| {
            let known: Vec<&str> = self.topology.ids().map(|id| self.topology.name(id)).collect();
            let near = self.topology.nearest_name(name);
            let hint = near.map_or_else(
                || format!("there are {}", known.join(", ")),
                |near| format!("did you mean {near}?"),
            );
            format!("there is no server {name:?}; {hint}")
        })
    }

    /// The server that the file names first.
    pub fn first_name(&self) -> &str {
        self.topology.ids().next().map_or("", |id| self.topology.name(id))
    }

    /// Where a server listens, as the topology writes it.
    pub fn address(&self, id: ServerId) -> String {
        self.topology.server(id).map_or_else(String::new, ServerEntry::address)
    }

    /// All addresses at which a server listens: for clients, and for links where they have one.
    pub fn addresses(&self, id: ServerId) -> Vec<String> {
        let links = self.topology.server(id).and_then(|server| server.links.as_ref());
        std::iter::once(self.address(id)).chain(links.map(Endpoint::address)).collect()
    }

    /// Where the servers' keys are.
    pub fn keys(&self) -> PathBuf {
        self.options.get(KEYS).map_or_else(|| self.run.keys(), PathBuf::from)
    }

    /// Where a server's clients find it, and what they speak there.
    pub fn door(&self, id: ServerId) -> Door {
        let name = self.topology.name(id).to_owned();
        let expected = || Expected { name, authority: self.keys().join("authority.pem") };
        let tls = (self.options.get(CLIENTS) == Some("tls")).then(expected);
        Door { address: self.address(id), tls }
    }

    /// The names of a server's neighbours.
    pub fn neighbours(&self, id: ServerId) -> impl Iterator<Item = &str> {
        self.topology.neighbours(id).iter().map(|neighbour| self.topology.name(*neighbour))
    }
}

/// This program, which serves too.
fn herd_program() -> Result<PathBuf, String> {
    std::env::current_exe()
        .map_err(|error| format!("cannot find the path of the running program: {error}"))
}
