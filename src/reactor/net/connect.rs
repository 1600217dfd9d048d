//! Making a connection: look the name up, try its addresses, shake hands.
//!
//! One token stands for the whole dial, and a failure at any step arrives in one way, as `connection_lost`, in
//! a later step of the loop: also when it was clear at once. Several attempts may be in flight for one dial
//! (`attempts.rs` says which and when). Each has a slot and a token of its own, so that no late news of one is
//! taken for news of another; the socket of the first that connects moves to the dial, the others are closed.
//! Called by handlers ([`Io::connect_tcp`]) and by the turn, which reports what the kernel and the look-ups'
//! threads say.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use mio::net::TcpStream;
use slab::Slab;

use crate::reactor::connection::stream::Stream;
use crate::reactor::connection::{Connection, Layer, Phase};
use crate::reactor::io::sockets::{Birth, Handler, Kind, Socket, find};
use crate::reactor::net::attempts::{Attempts, Step};
use crate::reactor::net::look_up::{Answer, LookUp};
use crate::reactor::net::options::tune_made;
use crate::reactor::tls::session::TlsSession;
use crate::reactor::{Application, Io, Peer, Protocol, Reason, TlsClient, Token};

/// How [`Io::connect_tcp`] connects. Each step has a time limit of its own.
#[derive(Clone)]
pub struct ConnectOptions {
    /// With it the connection speaks TLS, and the peer's certificate must name the host.
    pub tls: Option<TlsClient>,
    /// The name that the peer's certificate must have, where that is not the host's.
    pub tls_name: Option<String>,
    /// For the name's addresses to come back from the look-up's thread. Addresses that are remembered from an
    /// earlier look-up are tried meanwhile.
    pub lookup_timeout: Duration,
    /// For each address. The next one begins beside it after
    /// [`ATTEMPT_DELAY`](crate::reactor::bounds::limits::ATTEMPT_DELAY).
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
pub(in crate::reactor) struct Dial {
    host: String,
    port: u16,
    options: ConnectOptions,
    pub(in crate::reactor) attempts: Attempts,
}

/// One address that a dial is connecting to: a slot of its own, without a protocol.
pub(in crate::reactor) struct Attempt {
    dial: Token,
    address: SocketAddr,
    pub(in crate::reactor) stream: Stream,
    /// What the kernel has told of it, for the connection that it may become.
    readable: bool,
    announced: bool,
    /// Stands in the queue of sockets to read.
    in_ready: bool,
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
        let address = host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, port));
        let known = address.map_or_else(|| self.look_ups.remembered(host, port), |a| vec![a]);
        let lookup_timeout = options.lookup_timeout;
        let attempts = Attempts::new(&known, options.connect_timeout);
        let dial = Dial { host: host.to_owned(), port, options, attempts };
        connection.layer = Layer::Dial(Box::new(dial));
        let token = self.keep(Kind::Connection(connection));
        self.births.push_back((token, Handler::Protocol(protocol), Birth::Silent));
        if self.is_stopping() {
            self.fail_dial(token, "this server is stopping");
            return token;
        }
        if address.is_none() {
            self.look_up(token, host, lookup_timeout);
        }
        self.carry_on_dialling(token);
        token
    }

    /// Look-ups that have no answer yet, by name: those that run, and those that wait for a free thread.
    pub fn look_ups(&self) -> Vec<LookUp> {
        self.look_ups.under_way().collect()
    }

    fn look_up(&mut self, token: Token, host: &str, timeout: Duration) {
        let asked = self.look_ups.ask(host, token, self.now);
        if let Some(dial) = find(&mut self.sockets, token).and_then(Connection::dial) {
            match asked {
                Ok(()) => dial.attempts.look_up_begun(self.now, timeout),
                Err(why) => dial.attempts.look_up_failed(not_looked_up(&why)),
            }
        }
        self.begin_look_ups();
    }

    /// Hands waiting look-ups to free threads.
    fn begin_look_ups(&mut self) {
        while let Some((thread, host)) = self.look_ups.begin_next(self.now) {
            let resolver = Arc::clone(&self.resolver);
            if let Err(refused) = self.threads.look_up(thread, move || resolver(&host)) {
                self.look_up_answered(thread, &Err(refused.to_string()));
            }
        }
    }

    /// A thread has answered: all who wait for that name go on.
    pub(in crate::reactor) fn look_up_answered(&mut self, thread: usize, answer: &Answer) {
        let answered = self.look_ups.answered(thread, answer);
        if let Some((host, askers)) = answered {
            for token in askers {
                let Some(connection) = find(&mut self.sockets, token) else { continue };
                let Some(dial) = connection.dial() else { continue };
                match answer {
                    Ok(_) => {
                        let addresses = self.look_ups.remembered(&host, dial.port);
                        dial.attempts.look_up_answered(&addresses);
                    }
                    Err(why) => dial.attempts.look_up_failed(not_looked_up(why)),
                }
                self.carry_on_dialling(token);
            }
        }
        self.begin_look_ups();
    }

    /// Does what the dial's attempts say is to be done now, and looks at them again when they say.
    fn carry_on_dialling(&mut self, token: Token) {
        loop {
            let Some(connection) = find(&mut self.sockets, token) else { return };
            let Layer::Dial(dial) = &mut connection.layer else { return };
            match dial.attempts.step(self.now) {
                Step::Begin(address) => {
                    connection.phase = Phase::Connecting;
                    connection.peer = Peer::Tcp(address).into();
                    self.begin_attempt(token, address);
                }
                Step::GiveUp(attempt) => self.close_attempt(attempt),
                Step::LookUpOver => {
                    let why = self.look_ups.why_no_answer(&dial.host, self.now);
                    self.look_ups.leave(&dial.host, token);
                    dial.attempts.look_up_failed(why);
                }
                Step::Over => {
                    let words = dial.attempts.in_words();
                    return self.fail_dial(token, &words);
                }
                Step::WaitUntil(moment) => return self.limit_phase_until(token, moment),
            }
        }
    }

    fn begin_attempt(&mut self, dial: Token, address: SocketAddr) {
        let name = self.next_token().to_mio();
        let begun = TcpStream::connect(address).and_then(|stream| {
            tune_made(&stream, self.limits.keepalive);
            let mut stream = Stream::Tcp(stream);
            stream.register(self.poll.registry(), name)?;
            Ok(stream)
        });
        let begun = begun.map(|stream| {
            let (readable, announced, in_ready) = (false, false, false);
            self.keep(Kind::Attempt(Attempt {
                dial,
                address,
                stream,
                readable,
                announced,
                in_ready,
            }))
        });
        let Some(dial) = find(&mut self.sockets, dial).and_then(Connection::dial) else { return };
        match begun {
            Ok(attempt) => dial.attempts.begun(address, attempt, self.now),
            Err(e) => dial.attempts.refused(address, plain(&e)),
        }
    }

    /// Closes an attempt, and gives its slot free: it has no protocol to be told.
    fn close_attempt(&mut self, attempt: Token) {
        if find_attempt(&mut self.sockets, attempt).is_some() {
            self.sockets.try_remove(attempt.slot());
        }
    }

    fn fail_dial(&mut self, token: Token, why: &str) {
        let Some(dial) = find(&mut self.sockets, token).and_then(Connection::dial) else { return };
        let to = with_port(&dial.host, dial.port);
        self.end(token, Reason::ConnectFailed { to, why: why.to_owned() });
    }

    /// A connection ends, or is made: nothing goes on that was begun to make it.
    pub(in crate::reactor) fn stop_dialling(&mut self, token: Token) -> Option<Box<Dial>> {
        let dial = find(&mut self.sockets, token).and_then(Connection::take_dial)?;
        for attempt in dial.attempts.in_flight() {
            self.close_attempt(attempt);
        }
        self.look_ups.leave(&dial.host, token);
        Some(dial)
    }

    /// The kernel has news of an attempt.
    pub(in crate::reactor) fn note_attempt(&mut self, token: Token, event: &mio::event::Event) {
        if let Some(attempt) = find_attempt(&mut self.sockets, token) {
            attempt.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
            attempt.announced |= event.is_read_closed() || event.is_error() || event.is_priority();
            if !std::mem::replace(&mut attempt.in_ready, true) {
                self.ready.push_back(token);
            }
        }
    }

    /// Asks what has become of an attempt. A first readiness is not yet success: the socket's error has to
    /// be asked for, and a peer address shows that it is connected at all (mio's documentation of
    /// `TcpStream::connect`). Gives the connection that is made with it.
    pub(in crate::reactor) fn check_attempt(&mut self, token: Token) -> Option<Token> {
        let attempt = find_attempt(&mut self.sockets, token)?;
        attempt.in_ready = false;
        let dial = attempt.dial;
        let why = match outcome(&attempt.stream) {
            Ok(false) => return None,
            Ok(true) if is_connected_to_itself(&attempt.stream) => {
                close_with_reset(&attempt.stream);
                io::Error::new(
                    ErrorKind::ConnectionRefused,
                    "connection refused (the socket had connected to itself)",
                )
            }
            Ok(true) => match self.take_over(token) {
                Ok(()) => return self.begin_speaking(dial).then_some(dial),
                Err(e) => e,
            },
            Err(e) => e,
        };
        self.close_attempt(token);
        let connection = find(&mut self.sockets, dial)?;
        connection.dial()?.attempts.failed(token, plain(&why));
        self.carry_on_dialling(dial);
        None
    }

    /// The dial goes on with the socket of this attempt, under its own name. What the kernel has told of the
    /// socket so far holds for the connection; what may come after is told anew when it is registered again.
    fn take_over(&mut self, token: Token) -> io::Result<()> {
        let Some(attempt) = find_attempt(&mut self.sockets, token) else { return Ok(()) };
        let dial = attempt.dial;
        attempt.stream.register_again(self.poll.registry(), dial.to_mio())?;
        let Some(Socket { kind: Kind::Attempt(attempt), .. }) =
            self.sockets.try_remove(token.slot())
        else {
            return Ok(());
        };
        if let Some(connection) = find(&mut self.sockets, dial) {
            connection.stream = Some(attempt.stream);
            connection.peer = Peer::Tcp(attempt.address).into();
            connection.writable = true;
            (connection.readable, connection.announced) = (attempt.readable, attempt.announced);
        }
        Ok(())
    }

    /// Connected: speak, or shake hands first.
    fn begin_speaking(&mut self, token: Token) -> bool {
        self.clear_limit(token);
        let Some(dial) = self.stop_dialling(token) else { return false };
        let Some(connection) = find(&mut self.sockets, token) else { return false };
        let name = dial.options.tls_name.as_ref().unwrap_or(&dial.host);
        match dial.options.tls.as_ref().map(|tls| TlsSession::client(tls, name)).transpose() {
            Ok(None) => {
                connection.phase = Phase::Open;
                self.note_that_it_worked(token);
            }
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

    /// A connection that this side dialled is made, TLS and all: its address is the first to be tried the next
    /// time.
    pub(in crate::reactor) fn note_that_it_worked(&mut self, token: Token) {
        let connection = self.connection(token).filter(|c| c.standing.is_none());
        if let Some(Peer::Tcp(address)) = connection.map(|c| c.peer.get()) {
            self.look_ups.worked(address);
        }
    }

    /// A connection ends whose TLS handshake never did. Where this side dialled it, its address is the last
    /// to be tried the next time.
    pub(in crate::reactor) fn note_that_it_broke(&mut self, token: Token) {
        let shakes_hands = |c: &&Connection| c.standing.is_none() && c.phase == Phase::Handshaking;
        let connection = self.connection(token).filter(shakes_hands);
        if let Some(Peer::Tcp(address)) = connection.map(|c| c.peer.get()) {
            self.look_ups.broke(address);
        }
    }

    /// The time limit of a connection's present phase has run out.
    pub(in crate::reactor) fn phase_over(&mut self, token: Token) {
        let Some(connection) = find(&mut self.sockets, token) else { return };
        connection.timer = None;
        match connection.phase {
            Phase::LookingUp | Phase::Connecting => self.carry_on_dialling(token),
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
fn outcome(stream: &Stream) -> io::Result<bool> {
    let Stream::Tcp(stream) = stream else { return Ok(false) };
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
fn is_connected_to_itself(stream: &Stream) -> bool {
    let Stream::Tcp(stream) = stream else { return false };
    matches!((stream.local_addr(), stream.peer_addr()), (Ok(local), Ok(peer)) if local == peer)
}

/// Has the close of this socket send a reset, so that its port is free at once and not in TIME-WAIT.
fn close_with_reset(stream: &Stream) {
    if let Stream::Tcp(stream) = stream {
        // A failure leaves an ordinary close, which holds the port for a minute.
        let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
    }
}

/// A host and a port as an address is written: IPv6 in brackets (RFC 3986, section 3.2.2).
fn with_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// The attempt of that name, if it still is.
pub(in crate::reactor) fn find_attempt(
    sockets: &mut Slab<Socket>,
    token: Token,
) -> Option<&mut Attempt> {
    match sockets.get_mut(token.slot()) {
        Some(Socket { generation, kind: Kind::Attempt(attempt) })
            if *generation == token.generation() =>
        {
            Some(attempt)
        }
        _ => None,
    }
}

fn not_looked_up(why: &str) -> String {
    format!("the name cannot be looked up: {why}")
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
    fn an_address_with_a_port_has_brackets_only_around_ipv6() {
        for (host, written) in
            [("::1", "[::1]:9"), ("127.0.0.1", "127.0.0.1:9"), ("kiwi.example", "kiwi.example:9")]
        {
            assert_eq!(with_port(host, 9), written);
        }
    }
}
