//! Records that may have to come back once it is known what time it is.
//!
//! While a clock is doubted, a report may be stamped with a time of a year that never was, and take the
//! place of a right one. When the clock is right again the false one is dropped; the one that it beat is
//! here. The same goes for a right record that loses to a false one. Used by the [`Herd`](super::Herd)
//! alone, and empty whenever the clock is trusted.

use std::collections::HashMap;

use super::record::Record;
use super::settings::Settings;
use crate::wire::peer::parse_at;

/// The most that is set aside, in bytes of AT lines; what comes then is not.
pub const ASIDE_MAX_BYTES: usize = 16 << 20;

/// A line with its number.
type Numbered = (u64, Box<[u8]>);

/// Lines by client, numbered in the order in which they were set aside.
#[derive(Clone, Debug, Default)]
pub(super) struct Aside {
    lines: HashMap<Box<[u8]>, Vec<Numbered>>,
    bytes: usize,
    /// The number of the last line; 0 before the first.
    last: u64,
}

impl Aside {
    /// Sets the loser of two records of one client aside, if a wrong clock may have decided: by their
    /// server times the winner comes from much later, or, where clients are forgotten, it may be
    /// forgotten earlier.
    pub fn note(&mut self, record: &Record<'_>, held: &Record<'_>, settings: &Settings) {
        let record_wins = record.wins_over(held);
        let (winner, loser) = if record_wins { (record, held) } else { (held, record) };
        if !stands_for(winner, loser, settings) {
            self.set(loser, settings);
        }
    }

    fn set(&mut self, record: &Record<'_>, settings: &Settings) {
        if self.bytes + record.line.len() > ASIDE_MAX_BYTES {
            return;
        }
        let lines = self.lines.entry(record.client().into()).or_default();
        let is_covered = |line: &[u8]| {
            line == record.line
                || read(line).is_some_and(|kept| stands_for(&kept, record, settings))
        };
        if lines.iter().any(|(_, line)| is_covered(line)) {
            return;
        }
        lines.retain(|(_, line)| {
            let gives_way = read(line).is_none_or(|kept| stands_for(record, &kept, settings));
            self.bytes -= if gives_way { line.len() } else { 0 };
            !gives_way
        });
        self.bytes += record.line.len();
        self.last += 1;
        lines.push((self.last, record.line.into()));
    }

    /// The lines after the one with this number, in no order: what a journal lacks that has those up to it.
    pub fn lines_after(&self, number: u64) -> impl Iterator<Item = &[u8]> {
        let news = (number < self.last).then(|| self.lines.values().flatten());
        news.into_iter().flatten().filter(move |(it, _)| *it > number).map(|(_, line)| &**line)
    }

    /// The number of the last line that was set aside; 0 before the first.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Takes all lines. The numbers go on.
    pub fn take(&mut self) -> Aside {
        let last = self.last;
        std::mem::replace(self, Aside { last, ..Aside::default() })
    }

    /// How many bytes all lines have.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Whether one record makes another one superfluous, whichever clock turns out to be wrong.
fn stands_for(one: &Record<'_>, other: &Record<'_>, settings: &Settings) -> bool {
    let later = one.server_time - other.server_time;
    let is_forgotten_first = settings.forget_after.is_some() && later < 0;
    one.wins_over(other) && later <= settings.server_ahead_max() && !is_forgotten_first
}

/// The record that a line is.
pub(super) fn read(line: &[u8]) -> Option<Record<'_>> {
    Record::new(line, &parse_at(line)?)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            aside.note(&record(record_line), &record(held), &Settings::default());
            let lines: Vec<_> = aside.lines_after(0).collect();
            assert_eq!(lines, kept.map(String::as_bytes).into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn of_records_from_one_time_the_greatest_stays_and_of_two_times_both() {
        let mut aside = Aside::default();
        let far = line(900, 100 * 86_400);
        for client in [100, 102, 101] {
            aside.note(&record(&line(client, client)), &record(&far), &Settings::default());
        }
        assert_eq!(aside.lines_after(0).collect::<Vec<_>>(), [line(102, 102).as_bytes()]);
        let middle = line(300, 50 * 86_400);
        aside.note(&record(&middle), &record(&far), &Settings::default());
        assert_eq!(aside.lines_after(0).count(), 2);
        assert_eq!(aside.bytes(), middle.len() + line(102, 102).len());
    }

    #[test]
    fn what_is_set_aside_is_bounded() {
        let mut aside = Aside::default();
        let id = "k".repeat(16_000);
        for number in 0..2 * ASIDE_MAX_BYTES / id.len() {
            let right = format!("AT A +0.000000000 {id}{number} +1-1 100");
            let far = format!("AT A +9999999.000000000 {id}{number} +1-1 101");
            aside.note(&record(&right), &record(&far), &Settings::default());
        }
        assert!(aside.bytes() <= ASIDE_MAX_BYTES && aside.bytes() > ASIDE_MAX_BYTES / 2);
    }
}
