//! The JSON of an upstream: its list cut to a bound, its empty lines taken out.
//!
//! Held against a small parser of our own that only knows the grammar (RFC 8259), and for the newlines
//! against replacing texts until nothing changes.

use std::ops::Range;

use herd::wire::json::{JsonError, cut_list, error_json, squeeze_newlines};
use serde_json::Value;

use crate::engine::{Target, replay_and_probe};

pub const TARGET: Target = Target {
    name: "json",
    check,
    tokens: &[
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"\"results\"",
        b"\"res\\u0075lts\"",
        b"\"results\":[",
        b"\"\"",
        b"\"a\"",
        b"\\",
        b"\\\"",
        b"\\u0000",
        b"\\ud83d\\ude00",
        b"\\ud800",
        b"\\x",
        b"null",
        b"true",
        b"false",
        b"0",
        b"-0",
        b"-",
        b"1.50",
        b"01",
        b"1.",
        b".5",
        b"1e999",
        b"1E+2",
        b"e",
        b" ",
        b"\t",
        b"\n",
        b"\r\n",
        b"\r",
        b"\n\n\n",
        b"\xc3\xa9",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\x01",
    ],
    extremes: &[20, 128, 129, 5000],
    input_max_bytes: 20_000,
};

const LIST: &str = "results";

fn check(input: &[u8]) -> String {
    check_squeezed(input);
    check_error(input);
    let mut behaviour = String::new();
    for bound in [0, 1, 2, 20] {
        behaviour = match cut_list(input, LIST, bound) {
            Ok(parts) => check_cut(input, bound, parts),
            Err(why) => check_refused(input, &why),
        };
    }
    behaviour
}

fn check_cut(input: &[u8], bound: usize, [head, tail]: [&[u8]; 2]) -> String {
    let text = std::str::from_utf8(input).expect("JSON is UTF-8");
    let members = members(text).expect("an object");
    let list = members.iter().rfind(|(name, _)| name == LIST);
    let cut = [head, tail].concat();
    let Some((_, list)) = list else {
        assert_eq!(cut, input, "without the list, nothing changes");
        return format!("no list, {} members", members.len().min(3));
    };
    let elements = elements(text, list.clone()).expect("a list");
    if elements.len() <= bound {
        assert_eq!(cut, input, "a short list stays as it is");
        return format!("short list of {}", elements.len().min(3));
    }
    assert!(input.starts_with(head) && input.ends_with(tail));
    assert!(cut.len() < input.len());
    let cut = std::str::from_utf8(&cut).unwrap();
    let kept_members = self::members(cut).expect("still an object");
    assert_eq!(kept_members.len(), members.len());
    for ((name, old), (kept_name, new)) in members.iter().zip(&kept_members) {
        assert_eq!(name, kept_name);
        if old == list {
            let kept = self::elements(cut, new.clone()).expect("still a list");
            let kept: Vec<&str> = kept.into_iter().map(|range| &cut[range]).collect();
            let first: Vec<&str> =
                elements.iter().take(bound).map(|range| &text[range.clone()]).collect();
            assert_eq!(kept, first, "the first elements, as they were");
        } else {
            assert_eq!(text[old.clone()], cut[new.clone()], "other members as they were");
        }
    }
    let mut squeezed = Vec::new();
    squeeze_newlines(&mut squeezed, &[head, tail]);
    assert!(whole_value(&squeezed).is_some(), "still JSON without its empty lines");
    let depth = text.bytes().filter(|byte| b"[{".contains(byte)).count().ilog2();
    format!("cut list of {}, {} members, {depth}", elements.len().min(4), members.len().min(3))
}

fn check_refused(input: &[u8], why: &JsonError) -> String {
    let text = std::str::from_utf8(input);
    let sound = text.is_ok() && whole_value(input).is_some();
    let words = why.to_string();
    assert!(!words.contains(char::is_control) && words.len() < 200);
    match why {
        JsonError::NotUtf8 => assert!(text.is_err()),
        JsonError::NotAList(list) => {
            let members = members(text.unwrap()).expect("an object");
            let value = members.into_iter().rfind(|(name, _)| name == LIST).unwrap().1;
            assert!(list == LIST && input[value.start] != b'[');
        }
        JsonError::NotAnObject => assert_ne!(first_byte(input), Some(b'{')),
        JsonError::NotJson { line, column } => {
            // A lone surrogate is within the grammar, but a name cannot hold it; and a number that stands
            // alone may be out of a float's range.
            let unsayable = input.windows(2).any(|pair| pair == b"\\u");
            assert!(!sound || unsayable || first_byte(input) != Some(b'{'), "sound JSON is read");
            let lines = input.split(|byte| *byte == b'\n').count();
            assert!((1..=lines).contains(line) && *column <= input.len(), "{line}:{column}");
            // How far it was JSON, by what stands there: so that inputs get further.
            let line = input.split(|byte| *byte == b'\n').nth(line - 1).unwrap_or_default();
            let start = column.saturating_sub(2).min(line.len());
            let near = &line[start..(*column).min(line.len())];
            let near = near
                .iter()
                .map(|byte| if byte.is_ascii_alphanumeric() { 'a' } else { char::from(*byte) });
            return near.collect();
        }
    }
    words.split('(').next().unwrap_or_default().to_owned()
}

fn first_byte(input: &[u8]) -> Option<u8> {
    input.get(skip_space(input, 0)).copied()
}

fn check_squeezed(input: &[u8]) {
    let text: Vec<char> = input.iter().copied().map(char::from).collect();
    let mut slow = text.iter().collect::<String>().replace("\r\n", "\n");
    while slow.contains("\n\n") {
        slow = slow.replace("\n\n", "\n");
    }
    let slow: Vec<u8> =
        slow.trim_end_matches('\n').chars().map(|c| u8::try_from(c).unwrap()).collect();
    let mut reads = crate::cut::cuttings(input);
    reads.truncate(3);
    for parts in reads {
        let mut out = Vec::new();
        squeeze_newlines(&mut out, &parts);
        assert_eq!(out, slow);
    }
}

fn check_error(input: &[u8]) {
    let message = String::from_utf8_lossy(input);
    let value: Value = serde_json::from_slice(&error_json(&message)).expect("sound JSON");
    assert_eq!(value["error_message"], *message);
    assert_eq!(value["results"], Value::Array(Vec::new()));
}

/// The members of the top-level object, each with where its value stands.
fn members(text: &str) -> Option<Vec<(String, Range<usize>)>> {
    let bytes = text.as_bytes();
    whole_value(bytes)?;
    let mut at = skip_space(bytes, 0);
    let mut members = Vec::new();
    (bytes.get(at) == Some(&b'{')).then_some(())?;
    loop {
        at = skip_space(bytes, at + 1);
        if bytes.get(at) == Some(&b'}') {
            return Some(members);
        }
        let name_end = string_end(bytes, at)?;
        let name = serde_json::from_str(&text[at..name_end]).ok()?;
        let start = skip_space(bytes, skip_space(bytes, name_end) + 1);
        let end = value_end(bytes, start)?;
        members.push((name, start..end));
        at = skip_space(bytes, end);
        if bytes.get(at) == Some(&b'}') {
            return Some(members);
        }
    }
}

/// Where the elements of the list stand that stands at `list`.
fn elements(text: &str, list: Range<usize>) -> Option<Vec<Range<usize>>> {
    let bytes = text.as_bytes();
    let mut at = list.start;
    let mut elements = Vec::new();
    (bytes.get(at) == Some(&b'[')).then_some(())?;
    loop {
        at = skip_space(bytes, at + 1);
        if bytes.get(at) == Some(&b']') {
            return Some(elements);
        }
        let end = value_end(bytes, at)?;
        elements.push(at..end);
        at = skip_space(bytes, end);
        if bytes.get(at) == Some(&b']') {
            return Some(elements);
        }
    }
}

/// `Some` when the bytes are one JSON value, by the grammar alone.
fn whole_value(bytes: &[u8]) -> Option<()> {
    let end = value_end(bytes, skip_space(bytes, 0))?;
    (skip_space(bytes, end) == bytes.len()).then_some(())
}

/// Where the value ends that begins at `at`. It keeps what is open in a list, not on the stack, since
/// values may nest as deep as they are long.
fn value_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    let mut open: Vec<u8> = Vec::new();
    loop {
        at = match bytes.get(at)? {
            b'{' => match skip_space(bytes, at + 1) {
                inside if bytes.get(inside) == Some(&b'}') => inside + 1,
                inside => {
                    open.push(b'}');
                    at = name_end(bytes, inside)?;
                    continue;
                }
            },
            b'[' => match skip_space(bytes, at + 1) {
                inside if bytes.get(inside) == Some(&b']') => inside + 1,
                inside => {
                    open.push(b']');
                    at = inside;
                    continue;
                }
            },
            _ => scalar_end(bytes, at)?,
        };
        // A value has ended here, and with it perhaps those around it.
        loop {
            let Some(close) = open.last() else { return Some(at) };
            at = skip_space(bytes, at);
            let byte = bytes.get(at)?;
            at += 1;
            if byte == close {
                open.pop();
            } else if *byte == b',' {
                let next = skip_space(bytes, at);
                at = if *close == b'}' { name_end(bytes, next)? } else { next };
                break;
            } else {
                return None;
            }
        }
    }
}

/// Where the value begins after the name and the colon that begin at `at`.
fn name_end(bytes: &[u8], at: usize) -> Option<usize> {
    let colon = skip_space(bytes, string_end(bytes, at)?);
    (bytes.get(colon) == Some(&b':')).then(|| skip_space(bytes, colon + 1))
}

fn scalar_end(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    for word in [&b"null"[..], b"true", b"false"] {
        if rest.starts_with(word) {
            return Some(at + word.len());
        }
    }
    if rest.first() == Some(&b'"') { string_end(bytes, at) } else { number_end(bytes, at) }
}

fn string_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    (bytes.get(at) == Some(&b'"')).then_some(())?;
    loop {
        at += 1;
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => {
                at += 1;
                match bytes.get(at)? {
                    b'u' => {
                        let digits = bytes.get(at + 1..at + 5)?;
                        digits.iter().all(u8::is_ascii_hexdigit).then_some(())?;
                        at += 4;
                    }
                    escaped => b"\"\\/bfnrt".contains(escaped).then_some(())?,
                }
            }
            0..0x20 => return None,
            _ => {}
        }
    }
}

fn number_end(bytes: &[u8], at: usize) -> Option<usize> {
    let digits = |at: usize| at + bytes[at..].iter().take_while(|b| b.is_ascii_digit()).count();
    let some_digits = |at: usize| Some(digits(at)).filter(|end| *end > at);
    let start = at + usize::from(bytes.get(at) == Some(&b'-'));
    let mut end = some_digits(start)?;
    (bytes[start] != b'0' || end == start + 1).then_some(())?;
    if bytes.get(end) == Some(&b'.') {
        end = some_digits(end + 1)?;
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        end = some_digits(end + 1 + sign)?;
    }
    Some(end)
}

fn skip_space(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().take_while(|byte| b" \t\r\n".contains(byte)).count()
}

#[test]
fn the_corpus_and_new_inputs_pass() {
    replay_and_probe(&TARGET);
}
