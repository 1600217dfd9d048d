//! The writing thread: takes batches of lines, and makes the system calls.
//!
//! Owns which lines are lost because the file could not be written or had no room, and looks each second
//! whether the file still has its name. It knows neither the loop nor what a line says. It does nothing
//! else, so a slow disk holds up neither the loop nor the journal's thread. Called by
//! `Log`, through a channel.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use log::Level;

use super::file::{LogFile, NoRoom};
use super::lines::Lines;
use super::{Destination, LOG_BATCH_BYTES};

/// How often the thread looks whether the file is still there, and tries again what has failed.
pub const LOG_LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How much is written at a time, between two looks at the room that is left.
const PIECE_BYTES: u64 = 1024 * 1024;

/// Whole lines to be written.
pub struct Batch {
    pub text: Vec<u8>,
    /// How many more there would be after them, had they found room.
    pub lost: u64,
    /// The file is to be opened anew before it.
    pub reopen: bool,
}

/// What went wrong last, while it does. Set by the writing thread, told by the loop.
pub type Trouble = Arc<Mutex<Option<String>>>;

/// The file, as the writing thread holds it.
pub struct Writer {
    destination: Destination,
    /// `None`: standard error.
    file: Option<LogFile>,
    /// The file is to be opened anew, which may take several attempts.
    reopen: bool,
    /// Why the last attempt failed.
    open_trouble: Option<String>,
    /// When the thread last looked whether the file is still there.
    looked: Instant,
    /// Lines that are lost and of which the log has not yet said so.
    lost: u64,
    /// The rest of a line whose beginning is in the file.
    rest: Vec<u8>,
}

impl Writer {
    /// Opens the destination. The error says what could not be opened and why.
    pub fn open(destination: Destination) -> Result<Self, String> {
        let file = match &destination {
            Destination::Stderr => None,
            Destination::File(place) => Some(LogFile::open(place)?),
        };
        Ok(Self {
            destination,
            file,
            reopen: false,
            open_trouble: None,
            looked: Instant::now(),
            lost: 0,
            rest: Vec::new(),
        })
    }

    /// The thread's work: writes batch after batch, and returns each one's buffer.
    pub fn run(
        mut self,
        batches: &Receiver<Batch>,
        give_back: &SyncSender<Vec<u8>>,
        trouble: &Trouble,
    ) {
        let note = |outcome: Result<(), String>| {
            *trouble.lock().unwrap_or_else(PoisonError::into_inner) = outcome.err();
        };
        loop {
            match batches.recv_timeout(LOG_LOOK_INTERVAL) {
                Ok(Batch { mut text, lost, reopen }) => {
                    self.reopen_before_batch(reopen);
                    note(self.write(&text, lost));
                    if text.len() < LOG_BATCH_BYTES {
                        // The rush is over that made it large.
                        text.shrink_to(LOG_BATCH_BYTES);
                    }
                    text.clear();
                    if give_back.send(text).is_err() {
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => note(self.write(&[], 0)),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn reopen_before_batch(&mut self, reopen: bool) {
        if reopen {
            self.reopen = true;
            self.look();
        }
    }

    /// Writes lines, after which `lost` others are missing. What cannot be written is lost, and counted.
    /// The error is for people.
    fn write(&mut self, text: &[u8], lost: u64) -> Result<(), String> {
        if self.open_trouble.is_some() || self.looked.elapsed() >= LOG_LOOK_INTERVAL {
            self.look();
        }
        let finished = self.finish_line();
        let ready = if self.rest.is_empty() { self.say_lost() } else { finished };
        let written = match ready {
            Ok(()) => self.write_lines(text),
            Err(e) => {
                self.lost += count_lines(text);
                Err(e)
            }
        };
        self.lost += lost;
        let written = written.and_then(|()| self.say_lost());
        let written = written.map_err(|e| format!("the log cannot be written: {e}"));
        written.and(self.open_trouble.clone().map_or(Ok(()), Err))
    }

    /// Opens the file anew if that was asked for, or if it was deleted or moved away. When it cannot be
    /// opened, the old one goes on being written, and each batch and each look tries again.
    fn look(&mut self) {
        self.looked = Instant::now();
        let Destination::File(place) = &self.destination else { return };
        let is_gone = self.file.as_ref().is_some_and(LogFile::is_gone);
        if !self.reopen && !is_gone {
            self.open_trouble = None;
            return;
        }
        match LogFile::open(place) {
            Ok(file) => {
                self.file = Some(file);
                // A line that could not be finished in the old file is not continued in the new one.
                self.lost += u64::from(!self.rest.is_empty());
                self.rest.clear();
                self.open_trouble = None;
                if !std::mem::take(&mut self.reopen) {
                    self.say(&format_args!("the log was deleted or moved away; this is a new one"));
                }
            }
            Err(why) => {
                if self.open_trouble.is_none() {
                    self.say(&format_args!(
                        "{why}; this file is written meanwhile, and it is tried again each second"
                    ));
                }
                self.open_trouble = Some(why);
            }
        }
    }

    /// Adds a line of the log's own. One that finds no room is lost like any other.
    fn say(&mut self, words: &fmt::Arguments<'_>) {
        let mut said = Lines::new();
        said.push(Level::Warn, words);
        let text = said.take(Vec::new()).0;
        if self.rest.is_empty() {
            let _ = self.write_lines(&text);
        } else {
            self.lost += 1;
        }
    }

    /// Writes the rest of a line of which the file has only the beginning.
    fn finish_line(&mut self) -> io::Result<()> {
        let rest = std::mem::take(&mut self.rest);
        let (written, result) = self.write_bytes(&rest);
        self.rest.extend(rest.get(written..).unwrap_or_default());
        result
    }

    /// Says how many lines are missing at this place, if any are.
    fn say_lost(&mut self) -> io::Result<()> {
        let lost = std::mem::take(&mut self.lost);
        if lost == 0 {
            return Ok(());
        }
        let mut said = Lines::new();
        let words = format_args!("{lost} lines are missing here: the log was too slow or full");
        said.push(Level::Warn, &words);
        let result = self.write_lines(&said.take(Vec::new()).0);
        if self.lost > 0 {
            // Not this line is missing, but still those of which it would have told.
            self.lost = lost;
        }
        result
    }

    /// Writes whole lines, as far as there is room for them. Those that find none are lost.
    fn write_lines(&mut self, mut lines: &[u8]) -> io::Result<()> {
        while let Some(first) = lines.split_inclusive(|byte| *byte == b'\n').next() {
            let room = self.file.as_mut().map(|file| file.make_room(first.len() as u64));
            let room = match room.unwrap_or(Ok(u64::MAX)) {
                Ok(bytes) => bytes.min(PIECE_BYTES),
                Err(NoRoom::Line) => 0,
                Err(why) => {
                    self.lost += count_lines(lines);
                    return Err(why.into());
                }
            };
            let (piece, left) = split_lines(lines, room, first.len());
            if room == 0 {
                self.lost += 1;
            } else if let Err(e) = self.write_piece(piece) {
                self.lost += count_lines(left);
                return Err(e);
            }
            lines = left;
        }
        Ok(())
    }

    /// Writes whole lines. A disk that fills up in the middle of one has its beginning, so its rest is
    /// kept to be written first of all; those after it are lost.
    fn write_piece(&mut self, lines: &[u8]) -> io::Result<()> {
        let (written, result) = self.write_bytes(lines);
        let (done, left) = lines.split_at_checked(written).unwrap_or((lines, &[]));
        let begun = matches!(done.last(), Some(byte) if *byte != b'\n');
        let rest = if begun { left.split_inclusive(|byte| *byte == b'\n').next() } else { None };
        let rest = rest.unwrap_or_default();
        self.rest.extend_from_slice(rest);
        self.lost += count_lines(left.get(rest.len()..).unwrap_or_default());
        result
    }

    /// As many bytes as the destination takes: how many these are, and what ended it.
    fn write_bytes(&mut self, bytes: &[u8]) -> (usize, io::Result<()>) {
        let mut written = 0;
        while let Some(left @ [_, ..]) = bytes.get(written..) {
            let result = match &mut self.file {
                Some(file) => file.write(left),
                None => io::stderr().write(left),
            };
            match result {
                Ok(0) => return (written, Err(ErrorKind::WriteZero.into())),
                Ok(count) => written += count,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return (written, Err(e)),
            }
        }
        (written, Ok(()))
    }
}

/// As many of these whole lines as `max_bytes` have room for, and the rest. At least the first, which has
/// `first_bytes`.
fn split_lines(lines: &[u8], max_bytes: u64, first_bytes: usize) -> (&[u8], &[u8]) {
    let max_bytes = usize::try_from(max_bytes).unwrap_or(usize::MAX);
    let fitting = lines.get(..max_bytes).unwrap_or(lines);
    let whole = fitting.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    lines.split_at_checked(whole.max(first_bytes)).unwrap_or((lines, &[]))
}

fn count_lines(text: &[u8]) -> u64 {
    text.iter().map(|byte| u64::from(*byte == b'\n')).sum()
}

#[cfg(test)]
mod tests;
