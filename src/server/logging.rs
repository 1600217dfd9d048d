//! The log: one line an event, written in batches by the helper thread.
//!
//! `log` and `fern` decide what is a line and how it looks; a line ends up in a batch in memory. At the
//! turn's end [`Log::hand_over`] gives a batch that is old or large enough to the helper thread, which
//! makes the system calls, so neither a slow disk nor a full pipe ever holds the loop. When lines come
//! faster than they can be written, they are dropped and counted, and the log says so itself.

use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

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
    /// The helper thread has written a batch, or could not.
    Written(Result<(), String>),
}

/// Where log lines end up.
#[derive(Clone, Debug)]
pub enum Destination {
    /// Standard error.
    Stderr,
    /// A file that is appended to, and opened anew on SIGHUP.
    File(PathBuf),
}

/// Lines on their way out, between the logger and the thread that writes.
#[derive(Default)]
struct Batch {
    text: Vec<u8>,
    lost: u64,
}

/// The file, as the helper thread holds it.
struct Sink {
    destination: Destination,
    file: Option<File>,
}

/// The loop's end of the log.
pub struct Log {
    batch: Arc<Mutex<Batch>>,
    sink: Arc<Mutex<Sink>>,
    /// A batch is with the helper thread.
    writing: bool,
    /// What will see to the lines that wait.
    due: Due,
    reopen: bool,
    /// What went wrong last, while it does.
    trouble: Option<String>,
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
        let file = destination.open()?;
        let log = Self::new(destination, file);
        let batch = Arc::clone(&log.batch);
        let format = |out: fern::FormatCallback<'_>,
                      message: &fmt::Arguments<'_>,
                      record: &log::Record<'_>| {
            out.finish(format_args!("{:5} {message}", record.level()));
        };
        let take = move |record: &log::Record<'_>| lock(&batch).push(record.args());
        fern::Dispatch::new()
            .level(level)
            .format(format)
            .chain(fern::Output::call(take))
            .apply()
            .map_err(|e| format!("the log cannot be set up: {e}"))?;
        Ok(log)
    }

    fn new(destination: Destination, file: Option<File>) -> Self {
        Self {
            batch: Arc::default(),
            sink: Arc::new(Mutex::new(Sink { destination, file })),
            writing: false,
            due: Due::NotYet,
            reopen: false,
            trouble: None,
        }
    }

    /// A log that no line ever comes to, for tests: there is one logger in a process.
    #[cfg(test)]
    pub(crate) fn nowhere() -> Self {
        Self::new(Destination::Stderr, None)
    }

    /// At the turn's end: lets the helper thread write what has waited long enough.
    pub fn hand_over<A: Application<Event: From<LogEvent>>>(&mut self, io: &mut Io<A>) {
        let waiting = lock(&self.batch).text.len();
        if self.writing || (waiting == 0 && !self.reopen) {
            return;
        }
        let full = waiting >= LOG_BATCH_BYTES || self.reopen;
        if full || self.due == Due::Now {
            let (batch, sink) = (Arc::clone(&self.batch), Arc::clone(&self.sink));
            let reopen = std::mem::take(&mut self.reopen);
            let job = move || LogEvent::Written(lock(&sink).write(&batch, reopen)).into();
            self.writing = io.defer_to_thread(Target::Application, job);
            self.due = Due::NotYet;
        } else if self.due == Due::NotYet {
            io.call_later(LOG_DELAY, Target::Application, LogEvent::Due.into());
            self.due = Due::Called;
        }
    }

    /// What [`Log::hand_over`] arranged for has happened.
    pub fn event_received(&mut self, event: LogEvent) {
        match event {
            LogEvent::Due => self.due = Due::Now,
            LogEvent::Written(result) => {
                self.writing = false;
                self.trouble = result.err();
            }
        }
    }

    /// Opens the file anew with the next batch, for those who rotate it.
    pub fn reopen(&mut self) {
        log::info!("the log is opened anew, as SIGHUP asks");
        self.reopen = true;
    }

    /// Why the log is not being written, if it is not.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Writes the last lines, when the loop has ended. Waits for the helper thread, but not for ever.
    pub fn last_words(&self) {
        let deadline = Instant::now() + LAST_WORDS_TIMEOUT;
        loop {
            if let Ok(mut sink) = self.sink.try_lock() {
                // There is nobody left to tell.
                let _ = sink.write(&self.batch, false);
                return;
            }
            if Instant::now() > deadline {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
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
        for byte in self.text.iter_mut().skip(start).filter(|byte| **byte < b' ') {
            *byte = b'?';
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

impl Sink {
    /// Writes what has gathered. On an error the lines of this batch are lost, and counted.
    fn write(&mut self, batch: &Mutex<Batch>, reopen: bool) -> Result<(), String> {
        let Batch { mut text, lost } = std::mem::take(&mut *lock(batch));
        if lost > 0 {
            let mut said = Batch::default();
            said.push(&format_args!(
                "WARN  {lost} lines are missing here: the log was too slow or full"
            ));
            text.extend_from_slice(&said.text);
        }
        let reopened = if reopen { self.reopen() } else { Ok(()) };
        let written = match &mut self.file {
            Some(file) => file.write_all(&text),
            None => io::stderr().write_all(&text),
        };
        if written.is_err() {
            let lines = text.split(|byte| *byte == b'\n').count().saturating_sub(1);
            lock(batch).lost += lost + u64::try_from(lines).unwrap_or(u64::MAX);
        }
        written.map_err(|e| format!("the log cannot be written: {e}")).and(reopened)
    }

    fn reopen(&mut self) -> Result<(), String> {
        // When it cannot be opened, the old file goes on being written.
        if let Some(file) = self.destination.open()? {
            self.file = Some(file);
        }
        Ok(())
    }
}

/// A lock that a panicking thread held is as good as any other: the data are bytes.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Foreign bytes as a log shows them: on one line, whatever they hold. Control characters, those that
/// change the direction of text, bytes that are no UTF-8 and the backslash are escaped, so nobody can
/// forge a line or hide one; a long text is cut with its length.
pub struct Text<'a>(pub &'a [u8]);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.get(..LOGGED_TEXT_MAX_BYTES).unwrap_or(self.0);
        for chunk in shown.utf8_chunks() {
            write_escaped(f, chunk.valid())?;
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        if shown.len() < self.0.len() {
            write!(f, "... ({} bytes)", self.0.len())?;
        }
        Ok(())
    }
}

fn write_escaped(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let harmless = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'\\';
    if text.bytes().all(harmless) {
        return f.write_str(text);
    }
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
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(bytes: &[u8]) -> String {
        Text(bytes).to_string()
    }

    #[test]
    fn foreign_text_stays_on_its_line() {
        assert_eq!(shown(b"IAMAT kiwi"), "IAMAT kiwi");
        assert_eq!(
            shown(b"a\n2026-01-01 forged\r\x1b[2J\0"),
            "a\\n2026-01-01 forged\\r\\u{1b}[2J\\u{0}"
        );
        assert_eq!(shown("é\u{85}\u{202e}\u{2028}".as_bytes()), "é\\u{85}\\u{202e}\\u{2028}");
        assert_eq!(shown(b"\xff\xfe\\x41"), "\\xff\\xfe\\\\x41");
    }

    #[test]
    fn long_text_is_cut_with_its_length() {
        let text = shown(&[b'x'; 16_384]);
        assert!(text.ends_with("x... (16384 bytes)"), "{text}");
        assert_eq!(text.len(), LOGGED_TEXT_MAX_BYTES + "... (16384 bytes)".len());
        assert_eq!(shown(&[b'x'; LOGGED_TEXT_MAX_BYTES]).len(), LOGGED_TEXT_MAX_BYTES);
    }

    #[test]
    fn a_message_is_one_line_with_its_time_even_if_it_holds_two() {
        let mut batch = Batch::default();
        batch.push(&format_args!("INFO  one\nINFO  two"));
        let text = String::from_utf8(batch.text).unwrap();
        assert_eq!(text.lines().count(), 1);
        assert!(text.ends_with("Z INFO  one?INFO  two\n"), "{text}");
    }

    #[test]
    fn lines_beyond_the_bound_are_counted_not_kept() {
        let mut batch = Batch::default();
        let long = "x".repeat(1 << 20);
        for _ in 0..10 {
            batch.push(&format_args!("{long}"));
        }
        assert!(batch.text.len() < LOG_WAITING_MAX_BYTES + (1 << 20) + 64);
        assert_eq!(batch.lost, 6);
    }

    #[test]
    fn a_full_disk_is_told_and_what_was_lost_is_said_when_it_is_over() {
        let full = Path::new("/dev/full");
        if !full.exists() {
            return;
        }
        let batch = Mutex::new(Batch::default());
        let mut sink = Sink {
            destination: Destination::File(full.to_path_buf()),
            file: File::options().append(true).open(full).ok(),
        };
        lock(&batch).push(&format_args!("one"));
        lock(&batch).push(&format_args!("two"));
        let error = sink.write(&batch, false).unwrap_err();
        assert!(error.contains("No space left"), "{error}");
        let path = std::env::temp_dir().join(format!("herd-log-{}", std::process::id()));
        sink.destination = Destination::File(path.clone());
        lock(&batch).push(&format_args!("three"));
        sink.write(&batch, true).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(text.contains("three") && text.contains("2 lines are missing here"), "{text}");
    }

    use std::path::Path;
}
