//! The same bytes as different reads: whatever is parsed must not depend on how it arrived.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use crate::mutate::Rng;

/// The most reads of one size: up to here an input is also cut into single bytes.
const READS_MAX: usize = 4096;

/// Some cuttings of an input: whole, into single bytes, and twice at places that follow from its bytes,
/// also into reads of nothing. An input is always cut in the same way, so that it fails again.
pub fn cuttings(input: &[u8]) -> Vec<Vec<&[u8]>> {
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    let mut rng = Rng::new(hasher.finish());
    let few = at_places(&mut rng, input, 3);
    let many = at_places(&mut rng, input, 3 + input.len().min(READS_MAX) / 5);
    let size = input.len().div_ceil(READS_MAX).max(1);
    vec![vec![input], input.chunks(size).collect(), few, many]
}

fn at_places<'a>(rng: &mut Rng, input: &'a [u8], cuts: usize) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = (0..cuts).map(|_| rng.below(input.len() + 1)).collect();
    places.push(input.len());
    places.sort_unstable();
    let mut start = 0;
    places
        .into_iter()
        .map(|end| {
            let read = &input[start..end];
            start = end;
            read
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cutting_is_the_whole_input_in_pieces() {
        for input in [&b""[..], b"a", b"some more bytes than one read brings"] {
            for reads in cuttings(input) {
                assert_eq!(reads.concat(), input);
            }
        }
    }
}
