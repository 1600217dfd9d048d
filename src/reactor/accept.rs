//! Accepting connections, also when the process is out of descriptors.
//!
//! A listener that cannot accept just now stays marked as ready and is tried again by a delayed call:
//! its edge has been and gone, and trying at once would spin. Meanwhile those who knock wait in the
//! kernel's backlog and everybody who is in is served. Called by the turn.

use std::io::{self, ErrorKind};

use mio::net::{TcpListener, UnixListener};

use super::connection::{Connection, Phase};
use super::io::{Due, Kind, Socket, find};
use super::limits::{ACCEPT_RETRY, HANDSHAKE_TIMEOUT};
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

/// Errors that say "not now" of the whole process, not of one connection. By number, for the standard
/// library has no kinds for them: ENFILE, EMFILE, ENOBUFS, ENOMEM on Linux.
const OUT_OF_RESOURCES: [i32; 4] = [23, 24, 105, 12];

impl<A: Application> Io<A> {
    /// The next connection from a listener's backlog, if there is one and there is room for it.
    pub(super) fn accept(&mut self, token: Token) -> Option<Arrival> {
        let full = self.stats.accepted >= self.connections_max;
        let listener = find_listener(&mut self.sockets, token).filter(|l| !l.paused)?;
        if full {
            self.pause_accepting(token, "the limit of connections is reached");
            return None;
        }
        loop {
            match listener.socket.accept() {
                Ok((stream, peer)) => {
                    listener.told = false;
                    match listener.speech.begin() {
                        Ok(speech) => return Some(Arrival { stream, peer, speech }),
                        Err(why) => log::error!("a TLS connection from {peer} is refused: {why}"),
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return None,
                Err(e) if e.raw_os_error().is_some_and(|n| OUT_OF_RESOURCES.contains(&n)) => {
                    self.pause_accepting(token, &e.to_string());
                    return None;
                }
                // The one who knocked has gone again (ECONNABORTED and its kin): the next one.
                Err(e) => log::debug!("a connection was gone before it was accepted: {e}"),
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
