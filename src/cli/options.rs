//! Flags that several commands share, and the checks that all of them need.

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use pico_args::Arguments;

use super::outcome::Failure;
use crate::herd::topology::{Topology, Warning};
use crate::server::logging::{
    Destination, LOG_MAX_BYTES, LOG_MAX_LEAST_BYTES, LOG_MODE, Log, Place,
};

/// The topology file unless `--topology` names another one.
pub const TOPOLOGY: &str = "topology.txt";

/// A flag with a value, as a path.
pub fn path(arguments: &mut Arguments, flag: &'static str) -> Result<Option<PathBuf>, Failure> {
    let parse = |value: &std::ffi::OsStr| Ok::<_, String>(PathBuf::from(value));
    Ok(arguments.opt_value_from_os_str(flag, parse)?)
}

/// Refuses what no flag has taken, by name.
pub fn nothing_left(arguments: Arguments, command: &str) -> Result<(), Failure> {
    let left: Vec<OsString> = arguments.finish();
    let Some(first) = left.first() else { return Ok(()) };
    let first = first.to_string_lossy();
    let what =
        if first.starts_with('-') { "unknown or repeated flag" } else { "one word too many:" };
    Err(Failure::Usage(format!("{what} {first:?} (see {command} --help)")))
}

/// Reads a topology file. Every fault of it is told; its warnings go to standard error.
pub fn topology(path: &Path) -> Result<Topology, Failure> {
    let (topology, warnings) = topology_and_warnings(path)?;
    for warning in &warnings {
        // Where this cannot be written, the work still can be done.
        let _ = writeln!(io::stderr(), "{warning}");
    }
    Ok(topology)
}

/// Reads a topology file. The error names every fault of it.
pub fn topology_and_warnings(path: &Path) -> Result<(Topology, Vec<Warning>), Failure> {
    let shown = path.display().to_string();
    let text = std::fs::read(path).map_err(|e| format!("cannot read the topology {shown}: {e}"))?;
    let text = String::from_utf8(text)
        .map_err(|e| format!("{shown}: byte {} is not UTF-8", e.utf8_error().valid_up_to() + 1))?;
    Ok(Topology::parse(&shown, &text).map_err(|e| format!("the topology is wrong\n{e}"))?)
}

/// The log that `--log-dir` and its like ask for, not opened yet: nothing is written before the whole
/// command line has been found right.
pub struct LogOptions {
    directory: Option<PathBuf>,
    level: log::LevelFilter,
    max_bytes: Option<u64>,
    mode: u32,
}

impl LogOptions {
    /// Takes the flags.
    pub fn take(arguments: &mut Arguments) -> Result<Self, Failure> {
        let directory = path(arguments, "--log-dir")?;
        let level = arguments.opt_value_from_fn("--log-level", log_level)?;
        let max_bytes = arguments.opt_value_from_fn("--log-max", log_max)?;
        let mode = arguments.opt_value_from_fn("--log-mode", log_mode)?;
        Ok(Self {
            directory,
            level: level.unwrap_or(log::LevelFilter::Info),
            max_bytes: max_bytes.unwrap_or(Some(LOG_MAX_BYTES)),
            mode: mode.unwrap_or(LOG_MODE),
        })
    }

    /// Opens the log of the server `name`. The error says what could not be opened.
    pub fn start(&self, name: &str) -> Result<Log, String> {
        let Some(directory) = &self.directory else {
            return Log::start(Destination::Stderr, self.level);
        };
        std::fs::create_dir_all(directory)
            .map_err(|e| format!("cannot make the log directory {}: {e}", directory.display()))?;
        let path = directory.join(format!("{name}.log"));
        let place = Place { path, mode: self.mode, max_bytes: self.max_bytes };
        Log::start(Destination::File(place), self.level)
    }
}

/// 0 is none.
fn log_max(word: &str) -> Result<Option<u64>, String> {
    match word.parse::<u64>() {
        Ok(0) => Ok(None),
        Ok(bytes) if bytes >= LOG_MAX_LEAST_BYTES => Ok(Some(bytes)),
        _ => Err(format!(
            "--log-max {word:?}: a number of bytes from {LOG_MAX_LEAST_BYTES} on is needed, or 0 to leave \
             it to others"
        )),
    }
}

fn log_mode(word: &str) -> Result<u32, String> {
    let digits = (3..=4).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_digit());
    let mode = u32::from_str_radix(word, 8).ok().filter(|mode| digits && *mode <= 0o777);
    // What this server may not write itself is no log.
    mode.filter(|mode| mode & 0o600 == 0o600).ok_or_else(|| {
        format!("--log-mode {word:?}: an octal mode such as 640 is needed, from 600 to 777")
    })
}

fn log_level(word: &str) -> Result<log::LevelFilter, String> {
    word.parse().map_err(|_| {
        format!("unknown log level {word:?}; there are off, error, warn, info, debug and trace")
    })
}

/// `--listen`: an address and port, or a name and port, which may stand for several addresses. At least
/// one, each once.
pub fn addresses(text: &str) -> Result<Vec<SocketAddr>, String> {
    let found = text
        .to_socket_addrs()
        .map_err(|e| format!("{text:?} is no address to listen on (like 127.0.0.1:11550): {e}"))?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() { Err(format!("{text:?} has no address")) } else { Ok(addresses) }
}
