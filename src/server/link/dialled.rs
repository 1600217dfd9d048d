//! The connection that this server dials: it introduces itself, its changes go out, heartbeats come back.
//!
//! Which changes, and what the answers mean, `herd` says; when they go out is
//! [`Links::pump`](super::Links::pump)'s business. When the connection is lost it is dialled again, later
//! each time. Called by the reactor.

use std::time::Instant;

use log::Level;

use super::lines::{beat, cut, level_of, write};
use super::moves::Whose;
use super::{STEADY_AFTER, State};
use crate::herd::links::{Answer, NeighbourId, ResumedFrom};
use crate::herd::liveness::Liveness;
use crate::reactor::{Ctx, Protocol, Reason, Target, Token};
use crate::server::logging::Text;
use crate::server::{Event, Server, random};
use crate::wire::line::{Input, LineReceiver};
use crate::wire::peer::PEER_LINE_MAX_BYTES;

/// The first byte of a TLS record that says what was wrong (RFC 8446, section 5.1): the answer of a
/// server that speaks only TLS to one that does not.
const TLS_ALERT: u8 = 21;

/// A connection that this server dialled: its changes go out, heartbeats come back.
pub(super) struct Dialled {
    neighbour: NeighbourId,
    name: String,
    tls: bool,
    lines: LineReceiver,
    liveness: Liveness,
}

impl Dialled {
    /// For a connection to that neighbour that is begun now.
    pub fn new(neighbour: NeighbourId, name: String, tls: bool, now: Instant) -> Self {
        let (lines, liveness) = (LineReceiver::raw(PEER_LINE_MAX_BYTES), Liveness::new(now));
        Self { neighbour, name, tls, lines, liveness }
    }
}

impl Protocol<Server> for Dialled {
    fn connection_made(&mut self, me: Token, cx: &mut Ctx<'_, Server>) {
        cx.app.take_over(me, self.neighbour, cx.io);
        cx.io.register_producer(me);
        cx.io.set_urgent(me);
        self.liveness = Liveness::new(cx.io.now());
        write(me, &self.name, cx.io, |output| cx.app.herd.hello(output));
        beat(me, &self.name, &mut self.liveness, cx.io, |_| {});
    }

    fn data_received(&mut self, me: Token, mut data: &[u8], cx: &mut Ctx<'_, Server>) {
        self.liveness.heard(cx.io.now());
        if !self.tls && data.first() == Some(&TLS_ALERT) {
            log::warn!(
                "link to {} is cut: it answers in TLS, and this server was started without --keys",
                self.name
            );
            return cx.io.abort_connection(me);
        }
        while let Some(input) = self.lines.next(&mut data) {
            let Input::Line(line) = input else { return cut(me, &self.name, "too long", cx) };
            log::log!(level_of(line), "{} > {}", self.name, Text(line));
            match cx.app.herd.listener_line_received(self.neighbour, line) {
                Ok(Answer::Hello(fields)) => {
                    cx.app.fields_received(self.neighbour, &fields, cx.io);
                }
                Ok(Answer::Here(_)) => {}
                Ok(Answer::Resumed(resumed)) => {
                    let from = match resumed.from {
                        ResumedFrom::Mark(mark) => format!("it has all up to change {mark}"),
                        ResumedFrom::Start => "it starts from nothing".to_owned(),
                        ResumedFrom::Now => "it gets what is new from now on".to_owned(),
                    };
                    let (name, behind) = (&self.name, resumed.behind);
                    log::info!("link to {name} is up, resuming: {from}, {behind} to look at");
                    if let Some(link) = cx.app.links.links.get_mut(self.neighbour.index()) {
                        link.state = State::Up(me);
                        link.up_since = Some(cx.io.now());
                        link.catching_up = (behind > 0).then_some(0);
                    }
                }
                Err(nonsense) => {
                    let (name, meaning) = (&self.name, meaning(line));
                    let level = cx.app.links.cut_level(self.neighbour, cx.io.now());
                    log::log!(level, "link to {name} is cut: {nonsense}{meaning}: {}", Text(line));
                    return cx.io.abort_connection(me);
                }
            }
        }
    }

    fn event_received(&mut self, me: Token, event: Event, cx: &mut Ctx<'_, Server>) {
        let Event::Beat = event else { return };
        let (herd, id) = (&mut cx.app.herd, self.neighbour);
        beat(me, &self.name, &mut self.liveness, cx.io, |output| herd.write_mark(id, output));
    }

    fn connection_lost(&mut self, me: Token, why: &Reason, cx: &mut Ctx<'_, Server>) {
        let Some(link) = cx.app.links.links.get_mut(self.neighbour.index()) else { return };
        let was_up = matches!(link.state, State::Up(_));
        match link.whose(me) {
            Whose::Nobodys => return,
            Whose::Moving => return link.move_failed(self.neighbour, &self.name, why, cx.io),
            Whose::Present => cx.app.herd.link_lost(self.neighbour),
        }
        let now = cx.io.now();
        let is_steady = |since| now.saturating_duration_since(since) >= STEADY_AFTER;
        let was_steady = link.up_since.take().is_some_and(is_steady);
        if was_steady {
            link.backoff.reset();
        }
        if link.goes_on_at_new_address(&cx.app.herd, self.neighbour) {
            return log::warn!("link to {} is down: {why}; its new address is dialled", self.name);
        }
        if cx.io.is_stopping() {
            log::info!("link to {} is down: {why}", self.name);
            link.state = State::Ended;
            return;
        }
        let delay = link.backoff.next_delay(random());
        let event = Event::Dial(self.neighbour);
        let call = cx.io.call_later(delay, Target::Application, event);
        link.state = State::Waiting(call);
        let (name, next) = (&self.name, delay.as_millis());
        if was_up {
            let seldom = link.warnings.down.level(now);
            let level = if was_steady { Level::Warn } else { seldom };
            log::log!(level, "link to {name} is down: {why}; dialling again in {next} ms");
        } else {
            let hint = if self.tls && matches!(why, Reason::Tls(_)) {
                " (does it have keys, of the same authority?)"
            } else {
                ""
            };
            log::info!("{name} cannot be reached: {why}{hint}; dialling again in {next} ms");
        }
    }
}

/// What nonsense most likely means: our own HELLO comes back as an invalid command does.
fn meaning(line: &[u8]) -> &'static str {
    if line.starts_with(b"? HELLO ") {
        "; it does not believe that this server is its neighbour, and its log says why (do both have keys, of \
         the same authority, and the same topology; or has another process this server's name?)"
    } else {
        ""
    }
}
