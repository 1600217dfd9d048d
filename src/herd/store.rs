//! What the herd knows of every client, and in what order it learned it.
//!
//! It owns the records, the index from client to record, and the change log. Its one way to change is
//! a merge, after which each client has its greatest record and the last place in the order of changes.
//! Links read it through cursors, which are plain numbers. A client costs 150 to 180 bytes beside its
//! line, and an update that brings nothing new allocates nothing.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};

use super::change_log::{ChangeLog, Entry};
use super::links::NeighbourId;
use super::record::{Layout, Record};
use crate::wire::time::Nanos;

/// What a merge did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merged {
    /// The client was not known before.
    New,
    /// The client's record gave way to a greater one.
    Changed,
    /// Nothing changed: the record held is as good or better.
    Kept,
}

/// A change that a cursor finds.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// The client's record as it is now.
    pub record: Record<'a>,
    /// The neighbour whose line brought it, `None` when a client of this server did.
    pub learned_from: Option<NeighbourId>,
}

/// A record with its place in the order of changes. There is one for each client.
#[derive(Debug)]
struct Kept {
    line: Box<[u8]>,
    client_time: Nanos,
    server_time: Nanos,
    /// The number of the change that brought it. The log's entry with this number is the live one.
    change: u64,
    layout: Layout,
    learned_from: Option<NeighbourId>,
}

/// All records, by client and by order of change.
#[derive(Debug, Default)]
pub struct Store {
    kept: Vec<Kept>,
    index: Index,
    /// Keyed at random, so that nobody can choose clients that all fall together.
    hasher: RandomState,
    log: ChangeLog,
}

impl Store {
    /// How many clients are known.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether no client is known yet.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// The record of a client.
    pub fn get(&self, client: &[u8]) -> Option<Record<'_>> {
        let found =
            self.index.find(self.hasher.hash_one(client), |slot| is_at(&self.kept, slot, client));
        found.ok().and_then(|slot| self.kept.get(slot as usize)).map(Kept::record)
    }

    /// Takes in a record if it is greater than the one held of its client.
    ///
    /// Merging is commutative, associative and idempotent.
    pub fn merge(&mut self, record: Record<'_>, learned_from: Option<NeighbourId>) -> Merged {
        self.put(record, learned_from, |held| record.wins_over(held))
    }

    /// Takes in what a client of this server says itself, if its time is later than the one held.
    ///
    /// Not the full order of records: a repeat that happens to reach a server whose clock is behind
    /// would win by it, and travel. A repeated report is answered but changes nothing.
    pub fn report(&mut self, record: Record<'_>) -> Merged {
        self.put(record, None, |held| record.client_time > held.client_time)
    }

    /// The number of the newest change; 0 before the first.
    pub fn last_change(&self) -> u64 {
        self.log.last()
    }

    /// The changes with a number above `cursor`, oldest first, each client once.
    ///
    /// The number comes without a change where the client has changed again since: a reader that
    /// counts its steps has a bound on its work, however many of those lie in between.
    pub fn changes_after(&self, cursor: u64) -> impl Iterator<Item = (u64, Option<Change<'_>>)> {
        self.log.after(cursor).map(|entry| {
            let kept =
                self.kept.get(entry.slot as usize).filter(|kept| kept.change == entry.number);
            let change =
                kept.map(|kept| Change { record: kept.record(), learned_from: kept.learned_from });
            (entry.number, change)
        })
    }

    /// At most how many clients have changed after `cursor`: an upper bound, had without a walk.
    pub fn count_after(&self, cursor: u64) -> usize {
        self.log.count_after(cursor).min(self.kept.len())
    }

    fn put(
        &mut self,
        record: Record<'_>,
        learned_from: Option<NeighbourId>,
        wins_over: impl FnOnce(&Record<'_>) -> bool,
    ) -> Merged {
        let client = record.client();
        let hash = self.hasher.hash_one(client);
        let (slot, merged) = match self.index.find(hash, |slot| is_at(&self.kept, slot, client)) {
            Ok(slot) => {
                let Some(kept) = self.kept.get_mut(slot as usize) else { return Merged::Kept };
                if !wins_over(&kept.record()) {
                    return Merged::Kept;
                }
                kept.replace(&record, learned_from);
                (slot, Merged::Changed)
            }
            Err(vacancy) => {
                let Ok(slot) = u32::try_from(self.kept.len()) else { return Merged::Kept };
                self.index.insert(vacancy, slot);
                self.kept.push(Kept::new(&record, learned_from));
                (slot, Merged::New)
            }
        };
        let number = self.log.append(slot);
        if let Some(kept) = self.kept.get_mut(slot as usize) {
            kept.change = number;
        }
        let kept = &self.kept;
        self.log.sweep(kept.len(), |Entry { number, slot }| {
            kept.get(slot as usize).is_some_and(|kept| kept.change == number)
        });
        merged
    }
}

/// Whether the record in a slot is that of `client`.
fn is_at(kept: &[Kept], slot: u32, client: &[u8]) -> bool {
    kept.get(slot as usize).is_some_and(|kept| kept.record().client() == client)
}

impl Kept {
    fn new(record: &Record<'_>, learned_from: Option<NeighbourId>) -> Kept {
        let &Record { line, layout, client_time, server_time } = record;
        Kept { line: line.into(), client_time, server_time, change: 0, layout, learned_from }
    }

    fn record(&self) -> Record<'_> {
        let &Kept { ref line, client_time, server_time, layout, .. } = self;
        Record { line, layout, client_time, server_time }
    }

    fn replace(&mut self, record: &Record<'_>, learned_from: Option<NeighbourId>) {
        // A client's lines are nearly always of one length, and then no memory is asked for.
        if self.line.len() == record.line.len() {
            self.line.copy_from_slice(record.line);
        } else {
            self.line = record.line.into();
        }
        self.client_time = record.client_time;
        self.server_time = record.server_time;
        self.layout = record.layout;
        self.learned_from = learned_from;
    }
}

/// From a client's hash to its slot.
///
/// It holds no client: the slot's record does, and is asked. So a client's bytes are kept once, and
/// a table grows without hashing them again.
#[derive(Debug)]
struct Index {
    tables: Vec<HashMap<u64, u32, BuildHasherDefault<HashedAlready>>>,
}

/// How many tables an index has.
///
/// A table that grows moves all that it holds; one for a million clients would stop the loop for tens
/// of milliseconds. Of these many, each takes a fraction of one.
const INDEX_TABLES: usize = 256;

/// The key under which the index would keep a client that it does not have.
struct Vacancy(u64);

impl Default for Index {
    fn default() -> Index {
        Index { tables: (0..INDEX_TABLES).map(|_| HashMap::default()).collect() }
    }
}

impl Index {
    /// The slot of the client with this hash that `is_it` recognizes, or where to put it.
    fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Result<u32, Vacancy> {
        let mut key = hash;
        // Two clients of one hash are next to each other: rare beyond proof, but never mixed up.
        while let Some(&slot) = self.tables.get(table_of(key)).and_then(|table| table.get(&key)) {
            if is_it(slot) {
                return Ok(slot);
            }
            key = key.wrapping_add(1);
        }
        Err(Vacancy(key))
    }

    fn insert(&mut self, Vacancy(key): Vacancy, slot: u32) {
        if let Some(table) = self.tables.get_mut(table_of(key)) {
            table.insert(key, slot);
        }
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
    use crate::wire::peer::parse_at;

    fn record(line: &str) -> Record<'_> {
        Record::new(line.as_bytes(), &parse_at(line.as_bytes()).unwrap()).unwrap()
    }

    fn store(lines: &[String]) -> Store {
        let mut store = Store::default();
        for line in lines {
            store.merge(record(line), None);
        }
        store
    }

    /// Every record held, sorted by line.
    fn held(store: &Store) -> Vec<String> {
        let changes = store.changes_after(0).filter_map(|(_, change)| change);
        let mut lines: Vec<_> =
            changes.map(|change| String::from_utf8(change.record.line.to_vec()).unwrap()).collect();
        lines.sort();
        assert_eq!(lines.len(), store.len(), "each client stands in the log once");
        lines
    }

    /// Lines of few clients, times and servers, so that every kind of tie is met.
    fn any_line() -> impl Strategy<Value = String> {
        (0..3u8, 0..3u8, "[AB]", 0..2u8, 0..2u8).prop_map(
            |(client, time, server, difference, place)| {
                format!("AT {server} +{difference}.000000000 k{client} +{place}+0 {time}")
            },
        )
    }

    #[test]
    fn a_merge_tells_what_it_did() {
        let mut store = Store::default();
        assert!(store.is_empty());
        let (old, new) = ("AT A +0.000000000 k +1+1 7", "AT A +0.000000000 k +1+1 7.25");
        assert_eq!(store.merge(record(old), None), Merged::New);
        assert_eq!(store.merge(record(old), None), Merged::Kept);
        assert_eq!(store.last_change(), 1);
        assert_eq!(store.merge(record(new), None), Merged::Changed);
        assert_eq!(store.merge(record(old), None), Merged::Kept);
        assert_eq!((store.len(), store.last_change()), (1, 2));
        assert_eq!(store.get(b"k").unwrap().line, new.as_bytes());
        assert_eq!(store.get(b"K"), None);
        assert_eq!(store.get(b""), None);
    }

    #[test]
    fn a_report_wins_only_by_a_later_client_time() {
        let mut store = Store::default();
        store.merge(record("AT B +5.000000000 k +1+1 7"), None);
        let earlier_server_time = record("AT A +1.000000000 k +1+1 7");
        assert!(earlier_server_time.wins_over(&store.get(b"k").unwrap()));
        assert_eq!(store.report(earlier_server_time), Merged::Kept);
        assert_eq!(store.report(record("AT A +9.000000000 k +1+1 7.000000001")), Merged::Changed);
    }

    #[test]
    fn a_cursor_sees_each_client_once_and_in_the_order_of_changes() {
        let mut store = Store::default();
        for line in ["k1 +1+1 1", "k2 +1+1 1", "k3 +1+1 1", "k1 +1+1 2", "k3 +1+1 2"] {
            store.merge(record(&format!("AT A +0.000000000 {line}")), None);
        }
        let clients = |cursor| {
            let changes = store.changes_after(cursor).filter_map(|(_, change)| change);
            changes.map(|it| String::from_utf8_lossy(it.record.client()).into_owned()).collect()
        };
        let told: [Vec<String>; 4] = [0, 3, 4, 5].map(clients);
        assert_eq!(told, [vec!["k2", "k1", "k3"], vec!["k1", "k3"], vec!["k3"], vec![]]);
        assert_eq!([0, 3, 4, 5, 99].map(|cursor| store.count_after(cursor)), [3, 2, 1, 0, 0]);
    }

    #[test]
    fn two_clients_of_one_hash_are_told_apart() {
        let clients = ["a", "b", "c"];
        let mut index = Index::default();
        for (client, slot) in clients.iter().zip(0..) {
            let vacancy = index.find(u64::MAX, |slot| clients[slot as usize] == *client).err();
            index.insert(vacancy.unwrap(), slot);
        }
        for (client, slot) in clients.iter().zip(0..) {
            assert_eq!(
                index.find(u64::MAX, |slot| clients[slot as usize] == *client).ok(),
                Some(slot)
            );
        }
    }

    #[test]
    fn a_record_and_its_places_in_index_and_log_are_small() {
        assert!(size_of::<Kept>() <= 80);
        assert!(size_of::<Entry>() <= 16);
    }

    proptest! {
        #[test]
        fn merging_is_commutative(lines in prop::collection::vec(any_line(), 0..12), turn in 0..12usize) {
            let mut turned = lines.clone();
            turned.rotate_left(turn.min(lines.len()));
            turned.reverse();
            prop_assert_eq!(held(&store(&lines)), held(&store(&turned)));
        }

        #[test]
        fn merging_is_associative(
            a in prop::collection::vec(any_line(), 0..6),
            b in prop::collection::vec(any_line(), 0..6),
            c in prop::collection::vec(any_line(), 0..6),
        ) {
            let left_first = [held(&store(&[a.clone(), b.clone()].concat())), c.clone()].concat();
            let right_first = [a, held(&store(&[b, c].concat()))].concat();
            prop_assert_eq!(held(&store(&left_first)), held(&store(&right_first)));
        }

        #[test]
        fn merging_is_idempotent(lines in prop::collection::vec(any_line(), 0..12)) {
            let mut store = store(&lines);
            let (before, last) = (held(&store), store.last_change());
            for line in &lines {
                prop_assert_eq!(store.merge(record(line), None), Merged::Kept);
            }
            prop_assert_eq!((held(&store), store.last_change()), (before, last));
        }

        #[test]
        fn the_record_held_is_the_greatest(lines in prop::collection::vec(any_line(), 1..12)) {
            let store = store(&lines);
            for line in &lines {
                let held = store.get(record(line).client()).unwrap();
                prop_assert!(!record(line).wins_over(&held));
                prop_assert!(lines.iter().any(|line| line.as_bytes() == held.line));
            }
        }
    }
}
