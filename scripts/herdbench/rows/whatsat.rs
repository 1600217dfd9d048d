//! WHATSAT answered from the stand-in for Places over HTTPS, beside asyncio with aiohttp that asks the same.

use std::process::Command;

use super::{CPU, Figures, HERD, QUIET};
use crate::bench::Bench;
use crate::load::{in_turn, load};
use crate::servers::{Server, Stage};
use crate::table::{Check, Row, short};

/// The peer's name in the table.
const AIOHTTP: &str = "asyncio + aiohttp";

/// 10 km, at most 5 results, of a thousand clients.
const WORDS: &str = "--whatsat 10,5 --clients 1000";

/// Replies per second of CPU, and how many TLS handshakes they take.
pub fn whatsat(bench: &mut Bench) -> Result<Vec<Row>, String> {
    let stage = Stage::alone(bench)?;
    let port = bench.port()?;
    let ca = stage.folder().join("places-ca.pem");
    let stand_in = stage.stand_in(bench, port, &ca)?;
    let url = format!("https://localhost:{port}");
    let flags = format!("{QUIET} --places {url} --places-ca {}", ca.display());
    let key = stage.folder().join("key.txt");
    crate::bench::write(&key, "any\n")?;
    let flags = format!("{flags} --places-key-file {}", key.display());
    let mut servers = vec![stage.serve(bench, "Alford", HERD, &flags)?];

    let one = servers.first().map(Server::address).unwrap_or_default();
    let asked = stand_in.counts("connections")?;
    let requests = bench.sizes.followed;
    load(bench, &format!("{one} {WORDS} --connections 1 --depth 1 --requests {requests}"))?;
    let handshakes = stand_in.counts("connections")? - asked;

    if bench.sizes.peers && bench.places.has_module("aiohttp") {
        let port = bench.port()?;
        let mut command = Command::new(bench.places.python());
        command.arg(bench.places.sources.join("aiohttp_places.py"));
        command.args(["Alford", &port.to_string(), &url]).arg(&ca);
        servers.push(Server::other(bench, AIOHTTP, &command, port)?);
    } else if bench.sizes.peers {
        bench.say("without aiohttp: scripts/bench --install gets it");
    }
    let samples = in_turn(bench, &servers, &format!("{WORDS} --connections 8 --depth 1"))?;
    let work = "WHATSAT from the stand-in: replies per CPU second";
    for server in servers.iter().filter(|server| server.title == HERD) {
        bench.note_turn(work, server);
    }
    let mut per_second = Vec::new();
    for (server, samples) in servers.iter().zip(&samples) {
        per_second.push((server.title.clone(), 1e9 / samples.least(CPU)?));
    }
    let per_second = Figures(per_second);
    let herd = per_second.herd()?;
    let times = per_second.of(AIOHTTP).map(|peer| herd / peer);
    let row = Row::new(work, "≥ 5 × asyncio + aiohttp", short(herd))
        .peers(per_second.told(""))
        .judged(&[Check::at_least("× aiohttp", times, 5.0)])
        .marked(samples.iter().any(crate::load::Samples::disturbed));
    let connections = Row::new(
        &format!("{} WHATSATs one after the other: TLS handshakes", short(requests.into())),
        "1",
        short(handshakes),
    )
    .judged(&[Check::at_most("handshakes", handshakes, 1.0)]);
    Ok(vec![row, connections])
}
