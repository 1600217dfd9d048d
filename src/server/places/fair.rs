//! Whose turn it is: round robin over addresses, within one over its connections, within one by age.
//!
//! Pure: it holds names and numbers, no socket and no clock. An address with three hundred entries has one
//! of them ahead of a newcomer's, not three hundred. An IPv6 /64 is one address ([`Network`]). Every operation
//! costs the logarithm of what is held. Called by `places`, which keeps one for questions that wait to be sent
//! and one for askers that wait to be answered.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;

use crate::reactor::{Network, Token};

/// Who asks: a connection, and the address that it comes from. Programs on this machine, which have no address,
/// count as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who {
    /// Its address.
    pub address: Option<Network>,
    /// The connection.
    pub connection: Token,
}

/// Entries that wait for their turn, each with a number. Of one connection the least number is next, so
/// numbers that only grow make it first come, first served.
#[derive(Debug, Default)]
pub struct Turns {
    addresses: Ring<Option<Network>, Ring<Token, BTreeSet<u64>>>,
}

impl Turns {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// Adds an entry. An address or a connection that had none goes to the end of its round.
    pub fn insert(&mut self, who: Who, number: u64) {
        self.addresses.entry(who.address).entry(who.connection).insert(number);
    }

    /// Takes an entry out. `false`: there is no such one.
    pub fn remove(&mut self, who: Who, number: u64) -> bool {
        let Some(connections) = self.addresses.get_mut(who.address) else { return false };
        let Some(numbers) = connections.get_mut(who.connection) else { return false };
        let removed = numbers.remove(&number);
        if numbers.is_empty() {
            connections.remove(who.connection);
        }
        if connections.is_empty() {
            self.addresses.remove(who.address);
        }
        removed
    }

    /// Takes out the entry whose turn it is, of an address that may have one now. Addresses that may not keep
    /// their place in the round; they are looked at one by one, so there should be few of them.
    pub fn take_next(&mut self, may: impl Fn(Option<Network>) -> bool) -> Option<(Who, u64)> {
        let address = self.addresses.in_order().find(|address| may(*address))?;
        let connections = self.addresses.get_mut(address)?;
        let connection = connections.in_order().next()?;
        let numbers = connections.get_mut(connection)?;
        let number = numbers.pop_first()?;
        if numbers.is_empty() {
            connections.remove(connection);
        } else {
            connections.send_to_the_end(connection);
        }
        if connections.is_empty() {
            self.addresses.remove(address);
        } else {
            self.addresses.send_to_the_end(address);
        }
        Some((Who { address, connection }, number))
    }
}

/// Members in a round, each with what it has.
#[derive(Debug)]
struct Ring<K, V> {
    members: HashMap<K, (u64, V)>,
    /// The members by their place in the round. A place is never given twice.
    order: BTreeMap<u64, K>,
    next_place: u64,
}

impl<K, V> Default for Ring<K, V> {
    fn default() -> Self {
        Self { members: HashMap::new(), order: BTreeMap::new(), next_place: 0 }
    }
}

impl<K: Copy + Eq + Hash, V: Default> Ring<K, V> {
    fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// What a member has; a new one comes at the end.
    fn entry(&mut self, member: K) -> &mut V {
        let Self { members, order, next_place } = self;
        let (_, value) = members.entry(member).or_insert_with(|| {
            order.insert(*next_place, member);
            *next_place += 1;
            (*next_place - 1, V::default())
        });
        value
    }

    fn get_mut(&mut self, member: K) -> Option<&mut V> {
        self.members.get_mut(&member).map(|(_, value)| value)
    }

    fn remove(&mut self, member: K) {
        if let Some((place, _)) = self.members.remove(&member) {
            self.order.remove(&place);
        }
    }

    fn send_to_the_end(&mut self, member: K) {
        if let Some((place, _)) = self.members.get_mut(&member) {
            self.order.remove(place);
            *place = self.next_place;
            self.order.insert(*place, member);
            self.next_place += 1;
        }
    }

    fn in_order(&self) -> impl Iterator<Item = K> {
        self.order.values().copied()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::reactor::Peer;

    /// A connection from an address.
    pub fn who(address: &str, connection: usize) -> Who {
        let peer = Peer::Tcp((address.parse::<std::net::IpAddr>().unwrap(), 1).into());
        Who { address: Network::of(peer), connection: Token::of_test(connection) }
    }

    /// The order in which everything has its turn.
    fn drain(turns: &mut Turns) -> Vec<u64> {
        std::iter::from_fn(|| turns.take_next(|_| true).map(|(_, number)| number)).collect()
    }

    #[test]
    fn three_hundred_of_one_address_put_one_ahead_of_anothers() {
        let mut turns = Turns::default();
        for (connection, number) in (0..300).map(|number| (number % 10, number as u64)) {
            turns.insert(who("192.0.2.1", connection), number);
        }
        turns.insert(who("192.0.2.2", 500), 300);
        let order = drain(&mut turns);
        assert_eq!((order[0], order[1], order.len()), (0, 300, 301));
    }

    #[test]
    fn connections_of_one_address_take_turns_and_each_is_first_come_first_served() {
        let mut turns = Turns::default();
        for number in 0..6 {
            turns.insert(who("192.0.2.1", 1), number);
        }
        turns.insert(who("192.0.2.1", 2), 6);
        turns.insert(who("192.0.2.1", 2), 7);
        turns.insert(who("192.0.2.3", 3), 8);
        turns.insert(who("192.0.2.3", 3), 9);
        assert_eq!(drain(&mut turns), [0, 8, 6, 9, 1, 7, 2, 3, 4, 5]);
        assert!(turns.is_empty() && turns.addresses.order.is_empty());
    }

    #[test]
    fn an_ipv6_subscriber_has_one_turn_and_a_mapped_ipv4_address_is_itself() {
        let mut turns = Turns::default();
        for (number, address) in [
            "2001:db8::1",
            "2001:db8::ffff:2",
            "2001:db8:0:1::1",
            "::ffff:192.0.2.1",
            "192.0.2.1",
            "192.0.2.2",
        ]
        .iter()
        .enumerate()
        {
            turns.insert(who(address, number), number as u64);
        }
        assert_eq!(drain(&mut turns), [0, 2, 3, 5, 1, 4]);
    }

    #[test]
    fn an_address_that_may_not_have_its_turn_keeps_its_place() {
        let mut turns = Turns::default();
        let (one, other) = (who("192.0.2.1", 1), who("192.0.2.2", 2));
        for number in 0..3 {
            turns.insert(one, number);
            turns.insert(other, number + 10);
        }
        let not_one = |address| address != one.address;
        assert_eq!(turns.take_next(not_one), Some((other, 10)));
        assert_eq!(turns.take_next(not_one), Some((other, 11)));
        assert_eq!(drain(&mut turns), [0, 12, 1, 2]);
        turns.insert(one, 5);
        assert_eq!(turns.take_next(not_one), None);
        assert!(turns.remove(one, 5) && !turns.remove(one, 5) && turns.is_empty());
    }

    proptest! {
        /// Whatever is added, removed and taken: nobody has a second turn before everybody who waited
        /// all the time had one, and nothing is lost or comes twice.
        #[test]
        fn nobody_is_passed_over(
            steps in prop::collection::vec((0u8..4, 0usize..3, 0usize..3), 0..200),
        ) {
            let mut turns = Turns::default();
            let mut held: Vec<(Who, u64)> = Vec::new();
            let mut served_since: BTreeMap<u8, Vec<Option<Network>>> = BTreeMap::new();
            let named = |a: usize, c: usize| who(&format!("192.0.2.{a}"), a * 10 + c);
            for (number, (step, address, connection)) in steps.into_iter().enumerate() {
                let who = named(address, connection);
                match step {
                    0 | 1 => {
                        if !held.iter().any(|(w, _)| w.address == who.address) {
                            served_since.insert(u8::try_from(address).unwrap(), Vec::new());
                        }
                        turns.insert(who, number as u64);
                        held.push((who, number as u64));
                    }
                    2 => {
                        let Some(at) = held.iter().position(|(w, _)| *w == who) else { continue };
                        let (who, number) = held.remove(at);
                        prop_assert!(turns.remove(who, number));
                    }
                    _ => {
                        let taken = turns.take_next(|_| true);
                        prop_assert_eq!(taken.is_none(), held.is_empty());
                        let Some((who, number)) = taken else { continue };
                        let oldest = held.iter().filter(|(w, _)| *w == who).map(|(_, n)| *n).min();
                        prop_assert_eq!(oldest, Some(number));
                        held.retain(|(_, n)| *n != number);
                        for waits in 0..3u8 {
                            let waiting = named(waits.into(), 0).address;
                            let since = served_since.entry(waits).or_default();
                            if waiting == who.address || !held.iter().any(|(w, _)| w.address == waiting) {
                                since.clear();
                            } else {
                                prop_assert!(!since.contains(&who.address), "served twice meanwhile");
                                since.push(who.address);
                            }
                        }
                    }
                }
            }
            prop_assert_eq!(drain(&mut turns).len(), held.len());
        }
    }
}
