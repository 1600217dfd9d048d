//! Replies in the order of the commands, also while one in between is still waiting for Places.
//!
//! Pure: it holds bytes and places in a queue. As long as nothing waits it is not used at all, and
//! replies go straight into the connection's output. Called by `client.rs`.

use std::collections::VecDeque;

/// The replies of one connection from the first that is still waited for.
#[derive(Debug, Default)]
pub struct Replies {
    /// Each is either a waited-for place or text that stands behind one.
    queue: VecDeque<Slot>,
    next_place: u64,
    waiting: usize,
    held_bytes: usize,
}

#[derive(Debug)]
enum Slot {
    Waiting(u64),
    Text(Vec<u8>),
}

impl Replies {
    /// Whether nothing is waited for, so that a reply may go out at once.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// How many places are waited for.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Bytes that are ready but stand behind a place that is not.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Keeps a place for a reply that comes later, and names it.
    pub fn wait(&mut self) -> u64 {
        let place = self.next_place;
        self.next_place += 1;
        self.waiting += 1;
        self.queue.push_back(Slot::Waiting(place));
        place
    }

    /// Puts a reply that is ready behind those that are not.
    pub fn hold(&mut self, text: &[u8]) {
        self.held_bytes += text.len();
        match self.queue.back_mut() {
            Some(Slot::Text(held)) => held.extend_from_slice(text),
            _ => self.queue.push_back(Slot::Text(text.to_vec())),
        }
    }

    /// The reply for a place has come. `false`: nobody waits for it.
    pub fn fill(&mut self, place: u64, text: Vec<u8>) -> bool {
        let waits = |slot: &&mut Slot| matches!(slot, Slot::Waiting(p) if *p == place);
        let Some(slot) = self.queue.iter_mut().find(waits) else { return false };
        self.held_bytes += text.len();
        *slot = Slot::Text(text);
        self.waiting -= 1;
        true
    }

    /// The next reply that may go out.
    pub fn take_ready(&mut self) -> Option<Vec<u8>> {
        match self.queue.pop_front() {
            Some(Slot::Text(text)) => {
                self.held_bytes -= text.len();
                if self.queue.is_empty() {
                    // An idle connection keeps no queue.
                    self.queue = VecDeque::new();
                }
                Some(text)
            }
            Some(waiting @ Slot::Waiting(_)) => {
                self.queue.push_front(waiting);
                None
            }
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(replies: &mut Replies) -> String {
        let texts = std::iter::from_fn(|| replies.take_ready());
        texts.map(|text| String::from_utf8(text).unwrap()).collect()
    }

    #[test]
    fn what_is_ready_waits_for_what_is_not() {
        let mut replies = Replies::default();
        let first = replies.wait();
        replies.hold(b"a");
        replies.hold(b"b");
        let second = replies.wait();
        replies.hold(b"c");
        assert_eq!((ready(&mut replies).as_str(), replies.held_bytes()), ("", 3));
        assert!(replies.fill(second, b"2".to_vec()));
        assert_eq!((ready(&mut replies).as_str(), replies.waiting()), ("", 1));
        assert!(replies.fill(first, b"1".to_vec()));
        assert_eq!(ready(&mut replies), "1ab2c");
        assert!(replies.is_empty());
        assert_eq!((replies.waiting(), replies.held_bytes()), (0, 0));
    }

    #[test]
    fn a_place_is_filled_once() {
        let mut replies = Replies::default();
        let place = replies.wait();
        assert!(replies.fill(place, b"1".to_vec()));
        assert!(!replies.fill(place, b"again".to_vec()));
        assert_eq!(ready(&mut replies), "1");
        assert!(!replies.fill(place, b"late".to_vec()));
        assert!(replies.is_empty());
    }
}
