//! How much a store holds, and who makes room when it is full: one horizon for this and for forgetting.
//!
//! It owns the bounds, the horizon and what is let go. It reads no clock and logs nothing. Part of the
//! [`store`](super); the horizon rises by [`Store::forget_up_to`] and when there is no room.
//!
//! # Why servers agree
//!
//! The horizon is a time on the servers' clocks. Nothing with a server time at or before it is held or
//! taken in. When the store is full, the horizon rises to the least time past which everything fits.
//! Whose record goes depends neither on the order in which records came nor on how they lie in memory.
//!
//! Take a set of records, and of each client the one that wins. Let *N(h)* be how many of the winners
//! have a server time above *h*, and *W(h)* what they weigh together. As long as each client's records
//! have the same order by its own time and by the servers' times, a record that arrives only ever
//! replaces an earlier one by a later one, and so *N(h)* never falls. *W(h)* never falls either, because
//! a client weighs the same whatever it reports: its ID and a constant. So the least *h* with *N(h)* and
//! *W(h)* within the bounds, which is the horizon, never falls, and it is a function of the set alone. So
//! is what is held: the winners above the horizon. A store computes both without what it has let go,
//! since no record at or before the horizon counts for any *h* above it. (The length of the newest line
//! would be no good as a weight: a client whose lines became shorter would lower *W*, and a horizon that
//! had risen before that would depend on when the longer line came.)
//!
//! A record that had to go before a neighbour was told of it leaves that neighbour with a lower horizon,
//! and perhaps with an older record for which there is still room. So do records of one client that are
//! in another order by the servers' times than by its own. Such differences end when the horizons have
//! risen past them.
//!
//! No two reports at one server have the same server time: within a turn each has a nanosecond of its
//! own. Otherwise all that one turn took in would have to go together.
//!
//! # Why it is not in the journal
//!
//! A journal has all that is held, and perhaps records that have been let go since. To replay it into a
//! store with the same bounds raises the horizon again, as far as those records need it: by the above it
//! ends where it was. A horizon on disk would be worse. The records that had raised it may have been lost
//! with the end of the file, and then it would keep out what is now the newest that anybody has.
//!
//! # What waits
//!
//! The earliest record is found by looking at groups of records ([`Oldest`](super::oldest::Oldest)), and
//! each step looks at a bounded number of them. The horizon also never passes the server's own clock, and
//! so a record from ahead of it cannot go. While either waits, the store may be over its bounds by a
//! 64th, [`SLACK_CLIENTS`] and [`SLACK_BYTES`]. What would take it further is not taken in.

use super::oldest::GROUP;
use super::{Merged, SLOTS_MAX, Store, is_due};
use crate::wire::time::Nanos;

/// What a client weighs beside its ID, in bytes: the rest of the longest AT line that it can have (158),
/// and the store's own for a line of that length (213: the fixed part of a record, its places in the
/// index, the change log and the tree of bounds, and the allocator's). Rounded up, and part of the
/// protocol: only servers that weigh alike let go of the same clients.
pub const CLIENT_WEIGHT_BYTES: usize = 384;

/// By how many clients more than a 64th a store may be over its bound while an eviction waits.
pub const SLACK_CLIENTS: usize = 64;

/// By how many bytes more than a 64th a store may be over its bound while an eviction waits.
pub const SLACK_BYTES: usize = 1 << 20;

/// How many groups of records are looked at before a client is taken in. More than one is necessary
/// only where clients have reported again since the last eviction.
const LOOKS_PER_CLIENT: usize = 64;

/// How many groups of records a turn may look at, and how many more for each change that it brought: an
/// update makes at most one look necessary, so two of them catch up.
const LOOKS_PER_TURN: usize = 256;
const LOOKS_PER_CHANGE: usize = 2;

/// What happens to a client who is new to a full store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// The clients who were not heard for the longest make room.
    #[default]
    Evict,
    /// It is not taken in.
    Refuse,
}

/// How much a store holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// So many clients, and never more than [`SLOTS_MAX`].
    pub clients: usize,
    /// So many bytes, by the weight of clients: see [`weight_of`].
    pub memory_bytes: usize,
    /// What happens past either.
    pub when_full: WhenFull,
}

/// What a client weighs, in bytes: on every machine the same, and at least what it takes.
pub fn weight_of(client: &[u8]) -> usize {
    client.len() + CLIENT_WEIGHT_BYTES
}

/// What is full and how it became so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fullness {
    /// How many clients have made room for others.
    pub evicted: u64,
    /// How many reports and records of clients were not taken in because there was no room.
    pub turned_away: u64,
}

/// A search for the earliest record.
enum Earliest {
    /// It stands in this slot.
    At(usize, Nanos),
    /// There is none that is early enough.
    None,
    /// The search goes on in a later step.
    NotYet,
}

impl Store {
    /// What this store was made for.
    pub fn capacity(&self) -> Capacity {
        self.capacity
    }

    /// What all clients weigh together, in bytes.
    pub fn weight(&self) -> usize {
        self.weight
    }

    /// Who had to go or was not let in so far.
    pub fn fullness(&self) -> Fullness {
        self.fullness
    }

    /// Nothing with a server time at or before this is held; `None`: anything may be.
    pub fn horizon(&self) -> Option<Nanos> {
        Some(self.horizon).filter(|horizon| *horizon > Nanos::MIN)
    }

    /// Says what the server's clock is. The horizon never passes it, and so it falls with a clock that
    /// is set back: one in the future would keep everybody out until then.
    pub fn set_clock(&mut self, now: Nanos) {
        self.clock = now;
        self.horizon = self.horizon.min(now);
        self.forgotten = self.forgotten.min(now);
    }

    /// The clock was wrong, and so the horizon may be: everything is taken in again until it has risen.
    pub fn reset_horizon(&mut self) {
        (self.horizon, self.forgotten) = (Nanos::MIN, Nanos::MIN);
    }

    /// From now on, what a server heard up to `horizon` by its clock is as good as forgotten: not found,
    /// not told, not taken in. Its memory comes back with [`sweep`](Self::sweep).
    pub fn forget_up_to(&mut self, horizon: Nanos) {
        self.forgotten = self.forgotten.max(horizon.min(self.clock));
        self.horizon = self.horizon.max(self.forgotten);
    }

    /// Looks at about `budget` records, as whole groups, and gives up those that are due. Gives how many.
    pub fn sweep(&mut self, budget: usize) -> usize {
        let before = self.len();
        let mut left = budget;
        while left > 0
            && let Some((group, bound)) = self.oldest.lowest()
            && is_due(bound, self.horizon)
        {
            let mut slot = group * GROUP;
            for _ in 0..2 * GROUP {
                if slot >= self.len().min((group + 1) * GROUP) {
                    break;
                }
                left = left.saturating_sub(1);
                match self.kept.get(slot).map(super::Kept::server_time) {
                    // The last record moves to this place, and is the next to be looked at.
                    Some(time) if is_due(time, self.horizon) => self.let_go(slot, time),
                    _ => slot += 1,
                }
            }
            self.correct(group);
        }
        let forgotten = before - self.len();
        self.log.sweep_forgotten(forgotten);
        forgotten
    }

    /// Goes on with what an earlier step has left over its bounds. To be called at the end of each turn.
    /// Gives whether it should be called again soon.
    pub fn make_room(&mut self) -> bool {
        let last = self.log.last();
        let changes = last - std::mem::replace(&mut self.last_seen, last);
        if !self.is_over(0, 0) || self.capacity.when_full == WhenFull::Refuse {
            return false;
        }
        let changes = usize::try_from(changes).unwrap_or(usize::MAX);
        let mut looks = LOOKS_PER_TURN.saturating_add(changes.saturating_mul(LOOKS_PER_CHANGE));
        let before = self.len();
        while self.is_over(0, 0) {
            match self.earliest(self.clock, &mut looks) {
                Earliest::At(slot, time) => self.evict(slot, time),
                Earliest::None => break,
                Earliest::NotYet => return true,
            }
        }
        self.log.sweep_forgotten(before - self.len());
        false
    }

    /// Makes room for a client who is not known, whose record has this server time, and weighs so much.
    /// Gives whether it may be taken in.
    pub(super) fn has_room(&mut self, server_time: Nanos, weight: usize) -> bool {
        // Checked first, for the store that is not full: one comparison for each bound.
        if !self.is_over(1, weight) {
            return self.len() < SLOTS_MAX;
        }
        let until = match self.capacity.when_full {
            WhenFull::Evict => server_time.min(self.clock),
            // What is forgotten, and not swept yet, takes no room.
            WhenFull::Refuse => self.horizon,
        };
        let mut looks = LOOKS_PER_CLIENT;
        let is_waiting = loop {
            match self.earliest(until, &mut looks) {
                Earliest::At(slot, time) => self.evict(slot, time),
                Earliest::None => break until < server_time,
                Earliest::NotYet => break true,
            }
            if !self.is_over(1, weight) {
                break false;
            }
        };
        if !self.is_over(1, weight) {
            // One that is no later than another who had to go goes with it.
            return !is_due(server_time, self.horizon);
        }
        if self.capacity.when_full == WhenFull::Refuse {
            return false;
        }
        if !is_waiting {
            // All that is held is later, so this is the one that has to go.
            self.horizon = self.horizon.max(server_time);
        }
        is_waiting && !self.is_far_over(1, weight)
    }

    /// The bound of the client count or of the weight would be passed with so many clients more.
    fn is_over(&self, clients: usize, weight: usize) -> bool {
        let Capacity { clients: clients_max, memory_bytes, .. } = self.capacity;
        self.len() + clients > clients_max || self.weight + weight > memory_bytes
    }

    /// And by more than may be while an eviction waits.
    fn is_far_over(&self, clients: usize, weight: usize) -> bool {
        let with_slack = |bound: usize, slack| bound.saturating_add(bound / 64 + slack);
        let clients_max = with_slack(self.capacity.clients, SLACK_CLIENTS).min(SLOTS_MAX);
        let memory_max = with_slack(self.capacity.memory_bytes, SLACK_BYTES);
        self.len() + clients > clients_max || self.weight + weight > memory_max
    }

    /// The earliest of all records, if its server time is at most `until`. Each group that is looked at
    /// is one of `looks`.
    fn earliest(&mut self, until: Nanos, looks: &mut usize) -> Earliest {
        while let Some((group, bound)) = self.oldest.lowest().filter(|(_, bound)| *bound <= until) {
            let Some(left) = looks.checked_sub(1) else { return Earliest::NotYet };
            *looks = left;
            let Some((slot, time)) = self.earliest_in(group) else { break };
            if time == bound {
                return Earliest::At(slot, time);
            }
            self.oldest.correct(group, time);
        }
        Earliest::None
    }

    fn earliest_in(&self, group: usize) -> Option<(usize, Nanos)> {
        let first = group * GROUP;
        let times = self.kept.part(first, GROUP).iter().map(super::Kept::server_time);
        (first..).zip(times).min_by_key(|(_, time)| *time)
    }

    /// Makes the bound of a group exact.
    fn correct(&mut self, group: usize) {
        if let Some((_, time)) = self.earliest_in(group) {
            self.oldest.correct(group, time);
        }
    }

    /// Lets the earliest record go: the horizon rises to it.
    fn evict(&mut self, slot: usize, server_time: Nanos) {
        self.horizon = self.horizon.max(server_time);
        self.let_go(slot, server_time);
        // The group is in the cache now, and most likely to be asked for again.
        self.correct(slot / GROUP);
    }

    fn let_go(&mut self, slot: usize, server_time: Nanos) {
        if !is_due(server_time, self.forgotten) {
            self.fullness.evicted += 1;
        }
        self.remove(slot);
    }

    /// A client was not taken in.
    pub(super) fn turn_away(&mut self) -> Merged {
        self.fullness.turned_away += 1;
        Merged::Full
    }
}
