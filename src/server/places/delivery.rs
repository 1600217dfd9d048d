//! The way back: one answer to all who asked for it, so many of them in each turn.
//!
//! The askers of one question may be thousands, and its answer long. So the answer is cut once for each
//! bound and shared from there on, and a turn serves no more askers than it has time for: the others are
//! next, in the order in which they asked. It knows no connection; whoever takes a reply from it posts it.
//! Called by `places`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::Asker;
use crate::wire::json::{cut_list, error_json, squeeze_newlines};

/// How many askers are answered in one turn: each may be a connection of its own to write to, at some 10 µs.
pub const ANSWERED_PER_TURN: usize = 64;

/// How many bytes they are answered in one turn, give or take one reply. About as long: a reply is cut,
/// copied and written at some GB/s.
pub const ANSWERED_PER_TURN_BYTES: usize = 256 * 1024;

/// Answers that have come, and those who have not been told.
#[derive(Default)]
pub struct Delivery {
    answers: VecDeque<Answer>,
    /// What the present turn has had.
    answered: usize,
    answered_bytes: usize,
}

/// One answer on its way to whoever asked.
struct Answer {
    /// The upstream's JSON, or what is wrong.
    judged: Result<Vec<u8>, String>,
    /// The field that holds the list.
    list: &'static str,
    /// Askers may be thousands, but there are only so many bounds.
    cut: BTreeMap<usize, Arc<[u8]>>,
    askers: VecDeque<Asker>,
}

impl Delivery {
    /// Answers that somebody has not been told yet.
    pub fn answers(&self) -> usize {
        self.answers.len()
    }

    /// An answer has come for those who asked: the upstream's JSON, of which `list` is to be cut, or words
    /// for what is wrong.
    pub fn push(
        &mut self,
        judged: Result<Vec<u8>, String>,
        list: &'static str,
        askers: VecDeque<Asker>,
    ) {
        self.answers.push_back(Answer { judged, list, cut: BTreeMap::new(), askers });
    }

    /// A turn begins, and has served nobody yet.
    pub fn turn_begins(&mut self) {
        (self.answered, self.answered_bytes) = (0, 0);
    }

    /// Who is told next, and what; `None`: nobody, or nobody in this turn.
    pub fn take_next(&mut self) -> Option<(Asker, Arc<[u8]>)> {
        if self.answered >= ANSWERED_PER_TURN || self.answered_bytes >= ANSWERED_PER_TURN_BYTES {
            return None;
        }
        let answer = self.answers.front_mut()?;
        let asker = answer.askers.pop_front()?;
        let (json, cut_bytes) = answer.cut_to(asker.bound);
        self.answered += 1;
        self.answered_bytes += cut_bytes + asker.at_line.len() + json.len();
        if answer.askers.is_empty() {
            self.answers.pop_front();
        }
        Some((asker, json))
    }
}

impl Answer {
    /// The JSON for a bound, and how many bytes had to be looked through to make it.
    fn cut_to(&mut self, bound: usize) -> (Arc<[u8]>, usize) {
        if let Some(json) = self.cut.get(&bound) {
            return (Arc::clone(json), 0);
        }
        let judged = self.judged.as_deref();
        let json: Arc<[u8]> = answer_json(judged, self.list, bound).into();
        self.cut.insert(bound, Arc::clone(&json));
        (json, judged.map_or(0, <[u8]>::len))
    }
}

/// The upstream's JSON with its list cut, or one that names the fault.
fn answer_json(judged: Result<&[u8], &String>, list: &str, bound: usize) -> Vec<u8> {
    match judged.map(|body| cut_list(body, list, bound)) {
        Ok(Ok(parts)) => {
            let mut json = Vec::new();
            squeeze_newlines(&mut json, &parts);
            json
        }
        Ok(Err(e)) => error_json(&format!("places: {e}")),
        Err(why) => error_json(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOGLE: &[u8] =
        b"{\r\n\n\n   \"results\" : [ 1, 2,\n\n 3 ],\n   \"status\" : \"OK\"\n}\n\n\n";

    fn told(judged: Result<&[u8], &String>, bound: usize) -> String {
        String::from_utf8(answer_json(judged, "results", bound)).unwrap()
    }

    #[test]
    fn each_bound_gets_its_own_list_of_one_answer() {
        let end = ",\n   \"status\" : \"OK\"\n}";
        for (bound, list) in [(0, "[]"), (1, "[ 1 ]"), (2, "[ 1, 2 ]"), (20, "[ 1, 2,\n 3 ]")] {
            assert_eq!(told(Ok(GOOGLE), bound), format!("{{\n   \"results\" : {list}{end}"));
        }
    }

    #[test]
    fn a_fault_is_told_in_the_shape_of_googles() {
        let shape = "{\"html_attributions\":[],\"results\":[],\"status\":\"UNKNOWN_ERROR\",\"error_message\":";
        let why = "places: connection refused".to_owned();
        assert_eq!(told(Err(&why), 5), format!("{shape}\"places: connection refused\"}}"));
        let words = "\"places: the answer is not JSON (line 1, column 1)\"";
        assert_eq!(told(Ok(b"<html>"), 5), format!("{shape}{words}}}"));
    }
}
