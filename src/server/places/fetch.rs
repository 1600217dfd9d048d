//! One connection to the upstream: a request out, an answer in, again and again.
//!
//! It frames nothing itself (`wire/http` does) and answers nobody (`places` does): it carries one
//! question at a time and says what became of it. Called by the reactor.

use std::sync::Arc;

use super::{FIRST_BYTE_TIMEOUT, IDLE_TIMEOUT};
use crate::reactor::{Ctx, DelayedCall, Protocol, Reason, Token};
use crate::server::{Event, Server};
use crate::wire::http::ANSWER_MAX_BYTES;
use crate::wire::http::response::{Response, ResponseReader};

/// A question for a connection to carry.
pub struct Fetch {
    number: u64,
    request: Arc<[u8]>,
}

/// Without the request: it holds the key.
impl std::fmt::Debug for Fetch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Fetch({})", self.number)
    }
}

impl Fetch {
    /// The question of that number, as the bytes to send.
    pub fn new(number: u64, request: Arc<[u8]>) -> Self {
        Self { number, request }
    }
}

/// The connection's protocol.
pub struct Fetcher {
    state: State,
    /// The first byte's or the idle time's limit.
    limit: Option<DelayedCall>,
    /// It has brought an answer before, so the upstream may have closed it since.
    used: bool,
}

/// What servers say when a request took too long (RFC 9110 §15.5.9): also to an idle connection, and then it
/// may cross the next request.
const REQUEST_TIMEOUT: u16 = 408;

enum State {
    /// Connecting, with the question that it is made for.
    Connecting(Fetch),
    /// Waiting for the next question.
    Idle,
    /// The request is sent.
    Waiting { number: u64, reader: ResponseReader },
    /// It has no more to do.
    Ended,
}

impl Fetcher {
    /// A connection that is made for this question.
    pub fn new(fetch: Fetch) -> Self {
        Self { state: State::Connecting(fetch), limit: None, used: false }
    }

    fn send(&mut self, me: Token, fetch: &Fetch, cx: &mut Ctx<'_, Server>) {
        cx.io.write(me, &fetch.request);
        self.set_limit(me, Some((FIRST_BYTE_TIMEOUT, Event::FirstByteOver(fetch.number))), cx);
        let reader = ResponseReader::new(ANSWER_MAX_BYTES);
        self.state = State::Waiting { number: fetch.number, reader };
    }

    fn set_limit(
        &mut self,
        me: Token,
        limit: Option<(std::time::Duration, Event)>,
        cx: &mut Ctx<'_, Server>,
    ) {
        if let Some(call) = self.limit.take() {
            cx.io.cancel(call);
        }
        self.limit = limit.map(|(delay, event)| cx.io.call_later(delay, me, event));
    }

    /// The answer is whole: the connection is free for the next question, or has to go.
    fn answered(&mut self, me: Token, number: u64, answer: Response, cx: &mut Ctx<'_, Server>) {
        let keep = answer.keep_alive;
        cx.app.places.finish(number, Ok(answer), cx.io);
        self.used = true;
        if keep {
            self.state = State::Idle;
            self.set_limit(me, Some((IDLE_TIMEOUT, Event::IdleOver)), cx);
            cx.app.places.connection_idle(me);
            cx.app.assign_questions(cx.io);
        } else {
            self.end(me, cx);
        }
    }

    /// Nothing is asked over this connection any more.
    fn end(&mut self, me: Token, cx: &mut Ctx<'_, Server>) {
        self.state = State::Ended;
        self.set_limit(me, None, cx);
        cx.io.lose_connection(me);
        cx.app.places.connection_ending(me);
        cx.app.assign_questions(cx.io);
    }

    /// Why the request in flight is to be sent once more: its connection was a kept one, and the upstream gave
    /// it up before it saw the request. `why` is how that showed; `None`: the answer stands as it is.
    fn stale(&self, why: &str) -> Option<String> {
        let State::Waiting { reader, .. } = &self.state else { return None };
        match reader.status() {
            _ if !self.used => None,
            Some(REQUEST_TIMEOUT) => Some(format!("it said {REQUEST_TIMEOUT}")),
            _ if reader.has_begun() => None,
            _ => Some(why.to_owned()),
        }
    }

    fn fail(&mut self, me: Token, number: u64, why: String, cx: &mut Ctx<'_, Server>) {
        self.state = State::Ended;
        cx.app.places.finish(number, Err(why), cx.io);
        cx.io.abort_connection(me);
    }
}

impl Protocol<Server> for Fetcher {
    fn connection_made(&mut self, me: Token, cx: &mut Ctx<'_, Server>) {
        cx.app.places.connected();
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Connecting(fetch) if cx.app.places.is_asked(fetch.number) => {
                self.send(me, &fetch, cx);
            }
            // Nobody waits for it any more.
            _ => {
                cx.app.places.call_saved();
                cx.io.abort_connection(me);
            }
        }
    }

    fn data_received(&mut self, me: Token, data: &[u8], cx: &mut Ctx<'_, Server>) {
        let State::Waiting { number, reader } = &mut self.state else {
            // Nobody has asked: whatever this is, it must not be taken for the next answer.
            return self.end(me, cx);
        };
        let number = *number;
        if let Some(call) = self.limit.take() {
            cx.io.cancel(call);
        }
        let received = reader.receive(data);
        if let Some(why) = self.stale("") {
            cx.app.places.retry(number, &why);
            return self.end(me, cx);
        }
        match received {
            Ok(None) => {}
            Ok(Some(answer)) => self.answered(me, number, answer, cx),
            Err(e) => self.fail(me, number, e.to_string(), cx),
        }
    }

    /// The upstream has finished sending: for some answers that is how they end.
    fn read_closed(&mut self, me: Token, cx: &mut Ctx<'_, Server>) {
        let State::Waiting { number, reader } = &mut self.state else {
            return self.end(me, cx);
        };
        let (number, finished) = (*number, reader.finish());
        match finished {
            Ok(answer) => self.answered(me, number, answer, cx),
            Err(e) => match self.stale(&e.to_string()) {
                Some(why) => {
                    cx.app.places.retry(number, &why);
                    self.end(me, cx);
                }
                None => self.fail(me, number, e.to_string(), cx),
            },
        }
    }

    fn event_received(&mut self, me: Token, event: Event, cx: &mut Ctx<'_, Server>) {
        match (event, &self.state) {
            (Event::Fetch(fetch), State::Idle) => self.send(me, &fetch, cx),
            (Event::FirstByteOver(late), &State::Waiting { number, .. }) if late == number => {
                let seconds = FIRST_BYTE_TIMEOUT.as_secs();
                self.fail(me, number, format!("no answer within {seconds} s"), cx);
            }
            (Event::IdleOver, State::Idle) => self.end(me, cx),
            // A question that comes when this one is ending waits again already.
            _ => {}
        }
    }

    fn connection_lost(&mut self, me: Token, why: &Reason, cx: &mut Ctx<'_, Server>) {
        self.set_limit(me, None, cx);
        let stale = self.stale(&words(why));
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Connecting(fetch) => {
                let why_words = words(why);
                cx.app.places.call_saved();
                // One that was given up here, at the end of its question's time, tells nothing of the
                // upstream.
                if !matches!(why, Reason::Aborted) {
                    cx.app.places.connect_failed(&why_words, cx.io.now());
                }
                cx.app.places.finish(fetch.number, Err(why_words), cx.io);
            }
            State::Waiting { number, mut reader } => match (stale, reader.finish()) {
                (Some(why), _) => cx.app.places.retry(number, &why),
                // Many servers end without TLS's close_notify. That nothing was cut off shows in the answer.
                (None, Ok(answer)) if cx.app.places.is_whole(&answer) => {
                    cx.app.places.finish(number, Ok(answer), cx.io);
                }
                (None, _) => cx.app.places.finish(number, Err(words(why)), cx.io),
            },
            State::Idle | State::Ended => {}
        }
        cx.app.places.connection_gone(me);
        cx.app.assign_questions(cx.io);
    }
}

/// The fault in words for a client: what went wrong, not where our network has what, nor the system's
/// number for it.
fn words(why: &Reason) -> String {
    match why {
        Reason::ConnectFailed { why, .. } => why.clone(),
        Reason::Broken(why) => why.split(" (os error").next().unwrap_or(why).to_lowercase(),
        other => other.to_string(),
    }
}
