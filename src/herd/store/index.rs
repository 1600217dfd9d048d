//! From a client's hash to its slot in the store.
//!
//! It holds no client: the slot's record does, and the [`store`](super), its only caller, is asked. So
//! a client's bytes are kept once. Beside the slot stands half of the hash: enough that the record asked
//! is nearly always the right one, and that a table grows without asking at all.

use std::fmt;
use std::hint::black_box;

/// How many tables an index has.
///
/// A table that grows moves all that it holds; one for a million clients would stop the loop for tens
/// of milliseconds. Of these many, each takes a fraction of one.
const INDEX_TABLES: usize = 256;

/// How many places beyond four times what it holds a table may keep before it gives memory back.
const SPARE_PLACES: usize = 64;

/// How many places a table begins with.
const FIRST_PLACES: usize = 4;

/// The slots by hash, in [`INDEX_TABLES`] tables.
pub(super) struct Index {
    tables: Box<[Table; INDEX_TABLES]>,
}

/// The number of slots alone. The places follow from the random key of the hash, and two stores that hold
/// the same print the same (see `tests/model`).
impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slots: usize = self.tables.iter().map(|table| table.taken).sum();
        f.debug_struct("Index").field("slots", &slots).finish_non_exhaustive()
    }
}

/// The hash of a client that the index does not have.
pub(super) struct Vacancy(u64);

impl Default for Index {
    fn default() -> Index {
        Index { tables: Box::new(std::array::from_fn(|_| Table::default())) }
    }
}

impl Index {
    /// The slot of the client with this hash that `is_it` recognizes, or where to put it.
    #[inline]
    pub fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Result<u32, Vacancy> {
        let (table, tag) = parts(hash);
        let found = self.tables.get(table).and_then(|table| table.find(tag, is_it));
        found.map(|(_, slot)| slot).ok_or(Vacancy(hash))
    }

    /// Asks memory for the place where a search for this hash begins.
    pub fn touch(&self, hash: u64) {
        let (table, tag) = parts(hash);
        black_box(
            self.tables.get(table).and_then(|table| table.places.get(table.home(tag)).copied()),
        );
    }

    /// A slot with this half of the hash: nearly always that of the client, whom nobody is asked for.
    pub fn guess(&self, hash: u64) -> Option<u32> {
        self.find(hash, |_| true).ok()
    }

    /// Puts a client into a slot, which is below [`FREE`].
    pub fn insert(&mut self, Vacancy(hash): Vacancy, slot: u32) {
        let (table, tag) = parts(hash);
        if let Some(table) = self.tables.get_mut(table) {
            table.insert(Place { tag, slot });
        }
    }

    /// The client with this hash has moved from one slot to another.
    pub fn relocate(&mut self, hash: u64, from: u32, to: u32) {
        let (table, tag) = parts(hash);
        if let Some(table) = self.tables.get_mut(table)
            && let Some((at, _)) = table.find(tag, |slot| slot == from)
            && let Some(place) = table.places.get_mut(at)
        {
            place.slot = to;
        }
    }

    /// Takes out the client with this hash that is in `slot`.
    pub fn remove(&mut self, hash: u64, slot: u32) {
        let (table, tag) = parts(hash);
        if let Some(table) = self.tables.get_mut(table)
            && let Some((at, _)) = table.find(tag, |it| it == slot)
        {
            table.remove(at);
        }
    }
}

/// The table of a hash, and what of it is kept there.
fn parts(hash: u64) -> (usize, u32) {
    let [a, b, c, d, table, ..] = hash.to_le_bytes();
    (usize::from(table) % INDEX_TABLES, u32::from_le_bytes([a, b, c, d]))
}

/// The slot that is none: a place where nothing stands.
const FREE: u32 = u32::MAX;

/// A slot, and the half of its client's hash that is its order in the table.
#[derive(Clone, Copy, Debug)]
struct Place {
    tag: u32,
    slot: u32,
}

const FREE_PLACE: Place = Place { tag: 0, slot: FREE };

/// Places that are searched from a tag's home onwards, up to the first free one.
///
/// At most three quarters are taken, so a search is a few places long, and they are next to each
/// other: one access to memory where a table of pointers or of groups has two.
#[derive(Debug, Default)]
struct Table {
    places: Vec<Place>,
    taken: usize,
}

impl Table {
    /// Where the slot stands that has this tag and that `is_it` recognizes.
    #[inline]
    fn find(&self, tag: u32, is_it: impl Fn(u32) -> bool) -> Option<(usize, u32)> {
        let mut at = self.home(tag);
        loop {
            let &place = self.places.get(at)?;
            if place.slot == FREE {
                return None;
            }
            if place.tag == tag && is_it(place.slot) {
                return Some((at, place.slot));
            }
            at = self.next(at);
        }
    }

    fn insert(&mut self, place: Place) {
        if self.taken * 4 >= self.places.len() * 3 {
            self.resize((self.places.len() / 2 * 3).max(FIRST_PLACES));
        }
        self.taken += 1;
        self.put(place);
    }

    /// Frees a place. Those behind it that would have stood there move up, or a search would stop
    /// before it reached them.
    fn remove(&mut self, at: usize) {
        let (mut hole, mut at) = (at, at);
        loop {
            at = self.next(at);
            let Some(&place) = self.places.get(at).filter(|place| place.slot != FREE) else {
                break;
            };
            if self.steps(self.home(place.tag), at) >= self.steps(hole, at) {
                self.set(hole, place);
                hole = at;
            }
        }
        self.set(hole, FREE_PLACE);
        self.taken -= 1;
        if self.places.len() > 4 * self.taken + SPARE_PLACES {
            self.resize((2 * self.taken).max(FIRST_PLACES));
        }
    }

    /// Moves all to a new list of places.
    fn resize(&mut self, places: usize) {
        let old = std::mem::replace(&mut self.places, vec![FREE_PLACE; places]);
        for place in old.into_iter().filter(|place| place.slot != FREE) {
            self.put(place);
        }
    }

    /// Where a place is certain to be free.
    fn put(&mut self, place: Place) {
        let mut at = self.home(place.tag);
        while self.places.get(at).is_some_and(|place| place.slot != FREE) {
            at = self.next(at);
        }
        self.set(at, place);
    }

    fn set(&mut self, at: usize, place: Place) {
        if let Some(it) = self.places.get_mut(at) {
            *it = place;
        }
    }

    /// Where a search for a tag begins: tags are spread evenly over any number of places.
    fn home(&self, tag: u32) -> usize {
        let scaled = (u64::from(tag) * self.places.len() as u64) >> u32::BITS;
        usize::try_from(scaled).unwrap_or_default()
    }

    fn next(&self, at: usize) -> usize {
        if at + 1 < self.places.len() { at + 1 } else { 0 }
    }

    /// How many steps a search takes from one place to another.
    fn steps(&self, from: usize, to: usize) -> usize {
        if to >= from { to - from } else { to + self.places.len() - from }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn find(index: &Index, hash: u64, wanted: u32) -> Option<u32> {
        index.find(hash, |slot| slot == wanted).ok()
    }

    #[test]
    fn a_place_is_a_tag_and_a_slot_and_no_more() {
        assert_eq!(size_of::<Place>(), 8);
    }

    #[test]
    fn two_clients_of_one_hash_are_told_apart() {
        let mut index = Index::default();
        for slot in 0..3 {
            let vacancy = index.find(u64::MAX, |it| it == slot).err().unwrap();
            index.insert(vacancy, slot);
        }
        assert_eq!(
            [0, 1, 2, 3].map(|slot| find(&index, u64::MAX, slot)),
            [Some(0), Some(1), Some(2), None]
        );
    }

    #[test]
    fn memory_comes_back_when_clients_go() {
        let mut index = Index::default();
        let hashes: Vec<u64> = (0..100_000u64).map(|i| i << 32 | i).collect();
        for (&hash, slot) in hashes.iter().zip(0..) {
            let vacancy = index.find(hash, |_| false).err().unwrap();
            index.insert(vacancy, slot);
        }
        for (&hash, slot) in hashes.iter().zip(0..) {
            index.remove(hash, slot);
        }
        let places: usize = index.tables.iter().map(|table| table.places.capacity()).sum();
        assert!(places <= INDEX_TABLES * (SPARE_PLACES + 1), "{places}");
    }

    proptest! {
        /// Hashes that lie close together and wrap around, so that clients stand in each other's way.
        #[test]
        fn whatever_comes_and_goes_is_found_and_nothing_else(
            steps in prop::collection::vec((0..12u32, any::<bool>(), 0..4u32), 0..200),
        ) {
            let hash_of = |slot: u32| u64::MAX.wrapping_add(u64::from(slot % 100 % 3));
            let mut index = Index::default();
            let mut present: Vec<u32> = Vec::new();
            for (slot, add, aside) in steps {
                match (present.iter().position(|&it| it == slot), add) {
                    (None, true) => {
                        let vacancy = index.find(hash_of(slot), |it| it == slot).err().unwrap();
                        index.insert(vacancy, slot);
                        present.push(slot);
                    }
                    (Some(place), false) => {
                        index.remove(hash_of(slot), slot);
                        present.swap_remove(place);
                    }
                    // To another slot of the same hash and back.
                    (Some(_), true) => {
                        let other = slot + 300 * (aside + 1);
                        index.relocate(hash_of(slot), slot, other);
                        prop_assert_eq!(find(&index, hash_of(slot), other), Some(other));
                        index.relocate(hash_of(slot), other, slot);
                    }
                    (None, false) => {}
                }
                for slot in 0..12 {
                    let expected = present.contains(&slot).then_some(slot);
                    prop_assert_eq!(find(&index, hash_of(slot), slot), expected);
                }
            }
        }
    }
}
