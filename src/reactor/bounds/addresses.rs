//! How many connections each address has, so that one of them cannot take all the room there is.
//!
//! Pure: it counts, and says who is too many and whether the log has been told so. It holds one entry
//! for each address that has a connection now, and none for others. Called where connections are accepted
//! and where they go.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::reactor::Peer;

/// Whose connections are counted together: an IPv4 address, or the first 64 bits of an IPv6 address. The
/// other 64 are the subscriber's own (RFC 4291, section 2.5.4), who has as many of them as he likes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Network {
    /// An IPv4 address, also one that came over IPv6.
    V4([u8; 4]),
    /// The first half of an IPv6 address.
    V6([u8; 8]),
}

impl Network {
    /// The network of a peer; `None` for programs on this machine, which have no address.
    pub fn of(peer: Peer) -> Option<Self> {
        match peer.ip()? {
            IpAddr::V4(address) => Some(Self::V4(address.octets())),
            IpAddr::V6(address) => address.octets().first_chunk().copied().map(Self::V6),
        }
    }
}

struct Count {
    connections: usize,
    /// The log has been told that this address has too many.
    told: bool,
}

/// What an address that asks for one more connection gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::reactor) enum Admission {
    Welcome,
    /// It has as many as it may, and `tell` when this has not been told since it last had few.
    TooMany {
        tell: bool,
    },
}

/// The addresses that have connections.
#[derive(Default)]
pub(in crate::reactor) struct Addresses(HashMap<Network, Count>);

impl Addresses {
    /// Counts one more connection of a peer's address, if it has fewer than `max`. Peers without an
    /// address, which are programs on this machine, are always welcome.
    pub fn enter(&mut self, peer: Peer, max: usize) -> Admission {
        let Some(network) = Network::of(peer) else { return Admission::Welcome };
        let count = self.0.entry(network).or_insert(Count { connections: 0, told: false });
        if count.connections >= max {
            return Admission::TooMany { tell: !std::mem::replace(&mut count.told, true) };
        }
        if count.connections < max / 2 {
            // Not as soon as it is below: at the brink a flood would be told each time that one goes.
            count.told = false;
        }
        count.connections += 1;
        Admission::Welcome
    }

    /// One of them is gone.
    pub fn leave(&mut self, peer: Peer) {
        let Some(network) = Network::of(peer) else { return };
        let Some(count) = self.0.get_mut(&network) else { return };
        count.connections = count.connections.saturating_sub(1);
        if count.connections == 0 {
            self.0.remove(&network);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TELL: Admission = Admission::TooMany { tell: true };
    const KNOWN: Admission = Admission::TooMany { tell: false };

    fn peer(ip: &str) -> Peer {
        Peer::Tcp((ip.parse::<IpAddr>().unwrap(), 1).into())
    }

    #[test]
    fn each_address_has_its_own_room_and_a_flood_is_told_once() {
        let mut addresses = Addresses::default();
        let (one, other) = (peer("192.0.2.1"), peer("192.0.2.2"));
        for _ in 0..4 {
            assert_eq!(addresses.enter(one, 4), Admission::Welcome);
        }
        assert_eq!(addresses.enter(one, 4), TELL);
        assert_eq!(addresses.enter(one, 4), KNOWN);
        assert_eq!(addresses.enter(other, 4), Admission::Welcome);
        // At the brink: room again, but not news again.
        addresses.leave(one);
        assert_eq!(addresses.enter(one, 4), Admission::Welcome);
        assert_eq!(addresses.enter(one, 4), KNOWN);
        for _ in 0..3 {
            addresses.leave(one);
        }
        for _ in 0..3 {
            assert_eq!(addresses.enter(one, 4), Admission::Welcome);
        }
        assert_eq!(addresses.enter(one, 4), TELL);
    }

    #[test]
    fn one_who_has_gone_leaves_nothing_behind() {
        let mut addresses = Addresses::default();
        for host in 0..100 {
            let peer = peer(&format!("192.0.2.{host}"));
            addresses.enter(peer, 4);
            addresses.leave(peer);
            addresses.leave(peer);
        }
        assert!(addresses.0.is_empty());
    }

    #[test]
    fn an_ipv6_subscriber_is_one_address_and_a_mapped_ipv4_address_is_itself() {
        let mut addresses = Addresses::default();
        assert_eq!(addresses.enter(peer("2001:db8::1"), 1), Admission::Welcome);
        assert_eq!(addresses.enter(peer("2001:db8::ffff:0:0:2"), 1), TELL);
        assert_eq!(addresses.enter(peer("2001:db8:0:1::1"), 1), Admission::Welcome);
        assert_eq!(addresses.enter(peer("192.0.2.1"), 1), Admission::Welcome);
        assert_eq!(addresses.enter(peer("::ffff:192.0.2.1"), 1), TELL);
        assert_eq!(addresses.enter(peer("::ffff:192.0.2.2"), 1), Admission::Welcome);
    }

    #[test]
    fn programs_on_this_machine_are_not_counted() {
        let mut addresses = Addresses::default();
        for _ in 0..3 {
            assert_eq!(addresses.enter(Peer::Unix, 1), Admission::Welcome);
        }
        addresses.leave(Peer::Unix);
        assert!(addresses.0.is_empty());
    }
}
