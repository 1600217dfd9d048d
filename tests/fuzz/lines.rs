//! Lines and Telnet commands out of a connection's bytes: the first thing that any stranger's bytes meet.
//!
//! Held against a second reading that sees the whole input at once, command by command, for three
//! limits of a line, with and without Telnet, and for every cutting.

use herd::wire::line::{Input, LINE_MAX_BYTES, LineReceiver, OVERLONG_ECHO_BYTES};

use crate::cut::cuttings;
use crate::engine::{Target, replay_and_probe};

pub const TARGET: Target = Target {
    name: "lines",
    check,
    tokens: &[
        b"\n",
        b"\r\n",
        b"\r",
        b"\r\0",
        b"\xff",
        b"\xff\xff",
        b"\xff\xfd",
        b"\xff\xfd\x06",
        b"\xff\xfb\x01",
        b"\xff\xfc\x01",
        b"\xff\xfe\x01",
        b"\xff\xf4",
        b"\xff\xfa",
        b"\xff\xf0",
        b"\xff\xfa\x18\x00xterm\xff\xf0",
        b"\xff\xef",
        b"kiwi ",
    ],
    extremes: &[7, 64, 80, LINE_MAX_BYTES],
    input_max_bytes: 2 * LINE_MAX_BYTES,
};

#[derive(Clone, Debug, PartialEq, Eq)]
enum Event {
    Line(Vec<u8>),
    TooLong(Vec<u8>),
    Telnet([u8; 3]),
}

fn check(input: &[u8]) -> String {
    let mut behaviour = String::new();
    for line_max_bytes in [7, 80, LINE_MAX_BYTES] {
        for telnet in [true, false] {
            let (expected, mid_line) = slow(input, line_max_bytes, telnet);
            for reads in cuttings(input) {
                let receiver = if telnet {
                    LineReceiver::new().with_line_max_bytes(line_max_bytes)
                } else {
                    LineReceiver::raw(line_max_bytes)
                };
                let found = events(receiver, &reads, line_max_bytes);
                assert_eq!(found, (expected.clone(), mid_line), "telnet {telnet}, {reads:?}");
            }
            if telnet && line_max_bytes != LINE_MAX_BYTES {
                behaviour.extend(expected.iter().take(4).map(letter));
                behaviour.push(if mid_line { '/' } else { '.' });
            }
        }
    }
    behaviour
}

fn letter(event: &Event) -> char {
    match event {
        Event::Line(line) if line.is_empty() => '-',
        Event::Line(line) if line.contains(&255) => 'i',
        Event::Line(_) => 'l',
        Event::TooLong(start) if start.len() < OVERLONG_ECHO_BYTES => 't',
        Event::TooLong(_) => 'T',
        Event::Telnet(_) => 'c',
    }
}

/// What a receiver makes of some reads and their end, and whether the end came in the middle of a line.
fn events(
    mut receiver: LineReceiver,
    reads: &[&[u8]],
    line_max_bytes: usize,
) -> (Vec<Event>, bool) {
    let mut events = Vec::new();
    for read in reads {
        let mut data = *read;
        while let Some(input) = receiver.next(&mut data) {
            events.push(event(input));
        }
        assert!(data.is_empty(), "all is taken");
    }
    if reads.len() == 1 {
        // A byte that is held shows in at most five bytes of this text, as in `255, `.
        let held = format!("{receiver:?}").len();
        assert!(held < 5 * line_max_bytes.max(OVERLONG_ECHO_BYTES) + 200, "holds {held}");
    }
    let mid_line = receiver.is_mid_line();
    events.extend(receiver.finish().map(event));
    assert_eq!(receiver.finish(), None, "the end comes once");
    (events, mid_line)
}

fn event(input: Input<'_>) -> Event {
    match input {
        Input::Line(line) => Event::Line(line.to_vec()),
        Input::TooLong(start) => Event::TooLong(start.to_vec()),
        Input::Telnet(answer) => Event::Telnet(answer),
    }
}

/// The first thing in some input.
enum Piece {
    /// An ordinary byte.
    Byte(u8),
    LineEnd,
    /// A request, and what answers it.
    Request([u8; 3]),
    /// So many bytes of a sub-negotiation.
    Skipped(usize),
    /// A command without an answer.
    Command,
    /// The beginning of a command.
    Unfinished,
}

/// The same in one look at the whole: what [`events`] has to give.
fn slow(input: &[u8], line_max_bytes: usize, telnet: bool) -> (Vec<Event>, bool) {
    let mut events = Vec::new();
    let (mut line, mut skipped) = (Vec::new(), 0);
    let mut mid_command = false;
    let mut rest = input;
    while !rest.is_empty() {
        let (length, piece, ended) = first(rest, telnet);
        rest = &rest[length..];
        mid_command = !ended;
        match piece {
            Piece::Byte(byte) if line.len() + skipped < line_max_bytes => line.push(byte),
            Piece::Skipped(count) if line.len() + skipped + count <= line_max_bytes => {
                skipped += count;
            }
            Piece::Byte(_) | Piece::Skipped(_) => {
                line.truncate(OVERLONG_ECHO_BYTES);
                events.push(Event::TooLong(line));
                // An IAC at the very end is a byte only once the end is known.
                return (events, mid_command && rest.is_empty() && matches!(piece, Piece::Byte(_)));
            }
            Piece::LineEnd => {
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                events.push(Event::Line(std::mem::take(&mut line)));
                skipped = 0;
            }
            Piece::Request(answer) => events.push(Event::Telnet(answer)),
            Piece::Command | Piece::Unfinished => {}
        }
    }
    let mid_line = mid_command || !line.is_empty();
    if !line.is_empty() {
        events.push(Event::Line(line));
    }
    (events, mid_line)
}

/// The length of the first piece, the piece, and whether it is known to end there (RFC 854, RFC 855).
fn first(input: &[u8], telnet: bool) -> (usize, Piece, bool) {
    match *input {
        [b'\n', ..] => (1, Piece::LineEnd, true),
        [255, ..] if telnet => match input[1..] {
            [] => (1, Piece::Byte(255), false),
            [255, ..] => (2, Piece::Byte(255), true),
            [250, ..] => {
                let (count, ended) = subnegotiation(&input[2..]);
                (2 + count, Piece::Skipped(count), ended)
            }
            [251, option, ..] => (3, Piece::Request([255, 254, option]), true),
            [253, option, ..] => (3, Piece::Request([255, 252, option]), true),
            [252 | 254, _, ..] => (3, Piece::Command, true),
            [251..=254] => (2, Piece::Unfinished, false),
            [240..=255, ..] => (2, Piece::Command, true),
            [_, ..] => (1, Piece::Byte(255), true),
        },
        [byte, ..] => (1, Piece::Byte(byte), true),
        [] => (0, Piece::Unfinished, false),
    }
}

/// How many bytes belong to a sub-negotiation after `IAC SB`, and whether it ends.
fn subnegotiation(input: &[u8]) -> (usize, bool) {
    let mut at = 0;
    while at < input.len() {
        match input[at..] {
            [255, 240, ..] => return (at + 2, true),
            [255, _, ..] => at += 2,
            _ => at += 1,
        }
    }
    (input.len(), false)
}

#[test]
fn the_corpus_and_new_inputs_pass() {
    replay_and_probe(&TARGET);
}
