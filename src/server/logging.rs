//! The log: one line an event, written in batches by a thread of its own.
//!
//! Every line is appended to one buffer in memory ([`lines`]). At the turn's end [`Log::hand_over`]
//! swaps that buffer for an empty one, when it is large or old enough, and sends it to the writing
//! thread ([`writer`]), which makes the system calls: neither a slow disk nor a full pipe ever holds the
//! loop. Two buffers go round, so nothing is allocated; while one is being written the other gathers,
//! and the slower the disk, the larger the batches. When lines come faster than they can be written, they
//! are dropped and counted, and the log says so itself.
//!
//! A line bears the time of its turn, to the microsecond: the clock is read once a turn, and so its text is
//! made once too. Only a line that is said after the turn's end has a time of its own.
//!
//! `log` and `fern` decide what is a line and where it goes. The two lines that every command costs, what
//! came and what went, have a door of their own into the same buffer: [`received`] and [`sent`].
//!
//! The file and the one before it take no more than `--log-max` together, and leave the last of a disk to
//! the journal (`file.rs`). Whoever wants to keep more moves the file away and sends SIGUSR1 or SIGHUP, as
//! logrotate does.

mod file;
mod lines;
mod text;
mod writer;

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::reactor::{Application, Io, Signal, Target};
pub use file::{
    DISK_RESERVE_BYTES, DISK_RESERVE_PART, LOG_MAX_BYTES, LOG_MAX_LEAST_BYTES, LOG_MODE, Place,
};
pub use lines::{LOG_WAITING_MAX_BYTES, received, sent, tells_traffic};
use lines::{Sink, of_others, with_lines};
pub use text::{LOGGED_TEXT_MAX_BYTES, Text};
pub use writer::LOG_LOOK_INTERVAL;
use writer::{Batch, Trouble, Writer};

/// How long a line may wait for company before it is written.
pub const LOG_DELAY: Duration = Duration::from_millis(50);

/// A batch of this size is written at the next turn's end. Beside so large a write the waking of the thread
/// is nothing, and the kernel takes it in large pieces, at less for each byte than a quarter of it.
pub const LOG_BATCH_BYTES: usize = 256 * 1024;

/// How long the end of the program waits for the last lines to be written.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(1);

/// One batch is being written or waits for it: there is no buffer for a second one.
const BATCHES_MAX: usize = 1;

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
    /// A file that is appended to, and opened anew on SIGUSR1 and SIGHUP.
    File(Place),
}

/// The loop's end of the log.
pub struct Log {
    to_writer: SyncSender<Batch>,
    /// Where the writing thread returns the buffer of each batch, empty.
    returned: Receiver<Vec<u8>>,
    /// The buffer that the next batch is swapped for. None while a batch is with the writing thread.
    spare: Option<Vec<u8>>,
    /// The next batch begins a new file.
    reopen: bool,
    due: Due,
    trouble: Trouble,
}

/// What will see to the lines that wait.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Due {
    NotYet,
    /// A delayed call will say when.
    Called,
    Now,
}

impl Log {
    /// Opens the destination and makes it the program's log, from `level` on. To be called on the loop's
    /// thread. The error says what could not be opened and why.
    pub fn start(destination: Destination, level: log::LevelFilter) -> Result<Self, String> {
        let writer = Writer::open(destination)?;
        let (to_writer, batches) = sync_channel(BATCHES_MAX);
        let (give_back, returned) = sync_channel(BATCHES_MAX);
        let trouble = Trouble::default();
        let told = Arc::clone(&trouble);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || writer.run(&batches, &give_back, &told))
            .map_err(|e| format!("no thread can be had for the log: {e}"))?;
        let sink: Box<dyn log::Log> = Box::new(Sink::at_home());
        fern::Dispatch::new()
            .level(level)
            .chain(sink)
            .apply()
            .map_err(|e| format!("the log cannot be set up: {e}"))?;
        Ok(Self {
            to_writer,
            returned,
            spare: Some(Vec::new()),
            reopen: false,
            due: Due::NotYet,
            trouble,
        })
    }

    /// A log that no line ever comes to, for tests: there is one logger in a process.
    #[cfg(test)]
    pub(crate) fn nowhere() -> Self {
        Self {
            to_writer: sync_channel(BATCHES_MAX).0,
            returned: sync_channel(BATCHES_MAX).1,
            spare: None,
            reopen: false,
            due: Due::NotYet,
            trouble: Trouble::default(),
        }
    }

    /// At the turn's start: until its end every line bears its time, so the clock is not read for each.
    pub fn turn_begins(&self, now: SystemTime) {
        with_lines(|lines| lines.turn_begins(now));
    }

    /// At the turn's end: sends off what is enough, or has waited long enough. While the batch before is
    /// still being written it waits on, and is looked at again.
    pub fn hand_over<A: Application<Event: From<LogEvent>>>(&mut self, io: &mut Io<A>) {
        let waiting = with_lines(|lines| {
            lines.turn_ends();
            lines.take_in(&mut of_others());
            (!lines.is_empty()).then_some(lines.len())
        });
        if waiting.is_none() && !self.reopen {
            return;
        }
        if self.spare.is_none() {
            self.spare = self.returned.try_recv().ok();
        }
        let large = waiting >= Some(LOG_BATCH_BYTES);
        let enough = large || self.reopen || self.due == Due::Now;
        match self.spare.take_if(|_| enough) {
            Some(spare) => {
                self.send(spare);
                if self.due == Due::Now {
                    self.due = Due::NotYet;
                }
            }
            None if self.due != Due::Called => {
                io.call_later(LOG_DELAY, Target::Application, LogEvent::Due.into());
                self.due = Due::Called;
            }
            None => {}
        }
    }

    /// What [`Log::hand_over`] arranged for has happened.
    pub fn event_received(&mut self, LogEvent::Due: LogEvent) {
        self.due = Due::Now;
    }

    /// Opens the file anew before the next batch, for those who rotate it.
    pub fn reopen(&mut self, signal: Signal) {
        let name = if signal == Signal::User1 { "SIGUSR1" } else { "SIGHUP" };
        log::info!("the log is opened anew, as {name} asks");
        self.reopen = true;
    }

    /// Why the log is not being written as it should, if it is not.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has the loop's last lines written, when it has ended. Waits for it, but not for ever.
    pub fn last_words(&mut self) {
        let deadline = Instant::now() + LAST_WORDS_TIMEOUT;
        let wait = || {
            let left = deadline.saturating_duration_since(Instant::now());
            self.returned.recv_timeout(left).ok()
        };
        // A buffer comes back when its batch is written.
        let Some(spare) = self.spare.take().or_else(wait) else { return };
        self.send(spare);
        let left = deadline.saturating_duration_since(Instant::now());
        // Whatever comes of it, there is nobody left to tell.
        drop(self.returned.recv_timeout(left));
    }

    /// Sends what has gathered. There is room for it: its buffer's `spare` was not with the thread.
    fn send(&mut self, spare: Vec<u8>) {
        let (text, lost) = with_lines(|lines| lines.take(spare));
        let reopen = std::mem::take(&mut self.reopen);
        drop(self.to_writer.try_send(Batch { text, lost, reopen }));
    }
}
