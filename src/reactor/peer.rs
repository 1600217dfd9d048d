//! Who is at the other end of a connection, as callers see it and as it is kept.

use std::fmt;
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// An address and a port.
    Tcp(SocketAddr),
    /// A program on this machine, over a Unix socket.
    Unix,
    /// Nobody yet: the name is being looked up.
    Unknown,
}

impl Peer {
    /// Its address, where it has one. An IPv4 address is given as such, also when it came over IPv6.
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Tcp(address) => Some(address.ip().to_canonical()),
            Self::Unix | Self::Unknown => None,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix => f.write_str("a local socket"),
            Self::Unknown => f.write_str("an address not known yet"),
        }
    }
}

/// A peer as it is kept with each connection, in half the space: most have an IPv4 address.
pub(super) enum Kept {
    V4(SocketAddrV4),
    V6(Box<SocketAddrV6>),
    Unix,
    Unknown,
}

impl From<Peer> for Kept {
    fn from(peer: Peer) -> Self {
        match peer {
            Peer::Tcp(SocketAddr::V4(address)) => Self::V4(address),
            Peer::Tcp(SocketAddr::V6(address)) => Self::V6(Box::new(address)),
            Peer::Unix => Self::Unix,
            Peer::Unknown => Self::Unknown,
        }
    }
}

impl Kept {
    pub fn get(&self) -> Peer {
        match self {
            Self::V4(address) => Peer::Tcp((*address).into()),
            Self::V6(address) => Peer::Tcp((**address).into()),
            Self::Unix => Peer::Unix,
            Self::Unknown => Peer::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_what_was_given() {
        for text in ["192.0.2.1:7", "[2001:db8::1]:8", "[::ffff:192.0.2.1]:9"] {
            let peer = Peer::Tcp(text.parse().unwrap());
            assert_eq!(Kept::from(peer).get(), peer);
        }
        assert_eq!(Kept::from(Peer::Unix).get(), Peer::Unix);
        assert_eq!(Kept::from(Peer::Unknown).get(), Peer::Unknown);
    }
}
