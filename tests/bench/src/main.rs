//! What `scripts/bench` runs: measures the herd, and what people would use instead, in turn.
//!
//! A plain blocking program, apart from the product. This file owns the command line, the order of the
//! rows and where the results go. What a row does is in [`rows`], one function each; who is compared
//! with is in [`peers`]; how a figure is taken is in [`load`]; how it is told is in [`table`] and
//! [`plot`]. Only ratios of one run count: a machine that others use is three times faster or
//! slower from minute to minute.

mod bench;
mod compared;
mod load;
mod machine;
mod options;
mod peers;
mod pictures;
mod plot;
mod process;
mod rows;
mod servers;
mod table;

use std::process::ExitCode;
use std::time::Instant;

use pico_args::Arguments;

use crate::bench::Bench;
use crate::options::Options;
use crate::rows::{ROWS, Work};
use crate::table::Row;

/// The exit code when the command line is wrong.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_env();
    let names: Vec<&str> = ROWS.iter().map(|work| work.name).collect();
    if arguments.contains(["-h", "--help"]) {
        print!("{}", options::usage(&names));
        return ExitCode::SUCCESS;
    }
    let options = match Options::take(arguments, &names) {
        Ok(options) => options,
        Err(words) => {
            eprintln!("scripts/bench: {words} (see scripts/bench --help)");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(words) => {
            eprintln!("scripts/bench: {words}");
            ExitCode::FAILURE
        }
    }
}

/// Measures what was asked for; whether all of it worked. A goal that is not met is a result and no fault.
fn run(options: &Options) -> Result<bool, String> {
    let mut bench = Bench::prepare(options)?;
    bench.say(&format!("on {}", bench.machine));
    for (peer, hint) in &bench.missing {
        bench.say(&format!("without {}: {hint}", peer.name()));
    }
    let mut well = true;
    for work in ROWS.iter().filter(|work| options.wants(work.name)) {
        if bench.stop.asked() {
            well = false;
            break;
        }
        well &= one(&mut bench, work);
    }
    bench.publish(options.out.as_deref())?;
    if bench.stop.asked() {
        return Err("stopped before the end; what was measured is above".to_owned());
    }
    Ok(well)
}

/// Measures one row's work. One that fails is told in the table, and the next goes on.
fn one(bench: &mut Bench, work: &Work) -> bool {
    bench.say(work.name);
    bench.row = work.name;
    let begun = Instant::now();
    let measured = (work.measure)(bench);
    bench.say(&format!("{} took {:.0} s", work.name, begun.elapsed().as_secs_f64()));
    match measured {
        Ok(rows) => {
            let judged = bench.sizes.peers;
            bench
                .rows
                .extend(rows.into_iter().map(|row| if judged { row } else { row.unjudged() }));
            true
        }
        Err(words) => {
            bench.say(&format!("{} failed: {words}", work.name));
            let words = bench.without_paths(&words);
            bench.rows.push(Row::failed(work.name, &words));
            false
        }
    }
}
