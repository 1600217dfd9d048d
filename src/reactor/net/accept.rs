//! Accepting connections, also when the process is out of descriptors.
//!
//! A listener that cannot accept just now stays marked as ready and is tried again by a delayed call:
//! its edge has been and gone, and trying at once would spin. Meanwhile those who knock wait in the
//! kernel's backlog and everybody who is in is served. Past a limit a few are let in on probation, see
//! `probation.rs`. Called by the turn.

use std::io::{self, ErrorKind};

use mio::net::{TcpListener, UnixListener};

use crate::reactor::bounds::addresses::Admission;
use crate::reactor::bounds::limits::ACCEPT_RETRY;
use crate::reactor::connection::stream::Stream;
use crate::reactor::connection::{Connection, Layer, Phase};
use crate::reactor::io::sockets::{Due, Kind, Socket, find};
use crate::reactor::net::options::tune_accepted;
use crate::reactor::net::probation::{Lack, Room, Standing};
use crate::reactor::tls::session::TlsSession;
use crate::reactor::{About, Application, Io, Peer, TlsServer, Token};

/// What a listener's connections speak. Their protocols do not notice, and may ask ([`Io::peer_is`]).
#[derive(Clone, Default)]
pub enum Speech {
    /// Text, as it comes.
    #[default]
    Plain,
    /// TLS.
    Tls(TlsServer),
    /// Each as it likes: the first byte tells. Until it has come nothing is sent, so this is for
    /// protocols in which the client speaks first.
    Either(TlsServer),
}

pub(in crate::reactor) enum ListenerSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
    /// Fails with these errors, last first: what a test cannot make a kernel do.
    #[cfg(test)]
    Failing(Vec<ErrorKind>),
}

#[expect(clippy::struct_excessive_bools, reason = "independent facts, not one state")]
pub(in crate::reactor) struct Listener {
    pub socket: ListenerSocket,
    pub speech: Speech,
    /// Only for those who prove themselves, see `probation.rs`.
    pub proof_only: bool,
    /// It closes as soon as nobody waits any more.
    pub closing: bool,
    /// A delayed call will try again.
    pub paused: bool,
    /// The log has been told of the present shortage, which is over when nobody waits any more.
    pub told: bool,
    /// Stands in the queue of sockets to read or to accept from.
    pub in_ready: bool,
}

impl Listener {
    pub fn new(socket: ListenerSocket, speech: Speech) -> Self {
        Self {
            socket,
            speech,
            proof_only: false,
            closing: false,
            paused: false,
            told: false,
            in_ready: false,
        }
    }

    /// Whether its connections can be on probation: programs on this machine are always welcome.
    pub fn is_tcp(&self) -> bool {
        matches!(self.socket, ListenerSocket::Tcp(_))
    }
}

/// A socket from the backlog.
pub(in crate::reactor) struct Arrival {
    stream: Stream,
    pub peer: Peer,
    speech: Speech,
    listener: Token,
    /// What it is past; `None`: nothing.
    lack: Option<Lack>,
}

/// What one attempt to accept brought.
pub(in crate::reactor) enum Accepted {
    Arrival(Arrival),
    /// Somebody who had gone again, or cannot be served.
    Gone,
    /// Nobody waits, or accepting pauses.
    Nobody,
}

impl<A: Application> Io<A> {
    /// The next connection from a listener's backlog, if there is one and there is room for it.
    pub(in crate::reactor) fn accept(&mut self, token: Token) -> Accepted {
        let listener = find_listener(&mut self.sockets, token).filter(|l| !l.paused);
        let Some(listener) = listener else { return Accepted::Nobody };
        // Not so for programs on this machine: whoever looks after a full server must get in.
        let is_full = self.probation.counted >= self.limits.connections;
        let mut lack = match (listener.is_tcp(), listener.proof_only) {
            (false, _) => None,
            (true, true) => Some(Lack::Proof),
            (true, false) => is_full.then_some(Lack::Place),
        };
        let room = if lack.is_some() { self.room_on_probation(token) } else { Room::Free };
        if room == Room::None {
            self.pause_accepting(token, FULL);
            return Accepted::Nobody;
        }
        let Some(listener) = find_listener(&mut self.sockets, token) else {
            return Accepted::Nobody;
        };
        match listener.socket.accept() {
            Ok((stream, peer)) => {
                let speech = listener.speech.clone();
                if lack == Some(Lack::Place) && !std::mem::replace(&mut listener.told, true) {
                    self.warn_of_pause(FULL);
                }
                self.make_room(room);
                if lack.is_none() && self.is_too_many(peer) {
                    let room = self.room_on_probation(token);
                    if room == Room::None {
                        return Accepted::Gone;
                    }
                    self.make_room(room);
                    lack = Some(Lack::PlaceOfItsAddress);
                }
                Accepted::Arrival(Arrival { stream, peer, speech, listener: token, lack })
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                listener.told &= is_full;
                if listener.closing {
                    self.sockets.try_remove(token.slot());
                }
                Accepted::Nobody
            }
            // The one who knocked has gone again, or a signal came in between: the next one.
            Err(e) if matches!(e.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => {
                Accepted::Gone
            }
            // Out of descriptors or memory (EMFILE, ENFILE, ENOBUFS, ENOMEM, for which the standard
            // library has no kinds), or something that nobody has thought of: a listener that fails
            // for good must not hold the loop.
            Err(e) => {
                self.pause_accepting(token, &e.to_string());
                Accepted::Nobody
            }
        }
    }

    /// Whether a peer's address has as many connections as it may. Counts it in if not.
    fn is_too_many(&mut self, peer: Peer) -> bool {
        let max = self.limits.connections_per_address.unwrap_or(usize::MAX);
        let admission = self.addresses.enter(peer, max);
        if let (Admission::TooMany { tell: true }, Some(ip)) = (admission, peer.ip()) {
            let words = format_args!(
                "{ip} has {max} connections, as many as one address may; more are closed, and this is not \
                 logged again before it has few"
            );
            self.warn("too many of an address", About::Address(ip), 0, words);
        }
        admission != Admission::Welcome
    }

    /// Gives an accepted socket its place in the slab and its registration. The error says what is in
    /// the way; then the socket is closed.
    pub(in crate::reactor) fn admit(&mut self, arrival: Arrival) -> Result<Token, String> {
        let Arrival { peer, listener, lack, .. } = arrival;
        let begun = self.begin(arrival);
        if begun.is_err() && lack.is_none() {
            self.addresses.leave(peer);
        }
        let mut connection = begun?;
        let phase = connection.phase;
        let standing = lack.map_or(Standing::Counted, |_| Standing::OnProbation);
        connection.standing = Some(standing);
        let token = self.keep(Kind::Connection(connection));
        self.take_place(token, listener, lack);
        if phase == Phase::Handshaking {
            self.limit_phase(token, self.limits.handshake_timeout);
        }
        if peer.ip().is_some() {
            self.watch_silence(token);
        }
        Ok(token)
    }

    fn begin(&self, arrival: Arrival) -> Result<Connection, String> {
        let Arrival { mut stream, peer, speech, .. } = arrival;
        if let Stream::Tcp(tcp) = &stream {
            tune_accepted(tcp, self.limits.keepalive);
        }
        let name = self.next_token().to_mio();
        stream.register(self.poll.registry(), name).map_err(|e| e.to_string())?;
        let mut connection = Connection::new(Some(stream), peer, Phase::Open);
        match speech {
            Speech::Plain => {}
            Speech::Tls(tls) => {
                connection.phase = Phase::Handshaking;
                connection.layer = Layer::Tls(Box::new(TlsSession::server(&tls)?));
            }
            Speech::Either(tls) => {
                (connection.phase, connection.layer) = (Phase::Undecided, Layer::Undecided(tls));
            }
        }
        Ok(connection)
    }

    /// Forgets an accepted socket that got no protocol.
    pub(in crate::reactor) fn turn_away(&mut self, token: Token) {
        self.stop_watching(token);
        if let Some(connection) = find(&mut self.sockets, token) {
            let (standing, peer) = (connection.standing, connection.peer.get());
            self.sockets.remove(token.slot());
            if let Some(standing) = standing {
                self.free_place(token, standing, peer);
            }
        }
    }

    fn pause_accepting(&mut self, token: Token, why: &str) {
        if let Some(listener) = find_listener(&mut self.sockets, token) {
            listener.paused = true;
            if !std::mem::replace(&mut listener.told, true) {
                self.warn_of_pause(why);
            }
            self.timers.add(self.now + ACCEPT_RETRY, Due::AcceptAgain(token));
        }
    }

    fn warn_of_pause(&mut self, why: &str) {
        let words = format_args!("accepting pauses: {why}; those who are connected are served");
        self.warn("accepting pauses", About::Everybody, 0, words);
    }

    pub(in crate::reactor) fn resume_accepting(&mut self, token: Token) {
        if let Some(listener) = find_listener(&mut self.sockets, token) {
            listener.paused = false;
            self.queue_accept(token);
        }
    }

    /// Queues a listener, unless it stands there already.
    pub(in crate::reactor) fn queue_accept(&mut self, token: Token) {
        let listener = find_listener(&mut self.sockets, token).filter(|l| !l.in_ready);
        if let Some(listener) = listener {
            listener.in_ready = true;
            self.ready.push_back(token);
        }
    }
}

/// Why accepting pauses that has no error.
const FULL: &str = "the limit of connections is reached";

impl ListenerSocket {
    fn accept(&mut self) -> io::Result<(Stream, Peer)> {
        match self {
            Self::Tcp(socket) => {
                socket.accept().map(|(stream, from)| (Stream::Tcp(stream), Peer::Tcp(from)))
            }
            Self::Unix(socket) => {
                socket.accept().map(|(stream, _)| (Stream::Unix(stream), Peer::Unix))
            }
            #[cfg(test)]
            Self::Failing(errors) => Err(errors.pop().unwrap_or(ErrorKind::WouldBlock).into()),
        }
    }
}

pub(in crate::reactor) fn find_listener(
    sockets: &mut slab::Slab<Socket>,
    token: Token,
) -> Option<&mut Listener> {
    match sockets.get_mut(token.slot()) {
        Some(Socket { generation, kind: Kind::Listener(listener) })
            if *generation == token.generation() =>
        {
            Some(listener)
        }
        _ => None,
    }
}
