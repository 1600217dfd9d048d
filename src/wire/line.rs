//! Lines out of bytes, as Twisted's `LineReceiver` has them.
//!
//! Owns what is left of a connection's input between two reads: the beginning of a line, or of a
//! Telnet command. It knows no socket and no clock, and never says anything: a connection's handler
//! feeds it what was read and asks for what it holds, one [`Input`] at a time.
//!
//! Where a line lies whole in what was read, which is nearly always, it is handed out in place;
//! only an unfinished rest is copied. What is kept has been searched and never is again.

use super::scan::find_either;
use super::telnet::{IAC, Step, Telnet};

/// The longest line of a client, without its LF: Twisted's own limit.
pub const LINE_MAX_BYTES: usize = 16_384;

/// How much of a line that was too long or too slow goes into the answer to it.
pub const OVERLONG_ECHO_BYTES: usize = 64;

/// What the input holds next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input<'a> {
    /// A line without its LF and without a CR just before it.
    Line(&'a [u8]),
    /// The first [`OVERLONG_ECHO_BYTES`] of a line that is too long. The receiver is done: it gives
    /// nothing any more, and the connection is to be closed.
    TooLong(&'a [u8]),
    /// The answer to a Telnet request, to be sent as it is.
    Telnet([u8; 3]),
}

/// A connection's input, between bytes and lines.
#[derive(Debug)]
pub struct LineReceiver {
    /// The beginning of a line, without Telnet commands; never longer than `line_max_bytes`.
    kept: Vec<u8>,
    /// Bytes of sub-negotiations since the last line. They count towards the length of the line
    /// that they stand in, or a client could send them for ever.
    skipped_bytes: usize,
    line_max_bytes: usize,
    /// `None` where an IAC is a byte like any other.
    telnet: Option<Telnet>,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// `kept` holds a line that has been handed out, to be forgotten on the next call.
    HandedOut,
    /// The input has ended, or a line was cut off.
    Done,
}

impl LineReceiver {
    /// A receiver for clients: Telnet commands are taken out, and a line has at most
    /// [`LINE_MAX_BYTES`].
    pub fn new() -> Self {
        Self { telnet: Some(Telnet::Text), ..Self::raw(LINE_MAX_BYTES) }
    }

    /// A receiver for programs: each byte but the LF is one of the line. Neighbours need this,
    /// because a client's ID may hold any byte and travels as it is.
    pub fn raw(line_max_bytes: usize) -> Self {
        Self {
            kept: Vec::new(),
            skipped_bytes: 0,
            line_max_bytes,
            telnet: None,
            phase: Phase::Open,
        }
    }

    /// The same receiver with another limit for its lines.
    #[must_use]
    pub fn with_line_max_bytes(self, line_max_bytes: usize) -> Self {
        Self { line_max_bytes, ..self }
    }

    /// Takes the next input from the front of `data`; `None` when `data` is used up.
    ///
    /// Called with one read's bytes until it gives `None`. A caller may stop in between, and may go
    /// on with another receiver after a line: nothing behind that line has been taken yet. Telnet
    /// answers come one at a time for the same reason: a flood of requests costs no memory here,
    /// and whoever sends the answers stops asking while its output is full.
    pub fn next<'a, 'd: 'a>(&'a mut self, data: &mut &'d [u8]) -> Option<Input<'a>> {
        self.forget_handed_out();
        if self.phase == Phase::Done {
            *data = &[];
        }
        while !data.is_empty() {
            let found =
                if self.in_command() { self.take_command(data) } else { self.take_text(data) };
            match found {
                Found::Nothing => {}
                Found::Line(line) => return Some(Input::Line(line)),
                Found::KeptLine => {
                    self.phase = Phase::HandedOut;
                    return Some(Input::Line(without_cr(&self.kept)));
                }
                Found::TooLong => {
                    *data = &[];
                    return Some(Input::TooLong(self.cut_off()));
                }
                Found::Answer(answer) => return Some(Input::Telnet(answer)),
            }
        }
        None
    }

    /// The input has ended (EOF): a last line without LF counts as a line. It is given untouched,
    /// since a CR at its end stands before no LF.
    pub fn finish(&mut self) -> Option<Input<'_>> {
        self.forget_handed_out();
        if self.phase == Phase::Done {
            return None;
        }
        self.phase = Phase::Done;
        // An IAC before nothing at all is no command either. Other unfinished commands are dropped.
        if self.telnet == Some(Telnet::Command) && self.keep(&[IAC]) == Found::TooLong {
            return Some(Input::TooLong(self.cut_off()));
        }
        (!self.kept.is_empty()).then_some(Input::Line(&self.kept))
    }

    /// Gives up on a line that was begun too long ago: its first [`OVERLONG_ECHO_BYTES`]. The
    /// receiver is done, as after [`Input::TooLong`].
    pub fn cut_off(&mut self) -> &[u8] {
        self.forget_handed_out();
        self.phase = Phase::Done;
        self.kept.truncate(OVERLONG_ECHO_BYTES);
        self.kept.shrink_to_fit();
        &self.kept
    }

    /// Whether a line, or a Telnet command, has been begun and not ended: it must end in time,
    /// while a connection between two lines may be idle for as long as it likes.
    pub fn is_mid_line(&self) -> bool {
        self.phase == Phase::Open && (self.in_command() || !self.kept.is_empty())
    }

    fn in_command(&self) -> bool {
        self.telnet.is_some_and(|telnet| telnet != Telnet::Text)
    }

    /// Gives the memory of a handed-out line back. It is not reused, because most connections are
    /// idle, and a line that a read has cut is rare.
    fn forget_handed_out(&mut self) {
        if self.phase == Phase::HandedOut {
            self.kept = Vec::new();
            self.phase = Phase::Open;
        }
    }

    /// Takes text up to the end of the line, the next IAC or the end of `data`.
    fn take_text<'d>(&mut self, data: &mut &'d [u8]) -> Found<'d> {
        // Both in one search: a search for the LF alone would be repeated after each IAC.
        let other = if self.telnet.is_some() { IAC } else { LF };
        let (run, rest) = data.split_at(find_either(data, LF, other).unwrap_or(data.len()));
        let Some((end, rest)) = rest.split_first() else {
            *data = rest;
            return self.keep(run);
        };
        *data = rest;
        if *end != LF {
            self.telnet = Some(Telnet::Command);
            return self.keep(run);
        }
        let found = if self.kept.is_empty() && self.has_room(run.len()) {
            Found::Line(without_cr(run))
        } else if self.keep(run) == Found::TooLong {
            Found::TooLong
        } else {
            Found::KeptLine
        };
        self.skipped_bytes = 0;
        found
    }

    /// Takes a byte inside a Telnet command, unless it turns out that there is none.
    fn take_command(&mut self, data: &mut &[u8]) -> Found<'static> {
        let (Some(telnet), Some((byte, rest))) = (&mut self.telnet, data.split_first()) else {
            return Found::Nothing;
        };
        let step = telnet.step(*byte);
        if step != Step::NotACommand {
            *data = rest;
        }
        match step {
            Step::Taken => Found::Nothing,
            Step::Answer(answer) => Found::Answer(answer),
            Step::Escaped | Step::NotACommand => self.keep(&[IAC]),
            Step::Skipped => {
                self.skipped_bytes += 1;
                self.keep(&[])
            }
        }
    }

    /// Keeps a part of a line. When the line gets too long by it, only what still fits and will be
    /// echoed is kept.
    fn keep(&mut self, run: &[u8]) -> Found<'static> {
        if self.has_room(run.len()) {
            self.kept.extend_from_slice(run);
            return Found::Nothing;
        }
        let room = self.line_max_bytes.saturating_sub(self.kept.len() + self.skipped_bytes);
        let missing = OVERLONG_ECHO_BYTES.saturating_sub(self.kept.len());
        self.kept.extend(run.iter().take(missing.min(room)));
        Found::TooLong
    }

    /// Whether the line may be longer by this many bytes.
    fn has_room(&self, bytes: usize) -> bool {
        self.kept.len() + self.skipped_bytes + bytes <= self.line_max_bytes
    }
}

impl Default for LineReceiver {
    fn default() -> Self {
        Self::new()
    }
}

/// What one step through the input has found. Unlike [`Input`] it does not borrow the receiver, so
/// that the steps can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found<'d> {
    Nothing,
    /// A line, in place.
    Line(&'d [u8]),
    /// A line, in `kept`.
    KeptLine,
    /// Its beginning is in `kept`.
    TooLong,
    Answer([u8; 3]),
}

const LF: u8 = b'\n';

fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests;
