//! What the journal costs: a server that keeps one, synced each second, and one that keeps none, in turn.

use crate::bench::Bench;
use crate::compared::{CPU, HERD};
use crate::load::{Samples, in_turn};
use crate::servers::QUIET;
use crate::servers::Stage;
use crate::table::{Check, Row, short};

/// CPU per IAMAT with and without it.
pub fn journal(bench: &mut Bench) -> Result<Vec<Row>, String> {
    let (connections, depth) = bench.sizes.full;
    let work = format!("journal, `--sync second`, {connections} × {depth}: CPU per IAMAT");
    let (without, with) = (Stage::alone(bench)?, Stage::alone(bench)?);
    let flags = format!("{QUIET} --journal {} --sync second", with.folder().display());
    let servers =
        [without.serve(bench, "Alford", HERD, QUIET)?, with.serve(bench, "Alford", HERD, &flags)?];
    let words = format!("--connections {connections} --depth {depth}");
    let samples = in_turn(bench, &servers, &words)?;
    for server in &servers {
        server.note_turn(bench);
    }
    let cpu = samples.iter().map(|s| s.least(CPU)).collect::<Result<Vec<_>, _>>()?;
    let [without, with] = cpu.as_slice() else { return Err("two were measured".to_owned()) };
    let row = Row::new(&work, "≤ 1.25 × without", format!("{} ns", short(*with)))
        .peers(format!("without {} ns", short(*without)))
        .judged(&[Check::ratio("× without", *with, Some(*without), 1.25)])
        .marked(samples.iter().any(Samples::disturbed));
    Ok(vec![row])
}
