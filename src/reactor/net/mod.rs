//! The sockets of the network: listening, accepting, connecting, and who is at the other end.
//!
//! Nothing here calls a handler. `Io` offers what a handler may ask for; the turn reports what the
//! kernel says.

pub(super) mod accept;
pub(super) mod attempts;
pub(super) mod connect;
pub(super) mod look_up;
pub mod options;
pub(super) mod peer;
pub(super) mod probation;
