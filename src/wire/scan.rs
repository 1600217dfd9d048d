//! Finding a byte in a text, eight or sixteen bytes at a step.
//!
//! Owns the searches that every byte of every line goes through: for the end of a line, with Telnet
//! commands in it or without, and for the end of a field. They work on words of eight bytes with plain integer arithmetic, because a
//! loop over single bytes would pay for each byte what this pays for a word. It gives no meaning
//! to what it finds. Called by the line receiver and by the parsers of commands and peer lines.

/// 1 in each byte of a word; multiplied by a byte it repeats that byte.
const ONES: u64 = u64::from_ne_bytes([1; 8]);

/// The high bit of each byte of a word.
const HIGH_BITS: u64 = u64::from_ne_bytes([0x80; 8]);

/// Where a byte first stands in `text`.
#[inline]
pub(super) fn find_byte(text: &[u8], wanted: u8) -> Option<usize> {
    // Most blocks of a line do not hold it, and to say so of sixteen bytes at once is a few instructions
    // of every processor that has vectors: the compiler makes them of a loop that never stops half-way.
    let is_it = |byte: u8| byte == wanted;
    let holds_it = |block: &[u8; 16]| block.iter().fold(false, |found, byte| found | is_it(*byte));
    let (blocks, _) = text.as_chunks();
    let passed = 16 * blocks.iter().position(holds_it).unwrap_or(blocks.len());
    let all = ONES * u64::from(wanted);
    let at = find(text.get(passed..)?, |word| mark_below(word ^ all, 1), is_it)?;
    Some(passed + at)
}

/// Where the first of two bytes stands in `text`.
pub(super) fn find_either(text: &[u8], one: u8, other: u8) -> Option<usize> {
    let (ones, others) = (ONES * u64::from(one), ONES * u64::from(other));
    let mark = |word: u64| mark_below(word ^ ones, 1) | mark_below(word ^ others, 1);
    find(text, mark, |byte| byte == one || byte == other)
}

/// Where the first white space stands in `text`: space, tab, CR, LF, FF or VT.
pub(super) fn find_white_space(text: &[u8]) -> Option<usize> {
    let mut searched = 0;
    loop {
        // All six are among the bytes up to the space, and no other of those is common in a line.
        let rest = text.get(searched..)?;
        let at = searched + find(rest, |word| mark_below(word, b' ' + 1), |byte| byte <= b' ')?;
        if text.get(at).is_some_and(|byte| is_white_space(*byte)) {
            return Some(at);
        }
        searched = at + 1;
    }
}

/// Whether a byte separates fields.
pub(super) fn is_white_space(byte: u8) -> bool {
    // From tab to CR: tab, LF, VT, FF, CR.
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// The first byte that `mark` marks in a word, or `is_wanted` says so in the last, short part.
fn find(text: &[u8], mark: impl Fn(u64) -> u64, is_wanted: impl Fn(u8) -> bool) -> Option<usize> {
    let (words, tail) = text.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let marks = mark(u64::from_le_bytes(*word));
        if marks != 0 {
            return Some(index * 8 + marks.trailing_zeros() as usize / 8);
        }
    }
    let at = tail.iter().position(|byte| is_wanted(*byte))?;
    Some(words.len() * 8 + at)
}

/// Sets the high bit of each byte of `word` that is below `limit`, which is at most 128.
///
/// The subtraction makes the high bit of such a byte rise, and of one at or above 128 + `limit`,
/// which the middle term takes out. It also borrows from the next higher byte, so marks above the
/// lowest may be false: the lowest is always true, and only that one is used.
fn mark_below(word: u64, limit: u8) -> u64 {
    word.wrapping_sub(ONES * u64::from(limit)) & !word & HIGH_BITS
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
                assert_eq!(find_byte(&text, byte), Some(place));
                assert_eq!(find_either(&text, byte, b'z'), Some(place));
                assert_eq!(find_either(&text, b'z', byte), Some(place));
                let expected = is_white_space(byte).then_some(place);
                assert_eq!(find_white_space(&text), expected, "{byte}");
            }
        }
    }

    proptest! {
        #[test]
        fn words_find_what_single_bytes_would(
            text in proptest::collection::vec(
                prop_oneof![any::<u8>(), 0u8..40, 250u8.., Just(0x80), Just(0x8a)], 0..60),
            one: u8,
            other: u8,
        ) {
            let expected = text.iter().position(|byte| *byte == one || *byte == other);
            prop_assert_eq!(find_either(&text, one, other), expected);
            let expected = text.iter().position(|byte| *byte == b'\n' || *byte == 255);
            prop_assert_eq!(find_either(&text, b'\n', 255), expected);
            let expected = text.iter().position(|byte| *byte == b'\n');
            prop_assert_eq!(find_byte(&text, b'\n'), expected);
            let expected = text.iter().position(|byte| is_white_space(*byte));
            prop_assert_eq!(find_white_space(&text), expected);
        }
    }
}
