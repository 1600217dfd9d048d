//! A record as the store keeps it: two cache lines, with its AT line inside.
//!
//! At a million clients the store does not fit any cache, and what an update costs is how many
//! different places of memory it touches. So nearly every record is one place: the line stands beside its
//! numbers, and only a long one is somewhere else. Used by the [`store`](super) alone.

use std::hint::black_box;

use super::super::links::NeighbourId;
use super::super::record::{Layout, Record};
use crate::wire::time::Nanos;

/// The longest line that is kept in place: what two cache lines have room for beside the numbers. An
/// ID of 35 bytes fits, with a place and a time of the usual lengths and a server's name of six.
const INLINE_BYTES: usize = 94;

/// What the store holds in a client's slot.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Kept {
    line: Line,
    client_time: Low,
    server_time: Low,
    client_time_high: i16,
    server_time_high: i16,
    layout: Layout,
    pub learned_from: Option<NeighbourId>,
}

#[derive(Debug)]
enum Line {
    Inline { length: u8, bytes: [u8; INLINE_BYTES] },
    Long(Box<[u8]>),
}

/// The lower 64 bits of a time. A client's needs 71, for twelve digits of seconds and nine of nanoseconds;
/// the server's needs 75, since a neighbour's line adds a difference of thirteen digits to it.
type Low = u64;

impl Kept {
    pub fn new(record: &Record<'_>, learned_from: Option<NeighbourId>) -> Kept {
        let (client_time, client_time_high) = split(record.client_time);
        let (server_time, server_time_high) = split(record.server_time);
        let (line, layout) = (Line::new(record.line), record.layout);
        Kept {
            line,
            client_time,
            server_time,
            client_time_high,
            server_time_high,
            layout,
            learned_from,
        }
    }

    pub fn line(&self) -> &[u8] {
        self.line.bytes()
    }

    pub fn line_length(&self) -> usize {
        match &self.line {
            Line::Inline { length, .. } => usize::from(*length),
            Line::Long(bytes) => bytes.len(),
        }
    }

    pub fn client(&self) -> &[u8] {
        self.layout.client(self.line.bytes())
    }

    /// Whether this is the record of that client: cheaper than to compare [`client`](Self::client), for which
    /// the line is made out first.
    pub fn is_of(&self, client: &[u8]) -> bool {
        match &self.line {
            Line::Inline { bytes, .. } => self.layout.client(bytes) == client,
            Line::Long(bytes) => self.layout.client(bytes) == client,
        }
    }

    pub fn client_time(&self) -> Nanos {
        join(self.client_time, self.client_time_high)
    }

    pub fn server_time(&self) -> Nanos {
        join(self.server_time, self.server_time_high)
    }

    /// Asks memory for both cache lines.
    pub fn touch(&self) {
        black_box((self.line.bytes().first(), self.client_time));
    }

    pub fn record(&self) -> Record<'_> {
        Record {
            line: self.line.bytes(),
            layout: self.layout,
            client_time: self.client_time(),
            server_time: self.server_time(),
        }
    }

    /// The record gives way to another one of its client.
    #[inline]
    pub fn replace(&mut self, record: &Record<'_>, learned_from: Option<NeighbourId>) {
        self.line.replace(record.line);
        (self.client_time, self.client_time_high) = split(record.client_time);
        (self.server_time, self.server_time_high) = split(record.server_time);
        self.layout = record.layout;
        self.learned_from = learned_from;
    }
}

impl Line {
    fn new(line: &[u8]) -> Line {
        let mut bytes = [0; INLINE_BYTES];
        match (u8::try_from(line.len()), bytes.get_mut(..line.len())) {
            (Ok(length), Some(place)) => {
                place.copy_from_slice(line);
                Line::Inline { length, bytes }
            }
            _ => Line::Long(line.into()),
        }
    }

    /// In place wherever it fits: a client's lines are nearly always of one length.
    #[inline]
    fn replace(&mut self, line: &[u8]) {
        if let Line::Inline { length, bytes } = self
            && let (Ok(now), Some(place)) = (u8::try_from(line.len()), bytes.get_mut(..line.len()))
        {
            place.copy_from_slice(line);
            *length = now;
        } else {
            self.replace_long(line);
        }
    }

    #[cold]
    fn replace_long(&mut self, line: &[u8]) {
        match self {
            Line::Long(held) if held.len() == line.len() => held.copy_from_slice(line),
            _ => *self = Line::new(line),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Line::Inline { length, bytes } => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Line::Long(bytes) => bytes,
        }
    }
}

/// A time in two parts. Times come from lines, whose digits are bounded far below what fits.
fn split(time: Nanos) -> (Low, i16) {
    let bytes = time.to_le_bytes();
    let (low, rest) = bytes.split_at(size_of::<Low>());
    let low = Low::from_le_bytes(low.first_chunk().copied().unwrap_or_default());
    (low, i16::from_le_bytes(rest.first_chunk().copied().unwrap_or_default()))
}

fn join(low: Low, high: i16) -> Nanos {
    (Nanos::from(high) << Low::BITS) | Nanos::from(low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::peer::parse_at;

    #[test]
    fn a_record_takes_two_cache_lines() {
        assert_eq!(size_of::<Kept>(), 128);
        assert_eq!(align_of::<Kept>(), 64);
    }

    #[test]
    fn what_is_kept_is_what_was_given_whatever_its_length_and_times() {
        let line = |client: usize, time: &str| {
            format!("AT A -999999999999.999999999 {} +1+1 {time}", "k".repeat(client))
        };
        let short = "AT A +0.000000001 k +1+1 0".to_owned();
        let longest = INLINE_BYTES - line(0, "7").len();
        // The greatest sum that a line can spell: its high part has more than eight bits.
        let latest = "AT A +9999999999999.999999999 k +1+1 999999999999.999999999".to_owned();
        let mut lines = vec![short, latest];
        for time in ["999999999999.999999999", "-999999999999.999999999", "-0.000000001", "7"] {
            lines.extend([1, longest, longest + 1, longest + 2, 9_000].map(|it| line(it, time)));
        }
        let record = |line: &'static str| {
            Record::new(line.as_bytes(), &parse_at(line.as_bytes()).unwrap()).unwrap()
        };
        let records: Vec<_> = lines.into_iter().map(|line| record(line.leak())).collect();
        for first in &records {
            for second in &records {
                let mut kept = Kept::new(first, None);
                assert_eq!((kept.record(), kept.learned_from), (*first, None));
                kept.replace(second, Some(NeighbourId(7)));
                assert_eq!((kept.record(), kept.learned_from), (*second, Some(NeighbourId(7))));
                assert_eq!(kept.client(), second.client());
                assert!(kept.is_of(second.client()) && !kept.is_of(b"K"));
            }
        }
    }
}
