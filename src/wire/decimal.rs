//! Plain decimal numbers: ASCII digits, at most one point with digits on both sides, no exponent.
//!
//! Owns the whole numbers and fractions that times, marks and the journal are written in, and the two
//! numbers of a WHATSAT: radius and bound. A number is never a float on its way through the protocol,
//! because a float would answer with other digits than it was asked with. Called by the other parsers
//! of `wire`.

use super::digits::{leading_digits, value};
use super::scan::after_digits;

/// WHATSAT's largest radius, from the original course project.
pub const RADIUS_MAX_KM: u32 = 50;

/// WHATSAT's largest bound on the number of results, from the original course project.
pub const BOUND_MAX: u8 = 20;

/// Digits after the point that a [`Radius`] keeps: kilometres to the millimetre.
const RADIUS_PLACES: usize = 6;

/// The radius of a WHATSAT, from 0 to [`RADIUS_MAX_KM`].
///
/// It is kept in whole millimetres. A client may write any number of decimals; what is finer than
/// a millimetre is dropped, after the radius has been checked against the limit with all its
/// digits. Two spellings of one radius are equal, so they can share one upstream request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Radius {
    millimetres: u32,
}

impl Radius {
    /// Appends the radius in metres as a minimal plain decimal: `10000`, `1500`, `0.5`.
    pub fn write_metres(self, out: &mut Vec<u8>) {
        write_integer(out, u64::from(self.millimetres / 1000));
        write_fraction(out, u64::from(self.millimetres % 1000), 3);
    }

    /// The radius in kilometres, for distances and for upstreams that want a JSON number.
    pub fn as_kilometres_f64(self) -> f64 {
        f64::from(self.millimetres) / 1_000_000.0
    }

    /// The radius in metres, for upstreams that want a JSON number.
    pub fn as_metres_f64(self) -> f64 {
        f64::from(self.millimetres) / 1000.0
    }
}

/// Reads a radius in kilometres: digits, optionally a point and digits, at most
/// [`RADIUS_MAX_KM`], with no limit on the number of digits.
pub fn parse_radius(text: &[u8]) -> Option<Radius> {
    let (whole, rest) = take_digits(text);
    let fraction = match rest {
        [] => rest,
        [b'.', fraction @ ..] if !fraction.is_empty() => fraction,
        _ => return None,
    };
    if whole.is_empty() || !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let kilometres = u32::from(small_integer(whole)?);
    let at_limit = kilometres == RADIUS_MAX_KM && fraction.iter().all(|digit| *digit == b'0');
    if kilometres >= RADIUS_MAX_KM && !at_limit {
        return None;
    }
    let kept = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(RADIUS_PLACES);
    let millimetres = kept.fold(kilometres, |value, digit| value * 10 + u32::from(digit - b'0'));
    Some(Radius { millimetres })
}

/// Reads a bound on the number of results: digits, at most [`BOUND_MAX`], with any number of
/// leading zeros.
pub fn parse_bound(text: &[u8]) -> Option<u8> {
    match take_digits(text) {
        (digits, []) if !digits.is_empty() => {
            small_integer(digits).filter(|bound| *bound <= BOUND_MAX)
        }
        _ => None,
    }
}

/// Reads 1 to `digits_max` digits from the front of `text`, at least 8 and at most 19, so that the value
/// fits; gives it and the text after them, which begins with one more digit where there are too many.
#[inline]
pub(super) fn take_integer(text: &[u8], digits_max: usize) -> Option<(u64, &[u8])> {
    let (word, digits) = leading_digits(text);
    let mut rest = text.get(digits..)?;
    let mut number = value(word);
    if digits == 8 {
        for _ in 8..digits_max {
            let [digit @ b'0'..=b'9', after @ ..] = rest else { break };
            number = number * 10 + u64::from(digit - b'0');
            rest = after;
        }
    }
    (digits > 0).then_some((number, rest))
}

/// Reads 1 to 9 digits after a point from the front of `text`, as if zeros followed them up to nine;
/// gives billionths and the text after them, which begins with one more digit where there are too many.
#[inline]
pub(super) fn take_billionths(text: &[u8]) -> Option<(u64, &[u8])> {
    match leading_digits(text) {
        (_, 0) => None,
        (word, 8) => match text.get(8..)? {
            [digit @ b'0'..=b'9', rest @ ..] => {
                Some((value(word) * 10 + u64::from(digit - b'0'), rest))
            }
            rest => Some((value(word) * 10, rest)),
        },
        (word, digits) => {
            let billionths = (digits..9).fold(value(word), |value, _| value * 10);
            Some((billionths, text.get(digits..)?))
        }
    }
}

/// Reads a whole number that fits in 64 bits and fills `text`, without zeros before it: marks and
/// versions, which have one spelling, that of [`write_integer`].
pub(super) fn parse_u64(text: &[u8]) -> Option<u64> {
    if matches!(text, [] | [b'0', _, ..]) {
        return None;
    }
    text.iter().try_fold(0u64, |value, byte| match byte {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}

/// Appends `value` without padding.
pub(super) fn write_integer(out: &mut Vec<u8>, mut value: u64) {
    // The longest is 2^64 - 1, twenty digits.
    let mut text = [0; 20];
    let mut digits = 0;
    for place in text.iter_mut().rev() {
        *place = b'0' + (value % 10) as u8;
        value /= 10;
        digits += 1;
        if value == 0 {
            break;
        }
    }
    out.extend(text.get(text.len() - digits..).unwrap_or_default());
}

/// The last `N` decimal digits of `value`, with leading zeros.
pub(super) fn padded<const N: usize>(mut value: u64) -> [u8; N] {
    let mut text = [b'0'; N];
    for place in text.iter_mut().rev() {
        *place = b'0' + (value % 10) as u8;
        value /= 10;
    }
    text
}

/// Appends a point and a fraction given in units of the `places`-th place, without trailing
/// zeros; nothing at all when the fraction is zero.
pub(super) fn write_fraction(out: &mut Vec<u8>, mut fraction: u64, places: usize) {
    if fraction == 0 {
        return;
    }
    let mut places = places;
    while fraction.is_multiple_of(10) {
        fraction /= 10;
        places -= 1;
    }
    let text: [u8; 20] = padded(fraction);
    out.push(b'.');
    out.extend(text.get(text.len().saturating_sub(places)..).unwrap_or_default());
}

/// Splits `text` after its leading digits.
#[inline]
pub(super) fn take_digits(text: &[u8]) -> (&[u8], &[u8]) {
    let rest = after_digits(text);
    text.split_at_checked(text.len() - rest.len()).unwrap_or((text, &[]))
}

/// The value of `digits` when it is below 256, whatever zeros lead it.
fn small_integer(digits: &[u8]) -> Option<u8> {
    digits
        .iter()
        .try_fold(0u8, |value, digit| value.checked_mul(10)?.checked_add(digit.wrapping_sub(b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metres(text: &str) -> Option<String> {
        let mut out = Vec::new();
        parse_radius(text.as_bytes())?.write_metres(&mut out);
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_radius_is_kilometres_and_becomes_plain_metres() {
        for (kilometres, expected) in [
            ("10", "10000"),
            ("1.5", "1500"),
            ("0.0005", "0.5"),
            ("0", "0"),
            ("0.000", "0"),
            ("50", "50000"),
            ("49.999999", "49999.999"),
            ("12.0345", "12034.5"),
        ] {
            assert_eq!(metres(kilometres).as_deref(), Some(expected), "{kilometres}");
        }
        let radius = parse_radius(b"1.5").unwrap();
        assert!((radius.as_kilometres_f64() - 1.5).abs() < 1e-12);
        assert!((radius.as_metres_f64() - 1500.0).abs() < 1e-9);
    }

    #[test]
    fn a_radius_above_fifty_is_refused_with_all_its_digits() {
        let far_zeros = format!("50.{}", "0".repeat(9000));
        assert_eq!(metres(&far_zeros).as_deref(), Some("50000"));
        assert_eq!(metres("050.000").as_deref(), Some("50000"));
        assert_eq!(metres(&format!("{}50", "0".repeat(9000))).as_deref(), Some("50000"));
        for text in [format!("{far_zeros}1"), "50.1".into(), "51".into(), "256".into()] {
            assert_eq!(metres(&text), None);
        }
        assert_eq!(metres(&"9".repeat(9000)), None);
    }

    #[test]
    fn a_radius_finer_than_a_millimetre_is_kept_to_the_millimetre() {
        assert_eq!(metres("1.00000099999").as_deref(), Some("1000"));
        assert_eq!(parse_radius(b"1.0"), parse_radius(b"01.0000009"));
    }

    #[test]
    fn only_plain_decimals_are_radii() {
        for text in ["", ".", "5.", ".5", "+5", "-5", "-0", "1e1", "5,0", " 5", "5 ", "1.2.3", "٣"]
        {
            assert_eq!(metres(text), None, "{text}");
        }
    }

    #[test]
    fn a_bound_is_at_most_twenty_with_any_leading_zeros() {
        assert_eq!(parse_bound(b"0"), Some(0));
        assert_eq!(parse_bound(b"20"), Some(20));
        assert_eq!(parse_bound(b"0000000000000000000000000000000000005"), Some(5));
        for text in ["", "21", "256", "276", "99999999999999999999", "+5", "-0", "5.0", "5x", "x"] {
            assert_eq!(parse_bound(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn marks_fill_sixty_four_bits_and_no_more() {
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse_u64(b"0"), Some(0));
        for text in ["", "18446744073709551616", "+1", "1 ", "1.0", "00", "01"] {
            assert_eq!(parse_u64(text.as_bytes()), None, "{text}");
        }
        for value in [0, 9, 10, 1234, u64::MAX] {
            let mut out = Vec::new();
            write_integer(&mut out, value);
            assert_eq!(out, value.to_string().into_bytes());
        }
    }
}
