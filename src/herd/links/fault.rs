//! What can be wrong with a neighbour's connection or line, in words for the log.
//!
//! Each ends the connection. The words do not name the neighbour or the line: the handler of the link,
//! which logs them, has both.

use std::fmt;

use crate::wire::peer::LINK_VERSION;
use crate::wire::time::{NANOS_PER_SECOND, Nanos};

/// Why a connection may not be the link that it says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It speaks another version of the link's lines.
    Version(u64),
    /// No neighbour of this server has that name.
    NotANeighbour {
        /// The name in the HELLO.
        name: String,
        /// This server's.
        me: String,
    },
    /// Another server answers at the address of a neighbour.
    NotTheOneDialled {
        /// The name in its HELLO.
        name: String,
        /// The neighbour's.
        dialled: String,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Version(version) => {
                write!(f, "it speaks version {version} of the link, and this is {LINK_VERSION}")
            }
            Refusal::NotANeighbour { name, me } => write!(f, "{name:?} is no neighbour of {me}"),
            Refusal::NotTheOneDialled { name, dialled } => {
                write!(f, "{name:?} answers where {dialled} should be")
            }
        }
    }
}

/// What is wrong with a neighbour's line. The link is to be cut; nothing of the line was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nonsense {
    /// Not a line of the link's language, or a field of it is out of its range.
    Syntax,
    /// A line that has its time and direction, which is not here and now.
    OutOfPlace,
    /// The HELLO of another server than the one that was dialled, or of another version.
    WrongServer(Refusal),
    /// An AT line by a server whose name no topology could have.
    ServerName(String),
    /// An AT line whose server time is too far ahead of this server's clock: one of the two clocks is
    /// wrong. The line will be sent again.
    FromAhead {
        /// Further than is allowed, nanoseconds.
        by: Nanos,
    },
    /// A HERE above every mark that was sent.
    MarkAhead {
        /// The number in the HERE.
        here: u64,
        /// The highest mark that was sent.
        marked: u64,
    },
}

impl fmt::Display for Nonsense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Nonsense::Syntax => {
                f.write_str("it is no line of a link, or one of its fields is out of range")
            }
            Nonsense::OutOfPlace => f.write_str("a line of this kind does not belong here"),
            Nonsense::WrongServer(refusal) => refusal.fmt(f),
            Nonsense::ServerName(name) => {
                write!(f, "it names the server {name:?}, which is no name of a server")
            }
            Nonsense::FromAhead { by } => {
                let seconds = by / NANOS_PER_SECOND;
                write!(
                    f,
                    "its server time is {seconds} s further ahead of this server's clock than allowed; one \
                     of the clocks is wrong"
                )
            }
            Nonsense::MarkAhead { here, marked } => {
                write!(f, "it has taken in mark {here}, but was sent no mark above {marked}")
            }
        }
    }
}

impl std::error::Error for Refusal {}
impl std::error::Error for Nonsense {}
