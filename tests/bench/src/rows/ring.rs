//! Updates on the ring of five servers: how long one takes until the last server has it, and what twenty
//! thousand cost all five together.

use crate::bench::Bench;
use crate::compared::{Figures, HERD};
use crate::load::{Candidate, Samples, in_turn_each};
use crate::peers::Peer;
use crate::servers::QUIET;
use crate::servers::{HERD_PATIENCE, RING, Server, Stage};
use crate::table::{Check, Row, short};

/// Updates in flight, where they are sent as fast as they come.
const FLOOD_DEPTH: u32 = 256;

/// The herd's ring with TLS links, in figures.
const HERD_TLS: &str = "herd, TLS";

/// A ring under measurement, and what it stands on.
struct Ring {
    title: String,
    servers: Vec<Server>,
    _stage: Option<Stage>,
}

/// Both works, plain and over TLS, with every peer that is a herd.
pub fn ring(bench: &mut Bench) -> Result<Vec<Row>, String> {
    let mut rings = vec![ours(bench, false)?, ours(bench, true)?];
    for peer in bench.peers.clone().into_iter().filter(|peer| peer.is_herd()) {
        rings.push(theirs(bench, peer)?);
    }
    let (followed, flood) = (bench.sizes.followed, bench.sizes.flood);
    let one = measure(bench, &rings, &format!("--updates {followed} --depth 1"))?;
    let words = format!("--updates {flood} --clients {flood} --depth {FLOOD_DEPTH}");
    let rounds = bench.sizes.rounds;
    // Such a sample is over in a tenth of a second, and one that is so short is easily disturbed.
    bench.sizes.rounds = 2 * rounds;
    let many = measure(bench, &rings, &words);
    bench.sizes.rounds = rounds;
    let many = many?;
    for ring in rings.iter().filter(|ring| ring.title.starts_with(HERD)) {
        for server in &ring.servers {
            server.note_turn(bench);
        }
    }
    Ok(vec![followed_row(&rings, &one)?, flood_row(bench, &rings, &many)?, tls_row(&rings, &many)?])
}

fn followed_row(rings: &[Ring], samples: &[Samples]) -> Result<Row, String> {
    let p50 = figures(rings, samples, |samples| samples.median("update_p50_us"))?;
    let herd = p50.herd()?;
    let tls = p50.of(HERD_TLS).unwrap_or(f64::NAN);
    Ok(Row::new(
        "one update on a five-server ring: p50 until the last has it",
        "≤ tokio",
        format!("{} µs (TLS links {})", short(herd), short(tls)),
    )
    .peers(p50.told("µs"))
    .judged(&[Check::ratio("× tokio", herd, p50.peer(Peer::Tokio), 1.0)])
    .marked(samples.first().is_some_and(Samples::disturbed)))
}

fn flood_row(bench: &Bench, rings: &[Ring], samples: &[Samples]) -> Result<Row, String> {
    let cpu = flood_cpu(rings, samples)?;
    let herd = cpu.herd()?;
    let flood = short(bench.sizes.flood.into());
    let work =
        format!("{flood} updates as fast as they come, plain links: CPU of all five per update");
    Ok(Row::new(&work, "≤ 2.5 µs", format!("{} µs", short(herd)))
        .peers(cpu.told("µs"))
        .judged(&[Check::at_most(herd, 2.5)])
        .marked(samples.first().is_some_and(Samples::disturbed)))
}

fn tls_row(rings: &[Ring], samples: &[Samples]) -> Result<Row, String> {
    let cpu = flood_cpu(rings, samples)?;
    let (plain, tls) = (cpu.herd()?, cpu.of(HERD_TLS).ok_or("no ring with TLS was measured")?);
    Ok(Row::new("the same over TLS links", "≤ 1.25 × plain", format!("{} µs", short(tls)))
        .judged(&[Check::ratio("× plain", tls, Some(plain), 1.25)])
        .marked(samples.iter().take(2).any(Samples::disturbed)))
}

/// CPU time of all five per update, in microseconds.
fn flood_cpu(rings: &[Ring], samples: &[Samples]) -> Result<Figures, String> {
    figures(rings, samples, |samples| Ok(samples.least("server_cpu_ns_per_update")? / 1_000.0))
}

fn figures(
    rings: &[Ring],
    samples: &[Samples],
    figure: impl Fn(&Samples) -> Result<f64, String>,
) -> Result<Figures, String> {
    let both = rings.iter().zip(samples);
    let figures = both.map(|(ring, samples)| Ok((ring.title.clone(), figure(samples)?)));
    Ok(Figures(figures.collect::<Result<_, String>>()?))
}

/// Gives updates to the first server of each ring in turn, and looks for them on the others.
fn measure(bench: &mut Bench, rings: &[Ring], words: &str) -> Result<Vec<Samples>, String> {
    let each = rings.iter().map(|ring| {
        let addresses: Vec<String> = ring.servers.iter().map(Server::address).collect();
        let pids: Vec<String> = ring.servers.iter().map(|s| s.process.pid().to_string()).collect();
        let (first, others) = addresses.split_first().ok_or("a ring without servers")?;
        let words = format!("{first} --to {} --pid {} {words}", others.join(","), pids.join(","));
        Ok(Candidate { words, shares_cpu: true })
    });
    let each = each.collect::<Result<Vec<_>, String>>()?;
    in_turn_each(bench, &each, |_| Ok(()))
}

fn ours(bench: &mut Bench, tls: bool) -> Result<Ring, String> {
    let stage = Stage::set(bench, &RING)?;
    let keys = if tls { stage.keys(bench)? } else { String::new() };
    let title = if tls { HERD_TLS } else { HERD };
    let servers = stage.serve_all(bench, title, &format!("{QUIET} {keys}"))?;
    Ok(Ring { title: title.to_owned(), servers, _stage: Some(stage) })
}

fn theirs(bench: &mut Bench, peer: Peer) -> Result<Ring, String> {
    let ports = RING.map(|_| bench.port()).into_iter().collect::<Result<Vec<_>, _>>()?;
    let mut servers = Vec::new();
    for ((name, dials), port) in RING.iter().zip(&ports) {
        let near = RING
            .iter()
            .zip(&ports)
            .filter(|((other, theirs), _)| dials.contains(other) || theirs.contains(name));
        let neighbours: Vec<u16> = near.map(|(_, port)| *port).collect();
        servers.push(Server::peer(bench, peer, name, *port, &neighbours)?);
    }
    linked(bench, peer, &servers)?;
    Ok(Ring { title: peer.name().to_owned(), servers, _stage: None })
}

/// Waits until what is said to any server of a peer's ring is known to all: its links tell nothing else.
fn linked(bench: &Bench, peer: Peer, servers: &[Server]) -> Result<(), String> {
    for (number, told) in servers.iter().enumerate() {
        let mut second = 0;
        let known = || {
            // A peer forgets what it was told before a link was up, so it is told something newer.
            second += 1;
            told.say(&format!("IAMAT probe-{number} +34.0-118.0 {second}.0")).ok()?;
            std::thread::sleep(std::time::Duration::from_millis(20));
            let time = format!(" {second}.0\n");
            let knows = |server: &Server| {
                server
                    .say(&format!("WHATSAT probe-{number} 1 1"))
                    .is_ok_and(|at| at.ends_with(&time))
            };
            servers.iter().all(knows).then_some(())
        };
        let known = bench.stop.wait(HERD_PATIENCE, known);
        known.ok_or_else(|| format!("the links of the {} ring do not come up", peer.name()))?;
    }
    Ok(())
}
