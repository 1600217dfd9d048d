//! Step 1: one client at a time.
//!
//! The whole protocol of the ladder: a line `IAMAT who where when` is answered `AT ladder who where
//! when`, `SLOW n` is answered with n bytes, anything else with `? ` and a copy of the line.
//!
//! # The experiment
//!
//! ```text
//! $ cargo run -q --example ladder_1 &
//! listening on 127.0.0.1:12001
//! $ printf 'IAMAT kiwi +34-118 1\nhello\n' | timeout 2 nc 127.0.0.1 12001
//! AT ladder kiwi +34-118 1
//! ? hello
//! ```
//!
//! The experiment at the head of each later step runs the step before, shows its fault, and then shows that
//! it is mended. `scripts/ladder try 2` runs that of step 2 and ends its servers; who types the commands
//! ends a server with `kill %1`. `scripts/ladder diff 1 2` shows what changes in the code.
//!
//! # What is wrong with it
//!
//! A second client waits. `serve` returns when its client leaves, and until then nobody calls `accept`:
//! the thread sleeps in the first client's `read`.
//!
//! Question: a second `nc` still says that it is connected. Who accepted its connection?

use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

/// The longest reply to `SLOW`, so that one line cannot ask for all memory.
const SLOW_MAX_BYTES: usize = 50_000_000;

fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:12001".to_owned());
    let listener = TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept()?;
        if let Err(e) = serve(stream) {
            eprintln!("a client's connection broke: {e}");
        }
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
