//! A journal on a disk that fails: it is said once, nobody waits for it, and it is tried again.
//!
//! Two kinds of trouble, by what ends them: a write that succeeds, or all of the journal written to a new
//! file. The first is tried again at a turn's end, by `journal.rs`; the second is begun from here.

use std::io;
use std::time::Duration;

use super::{Journal, JournalEvent};
use crate::reactor::{Io, Target};
use crate::server::Server;

/// How long after a failure it is tried again.
pub const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// What is wrong at present.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Nothing can be written.
    Write(String),
    /// What is written cannot be believed to be on disk before all of it is written anew.
    Sync(String),
}

impl Trouble {
    /// What is there could be read at most.
    pub fn at_start(e: &io::Error) -> Self {
        Self::Sync(format!("cannot write: {e}"))
    }

    /// For `STATUS` and the log.
    pub fn words(&self) -> &str {
        let (Self::Write(words) | Self::Sync(words)) = self;
        words
    }
}

impl Journal {
    /// Something failed: said once, tried again, and nobody waits for it.
    pub(super) fn fail(&mut self, trouble: Trouble, io: &mut Io<Server>) {
        if self.trouble.is_none() {
            self.say(&trouble);
        }
        self.retry_later(io);
        // A file that cannot be believed stays so, whether it can be written or not.
        let is_lesser = matches!(trouble, Trouble::Write(_));
        if !(is_lesser && matches!(self.trouble, Some(Trouble::Sync(_)))) {
            self.trouble = Some(trouble);
        }
        for (client, end) in self.gate.give_up() {
            io.release_output(client, end);
        }
    }

    pub(super) fn say(&self, trouble: &Trouble) {
        let promise = if self.withholds_replies() { "; replies do not wait for it" } else { "" };
        log::error!(
            "journal {}: {}; this server goes on without it{promise}, and tries again",
            self.path.display(),
            trouble.words()
        );
    }

    pub(super) fn retry_later(&mut self, io: &mut Io<Server>) {
        if !self.retry_is_due {
            self.retry_is_due = true;
            io.call_later(RETRY_INTERVAL, Target::Application, JournalEvent::Retry.into());
        }
    }

    pub(super) fn retry(&mut self, io: &mut Io<Server>) {
        // A write is tried at this turn's end.
        self.retry_is_due = false;
        if let Some(Trouble::Sync(_)) = self.trouble {
            self.begin_rewrite(io);
        }
    }
}
