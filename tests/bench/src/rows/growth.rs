//! How cost grows: with the number of connections, and with the number of servers of a herd.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::bench::Bench;
use crate::compared::{CPU, HERD, compare};
use crate::peers::PEERS;
use crate::process::Process;
use crate::servers::QUIET;
use crate::table::{Row, short};

/// From so many connections on, samples are longer.
const MANY: u32 = 10_000;

/// How long the simulator may take, its build included.
const SIMULATION_PATIENCE: Duration = Duration::from_secs(400);

/// Replies a second and CPU per reply with ever more connections, one request in flight on each.
pub fn connections(bench: &mut Bench) -> Result<Vec<Row>, String> {
    let sizes = bench.sizes;
    let mut rows = Vec::new();
    for &count in sizes.connections {
        // This is five rows, each with every peer: the rounds are halved, that it does not take for ever.
        bench.sizes.rounds = sizes.rounds.div_ceil(2);
        bench.sizes.more_rounds = sizes.more_rounds.min(1);
        // So many take their time to answer once, and a sample should have each several times.
        if count >= MANY {
            bench.sizes.sample = 2 * sizes.sample;
        }
        let row = connected(bench, count);
        bench.sizes = sizes;
        rows.push(row?);
    }
    debug_assert!(bench.pictures.throughput.iter().any(|(title, _)| title == HERD));
    Ok(rows)
}

fn connected(bench: &mut Bench, count: u32) -> Result<Row, String> {
    let words = format!("--connections {count} --depth 1");
    let compared = compare(bench, QUIET, &PEERS, &words)?;
    let (cpu, rate) = (compared.least(CPU)?, compared.median("replies_per_second")?);
    for (title, figure) in &rate.0 {
        bench.pictures.add(title, count.into(), *figure);
    }
    let plural = if count == 1 { "" } else { "s" };
    let work = format!("{} connection{plural} × 1: replies, CPU per IAMAT", short(count.into()));
    let herd = format!("{} a second, {} ns", short(rate.herd()?), short(cpu.herd()?));
    Ok(Row::new(&work, "", herd).peers(cpu.told("ns")).marked(compared.disturbed()))
}

/// Messages and CPU per update in herds of many servers, on the simulator.
pub fn servers(bench: &mut Bench) -> Result<Vec<Row>, String> {
    let work = "servers of a herd: messages, CPU per update (simulated)";
    if !bench.sizes.peers {
        return Ok(vec![Row::new(
            work,
            "",
            "skipped: the simulator must be built for it".to_owned(),
        )]);
    }
    let output = bench.scratch.join("growth.out");
    let mut command = Command::new("cargo");
    command.args([
        "test",
        "--release",
        "--locked",
        "--quiet",
        "--test",
        "simulation",
        "--manifest-path",
    ]);
    command.arg(bench.root.join("Cargo.toml")).arg("--target-dir").arg(&bench.target);
    command.args(["growth", "--", "--ignored", "--nocapture"]);
    let file = std::fs::File::create(&output).map_err(|error| error.to_string())?;
    command.stdin(Stdio::null()).stdout(file).stderr(Stdio::null());
    let mut process = Process::spawn(&mut command, "cargo test".to_owned())?;
    let status = process.finish(&bench.stop, SIMULATION_PATIENCE)?;
    let text = std::fs::read_to_string(&output).unwrap_or_default();
    if !status.success() {
        return Err("cargo test --release --test simulation growth -- --ignored fails".to_owned());
    }
    let found: Vec<Grown<'_>> = text.lines().filter_map(Grown::parse).collect();
    if found.is_empty() {
        return Ok(vec![Row::new(work, "", "skipped: the simulator does not tell it".to_owned())]);
    }
    Ok(found.iter().map(Grown::row).collect())
}

/// A line of the simulator: `growth ring 5 5.00 1234`.
#[derive(Debug, PartialEq)]
struct Grown<'a> {
    topology: &'a str,
    servers: &'a str,
    messages: f64,
    nanos: f64,
}

impl<'a> Grown<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["growth", topology, servers, messages, nanos] = words.as_slice() else { return None };
        Some(Self {
            topology,
            servers,
            messages: messages.parse().ok()?,
            nanos: nanos.parse().ok()?,
        })
    }

    fn row(&self) -> Row {
        let work = format!(
            "{} of {} servers: messages, CPU per update (simulated)",
            self.topology, self.servers
        );
        Row::new(&work, "", format!("{} messages, {} ns", short(self.messages), short(self.nanos)))
    }
}

#[cfg(test)]
mod tests {
    use super::Grown;

    #[test]
    fn the_simulators_lines_are_read_and_others_passed_over() {
        let grown = Grown { topology: "ring", servers: "5", messages: 5.5, nanos: 1234.0 };
        assert_eq!(Grown::parse("growth ring 5 5.5 1234"), Some(grown));
        for line in
            ["running 1 test", "growth ring 5 many 1", "growth ring 5 1", "test growth ... ok"]
        {
            assert_eq!(Grown::parse(line), None, "{line}");
        }
    }
}
