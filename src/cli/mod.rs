//! The command line: flags to parts, parts to a running reactor, errors to one line each.
//!
//! Each subcommand has a file; [`run`] is all that `main` calls. Whatever may block (reading files,
//! looking up the topology's host names) happens here, before the loop runs. Exit codes: 0, 1 when it
//! failed, 2 when the words of the call were wrong.

pub mod bounds;
mod check;
mod files;
mod kept;
mod keys;
mod load;
mod options;
mod outcome;
mod places;
mod serve;
mod trust;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use pico_args::Arguments;

use crate::herd::topology::nearest;
use crate::local;
use outcome::{Failure, show};

const HELP: &str = "\
herd: an application server herd on a hand-written event loop

A herd on this machine:
"; // `local::HELP` stands here.

/// The commands of a herd's parts.
const PARTS: [&str; 6] = ["serve", "places", "check", "keys", "load", "help"];

const HELP_OF_PARTS: &str = "
Its parts:
  herd serve NAME   one server of the topology
  herd places       the stand-in for Google Places, over HTTPS
  herd check        whether a topology file is right, and what its shape means
  herd keys DIR     the keys by which the servers of a topology know each other
  herd load ADDR    keeps a server busy and tells how fast it answers

herd COMMAND --help says more.
";

/// Runs the command that `arguments` name (without the program's own name), and prints its error if it
/// has one.
pub fn run(arguments: Vec<OsString>) -> ExitCode {
    match dispatch(arguments) {
        Ok(code) => code,
        Err(Failure::Failed(words)) => complain(&words, 1),
        Err(Failure::Usage(words)) => complain(&words, 2),
    }
}

fn complain(words: &str, exit_code: u8) -> ExitCode {
    // Where this cannot be written, the exit code still tells.
    let _ = writeln!(io::stderr(), "{}: {words}", local::program());
    ExitCode::from(exit_code)
}

impl From<local::Failure> for Failure {
    fn from(failure: local::Failure) -> Self {
        match failure {
            local::Failure::Usage(words) => Self::Usage(words),
            local::Failure::Other(words) => Self::Failed(words),
        }
    }
}

fn dispatch(arguments: Vec<OsString>) -> Result<ExitCode, Failure> {
    let mut arguments = pico_args::Arguments::from_vec(arguments);
    let command = arguments.subcommand()?;
    if let Some(command) = command.as_deref().filter(|word| local::COMMANDS.contains(word)) {
        return Ok(local::run(command, arguments)?);
    }
    run_part(command.as_deref(), arguments).map(|()| ExitCode::SUCCESS)
}

fn run_part(command: Option<&str>, mut arguments: Arguments) -> Result<(), Failure> {
    match command {
        Some("serve") => serve::run(arguments),
        Some("places") => places::run(arguments),
        Some("check") => check::run(arguments),
        Some("keys") => keys::run(arguments),
        Some("load") => load::run(arguments),
        Some("help") => help(),
        Some(other) => {
            let meant = nearest(other, PARTS.into_iter().chain(local::COMMANDS));
            let meant = meant.map(|name| format!(" (did you mean {name:?}?)")).unwrap_or_default();
            Err(Failure::Usage(format!(
                "unknown command {other:?}{meant}; `herd help` lists the commands"
            )))
        }
        None if arguments.contains(["-h", "--help"]) => help(),
        None if arguments.contains(["-V", "--version"]) => {
            show(concat!("herd ", env!("CARGO_PKG_VERSION"), "\n"))
        }
        None => {
            options::nothing_left(arguments, "herd")?;
            Err(Failure::Usage("which command? `herd help` lists the commands".to_owned()))
        }
    }
}

fn help() -> Result<(), Failure> {
    show(&[HELP, local::HELP, HELP_OF_PARTS].concat())
}
