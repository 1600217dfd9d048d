//! The journal of one server: what it knows, in a file that a next start reads.
//!
//! `herd` says what is written and what a file means; here it is written, at the end of each turn and before the
//! replies of that turn leave, and synced. This is the one file that is written on the loop: a turn's lines go to
//! the kernel's memory in one bounded write, which costs microseconds and outlives SIGKILL. What may take long, a
//! sync, making a new file, or the close of one that has lost its name, the journal's own thread does, in order:
//! one sync at a time, and the next covers all that was written meanwhile. Called by [`Server`] and the command
//! line.
//!
//! What the turn brought is written in one piece, however much it was; only a file that lacked something
//! before the turn is written in shares.
//!
//! # With `--sync always`
//!
//! A reply with an AT line waits in its connection's queue ([`replies`](super::replies)) until a sync has
//! covered the record that it tells of; then the connection is told ([`Event::SendReady`]). If one has
//! waited for [`REPLY_TIMEOUT`], all that wait are refused, and later ones at once, until a sync has got
//! further. Neighbours do not wait: they are told what is so.
//!
//! # When the disk fails
//!
//! A write or a sync that fails is said, in the log once and in `STATUS` as long as it lasts, and is tried again
//! each second. A file that cannot grow and is more than twice as long as it must be is written anew, which takes
//! less room. Meanwhile the server serves, and with `--sync always` refuses what is not on disk. After a sync
//! that failed, the file's later syncs prove nothing (the kernel may have dropped what it could not
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
mod status;
mod trouble;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Event, Server};
use crate::herd::Herd;
use crate::herd::journal::{Gate, Verdict};
use crate::reactor::{DelayedCall, Io, Refused, Target, Token};
use file::{Extent, JournalFile, Opened};
pub use gone::JOURNAL_LOOK_INTERVAL;
use hold::Hold;
pub use rewrite::Finished;
pub use rewrite::NewFile;
use rewrite::{Rewrite, close_on_thread, new_path, sync_folder};
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

/// How long a reply waits for the disk, with [`SyncPolicy::Always`]. Then its line is refused.
pub const REPLY_TIMEOUT: Duration = Duration::from_secs(10);

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
    /// A reply may have waited too long.
    ReplyOver,
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
#[expect(clippy::struct_excessive_bools, reason = "independent facts, not one state")]
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
    /// Connections whose replies wait, by the change that they wait for, and since when.
    gate: Gate<(Token, Instant)>,
    /// A delayed call will look after the reply that has waited the longest.
    reply_limit_set: bool,
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
        let mut gate = Gate::new();
        if trouble.is_some() && file::is_on_disk(&path, &found) {
            gate.synced(herd.last_change());
        }
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
            gate,
            reply_limit_set: false,
            trouble,
            retry_is_due: false,
            look_is_due: false,
        };
        journal.trouble.iter().for_each(|trouble| journal.say(trouble));
        Ok(journal)
    }

    /// Whether replies with AT lines wait until what they tell of is on disk.
    pub fn withholds_replies(&self) -> bool {
        self.policy == SyncPolicy::Always
    }

    /// What becomes of a reply that tells of this change.
    pub fn verdict(&self, change: u64) -> Verdict {
        if self.withholds_replies() { self.gate.verdict(change) } else { Verdict::Send }
    }

    /// Notes that a connection has replies that wait for what has changed by now. It is told with
    /// [`Event::SendReady`] when that is on disk, or will not be in time.
    pub fn wait(&mut self, client: Token, herd: &Herd, io: &mut Io<Server>) {
        if self.gate.hold_on(herd.last_change(), (client, io.now())).is_some() {
            io.post(client, Event::SendReady);
        }
        self.watch_replies(io);
    }

    /// Writes what the turn changed, and has it synced. To be called before the links are pumped.
    pub fn turn_end(&mut self, herd: &Herd, io: &mut Io<Server>) {
        match &mut self.file {
            Some(file) if self.retry_is_due && matches!(self.trouble, Some(Trouble::Write(_))) => {
                file.skip_turn();
            }
            _ => self.write(herd, io),
        }
        self.carry_on_rewriting(herd, io);
        self.carry_on_syncing(io);
        self.look_later(io);
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
            JournalEvent::ReplyOver => self.reply_over(io),
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
            Ok(true) => {
                if let Some(Trouble::Write(words)) = &mut self.trouble {
                    "it is written again, but lacks records still".clone_into(words);
                }
                // Nothing else would wake the loop for the rest.
                io.post(Target::Application, Event::PumpAgain);
            }
            Ok(false) => {
                if self.trouble.take_if(|trouble| matches!(trouble, Trouble::Write(_))).is_some() {
                    log::warn!("journal {}: it is written again", self.path.display());
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
        let refused = self.gate.refuses();
        self.gate.synced(extent.change);
        if refused && !self.gate.refuses() {
            log::warn!("journal {}: replies wait for it again", self.path.display());
        }
        while let Some((client, _)) = self.gate.next_ready() {
            io.post(client, Event::SendReady);
        }
    }
}

/// Replies that wait.
impl Journal {
    /// Sees to it that the reply which has waited the longest is looked after in time.
    fn watch_replies(&mut self, io: &mut Io<Server>) {
        if self.reply_limit_set {
            return;
        }
        if let Some((_, since)) = self.gate.oldest() {
            let waited = io.now().saturating_duration_since(*since);
            let left = REPLY_TIMEOUT.saturating_sub(waited);
            io.call_later(left, Target::Application, JournalEvent::ReplyOver.into());
            self.reply_limit_set = true;
        }
    }

    fn reply_over(&mut self, io: &mut Io<Server>) {
        self.reply_limit_set = false;
        let now = io.now();
        let too_long =
            |(_, since): &(Token, Instant)| now.saturating_duration_since(*since) >= REPLY_TIMEOUT;
        if self.gate.oldest().is_some_and(too_long) {
            log::error!(
                "journal {}: nothing has reached the disk for {} s; reports that are not on disk are \
                 refused until something does",
                self.path.display(),
                REPLY_TIMEOUT.as_secs()
            );
            for (client, _) in self.gate.refuse() {
                io.post(client, Event::SendReady);
            }
        }
        self.watch_replies(io);
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
                Some(Trouble::Write(_)) => self.retry_is_due && file.would_shrink(herd),
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
