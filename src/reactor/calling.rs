//! Calling handlers: the one place where a handler is borrowed and its callback runs.
//!
//! A callback is lent its own handler, the application and `Io`, three disjoint fields of the reactor.
//! When it has returned, and never before, the handlers that it gave birth to move in. Called by the
//! steps of a turn.

use super::connection::Phase;
use super::turn::Reactor;
use super::{Application, Ctx, Io, Protocol, Token};
use crate::reactor::io::sockets::{Birth, Handler, Target};
use crate::reactor::net::accept::find_listener;

impl<A: Application> Reactor<A> {
    pub(super) fn deliver(&mut self, target: Target, event: A::Event) {
        match target {
            Target::Application => {
                self.app.event_received(event, &mut self.io);
                self.settle_births();
            }
            Target::Connection(token) => {
                self.call(token, |protocol, cx| protocol.event_received(token, event, cx));
            }
        }
    }

    /// Calls a protocol, if its connection has not ended.
    pub(super) fn call(
        &mut self,
        token: Token,
        callback: impl FnOnce(&mut dyn Protocol<A>, &mut Ctx<'_, A>),
    ) {
        if self.io.connection(token).is_some_and(|c| c.phase != Phase::Ended) {
            call(&mut self.handlers, &mut self.app, &mut self.io, token, callback);
        }
        self.settle_births();
    }

    /// Calls a protocol, if its connection is open.
    pub(super) fn call_open(
        &mut self,
        token: Token,
        callback: impl FnOnce(&mut dyn Protocol<A>, &mut Ctx<'_, A>),
    ) {
        call_open(&mut self.handlers, &mut self.app, &mut self.io, token, callback);
        self.settle_births();
    }

    /// Handlers born during a callback move in, now that it has returned.
    pub(super) fn settle_births(&mut self) {
        while let Some((token, handler, birth)) = self.io.births.pop_front() {
            let lives = self
                .io
                .sockets
                .get(token.slot())
                .is_some_and(|s| s.generation == token.generation());
            if lives {
                self.move_in(token, handler);
            }
            if lives && birth == Birth::Made {
                let (handlers, app, io) = (&mut self.handlers, &mut self.app, &mut self.io);
                call_open(handlers, app, io, token, |p, cx| p.connection_made(token, cx));
            }
        }
    }

    pub(super) fn move_out(&mut self, token: Token) -> Option<Box<dyn Protocol<A>>> {
        self.handlers.get_mut(token.slot()).and_then(Option::take)
    }

    pub(super) fn move_in(&mut self, token: Token, handler: Handler<A>) {
        let protocol = match handler {
            Handler::Protocol(protocol) => protocol,
            Handler::Factory(factory) => {
                // Those of listeners that are closed go when another comes: there are few of them.
                let sockets = &mut self.io.sockets;
                self.factories.retain(|(of, _)| find_listener(sockets, *of).is_some());
                return self.factories.push((token, factory));
            }
        };
        if self.handlers.len() <= token.slot() {
            self.handlers.resize_with(token.slot() + 1, || None);
        }
        if let Some(place) = self.handlers.get_mut(token.slot()) {
            *place = Some(protocol);
        }
    }
}

/// Calls the protocol at a token's slot. A function of the three fields, so that a caller may lend the
/// protocol bytes out of a fourth.
fn call<A: Application>(
    handlers: &mut [Option<Box<dyn Protocol<A>>>],
    app: &mut A,
    io: &mut Io<A>,
    token: Token,
    callback: impl FnOnce(&mut dyn Protocol<A>, &mut Ctx<'_, A>),
) {
    if let Some(Some(protocol)) = handlers.get_mut(token.slot()) {
        callback(protocol.as_mut(), &mut Ctx { app, io });
    }
}

/// The same, if the connection is open.
pub(super) fn call_open<A: Application>(
    handlers: &mut [Option<Box<dyn Protocol<A>>>],
    app: &mut A,
    io: &mut Io<A>,
    token: Token,
    callback: impl FnOnce(&mut dyn Protocol<A>, &mut Ctx<'_, A>),
) {
    if io.connection(token).is_some_and(|c| c.phase == Phase::Open) {
        call(handlers, app, io, token, callback);
    }
}
