//! Where a client is: ISO 6709 in decimal degrees, as in `+34.068930-118.445127`.
//!
//! Owns what a location may be, and writing it for an upstream. It never makes a number of one: a
//! location is kept, sent and asked about as the client wrote it, so that nothing is ever rounded.
//! Called by the parsers of commands and AT lines, and by whoever asks an upstream what is near.

use super::decimal::take_digits;
use super::digits::leading_digits;
use super::scan::after_digits;

/// Decimal places of a degree that a client may send, which is a tenth of a nanometre.
const PLACES_MAX: usize = 15;

/// Digits of whole degrees that a client may send.
const WHOLE_DIGITS_MAX: usize = 3;

/// Latitudes lie within 90 degrees of the equator, both ends included: a digit a byte.
const LATITUDE_MAX_DEGREES: u64 = 0x09_00;

/// Longitudes lie within 180 degrees of Greenwich, both ends included: a digit a byte.
const LONGITUDE_MAX_DEGREES: u64 = 0x01_08_00;

/// Whether `text` is a location: a sign, 1 to 3 digits, optionally a point and 1 to 15 digits, twice,
/// latitude first, both signs required, both within their range.
pub fn is_location(text: &[u8]) -> bool {
    take_location(text).is_some_and(|(_, rest)| rest.is_empty())
}

/// Splits `text` after the location that it begins with.
#[inline]
pub(super) fn take_location(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let longitude = after_degrees(text, LATITUDE_MAX_DEGREES)?;
    let rest = after_degrees(longitude, LONGITUDE_MAX_DEGREES)?;
    text.split_at_checked(text.len() - rest.len())
}

/// What follows a signed angle of at most `max_degrees`, a digit a byte, at the front of `text`.
#[inline]
fn after_degrees(text: &[u8], max_degrees: u64) -> Option<&[u8]> {
    let [b'+' | b'-', magnitude @ ..] = text else { return None };
    let (word, digits) = leading_digits(magnitude);
    // The first digit highest: these words are in the order of the numbers, so none has to be made.
    let whole = word.swap_bytes();
    if !(1..=WHOLE_DIGITS_MAX).contains(&digits) || whole > max_degrees {
        return None;
    }
    let after_whole = magnitude.get(digits..)?;
    let [b'.', after_point @ ..] = after_whole else { return Some(after_whole) };
    let rest = after_digits(after_point);
    let places = after_point.len() - rest.len();
    let is_zero = || after_point.iter().take(places).all(|digit| *digit == b'0');
    let in_range = whole < max_degrees || is_zero();
    (in_range && (1..=PLACES_MAX).contains(&places)).then_some(rest)
}

/// Appends the text of a location as an upstream's query wants it: `+034.068930-118.445127` as
/// `34.068930,-118.445127`. No `+`, no leading zeros, no sign on a zero; decimals stay as the
/// client wrote them.
///
/// `text` is one that [`is_location`] has seen; of any other, what is not a number is left out.
pub fn write_query(out: &mut Vec<u8>, text: &[u8]) {
    let rest = write_query_degrees(out, text);
    out.push(b',');
    write_query_degrees(out, rest);
}

/// Appends one angle of a location's text; gives the text after it.
fn write_query_degrees<'a>(out: &mut Vec<u8>, text: &'a [u8]) -> &'a [u8] {
    let (sign, magnitude) = text.split_first().unwrap_or((&b'+', text));
    let (whole, after_whole) = take_digits(magnitude);
    let (fraction, rest) = match after_whole {
        [b'.', after_point @ ..] => take_digits(after_point),
        _ => (&[] as &[u8], after_whole),
    };
    let leading_zeros = whole.iter().take_while(|digit| **digit == b'0').count();
    let significant = whole.get(leading_zeros..).unwrap_or_default();
    let is_zero = significant.is_empty() && fraction.iter().all(|digit| *digit == b'0');
    if *sign == b'-' && !is_zero {
        out.push(b'-');
    }
    out.extend_from_slice(if significant.is_empty() { b"0" } else { significant });
    if !fraction.is_empty() {
        out.push(b'.');
        out.extend_from_slice(fraction);
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> String {
        let mut out = Vec::new();
        write_query(&mut out, text.as_bytes());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_location_has_two_signed_angles() {
        for text in [
            "+34.068930-118.445127",
            "+0-0",
            "-000.000+000.0",
            "-0.000000000000001+000.1",
            "+34+118",
            "+12.345678901234567-001.000000000000010",
        ] {
            assert!(is_location(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn both_ends_of_the_ranges_are_included() {
        for text in ["+90+180", "-90-180", "+090.000-180.000000000000000"] {
            assert!(is_location(text.as_bytes()), "{text}");
        }
        for text in [
            "+90.000000000000001+0",
            "-90.000000000000001+0",
            "+0+180.000000000000001",
            "+0-180.000000000000001",
            "+91+0",
            "+0+999.999999999999999",
        ] {
            assert!(!is_location(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn both_signs_and_plain_decimals_are_required() {
        for text in [
            "",
            "+",
            "+34",
            "34-118",
            "+34 -118",
            "+34118",
            "+34,-118",
            "+34.-118",
            "+.5-118",
            "+34-118.",
            "+34-.5",
            "+0034-118",
            "+34-0118",
            "+34.1234567890123456-118",
            "+34-118.1234567890123456",
            "++34-118",
            "+34--118",
            "+34-118/",
            "+34-118+0",
            "+3e1-118",
            "+34.5x-118",
        ] {
            assert!(!is_location(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn a_query_keeps_the_decimals_and_drops_signs_and_leading_zeros() {
        for (text, expected) in [
            ("+34.068930-118.445127", "34.068930,-118.445127"),
            ("+034.07-008.5", "34.07,-8.5"),
            ("-0-000.0", "0,0.0"),
            ("-000.10+00", "-0.10,0"),
            ("+90-180.000", "90,-180.000"),
        ] {
            assert_eq!(query(text), expected);
        }
    }
}
