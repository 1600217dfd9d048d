//! One journal file: opened and replayed at the start, appended to at each turn's end.
//!
//! It keeps the file and its [`Writer`] in step: after a failure the writer goes back to what the file
//! holds, and whatever stands there beyond it is cut off before the next write. It never syncs and never
//! decides when to write. Called by `journal.rs` and `rewrite.rs`.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use crate::herd::Herd;
use crate::herd::journal::{Replay, Replayed, Writer};

/// How much one turn appends to one file. What is left comes in the next turn.
pub(super) const TURN_BYTES_MAX: usize = 256 * 1024;

/// Where people are is nobody else's business.
const JOURNAL_MODE: u32 = 0o600;

/// How much is read at a time when a journal is replayed, before the loop runs.
const REPLAY_CHUNK_BYTES: usize = 64 * 1024;

/// How far a file reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// The last change that it holds.
    pub change: u64,
    /// Its length.
    pub bytes: u64,
}

/// A file and the writer that fills it.
pub(super) struct JournalFile {
    /// Shared with the helper thread while that syncs it.
    file: Arc<File>,
    writer: Writer,
    /// A write has failed, and a part of it may stand at the end.
    has_remains: bool,
    buffer: Vec<u8>,
}

impl JournalFile {
    /// Opens a journal, makes it if there is none, and takes in what it holds. A line that was never
    /// ended is cut off. The error is the system's.
    pub fn open(path: &Path, herd: &mut Herd) -> io::Result<(Self, Replayed)> {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(JOURNAL_MODE)
            .open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no ordinary file"));
        }
        let mut replay = Replay::new(herd);
        let mut chunk = vec![0; REPLAY_CHUNK_BYTES];
        loop {
            match (&file).read(&mut chunk) {
                Ok(0) => break,
                Ok(length) => replay.receive(chunk.get(..length).unwrap_or_default()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        let (replayed, writer) = replay.finish();
        let has_remains = replayed.torn_bytes > 0;
        let file = Arc::new(file);
        Ok((Self { file, writer, has_remains, buffer: Vec::new() }, replayed))
    }

    /// An empty file, in place of what may have been there. The error is the system's.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(JOURNAL_MODE).open(path)?;
        file.set_len(0)?;
        let (file, writer) = (Arc::new(file), Writer::new());
        Ok(Self { file, writer, has_remains: false, buffer: Vec::new() })
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

    /// Whether it should be written anew.
    pub fn wants_rewrite(&self, herd: &Herd) -> bool {
        self.writer.wants_rewrite(herd)
    }
}
