//! Whether this server's wall clock can be believed.
//!
//! It owns what is known about the clock: the last reading of it beside the monotonic clock, and what
//! each neighbour's clock said. It reads no clock and drops no record: [`Herd`](super::Herd) hands it
//! the time, and acts on what it finds.
//!
//! A clock is doubted from a start (nobody has confirmed it yet) and from a jump. The doubt ends when
//! the clock is back where the monotonic clock says it should be, when more neighbours agree with it
//! than not, or when [`DOUBT_MAX`] has passed and no neighbour disagrees. A neighbour whose clock jumped
//! by as much is no witness: both run on one machine, or follow one wrong source. And a clock that is earlier than this
//! program is always doubted.

use super::links::NeighbourId;
use crate::wire::time::{NANOS_PER_SECOND, Nanos};

/// The wall clock jumped when it moved against the monotonic one by at least this between two turns.
/// Time services slew smaller errors, which is no jump.
pub const JUMP_MIN: Nanos = 2 * NANOS_PER_SECOND;

/// Two clocks agree when they differ by at most this: nothing here is decided by less.
pub const AGREE_WITHIN: Nanos = 60 * NANOS_PER_SECOND;

/// How long a clock is doubted when nobody can confirm it and nobody disagrees. Long enough for an
/// operator or a time service to set a clock right.
pub const DOUBT_MAX: Nanos = 3_600 * NANOS_PER_SECOND;

/// How long a neighbour's clock counts after its HELLO.
pub const TOLD_FOR: Nanos = 3_600 * NANOS_PER_SECOND;

/// What is known about this server's clock and its neighbours' clocks.
#[derive(Clone, Debug)]
pub struct ClockWatch {
    /// Any earlier time is wrong for certain.
    earliest: Nanos,
    last: Option<Reading>,
    doubt: Option<Doubt>,
    /// By neighbour.
    told: Vec<Option<Told>>,
}

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
struct Reading {
    monotonic: Nanos,
    wall: Nanos,
}

impl Reading {
    /// How far the wall clock is ahead of the monotonic one.
    fn offset(self) -> Nanos {
        self.wall - self.monotonic
    }
}

/// A neighbour's clock, as its HELLO said.
#[derive(Clone, Copy, Debug)]
struct Told {
    /// How far it was ahead of this server's monotonic clock.
    offset: Nanos,
    /// When it was told, by the monotonic clock.
    at: Nanos,
    /// By how much it had jumped, if the neighbour doubted it for that.
    jumped: Option<Nanos>,
}

impl Told {
    /// How far that clock is ahead of this server's, unless it was told too long ago.
    fn difference(&self, own: Reading) -> Option<Nanos> {
        (own.monotonic - self.at <= TOLD_FOR).then_some(self.offset - own.offset())
    }
}

/// Why the clock is doubted.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    /// By the monotonic clock: the start, or the last jump.
    since: Nanos,
    /// The offset at the start, or before the first jump.
    offset_before: Nanos,
    /// Whether that was trusted.
    was_trusted: bool,
    /// Whether the clock jumped.
    jumped: bool,
}

/// What ended a doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The clock came back to where it was before it jumped.
    Returned,
    /// More neighbours agree with it than not.
    Neighbours,
    /// [`DOUBT_MAX`] has passed, and no neighbour disagrees. Worth less than the others.
    Time,
}

/// What a reading of the clock brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockNews {
    /// The wall clock jumped by so much, and is doubted from now on.
    Jumped {
        /// Forward if positive.
        by: Nanos,
    },
    /// The doubt is over.
    Trusted {
        /// Why.
        proof: Proof,
        /// Whether the clock jumped, and was not only unconfirmed since the start.
        after_jump: bool,
    },
}

impl ClockWatch {
    /// A clock that was never read, among so many neighbours. It is wrong for certain when it tells a
    /// time before `earliest`.
    pub fn new(neighbours: usize, earliest: Nanos) -> ClockWatch {
        ClockWatch { earliest, last: None, doubt: None, told: vec![None; neighbours] }
    }

    /// Takes in a reading of both clocks, nanoseconds: the monotonic one since any moment, the wall
    /// clock since 1970. To be called at the beginning of each turn.
    ///
    /// The first reading begins a doubt, unless there is no neighbour who could ever confirm it.
    pub fn read(&mut self, monotonic: Nanos, wall: Nanos) -> Option<ClockNews> {
        let reading = Reading { monotonic, wall };
        let Some(last) = self.last.replace(reading) else {
            self.doubt = (!self.told.is_empty() || wall < self.earliest).then_some(Doubt {
                since: monotonic,
                offset_before: reading.offset(),
                was_trusted: false,
                jumped: false,
            });
            return None;
        };
        let step = reading.offset() - last.offset();
        if step.abs() >= JUMP_MIN {
            return Some(self.jumped(reading, last, step));
        }
        let proof = self.proof(self.doubt?)?;
        Some(self.trusted(proof))
    }

    fn jumped(&mut self, reading: Reading, last: Reading, by: Nanos) -> ClockNews {
        // A machine that slept has lost track of what its neighbours' clocks say now.
        self.told.fill(None);
        let (offset_before, was_trusted) = match self.doubt {
            None => (last.offset(), true),
            Some(doubt) => (doubt.offset_before, doubt.was_trusted),
        };
        let since = reading.monotonic;
        self.doubt = Some(Doubt { since, offset_before, was_trusted, jumped: true });
        let is_back = (reading.offset() - offset_before).abs() < JUMP_MIN;
        if was_trusted && is_back {
            return self.trusted(Proof::Returned);
        }
        ClockNews::Jumped { by }
    }

    fn trusted(&mut self, proof: Proof) -> ClockNews {
        let doubt = self.doubt.take();
        let after_jump = doubt.is_some_and(|doubt| doubt.jumped);
        ClockNews::Trusted { proof, after_jump }
    }

    /// What ends this doubt now, if anything does.
    fn proof(&self, doubt: Doubt) -> Option<Proof> {
        let reading = self.last?;
        if reading.wall < self.earliest {
            return None;
        }
        let own_jump = reading.offset() - doubt.offset_before;
        let jumped_alike = |told: &&Told| {
            let alike = |jump: Nanos| (jump - own_jump).abs() <= AGREE_WITHIN;
            doubt.jumped && told.jumped.is_some_and(alike)
        };
        let (mut agreeing, mut disagreeing) = (0, 0);
        for told in self.told.iter().flatten().filter(|told| !jumped_alike(told)) {
            match told.difference(reading) {
                Some(ahead) if ahead.abs() <= AGREE_WITHIN => agreeing += 1,
                Some(_) => disagreeing += 1,
                None => {}
            }
        }
        if agreeing > disagreeing {
            return Some(Proof::Neighbours);
        }
        let is_over = reading.monotonic - doubt.since >= DOUBT_MAX;
        (disagreeing == 0 && is_over).then_some(Proof::Time)
    }

    /// There is another neighbour, or one that went has come back; its clock is not known.
    pub fn neighbour_added(&mut self, neighbour: NeighbourId) {
        let place = neighbour.index();
        if self.told.len() <= place {
            self.told.resize(place + 1, None);
        }
    }

    /// A neighbour has gone; what its clock said counts no more.
    pub fn neighbour_removed(&mut self, neighbour: NeighbourId) {
        if let Some(told) = self.told.get_mut(neighbour.index()) {
            *told = None;
        }
    }

    /// A neighbour's HELLO said what its clock is. Gives how far it is ahead of this server's, `None`
    /// when that was never read. `jumped`: by how much that had jumped, if
    /// the neighbour doubts it for that.
    pub fn told(
        &mut self,
        neighbour: NeighbourId,
        clock: Nanos,
        jumped: Option<Nanos>,
    ) -> Option<Nanos> {
        let at = self.last?.monotonic;
        *self.told.get_mut(neighbour.index())? = Some(Told { offset: clock - at, at, jumped });
        self.difference(neighbour)
    }

    /// How far a neighbour's clock is ahead of this server's, if that is known.
    pub fn difference(&self, neighbour: NeighbourId) -> Option<Nanos> {
        self.told.get(neighbour.index())?.as_ref()?.difference(self.last?)
    }

    /// The wall clock at the last reading.
    pub fn wall(&self) -> Option<Nanos> {
        self.last.map(|reading| reading.wall)
    }

    /// Whether the clock is doubted.
    pub fn is_doubted(&self) -> bool {
        self.doubt.is_some()
    }

    /// Whether it is doubted only because it was not confirmed since the start.
    pub fn is_unconfirmed(&self) -> bool {
        self.told.iter().all(Option::is_none) && self.doubt.is_some_and(|doubt| !doubt.jumped)
    }

    /// Whether it tells a time that is wrong for certain.
    pub fn is_too_early(&self) -> bool {
        self.last.is_some_and(|reading| reading.wall < self.earliest)
    }

    /// By how much the clock has jumped, `None` when it is not doubted for that.
    pub fn jumped_by(&self) -> Option<Nanos> {
        let doubt = self.doubt.filter(|doubt| doubt.jumped)?;
        Some(self.last?.offset() - doubt.offset_before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = NANOS_PER_SECOND;
    const HOUR: Nanos = 3_600 * SECOND;
    /// The wall clock when the monotonic one is 0.
    const START: Nanos = 1_500_000_000 * SECOND;
    const A: NeighbourId = NeighbourId(0);
    const B: NeighbourId = NeighbourId(1);

    /// A watch that trusts its clock, at second 1.
    fn trusting(neighbours: usize) -> ClockWatch {
        let mut watch = ClockWatch::new(neighbours, START);
        assert_eq!(watch.read(0, START), None);
        if neighbours > 0 {
            watch.told(A, START, None);
            let news = ClockNews::Trusted { proof: Proof::Neighbours, after_jump: false };
            assert_eq!(watch.read(SECOND, START + SECOND), Some(news));
        }
        assert!(!watch.is_doubted());
        watch
    }

    #[test]
    fn a_step_of_two_seconds_is_a_jump_and_a_slew_is_none() {
        let mut watch = trusting(1);
        let (mut monotonic, mut wall) = (SECOND, START + SECOND);
        for _ in 0..100 {
            monotonic += SECOND;
            wall += SECOND + JUMP_MIN - 1;
            assert_eq!(watch.read(monotonic, wall), None);
        }
        for by in [JUMP_MIN, -HOUR] {
            monotonic += SECOND;
            wall += SECOND + by;
            assert_eq!(watch.read(monotonic, wall), Some(ClockNews::Jumped { by }));
            assert!(watch.is_doubted());
        }
        assert_eq!(watch.jumped_by(), Some(JUMP_MIN - HOUR));
    }

    #[test]
    fn a_clock_that_comes_back_is_trusted_whatever_it_did_meanwhile() {
        let mut watch = trusting(1);
        for (second, off) in [(2, HOUR), (3, -50 * HOUR), (4, 900_000 * HOUR)] {
            let news = watch.read(second * SECOND, START + second * SECOND + off);
            assert!(matches!(news, Some(ClockNews::Jumped { .. })));
        }
        let news = watch.read(5 * SECOND, START + 5 * SECOND + JUMP_MIN - 1);
        let returned = ClockNews::Trusted { proof: Proof::Returned, after_jump: true };
        assert_eq!(news, Some(returned));
        assert!(!watch.is_doubted());
    }

    #[test]
    fn after_a_jump_the_clock_is_trusted_when_more_neighbours_agree_than_not() {
        let mut watch = trusting(2);
        let now = START + 2 * SECOND + HOUR;
        assert_eq!(watch.read(2 * SECOND, now), Some(ClockNews::Jumped { by: HOUR }));
        assert_eq!(watch.difference(A), None, "what was told before the jump counts no more");
        assert_eq!(watch.read(3 * SECOND, now + SECOND), None);
        assert_eq!(watch.told(A, START, None), Some(-HOUR - 3 * SECOND));
        assert_eq!(watch.told(B, now + SECOND + AGREE_WITHIN, None), Some(AGREE_WITHIN));
        assert_eq!(watch.read(4 * SECOND, now + 2 * SECOND), None, "one against one");
        assert_eq!(watch.told(A, now + 2 * SECOND - AGREE_WITHIN, None), Some(-AGREE_WITHIN));
        let agreed = ClockNews::Trusted { proof: Proof::Neighbours, after_jump: true };
        assert_eq!(watch.read(5 * SECOND, now + 3 * SECOND), Some(agreed));
    }

    #[test]
    fn a_minute_and_a_nanosecond_is_no_agreement() {
        let mut watch = ClockWatch::new(1, START);
        watch.read(0, START);
        watch.told(A, START + AGREE_WITHIN + 1, None);
        assert_eq!(watch.read(SECOND, START + SECOND), None);
        assert!(watch.is_doubted() && !watch.is_unconfirmed());
    }

    #[test]
    fn with_nobody_to_confirm_it_a_clock_is_trusted_after_an_hour_and_with_a_contradiction_never() {
        for contradicted in [false, true] {
            let mut watch = ClockWatch::new(1, START);
            watch.read(0, START);
            assert!(watch.is_unconfirmed());
            for second in 1..3_600 {
                if contradicted {
                    watch.told(A, START, None);
                }
                assert_eq!(
                    watch.read(second * SECOND, START + second * SECOND + HOUR / 2),
                    if second == 1 { Some(ClockNews::Jumped { by: HOUR / 2 }) } else { None }
                );
            }
            let news = watch.read(3_601 * SECOND, START + 3_601 * SECOND + HOUR / 2);
            let expected = ClockNews::Trusted { proof: Proof::Time, after_jump: true };
            assert_eq!(news, (!contradicted).then_some(expected));
        }
    }

    #[test]
    fn a_server_without_neighbours_trusts_its_clock_from_the_start_and_doubts_a_jump() {
        let mut watch = trusting(0);
        assert_eq!(watch.read(SECOND, START + SECOND), None);
        let news = watch.read(2 * SECOND, START + 2 * SECOND + HOUR);
        assert!(matches!(news, Some(ClockNews::Jumped { .. })));
        assert!(watch.is_doubted());
    }

    #[test]
    fn two_clocks_that_jumped_together_do_not_confirm_each_other() {
        for (jumped, confirms) in [
            (None, true),
            (Some(HOUR + AGREE_WITHIN), false),
            (Some(HOUR + AGREE_WITHIN + 1), true),
        ] {
            let mut watch = trusting(1);
            let now = START + 2 * SECOND + HOUR;
            assert_eq!(watch.read(2 * SECOND, now), Some(ClockNews::Jumped { by: HOUR }));
            assert_eq!(watch.jumped_by(), Some(HOUR));
            watch.told(A, now, jumped);
            assert_eq!(watch.read(3 * SECOND, now + SECOND).is_some(), confirms);
            // For one that has just started, any neighbour is a witness.
            let mut watch = ClockWatch::new(1, START);
            watch.read(0, START);
            watch.told(A, START, jumped);
            assert!(watch.read(SECOND, START + SECOND).is_some());
        }
    }

    #[test]
    fn a_clock_before_the_program_itself_is_doubted_whoever_agrees() {
        for neighbours in [0, 1] {
            let mut watch = ClockWatch::new(neighbours, START);
            for second in 0..4_000 {
                assert_eq!(watch.read(second * SECOND, second * SECOND), None);
                watch.told(A, second * SECOND, None);
            }
            assert!(watch.is_doubted());
        }
    }

    #[test]
    fn what_a_neighbour_told_long_ago_counts_no_more() {
        let mut watch = trusting(1);
        assert!(watch.difference(A).is_some());
        let later = TOLD_FOR + SECOND;
        watch.read(later, START + later);
        assert_eq!(watch.difference(A), None);
    }
}
