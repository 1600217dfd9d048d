//! Who is at the other end of a connection, as callers see it and as it is kept.

use std::fmt;
use std::io::Write;
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

    /// Appends what `Display` shows, where it is an IPv4 address by copying: a log may name each
    /// connection in every turn.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        if let Self::Tcp(SocketAddr::V4(address)) = self {
            let (text, unused) = v4_text(*address);
            out.extend_from_slice(text.get(unused..).unwrap_or_default());
        } else {
            // Writing into memory cannot fail.
            let _ = write!(out, "{self}");
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(SocketAddr::V4(address)) => {
                let (text, unused) = v4_text(*address);
                let shown = text.get(unused..).unwrap_or_default();
                f.write_str(std::str::from_utf8(shown).unwrap_or_default())
            }
            Self::Tcp(address) => address.fmt(f),
            Self::Unix => f.write_str("a local socket"),
            Self::Unknown => f.write_str("an address not known yet"),
        }
    }
}

/// The most that an IPv4 address and port take: `255.255.255.255:65535`.
const V4_TEXT_BYTES: usize = 21;

/// An IPv4 address and port as the standard library writes them, at a fifth of its cost, at the end of
/// the array; and where they begin.
fn v4_text(address: SocketAddrV4) -> ([u8; V4_TEXT_BYTES], usize) {
    let [first, second, third, fourth] = address.ip().octets().map(u16::from);
    let mut text = [0; V4_TEXT_BYTES];
    let mut free = text.iter_mut().rev();
    // From the end, as the digits come: each number with what stands after it.
    let dot = Some(b'.');
    let numbers =
        [(address.port(), None), (fourth, Some(b':')), (third, dot), (second, dot), (first, dot)];
    for (mut number, after) in numbers {
        if let Some(after) = after
            && let Some(place) = free.next()
        {
            *place = after;
        }
        for place in free.by_ref() {
            *place = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
    }
    let unused = free.len();
    (text, unused)
}

/// A peer as it is kept with each connection, in half the space: most have an IPv4 address.
pub(in crate::reactor) enum Kept {
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

    #[test]
    fn an_address_looks_as_the_standard_library_has_it() {
        for text in [
            "0.0.0.0:0",
            "127.0.0.1:11550",
            "255.255.255.255:65535",
            "[::1]:7",
            "[::ffff:1.2.3.4]:80",
        ] {
            let address: SocketAddr = text.parse().unwrap();
            let peer = Peer::Tcp(address);
            assert_eq!(peer.to_string(), text);
            let mut appended = b"from ".to_vec();
            peer.append_to(&mut appended);
            assert_eq!(appended, format!("from {text}").into_bytes());
        }
        for number in 0..=255 {
            let address = SocketAddr::from(([number, 0, 10, number], u16::from(number) * 257));
            assert_eq!(Peer::Tcp(address).to_string(), address.to_string());
        }
    }
}
