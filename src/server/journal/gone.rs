//! A journal whose file was deleted or moved away while it is written: missed within a second or two.
//!
//! What goes on being written there is found by nobody, so all that is known is written to a new file. The
//! look at the disk is a job for a thread, as whatever may have to wait for a disk. Called by
//! `journal.rs`.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::hold::Hold;
use super::trouble::Trouble;
use super::{JOURNAL_THREAD, Journal, JournalEvent};
use crate::reactor::{Io, Target};
use crate::server::{Event, Server};

/// How often the journal's file is looked for.
pub const JOURNAL_LOOK_INTERVAL: Duration = Duration::from_secs(1);

impl Journal {
    /// Arranges for the next look, unless that is arranged for.
    pub(super) fn look_later(&mut self, io: &mut Io<Server>) {
        if !std::mem::replace(&mut self.look_is_due, true) {
            let due = JournalEvent::LookDue.into();
            io.call_later(JOURNAL_LOOK_INTERVAL, Target::Application, due);
        }
    }

    /// Has a thread look whether the file still has its name.
    pub(super) fn look(&mut self, io: &mut Io<Server>) {
        self.look_is_due = false;
        let Some(file) = self.file.as_ref().filter(|_| self.rewrite.is_none()) else {
            return self.look_later(io);
        };
        let (path, file) = (self.path.clone(), file.handle());
        let looked_for = Arc::clone(&file);
        let job = move || {
            let gone = is_gone(&path, &looked_for);
            if gone {
                make_way(&path);
            }
            gone
        };
        // A look that panicked has found nothing out.
        let begun = io.defer_to_thread(JOURNAL_THREAD, Target::Application, job, move |gone| {
            Event::Journal(JournalEvent::Looked { file, gone: gone.unwrap_or(false) })
        });
        match begun {
            Ok(()) => self.look_is_due = true,
            Err(_) => self.look_later(io),
        }
    }

    /// The thread has looked for `file`.
    pub(super) fn looked(&mut self, file: &Arc<File>, gone: bool, io: &mut Io<Server>) {
        self.look_is_due = false;
        self.look_later(io);
        // A rewrite may have put another file in its place meanwhile.
        let is_ours = self.file.as_ref().is_some_and(|ours| Arc::ptr_eq(&ours.handle(), file));
        if !gone || !is_ours || self.rewrite.is_some() {
            return;
        }
        // The lock's file may be gone as well. Where it is not, this process has it, and gets no second one.
        if let Ok(Some(hold)) = Hold::take(&self.path) {
            self.hold = Some(hold);
        }
        let words = "its file was deleted or moved away; all is written to a new one".to_owned();
        self.fail(Trouble::Sync(words), io);
        self.begin_rewrite(io);
    }
}

/// Whether the file of that name is another one, or none. What cannot be found out is not taken for that.
fn is_gone(path: &Path, file: &File) -> bool {
    let Ok(ours) = file.metadata() else { return false };
    match fs::metadata(path) {
        Ok(named) => (named.dev(), named.ino()) != (ours.dev(), ours.ino()),
        Err(e) => e.kind() == std::io::ErrorKind::NotFound,
    }
}

/// Makes the folder anew where that is gone too, and keeps another file that has taken the name. Failures
/// show when the new file cannot be made.
fn make_way(path: &Path) {
    if let Some(folder) = path.parent() {
        let _ = fs::create_dir_all(folder);
    }
    let mut kept = path.as_os_str().to_owned();
    kept.push(".found");
    let kept = PathBuf::from(kept);
    if fs::rename(path, &kept).is_ok() {
        log::warn!("another file was in the journal's place; it is kept as {}", kept.display());
    }
}
