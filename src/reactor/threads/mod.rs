//! What reaches the loop from outside it: threads for what must block, and signals.

pub(super) mod signals;
pub(super) mod workers;
