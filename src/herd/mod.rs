//! The herd's own truth: who belongs to it, what it knows of each client, what a neighbour lacks.
//!
//! Nothing here knows a socket, a clock, the reactor or a log: bytes and times are handed in, bytes
//! and values come out, and `server` carries them. So a test runs a whole herd in one thread.
//!
//! Reading order: [`topology`] says who talks with whom; [`record`] is what is known of one client
//! and which of two records wins; [`store`] keeps one record for each client, and the change log,
//! the order in which they changed. [`links`] is what follows from that for neighbours: a link is a
//! cursor in the change log, so flooding, catching up and resuming are one mechanism. [`journal`] is
//! one more cursor, whose reader is a file. [`settings`] are what an operator can choose. [`clock`] says
//! whether the wall clock can be believed; [`correction`] is what follows when it could not. [`backoff`]
//! and [`liveness`] are the arithmetic of trying again and of noticing silence.

mod aside;
pub mod backoff;
mod change_log;
mod chunks;
pub mod clock;
pub mod correction;
pub mod journal;
pub mod links;
pub mod liveness;
mod members;
pub mod record;
pub mod settings;
pub mod store;
pub mod topology;

use crate::wire::ahead::clients_in;
use crate::wire::command::IAmAt;
use crate::wire::peer::write_at_start;
use crate::wire::time::{Nanos, SHORT_DIFFERENCE_BYTES, short_difference, write_difference};
use aside::Aside;
use clock::ClockWatch;
pub use correction::Corrected;
use links::{Neighbour, NeighbourId};
use members::Strangers;
pub use members::{NEIGHBOURS_EVER_MAX, NeighbourChange, STRANGERS_MAX, TooManyNeighbours};
use record::{Layout, Record};
pub use settings::{CatchUp, Refused, Settings};
use store::{Merged, Store};
use topology::{ServerEntry, ServerId, Topology};

/// How many records [`Herd::forget`] is meant to look at in a call: well below a millisecond of work,
/// and a million clients are looked through in minutes when it is called each second.
pub const FORGET_STEP_CLIENTS: usize = 4096;

/// One server's view of the herd, and every decision that follows from it.
#[derive(Debug)]
pub struct Herd {
    topology: Topology,
    me: ServerId,
    /// What its AT lines begin with: the word, its name, and the difference of the last short one.
    at_start: Vec<u8>,
    /// Of this start of this server: whose count of changes its marks are in.
    identity: u64,
    settings: Settings,
    store: Store,
    /// All that it has had since its start; a [`NeighbourId`] is a place here, and keeps its meaning.
    neighbours: Vec<Neighbour>,
    /// Whether this server's clock can be believed.
    clock: ClockWatch,
    /// What a wrong clock may have cost, to be taken back when it is right.
    aside: Aside,
    /// The search for records from ahead of the clock: how many are still to be looked at, and what it
    /// has dropped.
    search: Option<correction::Search>,
    /// How many searches have dropped something.
    corrections: u64,
    /// Names in records that the topology lacks.
    strangers: Strangers,
}

impl Herd {
    /// The server `me` of a topology, knowing no client yet.
    ///
    /// `identity` has to be new at each start, so a random number other than 0.
    pub fn new(topology: Topology, me: ServerId, identity: u64, settings: Settings) -> Herd {
        let entries = topology.neighbours(me).iter().filter_map(|&id| topology.server(id));
        let neighbours: Vec<_> = entries.map(|entry| Neighbour::new(entry.clone())).collect();
        let store = Store::new(settings.capacity());
        let mut at_start = Vec::new();
        write_at_start(&mut at_start, topology.name(me).as_bytes());
        at_start.extend_from_slice(&[b'0'; SHORT_DIFFERENCE_BYTES]);
        Herd {
            topology,
            me,
            at_start,
            identity,
            settings,
            store,
            clock: ClockWatch::new(neighbours.len(), settings.clock_earliest),
            neighbours,
            aside: Aside::default(),
            search: None,
            corrections: 0,
            strangers: Strangers::default(),
        }
    }

    /// Takes in what a client of this server says, and appends the reply to `out`: the AT line with
    /// the difference to `server_time`, this server's clock now, and an LF.
    ///
    /// A report that is not newer than the record held is answered all the same. One that is refused
    /// appends nothing: its line is to be answered as an invalid command.
    pub fn client_heard(
        &mut self,
        said: &IAmAt<'_>,
        server_time: Nanos,
        out: &mut Vec<u8>,
    ) -> Result<Merged, Refused> {
        let difference = server_time - said.time;
        if self.settings.max_ahead.is_some_and(|ahead| -difference > ahead) {
            return Err(Refused::TooFarAhead);
        }
        let start = out.len();
        // The reply is the record: it is written once, in its last place, and read from there.
        self.write_start(out, difference);
        said.write_end(out);
        let [line @ .., _lf] = out.get(start..).unwrap_or_default() else {
            return Ok(Merged::Kept);
        };
        let layout = Layout::of(line, said.client, said.location_text, said.time_text);
        // Lines are bounded far below what a layout can tell, so there always is one.
        let merged = layout.map_or(Merged::Kept, |layout| {
            let record = Record { line, layout, client_time: said.time, server_time };
            if self.is_unsettled() {
                correction::set_aside(&mut self.aside, &self.store, &record, &self.settings);
            }
            self.store.report(said.client, record)
        });
        let refused = match merged {
            Merged::New | Merged::Changed | Merged::Kept => return Ok(merged),
            Merged::Full => Refused::Full,
            Merged::TooOld => Refused::PastHorizon,
        };
        out.truncate(start);
        Err(refused)
    }

    /// Appends an AT line of this server up to the difference. A short one is written over the last, so
    /// that all of it is one piece.
    fn write_start(&mut self, out: &mut Vec<u8>, difference: Nanos) {
        if let Some(text) = short_difference(difference)
            && let Some(place) = self.at_start.last_chunk_mut()
        {
            *place = text;
            return out.extend_from_slice(&self.at_start);
        }
        write_at_start(out, self.name().as_bytes());
        write_difference(out, difference);
    }

    /// Says that the first `lines_max` lines of `data` are about to be taken in, so that the processor can
    /// fetch the records of their clients from memory while it works. Changes nothing; to be called once
    /// for what is taken in together.
    pub fn look_ahead(&self, data: &[u8], lines_max: usize) {
        if self.store.is_large() {
            self.store.look_ahead(clients_in(data, lines_max));
        }
    }

    /// Says what this server's clock is: the horizon never passes it. To be called before a journal is
    /// replayed, and at the beginning of each turn.
    pub fn set_clock(&mut self, now: Nanos) {
        self.store.set_clock(now);
    }

    /// Lets clients go where the store is over its bounds, which it may be for a short time. To be called
    /// at the end of each turn. Gives whether it is to be called again soon.
    pub fn make_room(&mut self) -> bool {
        self.store.make_room()
    }

    /// Says what this server's clock is, so that clients which no server has heard for as long as
    /// [`Settings::forget_after`] are forgotten, and frees the memory of those among the next `budget`
    /// clients. Gives how many it freed.
    ///
    /// To be called before a journal is replayed, and at least once a second from then on. All servers
    /// forget by the time in the record itself, so that nothing has to travel, and nothing comes back
    /// from a neighbour or a journal. Where clocks differ, servers forget at moments that differ as much.
    /// While the clock is doubted, nothing is forgotten.
    pub fn forget(&mut self, now: Nanos, budget: usize) -> usize {
        self.store.set_clock(now);
        if let Some(after) = self.settings.forget_after
            && !self.clock.is_doubted()
        {
            self.store.forget_up_to(now - after);
        }
        self.store.sweep(budget)
    }

    /// What the herd knows of a client, `None` when it has not heard from it.
    pub fn where_is(&self, client: &[u8]) -> Option<Record<'_>> {
        self.store.get(client).filter(|record| !self.hides(record))
    }

    /// How many clients are known.
    pub fn clients(&self) -> usize {
        self.store.len()
    }

    /// All that it knows of clients: how much, and who had to make room.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The number of the newest change here; 0 before the first.
    pub fn last_change(&self) -> u64 {
        self.store.last_change()
    }

    /// The number of the change that brought what is known of a client; 0 when nothing is.
    pub fn change_of(&self, client: &[u8]) -> u64 {
        self.store.change_of(client).unwrap_or(0)
    }

    /// How many entries the change log has: a bounded multiple of the clients.
    pub fn change_log_entries(&self) -> usize {
        self.store.log_entries()
    }

    /// The herd's servers and links.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// This server's name.
    pub fn name(&self) -> &str {
        self.topology.name(self.me)
    }

    /// All neighbours that this server has had since its start, in the order of their ids. One that the
    /// topology has no more is among them, and has no [`neighbour_server`](Self::neighbour_server).
    pub fn neighbours(&self) -> impl Iterator<Item = NeighbourId> + use<> {
        (0..u16::try_from(self.neighbours.len()).unwrap_or(u16::MAX)).map(NeighbourId)
    }

    /// The neighbour of that name, if there is one.
    pub fn neighbour_named(&self, name: &[u8]) -> Option<NeighbourId> {
        let same = |neighbour: &Neighbour| neighbour.is_present && neighbour.is_named(name);
        let place = self.neighbours.iter().position(same)?;
        u16::try_from(place).ok().map(NeighbourId)
    }

    /// Name and addresses of a neighbour; `None` when the topology has it no more, or never had it.
    pub fn neighbour_server(&self, id: NeighbourId) -> Option<&ServerEntry> {
        let neighbour = self.neighbours.get(id.index())?;
        neighbour.is_present.then_some(&neighbour.entry)
    }
}

#[cfg(test)]
mod tests;
