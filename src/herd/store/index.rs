//! From a client's hash to its slot in the store.
//!
//! It holds no client: the slot's record does, and the [`store`](super), its only caller, is asked. So
//! a client's bytes are kept once, and a table grows without hashing them again.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// How many tables an index has.
///
/// A table that grows moves all that it holds; one for a million clients would stop the loop for tens
/// of milliseconds. Of these many, each takes a fraction of one.
const INDEX_TABLES: usize = 256;

/// How many places beyond four times what it holds a table may keep before it gives memory back.
const SPARE_PLACES: usize = 64;

/// The slots by hash, in [`INDEX_TABLES`] tables.
///
/// A slot stands under its client's hash, or, where that is taken, under the next number that is
/// free. Two clients of one hash are rare beyond proof, but never mixed up.
#[derive(Debug)]
pub(super) struct Index {
    tables: Vec<HashMap<u64, u32, BuildHasherDefault<HashedAlready>>>,
}

/// The key under which the index would keep a client that it does not have.
pub(super) struct Vacancy(u64);

impl Default for Index {
    fn default() -> Index {
        Index { tables: (0..INDEX_TABLES).map(|_| HashMap::default()).collect() }
    }
}

impl Index {
    /// The slot of the client with this hash that `is_it` recognizes, or where to put it.
    pub fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Result<u32, Vacancy> {
        let (key, slot) = self.walk(hash, is_it);
        slot.ok_or(Vacancy(key))
    }

    pub fn insert(&mut self, Vacancy(key): Vacancy, slot: u32) {
        if let Some(table) = self.tables.get_mut(table_of(key)) {
            table.insert(key, slot);
        }
    }

    /// The client with this hash has moved from one slot to another.
    pub fn relocate(&mut self, hash: u64, from: u32, to: u32) {
        if let (key, Some(_)) = self.walk(hash, |slot| slot == from) {
            self.insert(Vacancy(key), to);
        }
    }

    /// Takes out the client with this hash that is in `slot`.
    pub fn remove(&mut self, hash: u64, slot: u32, hash_of: impl Fn(u32) -> u64) {
        let (mut key, Some(_)) = self.walk(hash, |it| it == slot) else { return };
        self.take(key);
        // Those right behind may stand there only because this place was taken.
        loop {
            key = key.wrapping_add(1);
            let Some(follower) = self.take(key) else { return };
            let (vacancy, _) = self.walk(hash_of(follower), |_| false);
            self.insert(Vacancy(vacancy), follower);
        }
    }

    /// From the place of a hash on to the slot that `is_it` recognizes, or to the first free place.
    fn walk(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> (u64, Option<u32>) {
        let mut key = hash;
        while let Some(&slot) = self.tables.get(table_of(key)).and_then(|table| table.get(&key)) {
            if is_it(slot) {
                return (key, Some(slot));
            }
            key = key.wrapping_add(1);
        }
        (key, None)
    }

    fn take(&mut self, key: u64) -> Option<u32> {
        let table = self.tables.get_mut(table_of(key))?;
        let taken = table.remove(&key);
        if table.capacity() > 4 * table.len() + SPARE_PLACES {
            table.shrink_to(2 * table.len());
        }
        taken
    }
}

/// The table of a key, by bits from its middle: a table itself goes by the lowest and highest ones.
fn table_of(key: u64) -> usize {
    (key >> 32) as usize % INDEX_TABLES
}

/// Passes on a key that is a hash already.
#[derive(Default)]
struct HashedAlready(u64);

impl Hasher for HashedAlready {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }

    fn write(&mut self, _: &[u8]) {
        // The index has no keys but u64, which come through `write_u64`.
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
            index.remove(hash, slot, |_| unreachable!("no hash follows another"));
        }
        let places: usize = index.tables.iter().map(HashMap::capacity).sum();
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
                        index.remove(hash_of(slot), slot, hash_of);
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
