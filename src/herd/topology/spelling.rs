//! "Did you mean …?": the server name that a misspelt one was most likely meant to be.
//!
//! Used for neighbours in a topology file and for names on the command line. It looks only at
//! spelling, and would rather say nothing than guess wildly.

use super::NAME_MAX_BYTES;

/// The name that was most likely meant: the nearest, when no more than a third of it differs.
pub fn nearest<'a>(wrong: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = wrong.chars().count().max(3) / 3;
    // No good name is longer, and the work grows with the product of the lengths.
    let names = names.filter(|name| name.len() <= NAME_MAX_BYTES);
    let near = names.map(|name| (edit_distance(wrong, name, allowed), name));
    let near = near.filter(|&(distance, _)| distance <= allowed);
    near.min_by_key(|&(distance, _)| distance).map(|(_, name)| name)
}

/// Levenshtein's distance: how many characters must be put in, taken out or replaced, upper and lower
/// case being the same. Anything above `limit` may come out when the lengths alone differ by more.
fn edit_distance(a: &str, b: &str, limit: usize) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (
        a.chars().map(|c| c.to_ascii_lowercase()).collect(),
        b.chars().map(|c| c.to_ascii_lowercase()).collect(),
    );
    if a.len().abs_diff(b.len()) > limit {
        return limit + 1;
    }
    // `row[j]` is the distance between what was taken of `a` so far and the first j of `b`.
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (above, to) in row.iter_mut().skip(1).zip(&b) {
            let replaced = diagonal + usize::from(from != to);
            diagonal = *above;
            left = replaced.min(diagonal + 1).min(left + 1);
            *above = left;
        }
    }
    row.last().copied().unwrap_or(0)
}
