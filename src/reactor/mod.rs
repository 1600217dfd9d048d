//! An event loop on one thread: sockets, delayed calls and protocols, and nothing of herds.
//!
//! # An echo server
//!
//! Complete, and run as a test. It listens on a port that the system chooses, connects to itself, sends a
//! line and stops when the line has come back.
//!
//! ```
//! use herd::reactor::{
//!     Application, ConnectOptions, Ctx, Factory, ListenOptions, Peer, Protocol, Reactor, Token,
//! };
//!
//! /// What all handlers share. Here: what the client heard.
//! struct Heard(Vec<u8>);
//!
//! impl Application for Heard {
//!     type Event = (); // these handlers send each other nothing
//! }
//!
//! /// The server's side of one connection: what comes in goes out.
//! struct Echo;
//!
//! impl Protocol<Heard> for Echo {
//!     fn data_received(&mut self, me: Token, data: &[u8], cx: &mut Ctx<'_, Heard>) {
//!         cx.io.write(me, data);
//!     }
//! }
//!
//! struct EchoFactory;
//!
//! impl Factory<Heard> for EchoFactory {
//!     fn build_protocol(
//!         &mut self,
//!         _peer: Peer,
//!         _cx: &mut Ctx<'_, Heard>,
//!     ) -> Option<Box<dyn Protocol<Heard>>> {
//!         Some(Box::new(Echo))
//!     }
//! }
//!
//! /// The client's side: says one line, and stops the reactor when it has come back.
//! struct Client;
//!
//! impl Protocol<Heard> for Client {
//!     fn connection_made(&mut self, me: Token, cx: &mut Ctx<'_, Heard>) {
//!         cx.io.write(me, b"hello, loop\n");
//!     }
//!
//!     fn data_received(&mut self, _me: Token, data: &[u8], cx: &mut Ctx<'_, Heard>) {
//!         cx.app.0.extend_from_slice(data);
//!         if cx.app.0.ends_with(b"\n") {
//!             cx.io.stop();
//!         }
//!     }
//! }
//!
//! # fn main() -> std::io::Result<()> {
//! let mut reactor = Reactor::new(Heard(Vec::new()))?;
//! let any_port = "127.0.0.1:0".parse().expect("an address");
//! let listener =
//!     reactor.io().listen_tcp(any_port, ListenOptions::default(), Box::new(EchoFactory))?;
//! let port = reactor.io().local_address(listener).expect("it listens").port();
//! reactor.io().connect_tcp("127.0.0.1", port, ConnectOptions::default(), Box::new(Client));
//! reactor.run()?;
//! assert_eq!(reactor.app().0, b"hello, loop\n");
//! # Ok(())
//! # }
//! ```
//!
//! # One turn of the loop
//!
//! ```text
//!     one turn of the loop                                     who is called
//!
//!     ┌───────────┐
//! ┌──▶│ 1 sleep   │ until the kernel has news, or the next     nobody
//! │   │           │ delayed call is due; not at all while
//! │   │           │ a queue has entries
//! │   └─────┬─────┘
//! │   ┌─────▼─────┐
//! │   │ 2 note    │ read the clock once; turn kernel events    Application::turn_begin
//! │   │           │ into flags and queue entries
//! │   └─────┬─────┘
//! │   ┌─────▼─────┐
//! │   │ 3 due     │ run the delayed calls that are due         event_received
//! │   └─────┬─────┘
//! │   ┌─────▼─────┐
//! │   │ 4 serve   │ signals, results of threads, posted        signal_received, event_received,
//! │   │           │ events, drained outputs; then accept       resume_producing, build_protocol,
//! │   │           │ and read, each within its budget           connection_made, data_received,
//! │   │           │                                            read_closed
//! │   └─────┬─────┘
//! │   ┌─────▼─────┐
//! │   │ 5 turn end│ the application hands on what the turn     Application::turn_end
//! │   │           │ has changed, once
//! │   └─────┬─────┘
//! │   ┌─────▼─────┐
//! │   │ 6 flush   │ one write for each connection that has     nobody
//! │   │           │ output, urgent ones first
//! │   └─────┬─────┘
//! │   ┌─────▼─────┐
//! └───│ 7 sweep   │ close what has ended, free its slot        connection_lost
//!     └───────────┘
//!
//! one connection's phases: it only moves to the right
//!
//! connect_tcp ─▶ LookingUp ─▶ Connecting ┬─▶ Handshaking ─┬─▶ Open ─▶ Losing ─▶ Lingering ─▶ Ended
//! accepted ────▶ Undecided ──────────────┤                │
//!                                        └── plain text ──┘
//!
//! LookingUp    a thread looks the name up         Open       the protocol is called
//! Connecting   the kernel tries its addresses     Losing     output leaves, input is dropped
//! Undecided    the first byte will say: TLS?      Lingering  our FIN is sent, the peer's awaited
//! Handshaking  TLS is being agreed                Ended      in the sweep's queue
//!
//! An error, an abort or a time limit leads from any phase to Ended.
//! ```
//!
//! [`Reactor::run`] is [`Reactor::sleep`] and [`Reactor::advance`], again and again. Follow the line
//! `hello, loop` through the server's side of one turn:
//!
//! 1. **sleep** (`turn.rs`). The kernel is asked to wake the loop when a socket has news, or when the next
//!    delayed call is due, whichever comes first. An idle server stands here and uses no processor. The
//!    client's bytes arrive, and the kernel returns one event: our token, "readable".
//! 2. **note**. The clock is read, once for the whole turn. The token finds its connection in the slab, if
//!    its generation still matches; the event becomes the flag `readable` and an entry in the queue
//!    `ready`. No handler runs yet, so no event of this batch can be upset by what a handler does. Then the
//!    application hears that a turn begins (`turn_begin`), where it may do what is done once a turn.
//! 3. **due**. Delayed calls whose time has come; here there are none.
//! 4. **serve**. The connection is taken from `ready` and read once (`connection/stream.rs`), up to a budget.
//!    Twelve bytes came where 65,536 had room: the kernel has no more, and the read that would only say
//!    so is saved. Now `Echo::data_received` is called. It borrows itself, and is handed the application
//!    and [`Io`]: its `write` appends twelve bytes to the connection's output and puts the connection
//!    in the queue `writes`. No system call is made.
//! 5. **turn end**. [`Application::turn_end`] is told once, whatever the turn brought.
//! 6. **flush**. Each connection in `writes` gets one write. A hundred lines that came in one read leave
//!    in this one write. What the kernel does not take stays in the output until the socket is writable.
//! 7. **sweep**. Connections that ended in this turn are closed, told so, and their slots freed: here
//!    and nowhere else, so that no event of this turn can meet a stranger in a used slot.
//!
//! Then the loop sleeps again, unless a queue is not empty. No crowd makes a turn long: each step takes up
//! nothing more when it has lasted half a millisecond (`bounds/pace.rs`), and what it leaves is the first of the next turn.
//!
//! # Why it looks as it does
//!
//! *Edge-triggered, registered once.* A socket is registered for both directions when it is made and never
//! again. The kernel then tells each change once, so the loop must remember: the flags `readable` and
//! `writable` are that memory, and whoever stops reading early (a budget, a pause) puts the connection
//! back into `ready` himself, since no new edge will come.
//!
//! *Split by field.* [`Reactor`] is `{ app, io, handlers, … }`. A callback borrows its own handler out of
//! `handlers` and is handed `&mut app` and `&mut io`: three disjoint borrows, so the compiler proves what
//! Twisted asks its users to take care of. A handler can write to any socket and cannot call any handler;
//! what it has to tell one goes through [`Io::post`].
//!
//! *A FIN is not death.* A peer that has finished sending may be waiting for its answer
//! ([`Protocol::read_closed`]), also for one that somebody else is still working on ([`Io::owe`]). There is
//! one ending rule: asked to go, nothing left to send, no reply owed.
//!
//! *One port for TLS and text.* TLS is a filter inside a connection, so a listener can leave it open until
//! the first byte has come ([`Speech::Either`]): a handshake begins with a byte that no text begins with.
//! That byte is looked at where it was read, and text goes on as if nothing had been asked.
//!
//! # Twisted's names, and ours
//!
//! | Twisted | here |
//! |---|---|
//! | `reactor.run()` | [`Reactor::run`] |
//! | `reactor.listenTCP` | [`Io::listen_tcp`] |
//! | `reactor.connectTCP` | [`Io::connect_tcp`]: handed its one protocol, where Twisted asks a factory |
//! | `reactor.callLater` → `DelayedCall` | [`Io::call_later`] → [`DelayedCall`]; [`Io::cancel`], [`Io::reset`] |
//! | `Factory.buildProtocol` | [`Factory::build_protocol`] |
//! | `connectionMade`, `dataReceived`, `connectionLost` | the same three of [`Protocol`] |
//! | `transport.write` | [`Io::write`], which only appends |
//! | `loseConnection`, `abortConnection` | [`Io::lose_connection`], [`Io::abort_connection`] |
//! | `pauseProducing`, `resumeProducing` | [`Io::pause_producing`], [`Io::resume_producing`] |
//! | `registerProducer` | [`Io::register_producer`] |
//! | `TLSMemoryBIOProtocol` | a layer of the transport (`tls/`) |
//! | `deferToThread` | [`Io::defer_to_thread`]: worker threads by name, results come back as events |
//! | `Deferred` | an event to whoever asked ([`Io::post`]), dropped when the asker is gone |
//! | `addSystemEventTrigger` | [`Application::signal_received`], [`Io::stop`] |
//!
//! # Reading order
//!
//! First the core, the files beside this one: `protocol.rs` (the nouns), `token.rs` (names that never
//! dangle), `turn.rs`, `serve.rs` and `flush.rs` (the seven steps), `calling.rs` (how a handler is called),
//! `timers.rs` (delayed calls). Then what stands around it, folder by folder:
//!
//! | folder | holds |
//! |---|---|
//! | `io/` | what a handler may ask for: the queues, the slab and its generations, flow, time limits |
//! | `connection/` | one connection: its phases, its output, its stream |
//! | `net/` | listening, accepting, connecting, look-ups, socket options, peers |
//! | `tls/` | TLS as a filter on bytes |
//! | `bounds/` | limits, pace, turn time, counts by address, descriptors, warnings |
//! | `threads/` | threads for what must block, and signals |

pub mod bounds;
mod calling;
mod connection;
mod flush;
mod io;
pub mod net;
mod protocol;
mod serve;
mod threads;
mod timers;
mod tls;
mod token;
mod turn;

#[cfg(test)]
mod tests;

pub use crate::reactor::bounds::addresses::Network;
pub use crate::reactor::bounds::limits::Limits;
pub use crate::reactor::bounds::warnings::{
    About, WARNING_ALLOWANCE_BYTES, WARNING_ALLOWANCE_BYTES_PER_SECOND, WARNING_INTERVAL,
    WARNING_SUBJECTS_MAX,
};
pub use crate::reactor::io::sockets::Target;
pub use crate::reactor::net::accept::Speech;
pub use crate::reactor::net::connect::ConnectOptions;
pub use crate::reactor::net::look_up::LookUp;
pub use crate::reactor::net::peer::Peer;
pub use crate::reactor::threads::workers::Refused;
pub use crate::reactor::tls::session::{Credentials, TlsClient, TlsServer, certificates_in_pem};
pub use io::{Io, ListenOptions, Stats};
pub use protocol::{Application, Ctx, Factory, Protocol, Reason, Signal};
pub use timers::DelayedCall;
pub use token::Token;
pub use turn::{Now, Reactor};
