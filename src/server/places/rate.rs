//! How many calls a second the upstream gets: a token bucket.
//!
//! Pure: it is handed the time. What the upstream charges for are requests that are sent, so one that never
//! left is given back. Called by `places`.

use std::time::{Duration, Instant};

/// How many seconds' calls may be made at once after a quiet time.
pub const BURST_SECONDS: u32 = 2;

/// The time that an empty bucket takes to fill.
const CAPACITY: Duration = Duration::from_secs(BURST_SECONDS as u64);

/// The bucket. All it remembers is when it will be full again.
#[derive(Debug)]
pub struct Rate {
    /// The time that one call costs. Zero: there is no limit.
    cost: Duration,
    full_at: Option<Instant>,
}

impl Rate {
    /// So many calls a second, and [`BURST_SECONDS`] times as many at once; 0: no limit.
    pub fn new(per_second: u32) -> Self {
        let cost = Duration::from_secs(1).checked_div(per_second).unwrap_or_default();
        Self { cost, full_at: None }
    }

    /// When the next call may be made; now or earlier where it may be made now.
    pub fn next_at(&self, now: Instant) -> Instant {
        let full_at = self.full_at.filter(|_| !self.cost.is_zero());
        full_at.and_then(|at| (at + self.cost).checked_sub(CAPACITY)).unwrap_or(now)
    }

    /// Whether a call may be made now.
    pub fn allows(&self, now: Instant) -> bool {
        self.next_at(now) <= now
    }

    /// A call is made, which [`Rate::allows`] has allowed.
    pub fn take(&mut self, now: Instant) {
        let full_at = self.full_at.map_or(now, |at| at.max(now));
        self.full_at = Some(full_at + self.cost);
    }

    /// A call that was taken is not made after all.
    pub fn give_back(&mut self) {
        self.full_at = self.full_at.and_then(|at| at.checked_sub(self.cost));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many calls go at this moment.
    fn taken(rate: &mut Rate, now: Instant) -> usize {
        let mut count = 0;
        while rate.allows(now) && count < 1000 {
            rate.take(now);
            count += 1;
        }
        count
    }

    #[test]
    fn a_burst_and_then_so_many_a_second() {
        let (mut rate, start) = (Rate::new(50), Instant::now());
        assert_eq!(taken(&mut rate, start), 100);
        assert_eq!(rate.next_at(start), start + Duration::from_millis(20));
        let mut later = 0;
        for millis in 1..=1000 {
            later += taken(&mut rate, start + Duration::from_millis(millis));
        }
        assert_eq!(later, 50);
        // However long it is quiet, no more than the burst is saved.
        assert_eq!(taken(&mut rate, start + Duration::from_secs(3600)), 100);
    }

    #[test]
    fn a_call_that_is_not_made_is_given_back() {
        let (mut rate, start) = (Rate::new(1), Instant::now());
        assert_eq!(taken(&mut rate, start), 2);
        rate.give_back();
        assert_eq!(taken(&mut rate, start), 1);
        let mut unused = Rate::new(1);
        unused.give_back();
        assert_eq!(taken(&mut unused, start), 2);
    }

    #[test]
    fn zero_is_no_limit() {
        let (mut rate, start) = (Rate::new(0), Instant::now());
        assert_eq!(taken(&mut rate, start), 1000);
        assert!(rate.next_at(start) <= start);
    }
}
