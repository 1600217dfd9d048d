//! The longest turn of the loop under any of the loads of this run, by the servers' own measure.

use crate::bench::Bench;
use crate::table::{Check, Row, short};

/// The longest of all that were noted before their servers stopped.
#[allow(clippy::unnecessary_wraps, reason = "every row has this signature")]
pub fn longest(bench: &mut Bench) -> Result<Vec<Row>, String> {
    let name = "the loop: longest turn under any load above";
    let longest = bench.turns.iter().max_by(|(_, a), (_, b)| a.total_cmp(b));
    let Some((work, us)) = longest else {
        return Ok(vec![Row::new(name, "≤ 10 ms", "no server of this run was asked".to_owned())]);
    };
    let ms = us / 1_000.0;
    let check = Check::at_most(ms, 10.0);
    Ok(vec![Row::new(name, "≤ 10 ms", format!("{} ms ({work})", short(ms))).judged(&[check])])
}
