//! Listening at every address that a name stands for: `localhost` may mean `127.0.0.1` and `[::1]`.
//!
//! Called for the stand-in's port. A server's ports may change while it runs: `doors.rs` opens those,
//! and asks here which failures may be passed over.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use crate::reactor::{Application, Factory, Io, ListenOptions, Speech};

/// Listens at all of these addresses, of which there is at least one, and answers where it does. Where
/// the first has port 0, all get the port that the system chooses for it. An address that this machine
/// does not have (a family that is turned off) is passed over as long as another one is there. The error
/// names the address.
pub fn listen_on_all<A: Application>(
    io: &mut Io<A>,
    addresses: &[SocketAddr],
    speech: &Speech,
    factory: impl Fn() -> Box<dyn Factory<A>>,
) -> Result<Vec<SocketAddr>, String> {
    let mut listening: Vec<SocketAddr> = Vec::new();
    let mut missing = Err("there is no address to listen on".to_owned());
    for &(mut address) in addresses {
        if let (0, Some(first)) = (address.port(), listening.first()) {
            address.set_port(first.port());
        }
        let options = ListenOptions { speech: speech.clone(), ..ListenOptions::default() };
        match io.listen_tcp(address, options, factory()) {
            Ok(token) => listening.push(io.local_address(token).unwrap_or(address)),
            Err(e) if is_not_here(&e) => missing = Err(format!("cannot listen on {address}: {e}")),
            Err(e) => return Err(format!("cannot listen on {address}: {e}")),
        }
    }
    if listening.is_empty() { missing } else { Ok(listening) }
}

/// Whether the machine lacks the address, or the whole family (EAFNOSUPPORT, for which the standard
/// library has no kind).
pub fn is_not_here(e: &io::Error) -> bool {
    let family = rustix::io::Errno::AFNOSUPPORT.raw_os_error();
    e.kind() == ErrorKind::AddrNotAvailable || e.raw_os_error() == Some(family)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;
    use crate::reactor::Reactor;
    use crate::server::alone;
    use crate::server::client::Clients;

    fn listen(addresses: &[&str]) -> Result<Vec<SocketAddr>, String> {
        let addresses: Vec<_> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        let mut reactor = Reactor::new(alone()).unwrap();
        let found = listen_on_all(reactor.io(), &addresses, &Speech::Plain, || Box::new(Clients));
        for address in found.iter().flatten() {
            TcpStream::connect(address).unwrap();
        }
        found
    }

    #[test]
    fn a_name_that_means_both_families_listens_on_both_at_one_port() {
        if std::net::TcpListener::bind("[::1]:0").is_err() {
            return eprintln!("this machine has no IPv6: skipped");
        }
        let found = listen(&["[::1]:0", "127.0.0.1:0"]).unwrap();
        assert_eq!((found.len(), found[0].port()), (2, found[1].port()));
    }

    #[test]
    fn an_address_that_the_machine_lacks_is_passed_over_unless_it_is_the_only_one() {
        // TEST-NET-1 (RFC 5737): nobody has it.
        let found = listen(&["192.0.2.1:0", "127.0.0.1:0"]).unwrap();
        assert_eq!(found.len(), 1);
        let why = listen(&["192.0.2.1:0"]).unwrap_err();
        assert!(why.starts_with("cannot listen on 192.0.2.1:0: "), "{why}");
    }

    #[test]
    fn an_address_that_is_taken_is_an_error_also_beside_one_that_is_free() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let taken_address = taken.local_addr().unwrap().to_string();
        let why = listen(&["127.0.0.2:0", &taken_address]).unwrap_err();
        assert!(why.starts_with(&format!("cannot listen on {taken_address}: ")), "{why}");
        drop(taken);
    }
}
