//! An application server herd on a hand-written reactor.

pub mod cli;
pub mod herd;
pub mod reactor;
pub mod server;
pub mod wire;
