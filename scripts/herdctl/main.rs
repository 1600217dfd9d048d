//! What `scripts/herd` runs.
fn main() {}
