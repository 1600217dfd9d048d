//! The order in which clients changed: a list of numbered changes that cursors walk along.
//!
//! Each change to the store is appended with the next number. An entry is live as long as its client
//! has not changed again; a dead one is passed over and swept out in time. It never sees a record:
//! the [`store`](super::store), its only caller, says which entries are live.

/// How many more entries than twice the live ones may stand in the log before a sweep begins.
///
/// Without it a herd that knows three clients would sweep all the time.
pub(super) const SLACK_ENTRIES: usize = 1024;

/// How many entries a step of a sweep looks at.
///
/// The sweep of a million clients would stop the loop for tens of milliseconds if it were done at
/// once; a step takes a few microseconds. Whether an entry is live is asked of a place in memory that
/// is in no cache then, and in a run of many the processor waits for several at a time.
const SWEEP_STEP_ENTRIES: usize = 256;

/// How many changes lie between two steps of a sweep: it only has to be faster than the log grows.
const SWEEP_STEP_CHANGES: usize = SWEEP_STEP_ENTRIES / 4;

/// How many places beyond four times what it holds a list may keep before it gives memory back.
const SPARE_PLACES: usize = 1024;

/// A change: its number, and the slot of the store where its client stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub number: u64,
    pub slot: u32,
}

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
    /// How many changes there were since the last step of a sweep.
    since_step: usize,
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

    /// Appends a change of the client in `slot` and gives its number.
    pub fn append(&mut self, slot: u32) -> u64 {
        self.last += 1;
        self.entries.push(Entry { number: self.last, slot });
        self.last
    }

    /// The client of the change with this number has moved to another slot.
    pub fn relocate(&mut self, number: u64, slot: u32) {
        let gap = self.kept..self.seen;
        // The unseen part is searched first: it is all there is, except during a sweep.
        for (start, end) in [(gap.end, self.entries.len()), (0, gap.start)] {
            let part = self.entries.get_mut(start..end).unwrap_or_default();
            let place = part.partition_point(|entry| entry.number < number);
            if let Some(entry) = part.get_mut(place).filter(|entry| entry.number == number) {
                entry.slot = slot;
                return;
            }
        }
    }

    /// Does its share of the sweeping, to be called after each [`append`](Self::append) and whenever a
    /// client is forgotten: with `live` live entries, the log stays below about 8/3 of that.
    pub fn sweep(&mut self, live: usize, is_live: impl Fn(Entry) -> bool) {
        self.since_step += 1;
        if self.since_step >= SWEEP_STEP_CHANGES {
            self.since_step = 0;
            self.sweep_step(live, is_live);
        }
    }

    fn sweep_step(&mut self, live: usize, is_live: impl Fn(Entry) -> bool) {
        if self.entries.len() <= 2 * live + SLACK_ENTRIES {
            return;
        }
        let entries = self.entries.as_mut_slice();
        let (mut kept, end) = (self.kept, entries.len().min(self.seen + SWEEP_STEP_ENTRIES));
        for place in self.seen..end {
            let Some(&entry) = entries.get(place) else { break };
            // Written whether it lives or not: a branch here is guessed wrong half of the time, and the
            // processor would wait for each answer before it asks for the next.
            if let Some(place) = entries.get_mut(kept) {
                *place = entry;
            }
            kept += usize::from(is_live(entry));
        }
        self.kept = kept;
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

    /// What the store does with the log: by slot, the number of its last change.
    #[derive(Default)]
    struct Slots {
        log: ChangeLog,
        numbers: Vec<u64>,
    }

    impl Slots {
        fn change(&mut self, slot: usize) {
            if slot == self.numbers.len() {
                self.numbers.push(0);
            }
            self.numbers[slot] = self.log.append(u32::try_from(slot).unwrap());
            let numbers = &self.numbers;
            self.log.sweep(numbers.len(), |entry| numbers[entry.slot as usize] == entry.number);
        }

        fn live_after(&self, number: u64) -> Vec<u32> {
            let live = |entry: &Entry| self.numbers[entry.slot as usize] == entry.number;
            self.log.after(number).filter(live).map(|entry| entry.slot).collect()
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
        assert_eq!((log.append(7), log.append(8), log.last()), (1, 2, 2));
        assert_eq!(log.after(1).collect::<Vec<_>>(), [Entry { number: 2, slot: 8 }]);
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
            let meanwhile = bound / (SWEEP_STEP_ENTRIES / SWEEP_STEP_CHANGES - 1);
            assert!(longest <= bound + meanwhile + 2 * SWEEP_STEP_CHANGES, "{longest}");
            assert_eq!(slots.live_after(0), slots.expected_after(0));
        }
    }

    #[test]
    fn memory_comes_back_when_most_are_dead() {
        let mut log = ChangeLog::default();
        for slot in 0..100_000 {
            log.append(slot);
        }
        (0..100_000).for_each(|_| log.sweep(1, |entry| entry.slot == 7));
        assert_eq!(log.after(0).filter(|entry| entry.slot == 7).count(), 1);
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
