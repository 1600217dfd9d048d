//! The four nouns that a program on the reactor is made of, in Twisted's words: an application, the
//! factories that make protocols, the protocols themselves, and what a callback is handed.
//!
//! The reactor calls these; they never call each other. A callback reaches its own state (`self`), the
//! application's one shared value and every socket, but no other handler: what one handler has to tell
//! another travels as an event ([`Io::post`]) and arrives when no callback is running.

use std::fmt;

use super::{Io, Peer, Token};

/// The one value that all handlers of a reactor share: Twisted's `self.factory`, with a few callbacks.
pub trait Application: Sized + 'static {
    /// What handlers post to each other, what delayed calls deliver, what threads send back.
    type Event: Send + 'static;

    /// An event for the application itself has arrived.
    fn event_received(&mut self, _event: Self::Event, _io: &mut Io<Self>) {}

    /// A turn begins, and the clock has been read for it. What had waited in the queues has not been
    /// looked at yet.
    fn turn_begin(&mut self, _io: &mut Io<Self>) {}

    /// Everything of this turn has been handled and nothing is written yet: the moment to hand on what
    /// the turn changed (links, logs, a journal), once, however much it was.
    fn turn_end(&mut self, _io: &mut Io<Self>) {}

    /// SIGTERM, SIGINT, SIGHUP or SIGUSR1 has arrived. By default the first two stop the reactor in order.
    fn signal_received(&mut self, signal: Signal, io: &mut Io<Self>) {
        match signal {
            Signal::Terminate | Signal::Interrupt => io.stop(),
            Signal::Hangup | Signal::User1 => {}
        }
    }
}

/// A signal that the loop is told of. See [`Io::catch_signals`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: stop in order.
    Terminate,
    /// SIGINT: somebody pressed Ctrl-C.
    Interrupt,
    /// SIGHUP: by custom, read the files anew that say how to go on.
    Hangup,
    /// SIGUSR1: by another custom, the same.
    User1,
}

/// What a callback is handed beside its own state.
pub struct Ctx<'a, A: Application> {
    /// The application's one value.
    pub app: &'a mut A,
    /// Every socket, delayed call and queue.
    pub io: &'a mut Io<A>,
}

/// One connection's behaviour. Made by a [`Factory`] for an accepted connection, or handed to
/// [`Io::connect_tcp`].
///
/// Each connection that has a protocol ends with exactly one `connection_lost`, also when it was never
/// made; after it nothing is called any more and the value is dropped. It is told to the protocol that the
/// connection has at that time: one that was [switched](Io::switch_protocol) for another has been dropped
/// without a word.
pub trait Protocol<A: Application> {
    /// The connection is up: accepted or connected, and over TLS shaken hands.
    fn connection_made(&mut self, _me: Token, _cx: &mut Ctx<'_, A>) {}

    /// Bytes have come, in the order they were sent, cut anywhere. At least one.
    fn data_received(&mut self, me: Token, data: &[u8], cx: &mut Ctx<'_, A>);

    /// The peer has finished sending: a FIN, or TLS's `close_notify`. It may well be waiting for the
    /// answer, so this is not the end: output still goes out. By default the connection is lost once
    /// all output and all owed replies are sent.
    fn read_closed(&mut self, me: Token, cx: &mut Ctx<'_, A>) {
        cx.io.lose_connection(me);
    }

    /// Over TLS the peer has sent a bare FIN, without `close_notify`: it has finished sending, or somebody
    /// in between has cut the stream off. Output still goes out. By default the connection ends at once
    /// with [`Reason::Tls`]; a protocol that can tell which of its input is whole may answer that part.
    fn read_truncated(&mut self, me: Token, cx: &mut Ctx<'_, A>) {
        cx.io.end_truncated(me);
    }

    /// An event was posted to this connection, or a delayed call for it has come due.
    fn event_received(&mut self, _me: Token, _event: A::Event, _cx: &mut Ctx<'_, A>) {}

    /// The output had reached the high-water mark and is now below the low one.
    fn resume_producing(&mut self, _me: Token, _cx: &mut Ctx<'_, A>) {}

    /// The connection is gone, for this reason. Exactly once, also when connecting failed.
    fn connection_lost(&mut self, _me: Token, _why: &Reason, _cx: &mut Ctx<'_, A>) {}
}

/// Makes a protocol for each connection that a listener accepts.
pub trait Factory<A: Application> {
    /// A protocol for the connection from `peer`, or `None` to close it at once.
    fn build_protocol(&mut self, peer: Peer, cx: &mut Ctx<'_, A>) -> Option<Box<dyn Protocol<A>>>;
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// [`Io::lose_connection`]: all output was handed over, and the peer has closed its side too.
    Done,
    /// [`Io::abort_connection`], or the reactor stopped.
    Aborted,
    /// It could not be made.
    ConnectFailed {
        /// Host and port, as they were asked for.
        to: String,
        /// Which step failed and why; with several addresses, each of them.
        why: String,
    },
    /// The connection broke: reset, unreachable, timed out. The system's words.
    Broken(String),
    /// TLS failed: a certificate, a record, or an end without `close_notify` (truncation).
    Tls(String),
    /// Some time limit of the reactor ran out; the words say which.
    TimedOut(&'static str),
    /// There was no room for it, and it has not proven to have room of its own
    /// ([`Io::is_on_probation`]).
    NoRoom(&'static str),
    /// It was past one of the bounds that the reactor was given ([`Limits`](super::Limits)); the words say
    /// which.
    Bound(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("closed in order"),
            Self::Aborted => f.write_str("aborted by this server"),
            Self::ConnectFailed { to, why } => write!(f, "cannot connect to {to}: {why}"),
            Self::Broken(why) | Self::Tls(why) | Self::Bound(why) => f.write_str(why),
            Self::TimedOut(what) | Self::NoRoom(what) => f.write_str(what),
        }
    }
}
