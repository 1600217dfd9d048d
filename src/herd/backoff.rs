//! How long to wait before dialling a neighbour again.
//!
//! Exponential with jitter: the ceiling doubles with each failure, and the delay lies anywhere between
//! the shortest one and the ceiling, so that servers which lost each other at the same moment do not
//! dial at the same moment. It draws no random number and knows no time: both are handed in.

use std::time::Duration;

/// The shortest delay: a neighbour that restarts is back in about that.
pub const BACKOFF_MIN_MS: u64 = 100;
/// The longest delay, which bounds how long a neighbour that is back goes unnoticed.
pub const BACKOFF_MAX_MS: u64 = 2_000;

/// How often dialling one neighbour has failed in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The delay after another failure, from [`BACKOFF_MIN_MS`] to [`BACKOFF_MAX_MS`].
    ///
    /// `random` is any random number; the same one gives the same delay.
    pub fn next_delay(&mut self, random: u64) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let doubled = 1u64.checked_shl(self.failures).unwrap_or(u64::MAX);
        let ceiling_ms = BACKOFF_MIN_MS.saturating_mul(doubled).min(BACKOFF_MAX_MS);
        Duration::from_millis(BACKOFF_MIN_MS + random % (ceiling_ms - BACKOFF_MIN_MS + 1))
    }

    /// The neighbour was reached, or has dialled in itself: the next delay is short again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The longest delay that any random number gives.
    fn longest(backoff: Backoff) -> u128 {
        let delay = |random| { backoff }.next_delay(random).as_millis();
        (0..=BACKOFF_MAX_MS).map(delay).max().unwrap()
    }

    #[test]
    fn the_ceiling_doubles_up_to_two_seconds_and_a_reset_brings_it_down() {
        let mut backoff = Backoff::default();
        let mut ceilings = Vec::new();
        for _ in 0..7 {
            ceilings.push(longest(backoff));
            backoff.next_delay(0);
        }
        assert_eq!(ceilings, [200, 400, 800, 1600, 2000, 2000, 2000]);
        backoff.reset();
        assert_eq!(longest(backoff), 200);
    }

    proptest! {
        #[test]
        fn every_delay_is_within_the_bounds(failures in 0..200u32, random: u64) {
            let mut backoff = Backoff { failures: failures.saturating_mul(u32::MAX / 100) };
            let delay = backoff.next_delay(random);
            prop_assert!(delay >= Duration::from_millis(BACKOFF_MIN_MS));
            prop_assert!(delay <= Duration::from_millis(BACKOFF_MAX_MS));
        }
    }
}
