//! Records that may have to come back once it is known what time it is.
//!
//! While a clock is doubted, a report may be stamped with a time of a year that never was, and take the
//! place of a right one. When the clock is right again the false one is dropped; the one that it beat is
//! here. The same goes for a right record that loses to a false one. Used by the [`Herd`](super::Herd)
//! alone, and empty whenever the clock is trusted.

use std::collections::HashMap;

use super::record::Record;
use crate::wire::peer::parse_at;
use crate::wire::time::Nanos;

/// The most that is set aside, in bytes of AT lines; what comes then is not.
pub const ASIDE_MAX_BYTES: usize = 16 << 20;

/// Lines by client.
#[derive(Clone, Debug, Default)]
pub(super) struct Aside {
    lines: HashMap<Box<[u8]>, Vec<Box<[u8]>>>,
    bytes: usize,
}

impl Aside {
    /// Sets the loser of two records of one client aside, if by their server times the winner comes from
    /// more than `gap` later: then one of the two clocks may have been wrong.
    pub fn note(&mut self, record: &Record<'_>, held: &Record<'_>, gap: Nanos) {
        let (winner, loser) =
            if record.wins_over(held) { (record, held) } else { (held, record) };
        if winner.server_time - loser.server_time > gap {
            self.set(loser, gap);
        }
    }

    /// A record stands for all that it wins over and that are not from an earlier time than itself.
    fn set(&mut self, record: &Record<'_>, gap: Nanos) {
        if self.bytes + record.line.len() > ASIDE_MAX_BYTES {
            return;
        }
        let lines = self.lines.entry(record.client().into()).or_default();
        let stands_for = |one: &Record<'_>, other: &Record<'_>| {
            one.wins_over(other) && one.server_time <= other.server_time + gap
        };
        let is_covered = |line: &[u8]| {
            line == record.line || read(line).is_some_and(|kept| stands_for(&kept, record))
        };
        if lines.iter().any(|line| is_covered(line)) {
            return;
        }
        lines.retain(|line| {
            let gives_way = read(line).is_none_or(|kept| stands_for(record, &kept));
            self.bytes -= if gives_way { line.len() } else { 0 };
            !gives_way
        });
        self.bytes += record.line.len();
        lines.push(record.line.into());
    }

    /// All lines, in no order.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.lines.values().flatten().map(|line| &**line)
    }

    /// How many bytes all lines have.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// The record that a line is.
pub(super) fn read(line: &[u8]) -> Option<Record<'_>> {
    Record::new(line, &parse_at(line)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Nanos = 86_400_000_000_000;

    fn record(line: &str) -> Record<'_> {
        read(line.as_bytes()).unwrap()
    }

    /// An AT line with this client time and server time, in seconds.
    fn line(client: i64, server: i64) -> String {
        format!("AT A {:+}.000000000 k +1-1 {client}", server - client)
    }

    #[test]
    fn the_loser_is_set_aside_when_the_winner_comes_from_more_than_the_gap_later() {
        let (right, later) = (line(100, 100), line(200, 100 + 86_400));
        let false_one = line(200, 101 + 86_400);
        for (record_line, held, kept) in [
            (&later, &right, None),
            (&false_one, &right, Some(&right)),
            (&right, &false_one, Some(&right)),
            (&right, &later, None),
        ] {
            let mut aside = Aside::default();
            aside.note(&record(record_line), &record(held), DAY);
            let lines: Vec<_> = aside.lines().collect();
            assert_eq!(lines, kept.map(|line| line.as_bytes()).into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn of_records_from_one_time_the_greatest_stays_and_of_two_times_both() {
        let mut aside = Aside::default();
        let far = line(900, 100 * 86_400);
        for client in [100, 102, 101] {
            aside.note(&record(&line(client, client)), &record(&far), DAY);
        }
        assert_eq!(aside.lines().collect::<Vec<_>>(), [line(102, 102).as_bytes()]);
        let middle = line(300, 50 * 86_400);
        aside.note(&record(&middle), &record(&far), DAY);
        assert_eq!(aside.lines().count(), 2);
        assert_eq!(aside.bytes(), middle.len() + line(102, 102).len());
    }

    #[test]
    fn what_is_set_aside_is_bounded() {
        let mut aside = Aside::default();
        let id = "k".repeat(16_000);
        for number in 0..2 * ASIDE_MAX_BYTES / id.len() {
            let right = format!("AT A +0.000000000 {id}{number} +1-1 100");
            let far = format!("AT A +9999999.000000000 {id}{number} +1-1 101");
            aside.note(&record(&right), &record(&far), DAY);
        }
        assert!(aside.bytes() <= ASIDE_MAX_BYTES && aside.bytes() > ASIDE_MAX_BYTES / 2);
    }
}
