//! Step 7: it dials, too.
//!
//! # The experiment
//!
//! Step 6 tells no neighbour. Step 7 sends it each report. The neighbour's reply is the receipt, and goes
//! to the client that reported; here another step is the neighbour:
//!
//! ```text
//! $ cargo run -q --example ladder_5 127.0.0.1:12017 &
//! $ cargo run -q --example ladder_6 127.0.0.1:12006 60 127.0.0.1:12017 &
//! $ (echo 'IAMAT kiwi +34-118 1'; sleep 1) | timeout 2 nc 127.0.0.1 12006
//! AT ladder kiwi +34-118 1
//! $ cargo run -q --example ladder_7 127.0.0.1:12007 60 127.0.0.1:12017 &
//! $ (echo 'IAMAT kiwi +34-118 1'; sleep 1) | timeout 2 nc 127.0.0.1 12007
//! AT ladder kiwi +34-118 1
//! ? AT ladder kiwi +34-118 1
//! ```
//!
//! # What is wrong with it
//!
//! A stale event reaches a stranger. `asked` remembers a client by its key in the
//! slab. If the client leaves before its receipt comes, the next client gets the key, and the receipt.
//! Question: which other names in this file outlive what they name?

mod connection;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::env;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

use connection::Connection;

/// The longest reply to `SLOW`, and the most receipts that may be due.
const SLOW_MAX_BYTES: usize = 50_000_000;
const ASKED_MAX: usize = 1_000;
/// Keys that no connection has: the slab counts from 0.
const LISTENER: Token = Token(usize::MAX);
const DIAL: usize = usize::MAX - 1;

struct Server {
    poll: Poll,
    listener: TcpListener,
    connections: Slab<Connection>,
    calls: BinaryHeap<Reverse<(Instant, usize)>>,
    idle_limit: Duration,
    neighbour: Option<SocketAddr>,
    /// The neighbour's connection, and the clients whose receipts are due from it, in order.
    link: Option<usize>,
    asked: VecDeque<usize>,
}

fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:12007".to_owned());
    let seconds = env::args().nth(2).and_then(|seconds| seconds.parse::<u32>().ok());
    let mut listener = TcpListener::bind(address.parse().map_err(io::Error::other)?)?;
    println!("listening on {}", listener.local_addr()?);
    let poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut server = Server {
        poll,
        listener,
        connections: Slab::new(),
        calls: BinaryHeap::from([Reverse((Instant::now(), DIAL))]),
        idle_limit: Duration::from_secs(seconds.unwrap_or(60).into()),
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
                LISTENER => server.accept()?,
                Token(key) => server.serve(key),
            }
        }
    }
}

impl Server {
    fn run_due(&mut self, now: Instant) {
        while let Some(Reverse((_, key))) = self.calls.peek().copied().filter(|c| c.0.0 <= now) {
            self.calls.pop();
            match self.connections.get(key).map(|client| client.heard + self.idle_limit) {
                Some(end) if end <= now => self.close(key),
                Some(end) => self.calls.push(Reverse((end, key))),
                None if key == DIAL => self.dial(),
                None => {}
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        while let Ok((stream, _)) = self.listener.accept() {
            let key = self.keep(stream, false)?;
            self.calls.push(Reverse((Instant::now() + self.idle_limit, key)));
        }
        Ok(())
    }

    /// Begins to connect, and does not wait. If it fails, at once or later, a delayed call dials again.
    fn dial(&mut self) {
        let Some(address) = self.neighbour else { return };
        self.link = TcpStream::connect(address).and_then(|stream| self.keep(stream, true)).ok();
        if self.link.is_none() {
            self.calls.push(Reverse((Instant::now() + Duration::from_secs(1), DIAL)));
        }
    }

    fn keep(&mut self, mut stream: TcpStream, connecting: bool) -> io::Result<usize> {
        let token = Token(self.connections.vacant_key());
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, token, both)?;
        Ok(self.connections.insert(Connection::new(stream, connecting)))
    }

    fn close(&mut self, key: usize) {
        self.connections.try_remove(key);
        if self.link == Some(key) {
            (self.link, self.asked) = (None, VecDeque::new());
            self.calls.push(Reverse((Instant::now() + Duration::from_secs(1), DIAL)));
        }
    }

    fn serve(&mut self, key: usize) {
        while let Some(connection) = self.connections.get_mut(key) {
            match connection.flush().and_then(|()| connection.next_line()) {
                Ok(Some(line)) => self.line_received(key, &line),
                Ok(None) => return,
                Err(_) => self.close(key),
            }
        }
    }

    /// A client's line is answered, and a report goes to the neighbour. The neighbour's line is its
    /// receipt for the earliest report, and goes to that report's client.
    fn line_received(&mut self, key: usize, line: &[u8]) {
        if self.link == Some(key) {
            let Some(client) = self.asked.pop_front() else { return };
            return self.write(client, line);
        }
        let reply = answer(line);
        self.write(key, &reply);
        let is_report = reply.starts_with(b"AT ") && self.asked.len() < ASKED_MAX;
        if let Some(link) = self.link.filter(|_| is_report) {
            self.write(link, &reply);
            self.asked.push_back(key);
        }
    }

    /// Writes to any connection. If that fails, its next event says so.
    fn write(&mut self, key: usize, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.output.extend_from_slice(bytes);
        let _ = connection.flush();
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
