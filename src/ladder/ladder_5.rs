//! Step 5: read until it would block, keep what does not leave.
//!
//! # The experiment
//!
//! Step 4 lost lines and the ends of long replies. Here nothing is missing:
//!
//! ```text
//! $ cargo run --example ladder_5 &
//! $ (seq 2000 | sed 's/^/line /'; sleep 1) | nc 127.0.0.1 12005 | wc -l
//! 2000
//! $ (echo 'SLOW 20000000'; sleep 2) | nc 127.0.0.1 12005 | wc -c
//! 20000001
//! ```
//!
//! Three rules do it. An edge means: read until `WouldBlock`. What a write does not take stays in
//! `output` until the socket is writable again. And a client whose output is above the high-water mark
//! is not read; when the output has left, it is read again *without waiting for an edge*, because that
//! edge has come and gone.
//!
//! # What is wrong with it
//!
//! A client that says nothing stays for ever: a thousand that were unplugged from the network keep their
//! thousand sockets. The loop sleeps without a limit, so it has no moment to look at them.
//!
//! Question: how long may the loop sleep, if somebody must be looked at in 7 s and another in 3 s?

use std::env;
use std::io::{self, ErrorKind, Read, Write};

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
}

fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:12005".to_owned());
    let mut listener = TcpListener::bind(address.parse().map_err(io::Error::other)?)?;
    println!("listening on {}", listener.local_addr()?);
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut clients: Slab<Client> = Slab::new();
    let mut events = Events::with_capacity(1024);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                // The listener's edge comes once, too.
                while accept(&listener, &poll, &mut clients)? {}
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

/// Takes in one of those who wait. `false`: nobody does.
fn accept(listener: &TcpListener, poll: &Poll, clients: &mut Slab<Client>) -> io::Result<bool> {
    let (mut stream, _) = match listener.accept() {
        Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
        accepted => accepted?,
    };
    let both = Interest::READABLE | Interest::WRITABLE;
    poll.registry().register(&mut stream, Token(clients.vacant_key()), both)?;
    let (input, output) = (Vec::new(), Vec::new());
    clients.insert(Client { stream, input, output, read_closed: false });
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
