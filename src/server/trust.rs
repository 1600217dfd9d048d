//! Who is believed to be a neighbour: the one place where that is decided.
//!
//! With keys it is whoever has shown a certificate of the herd's own authority with that neighbour's name,
//! and the server that answers a dialled connection has to show its own. Without keys it is whoever comes
//! from the neighbour's address, which is worth nothing beyond this machine, so `cli` sees to it that
//! such links do not leave it. Nothing that is said on a connection counts. Called by `link`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::Server;
use super::expiry::Expiry;
use crate::reactor::{ConnectOptions, Io, Peer, Speech, TlsClient, Token};

/// What follows from a server's keys, or from having none.
pub struct Believed {
    /// By what neighbours are known.
    pub trust: Trust,
    /// What the port for clients speaks.
    pub clients: Speech,
    /// What the port for links speaks, if there is one.
    pub links: Speech,
    /// When the certificate ends.
    pub expiry: Option<Expiry>,
}

/// By what neighbours are known.
pub enum Trust {
    /// By certificate. This is how links are dialled.
    Certificates(TlsClient),
    /// By address: for each neighbour's name those that it may come from. Links are plain text.
    Addresses(BTreeMap<String, Vec<IpAddr>>),
}

impl Trust {
    /// Whether neighbours prove who they are.
    pub fn is_proof(&self) -> bool {
        matches!(self, Self::Certificates(_))
    }

    /// How a neighbour of that name is dialled: its certificate must have its name in the topology,
    /// wherever it lives.
    pub fn dialling(&self, name: &str) -> ConnectOptions {
        match self {
            Self::Certificates(tls) => ConnectOptions {
                tls: Some(tls.clone()),
                tls_name: Some(name.to_owned()),
                ..ConnectOptions::default()
            },
            Self::Addresses(_) => ConnectOptions::default(),
        }
    }

    /// Whether the connection `peer`, which says that it is this neighbour, is believed; if not, why.
    pub fn admits(&self, name: &str, peer: Token, io: &Io<Server>) -> Result<(), String> {
        match self {
            Self::Certificates(_) if io.peer_is(peer, name) => Ok(()),
            Self::Certificates(_) => Err(format!(
                "it says that it is {name}, and has shown no certificate of this herd for that name (was \
                 {name} started without --keys?)"
            )),
            Self::Addresses(addresses) => {
                // Its port is not looked at: that is the system's choice.
                let from = io.peer(peer).and_then(Peer::ip);
                let its = addresses.get(name).map_or(&[][..], Vec::as_slice);
                if from.is_some_and(|from| its.contains(&from)) {
                    Ok(())
                } else {
                    Err(format!("{name} does not live at that address"))
                }
            }
        }
    }
}
