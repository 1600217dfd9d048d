//! Step 6: delayed calls decide how long to sleep.
//!
//! # The experiment
//!
//! In step 5 silent clients stay: after three seconds the server still has two sockets, its listener and
//! the client's. Step 6 closes the client's after one second, as its argument says:
//!
//! ```text
//! $ cargo run -q --example ladder_5 &
//! listening on 127.0.0.1:12005
//! $ sleep 9 | nc 127.0.0.1 12005 &
//! $ sleep 3; ls -l /proc/$(pgrep -n ladder_5)/fd | grep -c socket:
//! 2
//! $ cargo run -q --example ladder_6 127.0.0.1:12006 1 &
//! listening on 127.0.0.1:12006
//! $ sleep 9 | nc 127.0.0.1 12006 &
//! $ sleep 3; ls -l /proc/$(pgrep -n ladder_6)/fd | grep -c socket:
//! 1
//! ```
//!
//! A heap holds whom to look at and when, the earliest first. The loop may sleep until then. A client that
//! speaks is not moved in the heap: the look finds that it has spoken, and sets the next look.
//!
//! # What is wrong with it
//!
//! A neighbour is not told: the server only answers. To tell another server, it must dial. The call that
//! comes to mind, `std::net::TcpStream::connect`, blocks for two minutes if that machine is off.
//!
//! Question: a client sends one byte a second, and never ends its line. Does it leave?

use std::cmp::Reverse;
use std::collections::BinaryHeap;
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
/// A token that no client has: the slab counts from 0.
const LISTENER: Token = Token(usize::MAX);

struct Client {
    stream: TcpStream,
    /// The beginning of a line whose end has not come yet.
    input: Vec<u8>,
    /// Replies that the socket has not taken yet. As long as there are any, the client is not read.
    output: Vec<u8>,
    /// When it last sent something.
    heard: Instant,
}

struct Server {
    poll: Poll,
    listener: TcpListener,
    /// A client's key in the slab is its token.
    clients: Slab<Client>,
    /// When to look at which client: the earliest on top.
    calls: BinaryHeap<Reverse<(Instant, usize)>>,
    idle_limit: Duration,
}

fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:12006".to_owned());
    let seconds = env::args().nth(2).and_then(|seconds| seconds.parse::<u32>().ok());
    let idle_limit = Duration::from_secs(seconds.unwrap_or(60).into());
    let mut listener = TcpListener::bind(address.parse().map_err(io::Error::other)?)?;
    println!("listening on {}", listener.local_addr()?);
    let poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut server =
        Server { poll, listener, clients: Slab::new(), calls: BinaryHeap::new(), idle_limit };
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
    /// Looks at those whose time has come. Who was silent for too long goes, any other is looked at later.
    fn run_due(&mut self, now: Instant) {
        while let Some(Reverse((_, key))) = self.calls.peek().copied().filter(|c| c.0.0 <= now) {
            self.calls.pop();
            match self.clients.get(key).map(|client| client.heard + self.idle_limit) {
                Some(end) if end <= now => drop(self.clients.remove(key)),
                Some(end) => self.calls.push(Reverse((end, key))),
                None => {}
            }
        }
    }

    /// Accepts until nobody waits: the listener's edge comes once, too.
    fn accept(&mut self) -> io::Result<()> {
        while let Ok((mut stream, _)) = self.listener.accept() {
            let token = Token(self.clients.vacant_key());
            let both = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut stream, token, both)?;
            let (input, output, heard) = (Vec::new(), Vec::new(), Instant::now());
            self.clients.insert(Client { stream, input, output, heard });
            self.calls.push(Reverse((heard + self.idle_limit, token.0)));
        }
        Ok(())
    }

    /// Writes, reads and answers until the socket would block.
    fn serve(&mut self, key: usize) {
        while let Some(client) = self.clients.get_mut(key) {
            match client.next_line() {
                Ok(Some(line)) => client.output = answer(&line),
                Ok(None) => return,
                Err(_) => drop(self.clients.remove(key)),
            }
        }
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

impl Client {
    /// Writes what is left, then takes the next line, which it reads if need be. `None`: the socket would
    /// block. The error is the end of the connection.
    fn next_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.flush()?;
        while self.output.is_empty() {
            if let Some(end) = self.input.iter().position(|byte| *byte == b'\n') {
                return Ok(Some(self.input.drain(..=end).collect()));
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(length) if length > 0 && self.input.len() <= LINE_MAX_BYTES => {
                    self.input.extend_from_slice(buffer.get(..length).unwrap_or_default());
                    self.heard = Instant::now();
                }
                Ok(_) => return Err(ErrorKind::UnexpectedEof.into()),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
        }
        Ok(None)
    }

    /// Writes until everything has left or the socket would block.
    fn flush(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(taken) => drop(self.output.drain(..taken)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}
