//! How a command ends: with text on standard output, or with a failure that says what is wrong.
//!
//! Every command uses it; `run` turns a failure into a line on standard error and an exit code.

use std::io::{self, Write};

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

/// Prints a text to standard output. A reader that closes it early has read enough.
pub fn show(text: &str) -> Result<(), Failure> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Failed(format!("cannot write to standard output: {e}")))
        }
        _ => Ok(()),
    }
}
