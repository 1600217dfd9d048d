//! Eight decimal digits at a step, in both directions.
//!
//! Owns the arithmetic that treats a word of eight bytes as eight digits: three multiplications instead
//! of eight make a number of them, or digits of a number. It knows no sign, no point and no limit.
//! Called by [`decimal`](super::decimal) and [`time`](super::time).

use super::scan::ONES;

/// The value of `text`, if all of it is digits.
///
/// Bytes are taken from the lowest of the word up, so the first digit, which is worth most, is lowest.
#[inline]
pub(super) fn read_eight(text: [u8; 8]) -> Option<u64> {
    // What was a digit is now below 10, and adding 0x76 to each byte lifts what is not to 128 or more. A
    // sum that carries into the byte above comes from a byte that is none itself.
    let values = u64::from_le_bytes(text) ^ (ONES * u64::from(b'0'));
    if (values.wrapping_add(ONES * 0x76) | values) & (ONES * 0x80) != 0 {
        return None;
    }
    // Neighbours become pairs, pairs become fours, and these the whole, each in the higher one's place.
    let pairs = (values * 10 + (values >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    Some(fours.wrapping_mul(10_000).wrapping_add(fours >> 32) & 0xffff_ffff)
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
    fn any_byte_that_is_no_digit_is_seen_at_any_place() {
        for byte in 0..=255u8 {
            for place in 0..8 {
                let mut text = *b"98765432";
                text[place] = byte;
                let expected = std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok());
                let expected = expected.filter(|_| byte.is_ascii_digit());
                assert_eq!(read_eight(text), expected, "{byte:#x} at {place}");
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_the_number_and_is_read_again(value in 0..100_000_000u64) {
            let text = write_eight(value);
            prop_assert_eq!(text.to_vec(), format!("{value:08}").into_bytes());
            prop_assert_eq!(read_eight(text), Some(value));
        }
    }
}
