//! The open loop: when each request is due, whatever the answers do.
//!
//! Pure: it is handed the time since the start. Request number i of all is due at i ÷ rate and belongs to
//! connection i mod connections, so what waits to be sent is a difference of two numbers and takes no
//! memory, however long it gets. A latency is counted from the time a request was due, not from when it
//! could be sent: a server that stops for a second has made all that fell due in it wait, and a generator
//! that counts only from the sending hides them ("coordinated omission").

/// Requests a second of all connections.
pub const RATE_MAX: u32 = 10_000_000;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// When the requests of an open loop are due.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    rate: u64,
    connections: u64,
}

impl Schedule {
    /// So many requests a second, dealt out over so many connections.
    pub fn new(rate: u32, connections: usize) -> Self {
        let rate = u64::from(rate.clamp(1, RATE_MAX));
        Self { rate, connections: u64::try_from(connections).unwrap_or(u64::MAX).max(1) }
    }

    /// How many of all requests are due so many nanoseconds after the start. The first is due at once.
    pub fn due_by(self, nanos: u64) -> u64 {
        let due = u128::from(nanos) * u128::from(self.rate) / u128::from(NANOS_PER_SECOND);
        u64::try_from(due).unwrap_or(u64::MAX - 1) + 1
    }

    /// When the request of that number is due, in nanoseconds after the start, rounded up: at that time
    /// [`due_by`](Self::due_by) counts it.
    pub fn due_at(self, number: u64) -> u64 {
        let nanos = u128::from(number) * u128::from(NANOS_PER_SECOND);
        u64::try_from(nanos.div_ceil(u128::from(self.rate))).unwrap_or(u64::MAX)
    }

    /// The number, among all, of a connection's `nth` request.
    pub fn number(self, connection: usize, nth: u64) -> u64 {
        nth * self.connections + connection as u64
    }

    /// The connections that have requests among those from number `from` to before `to`, each once.
    pub fn connections(self, from: u64, to: u64) -> impl Iterator<Item = usize> {
        let to = to.min(from.saturating_add(self.connections));
        (from..to).filter_map(move |number| usize::try_from(number % self.connections).ok())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_request_is_due_at_its_time_and_not_a_nanosecond_before(
            rate in 1..=RATE_MAX,
            number in 0..100_000_000_000u64,
        ) {
            let schedule = Schedule::new(rate, 7);
            let at = schedule.due_at(number);
            prop_assert!(schedule.due_by(at) > number);
            prop_assert!(at == 0 || schedule.due_by(at - 1) <= number);
        }

        #[test]
        fn every_request_belongs_to_one_connection(connections in 1..50usize, nth in 0..10_000u64, owner in 0..50usize) {
            let schedule = Schedule::new(1000, connections);
            let owner = owner % connections;
            let number = schedule.number(owner, nth);
            prop_assert_eq!(number / connections as u64, nth);
            prop_assert_eq!(schedule.connections(number, number + 1).collect::<Vec<_>>(), [owner]);
        }
    }

    #[test]
    fn however_many_are_due_each_connection_is_named_once() {
        let schedule = Schedule::new(1000, 4);
        assert_eq!(schedule.connections(6, 6).count(), 0);
        assert_eq!(schedule.connections(6, 8).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(schedule.connections(6, 1_000_000).collect::<Vec<_>>(), [2, 3, 0, 1]);
    }

    #[test]
    fn a_thousand_a_second_are_a_millisecond_apart_and_the_bounds_hold() {
        let schedule = Schedule::new(1000, 1);
        assert_eq!((schedule.due_at(0), schedule.due_at(1)), (0, 1_000_000));
        assert_eq!(
            (schedule.due_by(0), schedule.due_by(999_999), schedule.due_by(1_000_000)),
            (1, 1, 2)
        );
        assert_eq!(Schedule::new(u32::MAX, 1).due_at(1), 100);
        assert_eq!(Schedule::new(0, 0).due_at(1), NANOS_PER_SECOND);
    }
}
