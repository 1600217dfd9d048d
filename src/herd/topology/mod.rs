//! Who the servers are and who talks with whom: the contents of a `topology.txt`, checked.
//!
//! A [`Topology`] exists only when its file had no fault, so nothing here can fail any more: links
//! are symmetric, names and addresses are unique, and there is at least one server. Reading the file
//! is [`parse`](Topology::parse), what follows from its shape is in `graph`, and what `herd check`
//! prints is [`describe()`]. Nobody here opens a file or looks up a host name.

mod describe;
mod graph;
mod parse;
mod problem;
mod spelling;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use describe::describe;
pub use graph::{Diameter, components, diameter, parts_without};
pub use parse::{FILE_MAX_BYTES, LINE_MAX_BYTES, NAME_MAX_BYTES, SERVERS_MAX, is_server_name};
pub use problem::{PROBLEMS_MAX, Problem, TopologyErrors, Warning};
pub use spelling::nearest;

/// One server of a topology: its place in the file, counted from 0.
///
/// It means something only to the topology that it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(u16);

impl ServerId {
    /// The place in the file, counted from 0, for tables that are kept beside the topology.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// What one line of the file says about a server, beside its links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerEntry {
    /// The name that stands in AT lines: ASCII letters, digits, `-` and `_`.
    pub name: String,
    /// A host name or an IP address as the file wrote it, without the brackets of an IPv6 one.
    pub host: String,
    /// The TCP port, 1 to 65535: for clients, and for neighbours unless `links` names another one.
    pub port: u16,
    /// Where neighbours dial this server, when the file gives links an address of their own.
    pub links: Option<Endpoint>,
}

/// A host and a port, as the file wrote them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// A host name or an IP address, without the brackets of an IPv6 one.
    pub host: String,
    /// The TCP port, 1 to 65535.
    pub port: u16,
}

impl Endpoint {
    /// The host's IP address, when the file names one rather than a host name.
    pub fn ip(&self) -> Option<IpAddr> {
        ip_of(&self.host)
    }

    /// The address as the file writes it, see [`ServerEntry::address`].
    pub fn address(&self) -> String {
        address_of(&self.host, self.port)
    }
}

impl ServerEntry {
    /// The host's IP address, when the file names one rather than a host name.
    pub fn ip(&self) -> Option<IpAddr> {
        ip_of(&self.host)
    }

    /// The address as the file writes it: `127.0.0.1:11550`, `[::1]:11550`, `kiwi.example:11550`.
    pub fn address(&self) -> String {
        address_of(&self.host, self.port)
    }

    /// Where neighbours dial this server: the address for links, or else the one for all.
    pub fn dialled(&self) -> Endpoint {
        let shared = || Endpoint { host: self.host.clone(), port: self.port };
        self.links.clone().unwrap_or_else(shared)
    }
}

fn ip_of(host: &str) -> Option<IpAddr> {
    let v4 = host.parse::<Ipv4Addr>().map(IpAddr::V4);
    v4.or_else(|_| host.parse::<Ipv6Addr>().map(IpAddr::V6)).ok()
}

fn address_of(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// The servers of a herd and the links between them.
///
/// Symmetric: when one server is the other's neighbour, the other is its neighbour too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    servers: Vec<ServerEntry>,
    /// By server, in the order of the file, each neighbour once.
    neighbours: Vec<Vec<ServerId>>,
}

impl Topology {
    /// Reads a topology file. `file_name` only serves to name the place of a problem.
    ///
    /// # Errors
    /// All faults of the file, not only the first; see [`TopologyErrors`].
    pub fn parse(file_name: &str, text: &str) -> Result<(Topology, Vec<Warning>), TopologyErrors> {
        parse::parse(file_name, text)
    }

    /// How many servers there are; at least 1.
    #[expect(clippy::len_without_is_empty, reason = "a topology without servers is refused")]
    pub fn len(&self) -> usize {
        self.servers.len()
    }

    /// All servers, in the order of the file.
    pub fn ids(&self) -> impl Iterator<Item = ServerId> + use<> {
        (0..u16::try_from(self.servers.len()).unwrap_or(u16::MAX)).map(ServerId)
    }

    /// What the file says about a server; `None` for an id of another topology.
    pub fn server(&self, id: ServerId) -> Option<&ServerEntry> {
        self.servers.get(id.index())
    }

    /// A server's name; empty for an id of another topology.
    pub fn name(&self, id: ServerId) -> &str {
        self.server(id).map_or("", |server| &server.name)
    }

    /// The server of that name, compared byte for byte.
    ///
    /// A walk through the list: herds are small, and a name is a few bytes.
    pub fn by_name(&self, name: &[u8]) -> Option<ServerId> {
        let same = |server: &ServerEntry| server.name.as_bytes() == name;
        let index = self.servers.iter().position(same)?;
        u16::try_from(index).ok().map(ServerId)
    }

    /// The name that a misspelt one was most likely meant to be, if one is near.
    pub fn nearest_name(&self, wrong: &str) -> Option<&str> {
        nearest(wrong, self.servers.iter().map(|server| server.name.as_str()))
    }

    /// A server's neighbours in the order of the file, each once, never the server itself.
    pub fn neighbours(&self, id: ServerId) -> &[ServerId] {
        self.neighbours.get(id.index()).map_or(&[], Vec::as_slice)
    }

    /// How many links there are, each counted once.
    pub fn link_count(&self) -> usize {
        self.neighbours.iter().map(Vec::len).sum::<usize>() / 2
    }

    /// Names in one line, for sentences and tables: `Alford, Bolden`.
    fn names(&self, ids: &[ServerId]) -> String {
        ids.iter().map(|&id| self.name(id)).collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for ServerEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.name, self.address())
    }
}

#[cfg(test)]
mod tests;
