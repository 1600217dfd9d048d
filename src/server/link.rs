//! Links to neighbours: dial, introduce, pump, notice silence, dial again.
//!
//! What is said on a link and what follows from it is decided in `herd/links.rs`; here are the
//! connections that carry it. Each server dials each of its neighbours and sends its changes there
//! ([`Dialled`]); what a neighbour's changes arrive on is a connection that the neighbour dialled
//! ([`Heard`]). Called by the reactor, and at each turn's end by [`Server`].
//!
//! Who is believed to be a neighbour is decided in [`trust`](super::trust).

use super::logging::Text;
use super::trust::Trust;
use super::{Event, Server, random};
use crate::herd::Herd;
use crate::herd::backoff::Backoff;
use crate::herd::links::{Answer, NeighbourId, Pumped, ResumedFrom, Taken};
use crate::herd::liveness::{Due, Liveness, SECOND_LOOK_AFTER};
use crate::reactor::limits::HIGH_WATER_BYTES;
use crate::reactor::{Ctx, DelayedCall, Io, Protocol, Reason, Target, Token};
use crate::wire::line::{Input, LineReceiver};
use crate::wire::peer::PEER_LINE_MAX_BYTES;

/// The first byte of a TLS record that says what was wrong (RFC 8446, section 5.1): the answer of a
/// server that speaks only TLS to one that does not.
const TLS_ALERT: u8 = 21;

/// The connections to all neighbours.
pub struct Links {
    trust: Trust,
    /// In the order of the herd's neighbours.
    links: Vec<Link>,
}

/// What is kept of one neighbour beside what `herd` knows.
struct Link {
    backoff: Backoff,
    state: State,
    /// The connection that the neighbour dialled, on which its changes arrive.
    heard: Option<Token>,
    /// Records sent since the link came up, until it has caught up.
    catching_up: Option<usize>,
}

/// The connection that this server dials.
#[derive(Clone, Copy)]
enum State {
    /// To be dialled when that call is due.
    Waiting(DelayedCall),
    /// Connecting, or introducing.
    Dialling,
    /// Changes flow.
    Up(Token),
    /// The server is stopping.
    Ended,
}

/// What `STATUS` tells of one link.
#[derive(Clone, Copy)]
pub struct LinkStatus {
    /// `up`, `dialling` or `down`.
    pub state: &'static str,
    /// At most how many records the neighbour lacks.
    pub backlog: usize,
    /// Whether the neighbour's own connection is here.
    pub heard_from: bool,
}

impl Links {
    /// A link to each neighbour, with no connection yet.
    pub fn new(herd: &Herd, trust: Trust) -> Self {
        let link = |_| Link {
            backoff: Backoff::default(),
            state: State::Ended,
            heard: None,
            catching_up: None,
        };
        Self { trust, links: herd.neighbours().map(link).collect() }
    }

    /// Whether neighbours prove who they are.
    pub fn have_keys(&self) -> bool {
        self.trust.is_proof()
    }

    /// Dials a neighbour now, unless that is done or under way.
    pub fn dial(&mut self, herd: &Herd, id: NeighbourId, io: &mut Io<Server>) {
        let (Some(link), Some(server)) =
            (self.links.get_mut(id.index()), herd.neighbour_server(id))
        else {
            return;
        };
        match link.state {
            State::Dialling | State::Up(_) => return,
            State::Waiting(call) => {
                io.cancel(call);
            }
            State::Ended => {}
        }
        link.state = State::Dialling;
        let options = self.trust.dialling(&server.name);
        let dialled = Dialled {
            neighbour: id,
            name: server.name.clone(),
            tls: options.tls.is_some(),
            lines: LineReceiver::raw(PEER_LINE_MAX_BYTES),
            liveness: Liveness::new(io.now()),
        };
        io.connect_tcp(&server.host, server.port, options, Box::new(dialled));
    }

    /// Sends each link what it lacks, as far as its output has room.
    pub fn pump(&mut self, herd: &mut Herd, io: &mut Io<Server>) {
        for (link, id) in self.links.iter_mut().zip(herd.neighbours()) {
            let State::Up(token) = link.state else { continue };
            if !herd.lacks_changes(id) || !io.may_produce(token) {
                continue;
            }
            let composed = io.write_with(token, |output| {
                let start = output.len();
                let pumped = herd.pump(id, output, HIGH_WATER_BYTES);
                log_sent(name(herd, id), output.get(start..).unwrap_or_default());
                pumped
            });
            link.note_pumped(herd, id, composed.unwrap_or_default());
            if io.may_produce(token) && herd.lacks_changes(id) {
                // It stopped for another reason than a full output, so nothing else will wake it.
                io.post(Target::Application, Event::PumpAgain);
            }
        }
    }

    /// What `STATUS` tells of a link.
    pub fn status(&self, herd: &Herd, id: NeighbourId) -> Option<LinkStatus> {
        let link = self.links.get(id.index())?;
        let state = match link.state {
            State::Up(_) => "up",
            State::Dialling => "dialling",
            State::Waiting(_) | State::Ended => "down",
        };
        let heard_from = link.heard.is_some();
        Some(LinkStatus { state, backlog: herd.backlog(id), heard_from })
    }
}

impl Link {
    fn note_pumped(&mut self, herd: &Herd, id: NeighbourId, pumped: Pumped) {
        if let Some(sent) = &mut self.catching_up {
            *sent += pumped.records;
            if !herd.lacks_changes(id) {
                log::info!("{} has caught up: {sent} records were sent", name(herd, id));
                self.catching_up = None;
            }
        }
    }
}

impl Server {
    /// Somebody says that it is a neighbour, on the connection `me`. The error says why it is not
    /// believed.
    pub fn hello_received(
        &mut self,
        me: Token,
        version: u64,
        said: &[u8],
        identity: u64,
        io: &Io<Self>,
    ) -> Result<NeighbourId, String> {
        // A name that no neighbour has is refused below, in better words.
        if let Some(id) = self.herd.neighbour_named(said) {
            self.links.trust.admits(id, name(&self.herd, id), me, io)?;
        }
        self.herd.hello_received(version, said, identity).map_err(|refusal| refusal.to_string())
    }
}

/// A connection that this server dialled: its changes go out, heartbeats come back.
struct Dialled {
    neighbour: NeighbourId,
    name: String,
    tls: bool,
    lines: LineReceiver,
    liveness: Liveness,
}

impl Protocol<Server> for Dialled {
    fn connection_made(&mut self, me: Token, cx: &mut Ctx<'_, Server>) {
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
                Ok(Answer::Hello | Answer::Here(_)) => {}
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
                        link.backoff.reset();
                        link.catching_up = (behind > 0).then_some(0);
                    }
                }
                Err(nonsense) => {
                    let (name, meaning) = (&self.name, meaning(line));
                    log::warn!("link to {name} is cut: {nonsense}{meaning}: {}", Text(line));
                    return cx.io.abort_connection(me);
                }
            }
        }
    }

    fn event_received(&mut self, me: Token, _event: Event, cx: &mut Ctx<'_, Server>) {
        let (herd, id) = (&mut cx.app.herd, self.neighbour);
        beat(me, &self.name, &mut self.liveness, cx.io, |output| herd.write_mark(id, output));
    }

    fn connection_lost(&mut self, _me: Token, why: &Reason, cx: &mut Ctx<'_, Server>) {
        cx.app.herd.link_lost(self.neighbour);
        let Some(link) = cx.app.links.links.get_mut(self.neighbour.index()) else { return };
        let was_up = matches!(link.state, State::Up(_));
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
            log::warn!("link to {name} is down: {why}; dialling again in {next} ms");
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

/// A connection that a neighbour dialled: its changes come in, heartbeats go out.
pub struct Heard {
    neighbour: NeighbourId,
    name: String,
    lines: LineReceiver,
    liveness: Option<Liveness>,
    /// What came behind the HELLO in the same read.
    input: Vec<u8>,
    /// Lines that were news here.
    news: u64,
}

impl Heard {
    /// For a neighbour that has been let in.
    pub fn new(neighbour: NeighbourId) -> Self {
        Self {
            neighbour,
            name: String::new(),
            lines: LineReceiver::raw(PEER_LINE_MAX_BYTES),
            liveness: None,
            input: Vec::new(),
            news: 0,
        }
    }

    /// The same with input that has been read already.
    #[must_use]
    pub fn with_input(self, input: &[u8]) -> Self {
        Self { input: input.to_vec(), ..self }
    }

    fn lines_received(&mut self, me: Token, mut data: &[u8], cx: &mut Ctx<'_, Server>) {
        while let Some(input) = self.lines.next(&mut data) {
            let Input::Line(line) = input else { return cut(me, &self.name, "too long", cx) };
            log::log!(level_of(line), "{} > {}", self.name, Text(line));
            match cx.app.herd.dialler_line_received(self.neighbour, line) {
                Ok(Taken::Changed) => self.news += 1,
                Ok(_) => {}
                Err(nonsense) => {
                    log::warn!("link from {} is cut: {nonsense}: {}", self.name, Text(line));
                    return cx.io.abort_connection(me);
                }
            }
        }
    }
}

impl Protocol<Server> for Heard {
    fn connection_made(&mut self, me: Token, cx: &mut Ctx<'_, Server>) {
        let id = self.neighbour;
        name(&cx.app.herd, id).clone_into(&mut self.name);
        cx.io.set_urgent(me);
        cx.io.stop_withholding_output(me);
        let Some(link) = cx.app.links.links.get_mut(id.index()) else {
            return cx.io.abort_connection(me);
        };
        // Of two connections the later one is the neighbour's present one; the marks of the earlier
        // might belong to an earlier start of it.
        if let Some(earlier) = link.heard.replace(me) {
            cx.io.abort_connection(earlier);
        }
        link.backoff.reset();
        log::info!("link from {} is up", self.name);
        write(me, &self.name, cx.io, |output| cx.app.herd.write_resume(id, output));
        // A neighbour that dials in is back: no need to wait before dialling it.
        cx.app.links.dial(&cx.app.herd, id, cx.io);
        let mut liveness = Liveness::new(cx.io.now());
        beat(me, &self.name, &mut liveness, cx.io, |_| {});
        self.liveness = Some(liveness);
        let input = std::mem::take(&mut self.input);
        self.lines_received(me, &input, cx);
    }

    fn data_received(&mut self, me: Token, data: &[u8], cx: &mut Ctx<'_, Server>) {
        if let Some(liveness) = &mut self.liveness {
            liveness.heard(cx.io.now());
        }
        self.lines_received(me, data, cx);
    }

    fn event_received(&mut self, me: Token, _event: Event, cx: &mut Ctx<'_, Server>) {
        let (herd, id) = (&cx.app.herd, self.neighbour);
        let Some(liveness) = &mut self.liveness else { return };
        beat(me, &self.name, liveness, cx.io, |output| herd.write_here(id, output));
    }

    fn connection_lost(&mut self, me: Token, why: &Reason, cx: &mut Ctx<'_, Server>) {
        if let Some(link) = cx.app.links.links.get_mut(self.neighbour.index())
            && link.heard == Some(me)
        {
            link.heard = None;
        }
        log::info!("link from {} is down: {why}; it brought {} news", self.name, self.news);
    }
}

/// Does what is due for a link's life, and arranges to be called again.
fn beat(
    me: Token,
    name: &str,
    liveness: &mut Liveness,
    io: &mut Io<Server>,
    heartbeat: impl FnOnce(&mut Vec<u8>),
) {
    let now = io.now();
    if liveness.due(now) == Due::Heartbeat {
        write(me, name, io, heartbeat);
        liveness.told(now);
    }
    match liveness.due(now) {
        Due::At(moment) => {
            io.call_later(moment.saturating_duration_since(now), me, Event::Beat);
        }
        Due::Heartbeat => {}
        Due::Lost if !liveness.suspect() => {
            io.call_later(SECOND_LOOK_AFTER, me, Event::Beat);
        }
        Due::Lost => {
            log::warn!("link with {name} is cut: not a word from it for too long");
            io.abort_connection(me);
        }
    }
}

/// What nonsense most likely means: our own HELLO comes back as an invalid command does.
fn meaning(line: &[u8]) -> &'static str {
    if line.starts_with(b"? HELLO ") {
        "; it does not believe that this server is its neighbour, and its log says why (do both have keys, of \
         the same authority, and the same topology?)"
    } else {
        ""
    }
}

fn cut(me: Token, name: &str, why: &str, cx: &mut Ctx<'_, Server>) {
    log::warn!("link with {name} is cut: its line is {why}");
    cx.io.abort_connection(me);
}

fn name(herd: &Herd, id: NeighbourId) -> &str {
    herd.neighbour_server(id).map_or("", |server| &server.name)
}

/// Writes to a link, and logs what it wrote.
fn write(to: Token, name: &str, io: &mut Io<Server>, compose: impl FnOnce(&mut Vec<u8>)) {
    io.write_with(to, |output| {
        let start = output.len();
        compose(output);
        log_sent(name, output.get(start..).unwrap_or_default());
    });
}

fn log_sent(name: &str, text: &[u8]) {
    if !log::log_enabled!(log::Level::Info) {
        return;
    }
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        log::log!(level_of(line), "{name} < {}", Text(line));
    }
}

/// Heartbeats come every other second for as long as a link is up, and tell nothing to most readers.
fn level_of(line: &[u8]) -> log::Level {
    let heartbeat = line.starts_with(b"MARK ") || line.starts_with(b"HERE ");
    if heartbeat { log::Level::Debug } else { log::Level::Info }
}
