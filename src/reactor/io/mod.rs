//! Everything a handler may ask for: the sockets, the delayed calls and the queues of one reactor.
//!
//! `Io` records intentions and never calls a handler; the turn (`turn.rs`) carries them out when no
//! callback is running. That is why a callback may ask for anything about any socket, its own
//! included, and meet no surprise before it has returned. Called by handlers, and by the turn.

mod flow;
mod queues;
pub(super) mod sockets;
mod stopping;
pub(super) mod watch;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Poll, Waker};
use slab::Slab;

use crate::reactor::bounds::addresses::Addresses;
use crate::reactor::bounds::limits::Limits;
use crate::reactor::bounds::warnings::Warnings;
use crate::reactor::connection::stream::Spare;
use crate::reactor::connection::{Connection, Phase};
use crate::reactor::io::sockets::{
    Birth, Due, Handler, Kind, SIGNALS, Socket, Stopping, Target, WAKER, find,
};
use crate::reactor::net::accept::{Listener, ListenerSocket, find_listener};
use crate::reactor::net::look_up::{Answer, LookUps, ask_the_system};
use crate::reactor::net::options::tune_listener;
use crate::reactor::net::probation::Probation;
use crate::reactor::threads::signals::Signals;
use crate::reactor::threads::workers::{Refused, Threads};
use crate::reactor::timers::{DelayedCall, Timers};
use crate::reactor::{Application, Factory, Peer, Protocol, Reason, Speech, Token};

/// What the loop knows of itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// Turns of the loop since the start.
    pub turns: u64,
    /// The longest time that one turn took between two sleeps, by the clock.
    pub longest_turn: Duration,
    /// The most processor time that one turn used. Not asked of turns that a single event has brought.
    pub longest_turn_cpu: Duration,
    /// Connections accepted and not yet gone.
    pub accepted: usize,
}

/// How [`Io::listen_tcp`] listens.
#[derive(Clone, Default)]
pub struct ListenOptions {
    /// What accepted connections speak.
    pub speech: Speech,
    /// Whether it is for those alone who prove themselves in time ([`Io::set_apart`]). Such a listener
    /// has places on probation of its own, which no crowd at another one takes.
    pub proof_only: bool,
}

/// The sockets, delayed calls and queues of one reactor. See the module's head.
pub struct Io<A: Application> {
    pub(in crate::reactor) poll: Poll,
    pub(in crate::reactor) sockets: Slab<Socket>,
    pub(in crate::reactor) next_generation: u32,
    pub(in crate::reactor) now: Instant,
    pub(in crate::reactor) wall: SystemTime,
    pub(in crate::reactor) timers: Timers<Due<A::Event>>,
    pub(in crate::reactor) threads: Threads<A::Event>,
    pub(in crate::reactor) look_ups: LookUps,
    /// What looks a name up. Runs on the threads of the pool.
    pub(in crate::reactor) resolver: Arc<dyn Fn(&str) -> Answer + Send + Sync>,
    pub(in crate::reactor) signals: Option<Signals>,
    pub(in crate::reactor) stats: Stats,
    pub(in crate::reactor) stopping: Stopping,
    pub(in crate::reactor) limits: Limits,
    /// Who has how many of the accepted connections.
    pub(in crate::reactor) addresses: Addresses,
    /// What was warned of a moment ago.
    pub(in crate::reactor) warnings: Warnings,
    /// Who is past a limit, and whom no limit holds for.
    pub(in crate::reactor) probation: Probation,
    /// Used output buffers for the next connection that has something to say.
    pub(in crate::reactor) spare: Spare,

    /// How much input the present step of the turn may still take up, bytes.
    pub(in crate::reactor) input_left: usize,

    // The queues, in the order in which a turn comes to them.
    /// Handlers born during a callback; they move in whenever one has returned.
    pub(in crate::reactor) births: VecDeque<(Token, Handler<A>, Birth)>,
    /// A signal has come.
    pub(in crate::reactor) signalled: bool,
    /// Some thread has results.
    pub(in crate::reactor) woken: bool,
    /// Links to read.
    pub(in crate::reactor) urgent_ready: VecDeque<Token>,
    /// Events that handlers sent each other.
    pub(in crate::reactor) posted: VecDeque<(Target, A::Event)>,
    /// Whose output has drained.
    pub(in crate::reactor) drained: VecDeque<Token>,
    /// Everybody else to read, or to accept from.
    pub(in crate::reactor) ready: VecDeque<Token>,
    /// To flush: links first, then everybody else.
    pub(in crate::reactor) urgent_writes: VecDeque<Token>,
    pub(in crate::reactor) writes: VecDeque<Token>,
    /// To be told that they are lost, and freed.
    pub(in crate::reactor) ended: VecDeque<(Token, Reason)>,
    /// The sweep has told some. What they changed is handed on at the end of another turn, which must
    /// not wait for news from outside.
    pub(in crate::reactor) told_after_turn_end: bool,
}

impl<A: Application> Io<A> {
    pub(in crate::reactor) fn new(limits: Limits) -> io::Result<Self> {
        let poll = Poll::new()?;
        let threads = Threads::new(Waker::new(poll.registry(), WAKER)?);
        Ok(Self {
            poll,
            sockets: Slab::new(),
            next_generation: 0,
            now: Instant::now(),
            wall: SystemTime::now(),
            timers: Timers::default(),
            threads,
            look_ups: LookUps::default(),
            resolver: Arc::new(ask_the_system),
            signals: None,
            stats: Stats::default(),
            stopping: Stopping::No,
            probation: Probation::new(limits.connections),
            limits,
            addresses: Addresses::default(),
            warnings: Warnings::new(Instant::now()),
            spare: Spare::default(),
            input_left: 0,
            births: VecDeque::new(),
            signalled: false,
            woken: false,
            urgent_ready: VecDeque::new(),
            posted: VecDeque::new(),
            drained: VecDeque::new(),
            ready: VecDeque::new(),
            urgent_writes: VecDeque::new(),
            writes: VecDeque::new(),
            ended: VecDeque::new(),
            told_after_turn_end: false,
        })
    }

    /// The turn's one reading of the monotonic clock, for delays.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The turn's one reading of the wall clock, for people. It may jump.
    pub fn wall_clock(&self) -> SystemTime {
        self.wall
    }

    /// Turns so far, the longest of them, connections.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Who is at the other end, while it is known.
    pub fn peer(&self, token: Token) -> Option<Peer> {
        self.connection(token).map(|connection| connection.peer.get())
    }

    /// Whether the peer has proven to be `name`: the connection speaks TLS 1.3, and the peer has shown a
    /// certificate for that name, of an authority that this side trusts, and has the key to it. Nothing
    /// that is said on the connection changes this. Names are compared without regard to case.
    pub fn peer_is(&self, token: Token, name: &str) -> bool {
        let tls = self.connection(token).and_then(Connection::tls);
        tls.is_some_and(|tls| tls.peer_is(name))
    }

    /// Appends to a connection's output; the turn's end sends it. `false`: that connection is gone (or
    /// was asked to go and owes nothing), and the bytes are dropped.
    pub fn write(&mut self, to: Token, bytes: &[u8]) -> bool {
        self.write_with(to, |output| output.extend_from_slice(bytes)).is_some()
    }

    /// Composes straight into a connection's output, which saves the copy of [`Io::write`]. `compose`
    /// must only append. `None`, without calling it, when that connection is gone.
    pub fn write_with<R>(
        &mut self,
        to: Token,
        compose: impl FnOnce(&mut Vec<u8>) -> R,
    ) -> Option<R> {
        let connection = find(&mut self.sockets, to).filter(|c| c.takes_output())?;
        let composed = compose(connection.output.tail(&mut self.spare));
        connection.choked |= connection.backlog() >= self.limits.output_bytes;
        self.queue_flush(to);
        Some(composed)
    }

    /// Closes the connection once its output is sent and all that is owed is settled and sent too.
    /// Its protocol hears no more of its peer: only events, and `connection_lost`. One that is not made
    /// yet is aborted.
    pub fn lose_connection(&mut self, token: Token) {
        let Some(connection) = find(&mut self.sockets, token) else { return };
        match connection.phase {
            Phase::LookingUp | Phase::Connecting | Phase::Handshaking => {
                self.end(token, Reason::Aborted);
            }
            Phase::Undecided | Phase::Open => {
                connection.phase = Phase::Losing;
                // The flush gives it the time limit of the new phase.
                self.clear_limit(token);
                // A held-back connection may have its peer's FIN waiting to be read.
                self.queue_read(token);
                self.queue_flush(token);
            }
            Phase::Losing | Phase::Lingering | Phase::Ended => {}
        }
    }

    /// Closes the connection now; unsent output is lost.
    pub fn abort_connection(&mut self, token: Token) {
        self.end(token, Reason::Aborted);
    }

    /// A reply is due on this connection: neither the peer's FIN nor `lose_connection` may close the
    /// write side before it is settled. `false`: the connection is gone.
    pub fn owe(&mut self, token: Token) -> bool {
        let connection = find(&mut self.sockets, token).filter(|c| c.phase <= Phase::Open);
        connection.map(|c| c.owed = c.owed.saturating_add(1)).is_some()
    }

    /// One owed reply has been written, or never will be.
    pub fn settle(&mut self, token: Token) {
        if let Some(connection) = find(&mut self.sockets, token) {
            connection.owed = connection.owed.saturating_sub(1);
            if connection.owed == 0 {
                connection.silence_begins(self.now);
            }
            self.queue_flush(token);
        }
    }

    /// Gives this connection another protocol once the running callback has returned. The new one is
    /// told `connection_made`; the old one is dropped without a word.
    pub fn switch_protocol(&mut self, token: Token, protocol: Box<dyn Protocol<A>>) {
        self.births.push_back((token, Handler::Protocol(protocol), Birth::Made));
    }

    /// Delivers `event` after `delay`.
    pub fn call_later(
        &mut self,
        delay: Duration,
        target: impl Into<Target>,
        event: A::Event,
    ) -> DelayedCall {
        self.timers.add(self.after(delay), Due::Event(target.into(), event))
    }

    /// Takes a delayed call back. `false`: it has happened already.
    pub fn cancel(&mut self, call: DelayedCall) -> bool {
        self.timers.cancel(call)
    }

    /// Moves a delayed call to `delay` from now. `false`: it has happened already.
    pub fn reset(&mut self, call: DelayedCall, delay: Duration) -> bool {
        self.timers.reset(call, self.after(delay))
    }

    /// Delivers `event` when no callback is running, in this turn or the next.
    pub fn post(&mut self, target: impl Into<Target>, event: A::Event) {
        self.posted.push_back((target.into(), event));
    }

    /// Runs `job` on the worker thread called `thread`, which is begun with its first job and does its jobs in
    /// order; workers of other names do not wait for it. What `then` makes of the job's result is delivered to
    /// `target`: also when the job panicked, with the words of its panic. The error says why the job was not
    /// taken; it has been dropped.
    pub fn defer_to_thread<R: Send + 'static>(
        &mut self,
        thread: &'static str,
        target: impl Into<Target>,
        job: impl FnOnce() -> R + Send + 'static,
        then: impl FnOnce(Result<R, String>) -> A::Event + Send + 'static,
    ) -> Result<(), Refused> {
        self.threads.defer(thread, target.into(), job, then)
    }

    /// Listens on `address` (port 0: the system chooses one). The error is the system's, or that a stop
    /// is under way.
    pub fn listen_tcp(
        &mut self,
        address: SocketAddr,
        options: ListenOptions,
        factory: Box<dyn Factory<A>>,
    ) -> io::Result<Token> {
        self.refuse_when_stopping()?;
        let mut socket = TcpListener::bind(address)?;
        let token = self.next_token();
        self.poll.registry().register(&mut socket, token.to_mio(), Interest::READABLE)?;
        tune_listener(&socket, self.limits.keepalive);
        let mut listener = Listener::new(ListenerSocket::Tcp(socket), options.speech);
        listener.proof_only = options.proof_only;
        Ok(self.keep_listener(listener, factory))
    }

    /// Closes a listener, once those who wait in its backlog are accepted. Their connections stay, as do
    /// all that it has accepted.
    pub fn close_listener(&mut self, token: Token) {
        if let Some(listener) = find_listener(&mut self.sockets, token) {
            listener.closing = true;
            self.queue_accept(token);
        }
    }

    /// What the connections speak that a listener accepts from now on. Earlier ones do not notice.
    pub fn set_speech(&mut self, token: Token, speech: Speech) {
        if let Some(listener) = find_listener(&mut self.sockets, token) {
            listener.speech = speech;
        }
    }

    /// Listens on a Unix socket at `path`, which must not exist and is not removed afterwards. The error
    /// is the system's, or that a stop is under way.
    pub fn listen_unix(&mut self, path: &Path, factory: Box<dyn Factory<A>>) -> io::Result<Token> {
        self.refuse_when_stopping()?;
        let mut socket = UnixListener::bind(path)?;
        let token = self.next_token();
        self.poll.registry().register(&mut socket, token.to_mio(), Interest::READABLE)?;
        let socket = ListenerSocket::Unix(socket);
        Ok(self.keep_listener(Listener::new(socket, Speech::Plain), factory))
    }

    /// The address that a listener listens on.
    pub fn local_address(&self, token: Token) -> Option<SocketAddr> {
        match &self.sockets.get(token.slot()).filter(|s| s.generation == token.generation())?.kind {
            Kind::Listener(Listener { socket: ListenerSocket::Tcp(socket), .. }) => {
                socket.local_addr().ok()
            }
            _ => None,
        }
    }

    /// From now on SIGTERM, SIGINT, SIGHUP and SIGUSR1 are told to [`Application::signal_received`], and SIGXFSZ does
    /// not kill: a file that may not grow is an error of its writer. The error is the system's.
    pub fn catch_signals(&mut self) -> io::Result<()> {
        self.signals = Some(Signals::install(self.poll.registry(), SIGNALS)?);
        Ok(())
    }

    /// Stops in order: listeners close, accepted connections are lost once their replies are sent, then
    /// those that we made; then [`Reactor::run`](crate::reactor::Reactor::run) returns. After
    /// [`STOP_TIMEOUT`](crate::reactor::bounds::limits::STOP_TIMEOUT) what is left is aborted.
    pub fn stop(&mut self) {
        if self.stopping == Stopping::No {
            self.stopping = Stopping::Asked;
        }
    }

    /// Whether a stop is under way: nothing new should be begun.
    pub fn is_stopping(&self) -> bool {
        self.stopping != Stopping::No
    }
}
