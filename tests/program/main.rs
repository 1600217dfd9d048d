//! The whole program over real sockets and real TLS: each test starts the real binary, talks to it as
//! users do, and stops it. `support` has what they share; the other modules have the tests.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod bounds;
mod cli;
mod clocks;
mod control;
mod crowd;
mod ends;
mod fairness;
mod faults;
mod full;
mod herd;
mod journal;
mod journal_faults;
mod key;
mod keys;
mod links;
mod links_port;
mod listening;
mod load;
mod logs;
mod names;
mod pipelines;
mod places;
mod pool;
mod proof;
mod protocol;
mod rolling;
mod smoke;
mod stand_in;
mod support;
mod telnet;
mod tls;
mod transcripts;
mod upstream;
mod waiting;
