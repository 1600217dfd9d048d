//! When a reply may leave, if a reply is a promise that nothing it says will be lost.

use std::collections::VecDeque;

/// What waits until changes are on disk, in order.
///
/// A reply waits for every change that was made before it was written, not only for its own: an answer
/// to a report that is not newer than what the server holds makes no change, and yet promises that
/// something as new is kept. So a place in the queue is the number of a change, see
/// [`Herd::last_change`](super::super::Herd::last_change).
#[derive(Debug)]
pub struct Gate<T> {
    /// All changes up to this number are on disk.
    synced: u64,
    /// With the change that each waits for, which never goes down.
    waiting: VecDeque<(u64, T)>,
}

impl<T> Gate<T> {
    /// Nothing is on disk yet: what a replay has read is not known to be, until a sync says so.
    pub fn new() -> Gate<T> {
        Gate { synced: 0, waiting: VecDeque::new() }
    }

    /// Lets wait what was written after `last_change`, the newest change there was. It is given back
    /// when it need not wait.
    #[must_use = "what need not wait is given back"]
    pub fn hold(&mut self, last_change: u64, what: T) -> Option<T> {
        if last_change <= self.synced {
            return Some(what);
        }
        self.waiting.push_back((last_change, what));
        None
    }

    /// A sync has succeeded that was begun when the file held all changes up to `change`, which is
    /// [`Writer::cursor`](super::Writer::cursor).
    pub fn synced(&mut self, change: u64) {
        self.synced = self.synced.max(change);
    }

    /// Takes the next that need not wait any more, in the order in which they came.
    pub fn next_ready(&mut self) -> Option<T> {
        let (change, _) = self.waiting.front()?;
        if *change > self.synced {
            return None;
        }
        self.waiting.pop_front().map(|(_, what)| what)
    }

    /// Takes all that wait, ready or not: for when nothing can be written, and replies go without.
    pub fn give_up(&mut self) -> impl Iterator<Item = T> + use<T> {
        std::mem::take(&mut self.waiting).into_iter().map(|(_, what)| what)
    }

    /// Whether changes up to `change` are on disk.
    pub fn is_synced(&self, change: u64) -> bool {
        change <= self.synced
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

impl<T> Default for Gate<T> {
    fn default() -> Gate<T> {
        Gate::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(gate: &mut Gate<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| gate.next_ready()).collect()
    }

    #[test]
    fn a_reply_leaves_when_all_that_came_before_it_is_on_disk() {
        let mut gate = Gate::new();
        assert_eq!(gate.hold(0, "before any change"), Some("before any change"));
        assert_eq!(gate.hold(1, "first"), None);
        assert_eq!(gate.hold(3, "third"), None);
        // It changed nothing itself.
        assert_eq!(gate.hold(3, "a repeat"), None);
        assert_eq!((gate.waiting(), ready(&mut gate)), (3, vec![]));
        gate.synced(2);
        assert_eq!(ready(&mut gate), ["first"]);
        // A sync of a second file that does not reach as far yet takes nothing back.
        gate.synced(1);
        assert!(gate.is_synced(2) && !gate.is_synced(3));
        assert_eq!(gate.hold(2, "in time"), Some("in time"));
        gate.synced(3);
        assert_eq!(ready(&mut gate), ["third", "a repeat"]);
        assert_eq!(gate.waiting(), 0);
    }

    #[test]
    fn what_waits_can_be_let_go_without_a_sync() {
        let mut gate = Gate::new();
        assert_eq!(gate.hold(1, "first"), None);
        assert_eq!(gate.hold(2, "second"), None);
        assert!(gate.give_up().eq(["first", "second"]));
        assert!(gate.waiting() == 0 && !gate.is_synced(1));
        assert_eq!(gate.hold(2, "third"), None, "nothing is on disk for all that");
    }
}
