//! A client's connection: lines in, replies out, in order.
//!
//! It decides nothing about truth or places; it asks `herd` and `places` and writes what they say. A
//! neighbour's connection begins here too, since it comes to the same port: its HELLO turns it into a
//! link. Called by the reactor.

use std::time::{Duration, Instant};

use super::journal::Journal;
use super::link::Heard;
use super::logging::{self, Text};
use super::places::Asker;
use super::replies::Replies;
use super::{Event, Server, unix_nanos};
use crate::reactor::limits::HIGH_WATER_BYTES;
use crate::reactor::{Ctx, Factory, Peer, Protocol, Reason, Token};
use crate::wire::command::{
    Command, IAmAt, WhatsAt, looks_like_http, parse_command, write_cut_off, write_refusal,
};
use crate::wire::json::error_json_with_status;
use crate::wire::line::{Input, LineReceiver};
use crate::wire::peer::{PeerLine, has_peer_word, parse_peer_line};

/// How long a line may take from its first byte to its LF. An idle connection may stay for ever.
pub const LINE_TIMEOUT: Duration = Duration::from_secs(60);

/// WHATSATs of one connection that may wait for Places at a time. Beyond it the answer is
/// `OVER_QUERY_LIMIT` at once.
pub const WHATSATS_WAITING_MAX: usize = 32;

/// A handshake record, in a version from 3.0 on (RFC 8446, section 5.1): no command.
const TLS_BEGINS: [u8; 2] = [22, 3];

/// As much of it as is copied into the answer.
const TLS_SHOWN_BYTES: usize = 2;

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
        Some(Box::new(Client {
            lines: LineReceiver::new(),
            line_began: None,
            line_limit_set: false,
            made: false,
            talk: Talk { peer, replies: Replies::default(), spoken: false },
        }))
    }
}

/// One client's connection.
struct Client {
    lines: LineReceiver,
    /// When the unfinished line began.
    line_began: Option<Instant>,
    /// A delayed call will look after it.
    line_limit_set: bool,
    /// It is agreed how it is spoken.
    made: bool,
    talk: Talk,
}

/// What answers a line. Apart from the receiver, which still holds the line meanwhile.
struct Talk {
    peer: Peer,
    replies: Replies,
    /// A line has been received.
    spoken: bool,
}

/// What becomes of the connection after a line.
enum Next {
    GoOn,
    Close,
    /// It is a neighbour's; this is the protocol that takes over.
    Link(Heard),
}

impl Protocol<Server> for Client {
    fn connection_made(&mut self, me: Token, cx: &mut Ctx<'_, Server>) {
        self.made = true;
        if cx.app.journal.as_ref().is_some_and(Journal::withholds_replies) {
            cx.io.withhold_output(me);
        }
    }

    fn data_received(&mut self, me: Token, mut data: &[u8], cx: &mut Ctx<'_, Server>) {
        if self.is_tls_without_keys(data, cx.app) {
            let why = "TLS, which this server cannot speak without --keys";
            self.talk.cut_off(me, data.get(..TLS_SHOWN_BYTES).unwrap_or(data), why, cx);
            return cx.io.lose_connection(me);
        }
        let mut ended_a_line = false;
        while let Some(input) = self.lines.next(&mut data) {
            let next = match input {
                Input::Line(line) => {
                    ended_a_line = true;
                    self.talk.line_received(me, line, cx)
                }
                Input::TooLong(start) => self.talk.cut_off(me, start, "too long", cx),
                Input::Telnet(answer) => self.talk.telnet_requested(me, answer, cx),
            };
            match next {
                Next::GoOn => {}
                Next::Close => return cx.io.lose_connection(me),
                Next::Link(link) => {
                    cx.app.clients -= 1;
                    return cx.io.switch_protocol(me, Box::new(link.with_input(data)));
                }
            }
        }
        self.watch_line(me, ended_a_line, cx);
    }

    /// A last line without LF counts; then every reply that is owed goes out, and the connection ends.
    fn read_closed(&mut self, me: Token, cx: &mut Ctx<'_, Server>) {
        match self.lines.finish() {
            Some(Input::Line(line)) => {
                self.talk.line_received(me, line, cx);
            }
            Some(Input::TooLong(start)) => {
                self.talk.cut_off(me, start, "too long", cx);
            }
            Some(Input::Telnet(_)) | None => {}
        }
        cx.io.lose_connection(me);
    }

    fn event_received(&mut self, me: Token, event: Event, cx: &mut Ctx<'_, Server>) {
        match event {
            Event::Reply { place, text } => self.talk.answered(me, place, text, cx),
            Event::LineOver => self.line_over(me, cx),
            _ => {}
        }
    }

    fn connection_lost(&mut self, _me: Token, why: &Reason, cx: &mut Ctx<'_, Server>) {
        cx.app.clients -= 1;
        // One that was never made is told louder: a certificate was not good, or somebody speaks plain
        // text where only TLS is spoken.
        let level = if self.made { log::Level::Info } else { log::Level::Warn };
        log::log!(level, "{} disconnected: {why}", self.talk.peer);
    }
}

impl Client {
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
            self.line_began = None;
        } else if ended_a_line || self.line_began.is_none() {
            self.line_began = Some(cx.io.now());
            if !self.line_limit_set {
                self.line_limit_set = true;
                cx.io.call_later(LINE_TIMEOUT, me, Event::LineOver);
            }
        }
    }

    fn line_over(&mut self, me: Token, cx: &mut Ctx<'_, Server>) {
        self.line_limit_set = false;
        let Some(began) = self.line_began else { return };
        if cx.io.is_held_back(me) {
            // The rest of the line may lie unread on our side: its time begins when we read again.
            self.line_began = Some(cx.io.now());
            self.line_limit_set = true;
            cx.io.call_later(LINE_TIMEOUT, me, Event::LineOver);
            return;
        }
        let left = LINE_TIMEOUT.saturating_sub(cx.io.now().saturating_duration_since(began));
        if left.is_zero() {
            let start = self.lines.cut_off();
            self.talk.cut_off(me, start, "too slow", cx);
            cx.io.lose_connection(me);
        } else {
            self.line_limit_set = true;
            cx.io.call_later(left, me, Event::LineOver);
        }
    }
}

impl Talk {
    fn line_received(&mut self, me: Token, line: &[u8], cx: &mut Ctx<'_, Server>) -> Next {
        logging::received(self.peer, line);
        let first = !std::mem::replace(&mut self.spoken, true);
        match parse_command(line) {
            Some(Command::IAmAt(said)) => self.i_am_at(me, line, &said, cx),
            Some(Command::WhatsAt(asked)) => self.whats_at(me, line, &asked, cx),
            None => self.other_line_received(me, line, first, cx),
        }
    }

    /// A line that is no command may be a neighbour's or a browser's, if it is the first. Whatever else
    /// links are made of is an invalid command, and somebody who should be looked at.
    fn other_line_received(
        &mut self,
        me: Token,
        line: &[u8],
        first: bool,
        cx: &mut Ctx<'_, Server>,
    ) -> Next {
        match parse_peer_line(line) {
            Some(PeerLine::Hello { version, server, identity }) if first => {
                match cx.app.hello_received(me, version, server, identity, cx.io) {
                    Ok(neighbour) => return Next::Link(Heard::new(neighbour)),
                    Err(why) => log::warn!("{} is not let in as a neighbour: {why}", self.peer),
                }
            }
            _ if has_peer_word(line) => {
                log::warn!("{} speaks as neighbours do, and is none: {}", self.peer, Text(line));
            }
            _ => {}
        }
        self.refuse(me, line, cx);
        if first && looks_like_http(line) { Next::Close } else { Next::GoOn }
    }

    fn i_am_at(
        &mut self,
        me: Token,
        line: &[u8],
        said: &IAmAt<'_>,
        cx: &mut Ctx<'_, Server>,
    ) -> Next {
        let server_time = unix_nanos(cx.io.wall_clock());
        let herd = &mut cx.app.herd;
        let outcome = if self.replies.is_empty() {
            let peer = self.peer;
            let written = cx.io.write_with(me, |output| {
                let start = output.len();
                herd.client_heard(said, server_time, output)?;
                log_reply(peer, output.get(start..).unwrap_or_default());
                Ok(())
            });
            written.unwrap_or(Ok(())).map(|()| Next::GoOn)
        } else {
            let mut reply = Vec::new();
            let outcome = herd.client_heard(said, server_time, &mut reply);
            outcome.map(|_| self.reply(me, &reply, cx))
        };
        outcome.unwrap_or_else(|refused| {
            log::info!("{}: refused, {refused}", self.peer);
            self.refuse(me, line, cx)
        })
    }

    fn whats_at(
        &mut self,
        me: Token,
        line: &[u8],
        question: &WhatsAt<'_>,
        cx: &mut Ctx<'_, Server>,
    ) -> Next {
        let Some(record) = cx.app.herd.where_is(question.client) else {
            return self.refuse(me, line, cx);
        };
        if self.replies.waiting() >= WHATSATS_WAITING_MAX {
            let words = "places: too many questions of this connection are waiting";
            let json = error_json_with_status("OVER_QUERY_LIMIT", words);
            let reply = [record.line, b"\n", &json, b"\n\n"].concat();
            return self.reply(me, &reply, cx);
        }
        let place = self.replies.wait();
        cx.io.owe(me);
        let asker = Asker {
            client: me,
            place,
            at_line: record.line.to_vec(),
            bound: question.bound.into(),
        };
        let location = record.location();
        cx.app.places.ask(location, question.radius, asker, cx.io);
        Next::GoOn
    }

    /// Places has answered, or never will: the reply goes out as soon as all before it have.
    fn answered(&mut self, me: Token, place: u64, text: Vec<u8>, cx: &mut Ctx<'_, Server>) {
        if !self.replies.fill(place, text) {
            return;
        }
        while let Some(text) = self.replies.take_ready() {
            log_reply(self.peer, &text);
            cx.io.write(me, &text);
        }
        cx.io.settle(me);
        if self.replies.held_bytes() < HIGH_WATER_BYTES {
            cx.io.resume_producing(me);
        }
    }

    fn refuse(&mut self, me: Token, line: &[u8], cx: &mut Ctx<'_, Server>) -> Next {
        let mut reply = Vec::with_capacity(line.len() + 3);
        write_refusal(&mut reply, line);
        self.reply(me, &reply, cx)
    }

    fn cut_off(&mut self, me: Token, start: &[u8], why: &str, cx: &mut Ctx<'_, Server>) -> Next {
        log::warn!("{} is closed: its line is {why}; it began {}", self.peer, Text(start));
        let mut reply = Vec::new();
        write_cut_off(&mut reply, start);
        self.reply(me, &reply, cx);
        Next::Close
    }

    /// Refuses a Telnet option at once, also past replies that are waited for: after a Ctrl-C the usual
    /// telnet hides everything until this answer, so one that came behind a WHATSAT's reply would cost
    /// its user that reply.
    fn telnet_requested(&self, me: Token, answer: [u8; 3], cx: &mut Ctx<'_, Server>) -> Next {
        log_reply(self.peer, &answer);
        cx.io.write(me, &answer);
        Next::GoOn
    }

    /// Sends a reply, or holds it behind those that are waited for. What is held is bounded: past the
    /// high-water mark the connection is not read until it has gone down.
    fn reply(&mut self, me: Token, text: &[u8], cx: &mut Ctx<'_, Server>) -> Next {
        if self.replies.is_empty() {
            log_reply(self.peer, text);
            cx.io.write(me, text);
        } else {
            self.replies.hold(text);
            if self.replies.held_bytes() >= HIGH_WATER_BYTES {
                cx.io.pause_producing(me);
            }
        }
        Next::GoOn
    }
}

fn log_reply(peer: Peer, text: &[u8]) {
    logging::sent(peer, text);
}

#[cfg(test)]
mod tests;
