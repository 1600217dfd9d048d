//! Step 8: tokens with generations, protocols and factories. This file says what the server does, and
//! `reactor.rs` is the loop: `src/reactor` in small.
//!
//! # The experiment
//!
//! A neighbour that takes five seconds for a receipt. The client that has reported leaves, and a stranger
//! connects. In step 7 the stranger gets the receipt. In step 8 it does not, since a token names a slot
//! in the slab *and* the generation of its owner:
//!
//! ```text
//! $ (sleep 5; echo 'receipt for kiwi'; sleep 9) | nc -l 127.0.0.1 12018 >/dev/null &
//! $ cargo run -q --example ladder_7 127.0.0.1:12007 60 127.0.0.1:12018 &
//! listening on 127.0.0.1:12007
//! $ echo 'IAMAT kiwi +34-118 1' | timeout 1 nc 127.0.0.1 12007
//! AT ladder kiwi +34-118 1
//! $ (echo hello; sleep 5) | timeout 6 nc 127.0.0.1 12007
//! ? hello
//! receipt for kiwi
//! $ (sleep 5; echo 'receipt for kiwi'; sleep 9) | nc -l 127.0.0.1 12028 >/dev/null &
//! $ cargo run -q --example ladder_8 127.0.0.1:12008 60 127.0.0.1:12028 &
//! listening on 127.0.0.1:12008
//! $ echo 'IAMAT kiwi +34-118 1' | timeout 1 nc 127.0.0.1 12008
//! AT ladder kiwi +34-118 1
//! $ (echo hello; sleep 5) | timeout 6 nc 127.0.0.1 12008
//! ? hello
//! ```
//!
//! # What is wrong with it
//!
//! Stop it with Ctrl-Z, continue it with `fg`, and it ends: the signal interrupts `poll`, and `?` takes that
//! for an error. Without free descriptors, those who wait are forgotten until the next connection. A close
//! with unread input sends a reset, which can destroy the last reply. A neighbour that floods holds the
//! turn. There is no orderly stop, no TLS and no look-up of names.
//!
//! Question: where does `src/reactor` do each of these? Begin with `turn.rs`, `accept.rs` and `flush.rs`.

mod connection;
mod reactor;

use std::collections::VecDeque;
use std::env;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpListener;
use mio::{Events, Token};

use reactor::{Application, Io, Protocol, Reactor};

/// The longest reply to `SLOW`, the most receipts that may be due, and the wait between two dials.
const SLOW_MAX_BYTES: usize = 50_000_000;
const ASKED_MAX: usize = 1_000;
const REDIAL: Duration = Duration::from_secs(1);

/// What all handlers share.
#[derive(Default)]
struct Server {
    neighbour: Option<SocketAddr>,
    /// The neighbour's connection, and the clients whose receipts are due from it, in order.
    link: Option<Token>,
    asked: VecDeque<Token>,
    /// What this turn has to tell the neighbour.
    reports: Vec<u8>,
}

struct Client;
struct Link;

fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:12008".to_owned());
    let seconds = env::args().nth(2).and_then(|seconds| seconds.parse::<u32>().ok());
    let neighbour = env::args().nth(3).and_then(|address| address.parse().ok());
    let listener = TcpListener::bind(address.parse().map_err(io::Error::other)?)?;
    println!("listening on {}", listener.local_addr()?);
    let server = Server { neighbour, ..Server::default() };
    let mut reactor = Reactor::new(server, listener, || Box::new(Client))?;
    reactor.idle_limit = Duration::from_secs(seconds.unwrap_or(60).into());
    reactor.io.call_later(Duration::ZERO);
    let mut events = Events::with_capacity(1024);
    loop {
        reactor.turn(&mut events)?;
    }
}

impl Application for Server {
    /// Time to dial.
    fn call_due(&mut self, io: &mut Io<Self>) {
        let Some(address) = self.neighbour else { return };
        self.link = io.connect(address, Box::new(Link)).ok();
        if self.link.is_none() {
            io.call_later(REDIAL);
        }
    }

    /// However many reports the turn brought, they leave in one write.
    fn turn_end(&mut self, io: &mut Io<Self>) {
        if let Some(link) = self.link.filter(|_| !self.reports.is_empty()) {
            io.write(link, &self.reports);
            self.reports.clear();
        }
    }
}

impl Protocol<Server> for Client {
    fn line_received(&mut self, me: Token, line: &[u8], app: &mut Server, io: &mut Io<Server>) {
        let reply = answer(line);
        io.write(me, &reply);
        if app.link.is_some() && reply.starts_with(b"AT ") && app.asked.len() < ASKED_MAX {
            app.reports.extend_from_slice(&reply);
            app.asked.push_back(me);
        }
    }
}

impl Protocol<Server> for Link {
    /// A receipt for the earliest report, for the client that made it. If that is gone, so is its token.
    fn line_received(&mut self, _me: Token, line: &[u8], app: &mut Server, io: &mut Io<Server>) {
        if let Some(client) = app.asked.pop_front() {
            io.write(client, line);
        }
    }

    fn connection_lost(&mut self, app: &mut Server, io: &mut Io<Server>) {
        (app.link, app.asked, app.reports) = (None, VecDeque::new(), Vec::new());
        io.call_later(REDIAL);
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
