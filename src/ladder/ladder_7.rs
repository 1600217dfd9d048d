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

/// A socket with what has come and not been read as a line, and what is to leave.
struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    read_closed: bool,
    /// When the peer last sent something.
    heard: Instant,
    /// A client's reply waits for the neighbour; on the neighbour's connection: it is not up yet.
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
    /// Who waits for the neighbour's receipt, and for which reply, in the order of the receipts.
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
        calls: BinaryHeap::from([Reverse((Instant::now(), NEIGHBOUR.0))]),
        idle_limit: Duration::from_secs(seconds.unwrap_or(60)),
        neighbour: env::args().nth(3).and_then(|address| address.parse().ok()),
        link: None,
        asked: VecDeque::new(),
    };
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
        while let Some(Reverse((due, key))) = self.calls.pop() {
            if due > now {
                return self.calls.push(Reverse((due, key)));
            } else if key == NEIGHBOUR.0 {
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

    /// Takes in one of those who wait. `false`: nobody does.
    fn accept(&mut self, listener: &TcpListener) -> io::Result<bool> {
        let (stream, _) = match listener.accept() {
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
            accepted => accepted?,
        };
        let key = self.clients.vacant_key();
        let client = Connection::new(stream, &self.poll, Token(key))?;
        self.calls.push(Reverse((client.heard + self.idle_limit, key)));
        self.clients.insert(client);
        Ok(true)
    }

    /// Begins to connect to the neighbour. The first event tells how it went.
    fn dial(&mut self) {
        let Some(address) = self.neighbour else { return };
        let begun = TcpStream::connect(address);
        let link = begun.and_then(|stream| Connection::new(stream, &self.poll, NEIGHBOUR));
        self.link = link.ok().map(|link| Connection { waits: true, ..link });
        if self.link.is_none() {
            self.link_lost();
        }
    }

    fn link_lost(&mut self) {
        self.link = None;
        self.calls.push(Reverse((Instant::now() + REDIAL, NEIGHBOUR.0)));
        while !self.asked.is_empty() {
            self.receipt();
        }
    }

    /// The neighbour has said that it has a report, or never will: whoever waits is answered.
    fn receipt(&mut self) {
        let Some((key, reply)) = self.asked.pop_front() else { return };
        if let Some(client) = self.clients.get_mut(key) {
            client.output.extend_from_slice(&reply);
            client.waits = false;
            self.serve(key);
        }
    }

    fn serve_link(&mut self) {
        let Some(link) = &mut self.link else { return };
        let mut receipts = 0;
        let is_lost = link.exchange(|_| receipts += 1).is_err() || link.read_closed;
        for _ in 0..receipts {
            self.receipt();
        }
        if is_lost {
            self.link_lost();
        }
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
            break true;
        };
        if !stays {
            self.clients.remove(key);
        }
    }
}
