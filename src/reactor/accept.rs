//! Accepting connections, also when the process is out of descriptors.
//!
//! A listener that cannot accept just now stays marked as ready and is tried again by a delayed call:
//! its edge has been and gone, and trying at once would spin. Meanwhile those who knock wait in the
//! kernel's backlog and everybody who is in is served. Called by the turn.

use std::io::{self, ErrorKind};

use mio::net::{TcpListener, UnixListener};

use super::connection::{Connection, Phase};
use super::limits::{ACCEPT_RETRY, HANDSHAKE_TIMEOUT};
use super::slots::{Due, Kind, Socket, find};
use super::tls::TlsSession;
use super::transport::Stream;
use super::{Application, Io, Peer, TlsServer, Token};

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

pub(super) enum ListenerSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

pub(super) struct Listener {
    pub socket: ListenerSocket,
    pub speech: Speech,
    /// A delayed call will try again.
    pub paused: bool,
    /// The log has been told of the present shortage.
    pub told: bool,
}

impl Listener {
    pub fn new(socket: ListenerSocket, speech: Speech) -> Self {
        Self { socket, speech, paused: false, told: false }
    }
}

/// A socket from the backlog.
pub(super) struct Arrival {
    stream: Stream,
    pub peer: Peer,
    speech: Begun,
}

/// How a connection begins, by what its listener's connections speak.
enum Begun {
    Open,
    Handshake(Box<TlsSession>),
    Undecided(TlsServer),
}

/// What one attempt to accept brought.
pub(super) enum Accepted {
    Arrival(Arrival),
    /// Somebody who had gone again, or cannot be served.
    Gone,
    /// Nobody waits, or accepting pauses.
    Nobody,
}

impl<A: Application> Io<A> {
    /// The next connection from a listener's backlog, if there is one and there is room for it.
    pub(super) fn accept(&mut self, token: Token) -> Accepted {
        let full = self.stats.accepted >= self.connections_max;
        let listener = find_listener(&mut self.sockets, token).filter(|l| !l.paused);
        let Some(listener) = listener else { return Accepted::Nobody };
        if full {
            self.pause_accepting(token, "the limit of connections is reached");
            return Accepted::Nobody;
        }
        match listener.socket.accept() {
            Ok((stream, peer)) => {
                listener.told = false;
                match listener.speech.begin() {
                    Ok(speech) => Accepted::Arrival(Arrival { stream, peer, speech }),
                    Err(why) => {
                        log::error!("a TLS connection from {peer} is refused: {why}");
                        Accepted::Gone
                    }
                }
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => Accepted::Nobody,
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

    /// Gives an accepted socket its place in the slab and its registration.
    pub(super) fn admit(&mut self, arrival: Arrival) -> io::Result<Token> {
        let Arrival { mut stream, peer, speech } = arrival;
        if let Stream::Tcp(tcp) = &stream {
            // The turn's end gathers what belongs together; waiting for more would only delay it.
            let _ = tcp.set_nodelay(true);
        }
        stream.register(self.poll.registry(), self.next_token().to_mio())?;
        let mut connection = Connection::new(Some(stream), peer, Phase::Open);
        match speech {
            Begun::Open => {}
            Begun::Handshake(session) => {
                (connection.phase, connection.tls) = (Phase::Handshaking, Some(session));
            }
            Begun::Undecided(tls) => {
                (connection.phase, connection.undecided) = (Phase::Undecided, Some(tls));
            }
        }
        let phase = connection.phase;
        connection.accepted = true;
        self.stats.accepted += 1;
        let token = self.keep(Kind::Connection(connection));
        if phase == Phase::Handshaking {
            self.limit_phase(token, HANDSHAKE_TIMEOUT);
        }
        Ok(token)
    }

    /// Forgets an accepted socket that got no protocol.
    pub(super) fn turn_away(&mut self, token: Token) {
        self.clear_limit(token);
        if find(&mut self.sockets, token).is_some() {
            self.sockets.remove(token.slot());
            self.stats.accepted -= 1;
        }
    }

    fn pause_accepting(&mut self, token: Token, why: &str) {
        if let Some(listener) = find_listener(&mut self.sockets, token) {
            listener.paused = true;
            if !std::mem::replace(&mut listener.told, true) {
                log::warn!("accepting pauses: {why}; those who are connected are served");
            }
            self.timers.add(self.now + ACCEPT_RETRY, Due::AcceptAgain(token));
        }
    }

    pub(super) fn resume_accepting(&mut self, token: Token) {
        if let Some(listener) = find_listener(&mut self.sockets, token) {
            listener.paused = false;
            self.ready.push_back(token);
        }
    }
}

impl Speech {
    fn begin(&self) -> Result<Begun, String> {
        Ok(match self {
            Self::Plain => Begun::Open,
            Self::Tls(tls) => Begun::Handshake(Box::new(TlsSession::server(tls)?)),
            Self::Either(tls) => Begun::Undecided(tls.clone()),
        })
    }
}

impl ListenerSocket {
    fn accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            Self::Tcp(socket) => {
                socket.accept().map(|(stream, from)| (Stream::Tcp(stream), Peer::Tcp(from)))
            }
            Self::Unix(socket) => {
                socket.accept().map(|(stream, _)| (Stream::Unix(stream), Peer::Unix))
            }
        }
    }
}

fn find_listener(sockets: &mut slab::Slab<Socket>, token: Token) -> Option<&mut Listener> {
    match sockets.get_mut(token.slot()) {
        Some(Socket { generation, kind: Kind::Listener(listener) })
            if *generation == token.generation() =>
        {
            Some(listener)
        }
        _ => None,
    }
}
