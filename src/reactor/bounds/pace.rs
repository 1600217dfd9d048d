//! How long one step of a turn may go on: what keeps a turn short however many have something to say.
//!
//! Bytes do not tell what they cost: a kilobyte is ten commands or a thousand empty lines, and an event is
//! whatever its handler makes of it. So each step looks at the clock while it works, and leaves to the next
//! turn what it has no time for. It stops nobody in the middle of something. Kept by the reactor, asked by
//! the steps.

use std::time::{Duration, Instant};

/// What a read, a write, an accept or a close costs at the least, measured in bytes of commands: the
/// system calls of one take as long as some twenty commands.
const LEAST_BYTES: usize = 1024;

/// After so much work the clock is looked at, which takes some 25 ns: nothing beside four system calls,
/// and a thing that a turn with one command in it never does.
pub(in crate::reactor) const LOOK_AFTER_BYTES: usize = 4 * LEAST_BYTES;

/// The pace of the present step.
pub(in crate::reactor) struct Pace {
    /// How long a step may take. `None`: as long as it likes, for loops that are driven from outside in a
    /// time of their own.
    pub step_max: Option<Duration>,
    /// The last look at the clock.
    looked: Instant,
    /// Work since then.
    unseen: usize,
    /// When the present step's time is over.
    ends: Instant,
    over: bool,
}

impl Pace {
    /// Without any hurry.
    pub fn new(now: Instant) -> Self {
        Self { step_max: None, looked: now, unseen: 0, ends: now, over: false }
    }

    /// A turn begins.
    pub fn begin_turn(&mut self, now: Instant) {
        (self.looked, self.unseen) = (now, 0);
    }

    /// A step begins, for which so many wait. With few of them its time runs from the last look.
    pub fn begin_step(&mut self, waiting: usize) {
        self.over = false;
        let Some(max) = self.step_max else { return };
        if waiting >= LOOK_AFTER_BYTES / LEAST_BYTES {
            (self.looked, self.unseen) = (Instant::now(), 0);
        }
        self.ends = self.looked.checked_add(max).unwrap_or(self.looked);
    }

    /// Something was done: a read of so many bytes, or anything else that costs a system call.
    pub fn spend(&mut self, bytes: usize) {
        self.unseen += bytes.max(LEAST_BYTES);
        if self.unseen >= LOOK_AFTER_BYTES && self.step_max.is_some() {
            (self.looked, self.unseen) = (Instant::now(), 0);
            self.over = self.looked >= self.ends;
        }
    }

    /// Whether what is left of the step has to wait for the next turn. Never before something was done.
    pub fn is_over(&self) -> bool {
        self.over
    }
}
