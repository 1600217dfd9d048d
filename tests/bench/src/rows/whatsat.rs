//! WHATSAT answered from the stand-in for Places over HTTPS, beside asyncio with aiohttp that asks the same.

use std::path::PathBuf;
use std::process::Command;

use crate::bench::{Bench, write};
use crate::compared::{CPU, Figures, HERD};
use crate::load::{Samples, in_turn, load};
use crate::servers::QUIET;
use crate::servers::{Server, Stage};
use crate::table::{Check, Row, short};

/// The peer's name in the table.
const AIOHTTP: &str = "asyncio + aiohttp";

/// 10 km, at most 5 results, of a thousand clients.
const WORDS: &str = "--whatsat 10,5 --clients 1000";

/// Replies per second of CPU, and how many TLS handshakes a row of questions takes.
pub fn whatsat(bench: &mut Bench) -> Result<Vec<Row>, String> {
    Ok(vec![per_second(bench)?, handshakes(bench)?])
}

fn per_second(bench: &mut Bench) -> Result<Row, String> {
    let Asking { stage: _stage, stand_in: _stand_in, herd, url, ca } = Asking::start(bench)?;
    let mut servers = vec![herd];
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
        server.note_turn(bench);
    }
    let mut figures = Vec::new();
    for (server, samples) in servers.iter().zip(&samples) {
        figures.push((server.title.clone(), 1e9 / samples.least(CPU)?));
    }
    let figures = Figures(figures);
    let herd = figures.herd()?;
    let times = figures.of(AIOHTTP).map(|peer| herd / peer);
    Ok(Row::new(work, "≥ 5 × asyncio + aiohttp", short(herd))
        .peers(figures.told(""))
        .judged(&[Check::at_least("× aiohttp", times, 5.0)])
        .marked(samples.iter().any(Samples::disturbed)))
}

/// The stand-in logs a connection when its handshake is done.
fn handshakes(bench: &mut Bench) -> Result<Row, String> {
    let asking = Asking::start(bench)?;
    let requests = bench.sizes.followed;
    let words = format!("{WORDS} --connections 1 --depth 1 --requests {requests}");
    load(bench, &format!("{} {words}", asking.herd.address()))?;
    // Its log is whole when it has ended.
    drop(asking.stand_in);
    let log = std::fs::read_to_string(asking.stage.folder().join("places.log"))
        .map_err(|error| format!("the log of the stand-in: {error}"))?;
    let done = log.lines().filter(|line| line.ends_with(" connected")).count();
    let done = f64::from(u32::try_from(done).unwrap_or(u32::MAX));
    let work = format!("{} WHATSATs one after the other: TLS handshakes", short(requests.into()));
    Ok(Row::new(&work, "1", short(done)).judged(&[Check::at_most(done, 1.0)]))
}

/// A server of ours that asks a stand-in of its own.
struct Asking {
    stage: Stage,
    stand_in: Server,
    herd: Server,
    url: String,
    ca: PathBuf,
}

impl Asking {
    fn start(bench: &mut Bench) -> Result<Self, String> {
        let stage = Stage::alone(bench)?;
        let port = bench.port()?;
        let (ca, key) = (stage.folder().join("places-ca.pem"), stage.folder().join("key.txt"));
        // Any key will do, but there must be one.
        write(&key, "any\n")?;
        let stand_in = stage.stand_in(bench, port, &ca)?;
        let url = format!("https://localhost:{port}");
        let (shown_ca, shown_key) = (ca.display(), key.display());
        // Every question is asked, as the others ask it.
        let every = "--places-rate 0 --places-cache 0";
        let upstream = format!("--places {url} --places-ca {shown_ca}");
        let flags = format!("{QUIET} {upstream} --places-key-file {shown_key} {every}");
        let herd = stage.serve(bench, "Alford", HERD, &flags)?;
        Ok(Self { stage, stand_in, herd, url, ca })
    }
}
