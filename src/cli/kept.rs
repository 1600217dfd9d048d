//! The flags of `herd serve` that say what is kept, where, how much of it and for how long.

use std::path::PathBuf;

use pico_args::Arguments;

use super::options::path;
use super::outcome::Failure;
use crate::herd::settings::{CLIENTS_MAX, MEMORY_LEAST_BYTES, MEMORY_MAX_BYTES};
use crate::herd::store::WhenFull;
use crate::herd::{CatchUp, Settings};
use crate::server::journal::SyncPolicy;
use crate::wire::time::{NANOS_PER_SECOND, Nanos};

/// `--max-ahead` unless it is given, a day; 0: any. A client's newest report is the one that counts, so one
/// made by a clock far ahead would freeze its location until the others have caught up. A day lets
/// pass whatever time zones are confused.
const MAX_AHEAD_SECONDS: u32 = 24 * 3600;

/// This program is of 2026: a machine that tells an earlier time has lost it, as one does whose battery
/// is empty.
const CLOCK_EARLIEST_SECONDS: u32 = 1_767_225_600;

/// What the flags ask for.
pub struct KeptOptions {
    /// The folder of the journal, if one is kept.
    pub journal: Option<PathBuf>,
    /// When it is synced.
    pub sync: SyncPolicy,
    catch_up: CatchUp,
    max_clients: usize,
    max_memory_bytes: usize,
    when_full: WhenFull,
    max_ahead_seconds: u32,
    forget_after_seconds: Option<u32>,
}

impl KeptOptions {
    /// Takes the flags.
    pub fn take(arguments: &mut Arguments) -> Result<Self, Failure> {
        let journal = path(arguments, "--journal")?;
        let sync = arguments.opt_value_from_fn("--sync", sync_policy)?;
        if sync.is_some() && journal.is_none() {
            return Err(Failure::Usage("--sync says nothing without --journal DIR".to_owned()));
        }
        let catch_up = arguments.opt_value_from_fn("--catch-up", on_or_off)?;
        let max_clients = arguments.opt_value_from_fn("--max-clients", |word| {
            above_zero("--max-clients", word).and_then(|clients| {
                usize::try_from(clients).map_err(|e| format!("--max-clients {word:?}: {e}"))
            })
        })?;
        let max_memory_bytes = arguments.opt_value_from_fn("--max-memory", memory_bytes)?;
        let when_full = arguments.opt_value_from_fn("--when-full", when_full)?;
        let max_ahead_seconds = arguments.opt_value_from_fn("--max-ahead", |word| {
            word.parse().map_err(|_| {
                format!("--max-ahead {word:?}: a whole number of seconds is needed, 0 for any")
            })
        })?;
        let forget_after_seconds = arguments
            .opt_value_from_fn("--forget-after", |word| above_zero("--forget-after", word))?;
        Ok(Self {
            journal,
            sync: sync.unwrap_or_default(),
            catch_up: catch_up.unwrap_or_default(),
            max_clients: max_clients.unwrap_or(CLIENTS_MAX),
            max_memory_bytes: max_memory_bytes.unwrap_or(MEMORY_MAX_BYTES),
            when_full: when_full.unwrap_or_default(),
            max_ahead_seconds: max_ahead_seconds.unwrap_or(MAX_AHEAD_SECONDS),
            forget_after_seconds,
        })
    }

    /// What the herd is to be told.
    pub fn settings(&self) -> Settings {
        let nanos = |seconds| Nanos::from(seconds) * NANOS_PER_SECOND;
        Settings {
            catch_up: self.catch_up,
            max_clients: self.max_clients,
            max_memory_bytes: self.max_memory_bytes,
            when_full: self.when_full,
            max_ahead: Some(self.max_ahead_seconds).filter(|seconds| *seconds > 0).map(nanos),
            forget_after: self.forget_after_seconds.map(nanos),
            clock_earliest: nanos(CLOCK_EARLIEST_SECONDS),
        }
    }

    /// Whether clients are forgotten.
    pub fn forgets(&self) -> bool {
        self.forget_after_seconds.is_some()
    }
}

fn sync_policy(word: &str) -> Result<SyncPolicy, String> {
    match word {
        "always" => Ok(SyncPolicy::Always),
        "second" => Ok(SyncPolicy::EverySecond),
        "never" => Ok(SyncPolicy::Never),
        _ => Err(format!("--sync {word:?}: there are always, second and never")),
    }
}

fn memory_bytes(word: &str) -> Result<usize, String> {
    let bytes = word.parse().ok().filter(|bytes| *bytes >= MEMORY_LEAST_BYTES);
    bytes.ok_or_else(|| {
        format!(
            "--max-memory {word:?}: a whole number of bytes is needed, at least {MEMORY_LEAST_BYTES}, \
             which one client with the longest ID takes"
        )
    })
}

fn when_full(word: &str) -> Result<WhenFull, String> {
    match word {
        "evict" => Ok(WhenFull::Evict),
        "refuse" => Ok(WhenFull::Refuse),
        _ => Err(format!("--when-full {word:?}: there are evict and refuse")),
    }
}

fn above_zero(flag: &str, word: &str) -> Result<u32, String> {
    let number = word.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("{flag} {word:?}: a whole number above 0 is needed"))
}

fn on_or_off(word: &str) -> Result<CatchUp, String> {
    match word {
        "on" => Ok(CatchUp::On),
        "off" => Ok(CatchUp::Off),
        _ => Err(format!("--catch-up {word:?}: there are on and off")),
    }
}
