//! An upstream's JSON as its own bytes: a list in it cut, its empty lines taken out, and the errors
//! that are written in its place.
//!
//! Nothing is ever parsed and written anew: where a list and its elements stand is found as spans of
//! the body, and what is handed back are slices of it, so a user sees the bytes that the upstream
//! wrote. It knows no upstream. Called by Places for each WHATSAT, once for each asker's bound.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use serde_json::Value;
use serde_json::error::Category;
use serde_json::value::RawValue;

/// Why a body is not what an upstream promises. The words hold none of the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JsonError {
    /// Bytes that are not UTF-8, so not JSON (RFC 8259 §8.1).
    NotUtf8,
    /// Not JSON; where that shows, counted from 1.
    NotJson {
        /// The line.
        line: usize,
        /// The column, in bytes.
        column: usize,
    },
    /// JSON, but not an object.
    NotAnObject,
    /// What should be a list is something else; the list's name.
    NotAList(String),
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUtf8 => f.write_str("the answer is not UTF-8, so not JSON"),
            Self::NotJson { line, column } => {
                write!(f, "the answer is not JSON (line {line}, column {column})")
            }
            Self::NotAnObject => f.write_str("the answer is JSON, but not an object"),
            Self::NotAList(name) => write!(f, "the answer's \"{name}\" is not a list"),
        }
    }
}

impl std::error::Error for JsonError {}

/// The body with the list named `list` of its top-level object cut to its first `bound` elements, as
/// two slices of it: up to the end of the last element kept, and from the end of the last element
/// there was, so that the layout before the `]` closes as it did. Bound 0 leaves `[]`. A list that is
/// short enough, or is not there (an upstream's error has none), leaves the body as it is.
///
/// A name that occurs twice means its last value, as almost every reader has it. How deep the values
/// nest does not matter: they are skipped without recursion.
///
/// ```
/// use herd::wire::json::cut_list;
///
/// let body = br#"{"results": [1, {"x": [2]}, 3 ], "status": "OK"}"#;
/// let parts = cut_list(body, "results", 2).unwrap();
/// assert_eq!(parts.concat(), br#"{"results": [1, {"x": [2]} ], "status": "OK"}"#);
/// ```
pub fn cut_list<'a>(body: &'a [u8], list: &str, bound: usize) -> Result<[&'a [u8]; 2], JsonError> {
    let text = str::from_utf8(body).map_err(|_| JsonError::NotUtf8)?;
    let object: BTreeMap<String, &RawValue> =
        serde_json::from_str(text).map_err(|why| not_an_object(&why))?;
    let untouched = [body, &[]];
    let Some(array) = object.get(list) else { return Ok(untouched) };
    let not_a_list = || JsonError::NotAList(list.to_owned());
    // The array was found sound as part of the object, so all that can be wrong is its type.
    let elements: Vec<&RawValue> = serde_json::from_str(array.get()).map_err(|_| not_a_list())?;
    let (true, Some(end)) = (elements.len() > bound, elements.last()) else {
        return Ok(untouched);
    };
    let kept = bound.checked_sub(1).and_then(|index| elements.get(index));
    let (head_end, tail_start) = if let Some(kept) = kept {
        (span(text, kept).end, span(text, end).end)
    } else {
        // Bound 0 keeps the brackets alone: there is nothing left for the layout to close.
        let Range { start, end } = span(text, array);
        (start + 1, end - 1)
    };
    match (body.get(..head_end), body.get(tail_start..)) {
        (Some(head), Some(tail)) => Ok([head, tail]),
        _ => Err(not_a_list()),
    }
}

/// The text of a member of a body's top-level object: its last value, where the name occurs twice. `None`: the
/// body has no such member, or is no JSON object.
pub fn member<'a>(body: &'a [u8], name: &str) -> Option<&'a str> {
    let text = str::from_utf8(body).ok()?;
    let object: BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
    object.get(name).map(|value| value.get())
}

/// Where `part`, which was parsed out of `text` without a copy, stands in it.
fn span(text: &str, part: &RawValue) -> Range<usize> {
    let part = part.get();
    let start = part.as_ptr().addr() - text.as_ptr().addr();
    start..start + part.len()
}

fn not_an_object(why: &serde_json::Error) -> JsonError {
    match why.classify() {
        Category::Data => JsonError::NotAnObject,
        Category::Syntax | Category::Eof | Category::Io => {
            JsonError::NotJson { line: why.line(), column: why.column() }
        }
    }
}

/// Appends `parts`, one text cut in pieces, with every run of newlines as one newline and none at its
/// end. A CR LF counts as a newline and becomes LF. In sound JSON no newline stands inside a string,
/// so only layout changes.
pub fn squeeze_newlines(out: &mut Vec<u8>, parts: &[&[u8]]) {
    let mut bytes = parts.iter().copied().flatten().copied().peekable();
    // A newline is written when something follows it.
    let mut newline_due = false;
    while let Some(byte) = bytes.next() {
        match byte {
            b'\r' if bytes.peek() == Some(&b'\n') => {}
            b'\n' => newline_due = true,
            _ => {
                if std::mem::take(&mut newline_due) {
                    out.push(b'\n');
                }
                out.push(byte);
            }
        }
    }
}

/// An error of ours in the shape of the upstream's own, so that one reader serves all.
pub fn error_json(message: &str) -> Vec<u8> {
    error_json_with_status("UNKNOWN_ERROR", message)
}

/// The same with another of Google's status words: `OVER_QUERY_LIMIT` where too much is asked.
pub fn error_json_with_status(status: &str, message: &str) -> Vec<u8> {
    // A `Value` writes itself as JSON: quoted and escaped.
    let (status, message) = (Value::from(status), Value::from(message));
    let list = "\"html_attributions\":[],\"results\":[]";
    format!("{{{list},\"status\":{status},\"error_message\":{message}}}").into_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOGLE: &str = "{\n   \"html_attributions\" : [],\n   \"results\" : [\n      \
        {\n         \"name\" : \"Bruin, \\\"]\\\"\"\n      },\n      { \"rating\" : 4.50 },\n      \
        {}\n   ],\n   \"status\" : \"OK\"\n}\n";

    fn cut(body: &str, list: &str, bound: usize) -> Result<String, JsonError> {
        let parts = cut_list(body.as_bytes(), list, bound)?;
        Ok(String::from_utf8(parts.concat()).unwrap())
    }

    fn squeezed(parts: &[&str]) -> String {
        let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
        let mut out = Vec::new();
        squeeze_newlines(&mut out, &parts);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_cut_list_closes_as_it_did() {
        let one = "{\n   \"html_attributions\" : [],\n   \"results\" : [\n      \
            {\n         \"name\" : \"Bruin, \\\"]\\\"\"\n      }\n   ],\n   \"status\" : \"OK\"\n}\n";
        assert_eq!(cut(GOOGLE, "results", 1).unwrap(), one);
        let none =
            "{\n   \"html_attributions\" : [],\n   \"results\" : [],\n   \"status\" : \"OK\"\n}\n";
        assert_eq!(cut(GOOGLE, "results", 0).unwrap(), none);
    }

    #[test]
    fn a_short_or_missing_list_leaves_every_byte() {
        for (list, bound) in
            [("results", 3), ("results", 20), ("elements", 0), ("html_attributions", 0)]
        {
            assert_eq!(cut(GOOGLE, list, bound).unwrap(), GOOGLE);
        }
        let odd = " {\"results\": [ ] }\r\n";
        assert_eq!(cut(odd, "results", 0).unwrap(), odd);
        assert_eq!(
            cut("{\"meta\":{\"result_count\":0}}", "data", 5).unwrap(),
            "{\"meta\":{\"result_count\":0}}"
        );
    }

    #[test]
    fn only_the_top_level_list_is_cut() {
        let body = r#"{"a":{"results":[1,2]},"results":[[3,4],{"results":[5,6]},7]}"#;
        let expected = r#"{"a":{"results":[1,2]},"results":[[3,4],{"results":[5,6]}]}"#;
        assert_eq!(cut(body, "results", 2).unwrap(), expected);
    }

    #[test]
    fn of_a_name_that_occurs_twice_the_last_counts_however_it_is_written() {
        let body = r#"{"results":[1,2],"res\u0075lts":[3,4]}"#;
        assert_eq!(cut(body, "results", 1).unwrap(), r#"{"results":[1,2],"res\u0075lts":[3]}"#);
    }

    #[test]
    fn what_is_not_promised_is_an_error_in_words() {
        let cases = [
            ("<!DOCTYPE html>", "the answer is not JSON (line 1, column 1)"),
            ("", "the answer is not JSON (line 1, column 0)"),
            ("{\"results\":[1,]}", "the answer is not JSON (line 1, column 15)"),
            ("{\"results\":[]} x", "the answer is not JSON (line 1, column 16)"),
            ("{\"results\":[1,\n2", "the answer is not JSON (line 2, column 1)"),
            ("\u{feff}{}", "the answer is not JSON (line 1, column 1)"),
            ("[1]", "the answer is JSON, but not an object"),
            ("\"secret\"", "the answer is JSON, but not an object"),
            ("{\"results\":{}}", "the answer's \"results\" is not a list"),
            ("{\"results\":null}", "the answer's \"results\" is not a list"),
        ];
        for (body, words) in cases {
            assert_eq!(cut(body, "results", 1).unwrap_err().to_string(), words, "{body}");
        }
        assert_eq!(cut_list(b"{\"results\":[\"\xff\"]}", "results", 1), Err(JsonError::NotUtf8));
    }

    #[test]
    fn a_member_is_its_own_text() {
        let of = |body: &'static str, name| member(body.as_bytes(), name);
        assert_eq!(of(GOOGLE, "status"), Some("\"OK\""));
        assert_eq!(of("{\"a\": [1, {\"b\":2}] ,\"a\" : 4.50}", "a"), Some("4.50"));
        for (body, name) in [(GOOGLE, "name"), ("[1]", "0"), ("{\"a\":1", "a"), ("", "a")] {
            assert_eq!(of(body, name), None, "{body}");
        }
        assert_eq!(member(b"{\"a\":\"\xff\"}", "a"), None);
    }

    #[test]
    fn deep_nesting_is_no_matter() {
        let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
        let body = format!("{{\"x\":{deep},\"results\":[{deep},1]}}");
        assert_eq!(
            cut(&body, "results", 1).unwrap(),
            format!("{{\"x\":{deep},\"results\":[{deep}]}}")
        );
        let open = format!("{{\"results\":{}", "[".repeat(500_000));
        assert!(matches!(cut(&open, "results", 1), Err(JsonError::NotJson { .. })));
    }

    #[test]
    fn runs_of_newlines_become_one_and_those_at_the_end_none() {
        let cases: &[(&[&str], &str)] = &[
            (&["a\nb"], "a\nb"),
            (&["a\n\n\nb\n\n"], "a\nb"),
            (&["a\r\nb\r\n\r\nc\n\r\n"], "a\nb\nc"),
            (&["\n\na"], "\na"),
            (&["a\rb\r\r\nc\r"], "a\rb\r\nc\r"),
            (&["a\n \nb \n"], "a\n \nb "),
            (&["a\n", "\nb\r", "\n", "", "c"], "a\nb\nc"),
            (&["", "\n\n"], ""),
            (&[], ""),
        ];
        for (parts, expected) in cases {
            assert_eq!(squeezed(parts), *expected, "{parts:?}");
        }
        let mut out = b"AT\n".to_vec();
        squeeze_newlines(&mut out, &[b"{}\n"]);
        assert_eq!(out, b"AT\n{}");
    }

    #[test]
    fn errors_have_the_shape_of_googles() {
        let expected = r#"{"html_attributions":[],"results":[],"status":"UNKNOWN_ERROR","error_message":"places: connection refused"}"#;
        assert_eq!(String::from_utf8(error_json("places: connection refused")).unwrap(), expected);
        let odd = error_json_with_status("OVER_QUERY_LIMIT", "a \"b\"\n\\\u{7}");
        let value: Value = serde_json::from_slice(&odd).unwrap();
        assert_eq!(value["status"], "OVER_QUERY_LIMIT");
        assert_eq!(value["error_message"], "a \"b\"\n\\\u{7}");
        assert!(!odd.contains(&b'\n'));
    }

    /// White space as JSON has it.
    fn gap() -> impl Strategy<Value = String> {
        "[ \t\r\n]{0,3}"
    }

    /// JSON text with its own layout, names and escapes.
    fn any_json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            "-?(0|[1-9][0-9]{0,5})(\\.[0-9]{1,4})?([eE][+-]?[0-9])?",
            "true|false|null",
            any::<String>().prop_map(|text| Value::from(text).to_string()),
            Just(r#""\u00e9\ud83d\ude00\/ ] , [""#.to_owned()),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![list_of(inner.clone()), object_of(inner, any_name().boxed())]
        })
    }

    fn any_name() -> impl Strategy<Value = String> {
        prop_oneof![Just("results".to_owned()), "[a-z]{0,3}", Just("\\n\\\"".to_owned())]
    }

    fn list_of(inner: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
        let element = (gap(), inner, gap()).prop_map(|(a, value, b)| format!("{a}{value}{b}"));
        (prop::collection::vec(element, 0..8), gap()).prop_map(|(elements, gap)| {
            if elements.is_empty() {
                format!("[{gap}]")
            } else {
                format!("[{}]", elements.join(","))
            }
        })
    }

    fn object_of(
        inner: impl Strategy<Value = String>,
        name: impl Strategy<Value = String>,
    ) -> impl Strategy<Value = String> {
        let member = (gap(), name, gap(), inner, gap())
            .prop_map(|(a, name, b, value, c)| format!("{a}\"{name}\"{b}:{value}{c}"));
        prop::collection::vec(member, 0..5).prop_map(|members| format!("{{{}}}", members.join(",")))
    }

    /// An object that has the list, between other members.
    fn any_answer() -> impl Strategy<Value = String> {
        let others = || object_of(any_json(), any_name().boxed());
        (gap(), others(), list_of(any_json()), others(), gap()).prop_map(
            |(a, before, list, after, b)| {
                let inside = |object: &str| object[1..object.len() - 1].to_owned();
                let list = format!("\"results\" :{list}");
                // A member named `results` after it would be the one that counts.
                let after = inside(&after).replace("\"results\"", "\"result\"");
                let members = [inside(&before), list, after];
                let members: Vec<_> =
                    members.iter().filter(|m| !m.trim().is_empty()).cloned().collect();
                format!("{a}{{{}}}{b}", members.join(","))
            },
        )
    }

    proptest! {
        #[test]
        fn cutting_equals_the_slow_way(body in any_answer(), bound in 0usize..9) {
            let [head, tail] = cut_list(body.as_bytes(), "results", bound).unwrap();
            let mut expected: Value = serde_json::from_str(&body).unwrap();
            let list = expected["results"].as_array_mut().unwrap();
            let short = list.len() <= bound;
            list.truncate(bound);
            let cut = [head, tail].concat();
            prop_assert_eq!(serde_json::from_slice::<Value>(&cut).unwrap(), expected.clone());
            prop_assert!(body.as_bytes().starts_with(head) && body.as_bytes().ends_with(tail));
            prop_assert!(head.len() + tail.len() <= body.len());
            prop_assert!(!short || cut == body.as_bytes());
            // Without its newlines the text is the same, so squeezing changed layout alone.
            let mut out = Vec::new();
            squeeze_newlines(&mut out, &[head, tail]);
            prop_assert!(!out.windows(2).any(|pair| pair == b"\n\n") && !out.ends_with(b"\n"));
            prop_assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), expected);
        }

        #[test]
        fn squeezing_does_not_see_where_the_pieces_meet(text in "[a\r\n]{0,12}", at in 0usize..13) {
            let (head, tail) = text.split_at(at.min(text.len()));
            let whole = squeezed(&[&text]);
            prop_assert_eq!(&squeezed(&[head, tail]), &whole);
            let mut slow = text.replace("\r\n", "\n");
            while slow.contains("\n\n") {
                slow = slow.replace("\n\n", "\n");
            }
            prop_assert_eq!(whole, slow.trim_end_matches('\n'));
        }

        #[test]
        fn no_bytes_are_too_wild(
            noise in prop::collection::vec(any::<u8>(), 0..40), text in "[\\[\\]{}:,\"1a\\\\ \n]{0,40}",
        ) {
            for middle in [noise.as_slice(), text.as_bytes()] {
                let _ = cut_list(middle, "a", 0);
                let _ = cut_list(&[b"{\"a\":[1,", middle].concat(), "a", 1);
            }
        }
    }
}
