//! The transport against a stream that does what its script says, call by call.

use std::collections::VecDeque;

use crate::reactor::connection::stream::*;

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
    output.tail(&mut Spare::default()).extend_from_slice(text.as_bytes());
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
fn a_broken_stream_is_a_failure_not_a_wait() {
    for answer in [Ok(0), error(ErrorKind::BrokenPipe), error(ErrorKind::ConnectionReset)] {
        let mut stream = Scripted::new([answer]);
        assert!(matches!(output("x").flush_to(&mut stream), Flushed::Failed(_)));
    }
}

#[test]
fn what_is_sent_does_not_pile_up_in_front_of_a_slow_reader() {
    let mut output = Output::default();
    let mut spare = Spare::default();
    for _ in 0..1000 {
        output.tail(&mut spare).extend_from_slice(&[b'x'; 4096]);
        let mut stream = Scripted::new([Ok(4095)]);
        output.flush_to(&mut stream);
    }
    assert_eq!(output.len(), 1000);
    let kept = output.0.unwrap().bytes.len();
    assert!(kept <= 2 * SENT_MAX_BYTES, "{kept}");
}

#[test]
fn an_empty_output_gives_its_buffer_to_the_next() {
    let mut spare = Spare::default();
    let mut first = output("some text");
    first.flush_to(&mut Scripted::new([Ok(100)]));
    first.release(&mut spare);
    assert!(first.0.is_none() && spare.buffers.len() == 1);
    let mut second = Output::default();
    let tail = second.tail(&mut spare);
    assert!(spare.buffers.is_empty() && spare.bytes == 0 && tail.is_empty() && tail.capacity() > 1);
    assert_eq!(second.sent_bytes(), 0, "it counts from nothing");
    let mut full = output("kept while unsent");
    full.release(&mut spare);
    assert_eq!(full.len(), 17);
}

#[test]
fn the_buffers_of_a_crowd_are_not_all_kept() {
    let mut spare = Spare::default();
    let take_and_give = |spare: &mut Spare, count, size| {
        let outputs: Vec<Output> = (0..count)
            .map(|_| {
                let mut output = Output::default();
                output.tail(spare).reserve_exact(size);
                output
            })
            .collect();
        for mut output in outputs {
            output.release(spare);
        }
    };
    take_and_give(&mut spare, 100, 8192);
    assert_eq!(spare.buffers.len(), 100, "busy connections find one again");
    for (count, size) in [(20, 1_000_000), (100, 100_000), (10_000, 1000), (30_000, 1)] {
        take_and_give(&mut spare, count, size);
        let kept: usize = spare.buffers.iter().map(|buffer| buffer.memory()).sum();
        assert_eq!(kept, spare.bytes);
        assert!(kept <= SPARE_MAX_BYTES, "{kept} bytes");
        assert!(spare.buffers.iter().all(|buffer| buffer.memory() <= SPARE_EACH_MAX_BYTES));
    }
}

#[test]
fn long_buffers_take_no_place_of_those_that_are_used() {
    let mut spare = Spare::default();
    for size in [100_000, 8192] {
        let mut outputs: Vec<Output> = (0..100).map(|_| Output::default()).collect();
        for output in &mut outputs {
            output.tail(&mut spare).reserve_exact(size);
        }
        for output in &mut outputs {
            output.release(&mut spare);
        }
    }
    assert_eq!(spare.buffers.len(), 100);
}
