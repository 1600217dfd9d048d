//! A peer outside the reactor: a socket of the standard library that never blocks, because the test that
//! reads from it is also the one that turns the loop.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;

/// A peer outside the reactor.
pub struct Client<S> {
    pub stream: S,
    pub received: Vec<u8>,
    /// How its stream ended: `Ok` with a FIN, or the error.
    pub end: Option<Result<(), ErrorKind>>,
}

impl Client<TcpStream> {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nonblocking(true).unwrap();
        Self::over(stream)
    }

    /// From another address of this machine.
    pub fn from(ip: &str, address: SocketAddr) -> Self {
        use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&socket, &SocketAddr::new(ip.parse().unwrap(), 0)).unwrap();
        connect(&socket, &address).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_nonblocking(true).unwrap();
        Self::over(stream)
    }

    pub fn finish_sending(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }
}

impl Client<UnixStream> {
    pub fn finish_sending(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }
}

impl<S: Read + Write> Client<S> {
    pub fn over(stream: S) -> Self {
        Self { stream, received: Vec::new(), end: None }
    }

    /// Sends something small, which a socket's buffer takes whole.
    pub fn send(&mut self, bytes: &[u8]) {
        assert_eq!(self.stream.write(bytes).unwrap(), bytes.len());
    }

    /// Sends as much as the kernel takes, and says how much that was.
    pub fn send_some(&mut self, bytes: &[u8]) -> usize {
        let mut sent = 0;
        while sent < bytes.len() {
            match self.stream.write(&bytes[sent..]) {
                Ok(length) => sent += length,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => panic!("the client cannot send: {e}"),
            }
        }
        sent
    }

    /// Takes in what has come.
    pub fn pump(&mut self) {
        while self.end.is_none() && self.pump_once(64 * 1024) > 0 {}
    }

    /// One read of at most so many bytes.
    pub fn pump_once(&mut self, length_max: usize) -> usize {
        let mut buffer = vec![0; length_max];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.end = Some(Ok(())),
            Ok(length) => {
                self.received.extend_from_slice(&buffer[..length]);
                return length;
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(e) => self.end = Some(Err(e.kind())),
        }
        0
    }
}
