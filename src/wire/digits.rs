//! Eight decimal digits at a step, in both directions.
//!
//! Owns the arithmetic that treats a word of eight bytes as eight digits: three multiplications instead
//! of eight make a number of them, or digits of a number. It knows no sign, no point and no limit.
//! Called by [`decimal`](super::decimal) and [`time`](super::time).

/// 1 in each byte of a word; multiplied by a byte it repeats that byte.
const ONES: u64 = u64::from_ne_bytes([1; 8]);

/// The value of the digits that `text` begins with, as if zeros followed them up to eight, and their
/// number: `5` is 50,000,000 and one. That is how a fraction is read.
///
/// Bytes are taken from the lowest of the word up, so the first digit, which is worth most, is lowest.
#[inline]
pub(super) fn read_eight(text: [u8; 8]) -> (u64, usize) {
    // What was a digit is now below 10, and adding 0x76 to each byte lifts what is not to 128 or more.
    // A sum may also carry into the byte above: only the lowest mark counts, and that one is true.
    let values = u64::from_le_bytes(text) ^ (ONES * u64::from(b'0'));
    let marks = (values.wrapping_add(ONES * 0x76) | values) & (ONES * 0x80);
    let bits = marks.trailing_zeros() & !7;
    let values = values & !u64::MAX.unbounded_shl(bits);
    // Neighbours become pairs, pairs become fours, and these the whole, each in the higher one's place.
    let pairs = (values * 10 + (values >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    let whole = fours.wrapping_mul(10_000).wrapping_add(fours >> 32) & 0xffff_ffff;
    (whole, bits as usize / 8)
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
    fn digits_end_at_any_byte_that_is_none() {
        for byte in 0..=255u8 {
            for place in 0..8 {
                let mut text = *b"98765432";
                text[place] = byte;
                let expected = if byte.is_ascii_digit() { 8 } else { place };
                let (value, digits) = read_eight(text);
                assert_eq!(digits, expected, "{byte:#x} at {place}");
                let mut zeros = [b'0'; 8];
                zeros[..digits].copy_from_slice(&text[..digits]);
                assert_eq!(format!("{value:08}").into_bytes(), zeros);
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_the_number_and_is_read_again(value in 0..100_000_000u64) {
            let text = write_eight(value);
            prop_assert_eq!(text.to_vec(), format!("{value:08}").into_bytes());
            prop_assert_eq!(read_eight(text), (value, 8));
        }

        #[test]
        fn any_bytes_are_read_as_single_digits_would_be(text: [u8; 8], digits in 0..9usize) {
            let mut text = text;
            text[..digits].iter_mut().for_each(|byte| *byte = b'0' + *byte % 10);
            let expected = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let value = (0..8).fold(0, |value, place| {
                value * 10 + if place < expected { u64::from(text[place] - b'0') } else { 0 }
            });
            prop_assert_eq!(read_eight(text), (value, expected));
        }
    }
}
