//! The longest turns of the loop under each of the loads of this run, by the servers' own measure.
//!
//! By the clock, a turn is also long when others have the server's CPU in the middle of it. What the server
//! made of it is the processor time that it used, which is not asked of a turn that a single event has brought;
//! where a load brings no others, the figure is that of the server's start.

use std::collections::BTreeMap;

use crate::bench::{Bench, Turn};
use crate::table::{Check, Row, short};

/// What of a turn is told, in microseconds.
type Measure = fn(&Turn) -> f64;

/// The longest of each row's, of all that were noted before their servers stopped.
#[allow(clippy::unnecessary_wraps, reason = "every row has this signature")]
pub fn longest(bench: &mut Bench) -> Result<Vec<Row>, String> {
    let measures: [(&str, Measure); 2] = [
        ("the loop: longest turn under each load above", |turn| turn.us),
        (
            "the loop: most CPU of one turn under each load above, but for turns of one event",
            |turn| turn.cpu_us,
        ),
    ];
    Ok(measures.map(|(name, of)| row(name, &bench.turns, of)).into())
}

fn row(name: &str, turns: &[Turn], of: Measure) -> Row {
    let rows = by_row(turns, of);
    let Some(longest) = rows.first() else {
        return Row::new(name, "≤ 10 ms", "no server of this run was asked".to_owned());
    };
    let told: Vec<String> =
        rows.iter().map(|turn| format!("{} {}", turn.row, short(of(turn) / 1_000.0))).collect();
    let row = Row::new(name, "≤ 10 ms", format!("{} ms", told.join(", ")));
    row.judged(&[Check::at_most(of(longest) / 1_000.0, 10.0)]).marked(longest.disturbed)
}

/// The longest turn of each row, the longest of all first.
fn by_row(turns: &[Turn], of: Measure) -> Vec<Turn> {
    let mut longest: BTreeMap<&str, Turn> = BTreeMap::new();
    for turn in turns {
        let kept = longest.entry(turn.row).or_insert(*turn);
        if of(turn) > of(kept) {
            *kept = *turn;
        }
    }
    let mut rows: Vec<Turn> = longest.into_values().collect();
    rows.sort_by(|a, b| of(b).total_cmp(&of(a)));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_has_its_longest_turn_and_the_longest_comes_first() {
        let turn = |row, us, cpu_us| Turn { row, us, cpu_us, disturbed: false };
        let turns = [
            turn("ring", 3.0, 2.0),
            turn("idle", 9.0, 0.5),
            turn("ring", 5.0, 1.0),
            turn("ring", 1.0, 1.0),
        ];
        let told = |of: Measure| -> Vec<(&str, f64)> {
            by_row(&turns, of).iter().map(|turn| (turn.row, of(turn))).collect()
        };
        assert_eq!(told(|turn| turn.us), [("idle", 9.0), ("ring", 5.0)]);
        assert_eq!(told(|turn| turn.cpu_us), [("ring", 2.0), ("idle", 0.5)]);
    }
}
