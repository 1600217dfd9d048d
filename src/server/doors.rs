//! The ports at which a server listens: for clients, and for links where those have one of their own.
//!
//! They may change while the server runs: new ones open before old ones close, and a port that stays is
//! not touched. Opened at the start and by `reload.rs`.

use std::net::SocketAddr;

use super::Server;
use super::client::Clients;
use crate::reactor::{Io, ListenOptions, Speech, Token};

/// Whom a port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Clients, and neighbours that do not know of a port for links.
    Clients,
    /// Neighbours alone.
    Links,
}

/// The ports that are open.
#[derive(Default)]
pub struct Doors(Vec<Door>);

struct Door {
    address: SocketAddr,
    purpose: Purpose,
    listener: Token,
}

/// What is to be open, and what is spoken there.
pub struct Wanted<'a> {
    /// For clients.
    pub clients: (&'a [SocketAddr], &'a Speech),
    /// For links.
    pub links: (&'a [SocketAddr], &'a Speech),
}

impl Wanted<'_> {
    fn all(&self) -> impl Iterator<Item = (SocketAddr, Purpose, &Speech)> {
        let sorts = [(self.clients, Purpose::Clients), (self.links, Purpose::Links)];
        sorts.into_iter().flat_map(|((addresses, speech), purpose)| {
            addresses.iter().map(move |address| (*address, purpose, speech))
        })
    }
}

impl Doors {
    /// Opens what is wanted and not open, and then closes what is open and not wanted. The error names
    /// what cannot be opened; then all is as it was.
    pub fn change(&mut self, wanted: &Wanted<'_>, io: &mut Io<Server>) -> Result<(), String> {
        let before = self.0.len();
        for (address, purpose, speech) in wanted.all() {
            if self.0.iter().any(|door| door.is(address, purpose)) {
                continue;
            }
            let options =
                ListenOptions { speech: speech.clone(), proof_only: purpose == Purpose::Links };
            match io.listen_tcp(address, options, Box::new(Clients)) {
                Ok(listener) => self.0.push(Door { address, purpose, listener }),
                Err(e) => {
                    self.0.drain(before..).for_each(|door| io.close_listener(door.listener));
                    return Err(format!("cannot listen on {address}: {e}"));
                }
            }
        }
        self.0.retain(|door| {
            let stays = wanted.all().find(|(address, purpose, _)| door.is(*address, *purpose));
            match stays {
                Some((_, _, speech)) => io.set_speech(door.listener, speech.clone()),
                None => io.close_listener(door.listener),
            }
            stays.is_some()
        });
        Ok(())
    }

    /// Where it listens for clients or for links, in words; empty when nowhere.
    pub fn in_words(&self, purpose: Purpose, io: &Io<Server>) -> String {
        let of_purpose = self.0.iter().filter(|door| door.purpose == purpose);
        let addresses = of_purpose
            .map(|door| io.local_address(door.listener).unwrap_or(door.address).to_string());
        addresses.collect::<Vec<_>>().join(" and ")
    }
}

impl Door {
    fn is(&self, address: SocketAddr, purpose: Purpose) -> bool {
        self.address == address && self.purpose == purpose
    }
}
