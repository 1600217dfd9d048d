//! The pool of connections to the upstream: which question goes out next, and over which connection.
//!
//! A question leaves when its turn has come, a connection is free for its address, and the rate allows a call. It
//! never reads an answer ([`fetch`](super::fetch) does). Called by `places` when somebody asks, and by the
//! connections when something about them changes.

use std::time::{Duration, Instant};

use super::fetch::{Fetch, Fetcher};
use super::{ANSWERS_MAX, Places, over_limit};
use crate::reactor::{ConnectOptions, Io, Network, Target, Token};
use crate::server::{Event, Server};

/// Connections to the upstream at a time. HTTP/1.1 answers one request a connection at a time. One address may
/// have as many of them as are free, so alone it has half of them, and however slow its answers are, the
/// next address finds one (Choudhury and Hahne's dynamic threshold).
pub const CONNECTIONS_MAX: usize = 16;

/// How many questions are dealt with at once; the others follow in the next turn.
const ASSIGNED_AT_ONCE: usize = 64;

/// Why a question is not sent whose answer would have no room.
const TOO_MUCH_HELD: &str = "places: too many answers of this server wait to be taken";

/// A connection of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Carrier {
    pub token: Token,
    pub place: Place,
}

/// What a connection of the pool is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Idle,
    /// It carries this question, or is about to: the event that brings it may be under way. The address is
    /// that of the asker whose turn it was.
    Busy(u64, Option<Network>),
    /// It takes no more questions, but still counts until it is gone.
    Ending,
}

impl Places {
    /// Why a question that came now would fail at once: it would be dialled for, and the upstream has just
    /// refused that. One that has to wait for a connection may find it back.
    pub(super) fn refusal(&self, now: Instant) -> Option<&str> {
        let has_idle = self.pool.iter().any(|carrier| carrier.place == Place::Idle);
        let would_dial = !has_idle && self.pool.len() < CONNECTIONS_MAX;
        self.breaker.refusal(now).filter(|_| would_dial)
    }

    /// Sends questions whose turn has come, as far as connections and the rate allow. `has_room`: whether the
    /// server still has room for answers that its clients do not take.
    pub fn assign(&mut self, has_room: bool, io: &mut Io<Server>) {
        for _ in 0..ASSIGNED_AT_ONCE {
            if self.again.is_empty() && self.turns.is_empty() {
                return;
            }
            if !self.rate.allows(io.now()) {
                return self.wait_for_rate(io);
            }
            let Some((number, address)) = self.next_question() else { return };
            self.send(number, address, has_room, io);
        }
        io.post(Target::Application, Event::AssignQuestions);
    }

    /// The event that [`Places::assign`] asked for has come.
    pub fn assign_again(&mut self, has_room: bool, io: &mut Io<Server>) {
        if let Some(call) = self.rate_call.take() {
            io.cancel(call);
        }
        self.assign(has_room, io);
    }

    fn wait_for_rate(&mut self, io: &mut Io<Server>) {
        self.rate_refused = Some(io.now());
        if self.rate_call.is_none() {
            let wait = self.rate.next_at(io.now()).saturating_duration_since(io.now());
            // At least a little, so that a loop whose clock stands still does not turn for it.
            let wait = wait.max(Duration::from_micros(1));
            self.rate_call = Some(io.call_later(wait, Target::Application, Event::AssignQuestions));
        }
    }

    /// The question that goes out next, and the address whose turn it is; `None`: nobody may now.
    fn next_question(&mut self) -> Option<(u64, Option<Network>)> {
        // A question that met a dead kept-alive connection gets one that is surely fresh. The dead one still
        // counts until it is gone, and its end brings us here again.
        if self.pool.len() < CONNECTIONS_MAX
            && let Some(again) = self.again.pop_front()
        {
            return Some(again);
        }
        let taken = self.pool.iter().filter(|carrier| carrier.place != Place::Idle).count();
        let free = CONNECTIONS_MAX.saturating_sub(taken + self.again.len());
        if free == 0 || taken + self.answers.untold() >= ANSWERS_MAX {
            return None;
        }
        let pool = &self.pool;
        let carries = |address| {
            let is_for =
                |carrier: &&Carrier| matches!(carrier.place, Place::Busy(_, a) if a == address);
            pool.iter().filter(is_for).count()
        };
        // No more addresses than there are connections may have too many of them.
        let (who, asker) = self.turns.take_next(|address| carries(address) < free)?;
        let question = self.waiters.get(&asker)?.question;
        Some((question, who.address))
    }

    /// Sends one question, or ends it where it cannot be.
    fn send(&mut self, number: u64, address: Option<Network>, has_room: bool, io: &mut Io<Server>) {
        let now = io.now();
        let Some(asked) = self.asked.get_mut(&number) else { return };
        // Whoever asked last has had all its time: the event that tells so is due.
        let newest = asked.askers.last().and_then(|asker| self.waiters.get(asker));
        if newest.is_none_or(|waiter| waiter.since + self.config.question_timeout <= now) {
            return;
        }
        if !has_room {
            return self.settle(number, Err(over_limit(TOO_MUCH_HELD).to_vec()), io);
        }
        let idle = |carrier: &&Carrier| carrier.place == Place::Idle && !asked.retried;
        let idle = self.pool.iter().find(idle).map(|carrier| carrier.token);
        // Only what would be dialled for: a kept connection needs no attempt.
        let refused = self.breaker.refusal(now).filter(|_| idle.is_none()).map(str::to_owned);
        if let Some(why) = refused {
            return self.finish(number, Err(why), io);
        }
        self.rate.take(now);
        let fetch = Fetch::new(number, asked.request.clone());
        if asked.sent.replace(now).is_none() {
            // The others who wait for it have had their turn with this one.
            for asker in &asked.askers {
                if let Some(waiter) = self.waiters.get(asker) {
                    self.turns.remove(waiter.asker.who(), *asker);
                }
            }
        }
        self.carry(fetch, Place::Busy(number, address), idle, io);
    }

    /// Puts a question on an idle connection, or on a new one.
    fn carry(&mut self, fetch: Fetch, place: Place, idle: Option<Token>, io: &mut Io<Server>) {
        if let Some(token) = idle {
            self.set_place(token, place);
            return io.post(token, Event::Fetch(Box::new(fetch)));
        }
        let tls = Some(self.config.tls.clone());
        let options = ConnectOptions { tls, ..ConnectOptions::default() };
        let fetcher = Box::new(Fetcher::new(fetch));
        let token = io.connect_tcp(&self.config.url.host, self.config.url.port, options, fetcher);
        self.pool.push(Carrier { token, place });
    }

    fn set_place(&mut self, token: Token, place: Place) -> Option<Place> {
        let carrier = self.pool.iter_mut().find(|carrier| carrier.token == token)?;
        Some(std::mem::replace(&mut carrier.place, place))
    }

    /// The connection that carries a question.
    pub(super) fn carrier_of(&self, number: u64) -> Option<Token> {
        let carries =
            |carrier: &&Carrier| matches!(carrier.place, Place::Busy(n, _) if n == number);
        self.pool.iter().find(carries).map(|carrier| carrier.token)
    }

    /// A connection was made, TLS and all.
    pub(in crate::server) fn connected(&mut self) {
        self.breaker.succeeded();
    }

    /// A connection could not be made: that speaks for the questions that come just after it, too.
    pub(in crate::server) fn connect_failed(&mut self, why: &str, now: Instant) {
        self.breaker.failed(why.to_owned(), now);
    }

    /// The request for which a connection was to be made was not sent, so it was no call.
    pub(super) fn call_saved(&mut self) {
        self.rate.give_back();
    }

    /// A connection has its answer and can take the next question. Here and below, [`Places::assign`] is to be
    /// called then.
    pub(super) fn connection_idle(&mut self, token: Token) {
        self.set_place(token, Place::Idle);
    }

    /// A connection takes no more questions.
    pub(super) fn connection_ending(&mut self, token: Token) {
        self.release(token);
    }

    /// A connection is gone.
    pub(super) fn connection_gone(&mut self, token: Token) {
        self.release(token);
        self.pool.retain(|carrier| carrier.token != token);
    }

    /// A question that a connection was given and has not answered waits again: it may have been handed
    /// over in the very turn in which the connection ended, and would meet nobody there.
    fn release(&mut self, token: Token) {
        if let Some(Place::Busy(number, address)) = self.set_place(token, Place::Ending)
            && let Some(asked) = self.asked.get(&number)
        {
            if !asked.retried {
                self.rate.give_back();
            }
            self.again.push_back((number, address));
        }
    }

    /// A kept-alive connection died before a byte of the answer: the upstream had closed it meanwhile.
    /// The question waits again when that connection ends, for a fresh one, which is not retried.
    pub(super) fn retry(&mut self, number: u64, why: &str) {
        if let Some(asked) = self.asked.get_mut(&number) {
            asked.retried = true;
            log::info!("places: a kept connection was dead ({why}); asking again on a fresh one");
        }
    }
}
