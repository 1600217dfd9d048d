//! Once a second: whether anything still comes, and a line for whoever watches.
//!
//! The part of the application that gives a server up which says nothing, and ends a drain that has
//! lasted too long. Called by a delayed call of `app.rs`, which it makes anew each time.

use std::io::Write as _;
use std::time::Duration;

use super::app::{Event, Load, Phase};
use crate::reactor::{Io, Target};

/// How long an open loop may be busy after its end with what had become due before.
const DRAIN_MAX: Duration = Duration::from_secs(60);

impl Load {
    /// Looks once a second whether anything still comes.
    pub(super) fn second(&mut self, io: &mut Io<Self>) {
        io.call_later(Duration::from_secs(1), Target::Application, Event::Second);
        let silence = Duration::from_nanos(self.nanos().saturating_sub(self.last_reply));
        // An open loop goes on whatever the answers do, unless it is to have so many of them.
        let endless = self.schedule.is_some() && self.plan.requests.is_none();
        let closed = !endless || self.phase == Phase::Telling;
        match self.phase {
            Phase::Telling | Phase::Warming | Phase::Measuring
                if closed && silence > self.plan.patience =>
            {
                self.fail(format!(
                    "no reply for {} s (--patience), {} replies after the beginning; see whether the \
                     server at {} hangs",
                    self.plan.patience.as_secs_f64(),
                    self.answered,
                    self.plan.address
                ));
            }
            Phase::Draining => {
                let drained = Duration::from_nanos(self.nanos() - self.drain_began);
                if silence.min(drained) > self.plan.patience || drained > DRAIN_MAX {
                    self.phase = Phase::Over;
                }
            }
            _ => {}
        }
        if self.plan.progress && self.phase >= Phase::Warming {
            self.show_progress();
        }
    }

    fn show_progress(&mut self) {
        let seconds = Duration::from_nanos(self.nanos() - self.began).as_secs();
        let replies = self.answered - self.shown;
        self.shown = self.answered;
        let waiting = self.issued - self.answered;
        let p99 = self.measured.histogram.per_mille(990) / 1000;
        // A progress line that nobody can see is no reason to stop.
        let _ = writeln!(
            std::io::stderr(),
            "{seconds:4} s  {replies:9} replies in this second, {waiting} in flight; p99 so far {p99} µs"
        );
    }
}
