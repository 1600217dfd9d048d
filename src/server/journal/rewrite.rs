//! A journal that is written anew: a second file, filled a share in each turn while the first goes on,
//! and then put in its place.
//!
//! From the moment it has caught up until the new file has taken the old one's name, every turn is
//! written to both: at no time does the file of that name hold less than it did. The helper thread syncs
//! the new file, renames it, and syncs the folder. Called by `journal.rs`, which decides when to begin.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::JournalEvent;
use super::file::JournalFile;
use crate::herd::Herd;
use crate::reactor::{Io, Target};
use crate::server::{Event, Server};

/// A file on its way to becoming the journal.
pub(super) struct Rewrite {
    path: PathBuf,
    file: JournalFile,
    /// The helper thread is putting it in the journal's place.
    is_finishing: bool,
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
}

impl Rewrite {
    /// Begins. The error is the system's.
    pub fn begin(journal: &Path) -> io::Result<Self> {
        let path = new_path(journal);
        let file = JournalFile::create(&path)?;
        Ok(Self { path, file, is_finishing: false })
    }

    /// The new file, to be written to in each turn.
    pub fn file(&mut self) -> &mut JournalFile {
        &mut self.file
    }

    /// Whether the helper thread is at it.
    pub fn is_finishing(&self) -> bool {
        self.is_finishing
    }

    /// Has the helper thread put the file, which has caught up, in the journal's place. `false`: too
    /// much waits there already.
    pub fn finish(&mut self, journal: &Path, io: &mut Io<Server>) -> bool {
        let (file, extent) = (self.file.handle(), self.file.extent());
        let (from, to) = (self.path.clone(), journal.to_owned());
        self.is_finishing = io.defer_to_thread(Target::Application, move || {
            let finished = put_in_place(&file, &from, &to);
            Event::Journal(JournalEvent::Rewritten { extent, finished })
        });
        self.is_finishing
    }

    /// The file, which has become the journal.
    pub fn into_file(self) -> JournalFile {
        self.file
    }

    /// Gives up: the file's name goes away at once, so that the next rewrite finds it free, and the file
    /// is given back to be closed.
    pub fn abandon(self) -> JournalFile {
        let _ = fs::remove_file(&self.path);
        self.file
    }
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
        Finished::NotRenamed(why) => Err(io::Error::other(why)),
    }
}

/// Lets go of a file that has lost its name. That frees all its blocks, which may take long.
///
/// Whether the helper thread takes the job is ignored: where too much waits there already, the file is
/// closed on the loop after all. The thread does one thing after the other, so the next sync, and with
/// `--sync always` the replies that wait for it, come after the close.
pub(super) fn close_on_helper(file: Option<JournalFile>, io: &mut Io<Server>) {
    io.defer_to_thread(Target::Application, move || {
        drop(file);
        Event::Journal(JournalEvent::Closed)
    });
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
