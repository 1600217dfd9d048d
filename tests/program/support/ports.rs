//! Ports for servers that tests start, kill and bring back: no two tests get the same, whichever program
//! they are in. Also used by the tests of `scripts/herd`.

use std::net::{TcpStream, UdpSocket};
use std::process;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// The first of the ports, and how many there are: below those that the system gives to outgoing connections.
const FIRST: u32 = 10_000;
const PORTS: u32 = 20_000;

/// Ports on which nobody listens, below those that the system gives to outgoing connections, which other
/// tests make meanwhile. Each is marked as long as this process lives by the UDP socket of its number, so
/// that nobody takes it while the server that had it is dead.
pub fn free_ports(count: usize) -> Vec<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    static MARKS: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());
    let start = process::id() % PORTS;
    let port = || FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % PORTS;
    let is_free = |port: &u16| {
        let Ok(mark) = UdpSocket::bind(("127.0.0.1", *port)) else { return false };
        MARKS.lock().unwrap().push(mark);
        // Asked by connecting: a listener would be copied into whatever is being started just now, and
        // hold the port against the server that is to have it.
        TcpStream::connect(("127.0.0.1", *port)).is_err()
    };
    // Once round: what is not free by then will not be.
    let all = std::iter::repeat_with(|| u16::try_from(port()).unwrap()).take(PORTS as usize);
    let ports: Vec<u16> = all.filter(is_free).take(count).collect();
    assert_eq!(ports.len(), count, "no more ports of 127.0.0.1 are free");
    ports
}
