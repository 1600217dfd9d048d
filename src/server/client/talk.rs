//! What answers a client's lines.
//!
//! It decides nothing about truth or places; it asks `herd` and `places` and says what they say. Replies
//! gather in [`Server::answers`](super::Server) while a read is answered; those that wait for the disk, or
//! stand behind one which is still waited for, are held in the connection's [`Rare`]. Called by
//! [`Client`](super::Client).

use std::time::Instant;

use crate::herd::Refused;
use crate::herd::journal::Verdict;
use crate::herd::links::NeighbourId;
use crate::reactor::bounds::limits::HIGH_WATER_BYTES;
use crate::reactor::{About, Ctx, Network, Peer, Token};
use crate::server::Server;
use crate::server::bounds::Bounds;
use crate::server::journal::Journal;
use crate::server::logging::{self, Text};
use crate::server::places::Asker;
use crate::server::places::fair::Who;
use crate::server::replies::{Promise, Replies, Reply, Written};
use crate::wire::command::{
    Command, IAmAt, WhatsAt, looks_like_http, parse_command, write_cut_off, write_refusal,
};
use crate::wire::json::error_json_with_status;
use crate::wire::peer::{PeerLine, parse_peer_line, peer_word};
use crate::wire::time::Nanos;

const TOO_MUCH_HELD: &str = "places: too many answers of this server wait to be taken";

/// What answers a line. Apart from the receiver, which still holds the line meanwhile.
#[derive(Default)]
pub(super) struct Talk {
    rare: Option<Box<Rare>>,
    /// A line has been received.
    pub spoken: bool,
}

/// What few connections have at any time. It is made when it is needed, and dropped when it is empty.
#[derive(Default)]
pub(super) struct Rare {
    /// Replies that wait, or stand behind one that does.
    replies: Replies,
    /// When the unfinished line began.
    pub line_began: Option<Instant>,
    /// What was read and is to be answered in the next turn: at most one read.
    pub unanswered: Vec<u8>,
    /// The event that has it answered is on its way.
    pub told_to_go_on: bool,
    /// The peer has finished sending, behind what is not answered yet.
    pub ended: Option<LastLine>,
}

/// What becomes of a last line without LF when the peer has finished sending.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum LastLine {
    /// It is a line like any other.
    Counts,
    /// It may have been cut off.
    IsDropped,
}

/// What becomes of the connection after a line.
pub(super) enum Next {
    GoOn,
    Close,
    /// It is this neighbour's, and becomes a link.
    Link(NeighbourId),
}

impl Talk {
    /// Answers a report that has been read already, `line`, at this time of the server's clock.
    pub fn report_received(
        &mut self,
        me: Token,
        line: &[u8],
        said: &IAmAt<'_>,
        now: Nanos,
        cx: &mut Ctx<'_, Server>,
    ) -> Next {
        logging::received(me, || peer(me, cx), line);
        self.spoken = true;
        self.i_am_at(me, line, said, now, cx)
    }

    /// Answers any line, at this time of the server's clock.
    pub fn line_received(
        &mut self,
        me: Token,
        line: &[u8],
        now: Nanos,
        cx: &mut Ctx<'_, Server>,
    ) -> Next {
        logging::received(me, || peer(me, cx), line);
        let first = !std::mem::replace(&mut self.spoken, true);
        match parse_command(line) {
            Some(Command::IAmAt(said)) => self.i_am_at(me, line, &said, now, cx),
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
            Some(PeerLine::Hello { version, server, identity, fields }) if first => {
                match cx.app.hello_received(me, version, server, identity, cx.io) {
                    Ok(neighbour) => {
                        cx.app.fields_received(neighbour, &fields, cx.io);
                        return Next::Link(neighbour);
                    }
                    Err((level, why)) => {
                        let peer = peer(me, cx);
                        let words = format_args!("{peer} is not let in as a neighbour: {why}");
                        cx.io.warn_at(
                            level,
                            "not let in",
                            About::Connection(me),
                            line.len(),
                            words,
                        );
                    }
                }
            }
            _ => {
                if let Some(word) = peer_word(line) {
                    let (peer, text) = (peer(me, cx), Text(line));
                    let words = format_args!("{peer} speaks as neighbours do, and is none: {text}");
                    cx.io.warn(word, About::Connection(me), line.len(), words);
                }
            }
        }
        self.reply(me, cx, |out| write_refusal(out, line));
        if first && looks_like_http(line) { Next::Close } else { Next::GoOn }
    }

    fn i_am_at(
        &mut self,
        me: Token,
        line: &[u8],
        said: &IAmAt<'_>,
        now: Nanos,
        cx: &mut Ctx<'_, Server>,
    ) -> Next {
        let start = cx.app.answers.len();
        match cx.app.herd.client_heard(said, now, &mut cx.app.answers) {
            Ok(_) if promises(cx) => self.promised(me, line, said.client, start, cx),
            Ok(_) => self.replied(me, start, cx),
            Err(refused) => {
                let level = match refused {
                    Refused::TooFarAhead => cx.app.refused_from_ahead(cx.io),
                    Refused::Full | Refused::PastHorizon => log::Level::Info,
                };
                let peer = peer(me, cx);
                let words = format_args!("{peer}: refused, {refused}");
                cx.io.warn_at(level, "refused", About::Connection(me), line.len(), words);
                self.reply(me, cx, |out| write_refusal(out, line));
            }
        }
        Next::GoOn
    }

    fn whats_at(
        &mut self,
        me: Token,
        line: &[u8],
        question: &WhatsAt<'_>,
        cx: &mut Ctx<'_, Server>,
    ) -> Next {
        let change = if promises(cx) { cx.app.herd.change_of(question.client) } else { 0 };
        let verdict = verdict(cx.app.journal.as_ref(), change);
        let Server { herd, places, bounds, answers, held_bytes, .. } = &mut *cx.app;
        let record = herd.where_is(question.client).filter(|_| verdict != Verdict::Refuse);
        let Some(record) = record else {
            self.reply(me, cx, |out| write_refusal(out, line));
            return Next::GoOn;
        };
        let too_many = self.too_many(bounds, *held_bytes);
        if let Some(words) = too_many.filter(|words| *words == TOO_MUCH_HELD) {
            let about = About::Everybody;
            cx.io.warn("too much held", about, line.len(), format_args!("{words}"));
        }
        let known = too_many.map(|words| error_json_with_status("OVER_QUERY_LIMIT", words).into());
        let known = known.or_else(|| {
            let asker = Asker {
                client: me,
                address: cx.io.peer(me).and_then(Network::of),
                place: self.rare.as_ref().map_or(0, |rare| rare.replies.next_place()),
                at_line: record.line.to_vec(),
                bound: question.bound.into(),
            };
            let askers_max = bounds.waiting_in_all_max;
            places.ask(record.location(), question.radius, asker, askers_max, cx.io)
        });
        let waits_for_disk = verdict == Verdict::Wait;
        let Some(json) = known else {
            let promise = waits_for_disk.then_some(Promise { change, line });
            self.queue(me, cx).wait(promise);
            if waits_for_disk {
                wait_for_disk(me, cx);
            }
            return Next::GoOn;
        };
        let start = answers.len();
        Reply { at_line: record.line.to_vec(), json }.write(answers);
        if waits_for_disk {
            self.promised(me, line, question.client, start, cx);
        } else {
            self.replied(me, start, cx);
        }
        Next::GoOn
    }

    /// Why nothing more may be asked of Places now, with so many bytes held in all; `None`: it may.
    fn too_many(&self, bounds: &Bounds, held_bytes: usize) -> Option<&'static str> {
        let waiting = self.rare.as_ref().map_or(0, |rare| rare.replies.waiting());
        if waiting >= bounds.waiting_max || self.holds_enough() {
            return Some("places: too many questions of this connection are waiting");
        }
        if held_bytes < bounds.held_in_all_max_bytes {
            return None;
        }
        Some(TOO_MUCH_HELD)
    }

    /// Places has answered, or never will.
    pub fn answered(&mut self, place: u64, reply: Reply, server: &mut Server) {
        if let Some(rare) = &mut self.rare {
            rare.replies.fill(place, reply, &mut server.held_bytes);
        }
    }

    /// The connection is lost: what it held is held no more, and what it waited for is not asked.
    pub fn drop_replies(&mut self, me: Token, cx: &mut Ctx<'_, Server>) {
        let Some(rare) = &mut self.rare else { return };
        if rare.replies.waiting() > 0 {
            let address = cx.io.peer(me).and_then(Network::of);
            cx.app.places.asker_gone(Who { address, connection: me }, cx.io);
        }
        rare.replies.drop_all(&mut cx.app.held_bytes);
    }

    /// Sends the replies before which nothing is waited for any more, with what stands behind them, as far
    /// as the peer takes them. To be called again when it has taken more.
    pub fn send_ready(&mut self, me: Token, cx: &mut Ctx<'_, Server>) {
        let Some(rare) = self.rare.as_mut().filter(|rare| !rare.replies.is_empty()) else { return };
        let peer = peer(me, cx);
        let Server { journal, held_bytes, .. } = &mut *cx.app;
        let verdict = |change| verdict(journal.as_ref(), change);
        while !cx.io.is_choked(me) && rare.replies.is_ready(verdict) {
            let written = cx.io.write_with(me, |out| {
                let start = out.len();
                let written = rare.replies.write_ready(verdict, out, held_bytes);
                log_written(me, peer, written, out.get(start..).unwrap_or_default());
            });
            if written.is_none() {
                return;
            }
        }
        if rare.replies.is_empty() {
            cx.io.settle(me);
            self.tidy();
        }
    }

    pub fn cut_off(
        &mut self,
        me: Token,
        start: &[u8],
        why: &str,
        cx: &mut Ctx<'_, Server>,
    ) -> Next {
        let peer = peer(me, cx);
        let words = format_args!("{peer} is closed: its line is {why}; it began {}", Text(start));
        cx.io.warn("line cut off", About::Connection(me), start.len(), words);
        self.reply(me, cx, |out| write_cut_off(out, start));
        Next::Close
    }

    /// Answers a line as an invalid command, whatever it says.
    pub fn refuse(&mut self, me: Token, line: &[u8], cx: &mut Ctx<'_, Server>) {
        logging::received(me, || peer(me, cx), line);
        self.reply(me, cx, |out| write_refusal(out, line));
    }

    fn reply(&mut self, me: Token, cx: &mut Ctx<'_, Server>, compose: impl FnOnce(&mut Vec<u8>)) {
        let start = cx.app.answers.len();
        compose(&mut cx.app.answers);
        self.replied(me, start, cx);
    }

    /// A reply with an AT line has been composed, from `start` on in the answers. It leaves when the
    /// record that is known of this client is on disk. If that is not so in time, the line is refused.
    #[cold]
    fn promised(
        &mut self,
        me: Token,
        line: &[u8],
        client: &[u8],
        start: usize,
        cx: &mut Ctx<'_, Server>,
    ) {
        let change = cx.app.herd.change_of(client);
        match verdict(cx.app.journal.as_ref(), change) {
            Verdict::Send => self.replied(me, start, cx),
            Verdict::Refuse => {
                cx.app.answers.truncate(start);
                self.reply(me, cx, |out| write_refusal(out, line));
            }
            Verdict::Wait => {
                let replies = self.queue(me, cx);
                let Server { answers, held_bytes, .. } = &mut *cx.app;
                let text = answers.get(start..).unwrap_or_default();
                replies.hold(text, Some(Promise { change, line }), held_bytes);
                answers.truncate(start);
                wait_for_disk(me, cx);
            }
        }
    }

    /// The queue of replies that wait. While there is something in it, the connection is owed a reply.
    fn queue(&mut self, me: Token, cx: &mut Ctx<'_, Server>) -> &mut Replies {
        let replies = &mut self.rare().replies;
        if replies.is_empty() {
            cx.io.owe(me);
        }
        replies
    }

    /// A reply has been composed, from `start` on in the answers. It goes out with them, unless it has to
    /// stand behind one that is waited for.
    #[inline]
    fn replied(&mut self, me: Token, start: usize, cx: &mut Ctx<'_, Server>) {
        // With nothing rare there is nothing to stand behind, and a log without traffic is told nothing:
        // the reply stays where it was composed, as nearly every one does.
        if self.rare.is_none() && !logging::tells_traffic() {
            return;
        }
        let text = cx.app.answers.get(start..).unwrap_or_default();
        match self.rare.as_mut().filter(|rare| !rare.replies.is_empty()) {
            None => log_reply(me, text, cx),
            Some(rare) => {
                rare.replies.hold(text, None, &mut cx.app.held_bytes);
                cx.app.answers.truncate(start);
            }
        }
    }

    /// Whether so much stands behind a reply which is waited for that nothing more is to be answered.
    pub fn holds_enough(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.replies.held_bytes() >= HIGH_WATER_BYTES)
    }

    pub fn has_unanswered(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| !rare.unanswered.is_empty())
    }

    pub fn line_began(&self) -> Option<Instant> {
        self.rare.as_ref()?.line_began
    }

    pub fn line_ended(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.line_began = None;
            self.tidy();
        }
    }

    /// What is rare, made for whoever needs it now.
    pub fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// What is rare, unless it has become empty.
    pub fn tidy(&mut self) -> Option<&mut Rare> {
        if self.rare.as_ref().is_some_and(|rare| rare.is_empty()) {
            self.rare = None;
        }
        self.rare.as_deref_mut()
    }
}

impl Rare {
    fn is_empty(&self) -> bool {
        let Self { replies, line_began, unanswered, told_to_go_on, ended } = self;
        let waits = *told_to_go_on || ended.is_some() || !unanswered.is_empty();
        replies.is_empty() && line_began.is_none() && !waits
    }
}

/// Refuses a Telnet option at once, also past replies that are waited for: after a Ctrl-C the usual
/// telnet hides everything until this answer, so one that came behind a WHATSAT's reply would cost
/// its user that reply.
pub(super) fn telnet_requested(me: Token, answer: [u8; 3], cx: &mut Ctx<'_, Server>) -> Next {
    log_reply(me, &answer, cx);
    cx.app.answers.extend_from_slice(&answer);
    Next::GoOn
}

/// Hands what has been answered to the connection.
pub(super) fn send_answers(me: Token, cx: &mut Ctx<'_, Server>) {
    if !cx.app.answers.is_empty() {
        cx.io.write(me, &cx.app.answers);
        cx.app.answers.clear();
    }
}

/// Whether AT lines wait for the disk.
fn promises(cx: &Ctx<'_, Server>) -> bool {
    cx.app.journal.as_ref().is_some_and(Journal::withholds_replies)
}

/// What becomes of a reply that tells of this change.
fn verdict(journal: Option<&Journal>, change: u64) -> Verdict {
    journal.map_or(Verdict::Send, |journal| journal.verdict(change))
}

/// The journal is to tell this connection when its replies may leave, or are refused.
fn wait_for_disk(me: Token, cx: &mut Ctx<'_, Server>) {
    if let Some(journal) = &mut cx.app.journal {
        journal.wait(me, &cx.app.herd, cx.io);
    }
}

/// Who is at the other end.
pub(super) fn peer(me: Token, cx: &Ctx<'_, Server>) -> Peer {
    cx.io.peer(me).unwrap_or(Peer::Unknown)
}

fn log_reply(me: Token, text: &[u8], cx: &Ctx<'_, Server>) {
    logging::sent(me, || peer(me, cx), text);
}

/// Logs what has left the queue, each reply as a line of its own.
fn log_written(me: Token, peer: Peer, written: Written, text: &[u8]) {
    if written == Written::Reply {
        return logging::sent(me, || peer, text);
    }
    if logging::tells_traffic() {
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            logging::sent(me, || peer, line);
        }
    }
}
