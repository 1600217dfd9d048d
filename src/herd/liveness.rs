//! When to say something on a silent link, and when the other side has been silent too long.
//!
//! Both sides of a link send heartbeats (MARK or HERE), so silence means that the other one is stopped
//! or unplugged, which TCP alone would tell after minutes. Pure arithmetic on moments handed in; the
//! handlers of links ask it from a delayed call.

use std::time::{Duration, Instant};

/// A side that has written nothing for this long sends a heartbeat. PROTOCOL's limit is 2 s, of which
/// a quarter is left for a slow turn and the way.
pub const HEARTBEAT_AFTER: Duration = Duration::from_millis(1_500);
/// A side that has read nothing for this long takes the link for lost: five heartbeats, and early
/// enough to be noticed within 10 s.
pub const LOST_AFTER: Duration = Duration::from_secs(8);

/// Between the suspicion that a link is lost and the second look: time enough to read what may lie there.
pub const SECOND_LOOK_AFTER: Duration = Duration::from_millis(500);

/// When a link was last heard from and last told something.
#[derive(Clone, Copy, Debug)]
pub struct Liveness {
    heard_at: Instant,
    told_at: Instant,
    suspected: bool,
}

/// What has to be done for a link now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing before this moment, at which to ask again.
    At(Instant),
    /// Send a heartbeat, and say so with [`Liveness::told`].
    Heartbeat,
    /// Cut the link off: the other side is gone.
    Lost,
}

impl Liveness {
    /// A link that is born now.
    pub fn new(now: Instant) -> Liveness {
        Liveness { heard_at: now, told_at: now, suspected: false }
    }

    /// Something was read from the other side.
    pub fn heard(&mut self, now: Instant) {
        self.heard_at = now;
        self.suspected = false;
    }

    /// The other side seems [`Due::Lost`]. That is no more than a suspicion the first time: it may be this
    /// server that was held up, with the other's heartbeats still unread. Answers whether it was
    /// suspected before and has not been heard since, so that the link may be cut.
    pub fn suspect(&mut self) -> bool {
        std::mem::replace(&mut self.suspected, true)
    }

    /// Something was written to the other side.
    pub fn told(&mut self, now: Instant) {
        self.told_at = now;
    }

    /// What is due.
    pub fn due(&self, now: Instant) -> Due {
        let (lost_at, heartbeat_at) = (self.heard_at + LOST_AFTER, self.told_at + HEARTBEAT_AFTER);
        if now >= lost_at {
            Due::Lost
        } else if now >= heartbeat_at {
            Due::Heartbeat
        } else {
            Due::At(lost_at.min(heartbeat_at))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A moment before and the moment of something that is due `after` the start.
    fn around(start: Instant, after: Duration) -> (Instant, Instant) {
        (start + after.saturating_sub(Duration::from_millis(1)), start + after)
    }

    #[test]
    fn silence_is_looked_at_twice_and_a_word_in_between_clears_the_suspicion() {
        let start = Instant::now();
        let mut liveness = Liveness::new(start);
        assert!(!liveness.suspect());
        assert!(liveness.suspect());
        liveness.heard(start);
        assert!(!liveness.suspect());
        assert!(LOST_AFTER + SECOND_LOOK_AFTER < Duration::from_secs(10));
    }

    #[test]
    fn a_silent_side_sends_heartbeats_at_least_every_two_seconds() {
        let start = Instant::now();
        let mut liveness = Liveness::new(start);
        let (before, first) = around(start, HEARTBEAT_AFTER);
        assert_eq!(liveness.due(start), Due::At(first));
        assert_eq!(liveness.due(before), Due::At(first));
        assert_eq!(liveness.due(first), Due::Heartbeat);
        liveness.told(first);
        assert_eq!(liveness.due(first), Due::At(first + HEARTBEAT_AFTER));
        assert!(HEARTBEAT_AFTER < Duration::from_secs(2));
    }

    #[test]
    fn a_side_that_hears_nothing_is_lost_within_ten_seconds_whatever_it_says_itself() {
        let start = Instant::now();
        let mut liveness = Liveness::new(start);
        let (before, lost) = around(start, LOST_AFTER);
        liveness.told(before);
        assert_eq!(liveness.due(before), Due::At(lost));
        assert_eq!(liveness.due(lost), Due::Lost);
        liveness.heard(before);
        assert_ne!(liveness.due(lost), Due::Lost);
        assert!(LOST_AFTER + HEARTBEAT_AFTER < Duration::from_secs(10));
    }
}
