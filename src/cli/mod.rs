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
mod places;
mod serve;
mod trust;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

const HELP: &str = "\
herd: an application server herd on a hand-written event loop

  herd serve NAME   one server of the topology
  herd places       the stand-in for Google Places, over HTTPS
  herd check        whether a topology file is right, and what its shape means
  herd keys DIR     the keys by which the servers of a topology know each other
  herd load ADDR    keeps a server busy and tells how fast it answers

herd COMMAND --help says more. scripts/herd starts and stops whole herds.
";

/// Why a command ended early.
#[derive(Debug)]
pub enum Failure {
    /// The call's words are wrong: exit code 2.
    Usage(String),
    /// It could not be done: exit code 1.
    Failed(String),
}

impl From<String> for Failure {
    fn from(words: String) -> Self {
        Self::Failed(words)
    }
}

impl From<pico_args::Error> for Failure {
    fn from(e: pico_args::Error) -> Self {
        use pico_args::Error::{ArgumentParsingFailed, Utf8ArgumentParsingFailed};
        match e {
            // Our own words, which name the flag.
            ArgumentParsingFailed { cause } | Utf8ArgumentParsingFailed { cause, .. } => {
                Self::Usage(cause)
            }
            other => Self::Usage(other.to_string()),
        }
    }
}

/// Runs the command that `arguments` name (without the program's own name), and prints its error if it
/// has one.
pub fn run(arguments: Vec<OsString>) -> ExitCode {
    match dispatch(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Failed(words)) => complain(&words, 1),
        Err(Failure::Usage(words)) => complain(&words, 2),
    }
}

fn complain(words: &str, exit_code: u8) -> ExitCode {
    // Where this cannot be written, the exit code still tells.
    let _ = writeln!(io::stderr(), "herd: {words}");
    ExitCode::from(exit_code)
}

/// Prints a text to standard output. A reader that closes it early has read enough.
fn show(text: &str) -> Result<(), Failure> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Failed(format!("cannot write to standard output: {e}")))
        }
        _ => Ok(()),
    }
}

fn dispatch(arguments: Vec<OsString>) -> Result<(), Failure> {
    let mut arguments = pico_args::Arguments::from_vec(arguments);
    match arguments.subcommand()?.as_deref() {
        Some("serve") => serve::run(arguments),
        Some("places") => places::run(arguments),
        Some("check") => check::run(arguments),
        Some("keys") => keys::run(arguments),
        Some("load") => load::run(arguments),
        Some(other) => Err(Failure::Usage(format!(
            "unknown command {other:?}; there are serve, places, check, keys and load (see herd --help)"
        ))),
        None if arguments.contains(["-h", "--help"]) => show(HELP),
        None if arguments.contains(["-V", "--version"]) => {
            show(concat!("herd ", env!("CARGO_PKG_VERSION"), "\n"))
        }
        None => {
            options::nothing_left(arguments, "herd")?;
            Err(Failure::Usage(format!("which command?\n\n{HELP}")))
        }
    }
}
