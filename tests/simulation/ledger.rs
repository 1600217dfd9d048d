//! What clients were told, and which records there ever were: what a herd is held to.

use std::collections::{BTreeMap, BTreeSet};

use herd::herd::record::Record;
use herd::wire::peer::parse_at;
use herd::wire::time::Nanos;

use super::world::text;

/// A reply on its way to a client, or held back.
#[derive(Clone, Debug)]
pub struct Reply {
    pub client: Vec<u8>,
    /// The time in the report that it answers.
    pub time: Nanos,
    /// The AT line, when the report was newer than what the server held, and so became a record.
    pub record: Option<Vec<u8>>,
    /// Whether it was heard at a server whose clock was right and not doubted.
    pub is_promise: bool,
}

/// What the herd owes for one client.
#[derive(Clone, Debug, Default)]
pub struct Owed {
    /// Something at least as new as this.
    pub time: Option<Nanos>,
    /// Something at least as great as this.
    pub record: Option<Vec<u8>>,
}

#[derive(Default)]
pub struct Ledger {
    /// Every record that any server ever made.
    pub made: BTreeSet<Vec<u8>>,
    pub owed: BTreeMap<Vec<u8>, Owed>,
}

impl Ledger {
    /// A client has its reply.
    pub fn replied(&mut self, reply: &Reply) {
        if !reply.is_promise {
            return;
        }
        let owed = self.owed.entry(reply.client.clone()).or_default();
        owed.time = owed.time.max(Some(reply.time));
        if let Some(line) = &reply.record {
            raise(&mut owed.record, line);
        }
    }

    /// A disk is lost: nobody is owed more than the others have on disk.
    pub fn lower(&mut self, durable: &BTreeMap<Vec<u8>, Vec<u8>>) {
        for (client, owed) in &mut self.owed {
            let left = durable.get(client);
            owed.time = owed.time.min(left.map(|line| record(line).client_time));
            if owed.record.as_ref().is_some_and(|line| left.is_none_or(|left| wins(line, left))) {
                owed.record = left.cloned();
            }
        }
    }

    /// What is held has to be as much as is owed, but for what had to go with everything up to a horizon.
    pub fn assert_paid(&self, held: &BTreeMap<Vec<u8>, Vec<u8>>, horizon: Option<Nanos>) {
        for (client, owed) in &self.owed {
            let heard = owed.record.as_ref().map(|line| record(line).server_time);
            if heard.is_some() && heard <= horizon && !held.contains_key(client) {
                continue;
            }
            let held = held.get(client);
            let time = held.map(|line| record(line).client_time);
            let less = |owed: &Vec<u8>| held.is_none_or(|held| wins(owed, held));
            let is_paid = time >= owed.time && !owed.record.as_ref().is_some_and(less);
            let texts = [owed.record.as_ref(), held].map(|line| line.map(|line| text(line)));
            assert!(is_paid, "[owed, held] are {texts:?}, and {:?} is owed", owed.time);
        }
    }
}

/// Keeps the greater record.
pub fn raise(known: &mut Option<Vec<u8>>, line: &[u8]) {
    if known.as_ref().is_none_or(|known| wins(line, known)) {
        *known = Some(line.to_vec());
    }
}

/// The order that the herd is meant to have, written down a second time: PROTOCOL's words, field by
/// field, so that a mistake in the herd's own is not repeated here.
pub fn wins(a: &[u8], b: &[u8]) -> bool {
    let (a, b) = (record(a), record(b));
    if a.client_time != b.client_time {
        return a.client_time > b.client_time;
    }
    if a.server_time != b.server_time {
        return a.server_time < b.server_time;
    }
    if a.server() != b.server() {
        return a.server() < b.server();
    }
    a.line < b.line
}

pub fn record(line: &[u8]) -> Record<'_> {
    Record::new(line, &parse_at(line).unwrap()).unwrap()
}
