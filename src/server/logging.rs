//! The log: one line an event, written in batches by a thread of its own.
//!
//! `log` and `fern` decide what is a line and how it looks; a line ends up in a batch in memory. At the
//! turn's end [`Log::hand_over`] asks the writing thread to take a batch that is old or large enough.
//! That thread makes the system calls, so neither a slow disk nor a full pipe ever holds the loop; and
//! it does nothing else, so neither holds a name look-up on the helper thread. When lines come faster
//! than they can be written, they are dropped and counted, and the log says so itself.

use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use super::unix_nanos;
use crate::reactor::{Application, Io, Target};
use crate::wire::time::write_utc;

/// How long a line may wait for company before it is written.
pub const LOG_DELAY: Duration = Duration::from_millis(50);

/// A batch of this size is written at the next turn's end.
pub const LOG_BATCH_BYTES: usize = 64 * 1024;

/// What may wait to be written. Beyond it lines are dropped and counted.
pub const LOG_WAITING_MAX_BYTES: usize = 4 * 1024 * 1024;

/// The longest part of a foreign text that is logged.
pub const LOGGED_TEXT_MAX_BYTES: usize = 512;

/// How long the end of the program waits for the last lines to be written.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(1);

/// What the log has delivered to the application, which hands it back to [`Log::event_received`].
#[derive(Debug)]
pub enum LogEvent {
    /// The lines that wait have waited long enough.
    Due,
}

/// Where log lines end up.
#[derive(Clone, Debug)]
pub enum Destination {
    /// Standard error.
    Stderr,
    /// A file that is appended to, and opened anew on SIGHUP.
    File(PathBuf),
}

/// Lines on their way out, and what the loop and the writing thread tell each other.
#[derive(Default)]
struct Batch {
    text: Vec<u8>,
    lost: u64,
    /// The thread shall write what has gathered.
    wanted: bool,
    /// The thread shall open the file anew before it does.
    reopen: bool,
    /// The thread is writing.
    writing: bool,
    /// What went wrong last, while it does.
    trouble: Option<String>,
}

/// A batch that the loop fills and the writing thread empties.
#[derive(Default)]
struct Shared {
    batch: Mutex<Batch>,
    wanted: Condvar,
    written: Condvar,
}

/// The file, as the writing thread holds it.
struct Sink {
    destination: Destination,
    file: Option<File>,
    /// The file is to be opened anew, which may take several attempts.
    reopen: bool,
}

/// The loop's end of the log.
pub struct Log {
    shared: Arc<Shared>,
    /// What will see to the lines that wait.
    due: Due,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Due {
    NotYet,
    /// A delayed call will say when.
    Called,
    Now,
}

impl Log {
    /// Opens the destination and makes it the program's log, from `level` on. The error says what could
    /// not be opened and why.
    pub fn start(destination: Destination, level: log::LevelFilter) -> Result<Self, String> {
        let shared = Arc::<Shared>::default();
        let mut sink = Sink { file: destination.open()?, destination, reopen: false };
        let writer = Arc::clone(&shared);
        let work = move || {
            loop {
                writer.write_when_wanted(&mut sink);
            }
        };
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(work)
            .map_err(|e| format!("no thread can be had for the log: {e}"))?;

        let format = |out: fern::FormatCallback<'_>,
                      message: &fmt::Arguments<'_>,
                      record: &log::Record<'_>| {
            out.finish(format_args!("{:5} {message}", record.level()));
        };
        let lines = Arc::clone(&shared);
        let take = move |record: &log::Record<'_>| lines.lock().push(record.args());
        fern::Dispatch::new()
            .level(level)
            .format(format)
            .chain(fern::Output::call(take))
            .apply()
            .map_err(|e| format!("the log cannot be set up: {e}"))?;
        Ok(Self { shared, due: Due::NotYet })
    }

    /// A log that no line ever comes to, for tests: there is one logger in a process.
    #[cfg(test)]
    pub(crate) fn nowhere() -> Self {
        Self { shared: Arc::default(), due: Due::NotYet }
    }

    /// At the turn's end: lets the writing thread take what has waited long enough.
    pub fn hand_over<A: Application<Event: From<LogEvent>>>(&mut self, io: &mut Io<A>) {
        let mut batch = self.shared.lock();
        // What the thread has been asked for and not yet taken needs no second asking.
        if batch.wanted || (batch.text.is_empty() && !batch.reopen) {
            return;
        }
        let full = batch.text.len() >= LOG_BATCH_BYTES || batch.reopen;
        if full || self.due == Due::Now {
            batch.wanted = true;
            self.shared.wanted.notify_one();
            self.due = Due::NotYet;
        } else if self.due == Due::NotYet {
            io.call_later(LOG_DELAY, Target::Application, LogEvent::Due.into());
            self.due = Due::Called;
        }
    }

    /// What [`Log::hand_over`] arranged for has happened.
    pub fn event_received(&mut self, LogEvent::Due: LogEvent) {
        self.due = Due::Now;
    }

    /// Opens the file anew before the next batch, for those who rotate it.
    pub fn reopen(&mut self) {
        log::info!("the log is opened anew, as SIGHUP asks");
        self.shared.lock().reopen = true;
    }

    /// Why the log is not being written as it should, if it is not.
    pub fn trouble(&self) -> Option<String> {
        self.shared.lock().trouble.clone()
    }

    /// Has the last lines written, when the loop has ended. Waits for it, but not for ever.
    pub fn last_words(&self) {
        let mut batch = self.shared.lock();
        batch.wanted = true;
        self.shared.wanted.notify_one();
        let unwritten = |batch: &mut Batch| batch.wanted || batch.writing;
        // Whatever came of it, there is nobody left to tell.
        drop(self.shared.written.wait_timeout_while(batch, LAST_WORDS_TIMEOUT, unwritten));
    }
}

impl Shared {
    /// A lock that a panicking thread held is as good as any other: the data are bytes.
    fn lock(&self) -> MutexGuard<'_, Batch> {
        self.batch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The writing thread's work: sleeps until it is wanted, then writes what has gathered, once.
    fn write_when_wanted(&self, sink: &mut Sink) {
        let waited = self.wanted.wait_while(self.lock(), |batch| !batch.wanted);
        let mut batch = waited.unwrap_or_else(PoisonError::into_inner);
        let (text, lost) = (std::mem::take(&mut batch.text), std::mem::take(&mut batch.lost));
        sink.reopen |= std::mem::take(&mut batch.reopen);
        (batch.wanted, batch.writing) = (false, true);
        drop(batch);

        let result = sink.write(text, lost);

        let mut batch = self.lock();
        batch.writing = false;
        batch.lost += result.lost;
        batch.trouble = result.trouble;
        self.written.notify_all();
    }
}

impl Batch {
    fn push(&mut self, message: &fmt::Arguments<'_>) {
        if self.text.len() >= LOG_WAITING_MAX_BYTES {
            self.lost += 1;
            return;
        }
        write_utc(&mut self.text, unix_nanos(SystemTime::now()));
        self.text.push(b' ');
        let start = self.text.len();
        // Writing into memory cannot fail.
        let _ = self.text.write_fmt(*message);
        // A second guard: whatever a message held, it is one line.
        let line = self.text.get_mut(start..).unwrap_or_default();
        if line.iter().fold(0, |found, byte| found | u8::from(*byte < b' ')) != 0 {
            line.iter_mut().filter(|byte| **byte < b' ').for_each(|byte| *byte = b'?');
        }
        self.text.push(b'\n');
    }
}

impl Destination {
    fn open(&self) -> Result<Option<File>, String> {
        let Self::File(path) = self else { return Ok(None) };
        let opened = OpenOptions::new().create(true).append(true).open(path);
        opened.map(Some).map_err(|e| format!("cannot open the log {}: {e}", path.display()))
    }
}

/// What came of writing a batch.
struct Written {
    /// Lines that are lost, those of earlier batches included.
    lost: u64,
    trouble: Option<String>,
}

impl Sink {
    /// Writes a batch. On an error its lines are lost, and counted.
    fn write(&mut self, mut text: Vec<u8>, lost: u64) -> Written {
        if lost > 0 {
            let mut said = Batch::default();
            said.push(&format_args!(
                "WARN  {lost} lines are missing here: the log was too slow or full"
            ));
            text.extend_from_slice(&said.text);
        }
        let reopened = self.reopen_if_asked();
        let written = match &mut self.file {
            Some(file) => file.write_all(&text),
            None => io::stderr().write_all(&text),
        };
        match written {
            Ok(()) => Written { lost: 0, trouble: reopened.err() },
            Err(e) => {
                let lines = text.split(|byte| *byte == b'\n').count().saturating_sub(1);
                // The line that says what was lost before is no loss itself.
                let lines = lines - usize::from(lost > 0);
                let lost = lost + u64::try_from(lines).unwrap_or(u64::MAX);
                Written { lost, trouble: Some(format!("the log cannot be written: {e}")) }
            }
        }
    }

    /// When the file cannot be opened, the old one goes on being written, and the next batch tries again.
    fn reopen_if_asked(&mut self) -> Result<(), String> {
        if !self.reopen {
            return Ok(());
        }
        if let Some(file) = self.destination.open()? {
            self.file = Some(file);
        }
        self.reopen = false;
        Ok(())
    }
}

/// Foreign bytes as a log shows them: on one line, whatever they hold. Control characters, those that
/// change the direction of text, bytes that are no UTF-8 and the backslash are escaped, so nobody can
/// forge a line or hide one; a long text is cut with its length.
pub struct Text<'a>(pub &'a [u8]);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.get(..LOGGED_TEXT_MAX_BYTES).unwrap_or(self.0);
        match std::str::from_utf8(shown) {
            // Nearly every line, so it is looked at in one sweep without a branch for each byte.
            Ok(text) if all_harmless(shown) => f.write_str(text)?,
            _ => {
                for chunk in shown.utf8_chunks() {
                    write_escaped(f, chunk.valid())?;
                    for byte in chunk.invalid() {
                        write!(f, "\\x{byte:02x}")?;
                    }
                }
            }
        }
        if shown.len() < self.0.len() {
            write!(f, "... ({} bytes)", self.0.len())?;
        }
        Ok(())
    }
}

/// Whether these are printable ASCII other than the backslash.
fn all_harmless(bytes: &[u8]) -> bool {
    let harmful = |byte: u8| byte.wrapping_sub(b' ') > b'~' - b' ' || byte == b'\\';
    bytes.iter().fold(0, |found, byte| found | u8::from(harmful(*byte))) == 0
}

fn write_escaped(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    for character in text.chars() {
        match character {
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            '\\' => f.write_str("\\\\")?,
            c if c.is_control() || misleads(c) => write!(f, "\\u{{{:x}}}", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    Ok(())
}

/// Separators of lines, marks of direction and invisible characters (Unicode UAX #9, TR #36).
fn misleads(character: char) -> bool {
    matches!(character,
        '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests;
