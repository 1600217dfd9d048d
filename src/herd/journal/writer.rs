//! The writing side of a journal: what has changed since, and how far the neighbours have told.

use super::super::Herd;
use super::super::links::PUMP_ENTRIES_MAX;
use crate::wire::journal::{SEAL_BYTES, write_header, write_record, write_taken};

/// How much longer than twice what it must hold a file may get before it is to be written anew.
///
/// Without it the journal of a herd that knows three clients would be written anew all the time; and of
/// one that knows a thousand, busy as can be, dozens of times a second with a megabyte, which is half of
/// what a journal costs. More than this saves nothing more, and is to be read at the next start. Marks
/// count as nothing that must be held, and disappear in it.
pub const REWRITE_SLACK_BYTES: u64 = 8 << 20;

/// A cursor in the change log whose reader is a file.
///
/// It is a plain value that costs a few bytes for each neighbour. Whoever writes the file keeps a copy
/// for as long as a write may still fail, and [goes back](Self::go_back) to it then, after cutting the
/// file back to [`file_bytes`](Self::file_bytes): all that the file lacks comes again, newest record of
/// each client once.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    /// All changes up to this number are in the file or need not be.
    cursor: u64,
    /// By neighbour: the identity and mark that the file holds.
    taken: Vec<Option<(u64, u64)>>,
    file_bytes: u64,
    /// Marks that are added to the file will not be believed.
    is_damaged: bool,
    /// The last pump came to the end of the change log, and its bytes were written.
    is_current: bool,
    /// The herd's count of corrections when the file was begun: it has nothing that these dropped.
    corrections: u64,
    /// All lines that the herd has set aside up to this number are in the file or need not be.
    set_aside: u64,
}

impl Writer {
    /// For an empty file.
    pub fn new() -> Writer {
        Writer::default()
    }

    /// For a file that has just been replayed, of which the first `file_bytes` are kept.
    pub(super) fn resume(herd: &Herd, file_bytes: u64, is_damaged: bool) -> Writer {
        let (cursor, corrections) = (herd.last_change(), herd.corrections);
        let (taken, set_aside) = (taken(herd).collect(), herd.aside.last());
        let is_current = true;
        Writer { cursor, taken, file_bytes, is_damaged, is_current, corrections, set_aside }
    }

    /// Appends what the file lacks, records and then marks. A file that lacks only what this turn
    /// brought gets all of it, so that replies can leave. One that lacked something before the turn
    /// gets records until `limit_bytes` are reached or [`PUMP_ENTRIES_MAX`] clients were looked at.
    /// Gives whether there is more, which nothing else will tell.
    ///
    /// To be called at the end of each turn, before the links are pumped, and always with the herd that
    /// it began with.
    pub fn pump(&mut self, herd: &Herd, out: &mut Vec<u8>, limit_bytes: usize) -> bool {
        let start = out.len();
        if self.file_bytes == 0 {
            write_header(out);
            self.corrections = herd.corrections;
        }
        herd.aside.lines_after(self.set_aside).for_each(|line| write_record(out, line));
        self.set_aside = herd.aside.last();
        // What one turn brings is bounded where it is read.
        let (limit_bytes, entries_max) = if self.is_current {
            (usize::MAX, usize::MAX)
        } else {
            (limit_bytes, PUMP_ENTRIES_MAX)
        };
        let more = self.write_records(herd, out, start.saturating_add(limit_bytes), entries_max);
        if !more {
            self.write_marks(herd, out);
        }
        self.is_current = !more;
        self.file_bytes += (out.len() - start) as u64;
        more
    }

    /// What was pumped was not written: goes back to what the file held `before`.
    pub fn go_back(&mut self, before: Writer) {
        *self = before;
        self.skip_turn();
    }

    /// Nothing is written in this turn, so that the file lacks something when the next begins.
    pub fn skip_turn(&mut self) {
        self.is_current = false;
    }

    fn write_records(
        &mut self,
        herd: &Herd,
        out: &mut Vec<u8>,
        full: usize,
        mut entries_left: usize,
    ) -> bool {
        for (number, change) in herd.store.changes_after(self.cursor) {
            if out.len() >= full || entries_left == 0 {
                return true;
            }
            entries_left -= 1;
            self.cursor = number;
            if let Some(change) = change {
                write_record(out, change.record.line);
            }
        }
        // The newest changes may be of clients that are forgotten, and no longer in the log.
        self.cursor = herd.last_change();
        false
    }

    /// Only at the end of the change log: a mark vouches for all that the server holds. And not while a
    /// wrong clock may have kept out what a neighbour told.
    fn write_marks(&mut self, herd: &Herd, out: &mut Vec<u8>) {
        if herd.is_unsettled() {
            return;
        }
        self.taken.resize(herd.neighbours.len(), None);
        let news = self.taken.iter_mut().zip(taken(herd)).zip(herd.neighbours());
        for ((written, taken), id) in news.filter(|((written, taken), _)| **written != *taken) {
            *written = taken;
            if let (Some((identity, mark)), Some(server)) = (taken, herd.neighbour_server(id)) {
                write_taken(out, server.name.as_bytes(), identity, mark);
            }
        }
    }

    /// Whether the file held everything that the server knew when it was last written.
    pub fn is_current(&self) -> bool {
        self.is_current
    }

    /// The last change that the file holds, once what was pumped is written: what a sync of it makes
    /// safe, see [`Gate`](super::Gate).
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// How long the file is, once what was pumped is written.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Whether the file should be written anew: it is much more than twice as long as it must be, was
    /// found damaged, or has records that were dropped because a clock was wrong.
    pub fn wants_rewrite(&self, herd: &Herd) -> bool {
        self.is_damaged
            || self.corrections != herd.corrections
            || self.excess_bytes(herd) > REWRITE_SLACK_BYTES
    }

    /// By how much the file is longer than twice what it must hold. Where there is no room for
    /// [`REWRITE_SLACK_BYTES`], any excess is worth a rewrite.
    pub fn excess_bytes(&self, herd: &Herd) -> u64 {
        let needed = herd.store.line_bytes() + herd.aside.bytes() + herd.clients() * SEAL_BYTES;
        self.file_bytes.saturating_sub(2 * needed as u64)
    }
}

/// By neighbour: the identity and mark that it would be told in a RESUME.
fn taken(herd: &Herd) -> impl Iterator<Item = Option<(u64, u64)>> {
    herd.neighbours.iter().map(super::super::links::Neighbour::taken)
}
