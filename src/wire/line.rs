//! Lines out of bytes, as Twisted's `LineReceiver` has them.
//!
//! Owns what is left of a connection's input between two reads: the beginning of a line, or of a
//! Telnet command. It knows no socket and no clock, and never says anything: a connection's handler
//! feeds it what was read and asks for what it holds, one [`Input`] at a time.
//!
//! Where a line lies whole in what was read, which is nearly always, it is handed out in place;
//! only an unfinished rest is copied. What is kept has been searched and never is again.

use memchr::{memchr, memchr2};

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
///
/// There are as many of these as connections, and nearly all of them are between two lines at any
/// time: two words, and no memory elsewhere.
#[derive(Debug)]
pub struct LineReceiver {
    /// `None` between two lines.
    begun: Option<Box<Begun>>,
    line_max_bytes: u32,
    /// Whether Telnet commands are taken out, or an IAC is a byte like any other.
    telnet: bool,
}

/// A line, or a Telnet command, that is not whole yet.
#[derive(Debug, Default)]
struct Begun {
    /// The beginning of a line, without Telnet commands; never longer than `line_max_bytes`.
    kept: Vec<u8>,
    /// Bytes of sub-negotiations since the last line. They count towards the length of the line
    /// that they stand in, or a client could send them for ever.
    skipped_bytes: usize,
    telnet: Telnet,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
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
        Self { telnet: true, ..Self::raw(LINE_MAX_BYTES) }
    }

    /// A receiver for programs: each byte but the LF is one of the line. Neighbours need this,
    /// because a client's ID may hold any byte and travels as it is.
    pub fn raw(line_max_bytes: usize) -> Self {
        let line_max_bytes = u32::try_from(line_max_bytes).unwrap_or(u32::MAX);
        Self { begun: None, line_max_bytes, telnet: false }
    }

    /// The same receiver with another limit for its lines.
    #[must_use]
    pub fn with_line_max_bytes(self, line_max_bytes: usize) -> Self {
        let Self { begun, telnet, .. } = self;
        Self { begun, telnet, ..Self::raw(line_max_bytes) }
    }

    /// Takes the next input from the front of `data`; `None` when `data` is used up.
    ///
    /// Called with one read's bytes until it gives `None`. A caller may stop in between, and may go
    /// on with another receiver after a line: nothing behind that line has been taken yet. Telnet
    /// answers come one at a time for the same reason: a flood of requests costs no memory here,
    /// and whoever sends the answers stops asking while its output is full.
    #[inline]
    pub fn next<'a, 'd: 'a>(&'a mut self, data: &mut &'d [u8]) -> Option<Input<'a>> {
        if self.begun.is_none()
            && let Some(line) = self.take_whole_line(data)
        {
            return Some(Input::Line(line));
        }
        self.next_in_pieces(data)
    }

    /// Whether nothing is kept of a line or a Telnet command: what comes next begins a line.
    pub fn is_between_lines(&self) -> bool {
        self.begun.is_none()
    }

    /// The input has ended (EOF): a last line without LF counts as a line. It is given untouched,
    /// since a CR at its end stands before no LF.
    pub fn finish(&mut self) -> Option<Input<'_>> {
        self.forget_ended();
        let begun = self.begun.get_or_insert_default();
        if std::mem::replace(&mut begun.phase, Phase::Done) == Phase::Done {
            return None;
        }
        // An IAC before nothing at all is no command either. Other unfinished commands are dropped.
        if begun.telnet == Telnet::Command && self.keep(&[IAC]) == Found::TooLong {
            return Some(Input::TooLong(self.cut_off()));
        }
        Some(Input::Line(self.kept())).filter(|_| !self.kept().is_empty())
    }

    /// Gives up on a line that was begun too long ago: its first [`OVERLONG_ECHO_BYTES`]. The
    /// receiver is done, as after [`Input::TooLong`].
    pub fn cut_off(&mut self) -> &[u8] {
        self.forget_ended();
        let begun = self.begun.get_or_insert_default();
        begun.phase = Phase::Done;
        begun.kept.truncate(OVERLONG_ECHO_BYTES);
        begun.kept.shrink_to_fit();
        &begun.kept
    }

    /// Whether a line, or a Telnet command, has been begun and not ended: it must end in time,
    /// while a connection between two lines may be idle for as long as it likes.
    pub fn is_mid_line(&self) -> bool {
        let begun = self.begun.as_ref().filter(|begun| begun.phase == Phase::Open);
        begun.is_some_and(|begun| begun.telnet != Telnet::Text || !begun.kept.is_empty())
    }

    /// The next line where it lies, if nothing has been begun and no Telnet command stands in it.
    #[inline]
    fn take_whole_line<'d>(&self, data: &mut &'d [u8]) -> Option<&'d [u8]> {
        let (line, rest) = data.split_at_checked(self.find_end(data)?)?;
        let [LF, rest @ ..] = rest else { return None };
        if line.len() > self.line_max_bytes() {
            return None;
        }
        *data = rest;
        Some(without_cr(line))
    }

    #[inline(never)]
    fn next_in_pieces<'a, 'd: 'a>(&'a mut self, data: &mut &'d [u8]) -> Option<Input<'a>> {
        self.forget_ended();
        while !data.is_empty() {
            let begun = self.begun.get_or_insert_default();
            if begun.phase == Phase::Done {
                *data = &[];
                break;
            }
            let in_command = begun.telnet != Telnet::Text;
            match if in_command { self.take_command(data) } else { self.take_text(data) } {
                Found::Nothing => {}
                Found::Line(line) => {
                    self.begun = None;
                    return Some(Input::Line(line));
                }
                Found::KeptLine => return Some(Input::Line(without_cr(self.kept()))),
                Found::TooLong => {
                    *data = &[];
                    return Some(Input::TooLong(self.cut_off()));
                }
                Found::Answer(answer) => return Some(Input::Telnet(answer)),
            }
        }
        self.forget_ended();
        None
    }

    /// Gives the memory back of a line that is handed out, and of a command that has ended before any
    /// line. It is not reused, because most connections are idle, and a line that a read has cut is rare.
    fn forget_ended(&mut self) {
        let is_over = |begun: &Begun| match begun.phase {
            Phase::HandedOut => true,
            Phase::Done => false,
            Phase::Open => {
                begun.telnet == Telnet::Text && begun.kept.is_empty() && begun.skipped_bytes == 0
            }
        };
        if self.begun.as_ref().is_some_and(|begun| is_over(begun)) {
            self.begun = None;
        }
    }

    /// Takes text up to the end of the line, the next IAC or the end of `data`.
    fn take_text<'d>(&mut self, data: &mut &'d [u8]) -> Found<'d> {
        let (run, rest) = data.split_at(self.find_end(data).unwrap_or(data.len()));
        let Some((end, rest)) = rest.split_first() else {
            *data = rest;
            return self.keep(run);
        };
        *data = rest;
        let in_place = self.kept().is_empty() && self.has_room(run.len());
        if *end == LF && in_place {
            return Found::Line(without_cr(run));
        }
        let found = self.keep(run);
        let begun = self.begun.get_or_insert_default();
        if *end != LF {
            begun.telnet = Telnet::Command;
        } else if found != Found::TooLong {
            begun.phase = Phase::HandedOut;
            return Found::KeptLine;
        }
        found
    }

    /// Takes a byte inside a Telnet command, unless it turns out that there is none.
    fn take_command(&mut self, data: &mut &[u8]) -> Found<'static> {
        let Some((byte, rest)) = data.split_first() else { return Found::Nothing };
        let begun = self.begun.get_or_insert_default();
        let step = begun.telnet.step(*byte);
        if step != Step::NotACommand {
            *data = rest;
        }
        match step {
            Step::Taken => Found::Nothing,
            Step::Answer(answer) => Found::Answer(answer),
            Step::Escaped | Step::NotACommand => self.keep(&[IAC]),
            Step::Skipped => {
                begun.skipped_bytes += 1;
                self.keep(&[])
            }
        }
    }

    /// Keeps a part of a line. When the line gets too long by it, only what still fits and will be
    /// echoed is kept.
    fn keep(&mut self, run: &[u8]) -> Found<'static> {
        let (has_room, line_max_bytes) = (self.has_room(run.len()), self.line_max_bytes());
        let begun = self.begun.get_or_insert_default();
        if has_room {
            begun.kept.extend_from_slice(run);
            return Found::Nothing;
        }
        let room = line_max_bytes.saturating_sub(begun.kept.len() + begun.skipped_bytes);
        let missing = OVERLONG_ECHO_BYTES.saturating_sub(begun.kept.len());
        begun.kept.extend(run.iter().take(missing.min(room)));
        Found::TooLong
    }

    /// Where the line ends, or a Telnet command begins. Both in one search: a search for the LF alone
    /// would be repeated after each IAC.
    #[inline]
    fn find_end(&self, data: &[u8]) -> Option<usize> {
        if self.telnet { memchr2(LF, IAC, data) } else { memchr(LF, data) }
    }

    fn kept(&self) -> &[u8] {
        self.begun.as_ref().map_or(&[], |begun| &begun.kept)
    }

    /// Whether the line may be longer by this many bytes.
    fn has_room(&self, bytes: usize) -> bool {
        let begun = self.begun.as_ref().map_or(0, |begun| begun.kept.len() + begun.skipped_bytes);
        begun + bytes <= self.line_max_bytes()
    }

    /// How long a line may be, without its LF.
    pub fn line_max_bytes(&self) -> usize {
        self.line_max_bytes as usize
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

#[inline]
fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests;
