//! Step 4: the kernel says who is ready.
//!
//! # The experiment
//!
//! Step 3 uses a whole CPU while its only client is silent. In step 4 the thread sleeps in `Poll::poll`
//! until the kernel wakes it with the names (tokens) of the sockets that have news. `ps` shows the CPU
//! time that each has used after some seconds:
//!
//! ```text
//! $ cargo run -q --example ladder_3 &
//! listening on 127.0.0.1:12003
//! $ sleep 9 | nc 127.0.0.1 12003 &
//! $ sleep 3; ps -o time= -p $(pgrep -n ladder_3)
//! 00:00:04
//! $ cargo run -q --example ladder_4 &
//! listening on 127.0.0.1:12004
//! $ sleep 9 | nc 127.0.0.1 12004 &
//! $ sleep 3; ps -o time= -p $(pgrep -n ladder_4)
//! 00:00:00
//! ```
//!
//! # What is wrong with it
//!
//! A line is lost, and a long reply is cut. An event means "read once, write once" here. But mio's events
//! are *edges*: they say once that something has changed. What one read leaves behind, nobody reads; what
//! one write does not take is gone. Of two clients that connect at once, the second may wait for a third.
//!
//! Question: the bytes of the lost lines are somewhere. Where, and what would bring them?

use std::env;
use std::io::{self, ErrorKind, Read, Write};

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
}

struct Server {
    poll: Poll,
    listener: TcpListener,
    /// A client's key in the slab is its token.
    clients: Slab<Client>,
}

fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:12004".to_owned());
    let mut listener = TcpListener::bind(address.parse().map_err(io::Error::other)?)?;
    println!("listening on {}", listener.local_addr()?);
    let poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut server = Server { poll, listener, clients: Slab::new() };
    let mut events = Events::with_capacity(1024);
    loop {
        server.poll.poll(&mut events, None)?;
        for event in &events {
            match event.token() {
                LISTENER => server.accept()?,
                Token(key) => server.serve(key),
            }
        }
    }
}

impl Server {
    /// Accepts one client.
    fn accept(&mut self) -> io::Result<()> {
        let Ok((mut stream, _)) = self.listener.accept() else { return Ok(()) };
        let token = Token(self.clients.vacant_key());
        self.poll.registry().register(&mut stream, token, Interest::READABLE)?;
        self.clients.insert(Client { stream, input: Vec::new() });
        Ok(())
    }

    /// Reads once and answers the lines in it.
    fn serve(&mut self, key: usize) {
        let Some(client) = self.clients.get_mut(key) else { return };
        if client.read().is_err() {
            self.clients.remove(key);
            return;
        }
        while let Some(line) = client.next_line() {
            // The part that the socket does not take is gone.
            let _taken = client.stream.write(&answer(&line));
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
    /// Reads once. The error is the end of the connection.
    fn read(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        match self.stream.read(&mut buffer) {
            Ok(length) if length > 0 && self.input.len() <= LINE_MAX_BYTES => {
                self.input.extend_from_slice(buffer.get(..length).unwrap_or_default());
                Ok(())
            }
            Ok(_) => Err(ErrorKind::UnexpectedEof.into()),
            Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Takes the first whole line out of the input.
    fn next_line(&mut self) -> Option<Vec<u8>> {
        let end = self.input.iter().position(|byte| *byte == b'\n')?;
        Some(self.input.drain(..=end).collect())
    }
}
