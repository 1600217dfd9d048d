//! Links to neighbours: dial, introduce, pump, notice silence, dial again.
//!
//! What is said on a link and what follows from it is decided in `herd/links.rs`; here are the
//! connections that carry it. Each server dials each of its neighbours and sends its changes there
//! ([`Dialled`]); what a neighbour's changes arrive on is a connection that the neighbour dialled
//! ([`Heard`]). This file keeps the account of both; called by them, and at each turn's end by [`Server`].
//!
//! Who is believed to be a neighbour is decided in [`trust`](super::trust).

mod dialled;
mod heard;
mod lines;
mod moves;

use std::time::{Duration, Instant};

use log::Level;

use super::clock::{self, Seldom};
use super::trust::Trust;
use super::{Event, Server};
use crate::herd::Herd;
use crate::herd::backoff::Backoff;
use crate::herd::links::{NeighbourId, Pumped};
use crate::herd::topology::Endpoint;
use crate::reactor::bounds::limits::HIGH_WATER_BYTES;
use crate::reactor::{DelayedCall, Io, Peer, Target, Token};
use crate::wire::peer::HelloFields;
use crate::wire::time::Nanos;
use dialled::Dialled;
pub use heard::Heard;
use lines::log_sent;
use moves::Moving;

/// The connections to all neighbours.
pub struct Links {
    /// By what neighbours are known. It may change while the server runs.
    pub trust: Trust,
    /// In the order of the herd's neighbours, those that it has no more included.
    links: Vec<Link>,
}

/// What is kept of one neighbour beside what `herd` knows.
struct Link {
    backoff: Backoff,
    state: State,
    /// Where the connection of that state goes, or went.
    endpoint: Option<Endpoint>,
    /// The attempt at another address, while the connection to the one before is up.
    moving: Option<Moving>,
    /// The connection that the neighbour dialled, on which its changes arrive.
    heard: Option<Token>,
    /// When something was last read from it.
    heard_at: Instant,
    /// When this server's own connection came up.
    up_since: Option<Instant>,
    /// How far the neighbour's clock was ahead at its last HELLO, if that was too far.
    clock_differs: Option<Nanos>,
    warnings: Warnings,
    /// Records sent since the link came up, until it has caught up.
    catching_up: Option<usize>,
    /// How many clients and bytes its store holds at most, as it said last.
    said_bounds: (Option<u64>, Option<u64>),
}

/// What a link warns of seldom, however often it happens.
#[derive(Clone, Copy, Default)]
struct Warnings {
    down: Seldom,
    cut: Seldom,
    clock: Seldom,
    name: Seldom,
}

/// The connection that this server dials.
#[derive(Clone, Copy)]
enum State {
    /// To be dialled when that call is due.
    Waiting(DelayedCall),
    /// Connecting, or introducing.
    Dialling(Token),
    /// Changes flow.
    Up(Token),
    /// Not dialled, and not to be: the server is stopping, or the topology has no such link.
    Ended,
}

/// What `STATUS` tells of one link.
#[derive(Clone, Copy)]
pub struct LinkStatus {
    /// `up`, `dialling` or `down`.
    pub state: &'static str,
    /// At most how many records the neighbour lacks.
    pub backlog: usize,
    /// Whether it is up and replies do not wait for it, since it has not taken all that it was sent.
    pub is_behind: bool,
    /// How often it has fallen behind.
    pub times_behind: u64,
    /// Whether the neighbour's own connection is here.
    pub heard_from: bool,
}

impl Links {
    /// A link to each neighbour, with no connection yet.
    pub fn new(herd: &Herd, trust: Trust) -> Self {
        Self { trust, links: herd.neighbours().map(|_| Link::new()).collect() }
    }

    /// Whether neighbours prove who they are.
    pub fn have_keys(&self) -> bool {
        self.trust.is_proof()
    }

    /// Dials a neighbour now, unless that is done or under way.
    pub fn dial(&mut self, herd: &Herd, id: NeighbourId, io: &mut Io<Server>) {
        let (Some(link), Some(to)) = (self.links.get_mut(id.index()), herd.dialled_at(id)) else {
            return;
        };
        match link.state {
            State::Up(_) if link.endpoint.as_ref() != Some(&to) => {
                return self.dial_new_address(herd, id, &to, io);
            }
            State::Dialling(_) | State::Up(_) => return,
            State::Waiting(call) => {
                io.cancel(call);
            }
            State::Ended => {}
        }
        link.state = State::Dialling(connect(&self.trust, herd, id, &to, io));
        link.endpoint = Some(to);
    }

    /// Decides which links are current in the turn that begins: replies wait for those.
    pub fn turn_begins(&self, herd: &mut Herd, io: &Io<Server>) {
        for (link, id) in self.links.iter().zip(herd.neighbours()) {
            if let State::Up(token) = link.state {
                herd.turn_begins(id, io.backlog(token) == 0);
            }
        }
    }

    /// Sends each link what it lacks: all that the turn brought to one that is current, a share to one
    /// that is behind and has room. What is written here leaves before any client's reply.
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

    /// Ends the connections that this server dialled. They are dialled again and begin with a HELLO,
    /// which tells what the clock is now.
    pub fn introduce_anew(&self, io: &mut Io<Server>) {
        for link in &self.links {
            if let State::Up(token) = link.state {
                io.abort_connection(token);
            }
        }
    }

    /// Ends all connections to neighbours: this server starts anew with them.
    pub fn start_anew(&self, io: &mut Io<Server>) {
        self.introduce_anew(io);
        self.links
            .iter()
            .filter_map(|link| link.heard)
            .for_each(|token| io.abort_connection(token));
    }

    /// At what level it is said that a neighbour's line ended its link.
    fn cut_level(&mut self, id: NeighbourId, now: Instant) -> Level {
        self.links.get_mut(id.index()).map_or(Level::Warn, |link| link.warnings.cut.level(now))
    }

    /// A neighbour's clock is so far ahead of this server's.
    pub fn note_clock(&mut self, herd: &Herd, id: NeighbourId, ahead: Nanos, now: Instant) {
        let Some(link) = self.links.get_mut(id.index()) else { return };
        let (name, span) = (name(herd, id), clock::span(ahead.abs()));
        let before = link.clock_differs.take();
        if !clock::agree(ahead) {
            link.clock_differs = Some(ahead);
            if before.is_none_or(|before| !clock::agree(ahead - before)) {
                link.warnings.clock = Seldom::default();
            }
            let side = if ahead < 0 { "behind" } else { "ahead of" };
            let level = link.warnings.clock.level(now);
            log::log!(
                level,
                "the clock of {name} is {span} {side} this server's: one of the two is wrong, and what the \
                 herd knows may differ until it is right"
            );
        } else if before.is_some() {
            log::warn!("the clock of {name} agrees with this server's again");
        }
    }

    /// Has room made for the connections of neighbours that are not here, however many strangers are.
    pub fn expect_missing(&self, herd: &Herd, io: &mut Io<Server>) {
        let missing = |(link, id): (&Link, NeighbourId)| {
            link.heard.is_none() && herd.neighbour_server(id).is_some()
        };
        io.expect_apart(self.links.iter().zip(herd.neighbours()).any(missing));
    }

    /// What `STATUS` tells of a link.
    pub fn status(&self, herd: &Herd, id: NeighbourId) -> Option<LinkStatus> {
        let link = self.links.get(id.index())?;
        let state = match link.state {
            State::Up(_) => "up",
            State::Dialling(_) => "dialling",
            State::Waiting(_) | State::Ended => "down",
        };
        let heard_from = link.heard.is_some();
        let backlog = herd.backlog(id);
        let (is_behind, times_behind) = (herd.is_behind(id), herd.times_behind(id));
        Some(LinkStatus { state, backlog, is_behind, times_behind, heard_from })
    }
}

impl Link {
    fn new() -> Self {
        Self {
            backoff: Backoff::default(),
            state: State::Ended,
            endpoint: None,
            moving: None,
            heard: None,
            heard_at: Instant::now(),
            up_since: None,
            clock_differs: None,
            warnings: Warnings::default(),
            catching_up: None,
            said_bounds: (None, None),
        }
    }

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
    ) -> Result<NeighbourId, (Level, String)> {
        let warn = |why| (Level::Warn, why);
        // A name that no neighbour has is refused below, in better words.
        if let Some(id) = self.herd.neighbour_named(said) {
            self.links.trust.admits(name(&self.herd, id), me, io).map_err(warn)?;
            self.one_of_that_name(id, me, identity, io)?;
        }
        let outcome = self.herd.hello_received(version, said, identity);
        outcome.map_err(|refusal| warn(refusal.to_string()))
    }

    /// Refuses a second process that calls itself like a neighbour whose connection lives: if each took
    /// the other's place, both would be told everything again, and again.
    ///
    /// A neighbour that was started anew is another process too. Its earlier connection is closed by
    /// then, or is silent, so it is refused for at most [`RIVAL_SILENCE`].
    fn one_of_that_name(
        &mut self,
        id: NeighbourId,
        me: Token,
        identity: u64,
        io: &Io<Self>,
    ) -> Result<(), (Level, String)> {
        let (known, name) = (self.herd.identity_of(id), name(&self.herd, id));
        let Some(link) = self.links.links.get_mut(id.index()) else { return Ok(()) };
        let lives = io.now().saturating_duration_since(link.heard_at) < RIVAL_SILENCE;
        let (Some(first), Some(known)) = (link.heard, known) else { return Ok(()) };
        if known == identity || !lives {
            return Ok(());
        }
        let peer = |token| io.peer(token).unwrap_or(Peer::Unknown);
        Err((
            link.warnings.name.level(io.now()),
            format!(
                "two processes call themselves {name}: {} (start {known:016x}), which stays linked, and {} \
                 (start {identity:016x}), which is refused while the first lives; stop one of them",
                peer(first),
                peer(me)
            ),
        ))
    }

    /// A neighbour has said something about itself in a HELLO. It comes on both connections of a link, and
    /// again whenever one is dialled anew: what is wrong with it is logged when it has changed.
    pub fn fields_received(&mut self, id: NeighbourId, fields: &HelloFields, io: &Io<Self>) {
        self.clock_told(id, fields, io);
        let Some(link) = self.links.links.get_mut(id.index()) else { return };
        let said = (fields.clients, fields.memory);
        if std::mem::replace(&mut link.said_bounds, said) == said {
            return;
        }
        let own = self.herd.hello_fields();
        let differs = |said: Option<u64>, own| said.is_some() && said != own;
        if differs(fields.clients, own.clients) || differs(fields.memory, own.memory) {
            let name = name(&self.herd, id);
            log::warn!(
                "{name} holds at most {}, and this server {}: once one of them is full, they hold different \
                 clients (give all servers the same --max-clients and --max-memory)",
                bounds_in_words(fields),
                bounds_in_words(&own)
            );
        }
    }
}

fn bounds_in_words(fields: &HelloFields) -> String {
    let number =
        |it: Option<u64>| it.map_or_else(|| "any number of".to_owned(), |it| it.to_string());
    format!("{} clients and {} bytes", number(fields.clients), number(fields.memory))
}

/// A neighbour's connection that was silent for this long may be that of a process that is gone: it has
/// missed two heartbeats. Well below the 10 s within which a lost link is noticed in any case.
pub const RIVAL_SILENCE: Duration = Duration::from_secs(4);

/// A link that was up for this long has proved that it works: when it is lost, it is dialled again at
/// once. One that is lost earlier is dialled less and less often.
pub const STEADY_AFTER: Duration = Duration::from_secs(5);

/// Begins a connection to a neighbour.
fn connect(
    trust: &Trust,
    herd: &Herd,
    id: NeighbourId,
    to: &Endpoint,
    io: &mut Io<Server>,
) -> Token {
    let name = name(herd, id);
    let options = trust.dialling(name);
    let is_tls = options.tls.is_some();
    let dialled = Dialled::new(id, name.to_owned(), is_tls, io.now());
    io.connect_tcp(&to.host, to.port, options, Box::new(dialled))
}

fn name(herd: &Herd, id: NeighbourId) -> &str {
    herd.neighbour_name(id)
}

#[cfg(test)]
mod tests;
