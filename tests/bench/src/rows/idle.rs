//! Connections that say nothing: what each costs in memory, and whether an active one notices them.

use crate::bench::Bench;
use crate::compared::{Figures, HERD};
use crate::load::{Candidate, Samples, in_turn_each, load};
use crate::peers::Peer;
use crate::servers::QUIET;
use crate::servers::{Server, Stage};
use crate::table::{Check, Row, short};

/// Memory per idle connection, for each a fresh server.
pub fn idle(bench: &mut Bench) -> Result<Vec<Row>, String> {
    let count = bench.sizes.idle;
    let mut bytes = Vec::new();
    for peer in [None].into_iter().chain(bench.peers.clone().into_iter().map(Some)) {
        // An echo in C keeps nothing in its own memory.
        if peer == Some(Peer::Echo) {
            continue;
        }
        let stage = Stage::alone(bench)?;
        let server = match peer {
            None => stage.serve(bench, "Alford", HERD, QUIET)?,
            Some(peer) => {
                let port = bench.port()?;
                Server::peer(bench, peer, "Alford", port, &[])?
            }
        };
        let seconds = bench.sizes.sample.as_secs_f64();
        let sample = load(bench, &idle_words(&server, count, seconds))?;
        bytes.push((server.title.clone(), sample.number("bytes_per_connection")?));
    }
    let bytes = Figures(bytes);
    let herd = bytes.herd()?;
    let row = Row::new(
        &format!("{} idle connections: memory each", short(count.into())),
        "≤ 256 bytes",
        format!("{} bytes", short(herd)),
    )
    .peers(bytes.told("bytes"))
    .judged(&[Check::at_most(herd, 256.0)]);
    Ok(vec![row])
}

/// The round trip of one active client, alone and beside the idle ones, on one server in turn.
pub fn beside_idle(bench: &mut Bench) -> Result<Vec<Row>, String> {
    let count = bench.sizes.idle;
    let work = format!("one active client beside {} idle: p50", short(count.into()));
    let stage = Stage::alone(bench)?;
    let server = stage.serve(bench, "Alford", HERD, QUIET)?;
    let seconds = bench.sizes.sample.as_secs_f64();
    let each = [0, count].map(|count| Candidate {
        words: idle_words(&server, count, seconds),
        shares_cpu: server.shares_cpu,
    });
    let samples = in_turn_each(bench, &each, |_| Ok(()))?;
    server.note_turn(bench);
    let [alone, beside] = samples.as_slice() else { return Err("two were measured".to_owned()) };
    let p50 = |samples: &Samples| samples.median("p50_us");
    let (alone_us, beside_us) = (p50(alone)?, p50(beside)?);
    let row = Row::new(&work, "≤ 1.05 × without them", format!("{} µs", short(beside_us)))
        .peers(format!("without them {} µs", short(alone_us)))
        .judged(&[Check::ratio("× without them", beside_us, Some(alone_us), 1.05)])
        .marked(alone.disturbed() || beside.disturbed());
    Ok(vec![row])
}

/// One active connection, and these idle ones beside it.
fn idle_words(server: &Server, idle: u32, seconds: f64) -> String {
    let idle = if idle == 0 { String::new() } else { format!("--idle {idle}") };
    format!(
        "{} --kind {} --pid {} --connections 1 --depth 1 --seconds {seconds} --warmup 0.05 {idle}",
        server.address(),
        server.kind,
        server.process.pid(),
    )
}
