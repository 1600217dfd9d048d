//! One server to a journal: a second one that is started with it by mistake is refused.
//!
//! The sign is an exclusive lock (flock(2)) on a file beside the journal, which nobody ever reads. The
//! kernel lets go of it when its process ends, however that ends, and gives it to one of two that start
//! at once. The file stays: nothing but the lock means anything, and to remove the file would let a third
//! one lock another of that name. Called by `journal.rs`.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::file::JOURNAL_MODE;

/// The right to write a journal, until dropped.
pub(super) struct Hold {
    /// Kept open, and nothing else.
    _locked: File,
}

impl Hold {
    /// Takes a journal for this process. The error, in words, is that another server is using it. Where
    /// that cannot be found out, it is said, and nobody is kept from starting.
    pub fn take_or_refuse(journal: &Path) -> Result<Option<Self>, String> {
        match Self::take(journal) {
            Ok(Some(hold)) => Ok(Some(hold)),
            Ok(None) => Err(refusal(journal)),
            Err(e) => {
                let shown = journal.display();
                log::warn!("cannot tell whether another server uses the journal {shown}: {e}");
                Ok(None)
            }
        }
    }

    /// Takes a journal for this process. `None`: another one has it. The error is the system's, which
    /// cannot make the file or knows no locks there.
    pub fn take(journal: &Path) -> io::Result<Option<Self>> {
        let mut path = journal.as_os_str().to_owned();
        path.push(".in-use");
        let file = open(&PathBuf::from(path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { _locked: file })),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }
}

/// What a second server is told.
pub(super) fn refusal(journal: &Path) -> String {
    format!(
        "the journal {} is in use by another server: stop that one, or give this one another --journal \
         folder",
        journal.display()
    )
}

/// Opens the file, or makes it. One that is there can be locked on a read-only disk as well.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let opened = options.write(true).create(true).truncate(false).mode(JOURNAL_MODE).open(path);
    opened.or_else(|e| File::open(path).map_err(|_| e))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_journal_is_held_by_one_until_that_is_gone_however_long_its_path() {
        let root = std::env::temp_dir().join(format!("hold-{}", std::process::id()));
        let folder = root.join("k".repeat(200));
        fs::create_dir_all(&folder).unwrap();
        for folder in [&root, &folder] {
            let journal = folder.join("Solo.journal");
            // A file that was left behind keeps nobody out.
            fs::write(folder.join("Solo.journal.in-use"), "").unwrap();
            for _ in 0..2 {
                let hold = Hold::take(&journal).unwrap().unwrap();
                assert!(Hold::take(&journal).unwrap().is_none());
                assert!(Hold::take_or_refuse(&journal).is_err());
                drop(hold);
            }
        }
        // Where it cannot be found out, nobody is kept from starting.
        assert!(Hold::take(&root.join("nowhere/Solo.journal")).is_err());
        assert!(Hold::take_or_refuse(&root.join("nowhere/Solo.journal")).unwrap().is_none());
        fs::remove_dir_all(&root).unwrap();
    }
}
