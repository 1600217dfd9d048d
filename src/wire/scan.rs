//! Finding the end of a field or of a number, eight bytes at a step.
//!
//! Owns the searches that the bytes of every line go through. They work on words of eight bytes with plain
//! integer arithmetic, because a loop over single bytes would pay for each byte what this pays for a word.
//! It gives no meaning to what it finds. Called by the parsers of fields.

/// 1 in each byte of a word; multiplied by a byte it repeats that byte.
pub(super) const ONES: u64 = u64::from_ne_bytes([1; 8]);

/// The high bit of each byte of a word.
const HIGH_BITS: u64 = u64::from_ne_bytes([0x80; 8]);

/// Where the first white space stands in `text`: space, tab, CR, LF, FF or VT.
#[inline]
pub(super) fn find_white_space(text: &[u8]) -> Option<usize> {
    // All six are among the bytes up to the space, and no other of those is common in a line.
    let at = find(text, |word| mark_below(word, b' ' + 1), |byte| byte <= b' ')?;
    if text.get(at) == Some(&b' ') {
        return Some(at);
    }
    text.iter().position(|byte| is_white_space(*byte))
}

/// Where the first byte stands in `text` that is white space, a control below it, or beyond ASCII.
#[inline]
pub(super) fn find_end_of_plain(text: &[u8]) -> Option<usize> {
    find(
        text,
        |word| mark_below(word, b'!') | (word & HIGH_BITS),
        |byte| byte <= b' ' || !byte.is_ascii(),
    )
}

/// `text` without the digits that it begins with.
#[inline]
pub(super) fn after_digits(text: &[u8]) -> &[u8] {
    let mut rest = text;
    while let Some((word, after)) = rest.split_first_chunk() {
        // What was a digit is below 10 now, and anything else is not.
        let marks = mark_from(u64::from_le_bytes(*word) ^ (ONES * u64::from(b'0')), 10);
        if marks != 0 {
            return rest.get(first_marked(marks)..).unwrap_or_default();
        }
        rest = after;
    }
    while let [b'0'..=b'9', after @ ..] = rest {
        rest = after;
    }
    rest
}

/// Whether a byte separates fields.
pub(super) fn is_white_space(byte: u8) -> bool {
    // From tab to CR: tab, LF, VT, FF, CR.
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// The first byte that `mark` marks in a word, or `is_wanted` says so in the last, short part.
#[inline]
fn find(text: &[u8], mark: impl Fn(u64) -> u64, is_wanted: impl Fn(u8) -> bool) -> Option<usize> {
    let mut rest = text;
    while let Some((word, after)) = rest.split_first_chunk() {
        let marks = mark(u64::from_le_bytes(*word));
        if marks != 0 {
            return Some(text.len() - rest.len() + first_marked(marks));
        }
        rest = after;
    }
    while let [byte, after @ ..] = rest {
        if is_wanted(*byte) {
            return Some(text.len() - rest.len());
        }
        rest = after;
    }
    None
}

/// The first eight bytes of `text`, with zeros for those that are missing.
#[inline]
pub(super) fn first_word(text: &[u8]) -> u64 {
    text.first_chunk().map_or_else(|| short_word(text), |word| u64::from_le_bytes(*word))
}

/// [`first_word`] of a text that is shorter.
#[cold]
fn short_word(text: &[u8]) -> u64 {
    text.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// Which byte of a word is the lowest that is marked; 8 if none is.
pub(super) fn first_marked(marks: u64) -> usize {
    marks.trailing_zeros() as usize / 8
}

/// Sets the high bit of each byte of `word` that is below `limit`, which is at most 128.
///
/// The subtraction makes the high bit of such a byte rise, and of one at or above 128 + `limit`,
/// which the middle term takes out. It also borrows from the next higher byte, so marks above the
/// lowest may be false: the lowest is always true, and only that one is used.
fn mark_below(word: u64, limit: u8) -> u64 {
    word.wrapping_sub(ONES * u64::from(limit)) & !word & HIGH_BITS
}

/// Sets the high bit of each byte of `word` that is `limit` or above; `limit` is at most 128. As above,
/// only the lowest mark counts, since a sum may carry into the next higher byte.
pub(super) fn mark_from(word: u64, limit: u8) -> u64 {
    (word.wrapping_add(ONES * u64::from(128 - limit)) | word) & HIGH_BITS
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_byte_is_found_at_every_place() {
        for byte in 0..=255u8 {
            for place in 0..20 {
                let other = if byte == b'x' { b'y' } else { b'x' };
                let mut text = [other; 20];
                text[place] = byte;
                let expected = is_white_space(byte).then_some(place);
                assert_eq!(find_white_space(&text), expected, "{byte}");
                let expected = (byte <= b' ' || byte >= 128).then_some(place);
                assert_eq!(find_end_of_plain(&text), expected, "{byte}");
                let mut digits = [b'7'; 20];
                digits[place] = byte;
                let expected = if byte.is_ascii_digit() { 20 } else { place };
                assert_eq!(after_digits(&digits).len(), 20 - expected, "{byte}");
            }
        }
    }

    proptest! {
        #[test]
        fn words_find_what_single_bytes_would(
            text in proptest::collection::vec(
                prop_oneof![any::<u8>(), 0u8..40, 250u8.., Just(0x80), Just(0x8a)], 0..60),
        ) {
            let expected = text.iter().position(|byte| *byte <= b' ' || *byte >= 128);
            prop_assert_eq!(find_end_of_plain(&text), expected);
            let expected = text.iter().position(|byte| is_white_space(*byte));
            prop_assert_eq!(find_white_space(&text), expected);
        }

        #[test]
        fn digits_end_at_the_first_byte_that_is_none(
            text in proptest::collection::vec(prop_oneof![9 => b'0'..=b'9', 1 => any::<u8>()], 0..40),
        ) {
            let expected = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
            prop_assert_eq!(after_digits(&text), &text[expected..]);
        }
    }
}
