//! Moving bytes between a socket and memory: one read, one write, and what their answers mean.
//!
//! It works on anything that reads and writes, so the tests hand it a scripted stream. It never decides
//! what happens to the connection; the connection does.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;

use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};

use crate::reactor::bounds::limits::{SENT_MAX_BYTES, SPARE_EACH_MAX_BYTES, SPARE_MAX_BYTES};

/// What one read attempt brought.
#[derive(Debug)]
pub(in crate::reactor) enum Received {
    /// So many bytes; `drained` when the kernel has no more for now.
    Data { length: usize, drained: bool },
    /// Nothing at the moment: the next edge will tell.
    Nothing,
    /// A signal came in between: try again next turn.
    Again,
    /// The peer has closed its side.
    Closed,
    /// The connection is broken.
    Failed(io::Error),
}

impl Received {
    /// How many bytes came.
    pub fn length(&self) -> usize {
        if let Self::Data { length, .. } = self { *length } else { 0 }
    }
}

/// Reads once. A read shorter than the buffer says that a stream is drained (epoll(7), question 9),
/// which saves the read that would only answer "would block". Not so when the kernel has announced
/// something behind what is read: the stream's end, or the mark of urgent data, at which a read stops
/// short though more has come (tcp(7)). No new edge will come for either.
pub(in crate::reactor) fn receive(
    stream: &mut impl Read,
    buffer: &mut [u8],
    announced: bool,
) -> Received {
    match stream.read(buffer) {
        Ok(0) => Received::Closed,
        Ok(length) => Received::Data { length, drained: length < buffer.len() && !announced },
        Err(e) if e.kind() == ErrorKind::WouldBlock => Received::Nothing,
        Err(e) if e.kind() == ErrorKind::Interrupted => Received::Again,
        Err(e) => Received::Failed(e),
    }
}

/// What one write attempt achieved.
#[derive(Debug)]
pub(in crate::reactor) enum Flushed {
    /// Everything is with the kernel.
    All,
    /// The kernel is full: the rest waits until the socket is writable again.
    Part,
    /// The connection is broken.
    Failed(io::Error),
}

fn interest() -> Interest {
    let interest = Interest::READABLE | Interest::WRITABLE;
    // A telnet that interrupts sends urgent data, which `receive` has to know of.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let interest = interest | Interest::PRIORITY;
    interest
}

/// Bytes on their way out: appended at the end, taken by the kernel at the front. One word as long as
/// there are none, which is what an idle connection has.
#[derive(Default)]
pub(in crate::reactor) struct Output(Option<Box<Buffer>>);

/// An output that has something in it, or something to remember. All that was ever appended, in order:
///
/// ```text
///  0              gone            gone + sent                end
///  |   forgotten   |   in front    |  still to be sent        |
///                  |<---------------- bytes ----------------->|
///  |<- the kernel (or TLS) has it >|<---------- len --------->|
/// ```
#[derive(Default)]
pub(in crate::reactor) struct Buffer {
    bytes: Vec<u8>,
    /// How many of `bytes` the kernel has, or TLS.
    sent: usize,
    /// How many bytes came before the first of `bytes`.
    gone: u64,
}

/// Buffers for the next output that has something to say, none of them long, up to so much memory in all.
#[derive(Default)]
pub(in crate::reactor) struct Spare {
    #[expect(clippy::vec_box, reason = "an output takes one over as it is, without allocating")]
    buffers: Vec<Box<Buffer>>,
    bytes: usize,
}

impl Spare {
    fn take(&mut self) -> Option<Box<Buffer>> {
        let buffer = self.buffers.pop()?;
        self.bytes -= buffer.memory();
        Some(buffer)
    }

    fn keep(&mut self, buffer: Box<Buffer>) {
        let memory = buffer.memory();
        if memory <= SPARE_EACH_MAX_BYTES && self.bytes + memory <= SPARE_MAX_BYTES {
            self.bytes += memory;
            self.buffers.push(buffer);
        }
    }
}

impl Output {
    /// Bytes that are not with the kernel yet.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |buffer| buffer.len())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where new output is appended. An output without a buffer takes a used one from `spare`.
    pub fn tail(&mut self, spare: &mut Spare) -> &mut Vec<u8> {
        let buffer = self.0.get_or_insert_with(|| spare.take().unwrap_or_default());
        if buffer.sent > SENT_MAX_BYTES {
            buffer.forget_sent();
        }
        &mut buffer.bytes
    }

    /// How many bytes were marked as sent since it last got a buffer.
    pub fn sent_bytes(&self) -> u64 {
        self.0.as_ref().map_or(0, |buffer| buffer.gone + buffer.sent as u64)
    }

    /// What is still to be sent.
    pub fn unsent(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |buffer| buffer.unsent())
    }

    /// Marks so much of it as sent, or as taken over by TLS.
    pub fn advance(&mut self, length: usize) {
        if let Some(buffer) = &mut self.0 {
            buffer.advance(length);
        }
    }

    /// One write attempt. Short writes are ordinary: the offset moves, the rest waits.
    pub fn flush_to(&mut self, stream: &mut impl Write) -> Flushed {
        self.0.as_mut().map_or(Flushed::All, |buffer| buffer.flush_to(stream))
    }

    /// Gives the buffer of an empty output away, so that an idle connection holds none.
    pub fn release(&mut self, spare: &mut Spare) {
        if let Some(mut buffer) = self.0.take_if(|buffer| buffer.len() == 0) {
            buffer.forget_sent();
            buffer.gone = 0;
            spare.keep(buffer);
        }
    }
}

impl Buffer {
    fn memory(&self) -> usize {
        size_of::<Self>() + self.bytes.capacity()
    }

    fn len(&self) -> usize {
        // Whoever composes must only append, and is not trusted to.
        self.bytes.len().saturating_sub(self.sent)
    }

    /// A peer that reads slowly but steadily keeps the buffer from ever being empty; the part that is
    /// gone must not pile up in front.
    fn forget_sent(&mut self) {
        let sent = self.sent.min(self.bytes.len());
        self.bytes.drain(..sent);
        self.gone += sent as u64;
        self.sent = 0;
    }

    fn unsent(&self) -> &[u8] {
        self.bytes.get(self.sent..).unwrap_or_default()
    }

    fn advance(&mut self, length: usize) {
        self.sent += length;
        if self.len() == 0 {
            self.forget_sent();
        }
    }

    fn flush_to(&mut self, stream: &mut impl Write) -> Flushed {
        loop {
            let unsent = self.unsent();
            if unsent.is_empty() {
                return Flushed::All;
            }
            match stream.write(unsent) {
                Ok(0) => return Flushed::Failed(ErrorKind::WriteZero.into()),
                Ok(length) => {
                    let is_short = length < unsent.len();
                    self.advance(length);
                    if is_short {
                        return Flushed::Part;
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Flushed::Part,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Flushed::Failed(e),
            }
        }
    }
}

/// A connected socket of either kind.
pub(in crate::reactor) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Registers once, for both directions and for the connection's whole life: readiness is
    /// edge-triggered and kept in flags, so no interest ever changes and no system call is spent on it.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => registry.register(stream, token, interest()),
            Self::Unix(stream) => registry.register(stream, token, interest()),
        }
    }

    /// Gives the socket another token: an attempt to connect has become its dial's connection. What is
    /// ready at that time is announced once more.
    pub fn register_again(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => registry.reregister(stream, token, interest()),
            Self::Unix(stream) => registry.reregister(stream, token, interest()),
        }
    }

    /// Sends our FIN after what is written.
    pub fn close_write_side(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }

    /// The error that the kernel keeps for this socket, if any.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        match self {
            Self::Tcp(stream) => stream.take_error(),
            Self::Unix(stream) => stream.take_error(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
