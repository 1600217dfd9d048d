//! `herd check`: whether a topology file is right, and what its shape means.

use std::path::PathBuf;

use pico_args::Arguments;

use super::options::{TOPOLOGY, nothing_left, topology};
use super::outcome::{Failure, show};
use crate::herd::topology::describe;

const HELP: &str = "\
herd check [TOPOLOGY]

Reads a topology file (topology.txt unless another one is named), tells every fault
in it with its place, and prints each server with its neighbours, the longest way
between two servers, and which servers the loss of one would cut off.
Exit code 1 when there is a fault.
";

/// Runs the command with what is left of the command line.
pub fn run(mut arguments: Arguments) -> Result<(), Failure> {
    if arguments.contains(["-h", "--help"]) {
        return show(HELP);
    }
    let parse = |value: &std::ffi::OsStr| {
        let word = value.to_string_lossy();
        let flag = word.starts_with('-');
        if flag { Err(format!("unknown flag {word:?}")) } else { Ok(PathBuf::from(value)) }
    };
    let path = arguments.opt_free_from_os_str(parse)?.unwrap_or_else(|| PathBuf::from(TOPOLOGY));
    nothing_left(arguments, "herd check")?;
    show(&describe(&topology(&path)?))
}
