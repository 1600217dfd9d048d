//! Replies, checked byte for byte as far as they can be known.
//!
//! Pure: it is handed what has come and what was asked. It says how long the first reply is, that more
//! has to come before that can be told, or what is wrong with it. Called for every reply, so what is
//! right is found out by a few comparisons; only what may be wrong is looked at closely.

use serde_json::value::RawValue;

use super::request::TIME_BYTES;

/// The longest line of a reply, bytes. Ours have about 100.
pub const REPLY_LINE_MAX_BYTES: usize = 16 * 1024;

/// The longest answer of Places with its AT line, bytes: twenty places have about 20,000.
pub const ANSWER_MAX_BYTES: usize = 4 * 1024 * 1024;

/// The longest part of a reply or a request that an error shows, bytes.
const SHOWN_MAX_BYTES: usize = 160;

/// What the next reply has to be.
#[derive(Clone, Copy)]
pub enum Expected<'a> {
    /// `AT SERVER DIFFERENCE` and what the report said.
    At {
        /// The name that the server has given before on this connection; empty before it has.
        server: &'a [u8],
        /// The client's ID and its place, each with the space behind it.
        fields: &'a [u8],
        /// The time of the report.
        time: &'a [u8; TIME_BYTES],
    },
    /// Just these bytes.
    Exactly(&'a [u8]),
    /// This AT line (with its LF), then JSON, then an empty line.
    Answer(&'a [u8]),
}

/// Looks at the first reply in `input`: its length with its end, or `None` when more has to come. The
/// error says what was expected, and what came.
pub fn check(expected: Expected<'_>, input: &[u8]) -> Result<Option<usize>, String> {
    match expected {
        Expected::At { server, fields, time } => {
            if let Some(length) = right_at_line(server, fields, time, input) {
                return Ok(Some(length));
            }
            let server = if server.is_empty() { b"SERVER" } else { server };
            let (fields, time) = (fields.escape_ascii(), time.escape_ascii());
            let words = format!("AT {} ±SECONDS.NANOSECONDS {fields}{time}", server.escape_ascii());
            // A line that has not ended yet may still become right.
            unfinished_line(input).then_some(None).ok_or_else(|| differs(&words, input))
        }
        Expected::Exactly(text) => match input.get(..text.len()) {
            Some(start) if start == text => Ok(Some(text.len())),
            None if text.starts_with(input) => Ok(None),
            _ => Err(differs(&shown(text), input)),
        },
        Expected::Answer(at_line) => check_answer(at_line, input),
    }
}

/// The length of an AT line that is right in every byte.
fn right_at_line(
    server: &[u8],
    fields: &[u8],
    time: &[u8; TIME_BYTES],
    input: &[u8],
) -> Option<usize> {
    let rest = input.strip_prefix(b"AT ")?;
    let rest = if server.is_empty() {
        rest.get(server_name(input)?.len()..)?
    } else {
        rest.strip_prefix(server)?
    };
    let rest = after_difference(rest.strip_prefix(b" ")?)?.strip_prefix(b" ")?;
    let rest = rest.strip_prefix(fields)?.strip_prefix(time)?.strip_prefix(b"\n")?;
    Some(input.len() - rest.len())
}

/// The server's name in an AT line, where there is a whole one.
pub fn server_name(line: &[u8]) -> Option<&[u8]> {
    let rest = line.strip_prefix(b"AT ")?;
    let length = rest.iter().position(u8::is_ascii_whitespace)?;
    rest.get(..length).filter(|name| !name.is_empty())
}

/// What stands behind the difference of the clocks: a sign, digits, a point, nine digits.
fn after_difference(text: &[u8]) -> Option<&[u8]> {
    let [b'+' | b'-', rest @ ..] = text else { return None };
    let whole = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let [b'.', rest @ ..] = rest.get(whole..)? else { return None };
    let (fraction, rest) = rest.split_at_checked(9)?;
    (whole > 0 && fraction.iter().all(u8::is_ascii_digit)).then_some(rest)
}

fn check_answer(at_line: &[u8], input: &[u8]) -> Result<Option<usize>, String> {
    let Some(answer) = input.strip_prefix(at_line) else {
        let same = at_line.starts_with(input);
        return same.then_some(None).ok_or_else(|| differs(&shown(at_line), input));
    };
    let Some(length) = answer.windows(2).position(|pair| pair == b"\n\n") else {
        let longest = input.len() > ANSWER_MAX_BYTES;
        let words = format!("JSON of at most {ANSWER_MAX_BYTES} bytes and an empty line");
        return if longest { Err(differs(&words, answer)) } else { Ok(None) };
    };
    let json = answer.get(..length).unwrap_or_default();
    match serde_json::from_slice::<&RawValue>(json) {
        Ok(value) if value.get().starts_with('{') => Ok(Some(at_line.len() + length + 2)),
        Ok(_) => Err(differs("a JSON object", answer)),
        Err(e) => Err(differs(&format!("JSON ({e})"), answer)),
    }
}

/// Whether the answer of a WHATSAT tells that Places could not be asked.
pub fn tells_a_fault(answer: &[u8]) -> bool {
    const KEY: &[u8] = br#""error_message""#;
    answer.windows(KEY.len()).any(|part| part == KEY)
}

/// Whether the input begins with a part of a line that is not too long yet.
fn unfinished_line(input: &[u8]) -> bool {
    input.len() <= REPLY_LINE_MAX_BYTES && !input.contains(&b'\n')
}

fn differs(expected: &str, input: &[u8]) -> String {
    format!("a wrong reply\n  expected: {expected}\n  came:     {}", shown(input))
}

/// The first line of a text for people to read.
pub fn shown(text: &[u8]) -> String {
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    match line.get(..SHOWN_MAX_BYTES) {
        Some(start) => format!("{}...", start.escape_ascii()),
        None => line.escape_ascii().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: &[u8; TIME_BYTES] = b"1479413884.392014450";
    const FIELDS: &[u8] = b"kiwi +34.0-118.4 ";
    const LINE: &str = "AT Alford +0.263873386 kiwi +34.0-118.4 1479413884.392014450\n";

    fn at(server: &[u8], input: &str) -> Result<Option<usize>, String> {
        check(Expected::At { server, fields: FIELDS, time: TIME }, input.as_bytes())
    }

    /// Every beginning of a right reply has to be waited for, and what follows it is not looked at.
    fn needs_all_of(expected: Expected<'_>, reply: &str) {
        for end in 0..reply.len() {
            assert_eq!(check(expected, &reply.as_bytes()[..end]), Ok(None), "{:?}", &reply[..end]);
        }
        for behind in ["", "AT", "\n", "anything"] {
            let input = format!("{reply}{behind}");
            assert_eq!(check(expected, input.as_bytes()), Ok(Some(reply.len())));
        }
    }

    #[test]
    fn a_right_at_line_is_waited_for_to_its_end() {
        for server in [&b""[..], b"Alford"] {
            needs_all_of(Expected::At { server, fields: FIELDS, time: TIME }, LINE);
        }
        assert_eq!(server_name(LINE.as_bytes()), Some(&b"Alford"[..]));
        let behind = LINE.replace("+0.263873386", "-12.000000000");
        assert_eq!(at(b"", &behind), Ok(Some(behind.len())));
    }

    #[test]
    fn every_byte_of_an_at_line_matters() {
        for (from, to) in [
            ("AT", "at"),
            ("Alford", "Ball"),
            ("Alford ", ""),
            ("+0.", "0."),
            ("+0.", "+."),
            ("+0.26", "+0.2"),
            ("+0.26", "+0.266"),
            ("+0.26", "+0.2x"),
            ("kiwi", "kivi"),
            ("118.4", "118.5"),
            ("450", "451"),
            ("450\n", "450 \n"),
            ("450\n", "450\r\n"),
            ("AT", "? IAMAT"),
        ] {
            let wrong = LINE.replacen(from, to, 1);
            let words = at(b"Alford", &wrong).unwrap_err();
            assert!(words.contains("expected: AT Alford"), "{wrong}: {words}");
            assert!(words.contains(wrong.trim_end_matches(['\n', '\r'])), "{wrong}: {words}");
        }
        assert!(at(b"", &LINE.replace("Alford", "")).is_err());
    }

    #[test]
    fn a_line_without_end_is_not_waited_for_for_ever() {
        let line = "x".repeat(REPLY_LINE_MAX_BYTES + 1);
        assert_eq!(at(b"Alford", &line[1..]), Ok(None));
        let words = at(b"Alford", &line).unwrap_err();
        assert!(words.len() < 500 && words.ends_with("..."), "{words}");
    }

    #[test]
    fn other_servers_say_exactly_what_they_have_to() {
        needs_all_of(Expected::Exactly(b"+OK\r\n"), "+OK\r\n");
        needs_all_of(Expected::Exactly(b"STORED\r\n"), "STORED\r\n");
        let words = check(Expected::Exactly(b"+OK\r\n"), b"-ERR no\r\n").unwrap_err();
        assert!(
            words.contains(r"expected: +OK\r") && words.contains(r"came:     -ERR no\r"),
            "{words}"
        );
        assert!(check(Expected::Exactly(b"+OK\r\n"), b"-").is_err(), "it cannot become right");
    }

    #[test]
    fn an_answer_is_the_at_line_and_json_up_to_an_empty_line() {
        let answer = format!("{LINE}{{\n\"results\":[],\n\"status\":\"OK\"}}\n\n");
        needs_all_of(Expected::Answer(LINE.as_bytes()), &answer);
        assert!(!tells_a_fault(answer.as_bytes()));
        assert!(tells_a_fault(br#"{"error_message":"places: no"}"#));
    }

    #[test]
    fn another_at_line_no_json_or_too_much_of_it_is_wrong() {
        let expected = Expected::Answer(LINE.as_bytes());
        for wrong in [
            "? WHATSAT kiwi 10 5\n".to_owned(),
            LINE.replace("450", "449"),
            format!("{LINE}\n\n"),
            format!("{LINE}{{\"results\":[}}\n\n"),
            format!("{LINE}[1]\n\n"),
            format!("{LINE}{}", "x".repeat(ANSWER_MAX_BYTES)),
        ] {
            assert!(check(expected, wrong.as_bytes()).is_err(), "{}", shown(wrong.as_bytes()));
        }
    }
}
