//! (stub)

pub mod upstream;
