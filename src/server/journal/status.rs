//! What is told of a journal: its state in words, and what its thread has not come back with.
//!
//! "ok" is said of a journal only as long as nothing is wrong and nothing is late. Called by `journal.rs` and
//! for `STATUS`.

use std::time::Instant;

use serde_json::{Value, json};

use super::rewrite::Rewrite;
use super::{Journal, SYNC_TIME_MAX, Syncing};
use crate::herd::Herd;
use crate::reactor::{Io, Refused};
use crate::server::Server;
use crate::server::control::waiting_since;

impl Journal {
    /// What `STATUS` tells of it.
    pub fn status(&self, herd: &Herd, io: &Io<Server>) -> Value {
        let extent = self.extent();
        let job = self.job();
        json!({
            "path": self.path.display().to_string(),
            "bytes": extent.bytes,
            "state": self.state(io.now()),
            "unwritten": herd.last_change().saturating_sub(extent.change),
            "unsynced": herd.last_change().saturating_sub(self.synced.change),
            "rewriting": self.rewrite.is_some(),
            "replies_waiting": self.gate.waiting(),
            "refuses": self.gate.refuses(),
            "job": job.map(|(what, since)| waiting_since(what, since, io)),
        })
    }

    /// "ok", or what is wrong in words.
    fn state(&self, now: Instant) -> String {
        if let Some(trouble) = &self.trouble {
            return trouble.words().to_owned();
        }
        if let Some(refused) = &self.refused {
            return format!("cannot sync: {refused}");
        }
        let late =
            |(_, since): &(&str, Instant)| now.saturating_duration_since(*since) >= SYNC_TIME_MAX;
        match self.job().filter(late) {
            None => "ok".to_owned(),
            Some((what, since)) => {
                let seconds = now.saturating_duration_since(since).as_secs_f64();
                format!("{what} has not come back for {seconds:.1} s")
            }
        }
    }

    /// What the journal's thread has to do, and since when.
    fn job(&self) -> Option<(&'static str, Instant)> {
        let opening = match self.rewrite {
            Some(Rewrite::Opening(since)) => Some(("making a new file", since)),
            Some(Rewrite::Writing(_) | Rewrite::Finishing(_)) | None => None,
        };
        let syncing = match self.syncing {
            Syncing::UnderWay(what, since) => Some((what, since)),
            Syncing::Idle | Syncing::Due(_) => None,
        };
        opening.into_iter().chain(syncing).min_by_key(|(_, since)| *since)
    }

    /// The journal's thread has come back with what it was to sync.
    pub(super) fn job_is_over(&mut self, io: &Io<Server>) {
        if let Syncing::UnderWay(what, since) = self.syncing {
            let took = io.now().saturating_duration_since(since);
            if took >= SYNC_TIME_MAX {
                let (path, seconds) = (self.path.display(), took.as_secs_f64());
                log::warn!("journal {path}: {what} took {seconds:.1} s");
            }
        }
        self.syncing = Syncing::Idle;
    }

    /// The journal's thread takes no job: nothing is under way, and it is tried again.
    pub(super) fn note_refused(&mut self, refused: Refused) {
        if self.refused.is_none() {
            log::error!("journal {}: cannot sync: {refused}; trying again", self.path.display());
        }
        self.refused = Some(refused);
    }
}
