//! What is counted between the warm-up and the end of a run.
//!
//! Replies and bytes of the window, their latencies, and the processor time of both sides, read at the
//! window's two ends. Kept by `app.rs`, told by `summary.rs`.

use super::figures::ratio;
use super::histogram::Histogram;
use super::process::{self, Cpu};

/// The window that counts, and what fell into it.
#[derive(Default)]
pub struct Measurement {
    /// When it began, in nanoseconds since the program's start.
    pub from: u64,
    /// Its length.
    pub nanos: u64,
    /// Replies in it, all of them right.
    pub replies: u64,
    /// Those of them that tell of a fault of Places.
    pub faults: u64,
    /// Bytes of the replies in it.
    pub bytes_in: u64,
    /// Bytes of the requests in it.
    pub bytes_out: u64,
    /// The latencies. Of an open loop, also of replies after the window to what was due in it.
    pub histogram: Histogram,
    /// This process.
    pub load: Option<Usage>,
    /// The watched ones.
    pub server: Option<Usage>,
    /// Processor time at the beginning: of this process, and of the watched ones.
    pub(super) before: (Option<Cpu>, Option<Cpu>),
}

impl Measurement {
    /// The window begins.
    pub fn begin(&mut self, now: u64, pids: &[u32]) {
        self.from = now;
        self.before = (process::cpu(&[std::process::id()]), process::cpu(pids));
    }

    /// The window ends.
    pub fn end(&mut self, now: u64, pids: &[u32]) {
        let (nanos, replies) = (now.saturating_sub(self.from), self.replies);
        self.nanos = nanos;
        let usage = |before: Option<Cpu>, after: Option<Cpu>| {
            Some(Usage { cpu: after? - before?, nanos, replies })
        };
        self.load = usage(self.before.0, process::cpu(&[std::process::id()]));
        self.server = usage(self.before.1, process::cpu(pids));
    }
}

/// Processor time over the window that counts.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Had and waited for.
    pub cpu: Cpu,
    /// The window's length.
    pub nanos: u64,
    /// Replies in it.
    pub replies: u64,
}

impl Usage {
    /// Of one reply, in nanoseconds.
    pub fn nanos_per_reply(self) -> f64 {
        ratio(self.cpu.ran, self.replies)
    }

    /// The share of the time that they ran; more than 1 with several processors.
    pub fn busy(self) -> f64 {
        ratio(self.cpu.ran, self.nanos)
    }

    /// The share of the time that they were ready to run and had no processor.
    pub fn wait(self) -> f64 {
        ratio(self.cpu.waited, self.nanos)
    }
}
