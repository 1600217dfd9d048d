//! A herd under load for minutes, with one fault after another: run by `scripts/soak MINUTES`.
//!
//! After each fault the load rests, and three things must hold within a deadline: all servers know the same;
//! nothing that was acknowledged is gone, for journals are waited for (`--sync always`); and each process
//! holds the memory and the descriptors that it held in peace. The faults and the load come from one seed,
//! which is printed first. As a part of `cargo test` it does nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
#![allow(clippy::cast_precision_loss, clippy::cast_possible_wrap)]

mod faults;
mod herd;
mod load;
mod relay;

#[path = "../simulation/random.rs"]
#[allow(dead_code, reason = "the simulation needs more of it")]
mod random;
#[path = "../program/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the tests of the program need more of it")]
mod support;
#[path = "../program/tls.rs"]
#[allow(dead_code, unused_imports, reason = "the tests of the program need more of it")]
mod tls;

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use faults::Fault;
use herd::{NAMES, Soaked};
use load::{Load, THREADS};
use random::Random;
use support::eventually;

/// What the command line asks for.
struct Wanted {
    lasts: Duration,
    every: Duration,
    seed: u64,
}

/// A load that runs this long has made all that is made on first use.
const WARM_UP: Duration = Duration::from_secs(3);

/// A fault lasts no longer, so that most of the time goes to what follows.
const FAULT_MAX: Duration = Duration::from_secs(15);

/// Reads `--minutes N [--seed N] [--every SECONDS]`. `None` without minutes, as cargo test runs it.
fn wanted() -> Option<Wanted> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |flag: &str| -> Option<&String> {
        let place = arguments.iter().position(|argument| argument == flag)?;
        arguments.get(place + 1)
    };
    let minutes: f64 = value("--minutes")?.parse().expect("--minutes wants a number");
    let every = value("--every").map_or(60.0, |text| text.parse().expect("--every wants seconds"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = value("--seed")
        .map_or(u64::from(now.subsec_nanos()), |text| text.parse().expect("--seed wants a number"));
    let lasts = Duration::from_secs_f64(minutes * 60.0);
    Some(Wanted { lasts, every: Duration::from_secs_f64(every), seed })
}

/// Ends the load also when a check fails, or its threads would be waited for.
struct EndsWith<'a>(&'a Load);

impl Drop for EndsWith<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

fn main() {
    let Some(wanted) = wanted() else {
        return println!("soak: runs by scripts/soak MINUTES");
    };
    let minutes = wanted.lasts.as_secs_f64() / 60.0;
    let (seed, every) = (wanted.seed, wanted.every.as_secs_f64());
    println!("soak: to see it again: scripts/soak {minutes} --seed {seed} --every {every}");
    let mut soaked = Soaked::start();
    let load = Load::new();
    let mut random = Random::new(seed);
    let ports = NAMES.map(|name| soaked.herd.port(name));
    thread::scope(|scope| {
        let _ends = EndsWith(&load);
        for thread in 0..THREADS {
            let (load, random) = (&load, Random::new(random.next()));
            scope.spawn(move || load.run(thread, &ports, random));
        }
        thread::sleep(WARM_UP);
        rest(&load);
        soaked.agree(&acknowledged(&load));
        soaked.note();
        load.pause(false);
        let struck = strike_on(&mut soaked, &load, &mut random, &wanted);
        let count = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::SeqCst);
        println!(
            "soak: {struck} faults, {} reports acknowledged, {} questions, {} refused, {} \
             connections broken: all servers agreed after each, and nothing was lost",
            count(&load.reports),
            count(&load.questions),
            count(&load.refused),
            count(&load.broken),
        );
    });
}

/// One fault after another until the time is up. Gives how many.
fn strike_on(soaked: &mut Soaked, load: &Load, random: &mut Random, wanted: &Wanted) -> usize {
    let mut faults = Vec::new();
    for fault in faults::ALL {
        match fault.missing(soaked) {
            Some(why) => println!("soak: SKIPPED ({fault:?}): {why}"),
            None => faults.push(fault),
        }
    }
    let begun = Instant::now();
    let (mut left, mut struck) = (Vec::new(), 0);
    while begun.elapsed() < wanted.lasts {
        let next = begun.elapsed() + wanted.every;
        if left.is_empty() {
            // Each kind once before any comes again.
            left.clone_from(&faults);
        }
        let fault = left.swap_remove(random.index(left.len()));
        thread::sleep(wanted.every / 5);
        one_fault(soaked, load, random, fault, (wanted.every / 3).min(FAULT_MAX), begun);
        struck += 1;
        thread::sleep(next.min(wanted.lasts).saturating_sub(begun.elapsed()));
    }
    struck
}

/// One fault, and the checks after it.
fn one_fault(
    soaked: &mut Soaked,
    load: &Load,
    random: &mut Random,
    fault: Fault,
    lasts: Duration,
    begun: Instant,
) {
    let (at, refused) = (begun.elapsed().as_secs(), load.refused.load(Ordering::SeqCst));
    let what = fault.strike(soaked, random, lasts);
    rest(load);
    let agreed = soaked.agree(&acknowledged(load));
    let grown = soaked.came_back();
    let reports = load.reports.load(Ordering::SeqCst);
    println!(
        "soak: {at:4} s  {what}: agreed after {agreed:.1} s, {reports} reports, {grown:+} KiB"
    );
    let more = load.refused.load(Ordering::SeqCst) - refused;
    assert!(more == 0 || fault.may_refuse(), "{more} reports were refused");
    load.pause(false);
}

fn rest(load: &Load) {
    load.pause(true);
    eventually("the load rests", || load.is_at_rest().then_some(()));
}

fn acknowledged(load: &Load) -> Vec<u64> {
    load.acknowledged.iter().map(|time| time.load(Ordering::SeqCst)).collect()
}
