//! The rules of the protocol's fields, read a second time: slowly, by texts, and with no shared code.
//!
//! Where `wire` scans bytes and counts digits, this splits texts and lets the standard library parse
//! numbers. The two must accept the same and mean the same. Called by the targets of commands, of peer
//! lines and of journals.

/// The fields of a client's line: runs of bytes without white space, where CR NUL is white space too.
pub fn fields(line: &[u8]) -> Vec<&[u8]> {
    let mut fields = Vec::new();
    let mut start = None;
    let mut at = 0;
    while at <= line.len() {
        let is_bare_return = line[at..].starts_with(b"\r\0");
        let is_gap = line.get(at).is_none_or(|byte| b" \t\r\n\x0c\x0b".contains(byte));
        if is_gap {
            fields.extend(start.take().map(|start| &line[start..at]));
        } else if start.is_none() {
            start = Some(at);
        }
        at += if is_bare_return { 2 } else { 1 };
    }
    fields
}

/// Whether a server may have this name, in whatever topology.
pub fn server_name(name: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(name) else { return false };
    let is_inside = |c: char| matches!(c, '0'..='9' | 'a'..='z' | 'A'..='Z' | '-' | '_');
    (1..64).contains(&text.len()) && text.chars().all(is_inside) && !text.starts_with(['-', '_'])
}

/// A number without a sign: its digits before the point and after it. Each side that is there has one.
fn decimal(text: &str) -> Option<(&str, &str)> {
    let digits = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    match text.split('.').collect::<Vec<_>>().as_slice() {
        [whole] if digits(whole) => Some((whole, "")),
        [whole, fraction] if digits(whole) && digits(fraction) => Some((whole, fraction)),
        _ => None,
    }
}

/// A number in units of its last place, when it keeps to so many digits before and after the point.
fn units(text: &str, whole_max: usize, places: usize) -> Option<i128> {
    let (whole, fraction) = decimal(text)?;
    let fits = whole.len() <= whole_max && fraction.len() <= places;
    fits.then(|| format!("{whole}{fraction:0<places$}").parse().unwrap())
}

/// A location in units of 10^-15 degrees, north and east.
pub fn location(text: &[u8]) -> Option<(i128, i128)> {
    let text = std::str::from_utf8(text).ok()?;
    let second = text.char_indices().skip(1).find(|(_, c)| "+-".contains(*c))?.0;
    let (north, east) = text.split_at(second);
    Some((degrees(north, 90)?, degrees(east, 180)?))
}

fn degrees(text: &str, most: i128) -> Option<i128> {
    let units = units(text.get(1..)?, 3, 15)?;
    let sign = match text.get(..1)? {
        "+" => 1,
        "-" => -1,
        _ => return None,
    };
    (units <= most * 10_i128.pow(15)).then_some(sign * units)
}

fn minimal(sign: &str, whole: &str, fraction: &str) -> String {
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{whole}{point}{fraction}")
}

/// A location's text as an upstream's query has it: its decimals as they are, and nothing before them
/// that need not be.
pub fn query(text: &[u8]) -> Option<String> {
    let (north, east) = location(text)?;
    let text = std::str::from_utf8(text).ok()?;
    let parts = text.split(['+', '-']).skip(1).zip([north, east]);
    let parts = parts.map(|(part, units)| {
        let sign = if units < 0 { "-" } else { "" };
        let stripped = part.trim_start_matches('0');
        let zero = if stripped.is_empty() || stripped.starts_with('.') { "0" } else { "" };
        format!("{sign}{zero}{stripped}")
    });
    Some(parts.collect::<Vec<_>>().join(","))
}

/// A client's time in nanoseconds.
pub fn time(text: &[u8]) -> Option<i128> {
    let text = std::str::from_utf8(text).ok()?;
    match text.strip_prefix('-') {
        Some(magnitude) => units(magnitude, 12, 9).map(|nanos| -nanos),
        None => units(text, 12, 9),
    }
}

/// The difference in an AT line in nanoseconds: only as it is written.
pub fn difference(text: &[u8]) -> Option<i128> {
    let text = std::str::from_utf8(text).ok()?;
    let nanos = units(text.get(1..)?, 13, 9)?;
    let nanos = if text.starts_with('-') { -nanos } else { nanos };
    (written_difference(nanos) == text).then_some(nanos)
}

/// A difference as it is written.
pub fn written_difference(nanos: i128) -> String {
    let sign = if nanos < 0 { '-' } else { '+' };
    let digits = format!("{:010}", nanos.abs());
    let (whole, fraction) = digits.split_at(digits.len() - 9);
    format!("{sign}{whole}.{fraction}")
}

/// A radius of at most 50 km, as the metres that an upstream is asked: to the millimetre, cut off.
pub fn radius_in_metres(text: &[u8]) -> Option<String> {
    let (whole, fraction) = decimal(std::str::from_utf8(text).ok()?)?;
    let kilometres: u32 = match whole.trim_start_matches('0') {
        "" => 0,
        digits => digits.parse().ok()?,
    };
    let is_round = fraction.trim_end_matches('0').is_empty();
    if kilometres > 50 || (kilometres == 50 && !is_round) {
        return None;
    }
    let kept: String = fraction.chars().chain("000000".chars()).take(6).collect();
    let metres: u32 = format!("{kilometres}{}", &kept[..3]).parse().unwrap();
    Some(minimal("", &metres.to_string(), &kept[3..]))
}

/// A bound of at most 20.
pub fn bound(text: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(text).ok()?;
    (decimal(text)?.0 == text).then_some(())?;
    let digits = format!("0{}", text.trim_start_matches('0'));
    digits.parse().ok().filter(|bound| *bound <= 20)
}

/// A whole number of 64 bits in its one spelling.
pub fn number(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}

/// Sixteen hexadecimal digits, as an identity is written.
pub fn hexadecimal(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    let number = u64::from_str_radix(text, 16).ok()?;
    (format!("{number:016x}") == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_protocol_are_read() {
        let line = b" IAMAT\tkiwi\r\0 +34.068930-118.445127 1479413884.392014450 \r";
        let expected: [&[u8]; 4] =
            [b"IAMAT", b"kiwi", b"+34.068930-118.445127", b"1479413884.392014450"];
        assert_eq!(fields(line), expected);
        let location_units = location(b"+34.068930-118.445127").unwrap();
        assert_eq!(location_units, (34_068_930_000_000_000, -118_445_127_000_000_000));
        assert_eq!(query(b"+034.068930-000.0").unwrap(), "34.068930,0.0");
        assert_eq!(time(b"1479413884.392014450"), Some(1_479_413_884_392_014_450));
        assert_eq!(difference(b"+0.263873386"), Some(263_873_386));
        assert_eq!(difference(b"-0.000000000"), None);
        assert_eq!(radius_in_metres(b"1.50").as_deref(), Some("1500"));
        assert_eq!(radius_in_metres(b"0.0005009").as_deref(), Some("0.5"));
        assert_eq!(radius_in_metres(b"50.01"), None);
        assert_eq!((bound(b"020"), bound(b"21"), bound(b"2.0")), (Some(20), None, None));
    }
}
