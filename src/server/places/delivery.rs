//! The way back: one asker after the other hears the answer, so many of them in each turn.
//!
//! The askers of one question may be thousands, and its answer long. A turn serves no more of them than it has
//! time for, by turns of their addresses, so a crowd delays nobody else by more than one reply of its own. It
//! knows no connection and no answer; `places`, its caller, posts the replies.

use super::fair::{Turns, Who};

/// How many askers are answered in one turn: each may be a connection of its own to write to, at some 10 µs.
pub const ANSWERED_PER_TURN: usize = 64;

/// How many bytes they are answered in one turn, give or take one reply. About as long: a reply is cut,
/// copied and written at some GB/s.
pub const ANSWERED_PER_TURN_BYTES: usize = 256 * 1024;

/// Those whose answer has come and who have not been told.
#[derive(Debug, Default)]
pub struct Delivery {
    turns: Turns,
    /// What the present turn has had.
    answered: usize,
    answered_bytes: usize,
}

impl Delivery {
    /// An asker's answer has come.
    pub fn insert(&mut self, who: Who, asker: u64) {
        self.turns.insert(who, asker);
    }

    /// An asker wants no answer any more.
    pub fn remove(&mut self, who: Who, asker: u64) {
        self.turns.remove(who, asker);
    }

    /// A turn begins, and has served nobody yet.
    pub fn turn_begins(&mut self) {
        (self.answered, self.answered_bytes) = (0, 0);
    }

    /// Who is told next; `None`: nobody, or nobody in this turn.
    pub fn take_next(&mut self) -> Option<u64> {
        if self.answered >= ANSWERED_PER_TURN || self.answered_bytes >= ANSWERED_PER_TURN_BYTES {
            return None;
        }
        let (_, asker) = self.turns.take_next(|_| true)?;
        self.answered += 1;
        Some(asker)
    }

    /// What that asker was told took work in proportion to so many bytes.
    pub fn spend(&mut self, bytes: usize) {
        self.answered_bytes += bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::super::fair::tests::who;
    use super::*;

    #[test]
    fn a_crowd_has_one_reply_ahead_of_anothers() {
        let mut delivery = Delivery::default();
        for (connection, asker) in (0..10_000).map(|number| (number / 32, number as u64)) {
            delivery.insert(who("192.0.2.1", connection), asker);
        }
        delivery.insert(who("192.0.2.2", 999), 10_000);
        assert_eq!((delivery.take_next(), delivery.take_next()), (Some(0), Some(10_000)));
    }

    #[test]
    fn a_turn_tells_so_many_and_so_much() {
        let mut delivery = Delivery::default();
        for asker in 0..1000 {
            delivery.insert(who("192.0.2.1", 1), asker);
        }
        let told = |delivery: &mut Delivery, bytes: usize| {
            delivery.turn_begins();
            let mut count = 0;
            while delivery.take_next().is_some() {
                delivery.spend(bytes);
                count += 1;
            }
            count
        };
        assert_eq!(told(&mut delivery, 10), ANSWERED_PER_TURN);
        assert_eq!(told(&mut delivery, 100_000), 3);
        assert_eq!(told(&mut delivery, ANSWERED_PER_TURN_BYTES), 1);
    }
}
