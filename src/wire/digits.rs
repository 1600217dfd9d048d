//! Eight decimal digits at a step, in both directions.
//!
//! Owns the arithmetic that treats a word of eight bytes as eight digits: three multiplications instead
//! of eight make a number of them, or digits of a number. It knows no sign, no point and no limit.
//! Called by [`decimal`](super::decimal) and [`time`](super::time).

use super::scan::{ONES, first_marked, first_word, mark_from};

/// The digits that `text` begins with, up to eight of them, as a word, and how many they are.
///
/// The word has a digit in each byte, the last one highest, and zeros before the first: [`value`] makes a
/// number of it.
#[expect(
    clippy::inline_always,
    reason = "twice for each time, between others that hold its constants"
)]
#[inline(always)]
pub(super) fn leading_digits(text: &[u8]) -> (u64, usize) {
    let values = first_word(text) ^ (ONES * u64::from(b'0'));
    let digits = first_marked(mark_from(values, 10));
    if digits == 0 {
        return (0, 0);
    }
    // What is behind the digits is shifted out.
    (values << (64 - 8 * digits), digits)
}

/// The number that a word of digits is.
#[inline]
pub(super) fn value(digits: u64) -> u64 {
    // Neighbours become pairs, pairs become fours, and these the whole, each in the higher one's place.
    let pairs = (digits * 10 + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    fours.wrapping_mul(10_000).wrapping_add(fours >> 32) & 0xffff_ffff
}

/// The eight digits of a number below 10^8, with leading zeros.
#[inline]
pub(super) fn write_eight(value: u64) -> [u8; 8] {
    // The way back. Multiplying and shifting divides by 100 and by 10, exactly for numbers this small.
    let fours = value / 10_000 + ((value % 10_000) << 32);
    let hundreds = ((fours * 5243) >> 19) & 0x0000_007f_0000_007f;
    let pairs = hundreds + ((fours - hundreds * 100) << 16);
    let tens = ((pairs * 103) >> 10) & 0x000f_000f_000f_000f;
    let values = tens + ((pairs - tens * 10) << 8);
    (values | (ONES * u64::from(b'0'))).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn digits_end_at_any_byte_that_is_none_and_at_the_end_of_the_text() {
        for byte in (0..=255u8).filter(|byte| !byte.is_ascii_digit()) {
            for place in 0..10 {
                let mut text = *b"9876543210";
                text[place] = byte;
                let expected = read(&text[..place.min(8)]);
                assert_eq!(read(&text), expected, "{byte:#x} at {place}");
                assert_eq!(read(&text[..place]), expected, "the end at {place}");
            }
        }
    }

    fn read(text: &[u8]) -> (u64, usize) {
        match leading_digits(text) {
            (_, 0) => (0, 0),
            (word, digits) => (value(word), digits),
        }
    }

    proptest! {
        #[test]
        fn a_number_is_read_whatever_stands_behind_it(
            text in "[0-9]{1,8}", behind in proptest::collection::vec(any::<u8>(), 0..9),
        ) {
            let whole = [text.as_bytes(), b"x", &behind].concat();
            prop_assert_eq!(read(&whole), (text.parse().unwrap(), text.len()));
            prop_assert_eq!(read(text.as_bytes()), (text.parse().unwrap(), text.len()));
        }

        #[test]
        fn what_is_written_is_the_number_and_is_read_again(value in 0..100_000_000u64) {
            let text = write_eight(value);
            prop_assert_eq!(text.to_vec(), format!("{value:08}").into_bytes());
            prop_assert_eq!(read(&text), (value, 8));
        }
    }
}
