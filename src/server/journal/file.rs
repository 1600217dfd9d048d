//! One journal file: opened and replayed at the start, appended to at each turn's end.
//!
//! It keeps the file and its [`Writer`] in step: after a failure the writer goes back to what the file
//! holds, and whatever stands there beyond it is cut off before the next write. It never syncs and never
//! decides when to write. A disk that takes nothing keeps nobody from reading what is there. Called by
//! `journal.rs` and `rewrite.rs`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use super::found::keep_copy;
use super::rewrite::begin_anew;
use crate::herd::Herd;
use crate::herd::journal::{Replay, Replayed, Writer};

/// How much one turn appends to one file. What is left comes in the next turn.
pub(super) const TURN_BYTES_MAX: usize = 256 * 1024;

/// Where people are is nobody else's business.
pub(super) const JOURNAL_MODE: u32 = 0o600;

/// How much is read at a time when a journal is replayed, before the loop runs.
const REPLAY_CHUNK_BYTES: usize = 64 * 1024;

/// How much longer than twice what it must hold a file may always get, however little room the disk has
/// left; and how much is written between two looks at that room, each of which is a system call.
const ROOM_STEP_BYTES: u64 = 64 * 1024;

/// How far a file reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// The last change that it holds.
    pub change: u64,
    /// Its length.
    pub bytes: u64,
}

/// What was found when a journal was opened.
#[derive(Debug)]
pub(super) enum Found {
    /// It could be read to its end, or there was none.
    Whole(Replayed),
    /// The disk gave out in the middle.
    Unreadable(io::Error),
}

/// A journal that was opened.
pub(super) struct Opened {
    pub found: Found,
    /// The error is the system's: nothing can be written, and what is there stays as it is.
    pub file: io::Result<JournalFile>,
}

/// A file and the writer that fills it.
pub(super) struct JournalFile {
    /// Shared with the journal's thread while that syncs it.
    file: Arc<File>,
    writer: Writer,
    /// A write has failed, and a part of it may stand at the end.
    has_remains: bool,
    buffer: Vec<u8>,
    /// What the disk had left when that was looked at last.
    room_bytes: u64,
    /// How long the file will be when it is looked at next.
    next_look_bytes: u64,
}

impl JournalFile {
    fn new(file: File, writer: Writer, has_remains: bool) -> Self {
        let (file, buffer) = (Arc::new(file), Vec::new());
        Self { file, writer, has_remains, buffer, room_bytes: u64::MAX, next_look_bytes: 0 }
    }

    /// An empty file, in place of what may have been there. The error is the system's.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(JOURNAL_MODE).open(path)?;
        // Not for nothing: what was once cut to nothing, ext4 writes to disk when it is closed, also where
        // its name is gone by then (auto_da_alloc in ext4(5)).
        if file.metadata()?.len() > 0 {
            file.set_len(0)?;
        }
        Ok(Self::new(file, Writer::new(), false))
    }

    /// Appends what the file lacks, with one write. Gives whether there is more. The error is the
    /// system's; the file then holds what it held before, once its remains are cut off.
    pub fn append(&mut self, herd: &Herd) -> io::Result<bool> {
        if self.has_remains {
            self.file.set_len(self.writer.file_bytes())?;
            self.has_remains = false;
        }
        let before = self.writer.clone();
        self.buffer.clear();
        let more = self.writer.pump(herd, &mut self.buffer, TURN_BYTES_MAX);
        if let Err(e) = (&*self.file).write_all(&self.buffer) {
            self.writer = before;
            self.has_remains = true;
            return Err(e);
        }
        if self.writer.file_bytes() >= self.next_look_bytes {
            self.next_look_bytes = self.writer.file_bytes() + ROOM_STEP_BYTES;
            // Where the system does not tell, the disk is taken to be large.
            self.room_bytes = rustix::fs::fstatvfs(&*self.file)
                .map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        }
        Ok(more)
    }

    /// Appends all that the file lacks, for when the loop has ended. The error is the system's.
    pub fn append_all(&mut self, herd: &Herd) -> io::Result<()> {
        while self.append(herd)? {}
        Ok(())
    }

    /// For a sync on another thread.
    pub fn handle(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// How far what was written reaches.
    pub fn extent(&self) -> Extent {
        Extent { change: self.writer.cursor(), bytes: self.writer.file_bytes() }
    }

    /// Whether it should be written anew: for its own sake, or because the disk has less room left than it
    /// would give back. Later there might be no room for the new file beside it.
    pub fn wants_rewrite(&self, herd: &Herd) -> bool {
        let room_bytes = self.room_bytes.max(ROOM_STEP_BYTES);
        self.writer.wants_rewrite(herd) || self.writer.excess_bytes(herd) > room_bytes
    }

    /// Whether it would be a good deal shorter if it were.
    pub fn would_shrink(&self, herd: &Herd) -> bool {
        self.writer.excess_bytes(herd) > 0
    }
}

/// Opens a journal, makes it if there is none, and takes in what it holds. A line that was never ended is
/// cut off; a file that cannot be read to its end is put aside, and what could be read is written to a new
/// one. The error: it is something else than a file.
pub(super) fn open(path: &Path, herd: &mut Herd) -> io::Result<Opened> {
    // Asked before it is opened: to open a pipe may take for ever.
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return Err(io::Error::other("it is no ordinary file"));
    }
    let mut options = OpenOptions::new();
    let file = options.read(true).append(true).create(true).mode(JOURNAL_MODE).open(path);
    if let Ok(file) = &file {
        // One that an editor or a copy has opened to others. A file of somebody else's stays as it is.
        let _ = file.set_permissions(fs::Permissions::from_mode(JOURNAL_MODE));
    }
    let mut replay = Replay::new(herd);
    let outcome = match &file {
        Ok(file) => read_to_end(file, &mut replay),
        Err(_) => read_what_is_there(path, &mut replay),
    };
    if let Err(e) = outcome {
        // Without its end no mark of a neighbour is restored, and all neighbours are asked for all.
        drop(replay);
        keep_copy(path);
        let file = file.and_then(|_| begin_anew(path, herd));
        return Ok(Opened { found: Found::Unreadable(e), file });
    }
    let (replayed, writer) = replay.finish();
    let has_remains = replayed.torn_bytes > 0;
    let file = file.map(|file| JournalFile::new(file, writer, has_remains));
    Ok(Opened { found: Found::Whole(replayed), file })
}

/// Takes in a file that cannot be written. The error is the system's.
fn read_what_is_there(path: &Path, replay: &mut Replay<'_>) -> io::Result<()> {
    match File::open(path) {
        Ok(file) => read_to_end(file, replay),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

/// Takes in all that can be read. The error is the system's.
fn read_to_end(mut input: impl Read, replay: &mut Replay<'_>) -> io::Result<()> {
    let mut chunk = vec![0; REPLAY_CHUNK_BYTES];
    loop {
        match input.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(length) => replay.receive(chunk.get(..length).unwrap_or_default()),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::alone;

    #[test]
    fn what_can_be_read_is_taken_in_before_the_disk_gives_out() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("unreadable sector"))
            }
        }
        let mut herd = alone().herd;
        let mut text = Vec::new();
        crate::wire::journal::write_header(&mut text);
        crate::wire::journal::write_record(&mut text, b"AT Solo +0.000000000 kiwi +1-1 7");
        let mut replay = Replay::new(&mut herd);
        let e = read_to_end(text.as_slice().chain(Broken), &mut replay).unwrap_err();
        assert_eq!((e.to_string().as_str(), herd.clients()), ("unreadable sector", 1));
    }
}
