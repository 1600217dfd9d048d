//! Moving bytes between a socket and memory: one read, one write, and what their answers mean.
//!
//! It works on anything that reads and writes, so the tests hand it a scripted stream. It never decides
//! what happens to the connection; `connection.rs` does.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;

use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};

use super::limits::SPARE_BUFFER_MAX_BYTES;

/// What one read attempt brought.
#[derive(Debug)]
pub(super) enum Received {
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

/// Reads once. A read shorter than the buffer says that a stream is drained (epoll(7), question 9),
/// which saves the read that would only answer "would block". Not so when the kernel has announced
/// something behind what is read: the stream's end, or the mark of urgent data, at which a read stops
/// short though more has come (tcp(7)). No new edge will come for either.
pub(super) fn receive(stream: &mut impl Read, buffer: &mut [u8], announced: bool) -> Received {
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
pub(super) enum Flushed {
    /// Everything that may be sent is with the kernel.
    All,
    /// The kernel is full: the rest waits until the socket is writable again.
    Part,
    /// The connection is broken.
    Failed(io::Error),
}

/// Bytes on their way out: appended at the end, taken by the kernel at the front.
#[derive(Default)]
pub(super) struct Output {
    bytes: Vec<u8>,
    sent: usize,
    /// How many bytes came before the first of `bytes`.
    gone: u64,
    /// What stands from here on, counted from the first byte ever appended, must wait.
    withheld_from: Option<u64>,
}

impl Output {
    /// Bytes that are not with the kernel yet.
    pub fn len(&self) -> usize {
        // Whoever composes must only append, and is not trusted to.
        self.bytes.len().saturating_sub(self.sent)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where new output is appended. An empty output takes a used buffer from `spare`.
    pub fn tail(&mut self, spare: &mut Vec<Vec<u8>>) -> &mut Vec<u8> {
        if self.bytes.capacity() == 0 {
            self.bytes = spare.pop().unwrap_or_default();
        } else if self.sent > SPARE_BUFFER_MAX_BYTES {
            // A peer that reads slowly but steadily keeps the buffer from ever being empty; the part
            // that is gone must not pile up in front.
            self.bytes.drain(..self.sent);
            self.gone += self.sent as u64;
            self.sent = 0;
        }
        &mut self.bytes
    }

    /// How many bytes were ever marked as sent.
    pub fn sent_bytes(&self) -> u64 {
        self.gone + self.sent as u64
    }

    /// Where its end is, counted in bytes from the first that was ever appended.
    pub fn end(&self) -> u64 {
        self.gone + self.bytes.len() as u64
    }

    /// From now on what is appended waits for [`release_to`](Self::release_to).
    pub fn withhold(&mut self) {
        self.withheld_from = Some(self.end());
    }

    /// Lets go what stands before `end`; `None`: all, and nothing waits any more.
    pub fn release_to(&mut self, end: Option<u64>) {
        self.withheld_from = end.zip(self.withheld_from).map(|(end, from)| end.max(from));
    }

    /// Whether what is appended waits.
    pub fn is_withheld(&self) -> bool {
        self.withheld_from.is_some()
    }

    /// What is still to be sent and may be.
    pub fn unsent(&self) -> &[u8] {
        let limit = self.withheld_from.map_or(u64::MAX, |from| from.saturating_sub(self.gone));
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(self.bytes.len());
        self.bytes.get(self.sent..limit).unwrap_or_default()
    }

    /// Marks so much of it as sent, or as taken over by TLS.
    pub fn advance(&mut self, length: usize) {
        self.sent += length;
        if self.is_empty() {
            self.gone += self.bytes.len() as u64;
            self.bytes.clear();
            self.sent = 0;
        }
    }

    /// One write attempt. Short writes are ordinary: the offset moves, the rest waits.
    pub fn flush_to(&mut self, stream: &mut impl Write) -> Flushed {
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

    /// Gives the memory of an empty output back, so that an idle connection holds none.
    pub fn release(&mut self, spare: &mut Vec<Vec<u8>>, spare_max: usize) {
        if self.is_empty() && self.bytes.capacity() > 0 {
            // Empty, so nothing of it is left to be counted.
            let mut buffer = std::mem::take(&mut self.bytes);
            if spare.len() < spare_max && buffer.capacity() <= SPARE_BUFFER_MAX_BYTES {
                buffer.clear();
                spare.push(buffer);
            }
        }
    }
}

/// A connected socket of either kind.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Registers once, for both directions and for the connection's whole life: readiness is
    /// edge-triggered and kept in flags, so no interest ever changes and no system call is spent on it.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        // A telnet that interrupts sends urgent data, which `receive` has to know of.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let interest = interest | Interest::PRIORITY;
        match self {
            Self::Tcp(stream) => registry.register(stream, token, interest),
            Self::Unix(stream) => registry.register(stream, token, interest),
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
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// A stream that does what its script says, call by call.
    #[derive(Default)]
    struct Scripted {
        answers: VecDeque<io::Result<usize>>,
        written: Vec<u8>,
    }

    impl Scripted {
        fn new(answers: impl IntoIterator<Item = io::Result<usize>>) -> Self {
            Self { answers: answers.into_iter().collect(), written: Vec::new() }
        }
    }

    impl Read for Scripted {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.answers.pop_front().expect("one read too many")?;
            buffer[..length].fill(b'x');
            Ok(length)
        }
    }

    impl Write for Scripted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let length = self.answers.pop_front().expect("one write too many")?.min(bytes.len());
            self.written.extend_from_slice(&bytes[..length]);
            Ok(length)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn error(kind: ErrorKind) -> io::Result<usize> {
        Err(kind.into())
    }

    fn output(text: &str) -> Output {
        let mut output = Output::default();
        output.tail(&mut Vec::new()).extend_from_slice(text.as_bytes());
        output
    }

    #[test]
    fn a_short_read_is_drained_unless_the_end_was_announced() {
        let mut buffer = [0; 8];
        let mut read =
            |answer, announced| receive(&mut Scripted::new([answer]), &mut buffer, announced);
        assert!(matches!(read(Ok(3), false), Received::Data { length: 3, drained: true }));
        assert!(matches!(read(Ok(8), false), Received::Data { length: 8, drained: false }));
        assert!(matches!(read(Ok(3), true), Received::Data { length: 3, drained: false }));
        assert!(matches!(read(Ok(0), false), Received::Closed));
        assert!(matches!(read(error(ErrorKind::WouldBlock), false), Received::Nothing));
        assert!(matches!(read(error(ErrorKind::Interrupted), false), Received::Again));
        assert!(matches!(read(error(ErrorKind::ConnectionReset), false), Received::Failed(_)));
    }

    #[test]
    fn a_short_write_keeps_the_rest_and_waits() {
        let mut output = output("hello world");
        let mut stream = Scripted::new([Ok(3)]);
        assert!(matches!(output.flush_to(&mut stream), Flushed::Part));
        assert_eq!(output.unsent(), b"lo world");
        let mut more = Scripted::new([error(ErrorKind::WouldBlock)]);
        assert!(matches!(output.flush_to(&mut more), Flushed::Part));
        let mut rest = Scripted::new([error(ErrorKind::Interrupted), Ok(100)]);
        assert!(matches!(output.flush_to(&mut rest), Flushed::All));
        assert_eq!((stream.written, rest.written), (b"hel".to_vec(), b"lo world".to_vec()));
        assert!(output.is_empty());
    }

    #[test]
    fn what_is_withheld_waits_until_it_is_released_in_parts_or_for_good() {
        let mut output = output("first ");
        let flush = |output: &mut Output| {
            let mut stream = Scripted::new((0..3).map(|_| Ok(4)));
            while !matches!(output.flush_to(&mut stream), Flushed::All) {}
            String::from_utf8(stream.written).unwrap()
        };
        let append = |output: &mut Output, text: &str| {
            output.tail(&mut Vec::new()).extend_from_slice(text.as_bytes());
            output.end()
        };
        output.withhold();
        let second = append(&mut output, "second ");
        assert_eq!(flush(&mut output), "first ");
        assert_eq!((flush(&mut output).as_str(), output.len()), ("", 7));
        append(&mut output, "third ");
        output.release_to(Some(second));
        assert_eq!(flush(&mut output), "second ");
        // An earlier release comes late and takes nothing back.
        output.release_to(Some(1));
        assert_eq!((flush(&mut output).as_str(), output.len()), ("", 6));
        output.release_to(None);
        assert_eq!(flush(&mut output), "third ");
        append(&mut output, "fourth");
        assert_eq!(flush(&mut output), "fourth");
    }

    #[test]
    fn a_broken_stream_is_a_failure_not_a_wait() {
        for answer in [Ok(0), error(ErrorKind::BrokenPipe), error(ErrorKind::ConnectionReset)] {
            let mut stream = Scripted::new([answer]);
            assert!(matches!(output("x").flush_to(&mut stream), Flushed::Failed(_)));
        }
    }

    #[test]
    fn what_is_sent_does_not_pile_up_in_front_of_a_slow_reader() {
        let mut output = Output::default();
        let mut spare = Vec::new();
        for _ in 0..1000 {
            output.tail(&mut spare).extend_from_slice(&[b'x'; 4096]);
            let mut stream = Scripted::new([Ok(4095)]);
            output.flush_to(&mut stream);
        }
        assert_eq!(output.len(), 1000);
        assert!(output.bytes.len() <= 2 * SPARE_BUFFER_MAX_BYTES, "{}", output.bytes.len());
    }

    #[test]
    fn an_empty_output_gives_its_buffer_to_the_next() {
        let mut spare = Vec::new();
        let mut first = output("some text");
        first.flush_to(&mut Scripted::new([Ok(100)]));
        first.release(&mut spare, 1);
        assert_eq!((first.bytes.capacity(), spare.len()), (0, 1));
        let mut second = Output::default();
        second.tail(&mut spare).push(b'y');
        assert!(spare.is_empty() && second.bytes.capacity() > 1);
        let mut full = output("kept while unsent");
        full.release(&mut spare, 1);
        assert_eq!(full.len(), 17);
    }
}
