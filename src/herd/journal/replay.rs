//! The reading side of a journal: takes in what a file holds, and says what was wrong with it.
//!
//! Fed the file in chunks of any size, in order, before any link is up. A file is never refused: a line
//! that is not whole is passed over, and so is all of a file that is something else. What was read is
//! bounded by the longest line; what is kept is bounded by the herd.

use super::super::record::Record;
use super::super::store::Merged;
use super::super::topology::is_server_name;
use super::super::{Herd, correction};
use super::Writer;
use crate::wire::journal::{
    JOURNAL_LINE_MAX_BYTES, JOURNAL_VERSION, JournalLine, parse_journal_line,
};
use crate::wire::peer::AtLine;

/// What a file held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Records, also those that a later line replaced.
    pub records: u64,
    /// Records that were whole but not let in: forgotten by now, too many, or too far ahead.
    pub dropped: u64,
    /// Neighbours that need to send only what was missed.
    pub marks: usize,
    /// Lines that are not whole, or none of a journal in this version. A copy of such a file is worth
    /// keeping before it is written anew.
    pub damaged_lines: u64,
    /// The first of them, counted from 1; 0 for none.
    pub first_damaged_line: u64,
    /// How much of the file is to be kept: all of its lines, damaged ones too.
    pub keep_bytes: u64,
    /// What comes after that, to be cut off before anything is appended: a line that was begun and
    /// never ended.
    pub torn_bytes: u64,
}

/// A file that is being taken in.
#[derive(Debug)]
pub struct Replay<'h> {
    herd: &'h mut Herd,
    /// The beginning of a line; never longer than [`JOURNAL_LINE_MAX_BYTES`].
    begun: Vec<u8>,
    /// By neighbour: the identity and mark of its last line that can be believed.
    taken: Vec<Option<(u64, u64)>>,
    /// Whether the lines are in this program's version. A file without a first line is taken for one.
    is_readable: bool,
    lines: u64,
    replayed: Replayed,
}

impl<'h> Replay<'h> {
    /// For a server that has not heard anything yet. [`Herd::clock_read`] has been told the time, and
    /// where clients are to be forgotten, [`Herd::forget`] too.
    pub fn new(herd: &'h mut Herd) -> Replay<'h> {
        let taken = vec![None; herd.neighbours.len()];
        let (begun, replayed) = (Vec::new(), Replayed::default());
        Replay { herd, begun, taken, is_readable: true, lines: 0, replayed }
    }

    /// Takes in the next chunk of the file.
    pub fn receive(&mut self, chunk: &[u8]) {
        for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
            self.replayed.torn_bytes += piece.len() as u64;
            let Some(end) = piece.strip_suffix(b"\n") else { return self.begin(piece) };
            if self.begun.is_empty() {
                self.line_received(end);
            } else {
                self.begin(end);
                let line = std::mem::take(&mut self.begun);
                self.line_received(&line);
            }
            self.replayed.keep_bytes += std::mem::take(&mut self.replayed.torn_bytes);
        }
    }

    /// The file has ended. Gives what it held, and the writer that goes on with it, cut to
    /// [`Replayed::keep_bytes`].
    pub fn finish(self) -> (Replayed, Writer) {
        let Replay { herd, taken, mut replayed, .. } = self;
        let last = herd.last_change();
        for (neighbour, taken) in herd.neighbours.iter_mut().zip(taken) {
            if let Some((identity, mark)) = taken {
                neighbour.restore(identity, mark, last);
                replayed.marks += 1;
            }
        }
        let writer = Writer::resume(herd, replayed.keep_bytes, replayed.damaged_lines > 0);
        (replayed, writer)
    }

    /// Keeps a part of a line; of one that is too long, no more than shows that it is.
    fn begin(&mut self, run: &[u8]) {
        let room = JOURNAL_LINE_MAX_BYTES.saturating_sub(self.begun.len());
        self.begun.extend(run.iter().take(room));
    }

    fn line_received(&mut self, line: &[u8]) {
        // An editor or a copy by way of another system may have made CRLF of each LF. No line ends in a
        // CR of its own.
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        self.lines += 1;
        let fits = line.len() < JOURNAL_LINE_MAX_BYTES;
        match Some(line).filter(|_| fits).and_then(parse_journal_line) {
            Some(JournalLine::Header { version }) => {
                self.is_readable = version == JOURNAL_VERSION;
                if !self.is_readable {
                    self.damage_found();
                }
            }
            Some(JournalLine::Record { line, at }) if self.is_readable => {
                self.record_received(line, &at);
            }
            Some(JournalLine::Taken { neighbour, identity, mark }) if self.is_readable => {
                let place = self.herd.neighbour_named(neighbour);
                let place = place.and_then(|id| self.taken.get_mut(id.index()));
                // Below damage a mark may vouch for what is lost.
                if let Some(taken) = place.filter(|_| self.replayed.damaged_lines == 0) {
                    *taken = Some((identity, mark));
                }
            }
            _ => self.damage_found(),
        }
    }

    fn record_received(&mut self, line: &[u8], at: &AtLine<'_>) {
        // The topology may have lost the server since. Neighbours cut a link for a name that is none.
        let is_stranger = self.herd.topology.by_name(at.server).is_none();
        if is_stranger && !is_server_name(at.server) {
            return self.damage_found();
        }
        let settings = &self.herd.settings;
        let record = Record::new(line, at).filter(|record| !settings.is_too_far_ahead(record));
        if let Some(record) = &record {
            if is_stranger {
                self.herd.strangers.note(at.server);
            }
            if self.herd.is_unsettled() {
                correction::set_aside(&mut self.herd.aside, &self.herd.store, record, settings);
            }
        }
        match record.map_or(Merged::TooOld, |record| self.herd.store.merge(record, None)) {
            Merged::New | Merged::Changed | Merged::Kept => self.replayed.records += 1,
            Merged::Full | Merged::TooOld => self.replayed.dropped += 1,
        }
    }

    fn damage_found(&mut self) {
        self.replayed.damaged_lines += 1;
        if self.replayed.first_damaged_line == 0 {
            self.replayed.first_damaged_line = self.lines;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::herd::Settings;
    use crate::herd::topology::Topology;
    use crate::wire::journal::{write_header, write_record};

    #[test]
    fn a_line_without_an_end_takes_no_more_memory_than_the_longest_line() {
        let (topology, _) = Topology::parse("one", "A h:1").unwrap();
        let me = topology.by_name(b"A").unwrap();
        let mut herd = Herd::new(topology, me, 1, Settings::default());
        let mut replay = Replay::new(&mut herd);
        let megabyte = vec![b'x'; 1 << 20];
        for _ in 0..10 {
            replay.receive(&megabyte);
            assert!(replay.begun.capacity() <= 2 * JOURNAL_LINE_MAX_BYTES);
        }
        let mut whole = b"\n".to_vec();
        write_header(&mut whole);
        write_record(&mut whole, b"AT A +0.000000000 k +1-1 7");
        replay.receive(&whole);
        replay.receive(&megabyte);
        let (replayed, _) = replay.finish();
        assert_eq!((replayed.damaged_lines, replayed.records), (1, 1));
        let keep_bytes = (10 << 20) + whole.len() as u64;
        assert_eq!((replayed.keep_bytes, replayed.torn_bytes), (keep_bytes, 1 << 20));
    }
}
