//! `--keys` and `--clients` of `herd serve`: by what neighbours are known, and what is spoken on the port.
//!
//! Without keys neighbours are known by their addresses, so a server whose links or port could be reached
//! from another machine is refused here, before it begins.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use pico_args::Arguments;

use super::files::endpoints;
use super::options::path;
use super::outcome::Failure;
use crate::herd::topology::{Endpoint, ServerEntry, ServerId, Topology};
use crate::keys::ServerKeys;
use crate::reactor::Speech;
use crate::server::expiry::Expiry;
use crate::server::trust::{Believed, Trust};

/// Both flags.
#[derive(Clone)]
pub struct TrustOptions {
    keys: Option<PathBuf>,
    clients: Clientele,
}

/// What clients may speak.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Clientele {
    Any,
    Tls,
}

impl TrustOptions {
    /// Takes the flags.
    pub fn take(arguments: &mut Arguments) -> Result<Self, Failure> {
        let keys = path(arguments, "--keys")?;
        let clients = arguments.opt_value_from_fn("--clients", clientele)?;
        let clients = clients.unwrap_or(Clientele::Any);
        if clients == Clientele::Tls && keys.is_none() {
            return Err(Failure::Usage(
                "--clients tls: TLS needs a certificate; give one with --keys DIR (`herd keys DIR` \
                 makes it)"
                    .to_owned(),
            ));
        }
        Ok(Self { keys, clients })
    }

    /// Reads the keys of the server `me`, or sees that it can do without.
    pub fn read(
        &self,
        topology: &Topology,
        me: ServerId,
        listen: &[SocketAddr],
    ) -> Result<Believed, Failure> {
        let Some(dir) = &self.keys else {
            let trust = Trust::Addresses(neighbour_addresses(topology, me, listen)?);
            let (clients, links) = (Speech::Plain, Speech::Plain);
            return Ok(Believed { trust, clients, links, expiry: None });
        };
        Ok(self.read_keys(dir, topology.name(me))?)
    }

    fn read_keys(&self, dir: &Path, name: &str) -> Result<Believed, String> {
        let ServerKeys { folder, credentials, validity } = ServerKeys::read(dir, name)?;
        let wrong = |e| format!("the keys in {} are not right: {e}", folder.display());
        let trust = Trust::Certificates(credentials.client().map_err(wrong)?);
        let tls = credentials.server().map_err(wrong)?;
        let links = Speech::Tls(tls.clone());
        let clients = match self.clients {
            Clientele::Any => Speech::Either(tls),
            Clientele::Tls => Speech::Tls(tls),
        };
        let expiry = Some(Expiry { folder, validity, looks: 0 });
        Ok(Believed { trust, clients, links, expiry })
    }

    /// What is spoken, for the log.
    pub fn words(&self) -> &'static str {
        match (&self.keys, self.clients) {
            (None, _) => "links are plain text on this machine, since there are no keys",
            (Some(_), Clientele::Any) => "links are TLS; clients may speak plain text or TLS",
            (Some(_), Clientele::Tls) => "links are TLS; clients must speak TLS",
        }
    }
}

/// The addresses that each neighbour may come from. Links are plain text and believe an address, so
/// every one of them has to be on this machine.
fn neighbour_addresses(
    topology: &Topology,
    me: ServerId,
    listen: &[SocketAddr],
) -> Result<BTreeMap<String, Vec<IpAddr>>, Failure> {
    let mut all = BTreeMap::new();
    for entry in topology.neighbours(me).iter().filter_map(|&id| topology.server(id)) {
        let addresses = addresses_of(entry)?;
        if let Some(far) = addresses.iter().find(|ip| !ip.is_loopback()) {
            return Err(Failure::Failed(format!(
                "the link to {} ({far}) would leave this machine in plain text, where anybody could read \
                 and forge it; make keys for the herd (`herd keys DIR`, then --keys DIR), or give it a \
                 loopback address such as 127.0.0.1 in the topology",
                entry.name
            )));
        }
        all.insert(entry.name.clone(), addresses);
    }
    let is_far = |address: &&SocketAddr| !address.ip().to_canonical().is_loopback();
    if let (false, Some(far)) = (all.is_empty(), listen.iter().find(is_far)) {
        return Err(Failure::Failed(format!(
            "{far} can be reached from other machines, and neighbours would be believed by their \
             address; make keys for the herd (`herd keys DIR`, then --keys DIR), or listen on a loopback \
             address such as 127.0.0.1"
        )));
    }
    Ok(all)
}

fn addresses_of(entry: &ServerEntry) -> Result<Vec<IpAddr>, Failure> {
    let mut all = Vec::new();
    for Endpoint { host, port } in endpoints(entry) {
        let found = (host.as_str(), port).to_socket_addrs().map_err(|e| {
            format!("cannot look up {host}, the address of {} in the topology: {e}", entry.name)
        })?;
        all.extend(found.map(|address| address.ip().to_canonical()));
    }
    Ok(all)
}

fn clientele(word: &str) -> Result<Clientele, String> {
    match word {
        "any" => Ok(Clientele::Any),
        "tls" => Ok(Clientele::Tls),
        _ => Err(format!("--clients {word:?}: there are any and tls")),
    }
}
