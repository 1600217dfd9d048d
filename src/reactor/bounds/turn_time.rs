//! How long a turn lasts: by the clock, for which everybody else waits, and in processor time.
//!
//! A turn is also long by the clock when the system gives the processor to somebody else in the middle of
//! it, about which no loop can do anything. Its processor time is what the program made of it, with its
//! system calls unless they slept, and the interrupts that came meanwhile. To ask for that is itself a system
//! call: it is asked neither of a turn that a single event has brought nor, at its end, of one that cannot
//! have used most. So the most that a turn has used is that of all others: one client who sends a thousand
//! commands at once makes a turn that counts by the clock alone. Kept by the reactor, around each turn of `run`.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::reactor::bounds::limits::{SLOW_TURN, SLOW_TURN_TOLD_EVERY};
use crate::reactor::io::Stats;

/// The moment at which a turn begins.
pub(in crate::reactor) struct Beginning {
    clock: Instant,
    /// What this thread had used of a processor by then, if this turn is one to be asked.
    cpu: Option<Duration>,
}

impl Beginning {
    /// A turn begins now. `asked`: whether its processor time is of interest.
    pub fn of_turn(clock: Instant, asked: bool) -> Self {
        Self { clock, cpu: asked.then(thread_cpu_time) }
    }

    /// The turn is over.
    pub fn ends(self, stats: &mut Stats, told: &mut Told) {
        let took = self.clock.elapsed();
        if let Some(words) = stats.note_turn(took, self.cpu, thread_cpu_time)
            && told.is_time(self.clock)
        {
            log::debug!("{words}");
        }
    }
}

/// When the log was last told of a long turn.
#[derive(Default)]
pub(in crate::reactor) struct Told(Option<Instant>);

impl Told {
    /// Whether it may be told again, and then it is.
    fn is_time(&mut self, now: Instant) -> bool {
        let lately = self.0.is_some_and(|told| now < told + SLOW_TURN_TOLD_EVERY);
        if !lately {
            self.0 = Some(now);
        }
        !lately
    }
}

impl Stats {
    /// A turn took so long by the clock. `before`: what its thread had used of the processor until then, where
    /// that was asked. `now` asks what it has used by now: only of a turn that can have used most, as none
    /// uses more than it took, and of a slow one. Answers what there is to say of a slow one.
    fn note_turn(
        &mut self,
        took: Duration,
        before: Option<Duration>,
        now: impl FnOnce() -> Duration,
    ) -> Option<String> {
        self.longest_turn = self.longest_turn.max(took);
        if took <= self.longest_turn_cpu && took <= SLOW_TURN {
            return None;
        }
        let used = before.map(|before| now().saturating_sub(before));
        self.longest_turn_cpu = self.longest_turn_cpu.max(used.unwrap_or_default());
        (took > SLOW_TURN).then(|| {
            let (turn, ms) = (self.turns, took.as_millis());
            let used = used.map(|used| format!(", {} of them on the processor", used.as_millis()));
            format!("turn {turn} of the loop took {ms} ms{}", used.unwrap_or_default())
        })
    }
}

/// What this thread has used of a processor so far.
fn thread_cpu_time() -> Duration {
    // Never negative, which is all that could be wrong with it.
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A turn of a thread that had worked for a second before it; whether it was asked for its processor time,
    /// and what there was to say.
    fn turn(stats: &mut Stats, took: u64, used: u64) -> (bool, Option<String>) {
        let (before, mut asked) = (ms(1000), false);
        let words = stats.note_turn(ms(took), Some(before), || {
            asked = true;
            before + ms(used)
        });
        (asked, words)
    }

    #[test]
    fn the_longest_turn_by_the_clock_and_the_one_that_used_most_are_two() {
        let mut stats = Stats::default();
        turn(&mut stats, 3, 3);
        turn(&mut stats, 25, 1);
        assert_eq!((stats.longest_turn, stats.longest_turn_cpu), (ms(25), ms(3)));
        turn(&mut stats, 9, 4);
        assert_eq!((stats.longest_turn, stats.longest_turn_cpu), (ms(25), ms(4)));
    }

    #[test]
    fn a_turn_that_cannot_have_used_most_is_not_asked() {
        let mut stats = Stats::default();
        let mut is_asked = |took, used| turn(&mut stats, took, used).0;
        assert!(is_asked(3, 2));
        assert!(!is_asked(2, 2));
        assert!(is_asked(3, 1));
        assert!(!is_asked(1, 1));
    }

    #[test]
    fn a_quiet_turn_is_never_asked_and_counts_by_the_clock_alone() {
        let mut stats = Stats::default();
        let words = stats.note_turn(ms(30), None, || unreachable!("this is a system call"));
        assert_eq!(words.unwrap(), "turn 0 of the loop took 30 ms");
        assert_eq!((stats.longest_turn, stats.longest_turn_cpu), (ms(30), ms(0)));
    }

    #[test]
    fn a_slow_turn_is_told_with_what_it_used_also_where_others_used_more() {
        let mut stats = Stats { turns: 7, ..Stats::default() };
        assert_eq!(turn(&mut stats, 10, 1), (true, None));
        turn(&mut stats, 40, 40);
        let (_, words) = turn(&mut stats, 25, 2);
        assert_eq!(words.unwrap(), "turn 7 of the loop took 25 ms, 2 of them on the processor");
    }

    #[test]
    fn the_log_is_told_once_in_a_while() {
        let (mut told, start) = (Told::default(), Instant::now());
        let at = |told: &mut Told, since| told.is_time(start + since);
        assert!(at(&mut told, ms(0)));
        assert!(!at(&mut told, SLOW_TURN_TOLD_EVERY / 2));
        assert!(at(&mut told, SLOW_TURN_TOLD_EVERY));
        assert!(!at(&mut told, SLOW_TURN_TOLD_EVERY * 3 / 2));
    }
}
