//! Many updates of one client: a link carries at most one of them per turn of the loop.
//!
//! Counted, not timed: the neighbour's log says how many news a link has brought, and the status of the
//! server that was told counts its turns.

use std::fs;

use crate::bench::Bench;
use crate::compared::HERD;
use crate::load::load;
use crate::servers::{HERD_PATIENCE, Stage};
use crate::table::{Check, Row, short};

/// Counts the news of a link and the turns in which they could travel.
pub fn same_client(bench: &mut Bench) -> Result<Vec<Row>, String> {
    let updates = bench.sizes.flood;
    let stage = Stage::set(bench, &[("Alford", &["Ball"]), ("Ball", &[])])?;
    let mut servers = stage.serve_all(bench, HERD, "--log-level info")?.into_iter();
    let (Some(alford), Some(ball)) = (servers.next(), servers.next()) else {
        return Err("two servers were started".to_owned());
    };
    let before = alford.counts("turns")?;
    let words = "--clients 1 --connections 1 --depth 64";
    load(bench, &format!("{} {words} --requests {updates}", alford.address()))?;
    let turns = alford.counts("turns")? - before;
    alford.note_turn(bench);
    drop(alford);
    let log = stage.folder().join("Ball.log");
    let news = || brought(&fs::read_to_string(&log).unwrap_or_default());
    let news =
        bench.stop.wait(HERD_PATIENCE, news).ok_or("Ball's log does not tell of the news")?;
    drop(ball);
    let herd = format!("{} lines in {} turns", short(news), short(turns));
    let row = Row::new(
        &format!("{} updates of one client: lines on a link", short(updates.into())),
        "≤ 1 per turn",
        herd,
    )
    .judged(&[Check::ratio("per turn", news, Some(turns), 1.0)]);
    Ok(vec![row])
}

/// Finds `…; it brought 17 news` in a log.
fn brought(log: &str) -> Option<f64> {
    let line = log.lines().find(|line| line.contains("link from Alford is down"))?;
    let (_, rest) = line.split_once("it brought ")?;
    rest.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::brought;

    #[test]
    fn the_count_of_news_is_found_in_a_log() {
        let log = "x link from Alford is up\ny link from Alford is down: end; it brought 17 news\n";
        assert_eq!(brought(log), Some(17.0));
        assert_eq!(brought("x link from Alford is up\n"), None);
    }
}
