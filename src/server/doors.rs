//! The ports at which a server listens: for clients, and for links where those have one of their own.
//!
//! They may change while the server runs: new ones open before old ones close, and a port that stays is
//! not touched. Opened at the start and by `reload.rs`.

use std::net::SocketAddr;

use super::Server;
use super::client::Clients;
use super::listening::is_not_here;
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
    /// Opens what is wanted and not open, and then closes what is open and not wanted. An address that
    /// this machine lacks is passed over where another one of its purpose is open. The error names what
    /// cannot be opened; then all is as it was.
    pub fn change(&mut self, wanted: &Wanted<'_>, io: &mut Io<Server>) -> Result<(), String> {
        let before = self.0.len();
        if let Err(why) = self.open(wanted, io) {
            self.0.drain(before..).for_each(|door| io.close_listener(door.listener));
            return Err(why);
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

    fn open(&mut self, wanted: &Wanted<'_>, io: &mut Io<Server>) -> Result<(), String> {
        let mut missing = Vec::new();
        for (address, purpose, speech) in wanted.all() {
            if self.0.iter().any(|door| door.is(address, purpose)) {
                continue;
            }
            let proof_only = purpose == Purpose::Links;
            let options = ListenOptions { speech: speech.clone(), proof_only };
            let at = self.with_port(address, purpose, io);
            match io.listen_tcp(at, options, Box::new(Clients)) {
                Ok(listener) => self.0.push(Door { address, purpose, listener }),
                Err(e) => {
                    let why = format!("cannot listen on {address}: {e}");
                    if !is_not_here(&e) {
                        return Err(why);
                    }
                    missing.push((purpose, why));
                }
            }
        }
        // There has to be one of each purpose that something was wanted of.
        let is_open = |purpose| {
            let opened = |door: &Door| wanted.all().any(|(at, purpose, _)| door.is(at, purpose));
            self.0.iter().any(|door| door.purpose == purpose && opened(door))
        };
        let closed = missing.into_iter().find(|(purpose, _)| !is_open(*purpose));
        closed.map_or(Ok(()), |(_, why)| Err(why))
    }

    /// Where one name stands for several addresses and the system is to choose the port, it is one port.
    fn with_port(&self, mut address: SocketAddr, purpose: Purpose, io: &Io<Server>) -> SocketAddr {
        let same = |door: &&Door| door.purpose == purpose && door.address.port() == 0;
        let chosen = self.0.iter().find(same).and_then(|door| io.local_address(door.listener));
        if let (0, Some(chosen)) = (address.port(), chosen) {
            address.set_port(chosen.port());
        }
        address
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

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;
    use crate::reactor::{Now, Reactor};
    use crate::server::alone;

    /// A server whose doors change, one after the other; gives where it listens for clients and for links.
    fn change(
        doors: &mut Doors,
        reactor: &mut Reactor<Server>,
        clients: &[&str],
        links: &[&str],
    ) -> Result<[String; 2], String> {
        let parse = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let (clients, links) = (parse(clients), parse(links));
        let speech = Speech::Plain;
        let wanted = Wanted { clients: (&clients, &speech), links: (&links, &speech) };
        let outcome = doors.change(&wanted, reactor.io());
        // What closes does so in a turn.
        reactor.sleep(Some(std::time::Duration::ZERO)).unwrap();
        reactor.advance(Now::read());
        outcome
            .map(|()| [Purpose::Clients, Purpose::Links].map(|it| doors.in_words(it, reactor.io())))
    }

    #[test]
    fn what_stays_is_not_touched_and_what_goes_closes() {
        let (mut doors, mut reactor) = (Doors::default(), Reactor::new(alone()).unwrap());
        let mut change =
            |clients: &[&str], links: &[&str]| change(&mut doors, &mut reactor, clients, links);
        let [first, none] = change(&["127.0.0.1:0"], &[]).unwrap();
        assert_eq!(none, "");
        let [second, links] = change(&["127.0.0.1:0"], &["127.0.0.2:0"]).unwrap();
        assert_eq!(second, first);
        // An error, and all is as it was: also what could have been opened is not.
        let why = change(&["127.0.0.1:0", "127.0.0.3:0"], &[first.as_str()]).unwrap_err();
        assert!(why.starts_with(&format!("cannot listen on {first}: ")), "{why}");
        let [third, moved] = change(&["127.0.0.1:0"], &["127.0.0.3:0"]).unwrap();
        assert!(third == first && moved != links, "{moved}");
        TcpStream::connect(&moved).unwrap();
        TcpStream::connect(&first).unwrap();
        assert!(TcpStream::connect(&links).is_err());
    }

    #[test]
    fn an_address_that_the_machine_lacks_is_passed_over_unless_it_is_the_only_one() {
        let (mut doors, mut reactor) = (Doors::default(), Reactor::new(alone()).unwrap());
        let mut change =
            |clients: &[&str], links: &[&str]| change(&mut doors, &mut reactor, clients, links);
        // TEST-NET-1 (RFC 5737): nobody has it.
        let why = change(&["127.0.0.1:0"], &["192.0.2.1:0"]).unwrap_err();
        assert!(why.starts_with("cannot listen on 192.0.2.1:0: "), "{why}");
        let [clients, _] = change(&["192.0.2.1:0", "127.0.0.1:0", "127.0.0.2:0"], &[]).unwrap();
        let (one, other) = clients.split_once(" and ").unwrap();
        let port = |address: &str| address.parse::<SocketAddr>().unwrap().port();
        assert_eq!(port(one), port(other), "one name, one port");
    }
}
