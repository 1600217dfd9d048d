//! Making a connection: look the name up, try each address in turn, shake hands.
//!
//! One token stands for the whole undertaking, and a failure at any step arrives in one way, as
//! `connection_lost`, in a later step of the loop: also when it was clear at once. Called by handlers
//! ([`Io::connect_tcp`]) and by the turn, which reports what the kernel and the helper thread say.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use mio::net::TcpStream;

use super::connection::{Connection, Layer, Phase};
use super::options::tune_made;
use super::slots::{Birth, Handler, Kind, find};
use super::tls::TlsSession;
use super::transport::Stream;
use super::{Application, Io, Peer, Protocol, Reason, TlsClient, Token};

/// How [`Io::connect_tcp`] connects. Each step has a time limit of its own.
#[derive(Clone)]
pub struct ConnectOptions {
    /// With it the connection speaks TLS, and the peer's certificate must name the host.
    pub tls: Option<TlsClient>,
    /// The name that the peer's certificate must have, where that is not the host's.
    pub tls_name: Option<String>,
    /// For the name's addresses to come back from the helper thread.
    pub lookup_timeout: Duration,
    /// For each address.
    pub connect_timeout: Duration,
    /// For TLS.
    pub handshake_timeout: Duration,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            tls: None,
            tls_name: None,
            lookup_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(3),
            handshake_timeout: Duration::from_secs(5),
        }
    }
}

/// What a connection needs until it is made.
pub(super) struct Dial {
    host: String,
    port: u16,
    options: ConnectOptions,
    /// Addresses not tried yet, last first.
    untried: Vec<SocketAddr>,
    /// What the tried ones said.
    failures: Vec<(SocketAddr, String)>,
}

impl<A: Application> Io<A> {
    /// Connects to `host` (a name, or an IPv4 or IPv6 address without brackets) at `port`. The protocol
    /// is told `connection_made`, or else `connection_lost` with the reason in words.
    pub fn connect_tcp(
        &mut self,
        host: &str,
        port: u16,
        options: ConnectOptions,
        protocol: Box<dyn Protocol<A>>,
    ) -> Token {
        let mut connection = Connection::new(None, Peer::Unknown, Phase::LookingUp);
        let lookup_timeout = options.lookup_timeout;
        let address = host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, port));
        connection.layer = Layer::Dial(Box::new(Dial {
            host: host.to_owned(),
            port,
            options,
            untried: address.into_iter().collect(),
            failures: Vec::new(),
        }));
        let token = self.keep(Kind::Connection(connection));
        self.births.push_back((token, Handler::Protocol(protocol), Birth::Silent));
        if self.is_stopping() {
            self.fail_dial(token, "this server is stopping");
        } else if address.is_some() {
            self.try_next_address(token);
        } else if self.helper.look_up(host.to_owned(), port, token) {
            self.limit_phase(token, lookup_timeout);
        } else {
            self.fail_dial(token, "too many look-ups wait already");
        }
        token
    }

    /// The helper thread has answered.
    pub(super) fn addresses_received(
        &mut self,
        token: Token,
        answer: Result<Vec<SocketAddr>, String>,
    ) {
        let Some(connection) = find(&mut self.sockets, token) else { return };
        if connection.phase != Phase::LookingUp {
            return;
        }
        let Some(dial) = connection.dial() else { return };
        match answer {
            Ok(mut addresses) => {
                addresses.reverse();
                dial.untried = addresses;
                self.try_next_address(token);
            }
            Err(why) => self.fail_dial(token, &format!("the name cannot be looked up: {why}")),
        }
    }

    /// Goes on to the next address that can at least be begun with, or gives up.
    fn try_next_address(&mut self, token: Token) {
        loop {
            let Some(connection) = find(&mut self.sockets, token) else { return };
            let Layer::Dial(dial) = &mut connection.layer else { return };
            let Some(address) = dial.untried.pop() else {
                let words = in_words(&dial.failures);
                return self.fail_dial(token, &words);
            };
            let limit = dial.options.connect_timeout;
            connection.phase = Phase::Connecting;
            connection.peer = Peer::Tcp(address).into();
            let begun = TcpStream::connect(address).and_then(|stream| {
                tune_made(&stream, self.limits.keepalive);
                let mut stream = Stream::Tcp(stream);
                stream.register(self.poll.registry(), token.to_mio())?;
                Ok(stream)
            });
            match begun {
                Ok(stream) => {
                    // Not writable before the kernel says so: that is how it tells the outcome. And
                    // what it said of the address before is not true of this one.
                    (connection.stream, connection.writable) = (Some(stream), false);
                    (connection.readable, connection.announced) = (false, false);
                    return self.limit_phase(token, limit);
                }
                Err(e) => dial.failures.push((address, plain(&e))),
            }
        }
    }

    /// The present address will not do.
    fn fail_address(&mut self, token: Token, why: &str) {
        self.clear_limit(token);
        let Some(connection) = find(&mut self.sockets, token) else { return };
        connection.stream = None;
        let peer = connection.peer.get();
        if let (Some(dial), Peer::Tcp(address)) = (connection.dial(), peer) {
            dial.failures.push((address, why.to_owned()));
        }
        self.try_next_address(token);
    }

    fn fail_dial(&mut self, token: Token, why: &str) {
        let dial = find(&mut self.sockets, token).and_then(Connection::take_dial);
        let Some(dial) = dial else { return };
        let to = with_port(&dial.host, dial.port);
        self.end(token, Reason::ConnectFailed { to, why: why.to_owned() });
    }

    /// The kernel has news of a connection under way. A first readiness is not yet success: the
    /// socket's error has to be asked for, and a peer address shows that it is connected at all (mio's
    /// documentation of `TcpStream::connect`). Answers whether the connection is made.
    pub(super) fn check_connecting(&mut self, token: Token) -> bool {
        let Some(connection) = find(&mut self.sockets, token) else { return false };
        let Some(Stream::Tcp(stream)) = &connection.stream else { return false };
        match outcome(stream) {
            Ok(false) => false,
            Ok(true) if is_connected_to_itself(stream) => {
                close_with_reset(stream);
                self.fail_address(token, "connection refused (the socket had connected to itself)");
                false
            }
            Ok(true) => {
                connection.writable = true;
                self.clear_limit(token);
                self.begin_speaking(token)
            }
            Err(e) => {
                self.fail_address(token, &plain(&e));
                false
            }
        }
    }

    /// Connected: speak, or shake hands first.
    fn begin_speaking(&mut self, token: Token) -> bool {
        let Some(connection) = find(&mut self.sockets, token) else { return false };
        let Some(dial) = connection.take_dial() else { return false };
        let name = dial.options.tls_name.as_ref().unwrap_or(&dial.host);
        match dial.options.tls.as_ref().map(|tls| TlsSession::client(tls, name)).transpose() {
            Ok(None) => connection.phase = Phase::Open,
            Ok(Some(session)) => {
                connection.layer = Layer::Tls(Box::new(session));
                connection.phase = Phase::Handshaking;
                self.limit_phase(token, dial.options.handshake_timeout);
            }
            Err(why) => {
                self.end(token, Reason::Tls(why));
                return false;
            }
        }
        self.queue_flush(token);
        // A peer that speaks first may have done so already, and its edge came with the outcome.
        self.queue_read(token);
        dial.options.tls.is_none()
    }

    /// The time limit of a connection's present phase has run out.
    pub(super) fn phase_over(&mut self, token: Token) {
        let Some(connection) = find(&mut self.sockets, token) else { return };
        connection.timer = None;
        match connection.phase {
            Phase::LookingUp => {
                self.fail_dial(token, "no answer to the look-up of the name in time");
            }
            Phase::Connecting => self.fail_address(token, "no answer in time"),
            Phase::Handshaking => {
                self.end(token, Reason::TimedOut("TLS was not agreed in time"));
            }
            // Lingering was a courtesy.
            Phase::Lingering => self.end(token, Reason::Done),
            Phase::Undecided | Phase::Open | Phase::Losing | Phase::Ended => {}
        }
    }
}

/// `Ok(true)`: connected. `Ok(false)`: still under way.
fn outcome(stream: &TcpStream) -> io::Result<bool> {
    if let Some(e) = stream.take_error()? {
        return Err(e);
    }
    match stream.peer_addr() {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == ErrorKind::NotConnected => Ok(false),
        Err(e) => Err(e),
    }
}

/// Whether both ends are the same socket. Where nobody listens at a port that the kernel may give to an
/// outgoing connection, it gives that very port sooner or later, and TCP lets the socket connect to itself
/// (simultaneous open, RFC 9293, section 3.5). Whoever is to listen there could not.
fn is_connected_to_itself(stream: &TcpStream) -> bool {
    matches!((stream.local_addr(), stream.peer_addr()), (Ok(local), Ok(peer)) if local == peer)
}

/// Has the close of this socket send a reset, so that its port is free at once and not in TIME-WAIT.
fn close_with_reset(stream: &TcpStream) {
    // A failure leaves an ordinary close, which holds the port for a minute.
    let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
}

/// A host and a port as an address is written: IPv6 in brackets (RFC 3986, section 3.2.2).
fn with_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Where all addresses fail alike, the words are said once; else each address is told.
fn in_words(failures: &[(SocketAddr, String)]) -> String {
    match failures {
        [(_, why), rest @ ..] if rest.iter().all(|(_, other)| other == why) => why.clone(),
        several => {
            let told = several.iter().map(|(address, why)| format!("{address}: {why}"));
            told.collect::<Vec<_>>().join("; ")
        }
    }
}

/// The system's words without its number.
fn plain(e: &io::Error) -> String {
    let words = e.to_string();
    words.split(" (os error").next().unwrap_or(&words).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_once_where_they_agree_and_each_where_they_differ() {
        let address = |last| SocketAddr::new([127, 0, 0, last].into(), 9);
        let refused = |last| (address(last), "connection refused".to_owned());
        let late = |last| (address(last), "no answer in time".to_owned());
        assert_eq!(in_words(&[refused(1)]), "connection refused");
        assert_eq!(in_words(&[refused(1), refused(2)]), "connection refused");
        let both = "127.0.0.1:9: connection refused; 127.0.0.2:9: no answer in time";
        assert_eq!(in_words(&[refused(1), late(2)]), both);
    }

    #[test]
    fn an_address_with_a_port_has_brackets_only_around_ipv6() {
        for (host, written) in
            [("::1", "[::1]:9"), ("127.0.0.1", "127.0.0.1:9"), ("kiwi.example", "kiwi.example:9")]
        {
            assert_eq!(with_port(host, 9), written);
        }
    }
}
