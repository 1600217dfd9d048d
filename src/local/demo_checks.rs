//! What the demo's replies must be, as functions from texts to verdicts. Pure; `demo` calls them.

use serde_json::Value;
use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds in a second.
const NANOS: i128 = 1_000_000_000;

/// Checks a reply word for word.
pub fn same(reply: &str, expected: &str) -> Result<(), String> {
    if reply == expected {
        return Ok(());
    }
    Err(format!("WRONG: expected {expected:?}, and the reply is {reply:?}"))
}

/// Checks the reply to an IAMAT with these fields, which was sent after `before` and answered before
/// `after`; returns its AT line.
pub fn at_line(
    reply: &str,
    server: &str,
    fields: &str,
    before: SystemTime,
    after: SystemTime,
) -> Result<String, String> {
    let wrong = |what: &str| format!("WRONG: {what} in the reply {reply:?}");
    let words: Vec<&str> = reply.split(' ').collect();
    let ["AT", name, difference, copy @ ..] = words.as_slice() else {
        return Err(wrong("there is no AT"));
    };
    if *name != server {
        return Err(wrong("the server's name is another"));
    }
    if copy.join(" ") != format!("{fields}\n") {
        return Err(wrong("there is no copy of the fields"));
    }
    let signed = difference.starts_with(['+', '-']);
    let nine_digits = difference.split_once('.').is_some_and(|(_, digits)| digits.len() == 9);
    let client_time = fields.rsplit(' ').next().and_then(nanoseconds);
    let (true, true, Some(difference), Some(client_time)) =
        (signed, nine_digits, nanoseconds(difference), client_time)
    else {
        return Err(wrong("the difference of the clocks is not in its form"));
    };
    let server_time = client_time + difference;
    if server_time < since_1970(before) || server_time > since_1970(after) {
        return Err(wrong("time and difference do not add up to the server's clock"));
    }
    Ok(reply.trim_end().to_owned())
}

/// Checks the reply to a WHATSAT: the AT line, then an answer of Places with at most `bound` results
/// (and some, when some may be there), then two newlines.
pub fn places(reply: &str, expected: &str, bound: usize) -> Result<(), String> {
    let Some((at, json)) = reply.split_once('\n') else {
        return Err(format!("WRONG: expected two parts, and the reply is {reply:?}"));
    };
    same(at, expected)?;
    if !json.ends_with("\n\n") || json.trim_end().contains("\n\n") {
        return Err("WRONG: two newlines should stand at the end, and nowhere else".to_owned());
    }
    let json: Value =
        serde_json::from_str(json).map_err(|error| format!("WRONG: this is not JSON: {error}"))?;
    let status = json.get("status").and_then(Value::as_str).unwrap_or_default();
    if status != "OK" {
        return Err(format!("WRONG: Places says {status:?}"));
    }
    let results = json.get("results").and_then(Value::as_array).map_or(0, Vec::len);
    if results > bound || (results == 0 && bound > 0) {
        return Err(format!("WRONG: {results} results, and {bound} were asked for"));
    }
    Ok(())
}

/// Reads decimal seconds with nine digits or fewer behind the point as whole nanoseconds.
fn nanoseconds(text: &str) -> Option<i128> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (seconds, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let seconds: i128 = seconds.parse().ok()?;
    let fraction: i128 = format!("{fraction:0<9}").parse().ok()?;
    Some(sign * (seconds * NANOS + fraction))
}

fn since_1970(time: SystemTime) -> i128 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i128::from(since.as_secs()) * NANOS + i128::from(since.subsec_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const FIELDS: &str = "kiwi +34.0-118.4 100.5";

    fn judged(reply: &str) -> Result<String, String> {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        at_line(reply, "Alford", FIELDS, at(110), at(120))
    }

    #[test]
    fn a_right_at_line_is_returned() {
        let line = "AT Alford +10.250000000 kiwi +34.0-118.4 100.5";
        assert_eq!(judged(&format!("{line}\n")), Ok(line.to_owned()));
    }

    #[test]
    fn each_fault_of_an_at_line_is_found() {
        for (reply, fault) in [
            ("? IAMAT kiwi +34.0-118.4 100.5\n", "no AT"),
            ("AT Ball +10.250000000 kiwi +34.0-118.4 100.5\n", "name"),
            ("AT Alford +10.250000000 kiwi +34.0-118.4 100.50\n", "copy"),
            ("AT Alford +10.250000000 kiwi +34.0-118.4 100.5", "copy"),
            ("AT Alford 10.250000000 kiwi +34.0-118.4 100.5\n", "form"),
            ("AT Alford +10.25 kiwi +34.0-118.4 100.5\n", "form"),
            ("AT Alford +9.499999999 kiwi +34.0-118.4 100.5\n", "add up"),
            ("AT Alford +19.500000001 kiwi +34.0-118.4 100.5\n", "add up"),
            ("AT Alford -10.250000000 kiwi +34.0-118.4 100.5\n", "add up"),
        ] {
            let verdict = judged(reply).unwrap_err();
            assert!(verdict.contains(fault), "{reply:?}: {verdict}");
        }
    }

    #[test]
    fn a_right_answer_of_places_passes_and_each_fault_is_found() {
        let at = "AT Alford +1.000000000 kiwi +1-1 5";
        let answer = |json: &str| places(&format!("{at}\n{json}"), at, 2);
        assert_eq!(answer("{\n\"results\":[1,2],\"status\":\"OK\"}\n\n"), Ok(()));
        assert!(answer("{\"results\":[1,2],\"status\":\"OK\"}\n").is_err());
        assert!(answer("{\"results\":[1],\n\n\"status\":\"OK\"}\n\n").is_err());
        assert!(answer("{\"results\":[1,2,3],\"status\":\"OK\"}\n\n").is_err());
        assert!(answer("{\"results\":[],\"status\":\"OK\"}\n\n").is_err());
        assert!(answer("{\"results\":[],\"status\":\"UNKNOWN_ERROR\"}\n\n").is_err());
        assert!(answer("oh no\n\n").is_err());
        assert!(places("AT Ball\n{\"status\":\"OK\"}\n\n", at, 2).is_err());
        assert!(places("? WHATSAT kiwi 10 5", at, 2).is_err());
        assert_eq!(
            places(&format!("{at}\n{{\"results\":[],\"status\":\"OK\"}}\n\n"), at, 0),
            Ok(())
        );
    }

    #[test]
    fn times_are_whole_nanoseconds() {
        assert_eq!(nanoseconds("1479413884.392014450"), Some(1_479_413_884_392_014_450));
        assert_eq!(nanoseconds("-0.5"), Some(-NANOS / 2));
        assert_eq!(nanoseconds("+7"), Some(7 * NANOS));
        assert_eq!(nanoseconds("x"), None);
    }
}
