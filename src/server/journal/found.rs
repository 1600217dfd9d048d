//! What was found in a journal at the start, in words for the log.
//!
//! Nothing that is found keeps a server from starting; a file with damage in it is kept beside the one
//! that takes its place. Called by `journal.rs`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::file::Found;
use crate::herd::Herd;
use crate::herd::journal::Replayed;

/// Says what a journal held, and what was wrong with it; keeps a copy of one with damage in it.
pub(super) fn say(path: &Path, herd: &Herd, found: &Found) {
    match found {
        Found::Whole(replayed) => say_replayed(path, herd, replayed),
        Found::Unreadable(e) => say_unreadable(path, herd, e),
    }
}

/// Whether a copy is worth keeping.
pub(super) fn is_damaged(found: &Found) -> bool {
    match found {
        Found::Whole(replayed) => replayed.damaged_lines > 0,
        Found::Unreadable(_) => true,
    }
}

fn say_replayed(path: &Path, herd: &Herd, replayed: &Replayed) {
    let Replayed { records, dropped, marks, damaged_lines, torn_bytes, .. } = *replayed;
    let (file, path, clients) = (path, path.display(), herd.clients());
    log::info!(
        "journal {path}: {clients} clients known from {records} records, and how far {marks} neighbours had told"
    );
    if dropped > 0 {
        log::warn!("journal {path}: {dropped} records are left out: forgotten by now, or too many");
    }
    if torn_bytes > 0 {
        log::warn!(
            "journal {path}: its last line was never ended; its {torn_bytes} bytes are cut off"
        );
    }
    if damaged_lines > 0 {
        let first = replayed.first_damaged_line;
        log::warn!(
            "journal {path}: {damaged_lines} damaged lines are passed over, the first of them line {first}; neighbours are asked for all they have"
        );
        keep_copy(file);
    }
}

fn say_unreadable(path: &Path, herd: &Herd, e: &io::Error) {
    let (path, clients) = (path.display(), herd.clients());
    log::error!(
        "journal {path}: it cannot be read to its end: {e}; {clients} clients are known from what could be read and go to a new file, and neighbours are asked for all they have"
    );
}

/// A file that was found damaged will be written anew; whoever wants to know what happened finds it
/// here. A second name costs no space.
pub(super) fn keep_copy(path: &Path) {
    let mut copy = path.as_os_str().to_owned();
    copy.push(".damaged");
    let copy = PathBuf::from(copy);
    let _ = fs::remove_file(&copy);
    match fs::hard_link(path, &copy) {
        Ok(()) => log::warn!("the damaged journal is kept as {}", copy.display()),
        Err(e) => log::warn!("no copy of the damaged journal is kept as {}: {e}", copy.display()),
    }
}
