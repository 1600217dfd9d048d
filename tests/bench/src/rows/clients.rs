//! Many clients known: what each costs in memory, whether an update gets dearer, and how a neighbour that has
//! missed all of them catches up.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::bench::Bench;
use crate::compared::{CPU, HERD};
use crate::load::{Sample, Samples, load};
use crate::process::{DISTURBED, LOAD_CPU};
use crate::servers::QUIET;
use crate::servers::{ANSWER_PATIENCE, HERD_PATIENCE, Server, Stage};
use crate::table::{Check, Row, short};

/// The least number of clients that is measured.
const FEW: u32 = 1_000;

/// Between two questions of the client that watches the catching up.
const WATCH_EVERY: Duration = Duration::from_millis(1);

/// So many new clients a second a server gets to know on a slow machine.
const LEARNT_PER_SECOND: f64 = 400_000.0;

/// Room for the client that watches beside a million others.
const ROOMY: &str = "--log-level warn --max-clients 2000000";

const NANOS_PER_SECOND: f64 = 1e9;

/// Memory per client, and the cost of an update at 10³ clients and each power of ten up to the most.
pub fn clients(bench: &mut Bench) -> Result<Vec<Row>, String> {
    let most = bench.sizes.clients;
    let counts: Vec<u32> = std::iter::successors(Some(FEW), |count| Some(count * 10))
        .take_while(|c| *c <= most)
        .collect();
    let beside = memory_each(bench, most)?;
    let samples = known_in_turn(bench, &counts)?;
    let cpu = samples.iter().map(|s| s.least(CPU)).collect::<Result<Vec<_>, _>>()?;
    let told: Vec<String> = counts
        .iter()
        .zip(&cpu)
        .map(|(c, ns)| format!("{}: {} ns", short((*c).into()), short(*ns)))
        .collect();
    let growth = Check::ratio("× at 1,000", last(&cpu)?, cpu.first().copied(), 1.5);
    let most = short(most.into());
    Ok(vec![
        Row::new(
            &format!("{most} clients known: memory each beside the AT line"),
            "≤ 200 bytes",
            format!("{} bytes", short(beside)),
        )
        .judged(&[Check::at_most(beside, 200.0)]),
        Row::new(
            &format!("{most} clients known: CPU per update"),
            "< 1.5 × at 1,000",
            told.join(", "),
        )
        .judged(&[growth])
        .marked(samples.iter().any(Samples::disturbed)),
    ])
}

/// Memory per client beside the bytes of its AT line.
fn memory_each(bench: &mut Bench, count: u32) -> Result<f64, String> {
    let stage = Stage::alone(bench)?;
    let server = stage.serve(bench, "Alford", HERD, QUIET)?;
    let before = server.process.resident_bytes()?;
    let sample = fill(bench, &server, count)?;
    let line = sample.number("bytes_in")? / sample.number("replies")?;
    Ok((server.process.resident_bytes()? - before) / f64::from(count) - line)
}

/// Updates of so many clients, for each count a fresh server in each round: every run of `herd load` speaks of
/// clients of its own, so a server that is measured again would know ever more of them. The warm-up is when
/// it gets to know them.
fn known_in_turn(bench: &mut Bench, counts: &[u32]) -> Result<Vec<Samples>, String> {
    let (connections, depth) = bench.sizes.full;
    let mut all: Vec<Samples> = counts.iter().map(|_| Samples::of(false)).collect();
    for round in 0..bench.sizes.rounds + bench.sizes.more_rounds {
        for (&count, samples) in counts.iter().zip(&mut all) {
            if round >= bench.sizes.rounds && !samples.disturbed() {
                continue;
            }
            let stage = Stage::alone(bench)?;
            let server = stage.serve(bench, "Alford", HERD, QUIET)?;
            let (address, pid) = (server.address(), server.process.pid());
            let seconds = bench.sizes.sample.as_secs_f64();
            let warmup = bench.sizes.warmup.as_secs_f64() + f64::from(count) / LEARNT_PER_SECOND;
            let words = format!(
                "{address} --pid {pid} --connections {connections} --depth {depth} \
                 --clients {count} --seconds {seconds} --warmup {warmup}"
            );
            samples.push(load(bench, &words)?);
            server.note_turn(bench);
        }
    }
    Ok(all)
}

fn last(figures: &[f64]) -> Result<f64, String> {
    figures.last().copied().ok_or_else(|| format!("fewer than {FEW} clients were asked for"))
}

/// Makes a server know so many clients. Over one connection, on which they come in turn, each once.
fn fill(bench: &mut Bench, server: &Server, count: u32) -> Result<Sample, String> {
    let words = format!("--connections 1 --depth 1000 --clients {count} --requests {count}");
    let sample = load(bench, &format!("{} {words}", server.address()))?;
    let known = server.counts("records")?;
    if known < f64::from(count) {
        return Err(format!("the server knows {known} of {count} clients"));
    }
    Ok(sample)
}

/// A neighbour that starts late and is told of all clients over one link, while another client goes on. The
/// calmest of a few, where others had the first server's CPU meanwhile.
pub fn catch_up(bench: &mut Bench) -> Result<Vec<Row>, String> {
    let mut calmest = caught_up(bench)?;
    for _ in 0..bench.sizes.more_rounds {
        if calmest.waited <= DISTURBED {
            break;
        }
        let again = caught_up(bench)?;
        if again.waited < calmest.waited {
            calmest = again;
        }
    }
    let CaughtUp { cpu, seconds, p99_ms, waited } = calmest;
    let count = short(bench.sizes.clients.into());
    let work = format!("catching up {count} records over one link");
    let told = format!("{} s CPU in {} s, p99 {} ms", short(cpu), short(seconds), short(p99_ms));
    let checks = [Check::at_most(cpu, 2.0), Check::at_most(p99_ms, 5.0)];
    let row = Row::new(&work, "≤ 2 s CPU of both; p99 of others < 5 ms", told).judged(&checks);
    Ok(vec![row.marked(waited > DISTURBED)])
}

/// One catching up.
struct CaughtUp {
    /// CPU time of both sides, in seconds.
    cpu: f64,
    /// The time that it took, with the start of the late server.
    seconds: f64,
    /// What the other client waited for an answer, but for one in a hundred.
    p99_ms: f64,
    /// The share of the time that the first server had to wait for its CPU.
    waited: f64,
}

/// The late one runs on the generator's CPU, so that what the client waits for is the first server's loop and
/// not the share of its CPU that the other takes.
fn caught_up(bench: &mut Bench) -> Result<CaughtUp, String> {
    let count = bench.sizes.clients;
    let stage = Stage::set(bench, &[("Alford", &["Ball"]), ("Ball", &[])])?;
    let alford = stage.serve(bench, "Alford", HERD, ROOMY)?;
    fill(bench, &alford, count)?;
    let (ran_before, waited_before) = alford.process.schedule()?;
    let watch = Watch::start(alford.port)?;
    let started = Instant::now();
    let ball = stage.serve_on(bench, "Ball", HERD, ROOMY, LOAD_CPU)?;
    let all = || ball.counts("records").is_ok_and(|known| known >= f64::from(count)).then_some(());
    let caught_up = bench.stop.wait(HERD_PATIENCE, all);
    let seconds = started.elapsed().as_secs_f64();
    let p99_ms = watch.p99_ms();
    caught_up.ok_or("the neighbour has not caught up in time")?;
    let (ran, waited) = alford.process.schedule()?;
    let cpu = (ran - ran_before + ball.process.cpu_ns()?) / NANOS_PER_SECOND;
    let waited = (waited - waited_before) / NANOS_PER_SECOND / seconds;
    alford.note_turn(bench);
    ball.note_turn(bench);
    Ok(CaughtUp { cpu, seconds, p99_ms: p99_ms?, waited })
}

/// A client that asks again and again, in a thread of its own, and notes how long each answer takes.
struct Watch {
    over: Arc<AtomicBool>,
    asking: thread::JoinHandle<Result<Vec<Duration>, String>>,
}

impl Watch {
    fn start(port: u16) -> Result<Self, String> {
        let over = Arc::new(AtomicBool::new(false));
        let fault = |error: std::io::Error| format!("the client beside it: {error}");
        let stream = TcpStream::connect(("127.0.0.1", port)).map_err(fault)?;
        stream.set_nodelay(true).map_err(fault)?;
        stream.set_read_timeout(Some(ANSWER_PATIENCE)).map_err(fault)?;
        let seen = over.clone();
        let asking = thread::spawn(move || ask(stream, &seen).map_err(fault));
        Ok(Self { over, asking })
    }

    fn p99_ms(self) -> Result<f64, String> {
        self.over.store(true, Ordering::Relaxed);
        let waits = self.asking.join().map_err(|_| "the client beside it failed")??;
        Ok(p99(waits).as_secs_f64() * 1e3)
    }
}

fn ask(stream: TcpStream, over: &AtomicBool) -> std::io::Result<Vec<Duration>> {
    let mut input = BufReader::new(stream.try_clone()?);
    let mut output = stream;
    let (mut waits, mut answer) = (Vec::new(), String::new());
    while !over.load(Ordering::Relaxed) {
        let asked = Instant::now();
        output.write_all(b"IAMAT beside +34.068930-118.445127 1479413884.392014450\n")?;
        answer.clear();
        input.read_line(&mut answer)?;
        waits.push(asked.elapsed());
        thread::sleep(WATCH_EVERY);
    }
    Ok(waits)
}

/// The least wait that 99 of a hundred do not exceed.
fn p99(mut waits: Vec<Duration>) -> Duration {
    waits.sort_unstable();
    let index = (waits.len() * 99).div_ceil(100).saturating_sub(1);
    waits.get(index).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_99th_percentile_is_what_99_of_100_do_not_exceed() {
        let waits = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(p99(waits), Duration::from_millis(99));
        assert_eq!(p99(vec![Duration::from_millis(7)]), Duration::from_millis(7));
        assert_eq!(p99(Vec::new()), Duration::ZERO);
    }
}
