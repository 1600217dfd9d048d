//! In which order the addresses of a name are tried, and when the next one begins: "Happy Eyeballs" (RFC 8305).
//!
//! An address that does not answer must not cost the whole time limit: 250 ms after an attempt began, the
//! next one begins beside it, and the first that connects wins. An attempt that fails lets the next begin at
//! once. Pure: it has neither sockets nor a clock. `connect.rs` asks it what to do next and reports what
//! became of each attempt.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::reactor::Token;
use crate::reactor::bounds::limits::{ADDRESSES_MAX, ATTEMPT_DELAY, ATTEMPTS_MAX, DELAY_MAX};

/// What a dial should do now.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::reactor) enum Step {
    /// Begin to connect to this address, and report it with [`Attempts::begun`] or [`Attempts::refused`].
    Begin(SocketAddr),
    /// Close this attempt: its time is over. It is counted as failed already.
    GiveUp(Token),
    /// The look-up has had its time. Say why there is no answer, with [`Attempts::look_up_failed`].
    LookUpOver,
    /// Nothing is left to try.
    Over,
    /// Ask again then, or when something has been reported.
    WaitUntil(Instant),
}

/// One address that the kernel is connecting to.
struct InFlight {
    token: Token,
    address: SocketAddr,
    until: Instant,
}

/// Whether the name's addresses are still to come.
enum LookUp {
    UnderWay { until: Instant },
    Over,
    Failed(String),
}

/// All attempts of one dial.
pub(in crate::reactor) struct Attempts {
    look_up: LookUp,
    untried: VecDeque<SocketAddr>,
    in_flight: Vec<InFlight>,
    /// Every address that was begun with.
    tried: Vec<SocketAddr>,
    failures: Vec<(SocketAddr, String)>,
    /// When the next address may begin beside those in flight.
    next_at: Option<Instant>,
    /// How long each attempt may take.
    timeout: Duration,
}

impl Attempts {
    /// For a dial that begins with these addresses: the only ones, unless a look-up is
    /// [begun](Self::look_up_begun) too.
    pub fn new(addresses: &[SocketAddr], timeout: Duration) -> Self {
        Self {
            look_up: LookUp::Over,
            untried: addresses.iter().copied().collect(),
            in_flight: Vec::new(),
            tried: Vec::new(),
            failures: Vec::new(),
            next_at: None,
            timeout,
        }
    }

    /// A look-up is under way. The addresses that there are already are remembered ones, tried meanwhile.
    pub fn look_up_begun(&mut self, now: Instant, timeout: Duration) {
        self.look_up = LookUp::UnderWay { until: later(now, timeout) };
    }

    /// The look-up's answer, in the order in which they should be tried. Remembered addresses that it does
    /// not have, and that have not been tried yet, are out of date.
    pub fn look_up_answered(&mut self, addresses: &[SocketAddr]) {
        self.look_up = LookUp::Over;
        let tried = &self.tried;
        self.untried = addresses.iter().copied().filter(|a| !tried.contains(a)).collect();
    }

    /// There will be no answer. Remembered addresses stay.
    pub fn look_up_failed(&mut self, why: String) {
        self.look_up = LookUp::Failed(why);
    }

    /// What to do now. To be asked again after each report, until it says to wait or that all is over.
    pub fn step(&mut self, now: Instant) -> Step {
        if let Some(place) = self.in_flight.iter().position(|attempt| attempt.until <= now) {
            let attempt = self.in_flight.swap_remove(place);
            self.fail(attempt.address, "no answer in time".to_owned());
            return Step::GiveUp(attempt.token);
        }
        if matches!(self.look_up, LookUp::UnderWay { until } if until <= now) {
            return Step::LookUpOver;
        }
        let may_begin = self.next_at.is_none_or(|moment| moment <= now);
        if may_begin
            && self.in_flight.len() < ATTEMPTS_MAX
            && let Some(address) = self.untried.pop_front()
        {
            self.tried.push(address);
            return Step::Begin(address);
        }
        self.next_wake().map_or(Step::Over, Step::WaitUntil)
    }

    /// The kernel is connecting to this address.
    pub fn begun(&mut self, address: SocketAddr, token: Token, now: Instant) {
        let until = later(now, self.timeout);
        self.in_flight.push(InFlight { token, address, until });
        self.next_at = Some(later(now, ATTEMPT_DELAY));
    }

    /// The system would not even begin with this address.
    pub fn refused(&mut self, address: SocketAddr, why: String) {
        self.fail(address, why);
    }

    /// This attempt has failed.
    pub fn failed(&mut self, token: Token, why: String) {
        if let Some(place) = self.in_flight.iter().position(|attempt| attempt.token == token) {
            let attempt = self.in_flight.swap_remove(place);
            self.fail(attempt.address, why);
        }
    }

    /// The sockets of all attempts in flight, to be closed.
    pub fn in_flight(&self) -> impl Iterator<Item = Token> {
        self.in_flight.iter().map(|attempt| attempt.token)
    }

    /// Why nothing has connected: each address with its reason, or the reason once where all have the same.
    pub fn in_words(&self) -> String {
        let look_up = match &self.look_up {
            LookUp::Failed(why) => Some(why.as_str()),
            LookUp::UnderWay { .. } | LookUp::Over => None,
        };
        match (failures_in_words(&self.failures), look_up) {
            (None, None) => "the name has no address".to_owned(),
            (None, Some(why)) => why.to_owned(),
            (Some(words), None) => words,
            (Some(words), Some(why)) => format!("{words}; and {why}"),
        }
    }

    fn fail(&mut self, address: SocketAddr, why: String) {
        self.failures.push((address, why));
        self.next_at = None;
    }

    /// `None`: nothing is under way any more.
    fn next_wake(&self) -> Option<Instant> {
        let attempts = self.in_flight.iter().map(|attempt| attempt.until);
        let look_up = match self.look_up {
            LookUp::UnderWay { until } => Some(until),
            LookUp::Over | LookUp::Failed(_) => None,
        };
        let has_room = !self.untried.is_empty() && self.in_flight.len() < ATTEMPTS_MAX;
        attempts.chain(look_up).chain(self.next_at.filter(|_| has_room)).min()
    }
}

fn later(now: Instant, delay: Duration) -> Instant {
    now.checked_add(delay.min(DELAY_MAX)).unwrap_or(now)
}

fn failures_in_words(failures: &[(SocketAddr, String)]) -> Option<String> {
    let (_, first) = failures.first()?;
    if failures.iter().all(|(_, why)| why == first) {
        return Some(first.clone());
    }
    let each = failures.iter().map(|(address, why)| format!("{address}: {why}"));
    Some(each.collect::<Vec<_>>().join("; "))
}

/// Puts a name's addresses in the order in which they should be tried: the one that worked last, then the
/// others as the system sorted them (RFC 6724), but with the two families in turn (RFC 8305, section 4), and
/// at the end those that broke a connection last time. At most [`ADDRESSES_MAX`], none of them twice.
pub(in crate::reactor) fn in_order(
    addresses: &[SocketAddr],
    good: Option<SocketAddr>,
    is_bad: impl Fn(&SocketAddr) -> bool,
) -> Vec<SocketAddr> {
    let (mut bad, mut rest): (Vec<_>, Vec<_>) =
        addresses.iter().copied().filter(|a| Some(*a) != good).partition(is_bad);
    let mut ordered: Vec<SocketAddr> = good.into_iter().collect();
    for left in [&mut rest, &mut bad] {
        while !left.is_empty() && ordered.len() < ADDRESSES_MAX {
            let last = ordered.last().map(SocketAddr::is_ipv6);
            let other = left.iter().position(|a| last.is_some_and(|six| a.is_ipv6() != six));
            let next = left.remove(other.unwrap_or(0));
            if !ordered.contains(&next) {
                ordered.push(next);
            }
        }
    }
    ordered
}

#[cfg(test)]
mod tests;
