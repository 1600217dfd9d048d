//! Step 6: delayed calls decide how long to sleep.
//!
//! # The experiment
//!
//! In step 5 a silent client stayed for ever. Here it leaves after five seconds:
//!
//! ```text
//! $ cargo run --example ladder_6 127.0.0.1:12006 5 &
//! $ time nc 127.0.0.1 12006                                  # type nothing
//! real    0m5.004s
//! ```
//!
//! A heap holds who is to be looked at and when, the earliest first. That entry is how long the loop may
//! sleep. A client that said something in the meantime is not taken out of the heap: when its entry is
//! due, the look finds it alive and puts it back for later. So a busy client costs nothing here.
//!
//! # What is wrong with it
//!
//! It only answers. A server of a herd has neighbours to tell, and must dial them. The call that comes to
//! mind, `std::net::TcpStream::connect`, blocks: for two minutes, if the neighbour's machine is off, and
//! with it every client here.
//!
//! Question: an idle client that sends one byte a second, and never a line: does it leave?

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
/// A client with so much output is not read.
const HIGH_WATER_BYTES: usize = 65_536;
/// A token that no client has: the slab counts from 0.
const LISTENER: Token = Token(usize::MAX);

struct Client {
    stream: TcpStream,
    /// The beginning of a line whose end has not come yet.
    input: Vec<u8>,
    /// Replies that the socket has not taken yet.
    output: Vec<u8>,
    /// The client has finished sending; its replies are still owed.
    read_closed: bool,
    /// When it last sent something.
    heard: Instant,
}

/// Who is to be looked at, and when: the earliest on top.
type Calls = BinaryHeap<Reverse<(Instant, usize)>>;

fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:12006".to_owned());
    let seconds = env::args().nth(2).and_then(|seconds| seconds.parse().ok());
    let idle_limit = Duration::from_secs(seconds.unwrap_or(60));
    let mut listener = TcpListener::bind(address.parse().map_err(io::Error::other)?)?;
    println!("listening on {}", listener.local_addr()?);
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut clients: Slab<Client> = Slab::new();
    let mut calls = Calls::new();
    let mut events = Events::with_capacity(1024);
    loop {
        let next = calls.peek().map(|Reverse((due, _))| *due);
        poll.poll(&mut events, next.map(|due| due.saturating_duration_since(Instant::now())))?;
        let now = Instant::now();
        look_at_idle(&mut clients, &mut calls, idle_limit, now);
        for event in &events {
            if event.token() == LISTENER {
                let mut key = clients.vacant_key();
                while accept(&listener, &poll, &mut clients)? {
                    calls.push(Reverse((now + idle_limit, key)));
                    key = clients.vacant_key();
                }
                continue;
            }
            let key = event.token().0;
            let stays = clients.get_mut(key).is_some_and(|client| serve(client).unwrap_or(false));
            if !stays {
                clients.try_remove(key);
            }
        }
    }
}

/// Runs the calls that are due: who was silent for too long goes, who was not is looked at later.
fn look_at_idle(clients: &mut Slab<Client>, calls: &mut Calls, limit: Duration, now: Instant) {
    while let Some(Reverse((_, key))) = calls.peek().copied().filter(|call| call.0.0 <= now) {
        calls.pop();
        let Some(client) = clients.get(key) else { continue };
        if client.heard + limit <= now {
            clients.remove(key);
        } else {
            calls.push(Reverse((client.heard + limit, key)));
        }
    }
}

/// Takes in one of those who wait. `false`: nobody does.
fn accept(listener: &TcpListener, poll: &Poll, clients: &mut Slab<Client>) -> io::Result<bool> {
    let (mut stream, _) = match listener.accept() {
        Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
        accepted => accepted?,
    };
    let both = Interest::READABLE | Interest::WRITABLE;
    poll.registry().register(&mut stream, Token(clients.vacant_key()), both)?;
    let (input, output, heard) = (Vec::new(), Vec::new(), Instant::now());
    clients.insert(Client { stream, input, output, read_closed: false, heard });
    Ok(true)
}

/// Answers, writes and reads in turn, until the socket would block. `false`: the client has left.
fn serve(client: &mut Client) -> io::Result<bool> {
    loop {
        while client.output.len() <= HIGH_WATER_BYTES
            && let Some(end) = client.input.iter().position(|byte| *byte == b'\n')
        {
            let line: Vec<u8> = client.input.drain(..=end).collect();
            client.output.extend_from_slice(&answer(&line));
        }
        flush(client)?;
        if client.output.len() > HIGH_WATER_BYTES {
            return Ok(true);
        }
        let has_line = client.input.contains(&b'\n');
        if !has_line && (client.input.len() > LINE_MAX_BYTES || !read(client)?) {
            let is_done = client.read_closed && client.output.is_empty();
            return Ok(!is_done && client.input.len() <= LINE_MAX_BYTES);
        }
    }
}

/// Reads once. `false`: there is no more for now, or ever.
fn read(client: &mut Client) -> io::Result<bool> {
    if client.read_closed {
        return Ok(false);
    }
    let mut buffer = [0; 4096];
    match client.stream.read(&mut buffer) {
        Ok(0) => client.read_closed = true,
        Ok(length) => client.input.extend_from_slice(buffer.get(..length).unwrap_or_default()),
        Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
        Err(e) => return Err(e),
    }
    client.heard = Instant::now();
    Ok(!client.read_closed)
}

/// Writes until everything has left or the socket would block.
fn flush(client: &mut Client) -> io::Result<()> {
    let mut sent = 0;
    while sent < client.output.len() {
        match client.stream.write(client.output.get(sent..).unwrap_or_default()) {
            Ok(taken) => sent += taken,
            Err(e) if e.kind() == ErrorKind::WouldBlock => break,
            Err(e) => return Err(e),
        }
    }
    client.output.drain(..sent);
    Ok(())
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
