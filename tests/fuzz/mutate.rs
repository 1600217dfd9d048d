//! How a new input is made from an old one.
//!
//! Most changes know what text is made of: lines, fields, words and numbers are swapped, repeated and
//! put in each other's place, so that what comes out is often nearly valid. Others know only bytes.
//! Everything follows from the seed of an [`Rng`], and nothing here knows a target but by its words.

use std::ops::Range;

use crate::random::Random;

/// Numbers from a seed, as simulated worlds have them, and what mutation wants of them.
pub struct Rng(Random);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(Random::new(seed))
    }

    pub fn next(&mut self) -> u64 {
        self.0.next()
    }

    /// A number below `end`; 0 when there is none.
    pub fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % end).unwrap_or(0)
    }

    /// A piece of something `length` long, often a short one.
    fn range(&mut self, length: usize) -> Range<usize> {
        let start = self.below(length + 1);
        let most = if self.below(2) == 0 { 8.min(length - start) } else { length - start };
        start..start + self.below(most + 1)
    }

    fn pick<'a>(&mut self, choices: &[&'a [u8]]) -> &'a [u8] {
        choices.get(self.below(choices.len())).copied().unwrap_or_default()
    }
}

/// What a change may be made with.
pub struct Material<'a> {
    /// Another input.
    pub other: &'a [u8],
    pub tokens: &'a [&'a [u8]],
    /// Lengths at which something changes.
    pub extremes: &'a [usize],
}

type Change = fn(&mut Rng, &mut Vec<u8>, &Material<'_>);

/// The changes. What keeps the structure stands here more than once.
const CHANGES: [Change; 16] = [
    flip_a_bit,
    set_a_byte,
    insert_a_token,
    insert_a_token,
    replace_a_piece_by_a_token,
    replace_a_piece_by_a_token,
    replace_a_piece_by_anothers,
    replace_a_piece_by_anothers,
    replace_a_number,
    replace_a_number,
    swap_two_pieces,
    repeat_a_piece,
    take_a_range_out,
    copy_a_range,
    splice,
    stretch,
];

/// The most changes at once.
const CHANGES_MAX: usize = 6;

/// `base` with one change, or a few.
pub fn mutated(rng: &mut Rng, base: &[u8], material: &Material<'_>) -> Vec<u8> {
    let mut input = base.to_vec();
    for _ in 0..=rng.below(CHANGES_MAX) {
        CHANGES[rng.below(CHANGES.len())](rng, &mut input, material);
    }
    input
}

#[expect(clippy::ptr_arg, reason = "all changes are of one type")]
fn flip_a_bit(rng: &mut Rng, input: &mut Vec<u8>, _: &Material<'_>) {
    let place = rng.below(input.len());
    if let Some(byte) = input.get_mut(place) {
        *byte ^= 1 << rng.below(8);
    }
}

#[expect(clippy::ptr_arg, reason = "all changes are of one type")]
fn set_a_byte(rng: &mut Rng, input: &mut Vec<u8>, _: &Material<'_>) {
    const ODD: &[u8] = b"\0\t\n\x0b\x0c\r \"#%+-.0:;[\\]\x7f\x80\xc3\xf0\xfa\xfd\xff";
    let place = rng.below(input.len());
    let byte =
        if rng.below(2) == 0 { ODD[rng.below(ODD.len())] } else { rng.next().to_le_bytes()[0] };
    if let Some(old) = input.get_mut(place) {
        *old = byte;
    }
}

fn insert_a_token(rng: &mut Rng, input: &mut Vec<u8>, material: &Material<'_>) {
    let token = rng.pick(material.tokens);
    let pieces = pieces(rng, input);
    let piece = pieces.get(rng.below(pieces.len())).cloned().unwrap_or_default();
    let place = match rng.below(3) {
        0 => piece.start,
        1 => piece.end,
        _ => rng.below(input.len() + 1),
    };
    input.splice(place..place, token.iter().copied());
}

fn replace_a_piece_by_a_token(rng: &mut Rng, input: &mut Vec<u8>, material: &Material<'_>) {
    let token = rng.pick(material.tokens);
    replace_a_piece(rng, input, token);
}

fn replace_a_piece_by_anothers(rng: &mut Rng, input: &mut Vec<u8>, material: &Material<'_>) {
    let theirs = pieces(rng, material.other);
    let Some(range) = theirs.get(rng.below(theirs.len())) else { return };
    replace_a_piece(rng, input, &material.other[range.clone()]);
}

fn replace_a_piece(rng: &mut Rng, input: &mut Vec<u8>, by: &[u8]) {
    let pieces = pieces(rng, input);
    if let Some(range) = pieces.get(rng.below(pieces.len())) {
        input.splice(range.clone(), by.iter().copied());
    }
}

/// A run of digits becomes another number, often one at an edge.
fn replace_a_number(rng: &mut Rng, input: &mut Vec<u8>, material: &Material<'_>) {
    const EDGES: [u64; 20] = [
        0,
        1,
        9,
        10,
        20,
        21,
        49,
        50,
        51,
        90,
        91,
        180,
        181,
        255,
        256,
        65_535,
        65_536,
        999_999_999_999,
        1_000_000_000_000,
        u64::MAX,
    ];
    let runs = runs(input, u8::is_ascii_digit);
    let Some(range) = runs.get(rng.below(runs.len())).cloned() else { return };
    let digits = input[range.clone()].to_vec();
    let number = match rng.below(6) {
        0 => EDGES[rng.below(EDGES.len())].to_string().into_bytes(),
        1 => material
            .extremes
            .get(rng.below(material.extremes.len()))
            .map_or_else(Vec::new, |&length| {
                (length + rng.below(3)).saturating_sub(1).to_string().into_bytes()
            }),
        2 => vec![b"0159"[rng.below(4)]; 1 + rng.below(22)],
        3 => [b"0", digits.as_slice()].concat(),
        4 => [digits.as_slice(), b"0"].concat(),
        _ => digits.iter().map(|_| b'0' + rng.next().to_le_bytes()[0] % 10).collect(),
    };
    input.splice(range, number);
}

fn swap_two_pieces(rng: &mut Rng, input: &mut Vec<u8>, _: &Material<'_>) {
    let pieces = pieces(rng, input);
    let (one, other) = (rng.below(pieces.len()), rng.below(pieces.len()));
    let (first, last) = (one.min(other), one.max(other));
    if let (true, Some(a), Some(b)) = (first < last, pieces.get(first), pieces.get(last)) {
        let swapped = [&input[b.clone()], &input[a.end..b.start], &input[a.clone()]].concat();
        input.splice(a.start..b.end, swapped);
    }
}

fn repeat_a_piece(rng: &mut Rng, input: &mut Vec<u8>, _: &Material<'_>) {
    let pieces = pieces(rng, input);
    let Some(range) = pieces.get(rng.below(pieces.len())) else { return };
    // With what parts it from the next, so that two fields stay two.
    let end = range.end.max((range.end + 1).min(input.len()));
    let repeated = input[range.start..end].repeat(1 + rng.below(4));
    input.splice(range.start..range.start, repeated);
}

fn take_a_range_out(rng: &mut Rng, input: &mut Vec<u8>, _: &Material<'_>) {
    let range = rng.range(input.len());
    input.drain(range);
}

fn copy_a_range(rng: &mut Rng, input: &mut Vec<u8>, _: &Material<'_>) {
    let copy = input[rng.range(input.len())].to_vec();
    let place = rng.below(input.len() + 1);
    input.splice(place..place, copy);
}

fn splice(rng: &mut Rng, input: &mut Vec<u8>, material: &Material<'_>) {
    input.truncate(rng.below(input.len() + 1));
    input.extend_from_slice(&material.other[rng.below(material.other.len() + 1)..]);
}

/// A piece is repeated until it, or the whole input, is about as long as an extreme.
fn stretch(rng: &mut Rng, input: &mut Vec<u8>, material: &Material<'_>) {
    let pieces = pieces(rng, input);
    let piece = pieces.get(rng.below(pieces.len())).cloned().unwrap_or_default();
    let Some(extreme) = material.extremes.get(rng.below(material.extremes.len())) else { return };
    let length = (extreme + rng.below(5)).saturating_sub(2);
    let now = if rng.below(2) == 0 { piece.len() } else { input.len() };
    let range = rng.range(piece.len());
    let unit = input[piece.start + range.start..piece.start + range.end].to_vec();
    let unit = if unit.is_empty() { vec![b'x'] } else { unit };
    let more = unit.into_iter().cycle().take(length.saturating_sub(now));
    input.splice(piece.end..piece.end, more.collect::<Vec<u8>>());
}

/// The lines, the fields or the words of a text, by chance.
fn pieces(rng: &mut Rng, text: &[u8]) -> Vec<Range<usize>> {
    match rng.below(4) {
        0 => runs(text, |byte| *byte != b'\n'),
        1 => runs(text, |byte| !byte.is_ascii_whitespace()),
        2 => runs(text, |byte| byte.is_ascii_alphanumeric() || b".-+_".contains(byte)),
        _ => runs(text, u8::is_ascii_alphanumeric),
    }
}

/// The longest runs of bytes that are all of a kind.
fn runs(text: &[u8], is_inside: impl Fn(&u8) -> bool) -> Vec<Range<usize>> {
    let mut runs = Vec::new();
    let mut at = 0;
    for run in text.split(|byte| !is_inside(byte)) {
        if !run.is_empty() {
            runs.push(at..at + run.len());
        }
        at += run.len() + 1;
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_change_needs_anything_to_change() {
        for seed in 0..2000 {
            let mut rng = Rng::new(seed);
            let nothing = Material { other: b"", tokens: &[], extremes: &[] };
            mutated(&mut rng, b"", &nothing);
            mutated(&mut rng, b"a b\n1", &nothing);
        }
    }

    #[test]
    fn pieces_are_swapped_with_what_is_between_them_kept() {
        let material = Material { other: b"", tokens: &[], extremes: &[] };
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let mut text = b"a  b\nc".to_vec();
            swap_two_pieces(&mut Rng::new(seed), &mut text, &material);
            seen.insert(String::from_utf8(text).unwrap());
        }
        for expected in ["b  a\nc", "c  b\na", "a  c\nb", "c\na  b"] {
            assert!(seen.contains(expected), "{expected:?} in {seen:?}");
        }
    }

    #[test]
    fn stretching_reaches_the_extreme_and_its_neighbours() {
        let material = Material { other: b"", tokens: &[], extremes: &[100] };
        let mut lengths = std::collections::BTreeSet::new();
        for seed in 0..500 {
            let mut text = b"abc".to_vec();
            stretch(&mut Rng::new(seed), &mut text, &material);
            lengths.insert(text.len());
        }
        assert_eq!(lengths, (98..=102).collect());
    }
}
