//! The order in which clients changed: a list of numbered changes that cursors walk along.
//!
//! Each change to the store is appended with the next number. An entry is live as long as its client
//! has not changed again; a dead one is passed over and swept out in time. It never sees a record: a
//! client is a slot of the [`store`](super::store), its only caller.

use std::hint::black_box;

use super::chunks::Chunks;

/// How many more entries than twice the live ones may stand in the log before a sweep begins.
///
/// Without it a herd that knows three clients would sweep all the time.
pub(super) const SLACK_ENTRIES: usize = 1024;

/// How many entries a step of a sweep looks at.
///
/// The sweep of a million clients would stop the loop for tens of milliseconds if it were done at
/// once; a step takes a few microseconds. The places of the live ones are in no cache then, and in a
/// run of many the processor waits for several at a time.
const SWEEP_STEP_ENTRIES: usize = 256;

/// How many changes lie between two steps of a sweep: it only has to be faster than the log grows.
const SWEEP_STEP_CHANGES: u64 = SWEEP_STEP_ENTRIES as u64 / 4;

/// How many places beyond four times what it holds a list may keep before it gives memory back.
const SPARE_PLACES: usize = 1024;

/// A change: its number, and the slot of the store where its client stands, `None` when it is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub number: u64,
    pub slot: Option<u32>,
}

/// Where an entry stands, counted from the front of the log. With at most
/// [`SLOTS_MAX`](super::store::SLOTS_MAX) live entries, this is wide enough.
type Place = u32;

/// The changes in order, numbered from 1.
///
/// A sweep goes through the entries from the front and moves the live ones together, in place. While
/// it is under way the entries are those before `kept` and those from `seen` on, with a gap of
/// leftovers between them; else both are 0 and there is no gap.
#[derive(Debug)]
pub(super) struct ChangeLog {
    /// In one `Vec`, which a cursor can search. Its growth stops no turn: unlike the store's records,
    /// which are aligned to cache lines, entries have the usual alignment, so glibc's `realloc` moves the
    /// pages of so large a block and copies nothing (to 128 MiB in 0.2 ms, by measuring), unless a
    /// larger block has been freed before, and few in a server are larger than a chunk of [`Chunks`].
    entries: Vec<Entry>,
    /// By slot, where its live entry stands.
    live: Chunks<Place>,
    /// How many of those that the sweep has seen it has kept.
    kept: usize,
    /// How many entries the sweep has seen.
    seen: usize,
    /// The number of the newest change; 0 before the first.
    last: u64,
}

impl ChangeLog {
    /// No change yet, of nobody.
    pub fn new() -> ChangeLog {
        ChangeLog { entries: Vec::new(), live: Chunks::new(), kept: 0, seen: 0, last: 0 }
    }

    /// How many entries there are, dead ones too.
    pub fn len(&self) -> usize {
        self.entries.len() - (self.seen - self.kept)
    }

    /// The number of the newest change; 0 before the first.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Appends a change of the client in `slot`: one that has changed before, or the next free one. Does
    /// its share of the sweeping, by which the log stays below about 8/3 of its live entries.
    pub fn append(&mut self, slot: u32) {
        let place = place_at(self.entries.len());
        match self.live.get_mut(slot as usize) {
            Some(live) => {
                let before = std::mem::replace(live, place);
                self.set_slot(before, None);
            }
            None => self.live.push(place),
        }
        self.last += 1;
        self.entries.push(Entry { number: self.last, slot: Some(slot) });
        if self.last.is_multiple_of(SWEEP_STEP_CHANGES) {
            self.sweep_step();
        }
    }

    /// The client in `slot` is forgotten, and the one in the last slot is in this one now. Sweeping what
    /// has died so is left to [`sweep_forgotten`](Self::sweep_forgotten).
    pub fn forget(&mut self, slot: u32) {
        let Some(place) = self.live.swap_remove(slot as usize) else { return };
        self.set_slot(place, None);
        if let Some(&moved) = self.live.get(slot as usize) {
            self.set_slot(moved, Some(slot));
        }
    }

    /// To be called when so many clients have been forgotten.
    pub fn sweep_forgotten(&mut self, forgotten: usize) {
        for _ in 0..(forgotten as u64).div_ceil(SWEEP_STEP_CHANGES) {
            self.sweep_step();
        }
    }

    /// The number of the newest change of the client in `slot`.
    pub fn number_of(&self, slot: u32) -> Option<u64> {
        let place = *self.live.get(slot as usize)?;
        self.entries.get(place as usize).map(|entry| entry.number)
    }

    /// Asks memory for what an entry's death needs: where the entry of this slot stands.
    pub fn touch(&self, slot: u32) {
        black_box(self.live.get(slot as usize).copied());
    }

    /// Asks memory for the entry itself.
    pub fn touch_entry(&self, slot: u32) {
        if let Some(&place) = self.live.get(slot as usize) {
            black_box(self.entries.get(place as usize).copied());
        }
    }

    fn set_slot(&mut self, place: Place, slot: Option<u32>) {
        if let Some(entry) = self.entries.get_mut(place as usize) {
            entry.slot = slot;
        }
    }

    #[cold]
    fn sweep_step(&mut self) {
        if self.entries.len() <= 2 * self.live.len() + SLACK_ENTRIES {
            return;
        }
        let end = self.entries.len().min(self.seen + SWEEP_STEP_ENTRIES);
        for place in self.seen..end {
            let Some(&entry) = self.entries.get(place) else { break };
            let Some(slot) = entry.slot else { continue };
            if let (Some(live), Some(to)) =
                (self.live.get_mut(slot as usize), self.entries.get_mut(self.kept))
            {
                *live = place_at(self.kept);
                *to = entry;
                self.kept += 1;
            }
        }
        self.seen = end;
        if self.seen == self.entries.len() {
            self.entries.truncate(self.kept);
            (self.kept, self.seen) = (0, 0);
            give_back(&mut self.entries);
        }
    }

    /// The entries with a number above `number`, oldest first, dead ones too.
    pub fn after(&self, number: u64) -> impl Iterator<Item = Entry> {
        let [kept, unseen] = self.parts_after(number);
        kept.iter().chain(unseen).copied()
    }

    /// How many entries [`after`](Self::after) would give, without the walk.
    pub fn count_after(&self, number: u64) -> usize {
        self.parts_after(number).iter().map(|part| part.len()).sum()
    }

    /// What lies above `number`, before the gap and after it.
    fn parts_after(&self, number: u64) -> [&[Entry]; 2] {
        // A cursor is nearly always at the end, or near it.
        if number >= self.last {
            return [&[], &[]];
        }
        // No two numbers are the same, so there are no more above it than these, and only they are
        // searched: what lies before them is in no cache.
        let most = usize::try_from(self.last - number).unwrap_or(usize::MAX);
        let parts = [self.entries.get(..self.kept), self.entries.get(self.seen..)];
        parts.map(|part| {
            let part = part.unwrap_or_default();
            let part = part.get(part.len().saturating_sub(most)..).unwrap_or_default();
            let start = part.partition_point(|entry| entry.number <= number);
            part.get(start..).unwrap_or_default()
        })
    }
}

/// The index as a place: with at most `SLOTS_MAX` clients, the log is shorter than 2^32 entries.
#[expect(clippy::cast_possible_truncation, reason = "the store has a bound")]
fn place_at(index: usize) -> Place {
    index as Place
}

/// Gives memory back when a list has become much shorter than it was.
fn give_back<T>(list: &mut Vec<T>) {
    if list.capacity() > 4 * list.len() + SPARE_PLACES {
        list.shrink_to(2 * list.len());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the store does with the log, and by slot the number of its last change.
    struct Slots {
        log: ChangeLog,
        numbers: Vec<u64>,
    }

    impl Slots {
        fn new() -> Slots {
            Slots { log: ChangeLog::new(), numbers: Vec::new() }
        }

        fn change(&mut self, slot: usize) {
            if slot == self.numbers.len() {
                self.numbers.push(0);
            }
            self.log.append(u32::try_from(slot).unwrap());
            self.numbers[slot] = self.log.last();
        }

        fn forget(&mut self, slot: usize) {
            self.log.forget(u32::try_from(slot).unwrap());
            self.numbers.swap_remove(slot);
        }

        fn live_after(&self, number: u64) -> Vec<u32> {
            self.log.after(number).filter_map(|entry| entry.slot).collect()
        }

        /// The same by a different way: all slots, sorted by their last change.
        fn expected_after(&self, number: u64) -> Vec<u32> {
            let mut slots: Vec<(u64, u32)> = self.numbers.iter().copied().zip(0..).collect();
            slots.retain(|&(last, _)| last > number);
            slots.sort_unstable();
            slots.into_iter().map(|(_, slot)| slot).collect()
        }
    }

    #[test]
    fn a_client_takes_an_entry_and_its_place_and_no_more() {
        assert_eq!((size_of::<Entry>(), size_of::<Place>()), (16, 4));
    }

    #[test]
    fn numbers_begin_at_one_and_a_cursor_sees_what_is_above_it() {
        let mut log = ChangeLog::new();
        assert_eq!(log.last(), 0);
        log.append(0);
        log.append(1);
        assert_eq!(log.last(), 2);
        assert_eq!(log.after(1).collect::<Vec<_>>(), [Entry { number: 2, slot: Some(1) }]);
        assert_eq!([0, 1, 2, 9].map(|cursor| log.count_after(cursor)), [2, 1, 0, 0]);
    }

    #[test]
    fn the_log_stays_in_proportion_to_its_live_entries() {
        for clients in [1, 10, 5_000] {
            let mut slots = Slots::new();
            let mut longest = 0;
            for change in 0..clients * 10 + 20_000 {
                slots.change(change % clients);
                longest = longest.max(slots.log.entries.len());
            }
            let bound = 2 * clients + SLACK_ENTRIES;
            let changes = usize::try_from(SWEEP_STEP_CHANGES).unwrap();
            let meanwhile = bound / (SWEEP_STEP_ENTRIES / changes - 1);
            assert!(longest <= bound + meanwhile + 2 * changes, "{longest}");
            assert_eq!(slots.live_after(0), slots.expected_after(0));
        }
    }

    #[test]
    fn memory_comes_back_when_most_are_dead() {
        let mut log = ChangeLog::new();
        (0..100_000).for_each(|slot| log.append(slot));
        // The last takes the place of each that is forgotten: at the end, it is alone.
        (1..100_000).rev().for_each(|slot| log.forget(slot - 1));
        log.sweep_forgotten(99_999);
        assert_eq!(log.after(0).filter(|entry| entry.slot == Some(0)).count(), 1);
        assert_eq!(log.after(0).filter(|entry| entry.slot.is_some()).count(), 1);
        assert!(log.len() <= SLACK_ENTRIES + 2, "{}", log.len());
        assert!(log.entries.capacity() <= SPARE_PLACES + 8, "{}", log.entries.capacity());
    }

    proptest! {
        #[test]
        fn every_cursor_sees_each_later_client_once_in_the_order_of_changes(
            picks in prop::collection::vec((0..40usize, prop::bool::weighted(0.1)), 1..4_000),
            cursors in prop::collection::vec(0..4_000u64, 8),
        ) {
            let mut slots = Slots::new();
            for (pick, forgets) in picks {
                if forgets && pick < slots.numbers.len() {
                    slots.forget(pick);
                } else {
                    slots.change(pick.min(slots.numbers.len()));
                }
            }
            for cursor in cursors {
                prop_assert_eq!(slots.live_after(cursor), slots.expected_after(cursor));
                prop_assert_eq!(slots.log.count_after(cursor), slots.log.after(cursor).count());
            }
        }
    }
}
