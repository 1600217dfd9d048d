//! The `herd` program. Everything is in the library, whose documentation is the guided tour.

use std::process::ExitCode;

fn main() -> ExitCode {
    herd::cli::run(std::env::args_os().skip(1).collect())
}
