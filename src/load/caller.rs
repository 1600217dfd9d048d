//! One connection that asks: it keeps requests in flight, and checks each reply against its request.
//!
//! The protocol of the load, on the client's side of the reactor. What the pure parts know (`request.rs`,
//! `reply.rs`, `schedule.rs`) meets a connection here; when a run begins and ends, and what its figures
//! are, is the application's (`app.rs`). Nothing is allocated for a reply.

use std::collections::VecDeque;

use super::app::{Event, Load, Phase};
use super::reply::{self, Expected, shown};
use super::request::{Kind, TIME_BYTES};
use crate::reactor::{Ctx, Protocol, Reason, Token};

/// Requests composed at once on one connection. What more is due follows when the kernel has taken these.
const FILL_MAX: usize = 1024;

/// A request on its way.
struct Sent {
    client: usize,
    time: [u8; TIME_BYTES],
    /// From when its latency counts, in nanoseconds since the program's start.
    due: u64,
}

/// One connection of the load.
pub struct Caller {
    /// Which of all connections this is, from 0. Its clients are those whose number is this one modulo
    /// the number of connections, so that no two connections speak of one client.
    lane: usize,
    /// Which of its clients is next.
    next: usize,
    /// Requests sent, of an open loop.
    composed: u64,
    waiting: VecDeque<Sent>,
    /// The beginning of a reply whose end has not come.
    partial: Vec<u8>,
    /// What the server calls itself on this connection; empty until it has.
    server: Vec<u8>,
    /// Before questions are asked: the AT line of each client, by its order among this lane's.
    known: Vec<Vec<u8>>,
    /// An echo as it has to come.
    scratch: Vec<u8>,
}

impl Caller {
    /// The connection of that number.
    pub fn new(lane: usize) -> Self {
        Self {
            lane,
            next: lane,
            composed: 0,
            waiting: VecDeque::new(),
            partial: Vec::new(),
            server: Vec::new(),
            known: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Sends what may be sent now: in a closed loop up to the depth, in an open one what is due.
    fn fill(&mut self, me: Token, now: u64, cx: &mut Ctx<'_, Load>) {
        let mut due = self.next_due(now, cx.app);
        if due.is_none() || (cx.app.schedule().is_some() && !cx.io.may_produce(me)) {
            return;
        }
        let app = &mut *cx.app;
        cx.io.write_with(me, |out| {
            for _ in 0..FILL_MAX {
                let Some(at) = due else { return };
                self.compose(at, app, out);
                due = self.next_due(now, app);
            }
        });
    }

    /// From when the latency of the next request counts, if it may be sent now.
    fn next_due(&self, now: u64, app: &Load) -> Option<u64> {
        match app.phase() {
            Phase::Telling => {
                let own = (app.clients() - self.lane).div_ceil(app.connections());
                let untold = self.known.len() + self.waiting.len() < own;
                (untold && self.waiting.len() < app.depth()).then_some(now)
            }
            Phase::Warming | Phase::Measuring | Phase::Draining => match app.schedule() {
                None => (self.waiting.len() < app.depth() && app.may_issue()).then_some(now),
                Some(schedule) => {
                    let number = schedule.number(self.lane, self.composed);
                    let at = app.due_at(number, now)?;
                    (self.waiting.len() < app.in_flight_max()).then_some(at)
                }
            },
            Phase::Opening | Phase::Settling | Phase::Connecting | Phase::Over => None,
        }
    }

    fn compose(&mut self, due: u64, app: &mut Load, out: &mut Vec<u8>) {
        let (client, time) = (self.next, app.next_time());
        self.next += app.connections();
        if self.next >= app.clients() {
            self.next = self.lane;
        }
        if app.phase() != Phase::Telling {
            self.composed += 1;
            app.issued();
        }
        app.requests().write(client, &time, out);
        self.waiting.push_back(Sent { client, time, due });
    }

    /// Takes every whole reply off the front of `input`, and answers how many bytes those were.
    fn take_replies(&mut self, input: &[u8], now: u64, app: &mut Load) -> Result<usize, String> {
        let mut used = 0;
        while let Some(rest) = input.get(used..).filter(|rest| !rest.is_empty()) {
            let Some(sent) = self.waiting.pop_front() else {
                return Err(format!(
                    "a reply too many\n  expected: nothing, since no request waits\n  came:     {}",
                    shown(rest)
                ));
            };
            let Some(length) = self.check(&sent, rest, app)? else {
                self.waiting.push_front(sent);
                break;
            };
            used += length;
            let reply = rest.get(..length).unwrap_or_default();
            if app.phase() == Phase::Telling {
                self.known.push(reply.to_vec());
                app.told(now);
            } else {
                let fault = app.asks_questions() && reply::tells_a_fault(reply);
                app.replied(sent.due, now, length, fault);
            }
            if self.server.is_empty() {
                self.server = reply::server_name(reply).unwrap_or_default().to_vec();
            }
        }
        Ok(used)
    }

    fn check(&mut self, sent: &Sent, input: &[u8], app: &Load) -> Result<Option<usize>, String> {
        let requests = app.requests();
        let expected = match app.kind() {
            Kind::Iamat if app.phase() != Phase::Telling && app.asks_questions() => {
                let known = self.known.get(sent.client / app.connections());
                Expected::Answer(known.map(Vec::as_slice).unwrap_or_default())
            }
            Kind::Iamat => Expected::At {
                server: &self.server,
                fields: requests.fields(sent.client),
                time: &sent.time,
            },
            Kind::Echo => {
                self.scratch.clear();
                requests.write(sent.client, &sent.time, &mut self.scratch);
                Expected::Exactly(&self.scratch)
            }
            Kind::Redis => Expected::Exactly(b"+OK\r\n"),
            Kind::Memcached => Expected::Exactly(b"STORED\r\n"),
        };
        reply::check(expected, input)
    }

    fn take_input(&mut self, data: &[u8], now: u64, app: &mut Load) -> Result<(), String> {
        if self.partial.is_empty() {
            let used = self.take_replies(data, now, app)?;
            self.partial.extend_from_slice(data.get(used..).unwrap_or_default());
            return Ok(());
        }
        let mut input = std::mem::take(&mut self.partial);
        input.extend_from_slice(data);
        let used = self.take_replies(&input, now, app)?;
        input.drain(..used);
        self.partial = input;
        Ok(())
    }
}

impl Protocol<Load> for Caller {
    fn connection_made(&mut self, me: Token, cx: &mut Ctx<'_, Load>) {
        // Above the high-water mark a producer is still read. If both sides stopped reading because the
        // other does not, neither would ever go on.
        cx.io.register_producer(me);
        cx.app.connected(cx.io);
    }

    fn data_received(&mut self, me: Token, data: &[u8], cx: &mut Ctx<'_, Load>) {
        // Not the turn's clock: with many connections in one turn the last is served much later.
        let now = cx.app.nanos();
        match self.take_input(data, now, cx.app) {
            Ok(()) => self.fill(me, now, cx),
            Err(why) => {
                let (lane, all) = (self.lane + 1, cx.app.connections());
                cx.app.fail(format!("connection {lane} of {all}: {why}"));
            }
        }
        cx.app.look_whether_done(cx.io);
    }

    fn read_closed(&mut self, me: Token, cx: &mut Ctx<'_, Load>) {
        self.connection_lost(me, &Reason::Done, cx);
    }

    fn event_received(&mut self, me: Token, event: Event, cx: &mut Ctx<'_, Load>) {
        if let Event::Send = event {
            let now = cx.app.nanos();
            self.fill(me, now, cx);
        }
    }

    fn resume_producing(&mut self, me: Token, cx: &mut Ctx<'_, Load>) {
        let now = cx.app.nanos();
        self.fill(me, now, cx);
    }

    fn connection_lost(&mut self, _me: Token, why: &Reason, cx: &mut Ctx<'_, Load>) {
        let (lane, all, waiting) = (self.lane + 1, cx.app.connections(), self.waiting.len());
        cx.app.lost(&format!("connection {lane} of {all}"), waiting, why);
    }
}

/// A connection that says nothing, and must neither hear anything nor be closed.
pub struct Idler;

impl Protocol<Load> for Idler {
    fn connection_made(&mut self, _me: Token, cx: &mut Ctx<'_, Load>) {
        cx.app.connected(cx.io);
    }

    fn data_received(&mut self, _me: Token, data: &[u8], cx: &mut Ctx<'_, Load>) {
        let came = shown(data);
        cx.app
            .fail(format!("an idle connection was spoken to, though it had said nothing: {came}"));
    }

    fn read_closed(&mut self, me: Token, cx: &mut Ctx<'_, Load>) {
        self.connection_lost(me, &Reason::Done, cx);
    }

    fn connection_lost(&mut self, _me: Token, why: &Reason, cx: &mut Ctx<'_, Load>) {
        cx.app.lost("an idle connection", 0, why);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Plan, app::IN_FLIGHT_MAX};
    use super::*;

    /// An open loop of a thousand requests a second that began at time 0.
    fn measuring(connections: usize) -> Load {
        let mut app = Load::new(Plan { connections, rate: Some(1000), ..Plan::default() });
        app.phase = Phase::Measuring;
        app
    }

    #[test]
    fn a_request_that_leaves_late_counts_from_when_it_was_due() {
        let mut app = measuring(4);
        let mut caller = Caller::new(3);
        assert_eq!(caller.next_due(2_999_999, &app), None, "it is not due yet");
        assert_eq!(caller.next_due(3_000_000, &app), Some(3_000_000));
        let second = 1_000_000_000;
        for due in [3_000_000, 7_000_000, 11_000_000] {
            assert_eq!(caller.next_due(second, &app), Some(due));
            caller.compose(due, &mut app, &mut Vec::new());
        }
        assert_eq!(caller.waiting.back().map(|sent| sent.due), Some(11_000_000));
    }

    #[test]
    fn what_is_in_flight_is_bounded_and_the_rest_stays_due() {
        let mut app = measuring(IN_FLIGHT_MAX / 2);
        let (mut caller, late) = (Caller::new(0), u64::MAX);
        for _ in 0..2 {
            let due = caller.next_due(late, &app).unwrap();
            caller.compose(due, &mut app, &mut Vec::new());
        }
        assert_eq!(caller.next_due(late, &app), None);
        caller.waiting.pop_front();
        assert!(caller.next_due(late, &app).is_some());
    }
}
