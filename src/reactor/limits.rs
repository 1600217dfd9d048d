//! Every bound of the reactor, with its unit and its reason. Nothing here grows without one.

use std::time::Duration;

/// How much one connection is read in one turn. What is left waits for the next turn behind everybody
/// else's, so one busy connection cannot starve the rest. Also the size of the one read buffer.
pub const READ_BUDGET_BYTES: usize = 64 * 1024;

/// How much all connections together are read in one turn, give or take one connection's budget. The
/// others keep their places in the queue. Without it some thousand busy connections made a turn of many
/// seconds, in which no delayed call came, no signal was heard and no reply was sent.
pub const TURN_READ_BUDGET_BYTES: usize = 16 * READ_BUDGET_BYTES;

/// How many connections one listener accepts in one turn, so that a crowd cannot starve those who are in.
pub const ACCEPT_BUDGET: usize = 64;

/// A connection with this much unsent output is not read until it has drained: whoever does not take
/// answers may not ask more. Large enough for the answers to one read's worth of commands.
pub const HIGH_WATER_BYTES: usize = 64 * 1024;

/// Where reading starts again. Well below the high mark, so that it does not flap at one of them.
pub const LOW_WATER_BYTES: usize = 16 * 1024;

/// How long accepting pauses after the process ran out of descriptors, or is at its connection limit.
/// The kernel keeps those who wait in the listener's backlog meanwhile.
pub const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Connections accepted and not yet gone, over all listeners. Past it, accepting pauses.
pub const CONNECTIONS_MAX: usize = 100_000;

/// How long a closing connection is listened to after our FIN. Closing with unread input makes the
/// kernel send a reset, which can destroy the answer on its way (RFC 9293, section 3.10.4; RFC 1122,
/// section 4.2.2.13).
pub const LINGER: Duration = Duration::from_secs(2);

/// How long a peer may take to accept the rest of our output after `lose_connection`.
pub const LOSE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long an accepted TLS connection may take to shake hands.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an orderly stop may take before what is left is aborted.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// Addresses of one name that are tried before giving up.
pub const ADDRESSES_MAX: usize = 16;

/// Jobs handed to the helper thread whose results have not been delivered. Past it a job is refused at
/// once.
pub const HELPER_QUEUE_MAX: usize = 1024;

/// The longest delay, a hundred years; a longer one is cut to it. An instant cannot be added to without
/// end, and "never" is a fair thing to ask for.
pub const DELAY_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Empty output buffers kept for the next connection that has something to say, and the largest
/// that is worth keeping. An idle connection holds no buffer at all.
pub const SPARE_BUFFERS: usize = 64;
/// See [`SPARE_BUFFERS`].
pub const SPARE_BUFFER_MAX_BYTES: usize = 128 * 1024;

/// Kernel events taken from one sleep; what does not fit comes with the next.
pub const EVENTS_PER_TURN: usize = 1024;
