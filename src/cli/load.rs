//! `herd load`: from flags to a load and its figures.
//!
//! Owns the words of the command line, their bounds and what is printed at the end; it measures and checks
//! nothing itself ([`crate::load`] does). Called by `cli::run`.

use std::ffi::OsString;
use std::io::{IsTerminal, stderr};
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use pico_args::Arguments;

use super::options::nothing_left;
use super::outcome::{Failure, show};
use crate::load::{
    self, ADDRESSES_MAX, CLIENTS_MAX, CONNECTIONS_MAX, DEPTH_MAX, DURATION_MAX, Kind, PIDS_MAX,
    Plan, Question, RATE_MAX, REQUESTS_MAX,
};
use crate::wire::decimal::{parse_bound, parse_radius};

const HELP: &str = "\
herd load ADDR [options]

Keeps the server at ADDR busy, checks every reply, and tells how many came and how long they took.
The first wrong reply ends it with exit code 1, and so does a request without a reply.

  --connections C      connections that ask (default 64, at most 100000)
  --depth D            requests that each keeps in flight (default 1, at most 10000)
  --seconds S          how long to measure (default 5, at most a day)
  --warmup S           load before that, not counted (default 0.5)
  --clients K          clients spoken of, at least one a connection (default 1000, at most 1000000)
  --requests N         end after exactly N replies instead (no warm-up; at most 10^11)
  --rate R             an open loop: R requests a second (at most 10000000) leave when they are due,
                       whatever the answers do, and latency counts from then; --depth says nothing
                       then, and with more than 500 a second this program does not sleep
  --whatsat RADIUS,BOUND  ask what is near each client instead of telling where it is
  --kind KIND          iamat (default), or another server to compare with: echo, redis, memcached
  --idle N             N connections beside that say nothing (at most 100000)
  --updates N          tell N updates to ADDR, --depth in flight, and find out when the servers of
                       --to have them; with depth 1 for each update (at most 10^11)
  --to ADDR,ADDR...    for --updates: the other servers of the herd; for --idle: more addresses of
                       the same server, as one has no more than some 28000 ports (at most 1000)
  --pid P,P...         tell processor time and memory of these processes too (at most 1000)
  --patience S         give up when nothing has come for so long (default 15)
  --progress           a line each second on standard error, also when that is no terminal
  --json               the figures as one JSON object
";

/// Runs the command with what is left of the command line.
pub fn run(mut arguments: Arguments) -> Result<(), Failure> {
    if arguments.contains(["-h", "--help"]) {
        return show(HELP);
    }
    let json = arguments.contains("--json");
    let updates = whole(&mut arguments, "--updates", REQUESTS_MAX)?;
    let plan = read(arguments)?;
    fits(&plan, updates.is_some())?;
    if let Some(updates) = updates {
        let spread = load::spread(plan, updates)?;
        return show(&if json { spread.json() } else { spread.text() });
    }
    let summary = load::run(plan)?;
    show(&if json { summary.json() } else { summary.text() })?;
    summary.trouble().map_or(Ok(()), |words| Err(Failure::Failed(words)))
}

fn read(mut arguments: Arguments) -> Result<Plan, Failure> {
    let usual = Plan::default();
    let mut count = |flag, max, default| {
        let value = whole(&mut arguments, flag, max as u64)?;
        Ok::<_, Failure>(value.and_then(|value| usize::try_from(value).ok()).unwrap_or(default))
    };
    let connections = count("--connections", CONNECTIONS_MAX, usual.connections)?;
    let depth = count("--depth", DEPTH_MAX, usual.depth)?;
    let clients = count("--clients", CLIENTS_MAX, usual.clients)?;
    let idle = count("--idle", CONNECTIONS_MAX, usual.idle)?;
    let length = seconds(&mut arguments, "--seconds")?.unwrap_or(usual.seconds);
    let warmup = seconds(&mut arguments, "--warmup")?.unwrap_or(usual.warmup);
    let patience = seconds(&mut arguments, "--patience")?.unwrap_or(usual.patience);
    let requests = whole(&mut arguments, "--requests", REQUESTS_MAX)?;
    let rate = whole(&mut arguments, "--rate", u64::from(RATE_MAX))?;
    let whatsat = arguments.opt_value_from_fn("--whatsat", question)?;
    let kind = arguments.opt_value_from_fn("--kind", kind)?.unwrap_or(usual.kind);
    let to: Option<String> = arguments.opt_value_from_str("--to")?;
    let pids = arguments.opt_value_from_fn("--pid", pids)?.unwrap_or_default();
    let progress = arguments.contains("--progress") || stderr().is_terminal();
    let address: Option<OsString> = arguments.opt_free_from_os_str(free)?;
    nothing_left(arguments, "herd load")?;
    let Some(address) = address else {
        let words = "which server? herd load ADDR, with an ADDR like 127.0.0.1:11550".to_owned();
        return Err(Failure::Usage(words));
    };
    Ok(Plan {
        address: resolve(&address.to_string_lossy())?,
        to: addresses(to.as_deref())?,
        kind,
        connections,
        depth,
        clients,
        seconds: length,
        warmup,
        patience,
        rate: rate.and_then(|rate| u32::try_from(rate).ok()),
        whatsat,
        requests,
        idle,
        pids,
        progress,
    })
}

/// Refuses flags that do not go together, rather than leave one out in silence.
fn fits(plan: &Plan, updates: bool) -> Result<(), Failure> {
    let other_load = plan.rate.is_some() || plan.whatsat.is_some() || plan.requests.is_some();
    let refusal = if plan.whatsat.is_some() && plan.kind != Kind::Iamat {
        "--whatsat is a question to herd serve, so --kind cannot be another"
    } else if updates && (other_load || plan.idle > 0 || plan.kind != Kind::Iamat) {
        "--updates is a load of its own: no --rate, --whatsat, --requests, --idle or --kind with it"
    } else if updates && plan.to.is_empty() {
        "--updates needs --to: the servers that the updates shall reach"
    } else if !updates && plan.idle == 0 && !plan.to.is_empty() {
        "--to goes with --updates or --idle"
    } else {
        return Ok(());
    };
    Err(Failure::Usage(refusal.to_owned()))
}

fn free(word: &std::ffi::OsStr) -> Result<OsString, String> {
    let shown = word.to_string_lossy();
    if shown.starts_with('-') {
        Err(format!("unknown flag {shown:?}"))
    } else {
        Ok(word.to_owned())
    }
}

/// A flag with a whole number from 1 up to a bound.
fn whole(arguments: &mut Arguments, flag: &'static str, max: u64) -> Result<Option<u64>, Failure> {
    let Some(word) = arguments.opt_value_from_str::<_, String>(flag)? else { return Ok(None) };
    let value = word.parse().ok().filter(|value| (1..=max).contains(value));
    value.map(Some).ok_or_else(|| {
        Failure::Usage(format!("{flag} {word:?}: a whole number from 1 to {max} is needed"))
    })
}

/// A flag with a time.
fn seconds(arguments: &mut Arguments, flag: &'static str) -> Result<Option<Duration>, Failure> {
    let Some(word) = arguments.opt_value_from_str::<_, String>(flag)? else { return Ok(None) };
    let value = word.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    value.filter(|value| *value <= DURATION_MAX).map(Some).ok_or_else(|| {
        let max = DURATION_MAX.as_secs();
        Failure::Usage(format!("{flag} {word:?}: a number of seconds from 0 to {max} is needed"))
    })
}

fn question(word: &str) -> Result<Question, String> {
    let parts = word.split_once(',').filter(|(radius, bound)| {
        parse_radius(radius.as_bytes()).is_some() && parse_bound(bound.as_bytes()).is_some()
    });
    let (radius, bound) = parts.ok_or_else(|| {
        format!("--whatsat {word:?}: kilometres (at most 50) and a bound (at most 20) are needed, as 10,5")
    })?;
    Ok(Question { radius: radius.to_owned(), bound: bound.to_owned() })
}

fn kind(word: &str) -> Result<Kind, String> {
    let found = Kind::NAMES.iter().find(|(name, _)| *name == word);
    found.map(|(_, kind)| *kind).ok_or_else(|| {
        let names = Kind::NAMES.map(|(name, _)| name);
        format!("--kind {word:?}: there are {}", names.join(", "))
    })
}

fn pids(word: &str) -> Result<Vec<u32>, String> {
    let pids: Option<Vec<u32>> = word.split(',').map(|pid| pid.parse().ok()).collect();
    pids.filter(|pids| pids.len() <= PIDS_MAX).ok_or_else(|| {
        format!("--pid {word:?}: at most {PIDS_MAX} process numbers are needed, as 17,18")
    })
}

fn addresses(list: Option<&str>) -> Result<Vec<SocketAddr>, Failure> {
    let words: Vec<&str> = list.map(|list| list.split(',').collect()).unwrap_or_default();
    if words.len() > ADDRESSES_MAX {
        return Err(Failure::Usage(format!("--to: at most {ADDRESSES_MAX} addresses")));
    }
    words.into_iter().map(resolve).collect()
}

/// An address and port, or a name and port, which is looked up now: no loop runs yet.
fn resolve(text: &str) -> Result<SocketAddr, Failure> {
    let mut found = text.to_socket_addrs().map_err(|e| {
        Failure::Usage(format!("{text:?} is no address of a server (like 127.0.0.1:11550): {e}"))
    })?;
    found.next().ok_or_else(|| Failure::Usage(format!("{text:?} has no address")))
}
