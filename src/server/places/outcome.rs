//! What becomes of a question: the upstream's answer, a fault, or the end of its time. Each asker hears once.
//!
//! It judges answers and hands them to the [`delivery`](super::delivery); the only place where an answer becomes a
//! reply. Called by the connections to the upstream, and by delayed calls.

use std::time::Instant;

use super::answers::Judged;
use super::upstream::{Question, RESULTS_MAX, Upstream};
use super::{ASKED_BYTES, Asked, Places, Waiter, over_limit};
use crate::reactor::{About, Io, Target};
use crate::server::{Event, Server};
use crate::wire::http::response::Response;
use crate::wire::json::{cut_list, error_json};

/// What an asker hears whose answer is not there, which never happens.
const LOST: &str = "places: the answer was lost";

impl Places {
    /// Whether an answer whose end came without notice is whole all the same: sound JSON from its first byte
    /// to its last bracket. Of a refusal only the status counts.
    pub(super) fn is_whole(&self, answer: &Response) -> bool {
        let list = self.config.upstream.list_name();
        answer.status != 200 || cut_list(&answer.body, list, RESULTS_MAX).is_ok()
    }

    /// A question has its answer, or will never have one. Whoever asks the same from now on is answered by it
    /// for a few seconds, or asks anew.
    pub(super) fn finish(
        &mut self,
        number: u64,
        outcome: Result<Response, String>,
        io: &mut Io<Server>,
    ) {
        let Some(asked) = self.asked.get(&number) else { return };
        self.log_outcome(asked, &outcome, io);
        let upstream = self.config.upstream;
        let judged = match outcome {
            Err(why) => Err(format!("places: {why}")),
            Ok(response) => body_of_use(upstream, response).inspect_err(|why| {
                let words = format_args!("{why}: {}", asked.question);
                io.warn(
                    "no use",
                    About::Fault(why.clone()),
                    asked.askers.len() * ASKED_BYTES,
                    words,
                );
            }),
        };
        self.settle(number, judged.map_err(|why| error_json(&why)), io);
    }

    /// The end of every question: all who wait for it are to be told.
    pub(super) fn settle(&mut self, number: u64, judged: Judged, io: &mut Io<Server>) {
        let Some(asked) = self.take_question(number, io) else { return };
        let upstream = self.config.upstream;
        let settled =
            self.answers.keeps() && judged.as_ref().is_ok_and(|body| upstream.is_settled(body));
        self.answers.insert(number, judged, upstream.list_name(), asked.askers.len());
        for asker in asked.askers {
            let Some(waiter) = self.waiters.get(&asker) else { continue };
            let who = waiter.asker.who();
            if asked.sent.is_none() {
                self.turns.remove(who, asker);
            }
            self.delivery.insert(who, asker);
        }
        self.answers.keep(number, settled.then_some(asked.request), io.now());
        self.deliver(io);
    }

    /// The time of the first asker of a question is over, or that of its request. Those whose time is over are
    /// told; the others, who asked later, go on waiting.
    pub fn question_over(&mut self, number: u64, io: &mut Io<Server>) {
        let (now, timeout) = (io.now(), self.config.question_timeout);
        let Some(asked) = self.asked.get(&number) else { return };
        let end_of = |asker| self.waiters.get(asker).map_or(now, |waiter| waiter.since + timeout);
        // Numbers grow with time, so those whose time is over are the first.
        let over = asked.askers.iter().take_while(|asker| end_of(asker) <= now);
        let over: Vec<u64> = over.copied().collect();
        let next_end = asked.askers.iter().nth(over.len()).map(end_of);
        let request_end = asked.sent.map(|sent| sent + timeout);
        let (why, fault) = self.time_over(asked);
        let next_end = next_end.filter(|_| request_end.is_none_or(|end| end > now));
        let Some(next_end) = next_end else {
            self.log_failure(&asked.question, took(asked, now), &why, asked.askers.len(), io);
            let carrier = self.carrier_of(number);
            self.settle(number, Err(fault), io);
            // The connection would bring an answer that nobody waits for.
            if let Some(token) = carrier {
                io.abort_connection(token);
            }
            return;
        };
        self.log_failure(&asked.question, took(asked, now), &why, over.len(), io);
        let wait =
            request_end.map_or(next_end, |end| end.min(next_end)).saturating_duration_since(now);
        let limit = io.call_later(wait, Target::Application, Event::QuestionOver(number));
        if let Some(asked) = self.asked.get_mut(&number) {
            asked.limit = limit;
        }
        let told = self.new_number();
        self.answers.insert(told, Err(fault), "", 0);
        for asker in over {
            if let Some(asker) = self.withdraw(asker, io) {
                self.join(told, asker, now);
            }
        }
        self.answers.keep(told, None, now);
        self.deliver(io);
    }

    /// Why a question has no answer though its time is over, in words and as JSON.
    fn time_over(&self, asked: &Asked) -> (String, Vec<u8>) {
        let kept_back = self.rate_refused.is_some_and(|when| when >= asked.since);
        if asked.sent.is_none() && kept_back {
            let calls = self.config.calls_per_second;
            let why = format!("this server asks no more than {calls} questions a second");
            let json = over_limit(&format!("places: {why}")).to_vec();
            return (why, json);
        }
        let seconds = self.config.question_timeout.as_secs_f64();
        let why = format!("no complete answer within {seconds} s");
        let json = error_json(&format!("places: {why}"));
        (why, json)
    }

    /// Another turn has come, for those who could not be told in the one before. [`Places::assign`] is to be
    /// called then: there may be room for further answers.
    pub fn deliver_again(&mut self, io: &mut Io<Server>) {
        self.delivers_again = false;
        self.delivery.turn_begins();
        self.deliver(io);
    }

    /// Tells as many askers as this turn may.
    pub(super) fn deliver(&mut self, io: &mut Io<Server>) {
        while let Some(number) = self.delivery.take_next() {
            let Some(Waiter { asker, question, .. }) = self.waiters.remove(&number) else {
                continue;
            };
            self.crowd.remove(asker.who(), number);
            let cut = self.answers.cut(question, asker.bound);
            self.answers.leave(question);
            debug_assert!(cut.is_some(), "an answer stays until all who wait for it are told");
            let (json, looked_at) = cut.unwrap_or_else(|| (error_json(LOST).into(), 0));
            self.delivery.spend(looked_at + asker.at_line.len() + json.len());
            asker.hears(json, io);
            if !std::mem::replace(&mut self.delivers_again, true) {
                io.post(Target::Application, Event::Deliver);
            }
        }
    }

    fn log_outcome(&self, asked: &Asked, outcome: &Result<Response, String>, io: &mut Io<Server>) {
        let took = took(asked, io.now());
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

    pub(super) fn log_failure(
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

/// How long ago a question was first asked, ms.
fn took(asked: &Asked, now: Instant) -> f64 {
    now.saturating_duration_since(asked.since).as_secs_f64() * 1000.0
}

/// The body of an answer that can be passed on, or what is wrong with it.
fn body_of_use(upstream: Upstream, response: Response) -> Result<Vec<u8>, String> {
    upstream.judge(&response)?;
    let list = cut_list(&response.body, upstream.list_name(), RESULTS_MAX);
    list.map_err(|e| format!("places: {e}"))?;
    Ok(response.body)
}
