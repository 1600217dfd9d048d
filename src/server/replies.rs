//! Replies in the order of the commands, also while one in between is still waiting: for Places, or with
//! `--sync always` for the disk.
//!
//! Pure: it holds bytes and places in a queue, and is handed the journal's verdict. As long as nothing
//! waits it is not used at all, and replies go straight into the connection's output. The reply to a
//! WHATSAT lies here in parts, of which the long one is shared by all who asked the same; it is put
//! together when it is sent. A reply that waits for the disk has a refusal beside it, one of which is
//! sent. What lies here is counted for the connection. What stands behind a question is also counted for
//! all connections together, in a sum that the caller keeps: a stranger may not fill the memory by asking
//! on many connections and reading on none. Called by `client.rs`; `places` makes the replies.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::herd::journal::Verdict;
use crate::wire::command::write_refusal;

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

/// What a reply tells of must be on disk before the reply leaves. If it is not in time, the line is
/// refused like an invalid command.
#[derive(Clone, Copy, Debug)]
pub struct Promise<'a> {
    /// The change that has to be on disk.
    pub change: u64,
    /// The line that the reply answers.
    pub line: &'a [u8],
}

/// The replies of one connection from the first that cannot be sent yet.
#[derive(Debug, Default)]
pub struct Replies {
    /// Those before which no place is waited for.
    front: Texts,
    queue: VecDeque<Slot>,
    next_place: u64,
    waiting: usize,
    /// Bytes in the queue.
    queue_bytes: usize,
}

/// A place for a reply to come, and all up to the next.
#[derive(Debug)]
struct Slot {
    place: u64,
    /// `None`: it is waited for.
    reply: Option<Reply>,
    /// The change that the reply waits for, and the refusal that may be sent in its place.
    promise: Option<(u64, Vec<u8>)>,
    /// Replies to other commands, which stand behind it.
    behind: Texts,
}

/// What [`Replies::write_ready`] has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// Nothing is ready.
    Nothing,
    /// Replies of one line each.
    Lines,
    /// One reply of Places, or the refusal in its place.
    Reply,
}

impl Replies {
    /// Whether nothing is waited for, so that a reply may go out at once.
    pub fn is_empty(&self) -> bool {
        self.front.is_empty() && self.queue.is_empty()
    }

    /// How many places are waited for.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Bytes that are composed and not sent: because they stand behind a place that is still waited for,
    /// because they wait for the disk, or because the peer does not take them. Shared ones count for each
    /// reply that has a share in them; refusals that may never be sent do not count.
    pub fn held_bytes(&self) -> usize {
        self.queue_bytes + self.front.reply_bytes
    }

    /// The place that [`wait`](Self::wait) will keep next, for whoever has to be told of it before.
    pub fn next_place(&self) -> u64 {
        self.next_place
    }

    /// Keeps a place for a reply that comes later, and names it.
    pub fn wait(&mut self, promise: Option<Promise<'_>>) -> u64 {
        let place = self.next_place;
        self.next_place += 1;
        self.waiting += 1;
        let promise = promise.map(|promise| {
            let mut refusal = Vec::new();
            write_refusal(&mut refusal, promise.line);
            (promise.change, refusal)
        });
        self.queue.push_back(Slot { place, reply: None, promise, behind: Texts::default() });
        place
    }

    /// Puts a reply behind those that are here. Without a promise it can leave as soon as they have.
    /// `held_in_all`, here and below, is the sum over all connections of what stands behind a place that
    /// is waited for, or has come for one.
    pub fn hold(&mut self, text: &[u8], promise: Option<Promise<'_>>, held_in_all: &mut usize) {
        match self.queue.back_mut() {
            None => self.front.push(text, promise),
            Some(last) => {
                last.behind.push(text, promise);
                self.queue_bytes += text.len();
                *held_in_all += text.len();
            }
        }
    }

    /// The reply for a place has come. `false`: nobody waits for it.
    pub fn fill(&mut self, place: u64, reply: Reply, held_in_all: &mut usize) -> bool {
        let waits = |slot: &&mut Slot| slot.place == place && slot.reply.is_none();
        let Some(slot) = self.queue.iter_mut().find(waits) else { return false };
        self.queue_bytes += reply.length();
        *held_in_all += reply.length();
        slot.reply = Some(reply);
        self.waiting -= 1;
        true
    }

    /// Whether [`write_ready`](Self::write_ready) would write something. `verdict` says what becomes of
    /// a reply that tells of a change.
    pub fn is_ready(&self, verdict: impl Fn(u64) -> Verdict) -> bool {
        let decided = |change: u64| verdict(change) != Verdict::Wait;
        if let Some(change) = self.front.next_change() {
            return decided(change);
        }
        let first = self.queue.front().filter(|slot| slot.reply.is_some());
        first.is_some_and(|slot| slot.promise.as_ref().is_none_or(|(change, _)| decided(*change)))
    }

    /// Appends what may go out next: the replies up to the next place, or the reply for that place.
    pub fn write_ready(
        &mut self,
        verdict: impl Fn(u64) -> Verdict,
        out: &mut Vec<u8>,
        held_in_all: &mut usize,
    ) -> Written {
        if !self.is_ready(&verdict) {
            return Written::Nothing;
        }
        if !self.front.is_empty() {
            self.front.write_decided(verdict, out);
            self.tidy();
            return Written::Lines;
        }
        let Some(Slot { reply, promise, behind, .. }) = self.queue.pop_front() else {
            return Written::Nothing;
        };
        let length = reply.as_ref().map_or(0, Reply::length);
        match (reply, promise) {
            (_, Some((change, refusal))) if verdict(change) == Verdict::Refuse => {
                out.extend_from_slice(&refusal);
            }
            (Some(reply), _) => reply.write(out),
            (None, _) => {}
        }
        let taken_bytes = length + behind.reply_bytes;
        self.queue_bytes -= taken_bytes;
        *held_in_all -= taken_bytes;
        self.front = behind;
        self.tidy();
        Written::Reply
    }

    /// The connection is lost: nothing of what is held will be sent, and nothing is waited for.
    pub fn drop_all(&mut self, held_in_all: &mut usize) {
        *held_in_all -= self.queue_bytes;
        *self = Self::default();
    }

    /// An idle connection keeps no queue.
    fn tidy(&mut self) {
        if self.is_empty() {
            (self.front, self.queue) = (Texts::default(), VecDeque::new());
        }
    }
}

/// Composed replies in their order, each with what decides whether it is sent.
#[derive(Debug, Default)]
struct Texts {
    /// Of each part its reply, and behind that its refusal.
    bytes: Vec<u8>,
    parts: VecDeque<Part>,
    /// The length of all replies together.
    reply_bytes: usize,
}

/// One reply that waits for the disk, or any number of replies that do not.
#[derive(Debug)]
struct Part {
    /// 0: none, so that the part may be sent.
    change: u64,
    reply_bytes: usize,
    refusal_bytes: usize,
}

impl Texts {
    fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The change that decides on the first.
    fn next_change(&self) -> Option<u64> {
        self.parts.front().map(|part| part.change)
    }

    fn push(&mut self, text: &[u8], promise: Option<Promise<'_>>) {
        self.bytes.extend_from_slice(text);
        self.reply_bytes += text.len();
        let Some(Promise { change, line }) = promise else {
            match self.parts.back_mut().filter(|last| last.change == 0) {
                Some(last) => last.reply_bytes += text.len(),
                None => self.add(0, text.len(), 0),
            }
            return;
        };
        let start = self.bytes.len();
        write_refusal(&mut self.bytes, line);
        self.add(change, text.len(), self.bytes.len() - start);
    }

    fn add(&mut self, change: u64, reply_bytes: usize, refusal_bytes: usize) {
        self.parts.push_back(Part { change, reply_bytes, refusal_bytes });
    }

    /// Appends those on which the verdict is known, up to the first that waits.
    fn write_decided(&mut self, verdict: impl Fn(u64) -> Verdict, out: &mut Vec<u8>) {
        let mut used = 0;
        while let Some(part) = self.parts.front() {
            let refusal = used + part.reply_bytes;
            let next = refusal + part.refusal_bytes;
            let range = match verdict(part.change) {
                Verdict::Wait => break,
                Verdict::Send => used..refusal,
                Verdict::Refuse => refusal..next,
            };
            out.extend_from_slice(self.bytes.get(range).unwrap_or_default());
            self.reply_bytes -= part.reply_bytes;
            used = next;
            self.parts.pop_front();
        }
        self.bytes.drain(..used);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reply(at_line: &str, json: &[u8]) -> Reply {
        Reply { at_line: at_line.into(), json: json.into() }
    }

    /// What goes out while the disk has all changes up to one, and refuses the others or has them wait.
    fn decided(
        replies: &mut Replies,
        in_all: &mut usize,
        (synced, other): (u64, Verdict),
    ) -> String {
        let verdict = |change| if change <= synced { Verdict::Send } else { other };
        let mut text = Vec::new();
        while replies.write_ready(verdict, &mut text, in_all) != Written::Nothing {}
        String::from_utf8(text).unwrap()
    }

    fn ready(replies: &mut Replies, in_all: &mut usize) -> String {
        decided(replies, in_all, (0, Verdict::Wait))
    }

    /// A promise of that change.
    fn promise(change: u64) -> Promise<'static> {
        let line = match change {
            1 => "IAMAT\t 1",
            2 => "IAMAT 2",
            3 => "WHATSAT 3",
            _ => "IAMAT 4",
        };
        Promise { change, line: line.as_bytes() }
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
        let first = replies.wait(None);
        replies.hold(b"a", None, &mut in_all);
        replies.hold(b"b", None, &mut in_all);
        let second = replies.wait(None);
        replies.hold(b"c", None, &mut in_all);
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
        let places: Vec<u64> = (0..4).map(|_| replies.wait(None)).collect();
        for (filled, place) in places.iter().skip(1).enumerate() {
            assert_eq!(replies.held_bytes(), filled * 1007);
            let reply = Reply { at_line: b"line".to_vec(), json: Arc::clone(&json) };
            replies.fill(*place, reply, &mut in_all);
        }
        assert_eq!((replies.held_bytes(), Arc::strong_count(&json)), (3021, 4));
        assert_eq!(ready(&mut replies, &mut in_all), "");
        replies.fill(0, reply("line", b""), &mut in_all);
        assert_eq!((ready(&mut replies, &mut in_all).len(), replies.held_bytes()), (3028, 0));
        assert_eq!(Arc::strong_count(&json), 1);
    }

    #[test]
    fn a_place_is_filled_once() {
        let (mut replies, mut in_all) = (Replies::default(), 0);
        let place = replies.wait(None);
        assert!(replies.fill(place, reply("1", b""), &mut in_all));
        assert!(!replies.fill(place, reply("again", b""), &mut in_all));
        assert_eq!(ready(&mut replies, &mut in_all), "1\n\n\n");
        assert!(!replies.fill(place, reply("late", b""), &mut in_all));
        assert!(replies.is_empty());
    }

    #[test]
    fn a_reply_waits_for_its_change_and_all_behind_it_wait_too() {
        let (mut replies, mut in_all) = (Replies::default(), 0);
        replies.hold(b"AT 1\n", Some(promise(1)), &mut in_all);
        replies.hold(b"? hello\n", None, &mut in_all);
        replies.hold(b"? again\n", None, &mut in_all);
        replies.hold(b"AT 2\n", Some(promise(2)), &mut in_all);
        assert_eq!((ready(&mut replies, &mut in_all).as_str(), replies.held_bytes()), ("", 26));
        let wait = Verdict::Wait;
        let text = decided(&mut replies, &mut in_all, (1, wait));
        assert_eq!(text, "AT 1\n? hello\n? again\n");
        assert!(!replies.is_empty() && replies.held_bytes() == 5);
        assert_eq!(decided(&mut replies, &mut in_all, (2, wait)), "AT 2\n");
        assert!(replies.is_empty() && replies.held_bytes() == 0 && in_all == 0);
    }

    #[test]
    fn what_is_not_on_disk_in_time_is_refused_in_its_place() {
        let (mut replies, mut in_all) = (Replies::default(), 0);
        replies.hold(b"AT 1\n", Some(promise(1)), &mut in_all);
        replies.hold(b"AT 2\n", Some(promise(2)), &mut in_all);
        let place = replies.wait(Some(promise(3)));
        replies.hold(b"? hello\n", None, &mut in_all);
        replies.hold(b"AT 4\n", Some(promise(4)), &mut in_all);
        let refuse = Verdict::Refuse;
        // Change 1 is on disk, and its reply is as good as ever. Places has not answered.
        let text = decided(&mut replies, &mut in_all, (1, refuse));
        assert_eq!(text, "AT 1\n? IAMAT 2\n");
        assert!(replies.fill(place, reply("AT 3", b"{}"), &mut in_all));
        let text = decided(&mut replies, &mut in_all, (1, refuse));
        assert_eq!(text, "? WHATSAT 3\n? hello\n? IAMAT 4\n");
        assert!(replies.is_empty() && replies.held_bytes() == 0 && in_all == 0);
        // A refusal is the line as it came.
        replies.hold(b"AT 1\n", Some(promise(1)), &mut in_all);
        assert_eq!(decided(&mut replies, &mut in_all, (0, refuse)), "? IAMAT\t 1\n");
    }

    #[test]
    fn an_answer_of_places_waits_for_the_disk_too() {
        let (mut replies, mut in_all) = (Replies::default(), 0);
        let place = replies.wait(Some(promise(3)));
        replies.fill(place, reply("AT 3", b"{}"), &mut in_all);
        assert_eq!(decided(&mut replies, &mut in_all, (2, Verdict::Wait)), "");
        assert_eq!(decided(&mut replies, &mut in_all, (3, Verdict::Wait)), "AT 3\n{}\n\n");
    }

    /// What may happen on one of several connections.
    #[derive(Clone, Debug)]
    enum Step {
        Wait,
        /// A reply of so many bytes, which waits for that change or for none.
        Hold(usize, u64),
        /// Its n-th place, which may be filled already, or none of its places.
        Fill(u64, usize),
        /// What goes out when all changes up to one are on disk.
        Take(u64),
        Lost,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => Just(Step::Wait),
            3 => (0..50usize, 0..5u64).prop_map(|(length, change)| Step::Hold(length, change)),
            4 => (0..6u64, 0..50usize).prop_map(|(place, length)| Step::Fill(place, length)),
            3 => (0..5u64).prop_map(Step::Take),
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
                    Step::Wait => _ = replies.wait(None),
                    Step::Hold(length, change) => {
                        let promise = (change > 0).then(|| promise(change));
                        replies.hold(&vec![b'x'; length], promise, &mut in_all);
                    }
                    Step::Fill(place, length) => {
                        replies.fill(place, reply("line", &vec![b'x'; length]), &mut in_all);
                    }
                    Step::Take(synced) => {
                        decided(replies, &mut in_all, (synced, Verdict::Wait));
                    }
                    Step::Lost => replies.drop_all(&mut in_all),
                }
                // Counted anew, from what lies there.
                let texts = |texts: &Texts| texts.parts.iter().map(|it| it.reply_bytes).sum::<usize>();
                let lies = |slot: &Slot| {
                    slot.reply.as_ref().map_or(0, Reply::length) + texts(&slot.behind)
                };
                let counted: usize = all.iter().flat_map(|replies| &replies.queue).map(lies).sum();
                prop_assert_eq!(in_all, counted);
                let fronts: usize = all.iter().map(|replies| texts(&replies.front)).sum();
                let held = all.iter().map(Replies::held_bytes).sum::<usize>();
                prop_assert_eq!(held, counted + fronts);
            }
            // In the end some have all they asked for, and the others go without.
            let [first, others @ ..] = &mut all;
            for place in 0..first.next_place {
                first.fill(place, reply("line", b"{}"), &mut in_all);
            }
            decided(first, &mut in_all, (4, Verdict::Wait));
            prop_assert!(first.is_empty() && first.held_bytes() == 0);
            for replies in others {
                replies.drop_all(&mut in_all);
            }
            prop_assert_eq!(in_all, 0);
        }
    }
}
