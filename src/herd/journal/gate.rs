//! What becomes of a reply, if a reply is a promise that nothing it says will be lost: it waits for the
//! disk, it leaves, or a refusal leaves in its place.
//!
//! It knows no file and no clock. Whoever syncs the file reports how far a sync has reached, and decides
//! when a reply has waited too long. Called by the journal of a server, and by the simulator.

use std::collections::VecDeque;

/// What becomes of a reply that tells of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The change is on disk: the reply leaves.
    Send,
    /// The change is not on disk yet.
    Wait,
    /// The disk takes nothing: a refusal leaves in the reply's place.
    Refuse,
}

/// What waits until changes are on disk, in order.
///
/// An answer to a report that is not newer than what the server holds makes no change, and yet promises
/// that something as new is kept: it waits for the change that brought what is held, see
/// [`Herd::change_of`](super::super::Herd::change_of).
#[derive(Debug)]
pub struct Gate<T> {
    /// All changes up to this number are on disk.
    synced: u64,
    /// Something has waited too long, and no sync has succeeded since.
    refuses: bool,
    /// With the change that each waits for, which never goes down.
    waiting: VecDeque<(u64, T)>,
}

impl<T> Gate<T> {
    /// Nothing is on disk yet: what a replay has read is not known to be, until a sync says so.
    pub fn new() -> Gate<T> {
        Gate { synced: 0, refuses: false, waiting: VecDeque::new() }
    }

    /// What becomes of a reply that tells of this change.
    pub fn verdict(&self, change: u64) -> Verdict {
        match self.refuses {
            _ if change <= self.synced => Verdict::Send,
            true => Verdict::Refuse,
            false => Verdict::Wait,
        }
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
        if change > self.synced {
            self.synced = change;
            self.refuses = false;
        }
    }

    /// Has what was held last wait for `last_change`, if it is this one; otherwise it is
    /// [held](Self::hold) now.
    #[must_use = "what need not wait is given back"]
    pub fn hold_on(&mut self, last_change: u64, what: T) -> Option<T>
    where
        T: PartialEq,
    {
        match self.waiting.back_mut() {
            Some((change, newest)) if *newest == what => {
                *change = last_change;
                None
            }
            _ => self.hold(last_change, what),
        }
    }

    /// What has waited the longest.
    pub fn oldest(&self) -> Option<&T> {
        self.waiting.front().map(|(_, what)| what)
    }

    /// What waits has waited too long. Gives all of it, and from now on nothing waits: replies are
    /// refused until a sync has reached further than any before.
    pub fn refuse(&mut self) -> impl Iterator<Item = T> + use<T> {
        self.refuses = true;
        std::mem::take(&mut self.waiting).into_iter().map(|(_, what)| what)
    }

    /// Whether replies are refused.
    pub fn refuses(&self) -> bool {
        self.refuses
    }

    /// Takes the next that need not wait any more, in the order in which they came.
    pub fn next_ready(&mut self) -> Option<T> {
        let (change, _) = self.waiting.front()?;
        if *change > self.synced {
            return None;
        }
        self.waiting.pop_front().map(|(_, what)| what)
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
        // Who waits already waits once, for the latest change.
        assert_eq!(gate.hold_on(3, "a repeat"), None);
        assert_eq!(gate.waiting(), 3);
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
    fn what_has_waited_too_long_is_refused_until_the_disk_takes_something() {
        let mut gate = Gate::new();
        gate.synced(1);
        assert_eq!(gate.hold(2, "second"), None);
        assert_eq!(gate.hold(3, "third"), None);
        assert_eq!((gate.verdict(2), gate.oldest()), (Verdict::Wait, Some(&"second")));
        assert!(gate.refuse().eq(["second", "third"]));
        assert!(gate.waiting() == 0 && gate.oldest().is_none() && gate.refuses());
        let verdicts = |gate: &Gate<_>| [1, 2, 4].map(|change| gate.verdict(change));
        assert_eq!(verdicts(&gate), [Verdict::Send, Verdict::Refuse, Verdict::Refuse]);
        // The same sync once more proves nothing new.
        gate.synced(1);
        assert!(gate.refuses());
        gate.synced(3);
        assert_eq!(verdicts(&gate), [Verdict::Send, Verdict::Send, Verdict::Wait]);
    }
}
