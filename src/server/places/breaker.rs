//! A circuit breaker: whether the upstream is worth another attempt to connect.
//!
//! An upstream that has just refused would refuse the next question too, and each attempt costs a socket, a
//! look-up or half a handshake. It is told of attempts and asked before each; it knows no connection and
//! reads no clock. Called by `places`.

use std::time::{Duration, Instant};

/// How long a failed attempt speaks for the next ones. So short that a person never notices it when the
/// upstream is back, and so long that a crowd of questions costs a handful of attempts.
pub const FAILURE_HOLDS: Duration = Duration::from_millis(100);

/// See the module's documentation. The default lets everything through.
#[derive(Debug, Default)]
pub struct Breaker {
    failed: Option<(Instant, String)>,
}

impl Breaker {
    /// An attempt to connect has failed: no route, no address, no handshake.
    pub fn failed(&mut self, why: String, now: Instant) {
        self.failed = Some((now, why));
    }

    /// An attempt has succeeded. Others that failed at about the same time speak for nobody any more.
    pub fn succeeded(&mut self) {
        self.failed = None;
    }

    /// Why no attempt is to be made now, in the words of the one that failed; `None`: try.
    pub fn refusal(&self, now: Instant) -> Option<&str> {
        let (when, why) = self.failed.as_ref()?;
        (now.saturating_duration_since(*when) < FAILURE_HOLDS).then_some(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_speaks_for_the_next_attempts_until_its_time_is_over() {
        let start = Instant::now();
        let mut breaker = Breaker::default();
        assert_eq!(breaker.refusal(start), None);
        breaker.failed("connection refused".to_owned(), start);
        let last = start + FAILURE_HOLDS.saturating_sub(Duration::from_nanos(1));
        for now in [start, last] {
            assert_eq!(breaker.refusal(now), Some("connection refused"));
        }
        assert_eq!(breaker.refusal(start + FAILURE_HOLDS), None);
    }

    #[test]
    fn the_newest_failure_counts() {
        let start = Instant::now();
        let mut breaker = Breaker::default();
        breaker.failed("connection refused".to_owned(), start);
        breaker.failed("no route to host".to_owned(), start + FAILURE_HOLDS);
        let later = start + FAILURE_HOLDS + FAILURE_HOLDS / 2;
        assert_eq!(breaker.refusal(later), Some("no route to host"));
    }

    #[test]
    fn a_success_lets_everything_through_again() {
        let start = Instant::now();
        let mut breaker = Breaker::default();
        breaker.failed("connection refused".to_owned(), start);
        breaker.succeeded();
        assert_eq!(breaker.refusal(start), None);
    }
}
