//! Which group of records may hold the earliest server time: a tree of lower bounds.
//!
//! It owns the bounds, and neither records nor the decision to let one go. Called by the
//! [`store`](super) alone.
//!
//! Records stand in groups of [`GROUP`] slots. The lowest level has a bound for each group, at or
//! below the earliest server time in it. Each level above has the exact minimum of each [`GROUP`]
//! entries of the level below. A report that is newer than the last one of its client raises a
//! server time, so the bound of its group stays true, and an update costs the tree nothing. Whoever
//! looks for the earliest record reads the group with the lowest bound. Where the bound was too low
//! it is [corrected](Oldest::correct), and the next group is tried. So there is at most one wasted
//! look for each update, and no update pays before somebody looks. A client costs one byte here.

use super::super::chunks::Chunks;
use crate::wire::time::Nanos;

/// How many slots share a bound, and how many entries of a level share one in the next.
pub(super) const GROUP: usize = 16;

/// The bounds, level by level. The last level has at most [`GROUP`] entries, and no record no level.
#[derive(Debug, Default)]
pub(super) struct Oldest {
    levels: Vec<Chunks<Nanos>>,
}

impl Oldest {
    /// A record was appended in `slot`, the next free one.
    pub fn push(&mut self, slot: usize, server_time: Nanos) {
        let mut place = slot;
        for level in &mut self.levels {
            place /= GROUP;
            match level.get_mut(place) {
                None => level.push(server_time),
                Some(bound) if server_time < *bound => *bound = server_time,
                Some(_) => return,
            }
        }
        match self.levels.last() {
            Some(top) if top.len() <= GROUP => {}
            None => self.levels.push(Chunks::of([server_time])),
            Some(top) => {
                let groups = 0..top.len().div_ceil(GROUP);
                let level = groups.filter_map(|group| minimum(top, group)).map(|(_, bound)| bound);
                self.levels.push(Chunks::of(level));
            }
        }
    }

    /// The record in `slot` may be earlier than the bound of its group.
    pub fn lower(&mut self, slot: usize, server_time: Nanos) {
        let mut place = slot;
        for level in &mut self.levels {
            place /= GROUP;
            match level.get_mut(place) {
                Some(bound) if server_time < *bound => *bound = server_time,
                _ => return,
            }
        }
    }

    /// The last record is gone, and `records` are left.
    pub fn pop(&mut self, records: usize) {
        let mut entries = records;
        for level in &mut self.levels {
            entries = entries.div_ceil(GROUP);
            if entries < level.len() {
                level.swap_remove(entries);
            }
        }
        while let [.., below, _top] = self.levels.as_slice()
            && below.len() <= GROUP
        {
            self.levels.pop();
        }
        if records == 0 {
            self.levels.clear();
        }
        self.settle_above(records / GROUP);
    }

    /// The earliest server time in a group is this one.
    pub fn correct(&mut self, group: usize, server_time: Nanos) {
        if let Some(bound) = self.levels.first_mut().and_then(|level| level.get_mut(group)) {
            *bound = server_time;
            self.settle_above(group);
        }
    }

    /// The group with the lowest bound, and the bound.
    pub fn lowest(&self) -> Option<(usize, Nanos)> {
        let mut lowest = None;
        for level in self.levels.iter().rev() {
            lowest = minimum(level, lowest.map_or(0, |(place, _)| place));
        }
        lowest
    }

    /// Makes the levels above the first exact again, after an entry of the first has changed or gone.
    fn settle_above(&mut self, group: usize) {
        let mut place = group;
        for above in 1..self.levels.len() {
            place /= GROUP;
            let least = self.levels.get(above - 1).and_then(|level| minimum(level, place));
            let bound = self.levels.get_mut(above).and_then(|level| level.get_mut(place));
            let (Some((_, least)), Some(bound)) = (least, bound) else { continue };
            if *bound == least {
                return;
            }
            *bound = least;
        }
    }
}

/// The least entry of a group of a level, with its place in the level.
fn minimum(level: &Chunks<Nanos>, group: usize) -> Option<(usize, Nanos)> {
    let first = group * GROUP;
    let mut least: Option<(usize, Nanos)> = None;
    for (place, bound) in (first..).zip(level.part(first, GROUP)) {
        if least.is_none_or(|(_, least)| *bound < least) {
            least = Some((place, *bound));
        }
    }
    least
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Times by slot, and the tree that is kept beside them.
    #[derive(Default)]
    struct Times {
        times: Vec<Nanos>,
        oldest: Oldest,
    }

    impl Times {
        fn push(&mut self, time: Nanos) {
            self.oldest.push(self.times.len(), time);
            self.times.push(time);
        }

        /// As the store does it: the last one takes the place.
        fn remove(&mut self, slot: usize) {
            self.times.swap_remove(slot);
            self.oldest.pop(self.times.len());
            if let Some(&moved) = self.times.get(slot) {
                self.oldest.lower(slot, moved);
            }
        }

        fn set(&mut self, slot: usize, time: Nanos) {
            self.times[slot] = time;
            self.oldest.lower(slot, time);
        }

        /// The earliest, and how many looks at a group it took.
        fn earliest(&mut self) -> Option<(Nanos, usize)> {
            for looks in 1.. {
                let (group, bound) = self.oldest.lowest()?;
                let begin = group * GROUP;
                let end = self.times.len().min(begin + GROUP);
                let least = *self.times[begin..end].iter().min().unwrap();
                assert!(bound <= least, "a bound is above a time of its group");
                if bound == least {
                    return Some((least, looks));
                }
                self.oldest.correct(group, least);
            }
            None
        }
    }

    #[test]
    fn a_million_records_take_four_levels_and_a_byte_each() {
        let mut times = Times::default();
        (0..1_000_000).for_each(|time| times.push(time));
        let entries: usize = times.oldest.levels.iter().map(Chunks::len).sum();
        assert_eq!(times.oldest.levels.len(), 4);
        assert!(entries * size_of::<Nanos>() <= 1_100_000, "{entries}");
        assert_eq!(times.earliest(), Some((0, 1)));
    }

    #[test]
    fn an_update_costs_at_most_one_look_and_only_when_somebody_looks() {
        let mut times = Times::default();
        (0..10_000).for_each(|time| times.push(time));
        (0..10_000).for_each(|slot| times.set(slot, 20_000 + slot as Nanos));
        let (least, looks) = times.earliest().unwrap();
        assert!(least == 20_000 && looks <= 10_000 / GROUP + 1, "{least} after {looks}");
        times.set(0, 30_000);
        assert_eq!(times.earliest(), Some((20_001, 2)));
    }

    proptest! {
        #[test]
        fn the_earliest_is_found_whatever_comes_and_goes(
            steps in prop::collection::vec((0..9u8, 0..700usize, -50..50i8), 0..2_000),
        ) {
            let mut times = Times::default();
            for (kind, slot, time) in steps {
                let slot = slot.min(times.times.len().saturating_sub(1));
                match kind {
                    0..5 => times.push(time.into()),
                    _ if times.times.is_empty() => {}
                    5..7 => times.remove(slot),
                    7 => times.set(slot, time.into()),
                    _ => drop(times.earliest()),
                }
                if kind == 8 {
                    let found = times.earliest().map(|(time, _)| time);
                    prop_assert_eq!(found, times.times.iter().min().copied());
                }
            }
            while let Some((time, _)) = times.earliest() {
                let slot = times.times.iter().position(|&it| it == time).unwrap();
                prop_assert_eq!(times.times.iter().min(), Some(&time));
                times.remove(slot);
            }
            prop_assert!(times.times.is_empty() && times.oldest.levels.is_empty());
        }
    }
}
