//! The loop of the fuzzer: takes inputs, makes new ones from them, shows them to a target.
//!
//! It keeps an input to make others from when the target said of it what it has not said before, so
//! that inputs reach ever deeper. It never writes a file and never ends a process; `main` does, and
//! the tests of the targets call [`replay_and_probe`].

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::corpus;
use crate::mutate::{Material, Rng, mutated};
use crate::watch::Watch;

/// A parser with its oracles.
pub struct Target {
    /// The name of its folder in the corpus.
    pub name: &'static str,
    /// Panics when a promise is broken. Else it says in a few words what the parser made of the input:
    /// few enough that inputs of one kind get the same words.
    pub check: fn(&[u8]) -> String,
    /// What its inputs are made of.
    pub tokens: &'static [&'static [u8]],
    /// Lengths in bytes at which something changes.
    pub extremes: &'static [usize],
    /// The longest input that is tried, in bytes.
    pub input_max_bytes: usize,
}

/// When a run ends.
pub enum Budget {
    Inputs(usize),
    Until(Instant),
}

/// What came of a run.
pub struct Report {
    pub inputs: usize,
    pub behaviours: usize,
    pub slowest: Duration,
    pub slowest_bytes: usize,
    /// The first broken promise, which ended the run.
    pub fault: Option<Fault>,
}

pub struct Fault {
    pub input: Vec<u8>,
    /// What the panic said.
    pub words: String,
}

/// New inputs that each `cargo test` tries of each target.
const PROBES: usize = 400;

/// The seed of those: always the same, so that a test which has passed goes on passing.
const PROBE_SEED: u64 = 1;

/// The most inputs that are kept to make others from. Beyond, a new one takes the place of any.
const POOL_MAX: usize = 4096;

/// The most attempts to make a failing input smaller.
const MINIMISE_ATTEMPTS_MAX: usize = 5000;

/// Shows the corpus and then new inputs to a target, until its budget is spent or a promise broken.
pub fn run(
    target: &Target,
    corpus: Vec<Vec<u8>>,
    seed: u64,
    budget: &Budget,
    watch: Option<&Watch>,
) -> Report {
    let mut rng = Rng::new(seed);
    let mut pool: Vec<Vec<u8>> = Vec::new();
    let mut behaviours = HashSet::new();
    let mut report =
        Report { inputs: 0, behaviours: 0, slowest: Duration::ZERO, slowest_bytes: 0, fault: None };
    let mut corpus = corpus.into_iter();
    loop {
        let kept = corpus.next();
        if kept.is_none() && is_spent(budget, report.inputs) {
            return report;
        }
        let input = kept.unwrap_or_else(|| new_input(&mut rng, &pool, target));
        let begun = Instant::now();
        let result = attempt(target, &input, watch);
        let took = begun.elapsed();
        report.inputs += 1;
        if took > report.slowest {
            (report.slowest, report.slowest_bytes) = (took, input.len());
        }
        match result {
            Err(words) => {
                report.fault = Some(Fault { input, words });
                return report;
            }
            Ok(behaviour) => {
                if behaviours.insert(behaviour) {
                    report.behaviours += 1;
                    add(&mut rng, &mut pool, input);
                }
            }
        }
    }
}

fn add(rng: &mut Rng, pool: &mut Vec<Vec<u8>>, input: Vec<u8>) {
    if pool.len() < POOL_MAX {
        pool.push(input);
    } else {
        let place = rng.below(pool.len());
        pool[place] = input;
    }
}

fn is_spent(budget: &Budget, inputs: usize) -> bool {
    match budget {
        Budget::Inputs(most) => inputs >= *most,
        Budget::Until(end) => Instant::now() >= *end,
    }
}

fn new_input(rng: &mut Rng, pool: &[Vec<u8>], target: &Target) -> Vec<u8> {
    let empty: &[u8] = &[];
    let mut any = || pool.get(rng.below(pool.len())).map_or(empty, Vec::as_slice);
    let (one, another, other) = (any(), any(), any());
    // The shorter of two: what is short is tried often, and what is long now and then.
    let base = if another.len() < one.len() { another } else { one };
    let (tokens, extremes) = (target.tokens, target.extremes);
    let mut input = mutated(rng, base, &Material { other, tokens, extremes });
    input.truncate(target.input_max_bytes);
    input
}

/// What the target says of an input, or the words of its panic.
fn attempt(target: &Target, input: &[u8], watch: Option<&Watch>) -> Result<String, String> {
    if let Some(watch) = watch {
        watch.begun(target.name, input);
    }
    let result = catch_unwind(AssertUnwindSafe(|| (target.check)(input)));
    if let Some(watch) = watch {
        watch.ended();
    }
    result.map_err(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
    })
}

/// A failing input with as much taken out as can be while it fails.
pub fn minimised(target: &Target, input: &[u8], watch: Option<&Watch>) -> Vec<u8> {
    let mut input = input.to_vec();
    let mut attempts = 0;
    let mut piece = input.len().div_ceil(2);
    while piece > 0 {
        let mut at = 0;
        while at < input.len() && attempts < MINIMISE_ATTEMPTS_MAX {
            let end = (at + piece).min(input.len());
            let shorter = [&input[..at], &input[end..]].concat();
            attempts += 1;
            if attempt(target, &shorter, watch).is_err() {
                input = shorter;
            } else {
                at = end;
            }
        }
        piece /= 2;
    }
    input
}

/// The test of a target: what is in its corpus passes, and so do some new inputs.
///
/// # Panics
/// With the input, when a promise is broken.
pub fn replay_and_probe(target: &Target) {
    for (path, input) in corpus::files(target.name) {
        if let Err(words) = attempt(target, &input, None) {
            panic!("{path} fails: {words}");
        }
    }
    let corpus = corpus::read(target.name);
    assert!(!corpus.is_empty(), "there is a corpus for {}", target.name);
    let budget = Budget::Inputs(corpus.len() + PROBES);
    if let Some(fault) = run(target, corpus, PROBE_SEED, &budget, None).fault {
        panic!("{}\nthe input was {}", fault.words, fault.input.escape_ascii());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A parser with a fault three steps deep, of which each step is told.
    const FAULTY: Target = Target {
        name: "faulty",
        check: |input| {
            let has = |text: &[u8]| input.windows(text.len()).any(|window| window == text);
            let depth =
                [&b"one:"[..], b"one:two;", b"one:two;three"].into_iter().filter(|s| has(s));
            let depth = depth.count();
            assert!(depth < 3 || input.len() < 40, "three steps deep");
            format!("depth {depth}")
        },
        tokens: &[b"one:", b"two;", b"three"],
        extremes: &[40],
        input_max_bytes: 200,
    };

    fn found(seed: u64) -> Fault {
        run(&FAULTY, vec![b"one".to_vec()], seed, &Budget::Inputs(500_000), None).fault.unwrap()
    }

    #[test]
    fn a_deep_fault_is_found_and_made_small() {
        let fault = found(7);
        assert_eq!(fault.words, "three steps deep");
        let small = minimised(&FAULTY, &fault.input, None);
        assert_eq!(small.len(), 40, "{}", small.escape_ascii());
        assert!(attempt(&FAULTY, &small, None).is_err());
    }

    #[test]
    fn a_seed_finds_the_same_again() {
        assert_eq!(found(8).input, found(8).input);
        assert_ne!(found(8).input, found(9).input);
    }

    #[test]
    fn a_run_ends_with_its_budget() {
        let report = run(&FAULTY, Vec::new(), 1, &Budget::Inputs(50), None);
        assert_eq!((report.inputs, report.fault.is_none()), (50, true));
        let report = run(&FAULTY, Vec::new(), 1, &Budget::Until(Instant::now()), None);
        assert_eq!(report.inputs, 0);
    }
}
