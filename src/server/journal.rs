//! The journal of one server: what it knows, in a file that a next start reads.
//!
//! `herd` says what is written and what a file means; here it is written, at the end of each turn and before the
//! replies of that turn leave, and synced. This is the one file that is written on the loop: a turn's lines go to
//! the kernel's memory in one bounded write, which costs microseconds and outlives SIGKILL. What may take long, a
//! sync, making a new file, or the close of one that has lost its name, the journal's own thread does, in order:
//! one sync at a time, and the next covers all that was written meanwhile. Called by [`Server`] and the command
//! line.
//!
//! # With `--sync always`
//!
//! What clients are told stays in their connections ([`Io::withhold_output`]) until a sync has covered every
//! change that was made by then. Neighbours do not wait: they are told what is so.
//!
//! # When the disk fails
//!
//! A write or a sync that fails is said, in the log once and in `STATUS` as long as it lasts, and is tried again
//! each second. A file that cannot grow and is more than twice as long as it must be is written anew, which takes
//! less room. Meanwhile the server serves, and replies do not wait: `--sync always` promises nothing then. After
//! a sync that failed, the file's later syncs prove nothing (the kernel may have dropped what it could not
//! write), so all of the journal is written to a new file. So it is where the disk was read-only or full at the
//! start, when what is there was read and could not be gone on with.
//!
//! A sync that neither succeeds nor fails, on a disk that hangs, is told in `STATUS` once it has had its time
//! ([`SYNC_TIME_MAX`]), and in the log when it has come back.

mod file;
mod found;
mod gone;
mod hold;
mod rewrite;
mod trouble;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::control::waiting_since;
use super::{Event, Server};
use crate::herd::Herd;
use crate::herd::journal::Gate;
use crate::reactor::{DelayedCall, Io, Refused, Target, Token};
use file::{Extent, JournalFile, Opened};
pub use gone::JOURNAL_LOOK_INTERVAL;
use hold::Hold;
pub use rewrite::Finished;
pub use rewrite::NewFile;
use rewrite::{Before, Rewrite, close_on_thread, finish, new_path, sync_folder};
pub use trouble::RETRY_INTERVAL;
use trouble::Trouble;

/// How long may pass between two syncs, with [`SyncPolicy::EverySecond`].
pub const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// The name of the thread that does what may take long for the journal, and nothing else.
pub const JOURNAL_THREAD: &str = "journal";

/// How long the journal's thread may take for what it was given: a sync, or a new file. After that `STATUS`
/// says so instead of "ok".
pub const SYNC_TIME_MAX: Duration = Duration::from_secs(2);

/// How long after a rewrite that failed another one is begun. The journal that there is serves as well.
pub const REWRITE_RETRY_INTERVAL: Duration = Duration::from_secs(60);

/// When what was written is made to outlive a power failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Before any client is told.
    Always,
    /// At most once a second.
    #[default]
    EverySecond,
    /// When the system sees fit.
    Never,
}

/// What comes back from the journal's thread, and what is due.
#[derive(Debug)]
pub enum JournalEvent {
    /// A sync may be begun.
    SyncDue,
    /// A sync has ended.
    Synced {
        /// How far the file reached when it began.
        extent: Extent,
        /// The error in words.
        outcome: Result<(), String>,
    },
    /// The new file of a rewrite is made, or cannot be. The error is in words.
    Opened(Result<NewFile, String>),
    /// A rewrite has ended.
    Rewritten {
        /// How far the new file reached when it was synced.
        extent: Extent,
        /// How it went.
        finished: Finished,
    },
    /// A file that has lost its name is closed.
    Closed,
    /// What failed may be tried again.
    Retry,
    /// It is time to look whether the file is still there.
    LookDue,
    /// A thread has looked for this file.
    Looked {
        /// Which was the journal's when the look began.
        file: Arc<File>,
        /// Whether it has lost its name.
        gone: bool,
    },
}

impl From<JournalEvent> for Event {
    fn from(event: JournalEvent) -> Self {
        Self::Journal(event)
    }
}

/// What the journal's thread does to have what was written on disk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Syncing {
    Idle,
    /// That delayed call will begin a sync.
    Due(DelayedCall),
    /// This job of the thread, a sync or the end of a rewrite, since then.
    UnderWay(&'static str, Instant),
}

/// A server's journal.
pub struct Journal {
    path: PathBuf,
    /// `None` where the system has no way, as yet, to say that the journal is taken.
    hold: Option<Hold>,
    policy: SyncPolicy,
    /// `None` from a start at which nothing could be written until all is written anew.
    file: Option<JournalFile>,
    /// The file that will be written anew has damage in it, and no copy could be kept.
    copy_is_due: bool,
    rewrite: Option<Rewrite>,
    /// After a rewrite that failed.
    rewrite_not_before: Option<Instant>,
    syncing: Syncing,
    /// Why the journal's thread did not take its last job.
    refused: Option<Refused>,
    /// How far the file is known to be on disk.
    synced: Extent,
    /// Replies by the change that they wait for: whose, and up to where in its output.
    gate: Gate<(Token, u64)>,
    trouble: Option<Trouble>,
    /// A delayed call will try again.
    retry_is_due: bool,
    /// A look for the file is arranged for or under way.
    look_is_due: bool,
}

impl Journal {
    /// Opens the journal of `herd` in a folder, makes both if they are missing, and takes in what was
    /// kept there. Damage and a disk that takes nothing are said and survived; the error, in words, is
    /// that there can be no such folder or file, or that another server is using it. A turn must follow.
    pub fn open(folder: &Path, policy: SyncPolicy, herd: &mut Herd) -> Result<Self, String> {
        let path = folder.join(format!("{}.journal", herd.name()));
        let shown = path.display();
        fs::create_dir_all(folder)
            .map_err(|e| format!("cannot make the journal's folder {}: {e}", folder.display()))?;
        let hold = Hold::take_or_refuse(&path)?;
        // What a rewrite had not finished is nothing to anybody.
        let _ = fs::remove_file(new_path(&path));
        let Opened { found, file } =
            file::open(&path, herd).map_err(|e| format!("cannot use the journal {shown}: {e}"))?;
        if let Err(e) = sync_folder(&path) {
            log::warn!("cannot sync the folder of the journal {shown}: {e}");
        }
        found::say(&path, herd, &found);
        let trouble = file.as_ref().err().map(Trouble::at_start);
        let journal = Self {
            path,
            hold,
            policy,
            copy_is_due: file.is_err() && found::is_damaged(&found),
            file: file.ok(),
            rewrite: None,
            rewrite_not_before: None,
            syncing: Syncing::Idle,
            refused: None,
            synced: Extent::default(),
            gate: Gate::new(),
            trouble,
            retry_is_due: false,
            look_is_due: false,
        };
        journal.trouble.iter().for_each(|trouble| journal.say(trouble));
        Ok(journal)
    }

    /// Whether what clients are told has to be withheld ([`Io::withhold_output`]).
    pub fn withholds_replies(&self) -> bool {
        self.policy == SyncPolicy::Always
    }

    /// Writes what the turn changed, has it synced, and lets replies go that need not wait. To be called
    /// before the links are pumped.
    pub fn turn_end(&mut self, herd: &Herd, io: &mut Io<Server>) {
        if !(self.retry_is_due && matches!(self.trouble, Some(Trouble::Write(_)))) {
            self.write(herd, io);
        }
        self.carry_on_rewriting(herd, io);
        self.carry_on_syncing(io);
        self.look_later(io);
        for reply in io.take_withheld() {
            let ready = match self.trouble {
                None => self.gate.hold(herd.last_change(), reply),
                Some(_) => Some(reply),
            };
            if let Some((client, end)) = ready {
                io.release_output(client, end);
            }
        }
    }

    /// News from the journal's thread, or a delayed call.
    pub fn event_received(&mut self, event: JournalEvent, io: &mut Io<Server>) {
        match event {
            JournalEvent::SyncDue => self.begin_sync(io),
            JournalEvent::Synced { extent, outcome } => {
                self.job_is_over(io);
                match outcome {
                    Ok(()) => self.note_synced(extent, io),
                    Err(why) => self.fail(Trouble::Sync(format!("cannot sync: {why}")), io),
                }
            }
            JournalEvent::Opened(made) => self.rewrite_opened(made, io),
            JournalEvent::Rewritten { extent, finished } => {
                self.job_is_over(io);
                self.rewritten(extent, finished, io);
            }
            JournalEvent::Closed => {}
            JournalEvent::Retry => self.retry(io),
            JournalEvent::LookDue => self.look(io),
            JournalEvent::Looked { file, gone } => self.looked(&file, gone, io),
        }
    }

    /// The last turn is over: writes what is left, and syncs unless that is left to the system.
    pub fn close(&mut self, herd: &Herd) {
        // One that the journal's thread is putting in place at this moment may be the journal already.
        let new = match &mut self.rewrite {
            Some(Rewrite::Finishing(file)) => Some(file),
            Some(Rewrite::Opening(_) | Rewrite::Writing(_)) | None => None,
        };
        if self.file.is_none() && new.is_none() {
            log::error!("journal {}: nothing of this start is written", self.path.display());
        }
        for file in [self.file.as_mut(), new].into_iter().flatten() {
            let outcome = file.append_all(herd).and_then(|()| match self.policy {
                SyncPolicy::Never => Ok(()),
                _ => file.handle().sync_data(),
            });
            if let Err(e) = outcome {
                log::error!("journal {}: its end is not written: {e}", self.path.display());
            }
        }
    }

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
    fn job_is_over(&mut self, io: &Io<Server>) {
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
    fn note_refused(&mut self, refused: Refused) {
        if self.refused.is_none() {
            log::error!("journal {}: cannot sync: {refused}; trying again", self.path.display());
        }
        self.refused = Some(refused);
    }

    /// How far the file reaches.
    fn extent(&self) -> Extent {
        self.file.as_ref().map(JournalFile::extent).unwrap_or_default()
    }

    fn write(&mut self, herd: &Herd, io: &mut Io<Server>) {
        let Some(file) = &mut self.file else {
            if self.rewrite.is_none() {
                self.retry_later(io);
            }
            return;
        };
        match file.append(herd) {
            Ok(more) => {
                if self.trouble.take_if(|trouble| matches!(trouble, Trouble::Write(_))).is_some() {
                    log::warn!("journal {}: it is written again", self.path.display());
                }
                if more {
                    // Nothing else would wake the loop for the rest.
                    io.post(Target::Application, Event::PumpAgain);
                }
            }
            Err(e) => self.fail(Trouble::Write(format!("cannot write: {e}")), io),
        }
    }
}

/// Syncs.
impl Journal {
    fn carry_on_syncing(&mut self, io: &mut Io<Server>) {
        let in_doubt = matches!(self.trouble, Some(Trouble::Sync(_)));
        if self.syncing != Syncing::Idle || in_doubt || self.extent() == self.synced {
            return;
        }
        match self.policy {
            SyncPolicy::Always => self.begin_sync(io),
            SyncPolicy::EverySecond => self.sync_later(io),
            SyncPolicy::Never => {}
        }
    }

    fn sync_later(&mut self, io: &mut Io<Server>) {
        let due = JournalEvent::SyncDue.into();
        self.syncing = Syncing::Due(io.call_later(SYNC_INTERVAL, Target::Application, due));
    }

    fn begin_sync(&mut self, io: &mut Io<Server>) {
        let Some(file) = &self.file else { return self.syncing = Syncing::Idle };
        let (file, extent) = (file.handle(), file.extent());
        let job = move || file.sync_data().map_err(|e| e.to_string());
        let begun = io.defer_to_thread(JOURNAL_THREAD, Target::Application, job, move |outcome| {
            let outcome = outcome.and_then(|outcome| outcome);
            Event::Journal(JournalEvent::Synced { extent, outcome })
        });
        match begun {
            Ok(()) => {
                self.refused = None;
                self.syncing = Syncing::UnderWay("a sync", io.now());
            }
            Err(refused) => {
                self.note_refused(refused);
                self.sync_later(io);
            }
        }
    }

    fn note_synced(&mut self, extent: Extent, io: &mut Io<Server>) {
        self.synced = extent;
        self.gate.synced(extent.change);
        while let Some((client, end)) = self.gate.next_ready() {
            io.release_output(client, end);
        }
    }
}

/// Rewrites.
impl Journal {
    fn carry_on_rewriting(&mut self, herd: &Herd, io: &mut Io<Server>) {
        let Some(rewrite) = &mut self.rewrite else {
            let may = self.rewrite_not_before.is_none_or(|moment| io.now() >= moment);
            let wants = self.file.as_ref().is_some_and(|file| match self.trouble {
                None => file.wants_rewrite(herd),
                // A disk that may have room for less than the slack: it would be full of it for ever.
                Some(Trouble::Write(_)) => file.would_shrink(herd),
                // The retry begins it.
                Some(Trouble::Sync(_)) => false,
            });
            if may && wants {
                self.begin_rewrite(io);
            }
            return;
        };
        let appended = rewrite.file().map(|file| file.append(herd));
        match appended {
            // It is still being made.
            None => {}
            Some(Ok(true)) => io.post(Target::Application, Event::PumpAgain),
            Some(Ok(false)) => self.finish_rewriting(io),
            // It may be the journal by now; then the next turn meets the same error and says it.
            Some(Err(_)) if matches!(rewrite, Rewrite::Finishing(_)) => {}
            Some(Err(e)) => self.rewrite_failed(&format!("cannot write the new file: {e}"), io),
        }
    }

    /// The new file has caught up: it takes the journal's place, unless that is under way, or a sync is.
    fn finish_rewriting(&mut self, io: &mut Io<Server>) {
        if matches!(self.syncing, Syncing::UnderWay(..)) {
            return;
        }
        match self.rewrite.take() {
            Some(Rewrite::Writing(file)) => {
                if let Err(refused) = finish(&file, &self.path, io) {
                    self.rewrite = Some(Rewrite::Writing(file));
                    return self.rewrite_failed(&refused.to_string(), io);
                }
                self.rewrite = Some(Rewrite::Finishing(file));
                self.refused = None;
                // It syncs too. Where rewrites are frequent, a call that is left would be one of many.
                if let Syncing::Due(call) = self.syncing {
                    io.cancel(call);
                }
                let what = "putting a new file in the journal's place";
                self.syncing = Syncing::UnderWay(what, io.now());
            }
            other => self.rewrite = other,
        }
    }

    fn begin_rewrite(&mut self, io: &mut Io<Server>) {
        if self.rewrite.is_some() {
            return;
        }
        let is_late_start = self.file.is_none();
        let before = Before {
            check_old: is_late_start,
            take_hold: is_late_start && self.hold.is_none(),
            keep_copy: is_late_start && self.copy_is_due,
        };
        match Rewrite::begin(&self.path, before, io) {
            Ok(rewrite) => self.rewrite = Some(rewrite),
            Err(refused) => self.rewrite_failed(&refused.to_string(), io),
        }
    }

    /// The journal's thread has made the new file, or could not.
    fn rewrite_opened(&mut self, made: Result<NewFile, String>, io: &mut Io<Server>) {
        // One is made at a time: a second of that name would be the same file.
        debug_assert!(matches!(self.rewrite, Some(Rewrite::Opening(_))));
        match made {
            Ok(NewFile { file, hold }) => {
                self.hold = self.hold.take().or(hold);
                self.copy_is_due = false;
                self.rewrite = Some(Rewrite::Writing(file));
            }
            Err(why) => self.rewrite_failed(&why, io),
        }
    }

    fn rewrite_failed(&mut self, why: &str, io: &mut Io<Server>) {
        if let Some(file) = self.rewrite.take().and_then(Rewrite::into_file) {
            // The next rewrite finds its name free.
            close_on_thread(Some(file), Some(new_path(&self.path)), io);
        }
        self.rewrite_not_before = io.now().checked_add(REWRITE_RETRY_INTERVAL);
        if let Some(Trouble::Sync(_)) = self.trouble {
            return self.fail(Trouble::Sync(why.to_owned()), io);
        }
        let path = self.path.display();
        log::warn!("journal {path}: it cannot be written anew and stays as it is: {why}");
    }

    fn rewritten(&mut self, extent: Extent, finished: Finished, io: &mut Io<Server>) {
        match finished {
            Finished::NotRenamed(why) => return self.rewrite_failed(&why, io),
            Finished::InDoubt(why) => {
                // Its name may be the journal's by now, so the file is closed and no name is removed.
                close_on_thread(self.rewrite.take().and_then(Rewrite::into_file), None, io);
                return self.fail(Trouble::Sync(why), io);
            }
            Finished::InPlace | Finished::Unsure(_) => {}
        }
        let Some(new) = self.rewrite.take().and_then(Rewrite::into_file) else { return };
        let before = self.extent().bytes;
        let replaced = self.file.replace(new);
        close_on_thread(replaced, None, io);
        self.rewrite_not_before = None;
        if let Finished::Unsure(why) = finished {
            return self.fail(Trouble::Sync(why), io);
        }
        let (path, after) = (self.path.display(), extent.bytes);
        log::info!("journal {path}: written anew; it had {before} bytes and has {after}");
        // Whatever it was, it was the old file's.
        if self.trouble.take().is_some() {
            log::warn!("journal {path}: what is written is on disk again");
        }
        self.note_synced(extent, io);
    }
}

#[cfg(test)]
mod tests;
