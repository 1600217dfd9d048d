//! Step 2: a thread for each client.
//!
//! # The experiment
//!
//! In step 1 a second client waits. While the first one is connected and silent, no line comes back. Here
//! it is answered:
//!
//! ```text
//! $ cargo run -q --example ladder_1 &
//! listening on 127.0.0.1:12001
//! $ sleep 9 | nc 127.0.0.1 12001 &
//! $ echo hello | timeout 2 nc 127.0.0.1 12001 | wc -l
//! 0
//! $ cargo run -q --example ladder_2 &
//! listening on 127.0.0.1:12002
//! $ sleep 9 | nc 127.0.0.1 12002 &
//! $ echo hello | timeout 2 nc 127.0.0.1 12002 | wc -l
//! 1
//! ```
//!
//! # What is wrong with it
//!
//! A thread for each idle client: a stack, an entry in the kernel's scheduler, and a share of every lock
//! as soon as the threads share anything. With ten thousand clients that say nothing, ten thousand threads
//! do nothing.
//!
//! Question: the threads sleep nearly always. What exactly does each of them wait for?

use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

/// The longest reply to `SLOW`, so that one line cannot ask for all memory.
const SLOW_MAX_BYTES: usize = 50_000_000;

fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:12002".to_owned());
    let listener = TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept()?;
        thread::spawn(move || {
            if let Err(e) = serve(stream) {
                eprintln!("a client's connection broke: {e}");
            }
        });
    }
}

/// Answers one client until it leaves.
fn serve(mut stream: TcpStream) -> io::Result<()> {
    let mut input = BufReader::new(stream.try_clone()?);
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line)? > 0 {
        stream.write_all(&answer(&line))?;
        line.clear();
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
