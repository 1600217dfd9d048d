//! The log's file: opened without ever blocking, private, kept within its bounds, missed when it is gone.
//!
//! Owns the file and the one before it, NAME.log.old, and how much the two and the disk have room for.
//! It knows nothing of lines but that they end in an LF. Called by the writing thread, and once at the
//! start.

use std::fs::{self, File, FileType, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{OFlags, fcntl_setfl, fstatvfs};

/// What a log and the one before it may take together, bytes, unless `--log-max` says otherwise.
pub const LOG_MAX_BYTES: u64 = 64 * 1024 * 1024;

/// The least that `--log-max` may be: half of it has room for any line.
pub const LOG_MAX_LEAST_BYTES: u64 = 16 * 1024;

/// A log holds everybody's places, as the journal does: nobody else's business.
pub const LOG_MODE: u32 = 0o600;

/// What a log leaves of a disk to the journal that may be on it, bytes, or [`DISK_RESERVE_PART`] of the
/// disk where that is less.
pub const DISK_RESERVE_BYTES: u64 = 64 * 1024 * 1024;

/// One part in so many.
pub const DISK_RESERVE_PART: u64 = 20;

/// How much is copied at a time when a file is cut to its end.
const COPY_BYTES: usize = 1024 * 1024;

/// Which file a log is written to, and how it is kept.
#[derive(Clone, Debug)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// Its mode.
    pub mode: u32,
    /// What it and the one before it may take together, bytes. `None`: others see to that.
    pub max_bytes: Option<u64>,
}

impl Place {
    /// A file with the default mode and bound.
    pub fn at(path: PathBuf) -> Self {
        Self { path, mode: LOG_MODE, max_bytes: Some(LOG_MAX_BYTES) }
    }

    fn half_bytes(&self) -> u64 {
        self.max_bytes.map_or(u64::MAX, |bytes| bytes / 2)
    }

    /// Where the log before this one is kept.
    pub fn old_path(&self) -> PathBuf {
        let mut path = self.path.as_os_str().to_owned();
        path.push(".old");
        path.into()
    }
}

/// An open log.
pub struct LogFile {
    place: Place,
    file: File,
    /// A device, such as `/dev/null`, has neither a length nor a disk.
    is_regular: bool,
}

/// Why nothing can be written at present.
pub enum NoRoom {
    /// The disk has no more than is left to the journal.
    Disk(u64),
    /// Not even an empty file may hold this line.
    Line,
    /// The system's error.
    Failed(io::Error),
}

impl From<NoRoom> for io::Error {
    fn from(why: NoRoom) -> Self {
        match why {
            NoRoom::Disk(bytes) => Self::other(format!(
                "the disk is full but for what is left to the journal, and {bytes} bytes"
            )),
            NoRoom::Line => Self::other("a line is longer than half of --log-max"),
            NoRoom::Failed(e) => e,
        }
    }
}

impl LogFile {
    /// Opens the file, or makes it. What is longer than the bound allows is cut to its end. The error
    /// says what is in the way, in words.
    pub fn open(place: &Place) -> Result<Self, String> {
        let mut log = Self::open_as_it_is(place)?;
        if log.is_regular && log.length().is_ok_and(|bytes| bytes > place.half_bytes()) {
            log = log.rotated()?;
        }
        if log.is_regular {
            tidy_old(place);
        }
        Ok(log)
    }

    fn open_as_it_is(place: &Place) -> Result<Self, String> {
        let path = &place.path;
        let failed = |why: String| format!("cannot open the log {}: {why}", path.display());
        let (file, found) = open_at_once(path, place.mode).map_err(|e| {
            let what = fs::metadata(path).ok().and_then(|found| in_the_way(found.file_type()));
            failed(what.map_or_else(|| e.to_string(), refusal))
        })?;
        if let Some(what) = in_the_way(found.file_type()) {
            return Err(failed(refusal(what)));
        }
        let is_regular = found.is_file();
        let mut log = Self { place: place.clone(), file, is_regular };
        if is_regular {
            make_private(&log.file, &found, place.mode);
            log.end_line();
        } else {
            // A device may be waited for: this thread has nothing else to do.
            let _ = fcntl_setfl(&log.file, OFlags::APPEND);
        }
        Ok(log)
    }

    /// A pipe as the log, for tests: it takes some pages and then nothing more, as a disk that fills up.
    #[cfg(test)]
    pub fn of_test(pipe: std::os::fd::OwnedFd) -> Self {
        Self { place: Place::at(PathBuf::new()), file: pipe.into(), is_regular: false }
    }

    /// Ends a last line that a crash or a full disk has left without an end. If this fails, so will the
    /// first line, and tell.
    fn end_line(&mut self) {
        let mut last = [b'\n'];
        let length = self.length().unwrap_or(0);
        let read = length.checked_sub(1).map(|at| self.file.read_exact_at(&mut last, at));
        if matches!(read, Some(Ok(()))) && last != [b'\n'] {
            let _ = self.file.write(b"\n");
        }
    }

    /// How many bytes may be written now, of lines of which the first has `first_bytes`. May begin a new
    /// file for them.
    pub fn make_room(&mut self, first_bytes: u64) -> Result<u64, NoRoom> {
        if !self.is_regular {
            return Ok(u64::MAX);
        }
        let disk_bytes = self.disk_room().map_err(NoRoom::Failed)?;
        if disk_bytes < first_bytes {
            return Err(NoRoom::Disk(disk_bytes));
        }
        let half_bytes = self.place.half_bytes();
        if first_bytes > half_bytes {
            return Err(NoRoom::Line);
        }
        let mut left = half_bytes.saturating_sub(self.length().map_err(NoRoom::Failed)?);
        if left < first_bytes {
            self.rotate().map_err(NoRoom::Failed)?;
            left = half_bytes;
        }
        Ok(left.min(disk_bytes))
    }

    /// What the disk has beside what is left to the journal, bytes.
    fn disk_room(&self) -> io::Result<u64> {
        let disk = fstatvfs(&self.file)?;
        let whole = disk.f_blocks.saturating_mul(disk.f_frsize);
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        Ok(free.saturating_sub(DISK_RESERVE_BYTES.min(whole / DISK_RESERVE_PART)))
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Goes on in an empty file. One that has lost its name is not moved: it is to be missed first.
    fn rotate(&mut self) -> io::Result<()> {
        if self.is_gone() {
            return Err(io::Error::other("it was moved away, and there is no new one yet"));
        }
        let place = self.place.clone();
        if fs::rename(&place.path, place.old_path()).is_err() {
            // A folder that may not be changed: the newest lines are worth more than the oldest.
            return self.file.set_len(0);
        }
        *self = Self::open_as_it_is(&place).map_err(io::Error::other)?;
        Ok(())
    }

    fn rotated(mut self) -> Result<Self, String> {
        let shown = self.place.path.display().to_string();
        self.rotate().map_err(|e| format!("cannot begin a new log {shown}: {e}"))?;
        Ok(self)
    }

    /// Whether the file of that name is another one by now, or none.
    pub fn is_gone(&self) -> bool {
        let id = |found: Metadata| (found.dev(), found.ino());
        let named = fs::metadata(&self.place.path).map(id);
        self.is_regular && self.file.metadata().map(id).ok() != named.ok()
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Opens a file to append to it, and never waits: not for the other end of a FIFO either.
fn open_at_once(path: &Path, mode: u32) -> io::Result<(File, Metadata)> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(mode).custom_flags(flags);
    let file = options.clone().read(true).open(path).or_else(|_| options.open(path))?;
    let found = file.metadata()?;
    Ok((file, found))
}

/// What a log cannot be, in words.
fn in_the_way(found: FileType) -> Option<&'static str> {
    if found.is_fifo() {
        Some("a FIFO")
    } else if found.is_socket() {
        Some("a socket")
    } else if found.is_dir() {
        Some("a folder")
    } else {
        None
    }
}

fn refusal(what: &str) -> String {
    format!("it is {what}, and a log is a file; move it away")
}

/// Gives a file its mode, where it has another one. A file of somebody else's keeps what it has.
fn make_private(file: &File, found: &Metadata, mode: u32) {
    if found.permissions().mode() & 0o7777 != mode {
        let _ = file.set_permissions(fs::Permissions::from_mode(mode));
    }
}

/// Cuts the log before this one to what it may be, and gives it its mode: it may be from another bound.
fn tidy_old(place: &Place) {
    let path = place.old_path();
    if !fs::symlink_metadata(&path).is_ok_and(|found| found.is_file()) {
        return;
    }
    let Ok(file) = OpenOptions::new().read(true).write(true).open(&path) else { return };
    if let Ok(found) = file.metadata() {
        make_private(&file, &found, place.mode);
        // What cannot be cut stays: it is no longer than it was.
        let _ = keep_end(&file, found.len(), place.half_bytes());
    }
}

/// Cuts a file in place to its last `max_bytes`, from the beginning of a line on.
fn keep_end(file: &File, length: u64, max_bytes: u64) -> io::Result<()> {
    let Some(mut from) = length.checked_sub(max_bytes).filter(|bytes| *bytes > 0) else {
        return Ok(());
    };
    let mut piece = vec![0; COPY_BYTES];
    let mut to = 0;
    let mut is_line_begun = true;
    loop {
        let count = file.read_at(&mut piece, from)?;
        if count == 0 {
            return file.set_len(to);
        }
        from += count as u64;
        let mut kept = piece.get(..count).unwrap_or_default();
        if is_line_begun {
            let end = kept.iter().position(|byte| *byte == b'\n');
            is_line_begun = end.is_none();
            kept = end.and_then(|end| kept.get(end + 1..)).unwrap_or_default();
        }
        file.write_all_at(kept, to)?;
        to += kept.len() as u64;
    }
}

#[cfg(test)]
mod tests;
