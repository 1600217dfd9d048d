//! Step 2: a thread for each client.
//!
//! # The experiment
//!
//! Step 1 made the second client wait for the first. Here both are answered:
//!
//! ```text
//! $ cargo run --example ladder_2 &
//! $ nc 127.0.0.1 12002 &                                     # says nothing, and stays
//! $ echo 'IAMAT kiwi +34-118 1' | nc -q 1 127.0.0.1 12002
//! AT ladder kiwi +34-118 1
//! ```
//!
//! # What is wrong with it
//!
//! Each idle client keeps a thread: a stack, a place in the kernel's scheduler, and a share of every
//! lock as soon as the threads share anything. `ls /proc/$(pgrep ladder_2)/task | wc -l` counts
//! them. With ten thousand clients that say nothing there are ten thousand threads that do nothing.
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
