//! WHATSAT's questions: who asks what, over which connection, and what becomes of the answer.
//!
//! A pool of kept-alive HTTPS connections to one upstream. Questions for the same place and radius that
//! are in flight share one request. Everything has a bound: connections, questions, askers, time. Each
//! asker hears exactly once, whatever went wrong, and a crowd of them in many turns ([`delivery`]). The
//! connections themselves are in [`fetch`]; what is asked of whom is in [`upstream`]; an upstream that
//! cannot be reached is not dialled for each question anew ([`breaker`]).

pub mod breaker;
pub mod delivery;
pub mod fetch;
pub mod upstream;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::replies::Reply;
use super::{Event, Server};
use crate::reactor::{About, ConnectOptions, DelayedCall, Io, Target, TlsClient, Token};
use crate::wire::decimal::Radius;
use crate::wire::http::request::Url;
use crate::wire::http::response::Response;
use crate::wire::json::{cut_list, error_json, error_json_with_status};
use crate::wire::location::write_query;
use breaker::Breaker;
use delivery::Delivery;
use upstream::{Question, RESULTS_MAX, Secret, Upstream};

pub use fetch::Fetch;

/// What a question costs its asker at least, bytes: `WHATSAT k 0 0`, with its LF.
const ASKED_BYTES: usize = 14;

/// Connections to the upstream at a time. HTTP/1.1 answers one request a connection at a time.
pub const CONNECTIONS_MAX: usize = 8;

/// Questions that are in flight, wait for a connection or have an answer that is on its way to those who
/// asked. Beyond it the answer is `OVER_QUERY_LIMIT`.
pub const QUESTIONS_MAX: usize = 256;

/// How long an idle connection is kept for the next question.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// All the time that a question has, the wait for a connection included, unless told otherwise.
pub const QUESTION_TIMEOUT: Duration = Duration::from_secs(10);

/// The part of it that the first byte of the answer may take, once the request is sent.
pub const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(5);

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
    /// All the time that a question has.
    pub question_timeout: Duration,
}

/// Somebody who waits for an answer.
#[derive(Debug)]
pub struct Asker {
    /// The connection that asked.
    pub client: Token,
    /// The place of the answer among its replies.
    pub place: u64,
    /// The first line of the reply: where the client is that was asked for.
    pub at_line: Vec<u8>,
    /// At most so many results.
    pub bound: usize,
}

/// A question on its way.
struct Asked {
    question: Question,
    askers: VecDeque<Asker>,
    since: Instant,
    /// Its time limit.
    limit: DelayedCall,
    /// It was sent over a kept-alive connection that died before a byte of the answer, and has its one
    /// second try, on a fresh connection.
    retried: bool,
}

/// A connection of the pool.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Idle,
    /// It carries this question, or is about to: the event that brings it may be under way.
    Busy(u64),
    /// It takes no more questions, but still counts until it is gone.
    Ending,
}

/// The questions, and the pool that carries them.
pub struct Places {
    config: Config,
    /// Each by its number; a number is never used again, so a late event meets no stranger.
    asked: BTreeMap<u64, Asked>,
    next_number: u64,
    by_question: HashMap<Question, u64>,
    /// Questions that wait for a connection, longest first.
    waiting: VecDeque<u64>,
    pool: Vec<(Token, Place)>,
    breaker: Breaker,
    delivery: Delivery,
    /// [`Event::Deliver`] is posted: whoever cannot be told in this turn is told then.
    delivers_again: bool,
    /// All who have not been told.
    askers: usize,
}

impl Places {
    /// Nothing asked and no connection made yet.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            asked: BTreeMap::new(),
            next_number: 1,
            by_question: HashMap::new(),
            waiting: VecDeque::new(),
            pool: Vec::new(),
            breaker: Breaker::default(),
            delivery: Delivery::default(),
            delivers_again: false,
            askers: 0,
        }
    }

    /// What `STATUS` says of the upstream: its name, its host, connections and questions.
    pub fn status(&self) -> (String, usize, usize) {
        let name = format!("{} at {}", self.config.upstream, self.config.url.host_field());
        (name, self.pool.len(), self.asked.len())
    }

    /// Asks what is near `location_text`, an ISO 6709 location. `None`: the answer comes as
    /// [`Event::Reply`] to the asker, in every case. Else it is known at once, as JSON, and no event comes:
    /// `OVER_QUERY_LIMIT` where `askers_max` wait already, over all questions, or why the upstream cannot be
    /// reached.
    pub fn ask(
        &mut self,
        location_text: &[u8],
        radius: Radius,
        asker: Asker,
        askers_max: usize,
        io: &mut Io<Server>,
    ) -> Option<Vec<u8>> {
        if self.askers >= askers_max {
            return Some(too_many(io));
        }
        let question = question(location_text, radius);
        if let Some(asked) = self.by_question.get(&question).and_then(|n| self.asked.get_mut(n)) {
            self.askers += 1;
            asked.askers.push_back(asker);
            return None;
        }
        if self.asked.len() + self.delivery.answers() >= QUESTIONS_MAX {
            return Some(too_many(io));
        }
        if let Some(why) = self.refusal(io.now()) {
            self.log_failure(&question, 0.0, why, 1, io);
            return Some(error_json(&format!("places: {why}")));
        }
        self.askers += 1;
        let number = self.next_number;
        self.next_number += 1;
        let limit = Event::QuestionOver(number);
        let limit = io.call_later(self.config.question_timeout, Target::Application, limit);
        let since = io.now();
        self.by_question.insert(question.clone(), number);
        let askers = VecDeque::from([asker]);
        self.asked.insert(number, Asked { question, askers, since, limit, retried: false });
        self.waiting.push_back(number);
        self.assign(io);
        None
    }

    /// Why a question that came now would fail at once: it would be dialled for, and the upstream has just
    /// refused that. One that has to wait for a connection may find it back.
    fn refusal(&self, now: Instant) -> Option<&str> {
        let has_idle = self.pool.iter().any(|(_, place)| *place == Place::Idle);
        let would_dial = !has_idle && self.pool.len() < CONNECTIONS_MAX;
        self.breaker.refusal(now).filter(|_| would_dial)
    }

    /// Gives waiting questions to connections: idle ones first, then new ones, as far as there may be.
    fn assign(&mut self, io: &mut Io<Server>) {
        while let Some(&number) = self.waiting.front() {
            let Some(asked) = self.asked.get(&number) else {
                // It had all its time while it waited.
                self.waiting.pop_front();
                continue;
            };
            // A question that met a dead kept-alive connection gets one that is surely fresh. The dead
            // one still counts until it is gone, and its end brings us here again.
            let idle = |(_, place): &&(Token, Place)| *place == Place::Idle && !asked.retried;
            let idle = self.pool.iter().find(idle).map(|(token, _)| *token);
            if idle.is_none() && self.pool.len() >= CONNECTIONS_MAX {
                return;
            }
            self.waiting.pop_front();
            // Only what would be dialled for: a kept connection needs no attempt.
            let refused = self.breaker.refusal(io.now()).filter(|_| idle.is_none());
            let request = refused.map_or_else(|| self.request(asked), |why| Err(why.to_owned()));
            match request {
                Ok(request) => self.carry(Fetch::new(number, request), number, idle, io),
                Err(e) => self.finish(number, Err(e), io),
            }
        }
    }

    fn request(&self, asked: &Asked) -> Result<Vec<u8>, String> {
        let mut request = Vec::new();
        let Config { upstream, url, key, .. } = &self.config;
        let server = upstream::Server { host_field: &url.host_field(), prefix: &url.prefix };
        upstream
            .build(&mut request, server, &asked.question, key.as_ref())
            .map_err(|e| e.to_string())?;
        Ok(request)
    }

    /// Puts a question on an idle connection, or on a new one.
    fn carry(&mut self, fetch: Fetch, number: u64, idle: Option<Token>, io: &mut Io<Server>) {
        if let Some(token) = idle {
            self.set_place(token, Place::Busy(number));
            return io.post(token, Event::Fetch(Box::new(fetch)));
        }
        let tls = Some(self.config.tls.clone());
        let options = ConnectOptions { tls, ..ConnectOptions::default() };
        let fetcher = Box::new(fetch::Fetcher::new(fetch));
        let token = io.connect_tcp(&self.config.url.host, self.config.url.port, options, fetcher);
        self.pool.push((token, Place::Busy(number)));
    }

    /// A connection was made, TLS and all.
    pub(super) fn connected(&mut self) {
        self.breaker.succeeded();
    }

    /// A connection could not be made: that speaks for the questions that come just after it, too.
    pub(super) fn connect_failed(&mut self, why: &str, now: Instant) {
        self.breaker.failed(why.to_owned(), now);
    }

    fn set_place(&mut self, token: Token, place: Place) -> Option<Place> {
        let (_, present) = self.pool.iter_mut().find(|(t, _)| *t == token)?;
        Some(std::mem::replace(present, place))
    }

    /// A connection has its answer and can take the next question.
    pub(super) fn connection_idle(&mut self, token: Token, io: &mut Io<Server>) {
        self.set_place(token, Place::Idle);
        self.assign(io);
    }

    /// A connection takes no more questions.
    pub(super) fn connection_ending(&mut self, token: Token, io: &mut Io<Server>) {
        self.release(token);
        self.assign(io);
    }

    /// A connection is gone.
    pub(super) fn connection_gone(&mut self, token: Token, io: &mut Io<Server>) {
        self.release(token);
        self.pool.retain(|(t, _)| *t != token);
        self.assign(io);
    }

    /// A question that a connection was given and has not answered waits again: it may have been handed
    /// over in the very turn in which the connection ended, and would meet nobody there.
    fn release(&mut self, token: Token) {
        if let Some(Place::Busy(number)) = self.set_place(token, Place::Ending)
            && self.is_asked(number)
        {
            self.waiting.push_front(number);
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

    /// Whether somebody still waits for this answer.
    pub(super) fn is_asked(&self, number: u64) -> bool {
        self.asked.contains_key(&number)
    }

    /// A question has had all its time.
    pub fn question_over(&mut self, number: u64, io: &mut Io<Server>) {
        let seconds = self.config.question_timeout.as_secs_f64();
        self.finish(number, Err(format!("no complete answer within {seconds} s")), io);
        // The connection would bring an answer that nobody waits for.
        let stuck = |(_, place): &&(Token, Place)| *place == Place::Busy(number);
        if let Some((token, _)) = self.pool.iter().find(stuck) {
            io.abort_connection(*token);
        }
    }

    /// The end of every question: it is shared no more, for whoever asks from now on wants to know what
    /// is so now, and each asker gets its one reply.
    pub(super) fn finish(
        &mut self,
        number: u64,
        outcome: Result<Response, String>,
        io: &mut Io<Server>,
    ) {
        let Some(asked) = self.asked.remove(&number) else { return };
        io.cancel(asked.limit);
        self.by_question.remove(&asked.question);
        self.log_outcome(&asked, &outcome, io);
        let upstream = self.config.upstream;
        let answered = outcome.is_ok();
        let judged = outcome
            .map_err(|why| format!("places: {why}"))
            .and_then(|response| body_of_use(upstream, response));
        if let (true, Err(why)) = (answered, &judged) {
            let words = format_args!("{why}: {}", asked.question);
            io.warn("no use", About::Fault(why.clone()), asked.askers.len() * ASKED_BYTES, words);
        }
        self.delivery.push(judged, upstream.list_name(), asked.askers);
        self.deliver(io);
    }

    /// Another turn has come, for those who could not be told in the one before.
    pub fn deliver_again(&mut self, io: &mut Io<Server>) {
        self.delivers_again = false;
        self.delivery.turn_begins();
        self.deliver(io);
    }

    /// Tells as many askers as this turn may. The only place where an answer becomes a reply.
    fn deliver(&mut self, io: &mut Io<Server>) {
        while let Some((asker, json)) = self.delivery.take_next() {
            let Asker { client, place, at_line, .. } = asker;
            self.askers -= 1;
            io.post(client, Event::Reply { place, reply: Reply { at_line, json } });
            if !std::mem::replace(&mut self.delivers_again, true) {
                io.post(Target::Application, Event::Deliver);
            }
        }
    }

    fn log_outcome(&self, asked: &Asked, outcome: &Result<Response, String>, io: &mut Io<Server>) {
        let now = io.now();
        let took = now.saturating_duration_since(asked.since).as_secs_f64() * 1000.0;
        let (upstream, question) = (self.config.upstream, &asked.question);
        let askers = asked.askers.len();
        match outcome {
            Ok(response) => {
                let (status, bytes) = (response.status, response.body.len());
                log::info!(
                    "places: {upstream} answered {status} in {took:.1} ms with {bytes} bytes: \
                     {question}, for {askers}"
                );
            }
            Err(why) => self.log_failure(question, took, why, askers, io),
        }
    }

    fn log_failure(
        &self,
        question: &Question,
        took: f64,
        why: &str,
        askers: usize,
        io: &mut Io<Server>,
    ) {
        let upstream = self.config.upstream;
        let words = format_args!(
            "places: {upstream} failed after {took:.1} ms: {why}: {question}, for {askers}"
        );
        io.warn("failed", About::Fault(why.to_owned()), askers * ASKED_BYTES, words);
    }
}

/// The body of an answer that can be passed on, or what is wrong with it.
fn body_of_use(upstream: Upstream, response: Response) -> Result<Vec<u8>, String> {
    upstream.judge(&response)?;
    let list = cut_list(&response.body, upstream.list_name(), RESULTS_MAX);
    list.map_err(|e| format!("places: {e}"))?;
    Ok(response.body)
}

/// The answer to one question too many, in the shape that Places itself uses.
fn too_many(io: &mut Io<Server>) -> Vec<u8> {
    let words = "places: this server has too many questions waiting";
    io.warn("too many questions", About::Everybody, ASKED_BYTES, format_args!("{words}"));
    error_json_with_status("OVER_QUERY_LIMIT", words)
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
