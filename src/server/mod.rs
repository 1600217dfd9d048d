//! (stub)

pub mod stand_in;
