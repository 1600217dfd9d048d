//! The writing thread: takes batches of lines, and makes the system calls.
//!
//! Owns the file, what goes wrong with it and which lines are lost by that. It knows neither the loop nor
//! what a line says. It does nothing else, so a slow disk holds up neither the loop nor the journal's thread,
//! whose disk may be another one. Called by `Log`, through a channel.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};

use log::Level;

use super::lines::Lines;
use super::{Destination, LOG_BATCH_BYTES};

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
    file: Option<File>,
    /// The file is to be opened anew, which may take several attempts.
    reopen: bool,
    /// Lines that are lost and of which the log has not yet said so.
    lost: u64,
    /// The rest of a line whose beginning is in the file.
    rest: Vec<u8>,
}

impl Writer {
    /// Opens the destination. The error says what could not be opened and why.
    pub fn open(destination: Destination) -> Result<Self, String> {
        let file = destination.open()?;
        Ok(Self { destination, file, reopen: false, lost: 0, rest: Vec::new() })
    }

    /// The thread's work: writes batch after batch, and returns each one's buffer.
    pub fn run(
        mut self,
        batches: &Receiver<Batch>,
        give_back: &SyncSender<Vec<u8>>,
        trouble: &Trouble,
    ) {
        while let Ok(Batch { mut text, lost, reopen }) = batches.recv() {
            self.reopen |= reopen;
            let now = self.write(&text, lost).err();
            *trouble.lock().unwrap_or_else(PoisonError::into_inner) = now;
            if text.len() < LOG_BATCH_BYTES {
                // The rush is over that made it large.
                text.shrink_to(LOG_BATCH_BYTES);
            }
            text.clear();
            if give_back.send(text).is_err() {
                return;
            }
        }
    }

    /// Writes lines, after which `lost` others are missing. What cannot be written is lost, and counted.
    /// The error is for people.
    fn write(&mut self, text: &[u8], lost: u64) -> Result<(), String> {
        let finished = self.finish_line();
        let reopened = self.reopen_if_asked();
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
        written.map_err(|e| format!("the log cannot be written: {e}")).and(reopened)
    }

    /// When the file cannot be opened, the old one goes on being written, and the next batch tries again.
    fn reopen_if_asked(&mut self) -> Result<(), String> {
        if !self.reopen {
            return Ok(());
        }
        if let Some(file) = self.destination.open()? {
            self.file = Some(file);
            // A line that could not be finished in the old file is not continued in the new one.
            self.lost += u64::from(!self.rest.is_empty());
            self.rest.clear();
        }
        self.reopen = false;
        Ok(())
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

    /// Writes whole lines. A disk that fills up in the middle of one has its beginning, so its rest is
    /// kept to be written first of all; those after it are lost.
    fn write_lines(&mut self, lines: &[u8]) -> io::Result<()> {
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

impl Destination {
    fn open(&self) -> Result<Option<File>, String> {
        let Self::File(path) = self else { return Ok(None) };
        let opened = OpenOptions::new().create(true).append(true).open(path);
        let mut file =
            opened.map_err(|e| format!("cannot open the log {}: {e}", path.display()))?;
        if ends_within_a_line(path).unwrap_or(false) {
            // A crash or a full disk has left it. If this fails too, so will the first batch, and tell.
            let _ = file.write(b"\n");
        }
        Ok(Some(file))
    }
}

/// Whether a file's last line has no end.
fn ends_within_a_line(path: &Path) -> io::Result<bool> {
    // Anything but a file may be without an end, or wait for somebody.
    if !path.metadata()?.is_file() {
        return Ok(false);
    }
    let mut file = File::open(path)?;
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != [b'\n'])
}

fn count_lines(text: &[u8]) -> u64 {
    text.iter().map(|byte| u64::from(*byte == b'\n')).sum()
}

#[cfg(test)]
mod tests;
