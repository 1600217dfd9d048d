//! Step 7: it dials, too.
//!
//! # The experiment
//!
//! Step 6 kept a report to itself. Here a report goes to the neighbour first, and its client is answered
//! when the neighbour has said that it has it. Two servers, and a line through both:
//!
//! ```text
//! $ cargo run --example ladder_7 127.0.0.1:12017 60 &
//! $ cargo run --example ladder_7 127.0.0.1:12007 60 127.0.0.1:12017 &
//! $ echo 'IAMAT kiwi +34-118 1' | nc -q 1 127.0.0.1 12007
//! AT ladder kiwi +34-118 1
//! ```
//!
//! `connect` only begins. The first event of the socket does not say that it is connected, only that
//! something has happened: `take_error` tells whether it failed, `peer_addr` whether it is there. A
//! neighbour that is away is dialled again after a second, by a delayed call, and nobody waits for it.
//!
//! # What is wrong with it
//!
//! The neighbour's receipt is owed to a client that is remembered by its *key in the slab*. The client
//! may leave before it comes, and another get its key. Let a neighbour that never answers listen
//! (`nc -l 127.0.0.1 12017`), report something with one client and end it, connect with a second, and
//! then type a line into the neighbour: the second client gets the reply of the first.
//!
//! Question: which other names in this file outlive what they name?

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::env;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

/// The longest reply to `SLOW`, so that one line cannot ask for all memory.
const SLOW_MAX_BYTES: usize = 50_000_000;
/// The longest line, so that a client that never ends one cannot fill the memory.
const LINE_MAX_BYTES: usize = 16_384;
/// A client with so much output is not read.
const HIGH_WATER_BYTES: usize = 65_536;
/// Tokens that no client has: the slab counts from 0.
const LISTENER: Token = Token(usize::MAX);
const NEIGHBOUR: Token = Token(usize::MAX - 1);
/// A neighbour that is away is dialled again after this.
const REDIAL: Duration = Duration::from_secs(1);

/// A client, or the neighbour.
struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    read_closed: bool,
    /// When the peer last sent something.
    heard: Instant,
    /// A client waits for the neighbour's receipt; the neighbour's own connection is not up yet.
    waits: bool,
}

struct Server {
    poll: Poll,
    clients: Slab<Connection>,
    /// Who is to be looked at, and when: the earliest on top.
    calls: BinaryHeap<Reverse<(Instant, usize)>>,
    idle_limit: Duration,
    neighbour: Option<SocketAddr>,
    link: Option<Connection>,
    /// Who waits for a receipt, with the reply: in the order in which the receipts will come.
    asked: VecDeque<(usize, Vec<u8>)>,
}

fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:12007".to_owned());
    let seconds = env::args().nth(2).and_then(|seconds| seconds.parse().ok());
    let mut listener = TcpListener::bind(address.parse().map_err(io::Error::other)?)?;
    println!("listening on {}", listener.local_addr()?);
    let poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut server = Server {
        poll,
        clients: Slab::new(),
        calls: BinaryHeap::new(),
        idle_limit: Duration::from_secs(seconds.unwrap_or(60)),
        neighbour: env::args().nth(3).and_then(|address| address.parse().ok()),
        link: None,
        asked: VecDeque::new(),
    };
    server.dial();
    let mut events = Events::with_capacity(1024);
    loop {
        let next = server.calls.peek().map(|Reverse((due, _))| *due);
        let limit = next.map(|due| due.saturating_duration_since(Instant::now()));
        server.poll.poll(&mut events, limit)?;
        server.run_due(Instant::now());
        for event in &events {
            match event.token() {
                LISTENER => while server.accept(&listener)? {},
                NEIGHBOUR => server.serve_link(),
                Token(key) => server.serve(key),
            }
        }
    }
}

impl Server {
    fn run_due(&mut self, now: Instant) {
        while let Some(Reverse((_, key))) = self.calls.peek().copied().filter(|c| c.0.0 <= now) {
            self.calls.pop();
            if key == NEIGHBOUR.0 {
                self.dial();
            } else if let Some(client) = self.clients.get(key) {
                let ends = client.heard + self.idle_limit;
                if ends <= now {
                    self.clients.remove(key);
                } else {
                    self.calls.push(Reverse((ends, key)));
                }
            }
        }
    }

    fn accept(&mut self, listener: &TcpListener) -> io::Result<bool> {
        let (stream, _) = match listener.accept() {
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
            accepted => accepted?,
        };
        let key = self.clients.vacant_key();
        let client = Connection::new(stream, &self.poll, Token(key), false)?;
        self.calls.push(Reverse((client.heard + self.idle_limit, key)));
        self.clients.insert(client);
        Ok(true)
    }

    /// Begins to connect. The socket's first event tells how it went.
    fn dial(&mut self) {
        let Some(address) = self.neighbour else { return };
        let begun = TcpStream::connect(address);
        match begun.and_then(|stream| Connection::new(stream, &self.poll, NEIGHBOUR, true)) {
            Ok(link) => self.link = Some(link),
            Err(_) => self.lose_link(),
        }
    }

    fn lose_link(&mut self) {
        self.link = None;
        self.calls.push(Reverse((Instant::now() + REDIAL, NEIGHBOUR.0)));
        for (key, reply) in std::mem::take(&mut self.asked) {
            self.reply(key, &reply);
        }
    }

    /// Reads the neighbour's receipts, a line each, and answers who waits for them.
    fn serve_link(&mut self) {
        let Some(link) = &mut self.link else { return };
        let alive = link.exchange();
        let mut receipts = 0;
        while link.next_line().is_some() {
            receipts += 1;
        }
        for (key, reply) in self.asked.drain(..receipts.min(self.asked.len())).collect::<Vec<_>>() {
            self.reply(key, &reply);
        }
        if !alive.unwrap_or(false) {
            self.lose_link();
        }
    }

    fn reply(&mut self, key: usize, reply: &[u8]) {
        let Some(client) = self.clients.get_mut(key) else { return };
        client.output.extend_from_slice(reply);
        client.waits = false;
        self.serve(key);
    }

    fn serve(&mut self, key: usize) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let stays = loop {
            while !client.waits
                && client.output.len() <= HIGH_WATER_BYTES
                && let Some(line) = client.next_line()
            {
                let reply = answer(&line);
                match self.link.as_mut().filter(|link| !link.waits && reply.starts_with(b"AT")) {
                    Some(link) => {
                        link.output.extend_from_slice(&reply);
                        client.waits = true;
                        self.asked.push_back((key, reply));
                    }
                    None => client.output.extend_from_slice(&reply),
                }
            }
            let before = (client.input.len(), client.output.len());
            match client.exchange() {
                Ok(alive) if !alive || client.input.len() > LINE_MAX_BYTES => {
                    break client.waits || !client.output.is_empty();
                }
                Err(_) => break false,
                _ if before == (client.input.len(), client.output.len()) => break true,
                _ => {}
            }
        };
        if !stays {
            self.clients.remove(key);
        }
        if let Some(link) = self.link.as_mut().filter(|link| !link.waits) {
            // An error shows at the link's next event, too.
            let _ = link.flush();
        }
    }
}
