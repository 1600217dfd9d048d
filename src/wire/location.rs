//! Where a client is: ISO 6709 in decimal degrees, as in `+34.068930-118.445127`.
//!
//! Owns reading a location exactly, and writing it for an upstream. It never rounds: a degree is a
//! whole number of its smallest unit on the wire. Called by the parsers of commands and AT lines,
//! and by whoever asks an upstream what is near.

use super::decimal::{parse_unsigned, take_digits, write_fraction, write_integer};

/// Decimal places of a degree that a client may send, which is a tenth of a nanometre.
const PLACES: usize = 15;

/// The smallest unit of [`Degrees`] in one degree.
const UNITS_PER_DEGREE: u64 = 1_000_000_000_000_000;

/// Digits of whole degrees that a client may send.
const WHOLE_DIGITS_MAX: usize = 3;

/// Latitudes lie within this many degrees of the equator, both ends included.
const LATITUDE_MAX_DEGREES: u64 = 90;

/// Longitudes lie within this many degrees of Greenwich, both ends included.
const LONGITUDE_MAX_DEGREES: u64 = 180;

/// A place on the earth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Location {
    /// North of the equator, within ±90 degrees.
    pub latitude: Degrees,
    /// East of Greenwich, within ±180 degrees.
    pub longitude: Degrees,
}

/// An angle in units of 10^-15 degrees: exactly what was sent, whatever was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Degrees(i64);

impl Degrees {
    /// The angle as a float, for distances and for upstreams that want a JSON number. It never
    /// goes back onto the protocol's own path.
    #[allow(clippy::cast_precision_loss)] // A float holds a degree to 10^-13, well below a micrometre.
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / UNITS_PER_DEGREE as f64
    }

    /// Appends the angle as a minimal plain decimal: `34.06893`, `-118.445127`, `0`.
    pub fn write_plain(self, out: &mut Vec<u8>) {
        if self.0 < 0 {
            out.push(b'-');
        }
        let units = self.0.unsigned_abs();
        write_integer(out, units / UNITS_PER_DEGREE);
        write_fraction(out, units % UNITS_PER_DEGREE, PLACES);
    }
}

/// Reads a location: a sign, 1 to 3 digits, optionally a point and 1 to 15 digits, twice, latitude
/// first, both signs required, both within their range.
pub fn parse_location(text: &[u8]) -> Option<Location> {
    take_location(text).and_then(|(location, rest)| rest.is_empty().then_some(location))
}

/// Reads a location from the front of `text`; gives it and the text after it.
pub(super) fn take_location(text: &[u8]) -> Option<(Location, &[u8])> {
    let (latitude, rest) = take_degrees(text, LATITUDE_MAX_DEGREES)?;
    let (longitude, rest) = take_degrees(rest, LONGITUDE_MAX_DEGREES)?;
    Some((Location { latitude, longitude }, rest))
}

/// Appends the text of a location as an upstream's query wants it: `+034.068930-118.445127` as
/// `34.068930,-118.445127`. No `+`, no leading zeros, no sign on a zero; decimals stay as the
/// client wrote them.
///
/// `text` is one that [`parse_location`] has read; of any other, what is not a number is left out.
pub fn write_query(out: &mut Vec<u8>, text: &[u8]) {
    let rest = write_query_degrees(out, text);
    out.push(b',');
    write_query_degrees(out, rest);
}

/// Reads one signed angle of at most `max_degrees` from the front of `text`; gives it and the
/// text after it.
fn take_degrees(text: &[u8], max_degrees: u64) -> Option<(Degrees, &[u8])> {
    let (sign, magnitude) = match text {
        [b'+', magnitude @ ..] => (1, magnitude),
        [b'-', magnitude @ ..] => (-1, magnitude),
        _ => return None,
    };
    let (number, rest) = parse_unsigned(magnitude, WHOLE_DIGITS_MAX, PLACES)?;
    let units = number.whole * UNITS_PER_DEGREE + number.fraction;
    if units > max_degrees * UNITS_PER_DEGREE {
        return None;
    }
    Some((Degrees(sign * i64::try_from(units).ok()?), rest))
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

    fn plain(text: &str) -> Option<(String, String)> {
        let location = parse_location(text.as_bytes())?;
        let [latitude, longitude] = [location.latitude, location.longitude].map(|degrees| {
            let mut out = Vec::new();
            degrees.write_plain(&mut out);
            String::from_utf8(out).unwrap()
        });
        Some((latitude, longitude))
    }

    fn query(text: &str) -> String {
        let mut out = Vec::new();
        write_query(&mut out, text.as_bytes());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_location_is_read_exactly() {
        for (text, latitude, longitude) in [
            ("+34.068930-118.445127", "34.06893", "-118.445127"),
            ("+0-0", "0", "0"),
            ("-000.000+000.0", "0", "0"),
            ("-0.000000000000001+000.1", "-0.000000000000001", "0.1"),
            ("+34+118", "34", "118"),
            ("+12.345678901234567-001.000000000000010", "12.345678901234567", "-1.00000000000001"),
        ] {
            let expected = Some((latitude.to_string(), longitude.to_string()));
            assert_eq!(plain(text), expected, "{text}");
        }
    }

    #[test]
    fn both_ends_of_the_ranges_are_included() {
        for text in ["+90+180", "-90-180", "+090.000-180.000000000000000"] {
            assert!(plain(text).is_some(), "{text}");
        }
        for text in [
            "+90.000000000000001+0",
            "-90.000000000000001+0",
            "+0+180.000000000000001",
            "+0-180.000000000000001",
            "+91+0",
            "+0+999.999999999999999",
        ] {
            assert_eq!(plain(text), None, "{text}");
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
            assert_eq!(plain(text), None, "{text}");
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

    #[test]
    fn floats_are_near_enough_for_distances() {
        let location = parse_location(b"+34.068930-118.445127").unwrap();
        assert!((location.latitude.as_f64() - 34.068_93).abs() < 1e-12);
        assert!((location.longitude.as_f64() + 118.445_127).abs() < 1e-12);
    }
}
