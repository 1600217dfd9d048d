//! Step 3: one thread again, and sockets that never block.
//!
//! # The experiment
//!
//! Step 2 keeps a thread for each idle client: here the main thread and five more. In step 3 one thread
//! asks every socket in turn, and a socket that has nothing to read answers `WouldBlock` at once:
//!
//! ```text
//! $ cargo run -q --example ladder_2 &
//! listening on 127.0.0.1:12002
//! $ for i in 1 2 3 4 5; do sleep 9 | nc 127.0.0.1 12002 & done; sleep 1
//! $ ls /proc/$(pgrep -n ladder_2)/task | wc -l
//! 6
//! $ cargo run -q --example ladder_3 &
//! listening on 127.0.0.1:12003
//! $ for i in 1 2 3 4 5; do sleep 9 | nc 127.0.0.1 12003 & done; sleep 1
//! $ ls /proc/$(pgrep -n ladder_3)/task | wc -l
//! 1
//! ```
//!
//! # What is wrong with it
//!
//! CPU while idle: nobody says anything, and the loop uses a whole CPU, since it asks all the time. And a
//! slow reader blocks all: `write_patiently` asks one socket until its client has taken everything.
//!
//! Question: who knows at which moment a socket has something to read?

use std::env;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

/// The longest reply to `SLOW`, so that one line cannot ask for all memory.
const SLOW_MAX_BYTES: usize = 50_000_000;
/// The longest line, so that a client that never ends one cannot fill the memory.
const LINE_MAX_BYTES: usize = 16_384;

struct Client {
    stream: TcpStream,
    /// The beginning of a line whose end has not come yet.
    input: Vec<u8>,
}

fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:12003".to_owned());
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    println!("listening on {}", listener.local_addr()?);
    let mut clients: Vec<Client> = Vec::new();
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(true)?;
                clients.push(Client { stream, input: Vec::new() });
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
        clients.retain_mut(|client| match serve(client) {
            Ok(stays) => stays,
            Err(e) => {
                eprintln!("a client's connection broke: {e}");
                false
            }
        });
    }
}

/// Answers what one client has sent so far. `false`: it has left.
fn serve(client: &mut Client) -> io::Result<bool> {
    let mut buffer = [0; 4096];
    match client.stream.read(&mut buffer) {
        Ok(0) => return Ok(false),
        Ok(length) => client.input.extend_from_slice(buffer.get(..length).unwrap_or_default()),
        Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(true),
        Err(e) => return Err(e),
    }
    while let Some(end) = client.input.iter().position(|byte| *byte == b'\n') {
        let line: Vec<u8> = client.input.drain(..=end).collect();
        write_patiently(&mut client.stream, &answer(&line))?;
    }
    Ok(client.input.len() <= LINE_MAX_BYTES)
}

/// Asks until the client has taken all of it.
fn write_patiently(stream: &mut TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(taken) => bytes = bytes.get(taken..).unwrap_or_default(),
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
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
