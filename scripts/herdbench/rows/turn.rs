//! The longest turn of the loop under each of the loads of this run, by the servers' own measure.
//!
//! A server measures by the clock: when others have its CPU in the middle of a turn, that turn is long.

use std::collections::BTreeMap;

use crate::bench::{Bench, Turn};
use crate::table::{Check, Row, short};

/// The longest of each row's, of all that were noted before their servers stopped.
#[allow(clippy::unnecessary_wraps, reason = "every row has this signature")]
pub fn longest(bench: &mut Bench) -> Result<Vec<Row>, String> {
    let name = "the loop: longest turn under each load above";
    let rows = by_row(&bench.turns);
    let Some(longest) = rows.first() else {
        return Ok(vec![Row::new(name, "≤ 10 ms", "no server of this run was asked".to_owned())]);
    };
    let told: Vec<String> =
        rows.iter().map(|turn| format!("{} {}", turn.row, short(turn.us / 1_000.0))).collect();
    let row = Row::new(name, "≤ 10 ms", format!("{} ms", told.join(", ")));
    let row = row.judged(&[Check::at_most(longest.us / 1_000.0, 10.0)]);
    Ok(vec![row.marked(longest.disturbed)])
}

/// The longest turn of each row, the longest of all first.
fn by_row(turns: &[Turn]) -> Vec<Turn> {
    let mut longest: BTreeMap<&str, Turn> = BTreeMap::new();
    for turn in turns {
        let kept = longest.entry(turn.row).or_insert(*turn);
        if turn.us > kept.us {
            *kept = *turn;
        }
    }
    let mut rows: Vec<Turn> = longest.into_values().collect();
    rows.sort_by(|a, b| b.us.total_cmp(&a.us));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_has_its_longest_turn_and_the_longest_comes_first() {
        let turn = |row, us| Turn { row, us, disturbed: false };
        let turns = [turn("ring", 3.0), turn("idle", 9.0), turn("ring", 5.0), turn("ring", 1.0)];
        let told: Vec<(&str, f64)> = by_row(&turns).iter().map(|t| (t.row, t.us)).collect();
        assert_eq!(told, [("idle", 9.0), ("ring", 5.0)]);
    }
}
