//! TLS as a filter on bytes, and who is believed to be whom.

pub(super) mod session;
pub(super) mod words;
