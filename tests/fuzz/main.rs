//! Fuzzing of every parser that meets bytes from outside, on the stable toolchain with cargo alone.
//!
//! A target is a parser with its oracles: a function that takes any bytes and panics when the parser
//! breaks a promise. Nearly all are compared with a second, slow reading of the same rule, so what is
//! looked for is a wrong answer, not only a panic. `engine` makes inputs out of those in
//! `corpus/TARGET/`, guided by what the parser did with them; `mutate` is how.
//!
//! `cargo test` replays the corpus and makes some new inputs from a fixed seed. `scripts/fuzz` runs
//! the same targets for as long as one likes, and puts what it finds into the corpus, to stay.
//!
//! The usual fuzzers need what stable cargo lacks: cargo-fuzz a nightly compiler, afl and bolero a
//! second program to be installed and a C or C++ compiler. What they do better is to see coverage;
//! here each target tells in a few words what happened, which is coarser and needs none of that.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod answers;
mod commands;
mod corpus;
mod cut;
mod engine;
mod heads;
mod journal;
mod json;
mod lines;
mod links;
mod mutate;
mod peer_lines;
#[path = "../simulation/random.rs"]
#[expect(dead_code, reason = "worlds choose in more ways than inputs are changed in")]
mod random;
mod requests;
mod slow;
mod topology;
mod urls;
mod watch;

use std::env;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use engine::{Budget, Report, Target};
use watch::Watch;

/// All of them.
const TARGETS: [&Target; 10] = [
    &lines::TARGET,
    &commands::TARGET,
    &peer_lines::TARGET,
    &links::TARGET,
    &answers::TARGET,
    &requests::TARGET,
    &urls::TARGET,
    &json::TARGET,
    &topology::TARGET,
    &journal::TARGET,
];

/// How long all targets together run when nobody says.
const SECONDS: u64 = 60;

/// How much of a failing input, and of what is wrong with it, is printed: enough to see what it is.
const SHOWN_CHARS: usize = 500;

/// What `scripts/fuzz` runs: each target for its share of `FUZZ_SECONDS`, or `FUZZ_TARGET` alone,
/// from `FUZZ_SEED` if one is given.
#[test]
#[ignore = "runs for a minute and writes into the corpus; scripts/fuzz does this"]
fn long_run() {
    let seconds = number_from_environment("FUZZ_SECONDS").unwrap_or(SECONDS);
    let seed = number_from_environment("FUZZ_SEED").unwrap_or_else(any_seed);
    let wanted = env::var("FUZZ_TARGET").unwrap_or_default();
    let targets: Vec<_> =
        TARGETS.into_iter().filter(|target| wanted.is_empty() || target.name == wanted).collect();
    assert!(!targets.is_empty(), "no target {wanted:?}; there are {:?}", TARGETS.map(|t| t.name));

    println!("seed {seed}: FUZZ_SEED={seed} scripts/fuzz runs the same inputs again");
    // A fault is told below, once and with its input; its search would print it a thousand times.
    std::panic::set_hook(Box::new(|_| {}));
    let share = Duration::from_secs(seconds) / u32::try_from(targets.len()).unwrap();
    let watch = Watch::start();
    let mut faults = 0;
    for target in targets {
        let budget = Budget::Until(Instant::now() + share);
        let report = engine::run(target, corpus::read(target.name), seed, &budget, Some(&watch));
        print(target, &report);
        if let Some(fault) = report.fault {
            let small = engine::minimised(target, &fault.input, Some(&watch));
            let path = corpus::keep(target.name, &small);
            println!("  FAULT: {}", shown(&fault.words));
            println!("  input: {}\n  kept as {path}", shown(&small.escape_ascii().to_string()));
            faults += 1;
        }
    }
    // The hook is silent, so the process has to say it by its exit code.
    if faults > 0 {
        println!("{faults} targets failed");
        std::process::exit(1);
    }
}

/// The beginning of a text that may be long; the whole input is in its file.
fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS).collect()
}

fn print(target: &Target, report: &Report) {
    println!(
        "{:<14} {:>9} inputs, {:>4} behaviours, the slowest took {:?} ({} bytes)",
        target.name, report.inputs, report.behaviours, report.slowest, report.slowest_bytes
    );
}

fn number_from_environment(name: &str) -> Option<u64> {
    let text = env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|why| panic!("{name} is {text:?}, not a number: {why}")))
}

fn any_seed() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
