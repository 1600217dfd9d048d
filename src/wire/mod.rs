//! (stub)

pub mod http;
pub mod json;
