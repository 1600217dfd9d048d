//! Warnings that strangers can cause, so bounded that no stranger can fill a log with them.
//!
//! Two bounds. A warning of one kind about one subject is logged at once, and then once a second with how
//! many there were. And all such warnings together take no more bytes than what caused them, beside a
//! small allowance: whoever connects anew for each gets no further. Those that are over are counted. Pure:
//! it is handed the time, and gives lines back. Called by [`Io::warn`](crate::reactor::Io::warn) and a delayed call.

use std::collections::HashMap;
use std::fmt::{Arguments, Write as _};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::reactor::io::sockets::Due;
use crate::reactor::{Application, Io, Token};

/// How often a warning of one kind about one subject is logged.
pub const WARNING_INTERVAL: Duration = Duration::from_secs(1);

/// How many bytes of such warnings are logged although they cost whoever caused them next to nothing:
/// some sixty lines.
pub const WARNING_ALLOWANCE_BYTES: usize = 8192;

/// How fast the allowance comes back: a line in two or three seconds.
pub const WARNING_ALLOWANCE_BYTES_PER_SECOND: usize = 64;

/// How many subjects are told apart; warnings about more are counted together.
pub const WARNING_SUBJECTS_MAX: usize = 1024;

/// How many bytes of causes are remembered to pay for later warnings.
const PAID_MAX_BYTES: usize = 4096;

/// What a line has beside its words: time, level and LF.
const LINE_HEAD_BYTES: usize = 36;

/// Whom a warning is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum About {
    /// One connection.
    Connection(Token),
    /// An address.
    Address(IpAddr),
    /// A fault, in words.
    Fault(String),
    /// Nobody in particular.
    Everybody,
}

type Subject = (&'static str, About);

/// A subject of which a warning was logged a moment ago, or waits.
struct Recent {
    logged: Instant,
    /// Warnings since then.
    waiting: u64,
    /// The words of the first of them.
    words: String,
}

/// The warnings of the last second, and what may still be logged.
pub(in crate::reactor) struct Warnings {
    recent: HashMap<Subject, Recent>,
    /// Warnings that were too many or too cheap to be logged.
    left_out: u64,
    /// Bytes of causes that no line has used up yet, and what is left of the allowance.
    paid_bytes: usize,
    allowance_bytes: usize,
    /// How much of the allowance was used before as much was paid.
    debt_bytes: usize,
    refilled: Instant,
    /// A delayed call will log what waits.
    pub is_due: bool,
}

impl Warnings {
    pub fn new(now: Instant) -> Self {
        Self {
            recent: HashMap::new(),
            left_out: 0,
            paid_bytes: 0,
            allowance_bytes: WARNING_ALLOWANCE_BYTES,
            debt_bytes: 0,
            refilled: now,
            is_due: false,
        }
    }

    /// A warning of a kind, which so many bytes from outside have caused. Gives the line to log now, if
    /// this is its time.
    pub fn raise(
        &mut self,
        now: Instant,
        (kind, about): Subject,
        cause_bytes: usize,
        words: Arguments<'_>,
    ) -> Option<String> {
        self.earn(cause_bytes);
        let subject = (kind, about);
        if let Some(recent) = self.recent.get_mut(&subject) {
            recent.waiting += 1;
            if recent.waiting == 1 {
                recent.words.clear();
                let _ = recent.words.write_fmt(words);
            }
            return None;
        }
        if self.recent.len() >= WARNING_SUBJECTS_MAX {
            self.left_out += 1;
            return None;
        }
        let words = words.to_string();
        let is_logged = self.pay(now, words.len());
        let (waiting, kept) = if is_logged { (0, String::new()) } else { (1, words.clone()) };
        self.recent.insert(subject, Recent { logged: now, waiting, words: kept });
        is_logged.then_some(words)
    }

    /// The lines that have waited for a second. Empty lines and no subjects: nothing waits any more.
    pub fn take_due(&mut self, now: Instant) -> Vec<String> {
        let mut lines = Vec::new();
        if self.left_out > 0 {
            let words = format!(
                "{} more warnings about what others sent are left out: they would take more room than \
                 that did",
                self.left_out
            );
            if self.pay(now, words.len()) {
                self.left_out = 0;
                lines.push(words);
            }
        }
        let mut recent = std::mem::take(&mut self.recent);
        recent.retain(|_, recent| {
            let since = now.saturating_duration_since(recent.logged);
            if since < WARNING_INTERVAL {
                return true;
            }
            let waiting = std::mem::take(&mut recent.waiting);
            if waiting == 0 {
                return false;
            }
            let mut words = std::mem::take(&mut recent.words);
            if waiting > 1 {
                let seconds = since.as_secs_f64();
                let _ = write!(words, " ({waiting} times in {seconds:.1} s)");
            }
            if !self.pay(now, words.len()) {
                self.left_out += waiting;
                return false;
            }
            lines.push(words);
            recent.logged = now;
            true
        });
        self.recent = recent;
        lines
    }

    /// Whether something waits to be logged or forgotten.
    pub fn is_pending(&self) -> bool {
        self.left_out > 0 || !self.recent.is_empty()
    }

    fn earn(&mut self, bytes: usize) {
        let repaid = bytes.min(self.debt_bytes);
        self.debt_bytes -= repaid;
        self.paid_bytes = (self.paid_bytes + bytes - repaid).min(PAID_MAX_BYTES);
    }

    /// Whether a line with so many bytes of words may be logged now. If so, it is paid for.
    fn pay(&mut self, now: Instant, words_bytes: usize) -> bool {
        self.refill(now);
        let bytes = words_bytes + LINE_HEAD_BYTES;
        if let Some(left) = self.paid_bytes.checked_sub(bytes) {
            self.paid_bytes = left;
            return true;
        }
        let Some(left) = self.allowance_bytes.checked_sub(bytes) else { return false };
        self.allowance_bytes = left;
        // What is paid from now on pays for this line first.
        self.debt_bytes = (self.debt_bytes + bytes).min(WARNING_ALLOWANCE_BYTES);
        true
    }

    fn refill(&mut self, now: Instant) {
        let millis = now.saturating_duration_since(self.refilled).as_millis();
        let millis = usize::try_from(millis).unwrap_or(usize::MAX);
        let bytes = millis.saturating_mul(WARNING_ALLOWANCE_BYTES_PER_SECOND) / 1000;
        if bytes > 0 {
            self.refilled = now;
            self.allowance_bytes =
                self.allowance_bytes.saturating_add(bytes).min(WARNING_ALLOWANCE_BYTES);
        }
    }
}

impl<A: Application> Io<A> {
    /// Logs a warning that a stranger may have caused by sending `cause_bytes`: the first of its kind
    /// about this subject at once, more of them once a second with their number.
    #[cold]
    pub fn warn(
        &mut self,
        kind: &'static str,
        about: About,
        cause_bytes: usize,
        words: Arguments<'_>,
    ) {
        if log::max_level() < log::Level::Warn {
            return;
        }
        if let Some(line) = self.warnings.raise(self.now, (kind, about), cause_bytes, words) {
            log::warn!("{line}");
        }
        self.log_warnings_later();
    }

    /// The same for what is a warning only at some of the times it happens; at others it has this level.
    #[cold]
    pub fn warn_at(
        &mut self,
        level: log::Level,
        kind: &'static str,
        about: About,
        cause_bytes: usize,
        words: Arguments<'_>,
    ) {
        if level == log::Level::Warn {
            self.warn(kind, about, cause_bytes, words);
        } else {
            log::log!(level, "{words}");
        }
    }

    /// Logs the warnings that have waited for a second.
    pub(in crate::reactor) fn log_due_warnings(&mut self) {
        self.warnings.is_due = false;
        for line in self.warnings.take_due(self.now) {
            log::warn!("{line}");
        }
        self.log_warnings_later();
    }

    fn log_warnings_later(&mut self) {
        if self.warnings.is_pending() && !std::mem::replace(&mut self.warnings.is_due, true) {
            self.timers.add(self.now + WARNING_INTERVAL, Due::LogWarnings);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(number: usize) -> Subject {
        ("kind", About::Connection(Token::of_test(number)))
    }

    #[test]
    fn the_same_about_the_same_is_logged_once_a_second_with_how_many_there_were() {
        let start = Instant::now();
        let mut warnings = Warnings::new(start);
        let raise = |warnings: &mut Warnings, number| {
            warnings.raise(start, about(number), 1000, format_args!("it is wrong"))
        };
        assert_eq!(raise(&mut warnings, 0).as_deref(), Some("it is wrong"));
        for _ in 0..99 {
            assert_eq!(raise(&mut warnings, 0), None);
        }
        // Another connection, and another kind about this one, have a second of their own.
        assert!(raise(&mut warnings, 1).is_some());
        let other = ("other", about(0).1);
        assert!(warnings.raise(start, other, 1000, format_args!("it is odd")).is_some());
        assert_eq!(warnings.take_due(start + WARNING_INTERVAL / 2), [""; 0]);
        let due = warnings.take_due(start + WARNING_INTERVAL);
        assert_eq!(due, ["it is wrong (99 times in 1.0 s)"]);
        assert_eq!(raise(&mut warnings, 0), None);
        assert_eq!(warnings.take_due(start + 2 * WARNING_INTERVAL), ["it is wrong"]);
        assert!(warnings.is_pending());
        assert_eq!(warnings.take_due(start + 3 * WARNING_INTERVAL), [""; 0]);
        assert!(!warnings.is_pending());
    }

    /// So many warnings, each about a connection of its own that sent so many bytes, in one second.
    fn logged_bytes(count: usize, cause_bytes: usize) -> (usize, u64) {
        let start = Instant::now();
        let mut warnings = Warnings::new(start);
        let mut bytes = 0;
        for number in 0..count {
            let line =
                warnings.raise(start, about(number), cause_bytes, format_args!("it is wrong"));
            bytes += line.map_or(0, |line| line.len() + LINE_HEAD_BYTES);
        }
        let due = warnings.take_due(start + WARNING_INTERVAL);
        bytes += due.iter().map(|line| line.len() + LINE_HEAD_BYTES).sum::<usize>();
        (bytes, warnings.left_out)
    }

    #[test]
    fn no_number_of_connections_makes_more_log_than_they_send_beside_the_allowance() {
        for (count, cause_bytes) in [(10, 0), (1_000, 3), (5_000, 3), (1_000, 10), (200, 600)] {
            let (bytes, _) = logged_bytes(count, cause_bytes);
            let sent = count * cause_bytes;
            let allowed = WARNING_ALLOWANCE_BYTES.max(sent) + WARNING_ALLOWANCE_BYTES_PER_SECOND;
            assert!(bytes <= allowed, "{count} × {cause_bytes}: {bytes}");
            assert!(bytes > 0);
        }
        assert_eq!(logged_bytes(30, 0).1, 0, "a few are logged whatever they cost");
    }

    #[test]
    fn what_is_left_out_is_counted_and_the_memory_is_bounded() {
        let start = Instant::now();
        let mut warnings = Warnings::new(start);
        let mut logged = 0;
        for number in 0..10_000 {
            let words = format_args!("it is wrong");
            logged += u64::from(warnings.raise(start, about(number), 0, words).is_some());
        }
        assert!(warnings.recent.len() <= WARNING_SUBJECTS_MAX);
        let mut counted = 0;
        for second in 1..10 {
            for line in warnings.take_due(start + second * WARNING_INTERVAL) {
                let number = line.split_once(" more warnings ").map_or("1", |(number, _)| number);
                counted += number.parse::<u64>().unwrap();
            }
        }
        assert_eq!(logged + counted, 10_000);
        assert!(!warnings.is_pending());
    }
}
