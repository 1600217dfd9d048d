//! A journal that is written anew: a second file, filled a share in each turn while the first goes on,
//! and then put in its place.
//!
//! From the moment it has caught up until the new file has taken the old one's name, every turn is
//! written to both: at no time does the file of that name hold less than it did. The journal's thread makes
//! the new file, syncs it, renames it, and syncs the folder. Called by `journal.rs`, which decides when to
//! begin.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::file::JournalFile;
use super::found::keep_copy;
use super::hold::{Hold, refusal};
use super::{JOURNAL_THREAD, JournalEvent};
use crate::herd::Herd;
use crate::reactor::{Io, Refused, Target};
use crate::server::{Event, Server};

/// A file on its way to becoming the journal.
pub(super) enum Rewrite {
    /// The journal's thread makes the file, since then.
    Opening(Instant),
    /// Each turn writes a share.
    Writing(JournalFile),
    /// The journal's thread puts the file, which has caught up, in the journal's place.
    Finishing(JournalFile),
}

/// What a rewrite begins with.
pub struct NewFile {
    pub(super) file: JournalFile,
    /// The right to write the journal, where this process did not have it yet.
    pub(super) hold: Option<Hold>,
}

impl std::fmt::Debug for NewFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NewFile")
    }
}

/// What must be done before a new file is made.
#[derive(Clone, Copy)]
pub(super) struct Before {
    /// Nothing could be written since the start: find out whether that is over.
    pub check_old: bool,
    /// This process does not hold the journal yet.
    pub take_hold: bool,
    /// The old file is damaged, and no copy of it could be kept.
    pub keep_copy: bool,
}

/// How putting the new file in the old one's place went.
#[derive(Debug)]
pub enum Finished {
    /// It is the journal now, and on disk.
    InPlace,
    /// It is the journal now, but the folder was not synced: after a power failure the old one may be
    /// back. Why.
    Unsure(String),
    /// The old one still is the journal. Why.
    NotRenamed(String),
    /// Either may be the journal, on disk or not. Why.
    InDoubt(String),
}

impl Rewrite {
    /// Has the journal's thread make the new file. The error: it takes no job.
    pub fn begin(journal: &Path, before: Before, io: &mut Io<Server>) -> Result<Self, Refused> {
        let journal = journal.to_owned();
        let job = move || make(&journal, before);
        io.defer_to_thread(JOURNAL_THREAD, Target::Application, job, |made| {
            Event::Journal(JournalEvent::Opened(made.and_then(|made| made)))
        })?;
        Ok(Self::Opening(io.now()))
    }

    /// The file, where it is written to.
    pub fn file(&mut self) -> Option<&mut JournalFile> {
        match self {
            Self::Opening(_) => None,
            Self::Writing(file) | Self::Finishing(file) => Some(file),
        }
    }

    pub fn into_file(self) -> Option<JournalFile> {
        match self {
            Self::Opening(_) => None,
            Self::Writing(file) | Self::Finishing(file) => Some(file),
        }
    }
}

/// Has the journal's thread put a file that has caught up in the journal's place. The error: it takes no job.
pub(super) fn finish(
    file: &JournalFile,
    journal: &Path,
    io: &mut Io<Server>,
) -> Result<(), Refused> {
    let (file, extent) = (file.handle(), file.extent());
    let (from, to) = (new_path(journal), journal.to_owned());
    let job = move || put_in_place(&file, &from, &to);
    io.defer_to_thread(JOURNAL_THREAD, Target::Application, job, move |finished| {
        let finished = finished.unwrap_or_else(Finished::InDoubt);
        Event::Journal(JournalEvent::Rewritten { extent, finished })
    })
}

/// Makes the new file, after what has to be done before. The error is in words.
fn make(journal: &Path, before: Before) -> Result<NewFile, String> {
    if before.check_old {
        // All of it is written anew only to a disk that takes it, and in place of a file of ours.
        match OpenOptions::new().append(true).open(journal) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(format!("cannot write: {e}")),
            _ => {}
        }
    }
    let hold = match before.take_hold.then(|| Hold::take(journal)) {
        Some(Ok(None)) => return Err(refusal(journal)),
        Some(Ok(hold)) => hold,
        // That it cannot be found out was said at the start.
        Some(Err(_)) | None => None,
    };
    if before.keep_copy {
        keep_copy(journal);
    }
    let file = JournalFile::create(&new_path(journal));
    let file = file.map_err(|e| format!("cannot make the new file: {e}"))?;
    Ok(NewFile { file, hold })
}

/// Where a journal is written anew.
pub(super) fn new_path(journal: &Path) -> PathBuf {
    let mut path = journal.as_os_str().to_owned();
    path.push(".new");
    path.into()
}

/// Writes all that is known to a new file and puts that in the journal's place, at once: for the start,
/// when no loop has to go on. The error is the system's; the old file is the journal then.
pub(super) fn begin_anew(journal: &Path, herd: &Herd) -> io::Result<JournalFile> {
    let new = new_path(journal);
    let mut file = JournalFile::create(&new)?;
    file.append_all(herd)?;
    match put_in_place(&file.handle(), &new, journal) {
        // That the folder is not synced is tried again, and said, by who opens the journal.
        Finished::InPlace | Finished::Unsure(_) => Ok(file),
        Finished::NotRenamed(why) | Finished::InDoubt(why) => Err(io::Error::other(why)),
    }
}

/// Lets go of a file that has lost its name, or is to lose the name that is given. That frees all its blocks,
/// which may take long.
///
/// Whether the journal's thread takes the job is ignored: where too much waits there already, the file is
/// closed on the loop after all. The thread does one thing after the other, so the next sync, and with
/// `--sync always` the replies that wait for it, come after the close.
pub(super) fn close_on_thread(
    file: Option<JournalFile>,
    name: Option<PathBuf>,
    io: &mut Io<Server>,
) {
    let job = move || {
        let _ = name.map(fs::remove_file);
        drop(file);
    };
    let closed = |_| Event::Journal(JournalEvent::Closed);
    let _ = io.defer_to_thread(JOURNAL_THREAD, Target::Application, job, closed);
}

fn put_in_place(file: &File, from: &Path, to: &Path) -> Finished {
    if let Err(e) = file.sync_all() {
        return Finished::NotRenamed(format!("cannot sync {}: {e}", from.display()));
    }
    if let Err(e) = fs::rename(from, to) {
        return Finished::NotRenamed(format!("cannot rename {}: {e}", from.display()));
    }
    match sync_folder(to) {
        Ok(()) => Finished::InPlace,
        Err(e) => Finished::Unsure(format!("cannot sync the folder of {}: {e}", to.display())),
    }
}

/// Makes sure that a file is found under its name after a power failure. The error is the system's.
pub(super) fn sync_folder(file: &Path) -> io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
