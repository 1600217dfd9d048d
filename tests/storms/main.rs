//! Storms: whatever a public address meets, on real processes with real sockets. Each strikes the middle one
//! of three servers in a row, and each ends in the same way: what is said at one end of the herd is known
//! at the other, and the processes hold no more memory and no more descriptors than before ([`scene`]).
//!
//! Storms with chance in them print their seed; `HERD_SEED=7 cargo test --test storms noise` replays one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod churn;
mod descriptors;
mod disk;
mod endless;
mod idle;
mod kills;
mod noise;
mod scene;
mod slow;

#[path = "../simulation/random.rs"]
#[allow(dead_code, reason = "the simulation needs more of it")]
mod random;
#[path = "../program/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the tests of the program need more of it")]
mod support;
#[path = "../program/tls.rs"]
#[allow(dead_code, unused_imports, reason = "the tests of the program need more of it")]
mod tls;
