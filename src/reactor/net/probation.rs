//! Room apart from everybody's: connections past a limit are let in to prove that they have it.
//!
//! Some connections are worth more to a program than all others together, and what tells them apart is
//! said only once they are in. So a connection past the limit of connections, past its address's, or on a
//! listener for nobody else, is accepted on probation: few at a time, and for a short time. The program
//! sets it apart ([`Io::set_apart`]) when it has proven itself, and then it counts against no limit. One
//! that is only past the limit of connections may also wait here until somebody else has gone. Called
//! where connections are accepted and where they go, and by handlers.

use std::collections::VecDeque;
use std::time::Instant;

use crate::reactor::bounds::addresses::Admission;
use crate::reactor::bounds::descriptors;
use crate::reactor::bounds::limits::{
    DESCRIPTOR_RESERVE, PROBATION_HANDSHAKE, PROBATION_LEAST, PROBATION_MAX, PROOF_TIMEOUT,
};
use crate::reactor::connection::Phase;
use crate::reactor::io::sockets::{Due, Kind, find};
use crate::reactor::net::accept::find_listener;
use crate::reactor::{Application, Io, Peer, Reason, Token};

const ADDRESS_IS_FULL: &str = "closed: its address has as many connections as it may";

/// Whose room an accepted connection takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::reactor) enum Standing {
    /// Everybody's: it counts against the limits.
    Counted,
    /// One of the few places for those who are to prove themselves.
    OnProbation,
    /// Room of its own.
    Apart,
}

/// What a connection on probation is past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::reactor) enum Lack {
    /// The limit of connections. It may wait.
    Place,
    /// What its address may have.
    PlaceOfItsAddress,
    /// Its listener is for those alone who prove themselves.
    Proof,
}

/// What room there is for one more on probation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::reactor) enum Room {
    Free,
    /// That of this connection: the first of those that had the time to begin proving themselves, or have
    /// shown that they cannot.
    Of(Token),
    None,
}

/// A connection on probation.
struct Probationer {
    token: Token,
    listener: Token,
    since: Instant,
    lack: Lack,
    /// It has shown that it has no room of its own.
    is_stranger: bool,
}

/// All connections on probation, and how much room is kept apart.
#[derive(Default)]
pub(in crate::reactor) struct Probation {
    /// In the order in which they came.
    queue: VecDeque<Probationer>,
    /// For so many connections room is kept.
    room_apart: usize,
    /// Some of them are not there.
    is_expecting: bool,
    /// How many descriptors accepted connections are to leave free.
    reserve: usize,
    /// The limit of connections that was asked for.
    wanted: usize,
    /// The limit of descriptors, and how many were open when it was read.
    descriptors: Option<(usize, usize)>,
    /// Connections that count against the limit.
    pub counted: usize,
}

impl Probation {
    pub fn new(wanted: usize) -> Self {
        Self { wanted, ..Self::default() }
    }

    fn remove(&mut self, token: Token) {
        self.queue.retain(|it| it.token != token);
    }
}

impl<A: Application> Io<A> {
    /// Keeps room for so many connections that will be [set apart](Io::set_apart), and lets others in on
    /// probation where there are any. Answers the limit of connections that holds now, lowered to what the
    /// process's limit of descriptors has room for beside a
    /// [reserve](crate::reactor::bounds::limits::DESCRIPTOR_RESERVE). To be called when everything that stays open is
    /// open, and again when that room changes.
    pub fn fit_to_descriptors(&mut self, room_apart: usize) -> usize {
        let probation = &mut self.probation;
        probation.room_apart = room_apart;
        if probation.descriptors.is_none() {
            probation.descriptors = descriptors::limit_and_open();
        }
        let (wanted, found) = (probation.wanted, probation.descriptors);
        let reserve = self.descriptor_reserve();
        self.probation.reserve = reserve;
        let room = found.map_or(wanted, |(limit, open)| descriptors::room(limit, open, reserve));
        self.limits.connections = wanted.min(room);
        self.limits.connections
    }

    /// Whether some of those that have room apart are missing, so that others past a limit are let in on
    /// probation to find them. While none is missing, whoever is past a limit waits in the backlog, or
    /// is closed at once, as if there were no room apart.
    pub fn expect_apart(&mut self, are_missing: bool) {
        self.probation.is_expecting = are_missing;
    }

    fn descriptor_reserve(&self) -> usize {
        let is_listener = |kind: &Kind| matches!(kind, Kind::Listener(it) if it.is_tcp());
        let listeners = self.sockets.iter().filter(|(_, socket)| is_listener(&socket.kind)).count();
        let on_probation =
            if self.probation.room_apart > 0 { listeners * PROBATION_MAX } else { 0 };
        DESCRIPTOR_RESERVE + self.probation.room_apart + on_probation
    }

    /// How many connections of one listener may be on probation at a time. Where descriptors are so few
    /// that the reserve is not whole, a quarter of what accepted connections leave free.
    fn places_on_probation(&self) -> usize {
        let Some((limit, open)) = self.probation.descriptors else { return PROBATION_MAX };
        let left = limit.saturating_sub(open).saturating_sub(self.limits.connections);
        if left >= self.probation.reserve {
            PROBATION_MAX
        } else {
            (left / 4).clamp(1, PROBATION_MAX)
        }
    }

    /// This connection has proven that it has room apart: it counts against no limit any more.
    pub fn set_apart(&mut self, token: Token) {
        let Some(connection) = find(&mut self.sockets, token) else { return };
        let (Some(before), peer) = (connection.standing, connection.peer.get()) else { return };
        connection.standing = Some(Standing::Apart);
        self.leave_place(token, before, peer);
    }

    /// Whether this connection is past a limit, and to be told nothing before it has proven itself or
    /// somebody else has gone. In the second case its protocol hears `resume_producing`.
    pub fn is_on_probation(&self, token: Token) -> bool {
        self.connection(token).is_some_and(|c| c.standing == Some(Standing::OnProbation))
    }

    /// A connection on probation has shown that it has no room apart. Answers whether it may wait until
    /// somebody else has gone; if not, its protocol is to lose it.
    pub fn may_wait_for_room(&mut self, token: Token) -> bool {
        let found = self.probation.queue.iter_mut().find(|it| it.token == token);
        found.is_some_and(|it| {
            it.is_stranger = true;
            it.lack == Lack::Place
        })
    }

    /// A connection has had the time to prove itself. If it is still on probation it is closed, unless it
    /// may wait for room.
    pub(in crate::reactor) fn proof_over(&mut self, token: Token) {
        let lack = self.probation.queue.iter().find(|it| it.token == token).map(|it| it.lack);
        let why = match lack {
            None => return,
            Some(Lack::Place) => {
                self.may_wait_for_room(token);
                return;
            }
            Some(Lack::PlaceOfItsAddress) => ADDRESS_IS_FULL,
            Some(Lack::Proof) => "closed: it has not proven itself, which this port is for",
        };
        self.probation.remove(token);
        self.end(token, Reason::NoRoom(why));
    }

    /// Whether a listener may let in one more on probation.
    pub(in crate::reactor) fn room_on_probation(&mut self, listener: Token) -> Room {
        let proof_only = find_listener(&mut self.sockets, listener).is_some_and(|it| it.proof_only);
        if !self.probation.is_expecting && !proof_only {
            return Room::None;
        }
        let of_listener = |it: &&Probationer| it.listener == listener;
        if self.probation.queue.iter().filter(of_listener).count() < self.places_on_probation() {
            return Room::Free;
        }
        let (now, sockets) = (self.now, &mut self.sockets);
        let idle = self.probation.queue.iter().filter(of_listener).find(|it| {
            let shakes_hands =
                find(sockets, it.token).is_some_and(|c| c.phase == Phase::Handshaking);
            let least = if shakes_hands { PROBATION_HANDSHAKE } else { PROBATION_LEAST };
            it.is_stranger || now.saturating_duration_since(it.since) >= least
        });
        idle.map_or(Room::None, |it| Room::Of(it.token))
    }

    /// One more comes on probation: whose place it takes goes.
    pub(in crate::reactor) fn make_room(&mut self, room: Room) {
        if let Room::Of(token) = room {
            self.probation.remove(token);
            self.end(token, Reason::NoRoom("closed: there is no room, and others wait too"));
        }
    }

    /// An accepted connection takes its place.
    pub(in crate::reactor) fn take_place(
        &mut self,
        token: Token,
        listener: Token,
        lack: Option<Lack>,
    ) {
        self.stats.accepted += 1;
        let Some(lack) = lack else { return self.probation.counted += 1 };
        let since = self.now;
        let probationer = Probationer { token, listener, since, lack, is_stranger: false };
        self.probation.queue.push_back(probationer);
        self.timers.add(self.after(PROOF_TIMEOUT), Due::ProofOver(token));
    }

    /// An accepted connection is gone, and so is its place.
    pub(in crate::reactor) fn free_place(&mut self, token: Token, standing: Standing, peer: Peer) {
        self.stats.accepted = self.stats.accepted.saturating_sub(1);
        self.leave_place(token, standing, peer);
    }

    fn leave_place(&mut self, token: Token, standing: Standing, peer: Peer) {
        match standing {
            Standing::Counted => {
                self.addresses.leave(peer);
                self.probation.counted = self.probation.counted.saturating_sub(1);
                self.let_in_who_waits();
            }
            Standing::OnProbation => self.probation.remove(token),
            Standing::Apart => {}
        }
    }

    /// There may be room for those who wait for it, in the order in which they came.
    fn let_in_who_waits(&mut self) {
        while self.probation.counted < self.limits.connections {
            let mut queue = self.probation.queue.iter();
            let Some(at) = queue.position(|it| it.lack == Lack::Place) else { return };
            let Some(Probationer { token, .. }) = self.probation.queue.remove(at) else { return };
            let Some(connection) = find(&mut self.sockets, token) else { continue };
            let peer = connection.peer.get();
            let max = self.limits.connections_per_address.unwrap_or(usize::MAX);
            if self.addresses.enter(peer, max) == Admission::Welcome {
                connection.standing = Some(Standing::Counted);
                self.probation.counted += 1;
                self.drained.push_back(token);
            } else {
                self.end(token, Reason::NoRoom(ADDRESS_IS_FULL));
            }
        }
    }
}
