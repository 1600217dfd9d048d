//! The `herd` program.
fn main() {}
