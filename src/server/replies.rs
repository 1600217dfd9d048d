//! Replies in the order of the commands, also while one in between is still waiting for Places.
//!
//! Pure: it holds bytes and places in a queue. As long as nothing waits it is not used at all, and
//! replies go straight into the connection's output. The reply to a WHATSAT lies here in parts, of which
//! the long one is shared by all who asked the same; it is put together when it is sent. What lies here is
//! counted for the connection, and for all of them together in a sum that the caller keeps: a stranger may
//! not fill the memory by asking on many connections and reading on none. Called by `client.rs`; `places`
//! makes the replies.

use std::collections::VecDeque;
use std::sync::Arc;

/// The reply to a WHATSAT: the AT line, the JSON, two newlines.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The first line without its end.
    pub at_line: Vec<u8>,
    /// What Places says, without newlines at its end. One for all who asked the same.
    pub json: Arc<[u8]>,
}

impl Reply {
    /// What stands between its parts, and behind them.
    const ENDS: [&'static [u8]; 2] = [b"\n", b"\n\n"];

    /// How long it will be, bytes.
    pub fn length(&self) -> usize {
        let [after_line, after_json] = Self::ENDS;
        self.at_line.len() + after_line.len() + self.json.len() + after_json.len()
    }

    /// Appends the whole of it.
    pub fn write(&self, out: &mut Vec<u8>) {
        let [after_line, after_json] = Self::ENDS;
        for part in [&self.at_line, after_line, &self.json, after_json] {
            out.extend_from_slice(part);
        }
    }
}

/// The replies of one connection from the first that cannot be sent yet.
#[derive(Debug, Default)]
pub struct Replies {
    queue: VecDeque<Slot>,
    next_place: u64,
    waiting: usize,
    held_bytes: usize,
}

/// A place for a reply to come, and all up to the next.
#[derive(Debug)]
struct Slot {
    place: u64,
    /// `None`: it is waited for.
    reply: Option<Reply>,
    /// Replies to other commands, which stand behind it.
    behind: Vec<u8>,
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

    /// Bytes that are ready and not sent: because they stand behind a place that is still waited for, or
    /// because the peer does not take them. Shared ones count for each reply that has a share in them.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// The place that [`wait`](Self::wait) will keep next, for whoever has to be told of it before.
    pub fn next_place(&self) -> u64 {
        self.next_place
    }

    /// Keeps a place for a reply that comes later, and names it.
    pub fn wait(&mut self) -> u64 {
        let place = self.next_place;
        self.next_place += 1;
        self.waiting += 1;
        self.queue.push_back(Slot { place, reply: None, behind: Vec::new() });
        place
    }

    /// Puts a reply that is ready behind those that are not. There must be one; see
    /// [`is_empty`](Self::is_empty). `held_in_all`, here and below, is the sum of
    /// [`held_bytes`](Self::held_bytes) over all connections.
    pub fn hold(&mut self, text: &[u8], held_in_all: &mut usize) {
        if let Some(last) = self.queue.back_mut() {
            last.behind.extend_from_slice(text);
            self.held_bytes += text.len();
            *held_in_all += text.len();
        }
    }

    /// The reply for a place has come. `false`: nobody waits for it.
    pub fn fill(&mut self, place: u64, reply: Reply, held_in_all: &mut usize) -> bool {
        let waits = |slot: &&mut Slot| slot.place == place && slot.reply.is_none();
        let Some(slot) = self.queue.iter_mut().find(waits) else { return false };
        self.held_bytes += reply.length();
        *held_in_all += reply.length();
        slot.reply = Some(reply);
        self.waiting -= 1;
        true
    }

    /// The next reply that may go out, and the text that is to go out right behind it.
    pub fn take_ready(&mut self, held_in_all: &mut usize) -> Option<(Reply, Vec<u8>)> {
        let reply = self.queue.front_mut()?.reply.take()?;
        let behind = self.queue.pop_front().map(|slot| slot.behind).unwrap_or_default();
        let taken_bytes = reply.length() + behind.len();
        self.held_bytes -= taken_bytes;
        *held_in_all -= taken_bytes;
        if self.queue.is_empty() {
            // An idle connection keeps no queue.
            self.queue = VecDeque::new();
        }
        Some((reply, behind))
    }

    /// The connection is lost: nothing of what is held will be sent, and nothing is waited for.
    pub fn drop_all(&mut self, held_in_all: &mut usize) {
        *held_in_all -= self.held_bytes;
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reply(at_line: &str, json: &[u8]) -> Reply {
        Reply { at_line: at_line.into(), json: json.into() }
    }

    fn ready(replies: &mut Replies, in_all: &mut usize) -> String {
        let mut text = Vec::new();
        while let Some((reply, behind)) = replies.take_ready(in_all) {
            reply.write(&mut text);
            text.extend_from_slice(&behind);
        }
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_reply_is_the_at_line_the_json_and_two_newlines() {
        let mut text = b"before ".to_vec();
        let reply = reply("AT Alford +1", b"{}");
        reply.write(&mut text);
        assert_eq!(text, b"before AT Alford +1\n{}\n\n");
        assert_eq!(reply.length(), text.len() - 7);
    }

    #[test]
    fn what_is_ready_waits_for_what_is_not() {
        let (mut replies, mut in_all) = (Replies::default(), 0);
        let first = replies.wait();
        replies.hold(b"a", &mut in_all);
        replies.hold(b"b", &mut in_all);
        let second = replies.wait();
        replies.hold(b"c", &mut in_all);
        assert_eq!((ready(&mut replies, &mut in_all).as_str(), replies.held_bytes()), ("", 3));
        assert!(replies.fill(second, reply("2", b"{}"), &mut in_all));
        assert_eq!((ready(&mut replies, &mut in_all).as_str(), replies.waiting()), ("", 1));
        assert!(replies.fill(first, reply("1", b"{}"), &mut in_all));
        assert_eq!(ready(&mut replies, &mut in_all), "1\n{}\n\nab2\n{}\n\nc");
        assert!(replies.is_empty());
        assert_eq!((replies.waiting(), replies.held_bytes()), (0, 0));
    }

    #[test]
    fn what_is_ready_is_counted_in_whole_though_it_is_shared() {
        let json: Arc<[u8]> = vec![b'x'; 1000].into();
        let (mut replies, mut in_all) = (Replies::default(), 0);
        let places: Vec<u64> = (0..4).map(|_| replies.wait()).collect();
        for (filled, place) in places.iter().skip(1).enumerate() {
            assert_eq!(replies.held_bytes(), filled * 1007);
            let reply = Reply { at_line: b"line".to_vec(), json: Arc::clone(&json) };
            replies.fill(*place, reply, &mut in_all);
        }
        assert_eq!((replies.held_bytes(), Arc::strong_count(&json)), (3021, 4));
        assert!(replies.take_ready(&mut in_all).is_none());
        replies.fill(0, reply("line", b""), &mut in_all);
        assert_eq!((ready(&mut replies, &mut in_all).len(), replies.held_bytes()), (3028, 0));
        assert_eq!(Arc::strong_count(&json), 1);
    }

    #[test]
    fn a_place_is_filled_once() {
        let (mut replies, mut in_all) = (Replies::default(), 0);
        let place = replies.wait();
        assert!(replies.fill(place, reply("1", b""), &mut in_all));
        assert!(!replies.fill(place, reply("again", b""), &mut in_all));
        assert_eq!(ready(&mut replies, &mut in_all), "1\n\n\n");
        assert!(!replies.fill(place, reply("late", b""), &mut in_all));
        assert!(replies.is_empty());
    }

    /// What may happen on one of several connections.
    #[derive(Clone, Debug)]
    enum Step {
        Wait,
        Hold(usize),
        /// Its n-th place, which may be filled already, or none of its places.
        Fill(u64, usize),
        Take,
        Lost,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => Just(Step::Wait),
            3 => (0..50usize).prop_map(Step::Hold),
            4 => (0..6u64, 0..50usize).prop_map(|(place, length)| Step::Fill(place, length)),
            3 => Just(Step::Take),
            1 => Just(Step::Lost),
        ]
    }

    proptest! {
        #[test]
        fn the_sum_over_all_connections_is_right_after_any_history(
            steps in prop::collection::vec((0..3usize, step()), 0..100),
        ) {
            let mut all = [Replies::default(), Replies::default(), Replies::default()];
            let mut in_all = 0;
            for (which, step) in steps {
                let replies = &mut all[which];
                match step {
                    Step::Wait => _ = replies.wait(),
                    Step::Hold(length) => replies.hold(&vec![b'x'; length], &mut in_all),
                    Step::Fill(place, length) => {
                        replies.fill(place, reply("line", &vec![b'x'; length]), &mut in_all);
                    }
                    Step::Take => _ = replies.take_ready(&mut in_all),
                    Step::Lost => replies.drop_all(&mut in_all),
                }
                // Counted anew, from what lies there.
                let lies = |slot: &Slot| slot.reply.as_ref().map_or(0, Reply::length) + slot.behind.len();
                let counted: usize = all.iter().flat_map(|replies| &replies.queue).map(lies).sum();
                prop_assert_eq!(in_all, counted);
                prop_assert_eq!(in_all, all.iter().map(Replies::held_bytes).sum::<usize>());
            }
            // In the end some have all they asked for, and the others go without.
            let [first, others @ ..] = &mut all;
            for place in 0..first.next_place {
                first.fill(place, reply("line", b"{}"), &mut in_all);
            }
            ready(first, &mut in_all);
            for replies in others {
                replies.drop_all(&mut in_all);
            }
            prop_assert_eq!(in_all, 0);
        }
    }
}
