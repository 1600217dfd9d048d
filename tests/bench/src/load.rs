//! Samples: `herd load` run on CPU 1 against a server on CPU 0, in turn over the candidates, and once more
//! for those that were disturbed each time.
//!
//! A sample is disturbed when the server or the generator was ready to run for more than a few per cent of
//! the time and had no CPU: somebody else had it. Where what is measured has several threads on one CPU,
//! that somebody is mostly one of them, and only the generator can tell. Other work only ever adds, so of several samples the
//! least CPU time is the truest; of latencies it is the median. Called by the rows.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::bench::Bench;
use crate::process::{DISTURBED, LOAD_CPU, Process, pinned};
use crate::servers::Server;

/// How long a sample may take beyond the time that it is asked to.
const PATIENCE: Duration = Duration::from_secs(120);

/// What `herd load` said of one run.
#[derive(Debug, Clone)]
pub struct Sample(Value);

impl Sample {
    /// A number of it. The error names what is missing.
    pub fn number(&self, key: &str) -> Result<f64, String> {
        let number = self.0.get(key).and_then(Value::as_f64);
        number.ok_or_else(|| format!("herd load tells no {key:?}"))
    }

    fn waited(&self, side: &str) -> bool {
        self.number(side).is_ok_and(|waited| waited > DISTURBED)
    }
}

/// Who is measured.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// What `herd load` is told, the address first.
    pub words: String,
    /// Whether it has several threads or servers on its CPU, which wait for each other by themselves.
    pub shares_cpu: bool,
}

/// The samples of one candidate.
#[derive(Debug)]
pub struct Samples {
    all: Vec<Sample>,
    shares_cpu: bool,
}

impl Samples {
    /// None yet. See [`Candidate::shares_cpu`].
    pub fn of(shares_cpu: bool) -> Self {
        Self { all: Vec::new(), shares_cpu }
    }

    /// One more.
    pub fn push(&mut self, sample: Sample) {
        self.all.push(sample);
    }

    /// The least of a figure over the calm samples, or over all when none was calm.
    pub fn least(&self, key: &str) -> Result<f64, String> {
        let least = self.sorted(key)?.first().copied();
        least.ok_or_else(|| "nothing was measured".to_owned())
    }

    /// The median of a figure, over the same.
    pub fn median(&self, key: &str) -> Result<f64, String> {
        let sorted = self.sorted(key)?;
        let (low, high) = (sorted.get((sorted.len().max(1) - 1) / 2), sorted.get(sorted.len() / 2));
        low.zip(high).map(|(a, b)| f64::midpoint(*a, *b)).ok_or("nothing was measured".to_owned())
    }

    /// Whether none of them was calm.
    pub fn disturbed(&self) -> bool {
        self.all.iter().all(|sample| self.is_disturbed(sample))
    }

    /// Whether somebody else had the CPU of a side, as far as it can be told.
    fn is_disturbed(&self, sample: &Sample) -> bool {
        sample.waited("load_wait") || !self.shares_cpu && sample.waited("server_wait")
    }

    fn sorted(&self, key: &str) -> Result<Vec<f64>, String> {
        let all = self.disturbed();
        let kept = self.all.iter().filter(|sample| all || !self.is_disturbed(sample));
        let told: Vec<Result<f64, String>> = kept.map(|sample| sample.number(key)).collect();
        // A sample in which nothing was answered has no figure for each answer.
        let mut numbers: Vec<f64> = told.iter().flatten().copied().collect();
        if let (true, Some(Err(missing))) = (numbers.is_empty(), told.first()) {
            return Err(missing.clone());
        }
        numbers.sort_by(f64::total_cmp);
        Ok(numbers)
    }
}

/// Runs `herd load` once with these words, of which the first is the address.
pub fn load(bench: &mut Bench, words: &str) -> Result<Sample, String> {
    let mut command = Command::new(&bench.herd);
    command.arg("load").args(words.split_whitespace()).arg("--json");
    let mut command = pinned(&command, Some(LOAD_CPU));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = Process::spawn(&mut command, "herd load".to_owned())?;
    // Both pipes hold what it says: one object, and a line of progress now and then.
    let status = process.finish(&bench.stop, PATIENCE)?;
    let (out, err) = process.output();
    if !status.success() {
        return Err(format!("herd load {words}: {}", err.trim()));
    }
    let value: Value = serde_json::from_str(out.trim())
        .map_err(|error| format!("herd load {words} printed no JSON: {error}"))?;
    bench.samples.push(json!({ "words": words, "result": value }));
    Ok(Sample(value))
}

/// Measures servers in turn, for the time of one sample each. See [`in_turn_each`].
pub fn in_turn(bench: &mut Bench, servers: &[Server], words: &str) -> Result<Vec<Samples>, String> {
    let times = bench.sizes.times();
    let each: Vec<Candidate> = servers
        .iter()
        .map(|server| {
            let (address, pid) = (server.address(), server.process.pid());
            let words = format!("{address} --kind {} --pid {pid} {times} {words}", server.kind);
            Candidate { words, shares_cpu: server.shares_cpu }
        })
        .collect();
    in_turn_each(bench, &each, |place| servers.get(place).map_or(Ok(()), Server::empty_log))
}

/// Runs `herd load` for each of these in turn, round after round: A B C, A B C. What the machine does
/// meanwhile meets all alike. Those that were never calm have a few rounds more. `begin` is called before
/// each, with its place.
pub fn in_turn_each(
    bench: &mut Bench,
    each: &[Candidate],
    begin: impl Fn(usize) -> Result<(), String>,
) -> Result<Vec<Samples>, String> {
    let mut all: Vec<Samples> = each.iter().map(|one| Samples::of(one.shares_cpu)).collect();
    for round in 0..bench.sizes.rounds + bench.sizes.more_rounds {
        for (place, (one, samples)) in each.iter().zip(&mut all).enumerate() {
            if round < bench.sizes.rounds || samples.disturbed() {
                begin(place)?;
                samples.push(load(bench, &one.words)?);
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(of: &[(f64, f64)]) -> Samples {
        let one = |(cpu, wait): &(f64, f64)| {
            Sample(json!({ "server_cpu_ns_per_reply": cpu, "server_wait": wait, "load_wait": 0.0 }))
        };
        Samples { all: of.iter().map(one).collect(), shares_cpu: false }
    }

    const CPU: &str = "server_cpu_ns_per_reply";

    #[test]
    fn only_calm_samples_count_where_there_are_any() {
        let some = samples(&[(100.0, 0.2), (300.0, 0.0), (200.0, 0.03), (500.0, 0.01)]);
        assert!(!some.disturbed());
        assert_eq!(some.least(CPU), Ok(200.0));
        assert_eq!(some.median(CPU), Ok(300.0));
    }

    #[test]
    fn without_a_calm_sample_all_count_and_it_is_said() {
        let none = samples(&[(100.0, 0.2), (300.0, 0.5)]);
        assert!(none.disturbed());
        assert_eq!(none.least(CPU), Ok(100.0));
        assert_eq!(none.median(CPU), Ok(200.0));
    }

    #[test]
    fn threads_that_share_a_cpu_wait_for_each_other_and_no_sample_is_left_out_or_repeated_for_it() {
        let shared = |of: &[(f64, f64)]| Samples { shares_cpu: true, ..samples(of) };
        let some = shared(&[(100.0, 0.5), (300.0, 0.0)]);
        assert!(!shared(&[(100.0, 0.5)]).disturbed());
        assert_eq!(some.least(CPU), Ok(100.0));
        let told = |load_wait| json!({ "server_wait": 0.5, "load_wait": load_wait });
        assert!(!some.is_disturbed(&Sample(told(0.01))));
        assert!(some.is_disturbed(&Sample(told(0.04))));
    }

    #[test]
    fn a_figure_that_is_not_told_is_named() {
        assert!(samples(&[(1.0, 0.0)]).least("p50_us").unwrap_err().contains("p50_us"));
        assert!(Samples::of(false).median(CPU).is_err());
    }
}
