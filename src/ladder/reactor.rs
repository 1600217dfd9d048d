//! The reactor of step 8: `src/reactor` in small. It knows nothing of clients and neighbours.
//!
//! A token is a slot in the slab and a *generation*, which is not used again. A handler is called with
//! three disjoint borrows (itself, the application, `Io`): it reaches every socket and no other handler.
//! A turn is seven steps in a fixed order. Sockets are written in step 6, and slots are freed in step 7.

use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::time::{Duration, Instant};
use std::{cmp::Reverse, io, net::SocketAddr};

use super::connection::Connection;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

/// The half of a token that is its slot (the other is the generation), and two that no connection has.
const SLOT: usize = 0xffff_ffff;
const LISTENER: Token = Token(usize::MAX);
const APPLICATION: Token = Token(usize::MAX - 1);

pub trait Application: Sized {
    /// The delayed call that it asked for is due.
    fn call_due(&mut self, io: &mut Io<Self>);
    /// All lines of this turn are handled, and nothing is written yet.
    fn turn_end(&mut self, io: &mut Io<Self>);
}

/// The behaviour of one connection.
pub trait Protocol<A> {
    fn line_received(&mut self, me: Token, line: &[u8], app: &mut A, io: &mut Io<A>);
    fn connection_lost(&mut self, _app: &mut A, _io: &mut Io<A>) {}
}

pub type Factory<A> = fn() -> Box<dyn Protocol<A>>;

/// Everything a handler may ask for. It records what is asked, and never calls a handler.
pub struct Io<A> {
    poll: Poll,
    sockets: Slab<(Token, Connection)>,
    generation: usize,
    calls: BinaryHeap<Reverse<(Instant, Token)>>,
    births: Vec<(Token, Box<dyn Protocol<A>>)>,
    ready: BTreeSet<Token>,
    writes: BTreeSet<Token>,
    ended: Vec<Token>,
}

pub struct Reactor<A> {
    pub app: A,
    pub io: Io<A>,
    handlers: HashMap<Token, Box<dyn Protocol<A>>>,
    factory: Factory<A>,
    listener: TcpListener,
    pub idle_limit: Duration,
}

/// The connection of that name, if it still is: a stranger in its slot has another generation.
fn find(sockets: &mut Slab<(Token, Connection)>, token: Token) -> Option<&mut Connection> {
    sockets.get_mut(token.0 & SLOT).filter(|(of, _)| *of == token).map(|(_, connection)| connection)
}

impl<A> Io<A> {
    /// Appends to a connection's output. `false`: it is gone.
    pub fn write(&mut self, to: Token, bytes: &[u8]) -> bool {
        let Some(connection) = find(&mut self.sockets, to) else { return false };
        connection.output.extend_from_slice(bytes);
        self.writes.insert(to);
        true
    }

    pub fn call_later(&mut self, delay: Duration) {
        self.calls.push(Reverse((Instant::now() + delay, APPLICATION)));
    }

    pub fn connect(&mut self, to: SocketAddr, by: Box<dyn Protocol<A>>) -> io::Result<Token> {
        let token = self.keep(TcpStream::connect(to)?, true)?;
        self.births.push((token, by));
        Ok(token)
    }

    fn keep(&mut self, mut stream: TcpStream, connecting: bool) -> io::Result<Token> {
        self.generation = (self.generation + 1) & 0x7fff_ffff;
        let me = Token(self.generation << 32 | self.sockets.vacant_key());
        self.poll.registry().register(&mut stream, me, Interest::READABLE | Interest::WRITABLE)?;
        self.sockets.insert((me, Connection::new(stream, connecting)));
        Ok(me)
    }
}

impl<A: Application> Reactor<A> {
    pub fn new(app: A, mut listener: TcpListener, factory: Factory<A>) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let (sockets, calls, births) = (Slab::new(), BinaryHeap::new(), Vec::new());
        let (ready, writes, ended) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        let io = Io { poll, sockets, generation: 0, calls, births, ready, writes, ended };
        let (handlers, idle_limit) = (HashMap::new(), Duration::from_secs(60));
        Ok(Self { app, io, handlers, factory, listener, idle_limit })
    }

    pub fn turn(&mut self, events: &mut Events) -> io::Result<()> {
        // 1 Sleep until the next call is due, and not at all if somebody is ready.
        let next = self.io.calls.peek().map(|Reverse((due, _))| *due);
        let next = if self.io.ready.is_empty() { next } else { Some(Instant::now()) };
        let limit = next.map(|due| due.saturating_duration_since(Instant::now()));
        self.io.poll.poll(events, limit)?;
        // 2 Note: events become entries of the queues. No handler runs yet.
        let now = Instant::now();
        let is_due = |call: &Reverse<(Instant, Token)>| call.0.0 <= now;
        for event in &*events {
            self.io.ready.insert(event.token());
            self.io.writes.insert(event.token());
        }
        // 3 Due: those delayed calls that are due now.
        while let Some(Reverse((_, token))) = self.io.calls.peek().copied().filter(is_due) {
            self.io.calls.pop();
            self.due(token, now);
        }
        // 4 Serve.
        self.handlers.extend(self.io.births.drain(..));
        for token in std::mem::take(&mut self.io.ready) {
            if token == LISTENER { self.accept()? } else { self.serve(token) }
        }
        // 5 Turn end.
        self.app.turn_end(&mut self.io);
        self.handlers.extend(self.io.births.drain(..));
        // 6 Flush. Who has room again is read without an event: its edge has come and gone.
        for token in std::mem::take(&mut self.io.writes) {
            let Some(connection) = find(&mut self.io.sockets, token) else { continue };
            let had_any = !connection.output.is_empty();
            if connection.flush().is_err() {
                self.io.ended.push(token);
            } else if had_any && connection.output.is_empty() {
                self.io.ready.insert(token);
            }
        }
        // 7 Sweep.
        for token in std::mem::take(&mut self.io.ended) {
            if let Some(mut handler) = self.handlers.remove(&token) {
                self.io.sockets.remove(token.0 & SLOT);
                handler.connection_lost(&mut self.app, &mut self.io);
            }
        }
        Ok(())
    }

    fn due(&mut self, token: Token, now: Instant) {
        if token == APPLICATION {
            self.app.call_due(&mut self.io);
        } else if let Some(connection) = find(&mut self.io.sockets, token) {
            match connection.heard + self.idle_limit {
                end if end <= now => self.io.ended.push(token),
                end => self.io.calls.push(Reverse((end, token))),
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        while let Ok((stream, _)) = self.listener.accept() {
            let token = self.io.keep(stream, false)?;
            self.handlers.insert(token, (self.factory)());
            self.io.calls.push(Reverse((Instant::now() + self.idle_limit, token)));
        }
        Ok(())
    }

    fn serve(&mut self, token: Token) {
        while let Some(connection) = find(&mut self.io.sockets, token) {
            match connection.next_line() {
                Ok(Some(line)) => {
                    if let Some(handler) = self.handlers.get_mut(&token) {
                        handler.line_received(token, &line, &mut self.app, &mut self.io);
                    }
                }
                Ok(None) => return,
                Err(_) => return self.io.ended.push(token),
            }
        }
    }
}
