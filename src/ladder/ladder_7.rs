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
/// Keys that no connection has: the slab counts from 0.
const LISTENER: usize = usize::MAX;
const DIAL: usize = usize::MAX - 1;
/// A neighbour that is away is dialled again after this.
const REDIAL: Duration = Duration::from_secs(1);

/// A client, or the neighbour.
struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    read_closed: bool,
    /// The kernel has not said yet whether it is connected.
    connecting: bool,
    /// Its reply waits for the neighbour's receipt.
    waits: bool,
    /// When the peer last sent something.
    heard: Instant,
}

struct Server {
    poll: Poll,
    listener: TcpListener,
    connections: Slab<Connection>,
    /// Who is to be looked at, and when: the earliest on top.
    calls: BinaryHeap<Reverse<(Instant, usize)>>,
    idle_limit: Duration,
    neighbour: Option<SocketAddr>,
    /// The neighbour's connection.
    link: Option<usize>,
    /// Who waits for a receipt, with the reply: in the order in which the receipts will come.
    asked: VecDeque<(usize, Vec<u8>)>,
}

fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:12007".to_owned());
    let seconds = env::args().nth(2).and_then(|seconds| seconds.parse().ok());
    let mut listener = TcpListener::bind(address.parse().map_err(io::Error::other)?)?;
    println!("listening on {}", listener.local_addr()?);
    let poll = Poll::new()?;
    poll.registry().register(&mut listener, Token(LISTENER), Interest::READABLE)?;
    let mut server = Server {
        poll,
        listener,
        connections: Slab::new(),
        calls: BinaryHeap::from([Reverse((Instant::now(), DIAL))]),
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
                Token(LISTENER) => server.accept()?,
                Token(key) => server.serve(key),
            }
        }
    }
}

impl Server {
    fn run_due(&mut self, now: Instant) {
        while let Some(Reverse((_, key))) = self.calls.peek().copied().filter(|c| c.0.0 <= now) {
            self.calls.pop();
            let Some(client) = self.connections.get(key) else {
                if key == DIAL {
                    self.dial();
                }
                continue;
            };
            let ends = client.heard + self.idle_limit;
            if self.link != Some(key) && ends <= now {
                self.close(key);
            } else if self.link != Some(key) {
                self.calls.push(Reverse((ends, key)));
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    let key = self.keep(stream, false)?;
                    self.calls.push(Reverse((Instant::now() + self.idle_limit, key)));
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
        }
    }

    /// Begins to connect to the neighbour. The socket's first event tells how that went.
    fn dial(&mut self) {
        let Some(address) = self.neighbour else { return };
        let begun = TcpStream::connect(address).and_then(|stream| self.keep(stream, true));
        self.link = begun.ok();
        if self.link.is_none() {
            self.calls.push(Reverse((Instant::now() + REDIAL, DIAL)));
        }
    }

    fn keep(&mut self, mut stream: TcpStream, connecting: bool) -> io::Result<usize> {
        let (token, both) =
            (Token(self.connections.vacant_key()), Interest::READABLE | Interest::WRITABLE);
        self.poll.registry().register(&mut stream, token, both)?;
        let (input, output, heard) = (Vec::new(), Vec::new(), Instant::now());
        let (read_closed, waits) = (false, false);
        let it = Connection { stream, input, output, read_closed, connecting, waits, heard };
        Ok(self.connections.insert(it))
    }

    fn close(&mut self, key: usize) {
        self.connections.try_remove(key);
        if self.link == Some(key) {
            self.link = None;
            self.calls.push(Reverse((Instant::now() + REDIAL, DIAL)));
            for (client, reply) in std::mem::take(&mut self.asked) {
                self.reply(client, &reply);
            }
        }
    }

    /// Answers, writes and reads in turn, until the socket would block.
    fn serve(&mut self, key: usize) {
        loop {
            while let Some(line) = self.connections.get_mut(key).and_then(Connection::next_line) {
                self.line_received(key, &line);
            }
            match self.connections.get_mut(key).map(Connection::exchange) {
                Some(Ok(true)) => {}
                Some(Ok(false)) | None => return,
                Some(Err(_)) => return self.close(key),
            }
        }
    }

    fn line_received(&mut self, key: usize, line: &[u8]) {
        if self.link == Some(key) {
            let Some((client, reply)) = self.asked.pop_front() else { return };
            return self.reply(client, &reply);
        }
        let reply = answer(line);
        let link = self.link.filter(|_| reply.starts_with(b"AT "));
        match link.and_then(|link| self.connections.get_mut(link)).filter(|link| !link.connecting) {
            None => self.reply(key, &reply),
            Some(link) => {
                link.output.extend_from_slice(&reply);
                // An error will show at the link's next event, too.
                let _ = link.flush();
                self.asked.push_back((key, reply));
                self.connections.get_mut(key).into_iter().for_each(|client| client.waits = true);
            }
        }
    }

    fn reply(&mut self, key: usize, reply: &[u8]) {
        let Some(client) = self.connections.get_mut(key) else { return };
        client.output.extend_from_slice(reply);
        if std::mem::replace(&mut client.waits, false) {
            self.serve(key);
        }
    }
}

impl Connection {
    fn next_line(&mut self) -> Option<Vec<u8>> {
        let held_back = self.waits || self.output.len() > HIGH_WATER_BYTES;
        let end = self.input.iter().position(|byte| *byte == b'\n').filter(|_| !held_back)?;
        Some(self.input.drain(..=end).collect())
    }

    /// Writes what it can, then reads once. `false`: the socket would block, or must not be read now.
    fn exchange(&mut self) -> io::Result<bool> {
        if self.connecting {
            self.stream.take_error()?.map_or(Ok(()), Err)?;
            match self.stream.peer_addr() {
                Err(e) if e.kind() == ErrorKind::NotConnected => return Ok(false),
                peer => self.connecting = peer.is_err(),
            }
        }
        self.flush()?;
        if self.waits || self.output.len() > HIGH_WATER_BYTES {
            return Ok(false);
        }
        if self.input.contains(&b'\n') {
            return Ok(true);
        }
        let is_done = self.read_closed && self.output.is_empty();
        if is_done || self.input.len() > LINE_MAX_BYTES {
            return Err(ErrorKind::ConnectionAborted.into());
        }
        let mut buffer = [0; 4096];
        match self.stream.read(&mut buffer) {
            Ok(length) => {
                self.read_closed = length == 0;
                self.heard = Instant::now();
                self.input.extend_from_slice(buffer.get(..length).unwrap_or_default());
                Ok(!self.read_closed || self.output.is_empty())
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Writes until everything has left or the socket would block.
    fn flush(&mut self) -> io::Result<()> {
        let mut sent = 0;
        while sent < self.output.len() {
            match self.stream.write(self.output.get(sent..).unwrap_or_default()) {
                Ok(taken) => sent += taken,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
        }
        self.output.drain(..sent);
        Ok(())
    }
}

/// The reply to one line.
fn answer(line: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(line);
    let words: Vec<&str> = text.split_whitespace().collect();
    let reply = match words[..] {
        ["IAMAT", who, place, time] => format!("AT ladder {who} {place} {time}"),
        ["SLOW", bytes] => "x".repeat(bytes.parse().unwrap_or(0).min(SLOW_MAX_BYTES)),
        _ => format!("? {}", text.trim_end()),
    };
    (reply + "\n").into_bytes()
}
