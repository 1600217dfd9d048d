//! What the herd knows of every client, and in what order it learned it.
//!
//! It owns the records, the index from client to record, and the change log. It changes by merging,
//! after which each client has its greatest record and the last place in the order of changes, and by
//! forgetting, which is no change that a cursor sees. Links and journals read it through cursors, which
//! are plain numbers. A client costs about 85 bytes beside a line of the usual length, and for an update of
//! one that is known nothing but the log's growth is allocated.

mod index;
mod kept;
mod oldest;
mod room;

use std::hash::{self, BuildHasher, Hasher};

use ahash::RandomState;

use super::change_log::ChangeLog;
use super::chunks::Chunks;
use super::links::NeighbourId;
use super::record::Record;
use crate::wire::time::Nanos;
use index::{Index, Vacancy};
use kept::Kept;
use oldest::Oldest;
pub use room::{CLIENT_WEIGHT_BYTES, Capacity, Fullness, WhenFull, weight_of};

/// More clients than these no store takes in: they would need more than a hundred gigabytes.
pub(super) const SLOTS_MAX: usize = 1 << 30;

/// From how many clients on it pays to look ahead: by measuring, since the records of fewer are mostly in
/// the caches of one core, and an answer costs less then than the question.
const LARGE_CLIENTS: usize = 32_768;

/// For how many clients memory is asked at a time: about as many answers as a processor waits for.
const AHEAD_CLIENTS: usize = 32;

/// What a merge did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merged {
    /// The client was not known before.
    New,
    /// The client's record gave way to a greater one, or to any when it was due to be forgotten.
    Changed,
    /// Nothing changed: the record held is as good or better.
    Kept,
    /// The record was not taken in: the client is not known, and there is no room for one more.
    Full,
    /// Nothing changed: the record's server time is at or before the horizon.
    TooOld,
}

/// A change that a cursor finds.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// The client's record as it is now.
    pub record: Record<'a>,
    /// The neighbour whose line brought it, `None` when a client of this server or the journal did.
    pub learned_from: Option<NeighbourId>,
}

/// All records, by client and by order of change.
#[derive(Debug)]
pub struct Store {
    kept: Chunks<Kept>,
    index: Index,
    /// Keyed at random, so that nobody can choose clients that all fall together: `ahash` is made so
    /// that who does not know the key finds no collisions, not even of a part of the hash. It is no
    /// cryptography, and no hash is told to anybody.
    hasher: RandomState,
    log: ChangeLog,
    /// Where the earliest records stand.
    oldest: Oldest,
    capacity: Capacity,
    /// The server's clock, as it was said last.
    clock: Nanos,
    /// What a server heard up to this moment of its clock is due: as good as forgotten.
    horizon: Nanos,
    /// As far as the horizon has risen because clients are to be forgotten, and not to make room.
    forgotten: Nanos,
    fullness: Fullness,
    /// The newest change when room was made last.
    last_seen: u64,
    /// What all clients weigh together.
    weight: usize,
    /// The length of all lines together.
    line_bytes: usize,
}

impl Store {
    /// Nothing yet, and never more than `capacity`.
    pub fn new(capacity: Capacity) -> Store {
        Store {
            kept: Chunks::new(),
            index: Index::default(),
            hasher: random_hasher(),
            log: ChangeLog::new(),
            oldest: Oldest::default(),
            capacity: Capacity { clients: capacity.clients.min(SLOTS_MAX), ..capacity },
            clock: Nanos::MIN,
            horizon: Nanos::MIN,
            forgotten: Nanos::MIN,
            fullness: Fullness::default(),
            last_seen: 0,
            weight: 0,
            line_bytes: 0,
        }
    }

    /// How many clients are known, counting those that are due but not swept yet.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether no client is known yet.
    pub fn is_empty(&self) -> bool {
        self.kept.len() == 0
    }

    /// The length of all AT lines together, without their LFs.
    pub fn line_bytes(&self) -> usize {
        self.line_bytes
    }

    /// The record of a client.
    pub fn get(&self, client: &[u8]) -> Option<Record<'_>> {
        let kept = self.kept.get(self.find(client).ok()? as usize)?;
        (!is_due(kept.server_time(), self.horizon)).then(|| kept.record())
    }

    /// Takes in a record if it is greater than the one held of its client.
    ///
    /// Merging is commutative, associative and idempotent.
    pub fn merge(&mut self, record: Record<'_>, learned_from: Option<NeighbourId>) -> Merged {
        if is_due(record.server_time, self.horizon) {
            return Merged::TooOld;
        }
        let found = self.find(record.client());
        self.put(found, record, learned_from, |held| record.wins_over(&held.record()))
    }

    /// [`merge`](Self::merge) for a line whose record is not read yet, and need not be if the line is
    /// held already: in a ring a third of all lines come a second time, by the other way. `None` when
    /// `read` finds no record in it.
    pub fn merge_line<'a>(
        &mut self,
        (line, client): (&[u8], &[u8]),
        learned_from: Option<NeighbourId>,
        read: impl FnOnce() -> Option<Record<'a>>,
    ) -> Option<Merged> {
        let found = self.find(client);
        if let Ok(slot) = found
            && self.kept.get(slot as usize).is_some_and(|kept| kept.line() == line)
        {
            return Some(Merged::Kept);
        }
        let record = read()?;
        if is_due(record.server_time, self.horizon) {
            return Some(Merged::TooOld);
        }
        Some(self.put(found, record, learned_from, |held| record.wins_over(&held.record())))
    }

    /// Takes in what `client`, one of this server's, says itself, if its time is later than the one held.
    /// The client is the record's, which whoever has composed it knows without looking.
    ///
    /// Not the full order of records: a repeat that happens to reach a server whose clock is behind
    /// would win by it, and travel. A repeated report is answered but changes nothing.
    pub fn report(&mut self, client: &[u8], record: Record<'_>) -> Merged {
        let found = self.find(client);
        if found.is_err() {
            // Its server time is this server's clock.
            self.clock = self.clock.max(record.server_time);
        }
        if is_due(record.server_time, self.horizon) {
            return self.report_past_horizon(found, &record);
        }
        self.put(found, record, None, |held| record.client_time > held.client_time())
    }

    /// The horizon is where this server's clock is, or the clock was set back: nothing is taken in, but
    /// a repeated report is answered as ever.
    #[cold]
    fn report_past_horizon(&mut self, found: Result<u32, Vacancy>, record: &Record<'_>) -> Merged {
        let held = found.ok().and_then(|slot| self.kept.get(slot as usize));
        let held = held.filter(|kept| !is_due(kept.server_time(), self.horizon));
        if held.is_some_and(|kept| record.client_time <= kept.client_time()) {
            return Merged::Kept;
        }
        self.fullness.turned_away += 1;
        Merged::TooOld
    }

    /// Asks memory for what merges of these clients' records will need, and changes nothing.
    ///
    /// A large store is in no cache: an update waits for the index, then for the record. The processor
    /// goes on for a few dozen instructions while it waits. So each step is taken for many clients in a
    /// row, with next to nothing in between, and they wait together.
    pub fn look_ahead<'a>(&self, mut clients: impl Iterator<Item = &'a [u8]>) {
        loop {
            let mut hashes = [None; AHEAD_CLIENTS];
            for (place, client) in hashes.iter_mut().zip(&mut clients) {
                *place = Some(self.hash(client));
            }
            hashes.iter().flatten().for_each(|hash| self.index.touch(*hash));
            let slots = hashes.map(|hash| self.index.guess(hash?));
            for slot in slots.into_iter().flatten() {
                self.log.touch(slot);
                if let Some(kept) = self.kept.get(slot as usize) {
                    kept.touch();
                }
            }
            slots.into_iter().flatten().for_each(|slot| self.log.touch_entry(slot));
            if hashes.last().is_none_or(Option::is_none) {
                return;
            }
        }
    }

    /// Whether [`look_ahead`](Self::look_ahead) is worth its instructions.
    pub fn is_large(&self) -> bool {
        self.kept.len() >= LARGE_CLIENTS
    }

    /// The number of the change that brought the record held of a client; `None` when it is not known.
    pub fn change_of(&self, client: &[u8]) -> Option<u64> {
        self.log.number_of(self.find(client).ok()?)
    }

    /// The number of the newest change; 0 before the first.
    pub fn last_change(&self) -> u64 {
        self.log.last()
    }

    /// The changes with a number above `cursor`, oldest first, each client once.
    ///
    /// The number comes without a change where the client has changed again since, or is forgotten: a
    /// reader that counts its steps has a bound on its work, however many of those lie in between.
    pub fn changes_after(&self, cursor: u64) -> impl Iterator<Item = (u64, Option<Change<'_>>)> {
        self.log.after(cursor).map(|entry| {
            let kept = entry.slot.and_then(|slot| self.kept.get(slot as usize));
            let known = kept.filter(|kept| !is_due(kept.server_time(), self.horizon));
            let change =
                known.map(|kept| Change { record: kept.record(), learned_from: kept.learned_from });
            (entry.number, change)
        })
    }

    /// At most how many clients have changed after `cursor`: an upper bound, had without a walk.
    pub fn count_after(&self, cursor: u64) -> usize {
        self.log.count_after(cursor).min(self.kept.len())
    }

    /// How many entries the change log has, live and dead.
    pub fn log_entries(&self) -> usize {
        self.log.len()
    }

    /// Looks at records with a server time after `latest`, and drops them: at most `budget` of those in
    /// the first `unseen` slots, from the last on. Gives how many slots are still unseen, and how many
    /// records were dropped.
    pub fn drop_after(&mut self, latest: Nanos, unseen: usize, budget: usize) -> (usize, usize) {
        let before = self.kept.len();
        let seen_from = unseen.min(before);
        let end = seen_from.saturating_sub(budget);
        for slot in (end..seen_from).rev() {
            // The last record moves to this slot. It was seen already, or has come since.
            if self.kept.get(slot).is_some_and(|kept| kept.server_time() > latest) {
                self.remove(slot);
            }
        }
        let dropped = before - self.kept.len();
        self.log.sweep_forgotten(dropped);
        (end, dropped)
    }

    /// The slot of a client, or where the index would put it. In line, so that its answer stays in registers,
    /// and whoever goes on to the record has its address already.
    #[inline]
    fn find(&self, client: &[u8]) -> Result<u32, Vacancy> {
        self.index.find(self.hash(client), |slot| is_at(&self.kept, slot, client))
    }

    /// Takes in a record of the client that was `found`.
    fn put(
        &mut self,
        found: Result<u32, Vacancy>,
        record: Record<'_>,
        learned_from: Option<NeighbourId>,
        wins_over: impl FnOnce(&Kept) -> bool,
    ) -> Merged {
        let (slot, merged) = match found {
            Ok(slot) => {
                let Some(kept) = self.kept.get_mut(slot as usize) else { return Merged::Kept };
                // One that is due loses to any: whether it is swept yet must make no difference.
                let server_time = kept.server_time();
                if !wins_over(kept) && !is_due(server_time, self.horizon) {
                    return Merged::Kept;
                }
                self.line_bytes -= kept.line_length();
                kept.replace(&record, learned_from);
                if record.server_time < server_time {
                    self.oldest.lower(slot as usize, record.server_time);
                }
                (slot, Merged::Changed)
            }
            Err(vacancy) => {
                let weight = weight_of(record.client());
                if !self.has_room(record.server_time, weight) {
                    return self.turn_away();
                }
                let Ok(slot) = u32::try_from(self.kept.len()) else { return self.turn_away() };
                self.index.insert(vacancy, slot);
                self.oldest.push(self.kept.len(), record.server_time);
                self.kept.push(Kept::new(&record, learned_from));
                self.weight += weight;
                (slot, Merged::New)
            }
        };
        self.line_bytes += record.line.len();
        self.log.append(slot);
        merged
    }

    /// Gives up the record in a slot; the last one takes its place, so that there are no holes.
    fn remove(&mut self, slot: usize) {
        let (Some(kept), Ok(place)) = (self.kept.get(slot), u32::try_from(slot)) else { return };
        let hash = self.hash(kept.client());
        self.line_bytes -= kept.line_length();
        self.weight -= weight_of(kept.client());
        self.log.forget(place);
        self.index.remove(hash, place);
        self.kept.swap_remove(slot);
        // Where the moved record stood is now beyond the end.
        self.oldest.pop(self.kept.len());
        if let (Some(moved), Ok(from)) = (self.kept.get(slot), u32::try_from(self.kept.len())) {
            self.oldest.lower(slot, moved.server_time());
            self.index.relocate(self.hash(moved.client()), from, place);
        }
    }

    /// The bytes alone: their number adds nothing to the hash of a whole key.
    fn hash(&self, client: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(client);
        hasher.finish()
    }
}

/// With a key from the standard library's own source of randomness.
fn random_hasher() -> RandomState {
    let source = hash::RandomState::new();
    let [a, b, c, d] = [0, 1, 2, 3].map(|part: u8| source.hash_one(part));
    RandomState::with_seeds(a, b, c, d)
}

/// Whether what a server heard at this time of its clock is as good as forgotten.
fn is_due(server_time: Nanos, horizon: Nanos) -> bool {
    server_time <= horizon
}

/// Whether the record in a slot is that of `client`.
fn is_at(kept: &Chunks<Kept>, slot: u32, client: &[u8]) -> bool {
    kept.get(slot as usize).is_some_and(|kept| kept.is_of(client))
}

#[cfg(test)]
mod tests;
