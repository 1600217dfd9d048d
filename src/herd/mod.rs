//! The herd's own truth: who belongs to it, what it knows of each client, what a neighbour lacks.
//!
//! Nothing here knows a socket, a clock, the reactor or a log: bytes and times are handed in, bytes
//! and values come out, and `server` carries them. So a test runs a whole herd in one thread.
//!
//! Reading order: [`topology`] says who talks with whom; [`record`] is what is known of one client
//! and which of two records wins; [`store`] keeps one record for each client, and the change log,
//! the order in which they changed. [`links`] is what follows from that for neighbours: a link is a
//! cursor in the change log, so flooding, catching up and resuming are one mechanism. [`backoff`]
//! and [`liveness`] are the arithmetic of trying again and of noticing silence.

pub mod backoff;
mod change_log;
pub mod links;
pub mod liveness;
pub mod record;
pub mod store;
pub mod topology;

use crate::wire::command::IAmAt;
use crate::wire::peer::write_at;
use crate::wire::time::Nanos;
use links::{Neighbour, NeighbourId};
use record::{Layout, Record};
use store::{Merged, Store};
use topology::{ServerEntry, ServerId, Topology};

/// What a neighbour gets when a link to it comes up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CatchUp {
    /// Exactly what it missed.
    #[default]
    On,
    /// Only what is new from then on: the original course project required no more.
    Off,
}

/// One server's view of the herd, and every decision that follows from it.
#[derive(Debug)]
pub struct Herd {
    topology: Topology,
    me: ServerId,
    /// Of this start of this server: whose count of changes its marks are in.
    identity: u64,
    catch_up: CatchUp,
    store: Store,
    /// In the order of the topology; a [`NeighbourId`] is a place here.
    neighbours: Vec<Neighbour>,
}

impl Herd {
    /// The server `me` of a topology, knowing no client yet.
    ///
    /// `identity` has to be new at each start, so a random number other than 0.
    pub fn new(topology: Topology, me: ServerId, identity: u64, catch_up: CatchUp) -> Herd {
        let neighbours =
            topology.neighbours(me).iter().map(|&server| Neighbour::new(server)).collect();
        Herd { topology, me, identity, catch_up, store: Store::default(), neighbours }
    }

    /// Takes in what a client of this server says, and appends the reply to `out`: the AT line with
    /// the difference to `server_time`, this server's clock now, and an LF.
    ///
    /// A report that is not newer than the record held is answered all the same.
    pub fn client_heard(
        &mut self,
        said: &IAmAt<'_>,
        server_time: Nanos,
        out: &mut Vec<u8>,
    ) -> Merged {
        let name = self.topology.name(self.me).as_bytes();
        let start = out.len();
        // The reply is the record: it is written once, in its last place, and read from there.
        write_at(
            out,
            name,
            server_time - said.time,
            said.client,
            said.location_text,
            said.time_text,
        );
        let line = out.get(start..).unwrap_or_default();
        let layout = Layout::of(line, name, said.client, said.location_text, said.time_text);
        // Lines are bounded far below what a layout can tell, so there always is one.
        let merged = layout.map_or(Merged::Kept, |layout| {
            self.store.report(Record { line, layout, client_time: said.time, server_time })
        });
        out.push(b'\n');
        merged
    }

    /// What the herd knows of a client, `None` when it has not heard from it.
    pub fn where_is(&self, client: &[u8]) -> Option<Record<'_>> {
        self.store.get(client)
    }

    /// How many clients are known.
    pub fn clients(&self) -> usize {
        self.store.len()
    }

    /// The herd's servers and links.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// This server's name.
    pub fn name(&self) -> &str {
        self.topology.name(self.me)
    }

    /// This server's neighbours, each to be dialled.
    pub fn neighbours(&self) -> impl Iterator<Item = NeighbourId> + use<> {
        (0..u16::try_from(self.neighbours.len()).unwrap_or(u16::MAX)).map(NeighbourId)
    }

    /// The neighbour of that name, if there is one.
    pub fn neighbour_named(&self, name: &[u8]) -> Option<NeighbourId> {
        let server = self.topology.by_name(name)?;
        let place = self.neighbours.iter().position(|neighbour| neighbour.server == server)?;
        u16::try_from(place).ok().map(NeighbourId)
    }

    /// Name and address of a neighbour; `None` for an id of another herd.
    pub fn neighbour_server(&self, id: NeighbourId) -> Option<&ServerEntry> {
        self.topology.server(self.neighbours.get(id.index())?.server)
    }
}

#[cfg(test)]
mod tests;
