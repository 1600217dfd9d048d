//! A topology that changes while the server runs: which neighbours come, go and move, and the names in
//! records that the topology lacks.
//!
//! A neighbour keeps its place in the list for as long as the server runs, also when the topology has
//! it no more: records remember who brought them by that place, and what a neighbour has told stays true
//! if it comes back. Dialling and closing connections is the caller's business (`server/link`).

use std::collections::BTreeSet;
use std::fmt;

use super::Herd;
use super::links::{Neighbour, NeighbourId};
use super::topology::{Endpoint, ServerEntry, ServerId, Topology};

/// How many neighbours of different names a server may have between its start and its end. Each costs a
/// few hundred bytes, and one that has gone is kept. A herd that changed its neighbours every day would
/// need years.
pub const NEIGHBOURS_EVER_MAX: usize = 1024;

/// How many names that the topology lacks are remembered, so that each is warned of once. As many as the
/// greatest herd has, all of them renamed.
pub const STRANGERS_MAX: usize = super::topology::SERVERS_MAX;

/// What a new topology means for one neighbour of this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighbourChange {
    /// It is new, or back.
    Added(NeighbourId),
    /// This server has no link to it any more.
    Removed(NeighbourId),
    /// It is dialled at another address.
    Moved(NeighbourId),
}

/// Why a new topology is refused: it would take the neighbours past [`NEIGHBOURS_EVER_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyNeighbours;

impl fmt::Display for TooManyNeighbours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a server has at most {NEIGHBOURS_EVER_MAX} neighbours of different names until it is \
             started anew"
        )
    }
}

impl std::error::Error for TooManyNeighbours {}

impl Herd {
    /// Takes another topology in place of the present one; `me` is this server in it, under the same
    /// name. Gives what has changed for its neighbours. Whoever stays keeps its link and its cursor.
    ///
    /// The caller ends the connections of those that are removed before it reads anything more from them.
    ///
    /// # Errors
    /// [`TooManyNeighbours`]; then nothing has changed.
    pub fn change_topology(
        &mut self,
        topology: Topology,
        me: ServerId,
    ) -> Result<Vec<NeighbourChange>, TooManyNeighbours> {
        self.check_topology(&topology, me)?;
        let entries: Vec<_> = neighbours(&topology, me).collect();
        let mut changes = Vec::new();
        for (neighbour, id) in self.neighbours.iter_mut().zip((0..).map(NeighbourId)) {
            if neighbour.is_present && !entries.iter().any(|it| it.name == neighbour.entry.name) {
                neighbour.retire();
                self.clock.neighbour_removed(id);
                changes.push(NeighbourChange::Removed(id));
            }
        }
        for entry in entries {
            let same = |it: &Neighbour| it.entry.name == entry.name;
            let place = self.neighbours.iter().position(same).unwrap_or(self.neighbours.len());
            // The bound above is far below what an id can tell.
            let Ok(id) = u16::try_from(place).map(NeighbourId) else { continue };
            let Some(known) = self.neighbours.get_mut(place) else {
                self.neighbours.push(Neighbour::new(entry.clone()));
                self.clock.neighbour_added(id);
                changes.push(NeighbourChange::Added(id));
                continue;
            };
            let is_back = !std::mem::replace(&mut known.is_present, true);
            let before = std::mem::replace(&mut known.entry, entry.clone());
            if is_back {
                changes.push(NeighbourChange::Added(id));
            } else if before.dialled() != entry.dialled() {
                changes.push(NeighbourChange::Moved(id));
            }
        }
        self.strangers.forget_those_in(&topology);
        (self.topology, self.me) = (topology, me);
        Ok(changes)
    }

    /// Whether another topology can be taken in place of the present one.
    ///
    /// # Errors
    /// [`TooManyNeighbours`]
    pub fn check_topology(
        &self,
        topology: &Topology,
        me: ServerId,
    ) -> Result<(), TooManyNeighbours> {
        let is_new = |name: &str| !self.neighbours.iter().any(|it| it.is_named(name.as_bytes()));
        let new = neighbours(topology, me).filter(|entry| is_new(&entry.name)).count();
        let fits = self.neighbours.len() + new <= NEIGHBOURS_EVER_MAX;
        if fits { Ok(()) } else { Err(TooManyNeighbours) }
    }

    /// The name of a neighbour, also of one that the topology has no more.
    pub fn neighbour_name(&self, id: NeighbourId) -> &str {
        self.neighbours.get(id.index()).map_or("", |neighbour| &neighbour.entry.name)
    }

    /// Where a neighbour is dialled; `None` when the topology has it no more.
    pub fn dialled_at(&self, id: NeighbourId) -> Option<Endpoint> {
        self.neighbour_server(id).map(ServerEntry::dialled)
    }

    /// A server that a record names and the topology lacks, for a warning: each name once, until
    /// [`STRANGERS_MAX`] are remembered. To be asked until there is none, after lines were taken in.
    pub fn next_stranger(&mut self) -> Option<Stranger> {
        self.strangers.untold.pop()
    }
}

fn neighbours(topology: &Topology, me: ServerId) -> impl Iterator<Item = &ServerEntry> {
    topology.neighbours(me).iter().filter_map(|&id| topology.server(id))
}

/// A warning that a record names a server which the topology lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stranger {
    name: String,
    is_last: bool,
}

impl fmt::Display for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stranger { name, is_last } = self;
        write!(
            f,
            "a record names the server {name}, which is not in this topology; it is kept and passed on"
        )?;
        if *is_last {
            write!(
                f,
                "; {STRANGERS_MAX} such names are known now, and further ones are not logged"
            )?;
        }
        Ok(())
    }
}

/// The names in records that the topology lacks, as far as they are remembered.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    known: BTreeSet<Vec<u8>>,
    untold: Vec<Stranger>,
}

impl Strangers {
    /// A record names this server, which the topology lacks.
    pub fn note(&mut self, name: &[u8]) {
        if self.known.len() >= STRANGERS_MAX || self.known.contains(name) {
            return;
        }
        self.known.insert(name.to_vec());
        let name = String::from_utf8_lossy(name).into_owned();
        self.untold.push(Stranger { name, is_last: self.known.len() == STRANGERS_MAX });
    }

    fn forget_those_in(&mut self, topology: &Topology) {
        self.known.retain(|name| topology.by_name(name).is_none());
    }
}

#[cfg(test)]
mod tests;
