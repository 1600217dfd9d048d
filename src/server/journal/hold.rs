//! One server to a journal: a second one that is started with it by mistake is refused.
//!
//! The sign is a socket beside the file, which nobody ever reads. The kernel lets go of it when its
//! process ends, however that ends, so one that still answers belongs to a living server: neither a file
//! that was left behind nor a process number that was given out anew can lock anybody out. Two that
//! start in the very moment after a crash may both get through. Called by `journal.rs`.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

/// The right to write a journal, until dropped.
pub(super) struct Hold {
    path: PathBuf,
    /// Kept open, and nothing else.
    _sign: UnixDatagram,
}

impl Hold {
    /// Takes a journal for this process. The error, in words, is that another server is using it. Where
    /// that cannot be found out, it is said, and nobody is kept from starting.
    pub fn take_or_refuse(journal: &Path) -> Result<Option<Self>, String> {
        let shown = journal.display();
        match Self::take(journal) {
            Ok(Some(hold)) => Ok(Some(hold)),
            Ok(None) => Err(format!(
                "the journal {shown} is in use by another server: stop that one, or give this one \
                 another --journal folder"
            )),
            Err(e) => {
                log::warn!("cannot tell whether another server uses the journal {shown}: {e}");
                Ok(None)
            }
        }
    }

    /// Takes a journal for this process. `None`: another one has it. The error is the system's, which
    /// cannot put up the sign (the path of a socket is at most about 100 bytes long).
    fn take(journal: &Path) -> io::Result<Option<Self>> {
        let mut path = journal.as_os_str().to_owned();
        path.push(".in-use");
        let path = PathBuf::from(path);
        match UnixDatagram::bind(&path) {
            Ok(sign) => return Ok(Some(Self { path, _sign: sign })),
            Err(e) if e.kind() == ErrorKind::AddrInUse => {}
            Err(e) => return Err(e),
        }
        if UnixDatagram::unbound()?.connect(&path).is_ok() {
            return Ok(None);
        }
        fs::remove_file(&path)?;
        let sign = UnixDatagram::bind(&path)?;
        Ok(Some(Self { path, _sign: sign }))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_is_held_by_one_until_that_is_gone_in_order_or_not() {
        let folder = std::env::temp_dir().join(format!("hold-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let journal = folder.join("Solo.journal");
        let hold = Hold::take(&journal).unwrap().unwrap();
        assert!(Hold::take(&journal).unwrap().is_none());
        drop(hold);
        // What a process that was killed leaves behind: the name, and nobody who answers.
        drop(UnixDatagram::bind(folder.join("Solo.journal.in-use")).unwrap());
        let hold = Hold::take(&journal).unwrap().unwrap();
        assert!(Hold::take(&journal).unwrap().is_none());
        drop(hold);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        assert!(Hold::take(&folder.join("k".repeat(200))).is_err());
        fs::remove_dir_all(&folder).unwrap();
    }
}
