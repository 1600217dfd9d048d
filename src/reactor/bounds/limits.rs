//! Every bound of the reactor, with its unit and its reason. Nothing here grows without one.
//!
//! Those that a server's owner may want to set are fields of [`Limits`], handed to
//! [`Reactor::with_limits`](crate::reactor::Reactor::with_limits); the constants are their defaults. The others are
//! nobody's business but the loop's.

use std::time::Duration;

/// What connections may take of one reactor.
#[derive(Clone, Debug)]
pub struct Limits {
    /// See [`CONNECTIONS_MAX`].
    pub connections: usize,
    /// See [`CONNECTIONS_PER_ADDRESS_MAX`]. `None`: as many as there are in all.
    pub connections_per_address: Option<usize>,
    /// See [`READ_BUDGET_BYTES`]. At least 1.
    pub input_bytes: usize,
    /// See [`HIGH_WATER_BYTES`].
    pub output_bytes: usize,
    /// See [`UNREAD_MAX_BYTES`]. `None`: no such bound. Urgent connections are excepted from this one and
    /// the next two: links, whose lives the herd looks after.
    pub unread_bytes: Option<usize>,
    /// See [`UNREAD_TIMEOUT`]. `None`: no such bound.
    pub unread_timeout: Option<Duration>,
    /// How long an accepted connection may stay from which nothing is heard and to which nothing is owed.
    /// `None`, which is the default: for ever, as a client may well have nothing to say.
    pub idle_timeout: Option<Duration>,
    /// See [`KEEPALIVE`]. `None`: silent peers are not asked whether they are still there.
    pub keepalive: Option<Duration>,
    /// See [`HANDSHAKE_TIMEOUT`].
    pub handshake_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: CONNECTIONS_MAX,
            connections_per_address: Some(CONNECTIONS_PER_ADDRESS_MAX),
            input_bytes: READ_BUDGET_BYTES,
            output_bytes: HIGH_WATER_BYTES,
            unread_bytes: Some(UNREAD_MAX_BYTES),
            unread_timeout: Some(UNREAD_TIMEOUT),
            idle_timeout: None,
            keepalive: Some(KEEPALIVE),
            handshake_timeout: HANDSHAKE_TIMEOUT,
        }
    }
}

impl Limits {
    /// How much all connections together are read in one turn, bytes. See [`TURN_READ_BUDGETS`].
    pub fn turn_input_bytes(&self) -> usize {
        self.input_bytes.saturating_mul(TURN_READ_BUDGETS)
    }

    /// Where reading starts again that stopped above [`output_bytes`](Self::output_bytes): well below
    /// it, so that it does not flap at one mark.
    pub fn low_water_bytes(&self) -> usize {
        self.output_bytes / 4
    }
}

/// How much one connection is read in one turn. What is left waits for the next turn behind everybody
/// else's, so one busy connection cannot starve the rest. Also the size of the one read buffer.
pub const READ_BUDGET_BYTES: usize = 64 * 1024;

/// How many connections' budgets all links together are read in one turn, and all other connections
/// together, give or take one; and what is taken up of input that earlier turns have left. The others keep their places in the queue. A turn of some thousand
/// full budgets would take many seconds, in which no delayed call comes, no signal is heard and no reply is
/// sent. As many commands as this holds are answered in about a millisecond.
pub const TURN_READ_BUDGETS: usize = 4;

/// How many connections one listener accepts in one turn, so that a crowd cannot starve those who are in.
pub const ACCEPT_BUDGET: usize = 64;

/// A connection with this much unsent output is not read until it has drained: whoever does not take
/// answers may not ask more. Large enough for the answers to one read's worth of commands.
pub const HIGH_WATER_BYTES: usize = 64 * 1024;

/// A connection with so much output that may be sent and that the kernel does not take is closed. Held
/// back above the high-water mark, a connection can get there only by what it had asked before; the longest
/// single answer that is taken from an upstream is a quarter of this. What an application keeps to itself
/// until the peer has taken what is before it is no output yet, and not counted: answers about places,
/// which the server hands over one by one, and which it bounds itself over all connections.
pub const UNREAD_MAX_BYTES: usize = 4 * 1024 * 1024;

/// A connection whose output waits, and of which the kernel takes nothing for so long, is closed: its
/// peer does not read. The kernel's own buffers are full by then, so this is no matter of one reply.
pub const UNREAD_TIMEOUT: Duration = Duration::from_secs(60);

/// After so much silence a peer's kernel is asked whether the connection still is, and four times more
/// in as long a time again (see `net/options.rs`): one whose machine has gone without a word is found
/// within about twice this.
pub const KEEPALIVE: Duration = Duration::from_secs(60);

/// How long accepting pauses after the process ran out of descriptors, or is at its limit of connections.
/// The kernel keeps those who wait in the listener's backlog meanwhile.
pub const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Connections accepted and not yet gone, over all listeners. Past it, accepting pauses.
pub const CONNECTIONS_MAX: usize = 100_000;

/// Connections accepted from one address and not yet gone. Past it, the next is closed at once. Far more
/// than the people behind one address translator need, and far fewer than all.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = 20_000;

/// Connections of one listener that are past a limit and may prove to have room of their own at a time.
/// Enough that a crowd which knocks a thousand times a second leaves each more than [`PROBATION_LEAST`].
pub const PROBATION_MAX: usize = 128;

/// How long such a connection may take to prove itself: two round trips with a lost packet.
pub const PROOF_TIMEOUT: Duration = Duration::from_secs(3);

/// How long it stays in any case, when others wait for its place. Whoever speaks first speaks as soon as it
/// is connected, so its first bytes come with it.
pub const PROBATION_LEAST: Duration = Duration::from_millis(50);

/// The same for one that is in the middle of a TLS handshake.
pub const PROBATION_HANDSHAKE: Duration = Duration::from_secs(1);

/// Descriptors that accepted connections leave free, for what keeps the herd together when clients
/// have all the rest: links that are dialled, the connections to the upstream, a log that is opened anew,
/// a journal that is rewritten, the control socket, and what a library opens for a moment.
pub const DESCRIPTOR_RESERVE: usize = 64;

/// For how many descriptors the kernel's table is made large at the start. Ten times as many as for
/// [`CONNECTIONS_MAX`], in 8 MiB. Beyond it the table grows as it is needed: the system's limit can be a
/// thousand times as high, and a table for that takes gigabytes.
pub const TABLE_MAX_DESCRIPTORS: usize = 1 << 20;

/// How many connections may wait in the kernel to be accepted; the kernel may have a lower limit of its
/// own (`somaxconn`). A crowd that comes at once, after a restart above all, should wait there and not
/// try again a second later.
pub const BACKLOG_MAX: u16 = 4096;

/// How long a closing connection is listened to after our FIN. Closing with unread input makes the
/// kernel send a reset, which can destroy the answer on its way (RFC 9293, section 3.10.4; RFC 1122,
/// section 4.2.2.13).
pub const LINGER: Duration = Duration::from_secs(2);

/// How long after `lose_connection` a connection may stay without the peer taking any of the rest of
/// our output, or without the reply that is owed to it. Longer only for one that keeps reading.
pub const LOSE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long an accepted TLS connection may take to shake hands.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an orderly stop may take before what is left is aborted.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// Addresses of one name that are tried before giving up.
pub const ADDRESSES_MAX: usize = 16;

/// How long after an attempt to connect has begun the next address of the name is tried beside it: the
/// "Connection Attempt Delay" that RFC 8305, section 5, recommends.
pub const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Attempts that one dial has in flight. Each takes a descriptor, from the same
/// [reserve](DESCRIPTOR_RESERVE) as the connection that it is for. The next address waits until one is over.
pub const ATTEMPTS_MAX: usize = 8;

/// Threads for look-ups. A name server that is silent holds each of them for half a minute; one alone
/// would let a single dead domain hold up all others.
pub const LOOK_UP_THREADS_MAX: usize = 4;

/// Connections that wait for look-ups. Past it, one more fails at once.
pub const LOOK_UP_ASKERS_MAX: usize = 1024;

/// Names that are being looked up or whose addresses are remembered. The one that has not been asked for the
/// longest time makes room.
pub const LOOK_UP_NAMES_MAX: usize = 256;

/// Addresses of one name of which it is remembered whether they worked; the oldest makes room. A name may
/// stand for servers at several ports.
pub const VERDICTS_MAX: usize = 2 * ADDRESSES_MAX;

/// Jobs handed to one thread whose results have not been delivered. Past it a job is refused at once.
pub const WORKER_QUEUE_MAX: usize = 1024;

/// The longest delay, a hundred years; a longer one is cut to it. An instant cannot be added to without
/// end, and "never" is a fair thing to ask for.
pub const DELAY_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// What the empty output buffers may hold that are kept for the next connection that has something to say;
/// an idle connection holds none. Enough for sixty full ones in each turn, and for many more with a few replies, and
/// little to keep for ever after a crowd of slow readers.
pub const SPARE_MAX_BYTES: usize = 1024 * 1024;

/// What one of them may hold; a longer one goes back to the system. The replies to some hundred commands
/// fit, and a crowd of slow readers cannot fill with a few long ones the place of those that are used.
pub const SPARE_EACH_MAX_BYTES: usize = 16 * 1024;

/// How much of what a slow reader has taken may lie in front of what it has not.
pub const SENT_MAX_BYTES: usize = 128 * 1024;

/// How long one step of a turn goes on taking up more: delayed calls, events, resuming those whose output has
/// drained, reading links, reading the others, writing to the others, closing. What is left waits for the
/// next turn, at the front of its queue. Long beside what a turn costs in itself (some microseconds), and
/// short enough for all seven together to stay far below [`SLOW_TURN`]. A crowd that leaves keeps three of
/// them busy at a time.
///
/// The rest of a turn is bounded by how much of it there is, not by time: signals, the threads' results (at most
/// [`WORKER_QUEUE_MAX`] of each), writing to links, of which a server has few, and what the application does when
/// a turn begins and ends.
///
/// Each has its own, and not the turn one for all: the first steps would use it up whenever there is much to
/// do, and what they bring forth would pile up before the last.
pub const STEP_TIME: Duration = Duration::from_micros(500);

/// A turn longer than this by the clock is told in the log at the level `debug`, at most once in
/// [`SLOW_TURN_TOLD_EVERY`]: everybody has waited for it.
pub const SLOW_TURN: Duration = Duration::from_millis(10);
/// See [`SLOW_TURN`].
pub const SLOW_TURN_TOLD_EVERY: Duration = Duration::from_secs(1);

/// Kernel events taken from one sleep; what does not fit comes with the next.
pub const EVENTS_PER_TURN: usize = 1024;
