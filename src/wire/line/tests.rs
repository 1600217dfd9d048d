//! The line receiver: each rule of the protocol about lines, and any cutting of the input.

use proptest::prelude::*;

use super::*;

const DO: u8 = 253;
const WILL: u8 = 251;
const WONT: u8 = 252;
const DONT: u8 = 254;
const SB: u8 = 250;
const SE: u8 = 240;
const IP: u8 = 244;
const TIMING_MARK: u8 = 6;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Event {
    Line(Vec<u8>),
    TooLong(Vec<u8>),
    Telnet([u8; 3]),
}

impl From<Input<'_>> for Event {
    fn from(input: Input<'_>) -> Self {
        match input {
            Input::Line(line) => Self::Line(line.to_vec()),
            Input::TooLong(start) => Self::TooLong(start.to_vec()),
            Input::Telnet(answer) => Self::Telnet(answer),
        }
    }
}

/// All that a receiver makes of some reads and the end of the input.
fn events_of(mut receiver: LineReceiver, reads: &[&[u8]]) -> Vec<Event> {
    let mut events = Vec::new();
    for read in reads {
        let mut data = *read;
        while let Some(input) = receiver.next(&mut data) {
            events.push(input.into());
        }
        assert!(data.is_empty());
        assert!(receiver.kept().len() <= receiver.line_max_bytes().max(OVERLONG_ECHO_BYTES));
    }
    events.extend(receiver.finish().map(Event::from));
    assert_eq!(receiver.finish(), None, "the end comes once");
    events
}

fn events(input: &[u8]) -> Vec<Event> {
    events_of(LineReceiver::new(), &[input])
}

fn lines(lines: &[&[u8]]) -> Vec<Event> {
    lines.iter().map(|line| Event::Line(line.to_vec())).collect()
}

#[test]
fn lines_end_with_lf_and_a_cr_just_before_it_goes_too() {
    let input = b"one\ntwo\r\n\n\r\nthree\r\r\nf\rour\n\r\0five\r\0\n";
    let expected: &[&[u8]] = &[b"one", b"two", b"", b"", b"three\r", b"f\rour", b"\r\0five\r\0"];
    assert_eq!(events(input), lines(expected));
}

#[test]
fn a_last_line_without_lf_counts_and_is_untouched() {
    assert_eq!(events(b"one\nlast"), lines(&[b"one", b"last"]));
    assert_eq!(events(b"last\r"), lines(&[b"last\r"]));
    assert_eq!(events(b"one\n"), lines(&[b"one"]));
    assert_eq!(events(b""), []);
}

#[test]
fn a_whole_line_is_handed_out_in_place() {
    let input = b"one\ntwo\r\nrest".to_vec();
    let mut receiver = LineReceiver::new();
    let mut data = &input[..];
    for start in [0, 4] {
        let Some(Input::Line(line)) = receiver.next(&mut data) else { panic!() };
        assert!(std::ptr::eq(line.as_ptr(), &raw const input[start]));
    }
    assert!(receiver.begun.is_none());
    assert_eq!(receiver.next(&mut data), None);
    assert_eq!(receiver.kept(), b"rest");
}

#[test]
fn between_two_lines_a_receiver_is_two_words() {
    assert_eq!(size_of::<LineReceiver>(), 16);
    let mut receiver = LineReceiver::new();
    assert_eq!(receiver.next(&mut &[IAC, IP, IAC, SB, 24][..]), None);
    assert_eq!(receiver.next(&mut &[IAC, SE, b'a', b'\n', IAC, WONT][..]), Some(Input::Line(b"a")));
    assert_eq!(receiver.next(&mut &[IAC, WONT][..]), None);
    assert!(receiver.is_mid_line());
    assert_eq!(receiver.next(&mut &[1][..]), None);
    assert!(!receiver.is_mid_line() && receiver.begun.is_none());
}

#[test]
fn memory_is_given_back_after_a_line_that_was_cut() {
    let mut receiver = LineReceiver::new();
    assert_eq!(receiver.next(&mut &[b'x'; LINE_MAX_BYTES][..]), None);
    let mut data = &b"\n"[..];
    assert!(matches!(receiver.next(&mut data), Some(Input::Line(line)) if line.len() == 16_384));
    assert!(!receiver.is_mid_line());
    assert_eq!(receiver.next(&mut data), None);
    assert!(receiver.begun.is_none());
}

#[test]
fn a_line_may_have_16384_bytes_and_no_more() {
    let fits = [&[b'x'; LINE_MAX_BYTES][..], b"\n"].concat();
    assert_eq!(events(&fits), lines(&[&[b'x'; LINE_MAX_BYTES]]));
    let cut_off = [Event::TooLong(vec![b'x'; 64])];
    let too_long = vec![b'x'; LINE_MAX_BYTES + 1];
    let with_lf = [&too_long[..], b"\nnext\n"].concat();
    assert_eq!(events(&with_lf), cut_off);
    assert_eq!(events(&too_long), cut_off);
    // Without an LF in sight, the byte too many decides at once and not the end of the input.
    let mut receiver = LineReceiver::new();
    assert_eq!(receiver.next(&mut &[b'x'; LINE_MAX_BYTES][..]), None);
    assert_eq!(receiver.next(&mut &b"x"[..]), Some(Input::TooLong(&[b'x'; 64])));
}

#[test]
fn after_a_line_that_is_too_long_there_is_nothing() {
    let mut receiver = LineReceiver::new();
    assert_eq!(receiver.next(&mut &[b'x'; LINE_MAX_BYTES][..]), None);
    assert!(matches!(receiver.next(&mut &b"xyz\n"[..]), Some(Input::TooLong(_))));
    assert!(receiver.begun.as_ref().unwrap().kept.capacity() <= 2 * OVERLONG_ECHO_BYTES);
    for mut more in [&b"a\n"[..], &[IAC, DO, 1], b"\n"] {
        assert_eq!(receiver.next(&mut more), None);
        assert!(more.is_empty());
    }
    assert!(!receiver.is_mid_line());
    assert_eq!(receiver.finish(), None);
}

#[test]
fn a_line_that_is_too_slow_is_cut_off_the_same_way() {
    let mut receiver = LineReceiver::new();
    assert_eq!(receiver.next(&mut &b"IAMAT"[..]), None);
    assert_eq!(receiver.cut_off(), b"IAMAT");
    assert_eq!(receiver.next(&mut &b" kiwi\n"[..]), None);
    let mut receiver = LineReceiver::new();
    assert_eq!(receiver.next(&mut &[b'x'; 1000][..]), None);
    assert_eq!(receiver.cut_off(), [b'x'; 64]);
    assert_eq!(receiver.finish(), None);
}

#[test]
fn a_line_is_begun_by_its_first_byte_and_ended_by_its_lf() {
    let mut receiver = LineReceiver::new();
    for (read, mid_line) in [
        (&b"one\n"[..], false),
        (b"t", true),
        (b"wo", true),
        (b"\n", false),
        (&[IAC], true),
        (&[DO], true),
        (&[TIMING_MARK], false),
        (&[IAC, SB, 24], true),
        (&[IAC, SE], false),
        (b"\n", false),
    ] {
        let mut data = read;
        while receiver.next(&mut data).is_some() {}
        assert_eq!(receiver.is_mid_line(), mid_line, "{read:?}");
    }
}

#[test]
fn an_interrupt_with_a_timing_mark_is_answered_at_once() {
    let mut receiver = LineReceiver::new();
    let mut data = &[b'I', b'A', IAC, IP, IAC, DO, TIMING_MARK][..];
    assert_eq!(receiver.next(&mut data), Some(Input::Telnet([IAC, WONT, TIMING_MARK])));
    assert_eq!(receiver.next(&mut data), None);
    let mut data = &b"MAT\n"[..];
    assert_eq!(receiver.next(&mut data), Some(Input::Line(b"IAMAT")));
}

#[test]
fn telnet_commands_anywhere_are_taken_out_of_the_line() {
    let input = [
        &[IAC, WILL, 1, b'o', IAC, DONT, b'\n', b'n', IAC, WONT, b'\n'][..],
        &[IAC, SB, b'\n', b'x', IAC, SE, b'e', IAC, SE, b'\r', IAC, 249, b'\n'],
    ]
    .concat();
    let expected = [Event::Telnet([IAC, DONT, 1]), Event::Line(b"one".to_vec())];
    assert_eq!(events(&input), expected);
}

#[test]
fn two_iacs_and_an_iac_that_is_no_command_are_ordinary_bytes() {
    assert_eq!(events(&[b'a', IAC, IAC, b'b', b'\n']), lines(&[b"a\xffb"]));
    assert_eq!(events(&[b'a', IAC, b'b', b'\n']), lines(&[b"a\xffb"]));
    assert_eq!(events(&[IAC, b'\n', IAC, 239, b'\n']), lines(&[b"\xff", b"\xff\xef"]));
    assert_eq!(events(&[IAC, IAC, SE, b'\n']), lines(&[b"\xff\xf0"]));
    assert_eq!(events(&[b'a', IAC]), lines(&[b"a\xff"]));
    assert_eq!(events(&[b'a', IAC, DO]), lines(&[b"a"]));
}

#[test]
fn sub_negotiations_count_towards_the_length_of_a_line() {
    let subnegotiation = |bytes| [&[IAC, SB][..], &vec![0; bytes], &[IAC, SE]].concat();
    let fits = [&b"a"[..], &subnegotiation(LINE_MAX_BYTES - 4), b"b\n"].concat();
    assert_eq!(events(&fits), lines(&[b"ab"]));
    let too_long = [&b"a"[..], &subnegotiation(LINE_MAX_BYTES - 3), b"b\n"].concat();
    assert_eq!(events(&too_long), [Event::TooLong(b"a".to_vec())]);
    let endless = [&[IAC, SB][..], &vec![0; 100_000]].concat();
    assert_eq!(events(&endless), [Event::TooLong(vec![])]);
    // Each line has its own count.
    assert_eq!(events(&fits.repeat(3)), lines(&[b"ab"; 3].map(|line| &line[..])));
}

#[test]
fn a_flood_of_requests_is_answered_one_at_a_time_from_no_memory() {
    let flood = [IAC, DO, 1].repeat(1_000_000);
    let mut receiver = LineReceiver::new();
    let mut data = &flood[..];
    for left in (0..1_000_000).rev() {
        assert_eq!(receiver.next(&mut data), Some(Input::Telnet([IAC, WONT, 1])));
        assert_eq!(data.len(), 3 * left);
    }
    assert_eq!(receiver.next(&mut data), None);
    assert!(receiver.begun.is_none());
}

#[test]
fn a_raw_receiver_leaves_every_byte_as_it_is() {
    let input = [b'a', IAC, DO, 1, IAC, IAC, b'\r', b'\n', IAC];
    let raw = events_of(LineReceiver::raw(100), &[&input]);
    assert_eq!(raw, lines(&[&[b'a', IAC, DO, 1, IAC, IAC], &[IAC]]));
    assert_eq!(events_of(LineReceiver::raw(3), &[b"abc\nabcd\n"]).len(), 2);
    let short = LineReceiver::new().with_line_max_bytes(3);
    let expected = [Event::Line(b"abc".to_vec()), Event::TooLong(b"abc".to_vec())];
    assert_eq!(events_of(short, &[b"abc\nabcd\n"]), expected);
}

#[test]
fn a_caller_may_go_on_with_another_receiver_after_a_line() {
    let input = [&b"HELLO\n"[..], &[IAC, IAC, b'\n']].concat();
    let mut data = &input[..];
    let mut receiver = LineReceiver::new();
    assert_eq!(receiver.next(&mut data), Some(Input::Line(b"HELLO")));
    let mut receiver = LineReceiver::raw(100);
    assert_eq!(receiver.next(&mut data), Some(Input::Line(&[IAC, IAC])));
}

/// Pieces of input in which everything that a receiver knows comes up often.
fn input() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => proptest::collection::vec(
            proptest::sample::select(vec![IAC, DO, WILL, WONT, DONT, SB, SE, IP, b'\n', b'\r', 0, b'a']),
            0..6),
        2 => "[a-z ]{0,30}\r?\n".prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..40),
        1 => Just([&[IAC, SB][..], b"sub\nnegotiation", &[IAC, SE]].concat()),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// The same input cut at some places, also into reads of nothing.
fn cut<'a>(input: &'a [u8], places: &[proptest::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = places.iter().map(|place| place.index(input.len() + 1)).collect();
    places.sort_unstable();
    let mut start = 0;
    let mut reads = Vec::new();
    for end in places.into_iter().chain([input.len()]) {
        reads.push(&input[start..end]);
        start = end;
    }
    reads
}

proptest! {
    #[test]
    fn any_cutting_of_the_input_gives_the_same_events(
        input in input(),
        places in proptest::collection::vec(any::<proptest::sample::Index>(), 0..8),
        line_max_bytes in prop_oneof![1usize..90, Just(LINE_MAX_BYTES)],
    ) {
        let receivers: [fn(usize) -> LineReceiver; 2] =
            [|max| LineReceiver::new().with_line_max_bytes(max), LineReceiver::raw];
        for receiver in receivers {
            let whole = events_of(receiver(line_max_bytes), &[&input]);
            let some = events_of(receiver(line_max_bytes), &cut(&input, &places));
            prop_assert_eq!(&whole, &some);
            let bytes: Vec<&[u8]> = input.chunks(1).collect();
            prop_assert_eq!(&whole, &events_of(receiver(line_max_bytes), &bytes));
        }
    }

    #[test]
    fn without_telnet_commands_lines_are_what_splitting_gives(
        input in proptest::collection::vec(
            prop_oneof![Just(b'\n'), Just(b'\r'), 0u8..255], 0..300),
        places in proptest::collection::vec(any::<proptest::sample::Index>(), 0..8),
    ) {
        let mut expected: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
        let last = expected.pop().filter(|last| !last.is_empty());
        let stripped = expected.iter().map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let expected: Vec<Event> =
            stripped.chain(last).map(|line| Event::Line(line.to_vec())).collect();
        prop_assert_eq!(events_of(LineReceiver::new(), &cut(&input, &places)), expected);
    }

    #[test]
    fn doubling_every_255_brings_any_line_through(
        line in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let line: Vec<u8> = line.into_iter().filter(|byte| *byte != b'\n').collect();
        let doubled: Vec<u8> = line
            .iter()
            .flat_map(|byte| std::iter::repeat_n(*byte, if *byte == IAC { 2 } else { 1 }))
            .chain(*b"\n")
            .collect();
        let expected = Event::Line(without_cr(&line).to_vec());
        prop_assert_eq!(events(&doubled), vec![expected]);
    }

    #[test]
    fn long_lines_cut_anywhere_are_lines_or_cut_off(
        length in LINE_MAX_BYTES - 2..LINE_MAX_BYTES + 3,
        places in proptest::collection::vec(any::<proptest::sample::Index>(), 0..8),
    ) {
        let input = [&vec![b'x'; length][..], b"\n"].concat();
        let expected = if length <= LINE_MAX_BYTES {
            Event::Line(vec![b'x'; length])
        } else {
            Event::TooLong(vec![b'x'; 64])
        };
        prop_assert_eq!(events_of(LineReceiver::new(), &cut(&input, &places)), vec![expected]);
    }
}
