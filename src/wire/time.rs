//! Times and differences of times, as whole nanoseconds.
//!
//! Owns the three spellings of time on the wire and in logs: a client's POSIX time, the signed
//! difference in an AT line, and UTC for a log line. Nothing here is ever a float, and nothing
//! reads a clock: the caller hands in what its clock said.

use super::decimal::{padded, take_billionths, take_integer, write_integer};
use super::digits::write_eight;

/// A time since 1970-01-01T00:00:00Z, or a difference of two times, in nanoseconds.
///
/// Twelve digits of seconds do not fit in 64 bits of nanoseconds, hence the width.
pub type Nanos = i128;

/// Nanoseconds in a second.
pub const NANOS_PER_SECOND: Nanos = 1_000_000_000;

/// Digits of whole seconds that a client may send.
const TIME_DIGITS_MAX: usize = 12;

/// Digits of whole seconds in a difference: twelve-digit times of both signs are at most
/// 2 × (10^12 - 1) seconds apart, which has thirteen digits.
const DIFFERENCE_DIGITS_MAX: usize = 13;

/// The length of a difference of less than ten seconds: sign, digit, point and nine digits.
pub const SHORT_DIFFERENCE_BYTES: usize = 12;

/// Decimal places of a second: nanoseconds.
const PLACES: usize = 9;

/// The last second that [`write_utc`] can write: 9999-12-31T23:59:59Z.
const UTC_SECONDS_MAX: u64 = 253_402_300_799;

/// Reads a client's time: an optional minus, 1 to 12 digits, optionally a point and 1 to 9 digits.
pub fn parse_time(text: &[u8]) -> Option<Nanos> {
    take_time(text).and_then(|(time, rest)| rest.is_empty().then_some(time))
}

/// Reads a client's time from the front of `text`; gives it and the text after it.
#[expect(
    clippy::inline_always,
    reason = "once for each line, between others that hold its constants"
)]
#[inline(always)]
pub(super) fn take_time(text: &[u8]) -> Option<(Nanos, &[u8])> {
    let (negative, magnitude) = match text {
        [b'-', magnitude @ ..] => (true, magnitude),
        magnitude => (false, magnitude),
    };
    let (seconds, rest) = take_integer(magnitude, TIME_DIGITS_MAX)?;
    let (nanos, rest) = match rest {
        [b'.', after_point @ ..] => take_billionths(after_point)?,
        _ => (0, rest),
    };
    Some((signed(seconds, nanos, negative), rest))
}

/// Appends a difference in seconds: its sign always, `+` for none, and nine decimal places, as in
/// `+0.263873386`. Exact for every value.
pub fn write_difference(out: &mut Vec<u8>, difference: Nanos) {
    match short_difference(difference) {
        Some(text) => out.extend_from_slice(&text),
        None => write_long_difference(out, difference),
    }
}

/// What [`write_difference`] writes of a clock that is right to ten seconds, as nearly every client's is.
#[inline]
pub fn short_difference(difference: Nanos) -> Option<[u8; SHORT_DIFFERENCE_BYTES]> {
    let nanos = u64::try_from(difference.unsigned_abs()).ok()?;
    if nanos >= 10_000_000_000 {
        return None;
    }
    let sign = if difference < 0 { b'-' } else { b'+' };
    let tens = nanos / 10;
    let seconds = tens / 100_000_000;
    let [d1, d2, d3, d4, d5, d6, d7, d8] = write_eight(tens % 100_000_000);
    let (whole, last) = (b'0' + (seconds % 10) as u8, b'0' + (nanos % 10) as u8);
    Some([sign, whole, b'.', d1, d2, d3, d4, d5, d6, d7, d8, last])
}

/// Appends a time as a client writes it, with nine decimal places: `1479413884.392014450`. A time that
/// twelve digits of seconds cannot hold is written as the nearest one that they can.
pub fn write_time(out: &mut Vec<u8>, time: Nanos) {
    const LAST: Nanos = 1_000_000_000_000 * NANOS_PER_SECOND - 1;
    let start = out.len();
    write_difference(out, time.clamp(-LAST, LAST));
    if out.get(start) == Some(&b'+') {
        out.remove(start);
    }
}

/// Reads what [`write_difference`] writes, and nothing else: a sign, 1 to 13 digits without
/// padding, a point and nine digits; `-0.000000000` is not written and so not read.
pub fn parse_difference(text: &[u8]) -> Option<Nanos> {
    let (negative, magnitude) = match text {
        [b'+', magnitude @ ..] => (false, magnitude),
        [b'-', magnitude @ ..] => (true, magnitude),
        _ => return None,
    };
    let (seconds, rest) = take_integer(magnitude, DIFFERENCE_DIGITS_MAX)?;
    let (nanos, []) = take_billionths(rest.strip_prefix(b".")?)? else { return None };
    let is_padded = matches!(magnitude, [b'0', second, ..] if *second != b'.');
    let is_minus_zero = negative && seconds == 0 && nanos == 0;
    let is_as_written = rest.len() == PLACES + 1 && !is_padded && !is_minus_zero;
    is_as_written.then(|| signed(seconds, nanos, negative))
}

/// Appends a time as UTC to the microsecond, as in `2016-11-17T20:18:04.392014Z`, for logs.
///
/// What lies before 1970 or after 9999 is written as the first or last moment of that span: a log
/// line with a wrong clock is better than none.
pub fn write_utc(out: &mut Vec<u8>, unix_nanos: Nanos) {
    let last = (Nanos::from(UTC_SECONDS_MAX) + 1) * NANOS_PER_SECOND - 1;
    let clamped = unix_nanos.clamp(0, last);
    let (seconds, nanos) = match u64::try_from(clamped) {
        Ok(nanos) => (nanos / 1_000_000_000, nanos % 1_000_000_000),
        // Beyond the year 2554. The quotient is at most `UTC_SECONDS_MAX`, by the clamp.
        Err(_) => (
            u64::try_from(clamped / NANOS_PER_SECOND).unwrap_or(UTC_SECONDS_MAX),
            u64::try_from(clamped % NANOS_PER_SECOND).unwrap_or(0),
        ),
    };
    let (year, month, day) = civil_date(seconds / 86_400);
    let [y0, y1, y2, y3] = padded(year);
    let [o0, o1] = padded(month);
    let [d0, d1] = padded(day);
    let [h0, h1] = padded(seconds / 3600 % 24);
    let [m0, m1] = padded(seconds / 60 % 60);
    let [s0, s1] = padded(seconds % 60);
    let [f0, f1, f2, f3, f4, f5] = padded(nanos / 1000);
    out.extend_from_slice(&[
        y0, y1, y2, y3, b'-', o0, o1, b'-', d0, d1, b'T', h0, h1, b':', m0, m1, b':', s0, s1, b'.',
        f0, f1, f2, f3, f4, f5, b'Z',
    ]);
}

/// Year, month and day in the Gregorian calendar, `days` after 1970-01-01.
///
/// Years are counted from 1 March, so that the leap day is the last of its year and the lengths
/// of the months repeat as 153 days in five months; a century is a quarter of 146,097 days and a
/// year a quarter of 1,461, where the divisions round as the leap rule does.
fn civil_date(days: u64) -> (u64, u64, u64) {
    // From 0000-03-01 to 1970-01-01.
    let day = days + 719_468;
    let century = (4 * day + 3) / 146_097;
    let day_of_century = day - 146_097 * century / 4;
    let year = (4 * day_of_century + 3) / 1461;
    let day_of_year = day_of_century - 1461 * year / 4;
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    // Months 10 and 11 after March are January and February of the next civil year.
    if month < 10 {
        (100 * century + year, month + 3, day_of_month)
    } else {
        (100 * century + year + 1, month - 9, day_of_month)
    }
}

/// The inverse of [`civil_date`]: days from 1970-01-01, negative before it. The month is 1 to 12; a day
/// past the month's last counts on into the next month.
pub(super) fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    365 * year + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

fn signed(seconds: u64, nanos: u64, negative: bool) -> Nanos {
    let magnitude = Nanos::from(seconds) * NANOS_PER_SECOND + Nanos::from(nanos);
    if negative { -magnitude } else { magnitude }
}

/// [`write_difference`] for any magnitude.
#[cold]
fn write_long_difference(out: &mut Vec<u8>, difference: Nanos) {
    let magnitude = difference.unsigned_abs();
    out.push(if difference < 0 { b'-' } else { b'+' });
    match u64::try_from(magnitude) {
        // Below 584 years: 64-bit division.
        Ok(nanos) => {
            write_integer(out, nanos / 1_000_000_000);
            write_nanos(out, nanos % 1_000_000_000);
        }
        Err(_) => write_wide(out, magnitude),
    }
}

/// [`write_long_difference`] for a magnitude that does not fit in 64 bits: its seconds are written as
/// what is above eighteen digits, and those eighteen.
fn write_wide(out: &mut Vec<u8>, magnitude: u128) {
    const EIGHTEEN_DIGITS: u128 = 1_000_000_000_000_000_000;
    let seconds = magnitude / 1_000_000_000;
    let low = (seconds % EIGHTEEN_DIGITS) as u64;
    match u64::try_from(seconds / EIGHTEEN_DIGITS).unwrap_or(u64::MAX) {
        0 => write_integer(out, low),
        high => {
            write_integer(out, high);
            out.extend_from_slice(&padded::<18>(low));
        }
    }
    write_nanos(out, (magnitude % 1_000_000_000) as u64);
}

/// Appends a point and nine digits.
fn write_nanos(out: &mut Vec<u8>, nanos: u64) {
    out.push(b'.');
    out.extend_from_slice(&padded::<PLACES>(nanos));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference(nanos: Nanos) -> String {
        let mut out = Vec::new();
        write_difference(&mut out, nanos);
        String::from_utf8(out).unwrap()
    }

    fn utc(nanos: Nanos) -> String {
        let mut out = Vec::new();
        write_utc(&mut out, nanos);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_time_is_whole_nanoseconds() {
        for (text, nanos) in [
            ("1479413884.392014450", 1_479_413_884_392_014_450),
            ("0", 0),
            ("-0", 0),
            ("-0.000000001", -1),
            ("-1.5", -1_500_000_000),
            ("7.1", 7_100_000_000),
            ("000000000007", 7_000_000_000),
            ("999999999999.999999999", 999_999_999_999_999_999_999),
            ("-999999999999.999999999", -999_999_999_999_999_999_999),
        ] {
            assert_eq!(parse_time(text.as_bytes()), Some(nanos), "{text}");
        }
    }

    #[test]
    fn a_time_has_at_most_twelve_digits_and_nine_places() {
        for text in [
            "1234567890123",
            "1.1234567890",
            "0000000000007",
            "",
            "-",
            "+1",
            "--1",
            "1.",
            ".1",
            "-.1",
            "1.-1",
            "1e3",
            "1.5e3",
            "1,5",
            "1 ",
            " 1",
            "0x1",
            "inf",
            "nan",
            "1_0",
            "1.2.3",
            "\u{661}",
        ] {
            assert_eq!(parse_time(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_difference_always_has_its_sign_and_nine_places() {
        assert_eq!(difference(0), "+0.000000000");
        assert_eq!(difference(263_873_386), "+0.263873386");
        assert_eq!(difference(-1), "-0.000000001");
        assert_eq!(difference(-1_000_000_000), "-1.000000000");
        assert_eq!(difference(12_000_000_345), "+12.000000345");
        // The last that is short, and the first that is not.
        assert_eq!(difference(9_999_999_999), "+9.999999999");
        assert_eq!(difference(-9_999_999_999), "-9.999999999");
        assert_eq!(difference(10_000_000_000), "+10.000000000");
        assert_eq!(difference(-10_000_000_000), "-10.000000000");
    }

    #[test]
    fn a_difference_of_any_magnitude_is_exact() {
        assert_eq!(difference(Nanos::from(u64::MAX)), "+18446744073.709551615");
        assert_eq!(difference(Nanos::from(u64::MAX) + 1), "+18446744073.709551616");
        assert_eq!(difference(-1_999_999_999_998_000_000_007), "-1999999999998.000000007");
        assert_eq!(difference(Nanos::MAX), "+170141183460469231731687303715.884105727");
        assert_eq!(difference(Nanos::MIN), "-170141183460469231731687303715.884105728");
    }

    #[test]
    fn a_difference_is_read_only_as_it_is_written() {
        assert_eq!(parse_difference(b"+0.263873386"), Some(263_873_386));
        assert_eq!(parse_difference(b"-10.000000000"), Some(-10_000_000_000));
        assert_eq!(
            parse_difference(b"+9999999999999.999999999"),
            Some(9_999_999_999_999_999_999_999)
        );
        for text in [
            "0.263873386",
            "+0.26387338",
            "+0.2638733860",
            "+00.263873386",
            "+01.263873386",
            "-0.000000000",
            "+.263873386",
            "+0",
            "+",
            "",
            "+-0.263873386",
            "+12345678901234.000000000",
            "+1.00000000x",
            "+1x000000000",
            "+000000000",
            "+1234567890",
        ] {
            assert_eq!(parse_difference(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn utc_is_the_gregorian_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (68_169_599, "1972-02-28T23:59:59.000000Z"),
            (68_169_600, "1972-02-29T00:00:00.000000Z"),
            (68_256_000, "1972-03-01T00:00:00.000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000Z"),
            (4_107_542_399, "2100-02-28T23:59:59.000000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000Z"),
            (253_402_300_799, "9999-12-31T23:59:59.000000Z"),
        ] {
            assert_eq!(utc(seconds * NANOS_PER_SECOND), text);
        }
        assert_eq!(utc(1_479_413_884_392_014_450), "2016-11-17T20:18:04.392014Z");
    }

    #[test]
    fn utc_counts_every_day_of_the_span() {
        let mut day_number = 0;
        for year in 1970..10_000 {
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let february = if leap { 29 } else { 28 };
            let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
            for (month, length) in (1..).zip(lengths) {
                for day in 1..=length {
                    assert_eq!(civil_date(day_number), (year, month, day));
                    let [year, month, day] = [year, month, day].map(|n| i64::try_from(n).unwrap());
                    assert_eq!(days_since_1970(year, month, day).unsigned_abs(), day_number);
                    day_number += 1;
                }
            }
        }
    }

    #[test]
    fn utc_stays_between_1970_and_9999() {
        assert_eq!(utc(-1), "1970-01-01T00:00:00.000000Z");
        assert_eq!(utc(Nanos::MIN), "1970-01-01T00:00:00.000000Z");
        assert_eq!(utc(Nanos::MAX), "9999-12-31T23:59:59.999999Z");
    }
}
