//! The flags of `herd serve` that bound what clients may take: connections, bytes, lines and time.
//!
//! Each has a default, and is refused in words when its value makes no sense. They become the reactor's
//! [`Limits`] and the protocol's [`Bounds`], which say what each is for. Called by `serve.rs`.

use std::ops::RangeInclusive;
use std::time::Duration;

use pico_args::Arguments;

use super::outcome::Failure;
use crate::reactor::Limits;
use crate::reactor::net::options::KEEPALIVE_MAX_SECONDS;
use crate::server::bounds::Bounds;
use crate::wire::line::LINE_MAX_BYTES;

/// The part of `herd serve --help` that tells of these flags.
pub const HELP: &str = "
What clients may take. Seconds may have fractions, 0 is off where it says so.

  --max-connections N     connections in all; more wait, unaccepted, until one goes (default 100000)
  --max-connections-per-address N  of one IPv4 address or IPv6 /64; more are closed (default 20000;
                          0: off); neighbours are excepted from both
  --max-line BYTES        the longest line (default 16384, which is also the most)
  --max-input BYTES       what is read of one connection in one turn (default 65536)
  --max-output BYTES      with so much unsent output a connection is not read (default 65536)
  --max-unread BYTES      with so much output that it does not take it is closed (default 4194304;
                          0: off)
  --unread-timeout SECS   so long without taking any of its output, and it is closed (default 60;
                          0: off)
  --idle-timeout SECS     nothing heard and nothing owed for so long, and it is closed (default 0: off);
                          links are excepted, and from both above
  --keepalive SECS        silent so long, its kernel is asked whether it lives (default 60; 0: off)
  --handshake-timeout SECS  all the time that its TLS handshake has (default 10)
  --max-lines N           lines of one connection that are answered in one turn (default 1024)
  --max-waiting N         its WHATSATs that wait for an answer at a time (default 32)
  --max-waiting-in-all N  the same for all connections together; past it the newest of whoever has most
                          gives way (default 10000)
  --max-held-in-all BYTES  answers that have come and are not taken, of all connections; past it a
                          WHATSAT is refused (default 67108864)
  --log-max BYTES         the log and the one before it, NAME.log.old, together, from 16384 on
                          (default 67108864; 0: others rotate it)
";

/// The most of `--max-input` and `--max-output`: one buffer of that size is always there.
const BUFFER_MAX_BYTES: usize = 64 * 1024 * 1024;

/// The least of them: less would only make more turns of the same work.
const BUFFER_MIN_BYTES: usize = 512;

/// The longest time that makes sense for a bound, a year.
const SECONDS_MAX: u32 = 365 * 24 * 3600;

/// Takes the flags.
pub fn take(arguments: &mut Arguments) -> Result<(Limits, Bounds), Failure> {
    let (limits, bounds) = (Limits::default(), Bounds::default());
    let buffer = BUFFER_MIN_BYTES..=BUFFER_MAX_BYTES;
    let (some, any) = (1..=usize::MAX, 0..=usize::MAX);
    let limits = Limits {
        connections: number(arguments, "--max-connections", some.clone(), limits.connections)?,
        connections_per_address: above_zero(
            arguments,
            "--max-connections-per-address",
            limits.connections_per_address,
        )?,
        input_bytes: number(arguments, "--max-input", buffer.clone(), limits.input_bytes)?,
        output_bytes: number(arguments, "--max-output", buffer, limits.output_bytes)?,
        unread_bytes: above_zero(arguments, "--max-unread", limits.unread_bytes)?,
        unread_timeout: seconds(arguments, "--unread-timeout", SECONDS_MAX, limits.unread_timeout)?,
        idle_timeout: seconds(arguments, "--idle-timeout", SECONDS_MAX, limits.idle_timeout)?,
        keepalive: seconds(arguments, "--keepalive", KEEPALIVE_MAX_SECONDS, limits.keepalive)?,
        handshake_timeout: seconds_above_zero(
            arguments,
            "--handshake-timeout",
            limits.handshake_timeout,
        )?,
    };
    let line = 1..=LINE_MAX_BYTES;
    let bounds = Bounds {
        line_max_bytes: number(arguments, "--max-line", line, bounds.line_max_bytes)?,
        lines_per_turn: number(arguments, "--max-lines", some, bounds.lines_per_turn)?,
        waiting_max: number(arguments, "--max-waiting", any.clone(), bounds.waiting_max)?,
        waiting_in_all_max: number(
            arguments,
            "--max-waiting-in-all",
            any.clone(),
            bounds.waiting_in_all_max,
        )?,
        held_in_all_max_bytes: number(
            arguments,
            "--max-held-in-all",
            any,
            bounds.held_in_all_max_bytes,
        )?,
    };
    Ok((limits, bounds))
}

/// A flag's value where it is given. `needed` says what would have been right.
fn value<T>(
    arguments: &mut Arguments,
    flag: &'static str,
    parse: impl FnOnce(&str) -> Option<T>,
    needed: &str,
) -> Result<Option<T>, Failure> {
    let given: Option<String> = arguments.opt_value_from_str(flag)?;
    let Some(word) = given else { return Ok(None) };
    let words = || Failure::Usage(format!("{flag} {word:?}: {needed} is needed"));
    parse(&word).map(Some).ok_or_else(words)
}

/// A whole number within a range.
fn number(
    arguments: &mut Arguments,
    flag: &'static str,
    range: RangeInclusive<usize>,
    default: usize,
) -> Result<usize, Failure> {
    let needed = match (*range.start(), *range.end()) {
        (least, usize::MAX) => format!("a whole number from {least} on"),
        (least, most) => format!("a whole number from {least} to {most}"),
    };
    let parse = |word: &str| word.parse().ok().filter(|number| range.contains(number));
    Ok(value(arguments, flag, parse, &needed)?.unwrap_or(default))
}

/// A whole number, of which 0 is off.
fn above_zero(
    arguments: &mut Arguments,
    flag: &'static str,
    default: Option<usize>,
) -> Result<Option<usize>, Failure> {
    let number = number(arguments, flag, 0..=usize::MAX, default.unwrap_or(0))?;
    Ok(Some(number).filter(|number| *number > 0))
}

/// A time in seconds, of which 0 is off.
fn seconds(
    arguments: &mut Arguments,
    flag: &'static str,
    max: u32,
    default: Option<Duration>,
) -> Result<Option<Duration>, Failure> {
    let needed = format!("a number of seconds from 0 (off) to {max}");
    let given = value(arguments, flag, |word| duration(word, max), &needed)?;
    Ok(given.or(default).filter(|duration| !duration.is_zero()))
}

/// The same where it cannot be off: a handshake without end would hold a descriptor without end.
fn seconds_above_zero(
    arguments: &mut Arguments,
    flag: &'static str,
    default: Duration,
) -> Result<Duration, Failure> {
    let parse = |word: &str| duration(word, SECONDS_MAX).filter(|duration| !duration.is_zero());
    let needed = format!("a number of seconds above 0 and up to {SECONDS_MAX}");
    Ok(value(arguments, flag, parse, &needed)?.unwrap_or(default))
}

fn duration(word: &str, max: u32) -> Option<Duration> {
    let seconds = word.parse().ok().filter(|seconds| (0.0..=f64::from(max)).contains(seconds));
    seconds.map(Duration::from_secs_f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(words: &str) -> Result<(Limits, Bounds), Failure> {
        let words = words.split_whitespace().map(Into::into).collect();
        take(&mut Arguments::from_vec(words))
    }

    #[test]
    fn the_help_tells_the_defaults() {
        let (limits, bounds) = taken("").unwrap_or_else(|e| panic!("{e:?}"));
        let off = |duration: Option<Duration>| duration.map_or(0, |duration| duration.as_secs());
        for (flag, default) in [
            ("--max-connections N", limits.connections as u64),
            ("--max-connections-per-address N", limits.connections_per_address.unwrap() as u64),
            ("--max-line BYTES", bounds.line_max_bytes as u64),
            ("--max-input BYTES", limits.input_bytes as u64),
            ("--max-output BYTES", limits.output_bytes as u64),
            ("--max-unread BYTES", limits.unread_bytes.unwrap() as u64),
            ("--unread-timeout SECS", off(limits.unread_timeout)),
            ("--idle-timeout SECS", off(limits.idle_timeout)),
            ("--keepalive SECS", off(limits.keepalive)),
            ("--handshake-timeout SECS", limits.handshake_timeout.as_secs()),
            ("--max-lines N", bounds.lines_per_turn as u64),
            ("--max-waiting N", bounds.waiting_max as u64),
            ("--max-waiting-in-all N", bounds.waiting_in_all_max as u64),
            ("--max-held-in-all BYTES", bounds.held_in_all_max_bytes as u64),
        ] {
            let entry = HELP.split("\n  --").find(|entry| format!("--{entry}").starts_with(flag));
            let entry = entry.unwrap_or_else(|| panic!("no {flag} in the help"));
            let told = entry.split_once("(default ").map(|(_, rest)| rest);
            let digits: String =
                told.into_iter().flat_map(|t| t.chars().take_while(char::is_ascii_digit)).collect();
            assert_eq!(digits, default.to_string(), "{flag}");
        }
    }

    #[test]
    fn each_flag_sets_its_bound() {
        let (limits, bounds) = taken(
            "--max-connections 1 --max-connections-per-address 2 --max-line 3 --max-input 1004 \
             --max-output 1005 --max-unread 6 --unread-timeout 7 --idle-timeout 0.25 --keepalive 9 \
             --handshake-timeout 0.5 --max-lines 11 --max-waiting 0 --max-waiting-in-all 13 \
             --max-held-in-all 14",
        )
        .unwrap_or_else(|e| panic!("{e:?}"));
        assert_eq!((limits.connections, limits.connections_per_address), (1, Some(2)));
        assert_eq!((limits.input_bytes, limits.output_bytes), (1004, 1005));
        assert_eq!(limits.unread_bytes, Some(6));
        assert_eq!(limits.unread_timeout, Some(Duration::from_secs(7)));
        assert_eq!(limits.idle_timeout, Some(Duration::from_millis(250)));
        assert_eq!(limits.keepalive, Some(Duration::from_secs(9)));
        assert_eq!(limits.handshake_timeout, Duration::from_millis(500));
        assert_eq!((bounds.line_max_bytes, bounds.lines_per_turn), (3, 11));
        assert_eq!((bounds.waiting_max, bounds.waiting_in_all_max), (0, 13));
        assert_eq!(bounds.held_in_all_max_bytes, 14);
    }

    #[test]
    fn zero_is_off_where_that_makes_sense() {
        let (limits, _) = taken(
            "--max-connections-per-address 0 --max-unread 0 --unread-timeout 0 --idle-timeout 0 \
             --keepalive 0.0",
        )
        .unwrap_or_else(|e| panic!("{e:?}"));
        assert_eq!((limits.connections_per_address, limits.unread_bytes), (None, None));
        assert_eq!(
            (limits.unread_timeout, limits.idle_timeout, limits.keepalive),
            (None, None, None)
        );
    }
}
