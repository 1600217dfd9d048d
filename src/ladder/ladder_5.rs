//! Step 5: read until it would block, keep what does not leave.
//!
//! # The experiment
//!
//! Step 4 loses lines and cuts a long reply, at a place that varies from run to run. In step 5 all of it
//! comes, 2000 lines and 20000001 bytes:
//!
//! ```text
//! $ cargo run -q --example ladder_4 &
//! listening on 127.0.0.1:12004
//! $ seq -f 'line %g' 2000 | timeout 2 nc 127.0.0.1 12004 | wc -l
//! 467
//! $ echo 'SLOW 20000000' | timeout 2 nc 127.0.0.1 12004 | wc -c
//! 3919872
//! $ cargo run -q --example ladder_5 &
//! listening on 127.0.0.1:12005
//! $ seq -f 'line %g' 2000 | timeout 2 nc 127.0.0.1 12005 | wc -l
//! 2000
//! $ echo 'SLOW 20000000' | timeout 2 nc 127.0.0.1 12005 | wc -c
//! 20000001
//! ```
//!
//! An edge means: accept, or read, until `WouldBlock`. What a write does not take stays in `output` until
//! the socket is writable. As long as something is there, the client is not read; afterwards it is read
//! *without waiting for an edge*, because that edge has come and gone.
//!
//! # What is wrong with it
//!
//! Silent clients stay for ever. A thousand that were unplugged from the network keep their thousand
//! sockets. The loop sleeps without a limit, so there is no moment at which it could look at them.
//!
//! Question: how long may the loop sleep, if it must look at one client in 7 s and at another in 3 s?

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
    /// Replies that the socket has not taken yet. As long as there are any, the client is not read.
    output: Vec<u8>,
}

struct Server {
    poll: Poll,
    listener: TcpListener,
    /// A client's key in the slab is its token.
    clients: Slab<Client>,
}

fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:12005".to_owned());
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
    /// Accepts until nobody waits: the listener's edge comes once, too.
    fn accept(&mut self) -> io::Result<()> {
        while let Ok((mut stream, _)) = self.listener.accept() {
            let token = Token(self.clients.vacant_key());
            let both = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut stream, token, both)?;
            self.clients.insert(Client { stream, input: Vec::new(), output: Vec::new() });
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
