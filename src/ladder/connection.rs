//! One connection of steps 7 and 8: a socket with its input, its output and the state of connecting.
//! It is step 6's `Client`, in a file of its own, and knows nothing of what its lines mean.

use std::io::{self, ErrorKind, Read, Write};
use std::time::Instant;

use mio::net::TcpStream;

/// The longest line, so that a peer that never ends one cannot fill the memory.
const LINE_MAX_BYTES: usize = 16_384;
/// With more output than this, the next line waits.
const HIGH_WATER_BYTES: usize = 65_536;

pub struct Connection {
    pub stream: TcpStream,
    input: Vec<u8>,
    pub output: Vec<u8>,
    /// When the peer last sent something.
    pub heard: Instant,
    /// We dialled, and the kernel has not told us the outcome yet.
    connecting: bool,
}

impl Connection {
    pub fn new(stream: TcpStream, connecting: bool) -> Self {
        let (input, output, heard) = (Vec::new(), Vec::new(), Instant::now());
        Self { stream, input, output, heard, connecting }
    }

    /// A socket's first event says that something has happened, not that it is connected.
    fn check_connecting(&mut self) -> io::Result<()> {
        if self.connecting {
            self.stream.take_error()?.map_or(Ok(()), Err)?;
            self.connecting = self.stream.peer_addr().is_err();
        }
        Ok(())
    }

    /// Takes the next line, and reads if it needs to. `None`: there is nothing to do until the next
    /// event. The error is the end of the connection.
    pub fn next_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.check_connecting()?;
        while !self.connecting && self.output.len() <= HIGH_WATER_BYTES {
            if let Some(end) = self.input.iter().position(|byte| *byte == b'\n') {
                return Ok(Some(self.input.drain(..=end).collect()));
            }
            if !self.output.is_empty() {
                break;
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(length) if length > 0 && self.input.len() <= LINE_MAX_BYTES => {
                    self.input.extend_from_slice(buffer.get(..length).unwrap_or_default());
                    self.heard = Instant::now();
                }
                Ok(_) => return Err(ErrorKind::UnexpectedEof.into()),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
        }
        Ok(None)
    }

    /// Writes until everything has left or the socket would block.
    pub fn flush(&mut self) -> io::Result<()> {
        self.check_connecting()?;
        while !self.connecting && !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(taken) => drop(self.output.drain(..taken)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}
