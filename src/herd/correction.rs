//! What follows when a clock was wrong: what it let in is dropped, what that cost comes back, and the
//! server resumes from the beginning with every neighbour.
//!
//! Nothing is dropped or forgotten while the clock is doubted, since it is not known which of the two was
//! wrong, the clock or the records. Once the clock is trusted, a search goes through the store, a part in
//! each turn. Then the server takes a new identity, as at a start, so that every neighbour tells
//! everything again and is told everything. Called by the server's shell, at the beginning of each turn.

use super::Herd;
use super::aside::{self, Aside};
use super::clock::{ClockNews, ClockWatch, Proof};
use super::links::{Neighbour, NeighbourId};
use super::record::Record;
use super::settings::Settings;
use super::store::{Merged, Store};
use crate::wire::peer::HelloFields;
use crate::wire::time::Nanos;

/// How many records one step of the search looks at: well below a millisecond of work.
pub const SEARCH_STEP_RECORDS: usize = 4_096;

/// A search for records from ahead of the clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search {
    /// How many slots of the store are still to be looked at.
    unseen: usize,
    dropped: usize,
    after_jump: bool,
}

/// What a search has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrected {
    /// How many records were dropped: their server times were too far ahead.
    pub dropped: usize,
    /// How many records came back that had lost to those.
    pub restored: usize,
    /// Whether the server has a new identity. Then all of its links are to be closed.
    pub starts_anew: bool,
}

/// Sets the loser of `record` and the one held aside, if a wrong clock may have decided between them.
/// To be called before a merge while the clock is doubted.
pub(super) fn set_aside(
    aside: &mut Aside,
    store: &Store,
    record: &Record<'_>,
    settings: &Settings,
) {
    if let Some(held) = store.get(record.client()) {
        aside.note(record, &held, settings);
    }
}

impl Herd {
    /// Says what both clocks are, in nanoseconds: the monotonic one since any moment, this server's wall
    /// clock since 1970. To be called at the beginning of each turn, and before a journal is replayed.
    ///
    /// On [`ClockNews::Jumped`] the links that this server dialled are to be dialled anew, so that its
    /// neighbours hear of the new time and tell theirs.
    pub fn clock_read(&mut self, monotonic: Nanos, wall: Nanos) -> Option<ClockNews> {
        let news = self.clock.read(monotonic, wall)?;
        match news {
            ClockNews::Jumped { .. } => self.search = None,
            ClockNews::Trusted { proof: Proof::Time, .. } => drop(self.aside.take()),
            ClockNews::Trusted { after_jump, .. } => {
                if after_jump {
                    self.store.reset_horizon();
                }
                self.forget(wall, 0);
                self.search = Some(Search { unseen: self.store.len(), dropped: 0, after_jump });
            }
        }
        Some(news)
    }

    /// Whether a search is under way, which goes on with [`search_ahead`](Self::search_ahead).
    pub fn is_searching(&self) -> bool {
        self.search.is_some()
    }

    /// Whether a record from ahead of the clock may be held, so that a right one may lose to it.
    pub(super) fn is_unsettled(&self) -> bool {
        self.clock.is_doubted() || self.search.is_some()
    }

    /// Looks at the next `budget` records of the search. When it has ended, this server has `identity`
    /// from now on if it starts anew.
    pub fn search_ahead(&mut self, budget: usize, identity: u64) -> Option<Corrected> {
        let latest = self.latest_server_time();
        let search = self.search.as_mut()?;
        let (unseen, dropped) = self.store.drop_after(latest, search.unseen, budget);
        search.unseen = unseen;
        search.dropped += dropped;
        if unseen > 0 {
            return None;
        }
        let Search { dropped, after_jump, .. } = self.search.take()?;
        let restored = self.restore(latest);
        if dropped > 0 {
            self.corrections += 1;
        }
        let starts_anew = after_jump || dropped > 0;
        if starts_anew {
            self.identity = identity;
            self.neighbours.iter_mut().for_each(Neighbour::start_anew);
        }
        Some(Corrected { dropped, restored, starts_anew })
    }

    /// Takes in what was set aside. Gives how many records that changed.
    fn restore(&mut self, latest: Nanos) -> usize {
        let lines = self.aside.take();
        let records = lines.lines_after(0).filter_map(aside::read);
        let good = records.filter(|record| record.server_time <= latest);
        let merged = good.map(|record| self.store.merge(record, None));
        merged.filter(|merged| matches!(merged, Merged::New | Merged::Changed)).count()
    }

    /// No record with a later server time than this is taken in: one of the two clocks is wrong.
    pub(super) fn latest_server_time(&self) -> Nanos {
        let wall = self.clock.wall();
        wall.map_or(Nanos::MAX, |wall| wall.saturating_add(self.settings.server_ahead_max()))
    }

    /// Whether a record is due to be forgotten by a clock that was not confirmed since the start: it is
    /// kept, since the clock may be wrong, but most likely it is not, so nobody is told of it.
    pub(super) fn hides(&self, record: &Record<'_>) -> bool {
        let (Some(after), Some(now)) = (self.settings.forget_after, self.clock.wall()) else {
            return false;
        };
        record.server_time <= now - after && self.clock.is_unconfirmed()
    }

    /// A neighbour's HELLO said what its clock is. Gives how far it is ahead of this server's.
    pub fn clock_told(&mut self, id: NeighbourId, fields: &HelloFields) -> Option<Nanos> {
        self.clock.told(id, fields.clock?, fields.jumped)
    }

    /// What is known about this server's clock and its neighbours'.
    pub fn clock(&self) -> &ClockWatch {
        &self.clock
    }
}
