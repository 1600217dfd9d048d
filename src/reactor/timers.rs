//! Delayed calls: what is to happen later, in the order in which it falls due.
//!
//! Pure: it is handed the time and never reads a clock. A call that is cancelled or moved later leaves
//! its old place in the heap behind as a husk, which costs nothing until it comes to the top; when
//! husks outnumber living calls the heap is built anew, so memory is in proportion to what is pending.
//! The reactor drains it in step 3 of a turn.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::num::NonZeroU32;
use std::time::Instant;

use slab::Slab;

/// Husks that may always stay, so that a short list is not rebuilt at every second cancellation.
const HUSKS_ALWAYS_ALLOWED: usize = 64;

/// The handle of a delayed call, as `callLater` gives in Twisted: it cancels, or moves, that one call.
/// After the call has happened the handle is stale and does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DelayedCall {
    slot: u32,
    /// Which of the calls in that slot. As with sockets' tokens, a number comes again only after four
    /// billion others.
    generation: NonZeroU32,
}

struct Pending<T> {
    when: Instant,
    sequence: u64,
    generation: NonZeroU32,
    what: T,
}

/// What is to come. `T` says what is to be done.
pub struct Timers<T> {
    pending: Slab<Pending<T>>,
    /// `(when, sequence, slot)`: of two calls due at one instant the one made first comes first.
    heap: BinaryHeap<Reverse<(Instant, u64, usize)>>,
    next_sequence: u64,
    next_generation: NonZeroU32,
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self {
            pending: Slab::new(),
            heap: BinaryHeap::new(),
            next_sequence: 0,
            next_generation: NonZeroU32::MIN,
        }
    }
}

impl<T> Timers<T> {
    /// Keeps `what` until `when`.
    pub fn add(&mut self, when: Instant, what: T) -> DelayedCall {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let generation = self.next_generation;
        self.next_generation = generation.checked_add(1).unwrap_or(NonZeroU32::MIN);
        let slot = self.pending.insert(Pending { when, sequence, generation, what });
        self.heap.push(Reverse((when, sequence, slot)));
        // A slot that does not fit, in a process of some hundred gigabytes, names no call.
        DelayedCall { slot: u32::try_from(slot).unwrap_or(u32::MAX), generation }
    }

    /// Takes a call back. `false` when it has happened or was cancelled before.
    pub fn cancel(&mut self, call: DelayedCall) -> bool {
        if self.living(call).is_none() {
            return false;
        }
        self.pending.remove(call.slot as usize);
        self.drop_husks();
        true
    }

    /// Moves a call to another time. `false` when it has happened or was cancelled before.
    pub fn reset(&mut self, call: DelayedCall, when: Instant) -> bool {
        let Some(pending) = self.living(call) else { return false };
        let earlier = when < pending.when;
        pending.when = when;
        let sequence = pending.sequence;
        // A call moved later is found out when its old place comes up; one moved earlier needs a new
        // place now, and its old one becomes a husk.
        if earlier {
            self.heap.push(Reverse((when, sequence, call.slot as usize)));
            self.drop_husks();
        }
        true
    }

    /// When the next call falls due, for the length of the sleep.
    pub fn next_due(&mut self) -> Option<Instant> {
        self.settle_top();
        self.heap.peek().map(|Reverse((when, ..))| *when)
    }

    /// A mark between the calls that exist now and those made later.
    pub fn mark(&self) -> u64 {
        self.next_sequence
    }

    /// The next call that is due at `now` and was made before `mark`: a call that makes another call
    /// due at once must not hold the turn for ever.
    pub fn take_due(&mut self, now: Instant, mark: u64) -> Option<T> {
        self.settle_top();
        let Reverse((when, sequence, slot)) = *self.heap.peek()?;
        if when > now || sequence >= mark {
            return None;
        }
        self.heap.pop();
        Some(self.pending.remove(slot).what)
    }

    fn living(&mut self, call: DelayedCall) -> Option<&mut Pending<T>> {
        let pending = self.pending.get_mut(call.slot as usize);
        pending.filter(|pending| pending.generation == call.generation)
    }

    /// Brings the heap's top to a living call at its true time.
    fn settle_top(&mut self) {
        while let Some(Reverse((when, sequence, slot))) = self.heap.peek().copied() {
            match self.pending.get(slot).filter(|pending| pending.sequence == sequence) {
                Some(pending) if pending.when == when => return,
                Some(pending) if pending.when > when => {
                    let later = pending.when;
                    self.heap.pop();
                    self.heap.push(Reverse((later, sequence, slot)));
                }
                // Cancelled, or moved earlier and so standing at another place too.
                _ => {
                    self.heap.pop();
                }
            }
        }
    }

    fn drop_husks(&mut self) {
        if self.heap.len() > 2 * self.pending.len() + HUSKS_ALWAYS_ALLOWED {
            self.heap =
                self.pending.iter().map(|(slot, p)| Reverse((p.when, p.sequence, slot))).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn drain(timers: &mut Timers<&'static str>, now: Instant) -> Vec<&'static str> {
        let mark = timers.mark();
        std::iter::from_fn(|| timers.take_due(now, mark)).collect()
    }

    #[test]
    fn calls_come_in_the_order_of_their_times_and_then_of_their_making() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timers = Timers::default();
        timers.add(at(30), "third");
        timers.add(at(10), "first");
        timers.add(at(10), "second");
        timers.add(at(99), "later");
        assert_eq!(timers.next_due(), Some(at(10)));
        assert_eq!(drain(&mut timers, at(9)), Vec::<&str>::new());
        assert_eq!(drain(&mut timers, at(30)), ["first", "second", "third"]);
        assert_eq!(timers.next_due(), Some(at(99)));
    }

    #[test]
    fn a_cancelled_call_never_comes_and_its_handle_names_no_other() {
        let start = Instant::now();
        let mut timers = Timers::default();
        let gone = timers.add(start, "gone");
        assert!(timers.cancel(gone));
        assert!(!timers.cancel(gone));
        let kept = timers.add(start, "kept");
        assert!(!timers.cancel(gone), "the slot is used again, the handle is not");
        assert_eq!(drain(&mut timers, start), ["kept"]);
        assert!(!timers.cancel(kept));
    }

    #[test]
    fn a_call_moves_later_and_earlier() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timers = Timers::default();
        let call = timers.add(at(10), "call");
        assert!(timers.reset(call, at(50)));
        assert_eq!(drain(&mut timers, at(20)), Vec::<&str>::new());
        assert_eq!(timers.next_due(), Some(at(50)));
        assert!(timers.reset(call, at(30)));
        assert_eq!(timers.next_due(), Some(at(30)));
        assert_eq!(drain(&mut timers, at(100)), ["call"], "once, not at each of its places");
        assert!(!timers.reset(call, at(200)));
        assert!(timers.pending.is_empty());
    }

    #[test]
    fn a_call_made_while_draining_waits_for_the_next_turn() {
        let start = Instant::now();
        let mut timers = Timers::default();
        timers.add(start, "old");
        let mark = timers.mark();
        assert_eq!(timers.take_due(start, mark), Some("old"));
        timers.add(start, "new");
        assert_eq!(timers.take_due(start, mark), None);
        assert_eq!(drain(&mut timers, start), ["new"]);
    }

    #[test]
    fn husks_do_not_pile_up() {
        let start = Instant::now();
        let far = start + Duration::from_secs(3600);
        let mut timers = Timers::default();
        for _ in 0..100_000 {
            let call = timers.add(far, "never");
            timers.cancel(call);
        }
        assert!(timers.heap.len() <= HUSKS_ALWAYS_ALLOWED + 1, "{}", timers.heap.len());
        let call = timers.add(far, "moving");
        for second in (0..3000).rev() {
            timers.reset(call, start + Duration::from_secs(second));
        }
        assert!(timers.heap.len() <= HUSKS_ALWAYS_ALLOWED + 3, "{}", timers.heap.len());
        assert_eq!(drain(&mut timers, far), ["moving"]);
    }
}
