//! A client's connection: lines in, replies out, in order.
//!
//! Owns what has been read and is not answered yet, how much of it one turn answers, and how long a line
//! may take. What a line is answered is decided in [`talk`]. A neighbour's connection begins here too,
//! since it comes to the same port: its HELLO turns it into a link. Called by the reactor.

mod talk;

use std::time::Duration;

use super::link::Heard;
use super::{Event, Server};
use crate::reactor::bounds::limits::READ_BUDGET_BYTES;
use crate::reactor::{About, Ctx, Factory, Peer, Protocol, Reason, Token};
use crate::wire::line::{Input, LINE_MAX_BYTES, LineReceiver};
use crate::wire::plain::take_report;
use crate::wire::time::Nanos;
use talk::{LastLine, Next, Talk};

/// How long a line may take from its first byte to its LF. An idle connection may stay for ever.
pub const LINE_TIMEOUT: Duration = Duration::from_secs(60);

/// How much one connection is answered in one turn, give or take one reply; then it waits for its next
/// turn, and until its peer has taken most of it. The answers to a whole read of IAMATs are below it.
pub const ANSWERS_PER_TURN_BYTES: usize = 4 * READ_BUDGET_BYTES;

/// A handshake record, in a version from 3.0 on (RFC 8446, section 5.1): no command.
const TLS_BEGINS: [u8; 2] = [22, 3];

/// As much of it as is copied into the answer.
const TLS_SHOWN_BYTES: usize = 2;

/// How a neighbour's first line begins, and how long it is at most, with room for what later versions may
/// add to it.
const HELLO: &[u8] = b"HELLO ";
const HELLO_MAX_BYTES: usize = 512;

/// Makes a [`Client`] for each connection to the server's port.
pub struct Clients;

impl Factory<Server> for Clients {
    fn build_protocol(
        &mut self,
        peer: Peer,
        cx: &mut Ctx<'_, Server>,
    ) -> Option<Box<dyn Protocol<Server>>> {
        cx.app.clients += 1;
        log::info!("{peer} connected");
        let line_max_bytes = cx.app.bounds.line_max_bytes.min(LINE_MAX_BYTES);
        Some(Box::new(Client {
            lines: LineReceiver::new().with_line_max_bytes(line_max_bytes),
            talk: Talk::default(),
            line_limit_set: false,
            made: false,
            on_probation: false,
        }))
    }
}

/// One client's connection. Most of ten thousand are idle, so what a connection has only now and then
/// is in [`Rare`](talk::Rare).
struct Client {
    lines: LineReceiver,
    talk: Talk,
    /// A delayed call will look after the unfinished line.
    line_limit_set: bool,
    /// It is agreed how it is spoken.
    made: bool,
    /// There is no room for it, so it is answered nothing before it has proven to be a neighbour's, or
    /// somebody else has gone.
    on_probation: bool,
}

impl Protocol<Server> for Client {
    fn connection_made(&mut self, me: Token, cx: &mut Ctx<'_, Server>) {
        self.made = true;
        self.on_probation = cx.io.is_on_probation(me);
    }

    fn data_received(&mut self, me: Token, data: &[u8], cx: &mut Ctx<'_, Server>) {
        if self.is_tls_without_keys(data, cx.app) {
            let why = "TLS, which this server cannot speak without --keys";
            self.talk.cut_off(me, data.get(..TLS_SHOWN_BYTES).unwrap_or(data), why, cx);
            return close(me, cx);
        }
        if self.on_probation {
            return self.try_out(me, data, cx);
        }
        self.answer(me, data, cx);
    }

    /// A last line without LF counts; then every reply that is owed goes out, and the connection ends.
    fn read_closed(&mut self, me: Token, cx: &mut Ctx<'_, Server>) {
        self.input_ended(me, LastLine::Counts, cx);
    }

    /// Many TLS clients end their input with a bare FIN. Complete lines are whole whoever sent the FIN, so
    /// their replies go out; an unfinished last line may have been cut off by somebody in between.
    fn read_truncated(&mut self, me: Token, cx: &mut Ctx<'_, Server>) {
        self.input_ended(me, LastLine::IsDropped, cx);
    }

    fn event_received(&mut self, me: Token, event: Event, cx: &mut Ctx<'_, Server>) {
        match event {
            Event::Reply { place, reply } => {
                self.talk.answered(place, reply, cx.app);
                self.go_on(me, cx);
            }
            Event::GoOn => self.answer_unanswered(me, cx),
            Event::SendReady => self.go_on(me, cx),
            Event::LineOver => self.line_over(me, cx),
            _ => {}
        }
    }

    fn resume_producing(&mut self, me: Token, cx: &mut Ctx<'_, Server>) {
        self.go_on(me, cx);
    }

    fn connection_lost(&mut self, me: Token, why: &Reason, cx: &mut Ctx<'_, Server>) {
        cx.app.clients -= 1;
        self.talk.drop_replies(me, cx);
        // One that was never made is told louder: a certificate was not good, or somebody speaks plain
        // text where only TLS is spoken. So is one that was past a bound.
        let has_room = !matches!(why, Reason::NoRoom(_));
        let warns = (!self.made && has_room) || matches!(why, Reason::Bound(_));
        let peer = talk::peer(me, cx);
        if warns {
            let words = format_args!("{peer} disconnected: {why}");
            cx.io.warn("disconnected", About::Connection(me), 0, words);
        } else {
            log::info!("{peer} disconnected: {why}");
        }
    }
}

impl Client {
    /// Answers as many lines of what was read as a turn allows, all in one write. The rest waits for the
    /// next turn, behind everybody else, and meanwhile nothing more is read.
    fn answer(&mut self, me: Token, data: &[u8], cx: &mut Ctx<'_, Server>) {
        let lines_max = cx.app.bounds.lines_per_turn.max(1);
        self.answer_lines(me, data, lines_max, cx);
    }

    fn answer_lines(
        &mut self,
        me: Token,
        mut data: &[u8],
        lines_max: usize,
        cx: &mut Ctx<'_, Server>,
    ) {
        let mut now = cx.app.next_stamp(cx.io);
        let line_max_bytes = self.lines.line_max_bytes();
        cx.app.herd.look_ahead(data, lines_max);
        let mut ended_a_line = false;
        let mut next = Next::GoOn;
        for _ in 0..lines_max {
            // Where a line or a Telnet command has begun, what looks like a report is a part of it.
            next = if self.lines.is_between_lines()
                && let Some((line, said)) = take_report(&mut data, line_max_bytes)
            {
                ended_a_line = true;
                now += 1;
                self.talk.report_received(me, line, &said, now - 1, cx)
            } else {
                match self.lines.next(&mut data) {
                    Some(Input::Line(line)) => {
                        ended_a_line = true;
                        let changes = cx.app.herd.last_change();
                        let next = self.talk.line_received(me, line, now, cx);
                        now += Nanos::from(cx.app.herd.last_change() > changes);
                        next
                    }
                    Some(Input::TooLong(start)) => self.talk.cut_off(me, start, "too long", cx),
                    Some(Input::Telnet(answer)) => talk::telnet_requested(me, answer, cx),
                    None => break,
                }
            };
            let enough = cx.app.answers.len() >= ANSWERS_PER_TURN_BYTES || self.talk.holds_enough();
            if enough || !matches!(next, Next::GoOn) {
                break;
            }
        }
        cx.app.next_stamp = now;
        match next {
            Next::GoOn if data.is_empty() => {
                self.watch_line(me, ended_a_line, cx);
                talk::send_answers(me, cx);
                if self.talk.holds_enough() {
                    cx.io.pause_producing(me);
                }
            }
            Next::GoOn => {
                talk::send_answers(me, cx);
                if ended_a_line {
                    self.talk.line_ended();
                }
                self.talk.rare().unanswered = data.to_vec();
                cx.io.pause_producing(me);
                self.go_on(me, cx);
            }
            Next::Close => close(me, cx),
            Next::Link(neighbour) => {
                talk::send_answers(me, cx);
                cx.app.clients -= 1;
                // Neighbours have room of their own, however many strangers there are.
                cx.io.set_apart(me);
                cx.io.switch_protocol(me, Box::new(Heard::new(neighbour).with_input(data)));
            }
        }
    }

    /// There is no room for this connection unless it is a neighbour's, which says HELLO first. Of
    /// anybody else's the input waits for room, or is refused where waiting does not help.
    fn try_out(&mut self, me: Token, data: &[u8], cx: &mut Ctx<'_, Server>) {
        let begun = &mut self.talk.rare().unanswered;
        begun.extend_from_slice(data);
        let line = begun.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let is_whole = line.len() < begun.len();
        if !is_whole && line.len() <= HELLO_MAX_BYTES && begins_hello(line) {
            return;
        }
        let is_hello = is_whole && line.starts_with(HELLO);
        if is_hello {
            let begun = std::mem::take(begun);
            self.answer_lines(me, &begun, 1, cx);
            if !cx.io.is_on_probation(me) {
                return;
            }
        }
        if cx.io.may_wait_for_room(me) {
            return cx.io.pause_producing(me);
        }
        if !is_hello {
            let begun = std::mem::take(&mut self.talk.rare().unanswered);
            let line = begun.split(|byte| *byte == b'\n').next().unwrap_or_default();
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            self.talk.refuse(me, line.get(..HELLO_MAX_BYTES).unwrap_or(line), cx);
        }
        close(me, cx);
    }

    /// Goes on, if there is room for answers: with what is not answered yet, in the next turn, and else with
    /// reading. If there is none, this is called again when there is: by the reactor when the peer has taken
    /// its output, when a reply has come that others stand behind, and when the journal has decided.
    fn go_on(&mut self, me: Token, cx: &mut Ctx<'_, Server>) {
        self.on_probation = self.on_probation && cx.io.is_on_probation(me);
        if self.on_probation {
            return;
        }
        self.talk.send_ready(me, cx);
        if self.talk.holds_enough() || !cx.io.may_produce(me) {
            return;
        }
        if self.talk.has_unanswered() {
            // Once, whoever asks and however often, or a turn would answer more than its share.
            if !std::mem::replace(&mut self.talk.rare().told_to_go_on, true) {
                cx.io.post(me, Event::GoOn);
            }
            return;
        }
        cx.io.resume_producing(me);
        if let Some(last_line) = self.talk.tidy().and_then(|rare| rare.ended.take()) {
            self.input_ended(me, last_line, cx);
        }
    }

    /// The peer has finished sending. What is not answered yet is answered first.
    fn input_ended(&mut self, me: Token, last_line: LastLine, cx: &mut Ctx<'_, Server>) {
        if self.talk.has_unanswered() {
            self.talk.rare().ended = Some(last_line);
            return;
        }
        // Links are made of whole lines: whoever hangs up in the middle of a HELLO is not a neighbour that
        // has come back.
        self.talk.spoken = true;
        if last_line == LastLine::IsDropped {
            if self.lines.is_mid_line() {
                let peer = talk::peer(me, cx);
                log::info!("{peer} hung up without close_notify: its unfinished line is dropped");
            }
            return close(me, cx);
        }
        match self.lines.finish() {
            Some(Input::Line(line)) => {
                let now = cx.app.next_stamp(cx.io);
                cx.app.next_stamp = now + 1;
                self.talk.line_received(me, line, now, cx);
            }
            Some(Input::TooLong(start)) => {
                self.talk.cut_off(me, start, "too long", cx);
            }
            Some(Input::Telnet(_)) | None => {}
        }
        close(me, cx);
    }

    /// The next turn has come for what is not answered yet. There may be no room by now.
    fn answer_unanswered(&mut self, me: Token, cx: &mut Ctx<'_, Server>) {
        self.talk.rare().told_to_go_on = false;
        if self.talk.has_unanswered() && !self.talk.holds_enough() && cx.io.may_produce(me) {
            let unanswered = std::mem::take(&mut self.talk.rare().unanswered);
            cx.io.charge_input(unanswered.len());
            self.answer(me, &unanswered, cx);
        }
        self.go_on(me, cx);
    }

    /// Whether this is how TLS begins, where only text is spoken. Most likely it is a neighbour with
    /// keys, which should not have to wait for a time limit to learn that this server has none.
    fn is_tls_without_keys(&self, data: &[u8], server: &Server) -> bool {
        let first = !self.talk.spoken && !self.lines.is_mid_line();
        first && data.starts_with(&TLS_BEGINS) && !server.links.have_keys()
    }

    /// Sees to it that an unfinished line ends in time. One delayed call at most is made for it, and
    /// only when none is pending, so a client that sends whole lines never costs one.
    fn watch_line(&mut self, me: Token, ended_a_line: bool, cx: &mut Ctx<'_, Server>) {
        if !self.lines.is_mid_line() {
            self.talk.line_ended();
        } else if ended_a_line || self.talk.rare().line_began.is_none() {
            self.talk.rare().line_began = Some(cx.io.now());
            if !self.line_limit_set {
                self.line_limit_set = true;
                cx.io.call_later(LINE_TIMEOUT, me, Event::LineOver);
            }
        }
    }

    fn line_over(&mut self, me: Token, cx: &mut Ctx<'_, Server>) {
        self.line_limit_set = false;
        let Some(began) = self.talk.line_began() else { return };
        let left = if cx.io.is_held_back(me) {
            // The rest of the line may lie unread on our side: its time begins when we read again.
            self.talk.rare().line_began = Some(cx.io.now());
            LINE_TIMEOUT
        } else {
            LINE_TIMEOUT.saturating_sub(cx.io.now().saturating_duration_since(began))
        };
        if left.is_zero() {
            let start = self.lines.cut_off();
            self.talk.cut_off(me, start, "too slow", cx);
            close(me, cx);
        } else {
            self.line_limit_set = true;
            cx.io.call_later(left, me, Event::LineOver);
        }
    }
}

/// Whether a line of which this has come may be a neighbour's first.
fn begins_hello(begun: &[u8]) -> bool {
    begun.starts_with(HELLO) || HELLO.starts_with(begun)
}

/// Sends what is answered, and then all that is owed, and ends.
fn close(me: Token, cx: &mut Ctx<'_, Server>) {
    talk::send_answers(me, cx);
    cx.io.lose_connection(me);
}

#[cfg(test)]
mod tests;
