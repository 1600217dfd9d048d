//! The order in which clients changed: a list of numbered changes that cursors walk along.
//!
//! Each change to the store is appended with the next number. An entry is live as long as its client
//! has not changed again; a dead one is passed over and swept out in time. It never sees a record: the
//! [`store`](super::store), its only caller, keeps with each the place of its entry here.

use std::hint::black_box;

/// How many more entries than twice the live ones may stand in the log before a sweep begins.
///
/// Without it a herd that knows three clients would sweep all the time.
pub(super) const SLACK_ENTRIES: usize = 1024;

/// How many entries a step of a sweep looks at.
///
/// The sweep of a million clients would stop the loop for tens of milliseconds if it were done at
/// once; a step takes a few microseconds. The records of the live ones are in no cache then, and in a
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
/// [`CLIENTS_MAX`](super::store::CLIENTS_MAX) live entries, this is wide enough.
pub(super) type Place = u32;

/// The changes in order, numbered from 1.
///
/// A sweep goes through the entries from the front and moves the live ones together, in place. While
/// it is under way the entries are those before `kept` and those from `seen` on, with a gap of
/// leftovers between them; else both are 0 and there is no gap.
#[derive(Debug, Default)]
pub(super) struct ChangeLog {
    entries: Vec<Entry>,
    /// How many of those that the sweep has seen it has kept.
    kept: usize,
    /// How many entries the sweep has seen.
    seen: usize,
    /// The number of the newest change; 0 before the first.
    last: u64,
}

impl ChangeLog {
    /// How many entries there are, dead ones too.
    pub fn len(&self) -> usize {
        self.entries.len() - (self.seen - self.kept)
    }

    /// The number of the newest change; 0 before the first.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Appends a change of the client in `slot` and gives the entry's place.
    pub fn append(&mut self, slot: u32) -> Place {
        let place = place_at(self.entries.len());
        self.last += 1;
        self.entries.push(Entry { number: self.last, slot: Some(slot) });
        place
    }

    /// The client of the entry at this place is in another slot now, or has changed again: in none.
    pub fn set_slot(&mut self, place: Place, slot: Option<u32>) {
        if let Some(entry) = self.entries.get_mut(place as usize) {
            entry.slot = slot;
        }
    }

    /// Asks memory for the entry at this place.
    pub fn touch(&self, place: Place) {
        black_box(self.entries.get(place as usize).copied());
    }

    /// Does its share of the sweeping, to be called after each [`append`](Self::append): with `live` live
    /// entries, the log stays below about 8/3 of that. `moved` is told the slot of each entry that gets
    /// a new place, and the place.
    pub fn sweep(&mut self, live: usize, moved: impl FnMut(u32, Place)) {
        if self.last.is_multiple_of(SWEEP_STEP_CHANGES) {
            self.sweep_step(live, moved);
        }
    }

    /// The same for entries that died without a change: to be called when so many clients are forgotten.
    pub fn sweep_forgotten(
        &mut self,
        forgotten: usize,
        live: usize,
        mut moved: impl FnMut(u32, Place),
    ) {
        for _ in 0..(forgotten as u64).div_ceil(SWEEP_STEP_CHANGES) {
            self.sweep_step(live, &mut moved);
        }
    }

    #[cold]
    fn sweep_step(&mut self, live: usize, mut moved: impl FnMut(u32, Place)) {
        if self.entries.len() <= 2 * live + SLACK_ENTRIES {
            return;
        }
        let end = self.entries.len().min(self.seen + SWEEP_STEP_ENTRIES);
        for place in self.seen..end {
            let Some(&entry) = self.entries.get(place) else { break };
            if let (Some(slot), Some(place)) = (entry.slot, self.entries.get_mut(self.kept)) {
                *place = entry;
                moved(slot, place_at(self.kept));
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

/// The index as a place: with at most `CLIENTS_MAX` clients, the log is shorter than 2^32 entries.
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

    /// What the store does with the log: by slot, the place of its last change, and for the test its
    /// number.
    #[derive(Default)]
    struct Slots {
        log: ChangeLog,
        places: Vec<Place>,
        numbers: Vec<u64>,
    }

    impl Slots {
        fn change(&mut self, slot: usize) {
            if slot == self.numbers.len() {
                self.places.push(Place::MAX);
                self.numbers.push(0);
            }
            self.log.set_slot(self.places[slot], None);
            self.places[slot] = self.log.append(u32::try_from(slot).unwrap());
            self.numbers[slot] = self.log.last();
            let places = &mut self.places;
            self.log.sweep(places.len(), |slot, place| places[slot as usize] = place);
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
    fn numbers_begin_at_one_and_a_cursor_sees_what_is_above_it() {
        let mut log = ChangeLog::default();
        assert_eq!(log.last(), 0);
        assert_eq!((log.append(7), log.append(8), log.last()), (0, 1, 2));
        assert_eq!(log.after(1).collect::<Vec<_>>(), [Entry { number: 2, slot: Some(8) }]);
        assert_eq!([0, 1, 2, 9].map(|cursor| log.count_after(cursor)), [2, 1, 0, 0]);
    }

    #[test]
    fn the_log_stays_in_proportion_to_its_live_entries() {
        for clients in [1, 10, 5_000] {
            let mut slots = Slots::default();
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
        let mut log = ChangeLog::default();
        for slot in 0..100_000 {
            let place = log.append(slot);
            log.set_slot(place, Some(slot).filter(|slot| *slot == 7));
        }
        let mut places = vec![];
        log.sweep_forgotten(99_999, 1, |slot, place| places.push((slot, place)));
        assert_eq!(places, [(7, 0)]);
        assert_eq!(log.after(0).filter_map(|entry| entry.slot).collect::<Vec<_>>(), [7]);
        assert!(log.len() <= SLACK_ENTRIES + 2, "{}", log.len());
        assert!(log.entries.capacity() <= SPARE_PLACES + 8, "{}", log.entries.capacity());
    }

    proptest! {
        #[test]
        fn every_cursor_sees_each_later_client_once_in_the_order_of_changes(
            picks in prop::collection::vec(0..40usize, 1..4_000),
            cursors in prop::collection::vec(0..4_000u64, 8),
        ) {
            let mut slots = Slots::default();
            for pick in picks {
                slots.change(pick.min(slots.numbers.len()));
            }
            for cursor in cursors {
                prop_assert_eq!(slots.live_after(cursor), slots.expected_after(cursor));
                prop_assert_eq!(slots.log.count_after(cursor), slots.log.after(cursor).count());
            }
        }
    }
}
