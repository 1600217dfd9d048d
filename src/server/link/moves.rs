//! Links whose neighbours come, go or move, when the server takes another topology.
//!
//! A neighbour that is dialled elsewhere from now on may not listen there yet, since topologies change
//! one server at a time. So the link at the old address stays, and the new address is tried beside it;
//! the first connection there takes the place of the old one. Called by `dialled.rs` and `reload.rs`.

use super::{Link, Links, State, connect};
use crate::herd::links::NeighbourId;
use crate::herd::topology::Endpoint;
use crate::herd::{Herd, NeighbourChange};
use crate::reactor::{DelayedCall, Io, Reason, Target, Token};
use crate::server::{Event, Server, random};

/// An attempt at a neighbour's new address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Moving {
    /// It failed, and is made again when that call is due.
    Waiting(DelayedCall),
    /// Connecting.
    Dialling(Token),
}

/// What a connection to a neighbour is to its link.
pub(super) enum Whose {
    /// The link's present connection.
    Present,
    /// The attempt at another address.
    Moving,
    /// Another has taken its place, or there is no such link any more.
    Nobodys,
}

impl Links {
    /// Dials the new address of a neighbour whose link to the old one is up.
    pub(super) fn dial_new_address(
        &mut self,
        herd: &Herd,
        id: NeighbourId,
        to: &Endpoint,
        io: &mut Io<Server>,
    ) {
        let Some(link) = self.links.get_mut(id.index()) else { return };
        match link.moving {
            Some(Moving::Dialling(_)) => return,
            Some(Moving::Waiting(call)) => {
                io.cancel(call);
            }
            None => {}
        }
        link.moving = Some(Moving::Dialling(connect(&self.trust, herd, id, to, io)));
    }
}

impl Link {
    /// What a connection that this server dialled is to this link.
    pub(super) fn whose(&self, connection: Token) -> Whose {
        match (self.state, self.moving) {
            (State::Dialling(it) | State::Up(it), _) if it == connection => Whose::Present,
            (_, Some(Moving::Dialling(it))) if it == connection => Whose::Moving,
            _ => Whose::Nobodys,
        }
    }

    /// The neighbour cannot be reached at its new address yet.
    pub(super) fn move_failed(
        &mut self,
        id: NeighbourId,
        name: &str,
        why: &Reason,
        io: &mut Io<Server>,
    ) {
        let delay = self.backoff.next_delay(random());
        let call = io.call_later(delay, Target::Application, Event::Dial(id));
        self.moving = Some(Moving::Waiting(call));
        let next = delay.as_millis();
        log::info!(
            "{name} cannot be reached at its new address: {why}; its link stays, dialling again in {next} ms"
        );
    }

    /// The connection to the old address is lost. Answers whether an attempt at the new one takes its
    /// place.
    pub(super) fn goes_on_at_new_address(&mut self, herd: &Herd, id: NeighbourId) -> bool {
        self.state = match self.moving.take() {
            None => return false,
            Some(Moving::Dialling(token)) => State::Dialling(token),
            Some(Moving::Waiting(call)) => State::Waiting(call),
        };
        self.endpoint = herd.dialled_at(id);
        true
    }

    fn drop_move(&mut self, io: &mut Io<Server>) {
        match self.moving.take() {
            Some(Moving::Dialling(token)) => io.abort_connection(token),
            Some(Moving::Waiting(call)) => _ = io.cancel(call),
            None => {}
        }
    }

    /// Ends the connections of a link, and dials no more.
    fn end(&mut self, io: &mut Io<Server>) {
        self.drop_move(io);
        self.drop_dialled(io);
        self.clock_differs = None;
        if let Some(heard) = self.heard.take() {
            io.abort_connection(heard);
        }
    }

    fn drop_dialled(&mut self, io: &mut Io<Server>) {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Waiting(call) => _ = io.cancel(call),
            State::Dialling(token) | State::Up(token) => io.abort_connection(token),
            State::Ended => {}
        }
        (self.catching_up, self.up_since) = (None, None);
    }
}

impl Server {
    /// Dials and drops links as a new topology asks.
    pub(in crate::server) fn change_links(
        &mut self,
        changes: &[NeighbourChange],
        io: &mut Io<Self>,
    ) {
        for change in changes {
            let (NeighbourChange::Added(id)
            | NeighbourChange::Removed(id)
            | NeighbourChange::Moved(id)) = *change;
            while self.links.links.len() <= id.index() {
                self.links.links.push(Link::new());
            }
            let Some(link) = self.links.links.get_mut(id.index()) else { continue };
            link.backoff.reset();
            match change {
                NeighbourChange::Removed(_) => {
                    link.end(io);
                    continue;
                }
                NeighbourChange::Moved(_) => {
                    link.drop_move(io);
                    if matches!(link.state, State::Dialling(_)) {
                        link.drop_dialled(io);
                        self.herd.link_lost(id);
                    }
                }
                NeighbourChange::Added(_) => {}
            }
            self.links.dial(&self.herd, id, io);
        }
        self.links.expect_missing(&self.herd, io);
    }

    /// A connection that this server dialled is made. If it is that to a new address, the one to the old
    /// address has had its time.
    pub(super) fn take_over(&mut self, me: Token, id: NeighbourId, io: &mut Io<Self>) {
        let Some(link) = self.links.links.get_mut(id.index()) else { return };
        if link.moving != Some(Moving::Dialling(me)) {
            return;
        }
        link.moving = None;
        link.drop_dialled(io);
        link.state = State::Dialling(me);
        link.endpoint = self.herd.dialled_at(id);
        self.herd.link_lost(id);
        log::info!("{} is reached at its new address", self.herd.neighbour_name(id));
    }
}
