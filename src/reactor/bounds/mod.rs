//! What is bounded, and by how much: connections, bytes, times, descriptors, warnings, and a turn's
//! length.
//!
//! Values and counts. The loop and its sockets act on them.

pub(super) mod addresses;
pub mod descriptors;
pub mod limits;
pub(super) mod pace;
pub(super) mod turn_time;
pub(super) mod warnings;
