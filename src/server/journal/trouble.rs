//! A journal on a disk that fails: it is logged once, and tried again.
//!
//! Two kinds of trouble, by what ends them: a write that succeeds, or all of the journal written to a new
//! file. The first is tried again at a turn's end, by `journal.rs`; the second is begun from here.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind};
use std::time::Duration;

use super::found::keep_copy;
use super::hold::{Hold, refusal};
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
        Self::Sync(cannot_write(e))
    }

    /// For `STATUS` and the log.
    pub fn words(&self) -> &str {
        let (Self::Write(words) | Self::Sync(words)) = self;
        words
    }
}

fn cannot_write(e: &io::Error) -> String {
    format!("cannot write: {e}")
}

impl Journal {
    /// Something failed: it is logged once, and tried again.
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
    }

    pub(super) fn say(&self, trouble: &Trouble) {
        let goes_on = if self.withholds_replies() {
            "reports that are not on disk in time are refused, and it is tried again"
        } else {
            "this server goes on without it, and tries again"
        };
        log::error!("journal {}: {}; {goes_on}", self.path.display(), trouble.words());
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
            match self.take_what_is_there() {
                Ok(()) => self.begin_rewrite(io),
                Err(words) => self.fail(Trouble::Sync(words), io),
            }
        }
    }

    /// Where nothing could be written since the start: finds out whether that is over, and does what the
    /// start could not. The error is in words.
    fn take_what_is_there(&mut self) -> Result<(), String> {
        if self.file.is_some() || self.rewrite.is_some() {
            return Ok(());
        }
        // All of it is written anew only to a disk that takes it, and in place of a file of ours.
        match OpenOptions::new().append(true).open(&self.path) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(cannot_write(&e)),
            _ => {}
        }
        if self.hold.is_none() {
            match Hold::take(&self.path) {
                Ok(None) => return Err(refusal(&self.path)),
                Ok(hold) => self.hold = hold,
                // That it cannot be found out was said at the start.
                Err(_) => {}
            }
        }
        if std::mem::take(&mut self.copy_is_due) {
            keep_copy(&self.path);
        }
        Ok(())
    }
}
