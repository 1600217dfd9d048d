//! WHATSAT's questions: who asks what, over which connection, and what becomes of the answer.
//!
//! Questions for the same place and radius share one request, and its answer serves those who ask the same a few
//! seconds later ([`answers`]). The others wait in turn by address and connection ([`fair`]), and leave at the
//! upstream's [`rate`] over a pool of kept-alive HTTPS connections ([`pool`]). Everything has a bound:
//! connections, answers, askers, time. Each asker hears exactly once, whatever went wrong ([`outcome`]), and a
//! crowd of them in many turns ([`delivery`]). When too many wait, the newest of whoever has most gives way
//! ([`crowd`]). The connections themselves are in [`fetch`]; what is asked of whom is in [`upstream`]; an upstream
//! that cannot be reached is not dialled for each question anew ([`breaker`]).

pub mod answers;
pub mod breaker;
pub mod crowd;
pub mod delivery;
pub mod fair;
pub mod fetch;
mod outcome;
pub mod pool;
pub mod rate;
pub mod upstream;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::replies::Reply;
use super::{Event, Server};
use crate::reactor::{DelayedCall, Io, Network, Target, TlsClient, Token};
use crate::wire::decimal::Radius;
use crate::wire::http::request::Url;
use crate::wire::json::{error_json, error_json_with_status};
use crate::wire::location::write_query;
use answers::Answers;
use breaker::Breaker;
use crowd::Crowd;
use delivery::Delivery;
use fair::{Turns, Who};
use pool::Carrier;
use rate::Rate;
use upstream::{Question, Secret, Upstream};

pub use fetch::Fetch;

/// Answers that are under way or that somebody has not been told: with so many no further question is sent. Each
/// may have [`ANSWER_MAX_BYTES`](crate::wire::http::ANSWER_MAX_BYTES), and as much again for each bound.
pub const ANSWERS_MAX: usize = 256;

/// What a question costs its asker at least, bytes: `WHATSAT k 0 0`, with its LF.
const ASKED_BYTES: usize = 14;

/// How long an idle connection is kept for the next question.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// All the time that an asker waits, the wait for a turn and for a connection included, unless the command line
/// gives another.
pub const QUESTION_TIMEOUT: Duration = Duration::from_secs(10);

/// The part of it that the first byte of the answer may take, once the request is sent.
pub const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(5);

/// How many calls a second the upstream gets, unless the command line gives another number.
pub const CALLS_PER_SECOND: u32 = 50;

/// How long an answer serves those who ask the same, unless the command line gives another time.
pub const CACHE_LIFETIME: Duration = Duration::from_secs(5);

/// Why a question was turned away.
const TOO_MANY: &str = "places: this server has too many questions waiting";

/// Whom to ask, and how.
pub struct Config {
    /// What is asked and how the answer is read.
    pub upstream: Upstream,
    /// Where.
    pub url: Url,
    /// Whom to trust there.
    pub tls: TlsClient,
    /// What lets us in there.
    pub key: Option<Secret>,
    /// All the time that an asker waits.
    pub question_timeout: Duration,
    /// How many calls a second the upstream gets; 0: as many as there are.
    pub calls_per_second: u32,
    /// How long an answer serves those who ask the same; zero: only those who ask meanwhile.
    pub cache: Duration,
}

/// Somebody who asks.
#[derive(Debug)]
pub struct Asker {
    /// The connection that asked.
    pub client: Token,
    /// Where it comes from.
    pub address: Option<Network>,
    /// The place of the answer among its replies.
    pub place: u64,
    /// The first line of the reply: where the client is that was asked for.
    pub at_line: Vec<u8>,
    /// At most so many results.
    pub bound: usize,
}

impl Asker {
    fn who(&self) -> Who {
        Who { address: self.address, connection: self.client }
    }

    /// The asker hears this.
    fn hears(self, json: Arc<[u8]>, io: &mut Io<Server>) {
        let Self { client, place, at_line, .. } = self;
        io.post(client, Event::Reply { place, reply: Reply { at_line, json } });
    }
}

/// An asker who waits for the answer to a question, or to be told it.
struct Waiter {
    asker: Asker,
    /// The question's number.
    question: u64,
    since: Instant,
}

/// A question without an answer.
struct Asked {
    question: Question,
    request: Arc<[u8]>,
    /// The numbers of those who wait for it, oldest first. None may be left when it has been sent.
    askers: BTreeSet<u64>,
    since: Instant,
    /// When it was sent; `None`: it waits for its turn.
    sent: Option<Instant>,
    /// The end of its first asker's time.
    limit: DelayedCall,
    /// It was sent over a kept-alive connection that died before a byte of the answer, and has its one
    /// second try, on a fresh connection.
    retried: bool,
}

/// The questions, those who ask them, and the pool that carries them.
pub struct Places {
    config: Config,
    /// The next number of a question or an asker. None is ever used again, so a late event meets no stranger.
    next_number: u64,
    /// The questions by number, until their answers come.
    asked: BTreeMap<u64, Asked>,
    /// Their numbers by what is sent for them: that is what makes two questions the same.
    by_request: HashMap<Arc<[u8]>, u64>,
    /// All who have not been told, by number.
    waiters: BTreeMap<u64, Waiter>,
    /// The same, counted.
    crowd: Crowd,
    /// The numbers of those whose question has not been sent.
    turns: Turns,
    /// Questions that have had their turn and are to be sent once more, before all others.
    again: VecDeque<(u64, Option<Network>)>,
    pool: Vec<Carrier>,
    rate: Rate,
    /// The rate's next call is waited for.
    rate_call: Option<DelayedCall>,
    /// When the rate last kept a question back.
    rate_refused: Option<Instant>,
    breaker: Breaker,
    answers: Answers,
    delivery: Delivery,
    /// [`Event::Deliver`] is posted: whoever cannot be told in this turn is told then.
    delivers_again: bool,
    /// The log knows that too many wait.
    told_of_too_many: bool,
}

impl Places {
    /// Nothing asked and no connection made yet.
    pub fn new(config: Config) -> Self {
        Self {
            next_number: 1,
            asked: BTreeMap::new(),
            by_request: HashMap::new(),
            waiters: BTreeMap::new(),
            crowd: Crowd::default(),
            turns: Turns::default(),
            again: VecDeque::new(),
            pool: Vec::new(),
            rate: Rate::new(config.calls_per_second),
            rate_call: None,
            rate_refused: None,
            breaker: Breaker::default(),
            answers: Answers::new(config.cache),
            delivery: Delivery::default(),
            delivers_again: false,
            told_of_too_many: false,
            config,
        }
    }

    /// What `STATUS` says of the upstream: its name, its host, connections and questions.
    pub fn status(&self) -> (String, usize, usize) {
        let name = format!("{} at {}", self.config.upstream, self.config.url.host_field());
        (name, self.pool.len(), self.asked.len())
    }

    /// Asks what is near `location_text`, an ISO 6709 location. `None`: the answer comes as
    /// [`Event::Reply`] to the asker, in every case. Else it is known at once, as JSON, and no event comes: it
    /// was asked for a moment ago, or `askers_max` wait already and the asker has as many of them as anybody
    /// (`OVER_QUERY_LIMIT`), or the upstream cannot be reached. When `askers_max` wait and somebody has more,
    /// that one's newest question is answered `OVER_QUERY_LIMIT` instead.
    pub fn ask(
        &mut self,
        location_text: &[u8],
        radius: Radius,
        asker: Asker,
        askers_max: usize,
        io: &mut Io<Server>,
    ) -> Option<Arc<[u8]>> {
        let question = question(location_text, radius);
        let request: Arc<[u8]> = match self.request(&question) {
            Ok(request) => request.into(),
            Err(why) => return Some(error_json(&format!("places: {why}")).into()),
        };
        let kept = self.answers.find(&request, io.now());
        if let Some(json) = kept.and_then(|number| self.answers.ready(number, asker.bound)) {
            return Some(json);
        }
        let is_new = kept.is_none() && !self.by_request.contains_key(&request);
        if let Some(why) = self.refusal(io.now()).filter(|_| is_new) {
            self.log_failure(&question, 0.0, why, 1, io);
            return Some(error_json(&format!("places: {why}")).into());
        }
        if !self.has_room_for(asker.who(), askers_max, io) {
            return Some(over_limit(TOO_MANY));
        }
        // Looked up only now: whoever gave way may have been the only one who asked the same.
        let shared = kept.or_else(|| self.by_request.get(&request).copied());
        let number = shared.unwrap_or_else(|| self.new_question(question, request, io));
        self.join(number, asker, io.now());
        if kept.is_some() {
            self.deliver(io);
        } else {
            // Whoever asks has just been found to have room for the answer.
            self.assign(true, io);
        }
        None
    }

    fn request(&self, question: &Question) -> Result<Vec<u8>, String> {
        let mut request = Vec::new();
        let Config { upstream, url, key, .. } = &self.config;
        let server = upstream::Server { host_field: &url.host_field(), prefix: &url.prefix };
        let built = upstream.build(&mut request, server, question, key.as_ref());
        built.map(|()| request).map_err(|e| e.to_string())
    }

    fn new_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number - 1
    }

    fn new_question(&mut self, question: Question, request: Arc<[u8]>, io: &mut Io<Server>) -> u64 {
        let number = self.new_number();
        let limit = Event::QuestionOver(number);
        let limit = io.call_later(self.config.question_timeout, Target::Application, limit);
        self.by_request.insert(Arc::clone(&request), number);
        let (askers, since) = (BTreeSet::new(), io.now());
        let asked = Asked { question, request, askers, since, sent: None, limit, retried: false };
        self.asked.insert(number, asked);
        number
    }

    /// One more asker waits for a question, or to be told the answer to it.
    fn join(&mut self, question: u64, asker: Asker, since: Instant) {
        let (number, who) = (self.new_number(), asker.who());
        self.crowd.insert(who, number);
        self.waiters.insert(number, Waiter { asker, question, since });
        if let Some(asked) = self.asked.get_mut(&question) {
            asked.askers.insert(number);
            if asked.sent.is_none() {
                self.turns.insert(who, number);
            }
        } else {
            self.answers.join(question);
            self.delivery.insert(who, number);
        }
    }

    /// An asker waits no longer. A question that nobody waits for is not sent.
    fn withdraw(&mut self, number: u64, io: &mut Io<Server>) -> Option<Asker> {
        let Waiter { asker, question, .. } = self.waiters.remove(&number)?;
        let who = asker.who();
        self.crowd.remove(who, number);
        let Some(asked) = self.asked.get_mut(&question) else {
            self.delivery.remove(who, number);
            self.answers.leave(question);
            return Some(asker);
        };
        asked.askers.remove(&number);
        if asked.sent.is_none() {
            self.turns.remove(who, number);
            if asked.askers.is_empty() {
                self.take_question(question, io);
            }
        }
        Some(asker)
    }

    /// A question is asked no more.
    fn take_question(&mut self, number: u64, io: &mut Io<Server>) -> Option<Asked> {
        let asked = self.asked.remove(&number)?;
        io.cancel(asked.limit);
        self.by_request.remove(&asked.request);
        Some(asked)
    }

    /// Whether one more asker may wait. Where too many do, the newest question of whoever has most is turned
    /// away; not that of the newcomer, unless it is the one with the most.
    fn has_room_for(&mut self, newcomer: Who, askers_max: usize, io: &mut Io<Server>) -> bool {
        if self.crowd.size() < askers_max {
            self.told_of_too_many &= self.crowd.size() >= askers_max / 2;
            return true;
        }
        if !std::mem::replace(&mut self.told_of_too_many, true) {
            log::warn!(
                "{TOO_MANY}; further warnings are suppressed until half of them are answered"
            );
        }
        let way = self.crowd.gives_way_to(newcomer).filter(|_| askers_max > 0);
        let Some((_, number)) = way else { return false };
        if let Some(asker) = self.withdraw(number, io) {
            asker.hears(over_limit(TOO_MANY), io);
        }
        true
    }

    /// A connection is lost: nothing is asked on its behalf any more. What has been sent goes on.
    pub fn asker_gone(&mut self, who: Who, io: &mut Io<Server>) {
        for number in self.crowd.entries_of(who) {
            self.withdraw(number, io);
        }
    }

    /// Whether a question has no answer yet.
    pub(super) fn is_asked(&self, number: u64) -> bool {
        self.asked.contains_key(&number)
    }
}

/// The answer to one question too many, in the shape that Places itself uses.
fn over_limit(words: &str) -> Arc<[u8]> {
    error_json_with_status("OVER_QUERY_LIMIT", words).into()
}

/// What is asked, as texts that stand in the request as they are.
fn question(location_text: &[u8], radius: Radius) -> Question {
    let (mut place, mut metres) = (Vec::new(), Vec::new());
    write_query(&mut place, location_text);
    radius.write_metres(&mut metres);
    let place = String::from_utf8_lossy(&place).into_owned();
    let (latitude, longitude) = place.split_once(',').unwrap_or((&place, ""));
    Question {
        latitude: latitude.to_owned(),
        longitude: longitude.to_owned(),
        radius_metres: String::from_utf8_lossy(&metres).into_owned(),
    }
}

#[cfg(test)]
mod tests;
