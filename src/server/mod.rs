//! (stub)

pub mod places;
