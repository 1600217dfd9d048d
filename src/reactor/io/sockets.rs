//! What stands in the slab, in the queues and in the handlers' places: the plain types of the reactor.
//!
//! No behaviour but finding a connection by its name. Used by every file of the reactor, which is why they
//! stand apart from all of them.

use slab::Slab;

use crate::reactor::connection::Connection;
use crate::reactor::net::accept::Listener;
use crate::reactor::net::connect::Attempt;
use crate::reactor::{Factory, Protocol, Token};

/// Kernel tokens that name no slot. Generations stop short of them.
pub(in crate::reactor) const WAKER: mio::Token = mio::Token(usize::MAX);
pub(in crate::reactor) const SIGNALS: mio::Token = mio::Token(usize::MAX - 1);
pub(in crate::reactor) const GENERATIONS_END: u32 = u32::MAX - 1;

/// Who an event is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// [`Application::event_received`](crate::reactor::Application::event_received).
    Application,
    /// [`Protocol::event_received`] of that connection; dropped when it is gone.
    Connection(Token),
}

impl From<Token> for Target {
    fn from(token: Token) -> Self {
        Self::Connection(token)
    }
}

/// What a delayed call does when its time has come.
pub(in crate::reactor) enum Due<E> {
    Event(Target, E),
    /// A connection's present phase has taken too long.
    PhaseOver(Token),
    /// The peer may have taken nothing of its output since the kernel had taken so many bytes.
    LookAtOutput {
        token: Token,
        sent: u64,
    },
    /// The peer may have been silent for too long.
    LookAtSilence(Token),
    /// A connection on probation has had its time.
    ProofOver(Token),
    /// Accepting was paused and may try again.
    AcceptAgain(Token),
    /// Warnings have waited for a second.
    LogWarnings,
    /// The orderly stop has taken too long.
    StopNow,
}

/// One slot of the slab.
pub(in crate::reactor) struct Socket {
    pub generation: u32,
    pub kind: Kind,
}

pub(in crate::reactor) enum Kind {
    Listener(Listener),
    Connection(Connection),
    /// One address that a dial is connecting to.
    Attempt(Attempt),
}

/// What is born during a callback and moves in when it has returned.
pub(in crate::reactor) enum Handler<A> {
    Protocol(Box<dyn Protocol<A>>),
    Factory(Box<dyn Factory<A>>),
}

/// How far an orderly stop has come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::reactor) enum Stopping {
    No,
    Asked,
    /// Listeners are closed; accepted connections are flushing.
    Accepted,
    /// Only connections that we made are left, flushing too.
    Made,
}

/// Whether a handler born during a callback is to be told `connection_made` when it moves in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::reactor) enum Birth {
    Silent,
    Made,
}

/// The connection of that name, if it still is. A function of the slab alone, so that the other fields
/// of `Io` stay free for use beside what it returns.
pub(in crate::reactor) fn find(
    sockets: &mut Slab<Socket>,
    token: Token,
) -> Option<&mut Connection> {
    match sockets.get_mut(token.slot()) {
        Some(Socket { generation, kind: Kind::Connection(connection) })
            if *generation == token.generation() =>
        {
            Some(connection)
        }
        _ => None,
    }
}
