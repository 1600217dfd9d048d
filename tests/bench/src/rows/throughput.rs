//! IAMATs as fast as they are answered: many in flight, one in flight on each of many connections, one at all.

use crate::bench::Bench;
use crate::compared::{CPU, Compared, HERD, compare};
use crate::peers::{PEERS, Peer};
use crate::servers::QUIET;
use crate::table::{Check, Row, short};

/// What the picture of latencies shows.
const PERCENTILES: [(&str, &str); 5] = [
    ("p50", "p50_us"),
    ("p90", "p90_us"),
    ("p99", "p99_us"),
    ("p99.9", "p99_9_us"),
    ("longest", "max_us"),
];

/// 64 connections with 64 requests in flight on each, hardly a line of log.
pub fn full(bench: &mut Bench) -> Result<Vec<Row>, String> {
    let (connections, depth) = bench.sizes.full;
    let work =
        format!("{connections} connections × {depth} in flight, `--log-level warn`: CPU per IAMAT");
    let words = format!("--connections {connections} --depth {depth}");
    let compared = compare(bench, QUIET, &PEERS, &words)?;
    let cpu = compared.least(CPU)?;
    let herd = cpu.herd()?;
    let checks = [
        Check::ratio("× Redis SET", herd, cpu.peer(Peer::Redis), 0.5),
        Check::ratio("× tokio", herd, cpu.peer(Peer::Tokio), 0.5),
    ];
    let row = Row::new(&work, "≤ 0.5 × Redis SET, ≤ 0.5 × tokio", format!("{} ns", short(herd)))
        .peers(cpu.told("ns"))
        .judged(&checks)
        .marked(compared.disturbed());
    let replies = compared.median("replies_per_second")?;
    let rate =
        Row::new("the same: replies a second", "", short(replies.herd()?)).peers(replies.told(""));
    Ok(vec![row, rate])
}

/// The same, with every line in and out in the log, which is written by a second thread on the same CPU.
pub fn logging(bench: &mut Bench) -> Result<Vec<Row>, String> {
    let (connections, depth) = bench.sizes.full;
    let work =
        format!("{connections} × {depth}, the default log (every line in and out): CPU per IAMAT");
    let words = format!("--connections {connections} --depth {depth}");
    let compared = compare(bench, "", &[Peer::Redis], &words)?;
    let cpu = compared.least(CPU)?;
    let herd = cpu.herd()?;
    let checks = [Check::ratio("× Redis SET", herd, cpu.peer(Peer::Redis), 0.85)];
    let row =
        Row::new(&work, "≤ 0.85 × Redis SET, which logs nothing", format!("{} ns", short(herd)))
            .peers(cpu.told("ns"))
            .judged(&checks)
            .marked(compared.disturbed());
    Ok(vec![row])
}

/// 64 connections with one request in flight on each: what the system calls cost.
pub fn depth_one(bench: &mut Bench) -> Result<Vec<Row>, String> {
    let (connections, _) = bench.sizes.full;
    let work = format!("{connections} connections × 1: CPU per IAMAT");
    let words = format!("--connections {connections} --depth 1");
    let compared = compare(bench, QUIET, &PEERS, &words)?;
    picture(bench, &compared)?;
    let cpu = compared.least(CPU)?;
    let herd = cpu.herd()?;
    let checks = [
        Check::ratio("× echo", herd, cpu.peer(Peer::Echo), 1.08),
        Check::ratio("× tokio", herd, cpu.peer(Peer::Tokio), 1.0),
        Check::ratio("× Redis SET", herd, cpu.peer(Peer::Redis), f64::INFINITY),
    ];
    let row = Row::new(&work, "≤ 1.08 × echo, below tokio", format!("{} ns", short(herd)))
        .peers(cpu.told("ns"))
        .judged(&checks)
        .marked(compared.disturbed());
    Ok(vec![row])
}

/// One request at a time on one connection.
pub fn round_trip(bench: &mut Bench) -> Result<Vec<Row>, String> {
    let work = "1 connection × 1: p50 round trip";
    let peers = [Peer::Echo, Peer::Tokio, Peer::Redis];
    let compared = compare(bench, QUIET, &peers, "--connections 1 --depth 1")?;
    let p50 = compared.median("p50_us")?;
    let herd = p50.herd()?;
    let row = Row::new(work, "≤ 1.05 × echo", format!("{} µs", short(herd)))
        .peers(p50.told("µs"))
        .judged(&[Check::ratio("× echo", herd, p50.peer(Peer::Echo), 1.05)])
        .marked(compared.disturbed());
    Ok(vec![row])
}

/// Keeps the percentiles of all for the picture.
fn picture(bench: &mut Bench, compared: &Compared) -> Result<(), String> {
    let mut lines: Vec<(String, Vec<f64>)> = Vec::new();
    for (_, key) in PERCENTILES {
        for (title, figure) in compared.median(key)?.0 {
            match lines.iter_mut().find(|(found, _)| *found == title) {
                Some((_, figures)) => figures.push(figure),
                None => lines.push((title, vec![figure])),
            }
        }
    }
    debug_assert!(lines.iter().any(|(title, _)| title == HERD));
    bench.pictures.percentiles = PERCENTILES.map(|(name, _)| name.to_owned()).to_vec();
    bench.pictures.latencies = lines;
    Ok(())
}
