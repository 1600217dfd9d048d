//! What passes between a server and each of its neighbours, decided without a socket.
//!
//! Each server dials each of its neighbours, and its changes flow only over the connections that it
//! dialled; so an edge of the topology has two connections, one for each direction. A link is a
//! cursor in the change log: [`Herd::pump`] writes what lies after it. Near the end that is flooding,
//! far back it is catching up.
//!
//! A link is *current* when, as the turn begins, its cursor stands at the end of the log and the kernel
//! has all that was written to it. A pump writes all that the turn brought to a current link, and replies
//! leave after it. Any other link that is up is *behind*: a pump writes to it within a budget, and
//! replies do not wait for it.
//!
//! A link opens with HELLO from the dialler; the listener answers with a HELLO of its own and RESUME,
//! see [`peer`](crate::wire::peer). That both say their identity is what makes it safe not to send a
//! record back: a server that has started anew may have forgotten what it told.
//! The handlers of links in `server` carry the lines, keep their order, and call everything here.

mod fault;

use super::record::Record;
use super::store::{Capacity, Merged};
use super::topology::{ServerEntry, is_server_name};
use super::{CatchUp, Herd, aside, correction};
use crate::wire::peer::{
    AtFields, HelloFields, LINK_VERSION, PeerLine, parse_peer_line, write_hello, write_here,
    write_mark, write_resume,
};

pub use fault::{Nonsense, Refusal};

/// How many entries of the change log one pump of a link that is behind looks at.
///
/// What is skipped writes nothing, so the limit in bytes would not stop a walk over a million records
/// that all came from this neighbour.
pub const PUMP_ENTRIES_MAX: usize = 4096;

/// One of this server's neighbours: its place in the list of all that it has had, counted from 0.
///
/// Records remember who brought them by it, so it never comes to mean another name. See
/// [`NEIGHBOURS_EVER_MAX`](super::NEIGHBOURS_EVER_MAX).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NeighbourId(pub(super) u16);

impl NeighbourId {
    /// The place, for tables that are kept beside the herd.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// What is known of a neighbour: how far it is told, and how far it has told.
#[derive(Debug)]
pub(super) struct Neighbour {
    /// As the topology has it, or had it last.
    pub(super) entry: ServerEntry,
    /// Whether the topology has it.
    pub(super) is_present: bool,
    /// The connection that this server dialled.
    link: Link,
    /// The identity in the HELLO of the connection that it dialled last.
    identity: Option<u64>,
    /// The last mark taken in from it under that identity; 0 for none.
    taken_in: u64,
    /// Of the changes that it brought, those above this number came under that identity.
    identity_since: u64,
    /// Whether the link is current in this turn; see the module's head.
    is_current: bool,
    /// How often the link has ceased to be current while it was up.
    fell_behind: u64,
}

/// How far the connection that this server dialled has come, and its cursor in the change log.
#[derive(Debug)]
enum Link {
    /// No connection, or nothing was answered yet.
    Down,
    /// The listener has said its identity.
    Met { listener: u64 },
    /// The listener has said where to go on.
    Up {
        listener: u64,
        /// All changes up to this number are written to the neighbour or need not be.
        cursor: u64,
        /// The highest mark that the neighbour was told, or that it named itself when resuming.
        marked: u64,
    },
}

impl Neighbour {
    pub(super) fn new(entry: ServerEntry) -> Neighbour {
        Neighbour {
            entry,
            is_present: true,
            link: Link::Down,
            identity: None,
            taken_in: 0,
            identity_since: 0,
            is_current: false,
            fell_behind: 0,
        }
    }

    pub(super) fn is_named(&self, name: &[u8]) -> bool {
        self.entry.name.as_bytes() == name
    }

    /// The topology has it no more. What it has told stays known, for when it comes back.
    pub(super) fn retire(&mut self) {
        self.is_present = false;
        self.link = Link::Down;
    }

    /// This server starts anew with the neighbour, under another identity.
    pub(super) fn start_anew(&mut self) {
        (self.link, self.taken_in) = (Link::Down, 0);
    }

    /// The identity and mark that a RESUME says, if there is something to say.
    pub(super) fn taken(&self) -> Option<(u64, u64)> {
        self.identity.filter(|_| self.taken_in > 0).map(|identity| (identity, self.taken_in))
    }

    /// What [`taken`](Self::taken) gave before this server started anew with all that it covers.
    ///
    /// Nothing here is known to have come from this neighbour, `last_change` being the newest.
    pub(super) fn restore(&mut self, identity: u64, mark: u64, last_change: u64) {
        self.identity = Some(identity);
        self.taken_in = mark;
        self.identity_since = last_change;
    }
}

/// Where a link goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resumed {
    /// Why it goes on there.
    pub from: ResumedFrom,
    /// At most how many clients' records the neighbour lacks, those that it sent itself included.
    pub behind: usize,
}

/// How the place was found where a link goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResumedFrom {
    /// After the mark that the neighbour named.
    Mark(u64),
    /// At the beginning: the neighbour has no mark of this start of this server.
    Start,
    /// At the end, since catching up is off.
    Now,
}

/// What a pump wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pumped {
    /// How many AT lines.
    pub records: usize,
    /// Whether there is more to look at, for when there is room again; nothing else will tell.
    pub more: bool,
}

/// What a line of the listener did, on a connection that this server dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is the neighbour that was meant, and says this about itself.
    Hello(HelloFields),
    /// The link is up.
    Resumed(Resumed),
    /// Its heartbeat: the last mark that it has taken in.
    Here(u64),
}

/// What a line of the dialler did, on a connection that a neighbour dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// A record that is news here: the other neighbours have to be told.
    Changed,
    /// A record that is no news, too old to be remembered, or too far ahead by its own two times.
    Kept,
    /// A record for which there is no room. Marks count it as taken in, so it is not sent again.
    Full,
    /// A mark, noted: it is what a HERE will say.
    Mark,
}

/// The dialling side: this server's changes, on their way to a neighbour.
impl Herd {
    /// Appends the first line of a connection that this server has dialled.
    pub fn hello(&self, out: &mut Vec<u8>) {
        write_hello(out, self.name().as_bytes(), self.identity, &self.hello_fields());
    }

    /// What this server says about itself in its HELLO.
    pub fn hello_fields(&self) -> HelloFields {
        let Capacity { clients, memory_bytes, .. } = self.store.capacity();
        HelloFields {
            clients: u64::try_from(clients).ok(),
            memory: u64::try_from(memory_bytes).ok(),
            clock: self.clock.wall(),
            jumped: self.clock.jumped_by(),
        }
    }

    /// Takes in a line of a connection that this server has dialled: HELLO, RESUME, then heartbeats.
    ///
    /// On an error the caller cuts the connection off.
    pub fn listener_line_received(
        &mut self,
        id: NeighbourId,
        line: &[u8],
    ) -> Result<Answer, Nonsense> {
        let Some(neighbour) = self.neighbours.get_mut(id.index()) else {
            return Err(Nonsense::OutOfPlace);
        };
        match (parse_peer_line(line).ok_or(Nonsense::Syntax)?, &neighbour.link) {
            (PeerLine::Hello { version, server, identity, fields }, Link::Down) => {
                let dialled = &neighbour.entry.name;
                check_introduction(version, server, dialled).map_err(Nonsense::WrongServer)?;
                neighbour.link = Link::Met { listener: identity };
                Ok(Answer::Hello(fields))
            }
            (PeerLine::Resume { identity, mark }, &Link::Met { listener }) => {
                let last = self.store.last_change();
                let mark_is_good = identity == self.identity && mark <= last;
                let (from, cursor) = match self.settings.catch_up {
                    CatchUp::Off => (ResumedFrom::Now, last),
                    CatchUp::On if mark_is_good => (ResumedFrom::Mark(mark), mark),
                    CatchUp::On => (ResumedFrom::Start, 0),
                };
                neighbour.link = Link::Up { listener, cursor, marked: cursor };
                Ok(Answer::Resumed(Resumed { from, behind: self.store.count_after(cursor) }))
            }
            (PeerLine::Here(here), &Link::Up { marked, .. }) => {
                if here > marked {
                    return Err(Nonsense::MarkAhead { here, marked });
                }
                Ok(Answer::Here(here))
            }
            _ => Err(Nonsense::OutOfPlace),
        }
    }

    /// The connection that this server dialled to a neighbour is gone.
    pub fn link_lost(&mut self, id: NeighbourId) {
        if let Some(neighbour) = self.neighbours.get_mut(id.index()) {
            neighbour.link = Link::Down;
            neighbour.is_current = false;
        }
    }

    /// Decides whether a link is current in the turn that begins. `output_is_empty`: the kernel has all
    /// that was written to the link.
    ///
    /// To be called for each link when a turn begins, before anything changes.
    pub fn turn_begins(&mut self, id: NeighbourId, output_is_empty: bool) {
        let is_up = self.link_is_up(id);
        let is_current = is_up && output_is_empty && !self.lacks_changes(id);
        if let Some(neighbour) = self.neighbours.get_mut(id.index()) {
            let was_current = std::mem::replace(&mut neighbour.is_current, is_current);
            neighbour.fell_behind += u64::from(is_up && was_current && !is_current);
        }
    }

    /// Whether a link that is up is behind, so that replies do not wait for it.
    pub fn is_behind(&self, id: NeighbourId) -> bool {
        let is_current = self.neighbours.get(id.index()).is_some_and(|it| it.is_current);
        self.link_is_up(id) && !is_current
    }

    /// How often a link has fallen behind, its first catching up after it came up not counted.
    pub fn times_behind(&self, id: NeighbourId) -> u64 {
        self.neighbours.get(id.index()).map_or(0, |neighbour| neighbour.fell_behind)
    }

    /// Whether the link to a neighbour is up: dialled, and resumed.
    pub fn link_is_up(&self, id: NeighbourId) -> bool {
        self.cursor(id).is_some()
    }

    /// At most how many clients' records are still to be written to a neighbour; all of them while
    /// the link is down, since where it will go on is not known.
    pub fn backlog(&self, id: NeighbourId) -> usize {
        self.cursor(id).map_or(self.store.len(), |cursor| self.store.count_after(cursor))
    }

    /// Whether a link that is up has something to look at: to be asked before each [`Herd::pump`].
    pub fn lacks_changes(&self, id: NeighbourId) -> bool {
        self.cursor(id).is_some_and(|cursor| cursor < self.store.last_change())
    }

    fn cursor(&self, id: NeighbourId) -> Option<u64> {
        match self.neighbours.get(id.index())?.link {
            Link::Up { cursor, .. } => Some(cursor),
            Link::Down | Link::Met { .. } => None,
        }
    }

    /// Appends what the neighbour lacks, then a MARK: all AT lines if the link is current, and
    /// otherwise until `limit_bytes` are reached or [`PUMP_ENTRIES_MAX`] entries were looked at.
    ///
    /// To be called at the end of each turn for each link whose output has room. What came from the
    /// neighbour itself is skipped. Nothing is written to a link that is not up.
    pub fn pump(&mut self, id: NeighbourId, out: &mut Vec<u8>, limit_bytes: usize) -> Pumped {
        let mut pumped = Pumped::default();
        let Some(neighbour) = self.neighbours.get_mut(id.index()) else { return pumped };
        let Link::Up { listener, cursor, .. } = &mut neighbour.link else { return pumped };
        // What it told under another identity it may have forgotten since, so that goes back to it.
        let known_since = match neighbour.identity {
            Some(identity) if identity == *listener => neighbour.identity_since,
            _ => u64::MAX,
        };
        // What one turn brings is bounded where it is read.
        let (limit_bytes, mut entries_left) = if neighbour.is_current {
            (usize::MAX, usize::MAX)
        } else {
            (limit_bytes, PUMP_ENTRIES_MAX)
        };
        let full = out.len().saturating_add(limit_bytes);
        for (number, change) in self.store.changes_after(*cursor) {
            if out.len() >= full || entries_left == 0 {
                pumped.more = true;
                break;
            }
            entries_left -= 1;
            *cursor = number;
            let Some(change) = change else { continue };
            if change.learned_from == Some(id) && number > known_since {
                continue;
            }
            out.extend_from_slice(change.record.line);
            out.push(b'\n');
            pumped.records += 1;
        }
        if !pumped.more {
            // The newest changes may be of clients that are forgotten, and no longer in the log.
            *cursor = self.store.last_change();
        }
        // A mark for skipped records alone would answer each AT line with a line; the next heartbeat
        // is early enough for those, since the neighbour lacks nothing.
        if pumped.records > 0 {
            self.write_mark(id, out);
        }
        pumped
    }

    /// Appends the dialler's heartbeat: how far the neighbour has been told.
    pub fn write_mark(&mut self, id: NeighbourId, out: &mut Vec<u8>) {
        let neighbour = self.neighbours.get_mut(id.index());
        if let Some(Link::Up { cursor, marked, .. }) =
            neighbour.map(|neighbour| &mut neighbour.link)
        {
            write_mark(out, *cursor);
            *marked = *cursor;
        }
    }
}

/// Whether a HELLO is that of the server that was dialled.
fn check_introduction(version: u64, name: &[u8], dialled: &str) -> Result<(), Refusal> {
    if version != LINK_VERSION {
        return Err(Refusal::Version(version));
    }
    if name != dialled.as_bytes() {
        let name = String::from_utf8_lossy(name).into_owned();
        return Err(Refusal::NotTheOneDialled { name, dialled: dialled.to_owned() });
    }
    Ok(())
}

/// The listening side: a neighbour's changes, on their way here.
impl Herd {
    /// A connection says that it is a neighbour's. Whether it may is not decided here.
    ///
    /// The caller closes an earlier connection that this neighbour has dialled, before any further
    /// line of that one is taken in: its marks might belong to an earlier identity.
    pub fn hello_received(
        &mut self,
        version: u64,
        name: &[u8],
        identity: u64,
    ) -> Result<NeighbourId, Refusal> {
        if version != LINK_VERSION {
            return Err(Refusal::Version(version));
        }
        let id = self.neighbour_named(name);
        let Some((id, neighbour)) =
            id.and_then(|id| Some((id, self.neighbours.get_mut(id.index())?)))
        else {
            let name = String::from_utf8_lossy(name).into_owned();
            return Err(Refusal::NotANeighbour { name, me: self.name().to_owned() });
        };
        if neighbour.identity != Some(identity) {
            neighbour.identity = Some(identity);
            neighbour.taken_in = 0;
            neighbour.identity_since = self.store.last_change();
        }
        Ok(id)
    }

    /// Which start of a neighbour has said HELLO last.
    pub fn identity_of(&self, id: NeighbourId) -> Option<u64> {
        self.neighbours.get(id.index())?.identity
    }

    /// Appends the answer to the neighbour's HELLO: who this is, and where the neighbour is to go on.
    pub fn write_resume(&self, id: NeighbourId, out: &mut Vec<u8>) {
        let Some(neighbour) = self.neighbours.get(id.index()) else { return };
        self.hello(out);
        let (identity, mark) = neighbour.taken().unwrap_or_default();
        write_resume(out, identity, mark);
    }

    /// Takes in a line of a connection that a neighbour has dialled, after its HELLO.
    ///
    /// On an error the caller cuts the connection off.
    pub fn dialler_line_received(
        &mut self,
        id: NeighbourId,
        line: &[u8],
    ) -> Result<Taken, Nonsense> {
        if let Some(fields) = AtFields::split(line) {
            return self.record_received(id, line, fields);
        }
        match parse_peer_line(line).ok_or(Nonsense::Syntax)? {
            PeerLine::Mark(mark) => {
                if let Some(neighbour) = self.neighbours.get_mut(id.index()) {
                    neighbour.taken_in = neighbour.taken_in.max(mark);
                }
                Ok(Taken::Mark)
            }
            PeerLine::Here(_)
            | PeerLine::Hello { .. }
            | PeerLine::Resume { .. }
            | PeerLine::At(_) => Err(Nonsense::OutOfPlace),
        }
    }

    fn record_received(
        &mut self,
        id: NeighbourId,
        line: &[u8],
        fields: AtFields<'_>,
    ) -> Result<Taken, Nonsense> {
        if self.is_unsettled()
            && let Some(record) = aside::read(line)
            && is_server_name(record.server())
            && !self.settings.is_too_far_ahead(&record)
        {
            correction::set_aside(&mut self.aside, &self.store, &record, &self.settings);
        }
        let latest = self.latest_server_time();
        let (settings, mut too_far_ahead) = (&self.settings, false);
        let (topology, strangers) = (&self.topology, &mut self.strangers);
        let mut nonsense = Nonsense::Syntax;
        let merged = self.store.merge_line((line, fields.client), Some(id), || {
            let at = fields.read()?;
            let is_stranger = topology.by_name(at.server).is_none();
            if is_stranger && !is_server_name(at.server) {
                nonsense = Nonsense::ServerName(String::from_utf8_lossy(at.server).into_owned());
                return None;
            }
            let record = Record::new(line, &at)?;
            too_far_ahead = settings.is_too_far_ahead(&record);
            if record.server_time > latest {
                nonsense = Nonsense::FromAhead { by: record.server_time - latest };
            }
            if too_far_ahead || record.server_time > latest {
                return None;
            }
            if is_stranger {
                strangers.note(at.server);
            }
            Some(record)
        });
        if too_far_ahead {
            return Ok(Taken::Kept);
        }
        match merged.ok_or(nonsense)? {
            Merged::New | Merged::Changed => Ok(Taken::Changed),
            Merged::Kept | Merged::TooOld => Ok(Taken::Kept),
            Merged::Full => Ok(Taken::Full),
        }
    }

    /// Appends the listener's heartbeat: the last mark taken in.
    pub fn write_here(&self, id: NeighbourId, out: &mut Vec<u8>) {
        write_here(out, self.neighbours.get(id.index()).map_or(0, |neighbour| neighbour.taken_in));
    }
}

#[cfg(test)]
mod tests;
