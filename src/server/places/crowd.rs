//! All who wait for an answer, and who of them has the most waiting.
//!
//! Pure: it counts by address and by connection, and knows no question. When there is no more room, the newest
//! entry of whoever has most gives way, so that one crowd cannot shut everybody else out. Every operation costs
//! the logarithm of what is held. Called by `places`.

use std::collections::{BTreeSet, HashMap};

use super::fair::Who;
use crate::reactor::{Network, Token};

/// The entries, each with a number that only grows.
#[derive(Debug, Default)]
pub struct Crowd {
    addresses: HashMap<Option<Network>, Members>,
    /// The addresses by how many entries they have.
    by_count: BTreeSet<(usize, Option<Network>)>,
    length: usize,
}

/// The entries of one address.
#[derive(Debug, Default)]
struct Members {
    count: usize,
    connections: HashMap<Token, BTreeSet<u64>>,
    /// The connections by how many entries they have.
    by_count: BTreeSet<(usize, Token)>,
}

impl Crowd {
    /// How many entries there are.
    pub fn size(&self) -> usize {
        self.length
    }

    /// Adds an entry.
    pub fn insert(&mut self, who: Who, number: u64) {
        let members = self.addresses.entry(who.address).or_default();
        if members.insert(who.connection, number) {
            self.length += 1;
            let count = members.count;
            self.by_count.remove(&(count - 1, who.address));
            self.by_count.insert((count, who.address));
        }
    }

    /// Takes an entry out.
    pub fn remove(&mut self, who: Who, number: u64) {
        let Some(members) = self.addresses.get_mut(&who.address) else { return };
        if !members.remove(who.connection, number) {
            return;
        }
        self.length -= 1;
        let count = members.count;
        self.by_count.remove(&(count + 1, who.address));
        if count == 0 {
            self.addresses.remove(&who.address);
        } else {
            self.by_count.insert((count, who.address));
        }
    }

    /// The entries of one connection.
    pub fn entries_of(&self, who: Who) -> Vec<u64> {
        let numbers =
            self.addresses.get(&who.address).and_then(|m| m.connections.get(&who.connection));
        numbers.into_iter().flatten().copied().collect()
    }

    /// Who gives way to one more entry of `newcomer`: the address with the most entries, of its connections that
    /// with the most, of that its newest. `None`: the newcomer is the one with the most, and nobody does.
    pub fn gives_way_to(&self, newcomer: Who) -> Option<(Who, u64)> {
        let (most, address) = *self.by_count.last()?;
        let own = self.addresses.get(&newcomer.address);
        let is_own = own.is_some_and(|members| members.count >= most);
        let address = if is_own { newcomer.address } else { address };
        let members = self.addresses.get(&address)?;
        let (most, connection) = *members.by_count.last()?;
        let own = members.connections.get(&newcomer.connection).map_or(0, BTreeSet::len);
        if is_own && own >= most {
            return None;
        }
        let newest = *members.connections.get(&connection)?.last()?;
        Some((Who { address, connection }, newest))
    }
}

impl Members {
    fn insert(&mut self, connection: Token, number: u64) -> bool {
        let numbers = self.connections.entry(connection).or_default();
        if !numbers.insert(number) {
            return false;
        }
        let count = numbers.len();
        self.by_count.remove(&(count - 1, connection));
        self.by_count.insert((count, connection));
        self.count += 1;
        true
    }

    fn remove(&mut self, connection: Token, number: u64) -> bool {
        let Some(numbers) = self.connections.get_mut(&connection) else { return false };
        if !numbers.remove(&number) {
            return false;
        }
        let count = numbers.len();
        self.by_count.remove(&(count + 1, connection));
        if count == 0 {
            self.connections.remove(&connection);
        } else {
            self.by_count.insert((count, connection));
        }
        self.count -= 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fair::tests::who;
    use super::*;

    #[test]
    fn the_newest_of_whoever_has_most_gives_way() {
        let mut crowd = Crowd::default();
        let (a, b, c) = (who("192.0.2.1", 1), who("192.0.2.1", 2), who("192.0.2.2", 3));
        assert_eq!(crowd.gives_way_to(c), None, "nobody is there");
        // Address 1 has four, three of them on its first connection; address 2 has two.
        for (number, who) in [a, b, a, c, a, c].into_iter().enumerate() {
            crowd.insert(who, number as u64);
        }
        let newest_of_a = Some((a, 4));
        let stranger = who("192.0.2.3", 4);
        assert_eq!(crowd.gives_way_to(stranger), newest_of_a);
        assert_eq!(crowd.gives_way_to(c), newest_of_a);
        // The address that has the most gives way to itself, its connections among each other.
        assert_eq!(crowd.gives_way_to(b), newest_of_a);
        assert_eq!(crowd.gives_way_to(who("192.0.2.1", 9)), newest_of_a);
        assert_eq!(crowd.gives_way_to(a), None);
        crowd.remove(a, 4);
        crowd.remove(a, 4);
        assert_eq!((crowd.size(), crowd.entries_of(a)), (5, vec![0, 2]));
        assert_eq!(crowd.gives_way_to(stranger), Some((a, 2)));
        crowd.remove(a, 2);
        // Two and two: whoever has as many as anybody has no claim to more.
        assert_eq!(crowd.gives_way_to(c), None);
        assert_eq!(crowd.gives_way_to(b), None);
        assert!(crowd.gives_way_to(stranger).is_some());
    }

    #[test]
    fn many_addresses_of_one_ipv6_subscriber_are_one() {
        let mut crowd = Crowd::default();
        for number in 0..10 {
            crowd.insert(who(&format!("2001:db8::{number}"), number), number as u64);
        }
        for number in 10..14 {
            crowd.insert(who("192.0.2.1", 50), number);
        }
        let (way, _) = crowd.gives_way_to(who("192.0.2.2", 60)).unwrap();
        assert_eq!(way.address, who("2001:db8::77", 0).address);
    }

    proptest! {
        #[test]
        fn the_counts_are_right_after_any_history(
            steps in prop::collection::vec((any::<bool>(), 0usize..3, 0usize..3, 0u64..40), 0..200),
        ) {
            let mut crowd = Crowd::default();
            let mut held: BTreeSet<(usize, usize, u64)> = BTreeSet::new();
            let named = |a: usize, c: usize| who(&format!("192.0.2.{a}"), a * 10 + c);
            for (adds, a, c, number) in steps {
                if adds {
                    crowd.insert(named(a, c), number);
                    held.insert((a, c, number));
                } else {
                    crowd.remove(named(a, c), number);
                    held.remove(&(a, c, number));
                }
                prop_assert_eq!(crowd.size(), held.len());
                let count = |a: usize| held.iter().filter(|h| h.0 == a).count();
                let most = (0..3).map(count).max().unwrap();
                let way = crowd.gives_way_to(named(7, 0));
                prop_assert_eq!(way.is_none(), held.is_empty());
                let Some((way, newest)) = way else { continue };
                let of = |a: usize, c: usize| held.iter().filter(|h| (h.0, h.1) == (a, c)).count();
                let (a, c) = (0..3)
                    .flat_map(|a| (0..3).map(move |c| (a, c)))
                    .find(|&(a, c)| named(a, c) == way)
                    .unwrap();
                prop_assert_eq!(count(a), most);
                prop_assert_eq!(of(a, c), (0..3).map(|c| of(a, c)).max().unwrap());
                let last = held.iter().filter(|h| (h.0, h.1) == (a, c)).map(|h| h.2).max();
                prop_assert_eq!(last, Some(newest));
            }
            prop_assert_eq!(crowd.addresses.len(), crowd.by_count.len());
        }
    }
}
