//! The whole program over real sockets and real TLS: each test starts the real binary, talks to it as
//! users do, and stops it. `support` has what they share; the other modules have the tests.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod protocol;
mod smoke;
#[expect(dead_code, reason = "shared by all, each uses a part")]
mod support;
mod telnet;
mod transcripts;
