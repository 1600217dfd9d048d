//! Answers that have come: as long as somebody has not been told, and a few seconds longer for whoever asks the
//! same again.
//!
//! Pure: it is handed the time. An answer is cut once for each bound, and shared from there on. What is kept for
//! later has a bound in bytes, and the oldest goes first. Called by `places`.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::wire::json::{cut_list, error_json, squeeze_newlines};

/// The most that kept answers take together, bytes: requests, bodies and what was cut of them. Some hundreds of
/// Google's.
pub const KEPT_MAX_BYTES: usize = 16 * 1024 * 1024;

/// What a kept answer takes beside its texts, bytes: its places in the tables.
const KEPT_EACH_BYTES: usize = 512;

/// What became of a question: the upstream's JSON, or an error of ours as JSON.
pub type Judged = Result<Vec<u8>, Vec<u8>>;

/// The answers, by the numbers of their questions.
#[derive(Debug)]
pub struct Answers {
    by_number: BTreeMap<u64, Answer>,
    /// How many of them somebody has not been told.
    untold: usize,
    /// How long an answer is kept. Zero: not at all.
    lifetime: Duration,
    /// The kept ones, by the request that each is the answer to.
    kept: HashMap<Arc<[u8]>, u64>,
    /// The kept ones, the oldest first, each with the end of its time.
    kept_until: VecDeque<(Instant, u64)>,
    kept_bytes: usize,
}

#[derive(Debug)]
struct Answer {
    judged: Judged,
    /// The field that holds the list.
    list: &'static str,
    /// Askers may be thousands, but there are only so many bounds.
    cut: BTreeMap<usize, Arc<[u8]>>,
    /// How many askers have not been told.
    untold: usize,
    /// The request, while the answer is kept.
    request: Option<Arc<[u8]>>,
}

impl Answers {
    /// No answers yet. `lifetime` is how long one is kept; zero: not at all.
    pub fn new(lifetime: Duration) -> Self {
        Self {
            by_number: BTreeMap::new(),
            untold: 0,
            lifetime,
            kept: HashMap::new(),
            kept_until: VecDeque::new(),
            kept_bytes: 0,
        }
    }

    /// How many answers somebody has not been told yet.
    pub fn untold(&self) -> usize {
        self.untold
    }

    /// Whether answers are kept at all.
    pub fn keeps(&self) -> bool {
        !self.lifetime.is_zero()
    }

    /// An answer has come for so many askers. `list` is the field that is cut to each one's bound.
    pub fn insert(&mut self, number: u64, judged: Judged, list: &'static str, askers: usize) {
        if askers > 0 {
            self.untold += 1;
        }
        let answer = Answer { judged, list, cut: BTreeMap::new(), untold: askers, request: None };
        self.by_number.insert(number, answer);
    }

    /// Keeps an answer for whoever sends the same request from `now` on. One that is not kept and has no askers
    /// is let go.
    pub fn keep(&mut self, number: u64, request: Option<Arc<[u8]>>, now: Instant) {
        if let Some(request) = request.filter(|_| self.keeps())
            && let Some(answer) = self.by_number.get_mut(&number)
        {
            answer.request = Some(Arc::clone(&request));
            self.kept_bytes += answer.weight();
            self.kept.insert(request, number);
            self.kept_until.push_back((now + self.lifetime, number));
            self.drop_oldest(now);
        }
        self.let_go(number);
    }

    /// The kept answer to a request.
    pub fn find(&mut self, request: &[u8], now: Instant) -> Option<u64> {
        self.drop_oldest(now);
        self.kept.get(request).copied()
    }

    /// An answer for this bound, where it has been cut for it before.
    pub fn ready(&self, number: u64, bound: usize) -> Option<Arc<[u8]>> {
        self.by_number.get(&number)?.cut.get(&bound).cloned()
    }

    /// One more asker waits to be told.
    pub fn join(&mut self, number: u64) {
        let Some(answer) = self.by_number.get_mut(&number) else { return };
        answer.untold += 1;
        if answer.untold == 1 {
            self.untold += 1;
        }
    }

    /// One asker less waits to be told.
    pub fn leave(&mut self, number: u64) {
        let Some(answer) = self.by_number.get_mut(&number) else { return };
        answer.untold = answer.untold.saturating_sub(1);
        if answer.untold == 0 {
            self.untold = self.untold.saturating_sub(1);
        }
        self.let_go(number);
    }

    /// The JSON for a bound, and how many bytes had to be looked through to make it.
    pub fn cut(&mut self, number: u64, bound: usize) -> Option<(Arc<[u8]>, usize)> {
        let answer = self.by_number.get_mut(&number)?;
        let (json, looked_at) = answer.cut_to(bound);
        if looked_at > 0 && answer.request.is_some() {
            self.kept_bytes += json.len();
        }
        Some((json, looked_at))
    }

    fn drop_oldest(&mut self, now: Instant) {
        while let Some(&(until, number)) = self.kept_until.front()
            && (until <= now || self.kept_bytes > KEPT_MAX_BYTES)
        {
            self.kept_until.pop_front();
            if let Some(answer) = self.by_number.get_mut(&number) {
                self.kept_bytes = self.kept_bytes.saturating_sub(answer.weight());
                if let Some(request) = answer.request.take() {
                    self.kept.remove(&request);
                }
            }
            self.let_go(number);
        }
    }

    fn let_go(&mut self, number: u64) {
        let is_over = |answer: &Answer| answer.untold == 0 && answer.request.is_none();
        if self.by_number.get(&number).is_some_and(is_over) {
            self.by_number.remove(&number);
        }
    }
}

impl Answer {
    /// What it takes while it is kept, bytes.
    fn weight(&self) -> usize {
        let body = self.judged.as_ref().map_or_else(Vec::len, Vec::len);
        let cut: usize = self.cut.values().map(|json| json.len()).sum();
        KEPT_EACH_BYTES + self.request.as_ref().map_or(0, |request| request.len()) + body + cut
    }

    fn cut_to(&mut self, bound: usize) -> (Arc<[u8]>, usize) {
        if let Some(json) = self.cut.get(&bound) {
            return (Arc::clone(json), 0);
        }
        let json: Arc<[u8]> = answer_json(&self.judged, self.list, bound).into();
        self.cut.insert(bound, Arc::clone(&json));
        // At least one, so that a new copy is always seen as one.
        (json, self.judged.as_ref().map_or(1, |body| body.len().max(1)))
    }
}

/// The upstream's JSON with its list cut, or one that names the fault.
fn answer_json(judged: &Judged, list: &str, bound: usize) -> Vec<u8> {
    match judged.as_ref().map(|body| cut_list(body, list, bound)) {
        Ok(Ok(parts)) => {
            let mut json = Vec::new();
            squeeze_newlines(&mut json, &parts);
            json
        }
        Ok(Err(e)) => error_json(&format!("places: {e}")),
        Err(error) => error.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOGLE: &[u8] =
        b"{\r\n\n\n   \"results\" : [ 1, 2,\n\n 3 ],\n   \"status\" : \"OK\"\n}\n\n\n";
    const LIFETIME: Duration = Duration::from_secs(5);

    fn told(judged: &Judged, bound: usize) -> String {
        String::from_utf8(answer_json(judged, "results", bound)).unwrap()
    }

    #[test]
    fn each_bound_gets_its_own_list_of_one_answer() {
        let end = ",\n   \"status\" : \"OK\"\n}";
        for (bound, list) in [(0, "[]"), (1, "[ 1 ]"), (2, "[ 1, 2 ]"), (20, "[ 1, 2,\n 3 ]")] {
            let expected = format!("{{\n   \"results\" : {list}{end}");
            assert_eq!(told(&Ok(GOOGLE.to_vec()), bound), expected);
        }
    }

    #[test]
    fn a_fault_is_told_in_the_shape_of_googles() {
        let shape = "{\"html_attributions\":[],\"results\":[],\"status\":\"UNKNOWN_ERROR\",\"error_message\":";
        let why = error_json("places: connection refused");
        assert_eq!(told(&Err(why), 5), format!("{shape}\"places: connection refused\"}}"));
        let words = "\"places: the answer is not JSON (line 1, column 1)\"";
        assert_eq!(told(&Ok(b"<html>".to_vec()), 5), format!("{shape}{words}}}"));
    }

    /// Inserts and keeps an answer of so many bytes.
    fn keep(answers: &mut Answers, number: u64, bytes: usize, now: Instant) {
        let body = format!("{{\"results\":[\"{}\"]}}", "x".repeat(bytes)).into_bytes();
        answers.insert(number, Ok(body), "results", 0);
        answers.keep(number, Some(format!("GET {number}").into_bytes().into()), now);
    }

    #[test]
    fn an_answer_is_kept_for_its_time_and_no_longer() {
        let (mut answers, start) = (Answers::new(LIFETIME), Instant::now());
        keep(&mut answers, 1, 10, start);
        let almost = start + LIFETIME.saturating_sub(Duration::from_nanos(1));
        assert_eq!(answers.find(b"GET 1", almost), Some(1));
        assert_eq!(answers.find(b"GET 2", almost), None);
        assert_eq!(answers.find(b"GET 1", start + LIFETIME), None);
        assert!(answers.by_number.is_empty() && answers.kept_bytes == 0);
        // Without a lifetime nothing is kept.
        let mut none = Answers::new(Duration::ZERO);
        keep(&mut none, 1, 10, start);
        assert_eq!((none.find(b"GET 1", start), none.by_number.len()), (None, 0));
    }

    #[test]
    fn kept_answers_are_bounded_in_bytes_with_all_that_was_cut_of_them() {
        let (mut answers, now) = (Answers::new(LIFETIME), Instant::now());
        for number in 0..100 {
            keep(&mut answers, number, 1_000_000, now);
            assert!(answers.kept_bytes <= KEPT_MAX_BYTES);
        }
        assert_eq!(answers.by_number.len(), 16);
        assert_eq!(answers.find(b"GET 83", now), None);
        // Each cut is a copy.
        for bound in 1..=10 {
            answers.cut(99, bound);
            answers.cut(99, bound);
        }
        assert_eq!(answers.find(b"GET 99", now), Some(99));
        assert_eq!(answers.by_number.len(), 6);
        let counted: usize = answers.by_number.values().map(Answer::weight).sum();
        assert_eq!(answers.kept_bytes, counted);
        answers.find(b"", now + LIFETIME);
        assert_eq!((answers.kept_bytes, answers.by_number.len()), (0, 0));
    }

    #[test]
    fn an_answer_stays_until_everybody_is_told() {
        let (mut answers, start) = (Answers::new(LIFETIME), Instant::now());
        answers.insert(1, Ok(GOOGLE.to_vec()), "results", 2);
        answers.keep(1, Some(b"GET".as_slice().into()), start);
        assert_eq!(answers.ready(1, 2), None);
        let (json, _) = answers.cut(1, 2).unwrap();
        assert!(Arc::ptr_eq(&json, &answers.ready(1, 2).unwrap()));
        assert_eq!(answers.find(b"GET", start + LIFETIME), None);
        assert_eq!(answers.untold(), 1);
        answers.leave(1);
        answers.join(1);
        answers.leave(1);
        assert!(answers.cut(1, 3).is_some());
        answers.leave(1);
        assert_eq!((answers.untold(), answers.cut(1, 3).is_none()), (0, true));
    }
}
