//! Look-ups of names: who waits for which, what is under way, and what is remembered of those before.
//!
//! At most one look-up of a name is in flight, whoever asks; its answer is for all of them. The addresses of
//! the last answer stay, and which of them worked: a new connection begins with those at once, while a new
//! look-up goes on beside it. A name server that is silent can hold up the threads of the pool
//! (`threads/workers.rs`) and nothing else: a look-up that nobody waits for any more has no state but "under way".
//! Pure: no thread, no socket and no clock. Called by `connect.rs`.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

use crate::reactor::Token;
use crate::reactor::bounds::limits::{
    ADDRESSES_MAX, LOOK_UP_ASKERS_MAX, LOOK_UP_NAMES_MAX, LOOK_UP_THREADS_MAX, VERDICTS_MAX,
};
use crate::reactor::net::attempts::in_order;

/// What a look-up brought: the name's addresses with port 0, or why there are none.
pub(in crate::reactor) type Answer = Result<Vec<SocketAddr>, String>;

/// A look-up that has no answer yet, as [`Io::look_ups`](crate::reactor::Io::look_ups) reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookUp {
    /// The name.
    pub host: String,
    /// Whether a thread is at it. If not, it waits for one: all of them are busy.
    pub is_running: bool,
    /// When it began, or began to wait.
    pub since: Instant,
    /// How many connections wait for it. None: it was given up, and its thread is all that is left of it.
    pub connections: usize,
}

/// All names.
#[derive(Default)]
pub(in crate::reactor) struct LookUps {
    names: BTreeMap<String, Name>,
    /// Counts what happens, to tell what came first.
    clock: u64,
}

/// What is known of one name.
#[derive(Default)]
struct Name {
    stage: Stage,
    askers: Vec<Token>,
    /// The last answer, with port 0.
    addresses: Vec<SocketAddr>,
    /// How each address, with its port, did the last time. At most one of a port is good.
    verdicts: Vec<(SocketAddr, Verdict)>,
    /// When it was asked for last, by the count of [`LookUps::clock`].
    asked: u64,
}

#[derive(Clone, Copy, Default)]
enum Stage {
    #[default]
    Idle,
    /// For a thread, since this place in the order of all.
    Waiting { order: u64, since: Instant },
    /// On this thread.
    Running { thread: usize, since: Instant },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// The connection was made, TLS and all.
    Good,
    /// It took the connection, and then no handshake succeeded.
    Bad,
}

impl LookUps {
    /// `token` waits for the addresses of `host`. The error says why it cannot.
    pub fn ask(&mut self, host: &str, token: Token, now: Instant) -> Result<(), String> {
        let waiting: usize = self.names.values().map(|name| name.askers.len()).sum();
        if waiting >= LOOK_UP_ASKERS_MAX {
            return Err(format!("{waiting} connections wait for look-ups already"));
        }
        if !self.names.contains_key(host) {
            self.make_room()?;
        }
        self.clock += 1;
        let name = self.names.entry(host.to_owned()).or_default();
        name.asked = self.clock;
        name.askers.push(token);
        if let Stage::Idle = name.stage {
            name.stage = Stage::Waiting { order: self.clock, since: now };
        }
        Ok(())
    }

    /// Forgets the name that has not been asked for the longest time and that nobody waits for.
    fn make_room(&mut self) -> Result<(), String> {
        if self.names.len() < LOOK_UP_NAMES_MAX {
            return Ok(());
        }
        let idle = self.names.iter().filter(|(_, name)| matches!(name.stage, Stage::Idle));
        let oldest = idle.min_by_key(|(_, name)| name.asked).map(|(host, _)| host.clone());
        let oldest =
            oldest.ok_or_else(|| format!("{LOOK_UP_NAMES_MAX} names are looked up already"))?;
        self.names.remove(&oldest);
        Ok(())
    }

    /// The remembered addresses of `host`, with this port, in the order in which they should be tried.
    pub fn remembered(&self, host: &str, port: u16) -> Vec<SocketAddr> {
        self.names.get(host).map(|name| name.in_order(port)).unwrap_or_default()
    }

    /// `token` waits no more. A look-up that was not begun, and that nobody else waits for, never is.
    pub fn leave(&mut self, host: &str, token: Token) {
        let Some(name) = self.names.get_mut(host) else { return };
        name.askers.retain(|asker| *asker != token);
        if name.askers.is_empty() && matches!(name.stage, Stage::Waiting { .. }) {
            name.stage = Stage::Idle;
        }
    }

    /// The name to be looked up next and the thread that is free for it, if both are. It is taken to be
    /// running from now on.
    pub fn begin_next(&mut self, now: Instant) -> Option<(usize, String)> {
        let is_free = |thread: &usize| {
            let runs = |name: &Name| matches!(name.stage, Stage::Running { thread: t, .. } if t == *thread);
            !self.names.values().any(runs)
        };
        let thread = (0..LOOK_UP_THREADS_MAX).find(is_free)?;
        let waiting = self.names.iter_mut().filter_map(|(host, name)| match name.stage {
            Stage::Waiting { order, .. } => Some((order, host, name)),
            Stage::Idle | Stage::Running { .. } => None,
        });
        let (_, host, name) = waiting.min_by_key(|(order, ..)| *order)?;
        name.stage = Stage::Running { thread, since: now };
        Some((thread, host.clone()))
    }

    /// The look-up on this thread is over. Gives its name and who waits for the answer. One that brought
    /// nothing leaves the addresses of the one before.
    pub fn answered(&mut self, thread: usize, answer: &Answer) -> Option<(String, Vec<Token>)> {
        let (host, name) = self.names.iter_mut().find(
            |(_, name)| matches!(name.stage, Stage::Running { thread: t, .. } if t == thread),
        )?;
        name.stage = Stage::Idle;
        if let Ok(addresses) = answer {
            name.verdicts.retain(|(address, _)| addresses.contains(&with_port(*address, 0)));
            let verdicts = &name.verdicts;
            let matters = |a: &SocketAddr| verdicts.iter().any(|(v, _)| with_port(*v, 0) == *a);
            // The list is cut to its bound, and what has worked must not be cut off.
            let (mut kept, others): (Vec<_>, Vec<_>) = addresses.iter().copied().partition(matters);
            let room = ADDRESSES_MAX.saturating_sub(kept.len());
            let others = in_order(&others, None, |_| false);
            kept.extend(others.into_iter().take(room));
            kept.sort_by_key(|a| addresses.iter().position(|b| a == b));
            name.addresses = kept;
        }
        Some((host.clone(), std::mem::take(&mut name.askers)))
    }

    /// The connection to this address was made, TLS and all: it is the first to be tried from now on.
    pub fn worked(&mut self, address: SocketAddr) {
        self.judge(address, Verdict::Good);
    }

    /// This address took a connection and then did not agree on TLS: it is the last to be tried from now on.
    pub fn broke(&mut self, address: SocketAddr) {
        self.judge(address, Verdict::Bad);
    }

    fn judge(&mut self, address: SocketAddr, verdict: Verdict) {
        let plain = with_port(address, 0);
        for name in self.names.values_mut().filter(|name| name.addresses.contains(&plain)) {
            name.verdicts.retain(|(other, old)| {
                let is_replaced = verdict == Verdict::Good && *old == Verdict::Good;
                *other != address && !(is_replaced && other.port() == address.port())
            });
            name.verdicts.push((address, verdict));
            if name.verdicts.len() > VERDICTS_MAX {
                name.verdicts.remove(0);
            }
        }
    }

    /// Why there is no answer for `host` yet, in words.
    pub fn why_no_answer(&self, host: &str, now: Instant) -> String {
        match self.names.get(host).map(|name| name.stage) {
            Some(Stage::Waiting { .. }) => {
                let running = self.names.values().filter_map(|name| match name.stage {
                    Stage::Running { since, .. } => Some(since),
                    Stage::Idle | Stage::Waiting { .. } => None,
                });
                let oldest = running.clone().min().unwrap_or(now);
                let count = running.count();
                let seconds = seconds(now.saturating_duration_since(oldest));
                format!(
                    "no thread was free to look the name up: {count} other look-ups are hung, the oldest \
                     since {seconds} s"
                )
            }
            Some(Stage::Running { since, .. }) => {
                let seconds = seconds(now.saturating_duration_since(since));
                format!("no answer to the look-up of the name in {seconds} s")
            }
            Some(Stage::Idle) | None => "the name is not being looked up".to_owned(),
        }
    }

    /// Every look-up that has no answer yet, by name.
    pub fn under_way(&self) -> impl Iterator<Item = LookUp> {
        self.names.iter().filter_map(|(host, name)| {
            let (is_running, since) = match name.stage {
                Stage::Idle => return None,
                Stage::Waiting { since, .. } => (false, since),
                Stage::Running { since, .. } => (true, since),
            };
            Some(LookUp { host: host.clone(), is_running, since, connections: name.askers.len() })
        })
    }
}

impl Name {
    fn in_order(&self, port: u16) -> Vec<SocketAddr> {
        let addresses: Vec<_> = self.addresses.iter().map(|a| with_port(*a, port)).collect();
        let judged =
            |verdict: Verdict, address: &SocketAddr| self.verdicts.contains(&(*address, verdict));
        let good = addresses.iter().find(|a| judged(Verdict::Good, a)).copied();
        in_order(&addresses, good, |a| judged(Verdict::Bad, a))
    }
}

fn with_port(mut address: SocketAddr, port: u16) -> SocketAddr {
    address.set_port(port);
    address
}

/// With one digit behind the point.
fn seconds(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64())
}

/// Asks the system. Blocks, for as long as the system likes.
pub(in crate::reactor) fn ask_the_system(host: &str) -> Answer {
    let addresses: Vec<_> = (host, 0).to_socket_addrs().map_err(|e| e.to_string())?.collect();
    if addresses.is_empty() { Err("the name has no address".to_owned()) } else { Ok(addresses) }
}

#[cfg(test)]
mod tests;
