//! A wire that can be cut: a TCP relay in front of a server, for one neighbour or for the upstream.
//!
//! Faults of the network are made here, so that they need neither rights nor a network of their own.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::Duration;

/// What a wire does with bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Wire {
    Whole = 0,
    /// Nothing arrives, and nobody hears of it.
    Silent = 1,
    /// Connections end at once.
    Cut = 2,
}

/// How often a quiet connection looks whether its wire is still whole.
const LOOK: Duration = Duration::from_millis(50);

/// One relay. Its threads end with the process.
pub struct Relay {
    pub port: u16,
    wire: Arc<AtomicU8>,
}

impl Relay {
    /// A relay to a port of this machine.
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let relay = Self { port: listener.local_addr().unwrap().port(), wire: Arc::default() };
        let wire = Arc::clone(&relay.wire);
        thread::spawn(move || {
            for from in listener.incoming().map_while(Result::ok) {
                while state(&wire) == Wire::Silent as u8 {
                    thread::sleep(LOOK);
                }
                let Ok(to) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                for (from, to) in [(clone(&from), clone(&to)), (clone(&to), clone(&from))] {
                    let wire = Arc::clone(&wire);
                    thread::spawn(move || carry(from, to, &wire));
                }
            }
        });
        relay
    }

    pub fn set(&self, wire: Wire) {
        self.wire.store(wire as u8, Ordering::SeqCst);
    }
}

fn state(wire: &AtomicU8) -> u8 {
    wire.load(Ordering::SeqCst)
}

fn clone(stream: &TcpStream) -> TcpStream {
    stream.try_clone().unwrap()
}

/// Carries bytes one way until an end closes or the wire is cut.
fn carry(mut from: TcpStream, mut to: TcpStream, wire: &AtomicU8) {
    let _ = from.set_read_timeout(Some(LOOK));
    let _ = to.set_nodelay(true);
    let mut bytes = [0; 16 * 1024];
    loop {
        let length = match from.read(&mut bytes) {
            Ok(0) => return drop(to.shutdown(Shutdown::Write)),
            Ok(length) => length,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => 0,
            Err(_) => break,
        };
        while state(wire) == Wire::Silent as u8 {
            thread::sleep(LOOK);
        }
        if state(wire) == Wire::Cut as u8 || to.write_all(&bytes[..length]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
