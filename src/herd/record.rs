//! What the herd knows of one client: its AT line, the numbers in it, and which of two records wins.
//!
//! A [`Record`] borrows its line, so that looking at one and refusing it costs no allocation; the
//! [`store`](super::store) owns what is kept. The order here is the herd's whole consistency: it is
//! total, so servers that have seen the same records hold the same one, whatever order they came in.

use std::cmp::Ordering;

use crate::wire::peer::AtLine;
use crate::wire::time::Nanos;

/// Where the fields of an AT line lie in it, in bytes from its start.
///
/// Sixteen bits are enough for every line that is let in, see
/// [`PEER_LINE_MAX_BYTES`](crate::wire::peer::PEER_LINE_MAX_BYTES), and a million of these are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    client_start: u16,
    client_end: u16,
    location_end: u16,
}

/// Where the name of the server begins in every AT line: after `AT `.
const SERVER_START: usize = 3;

impl Layout {
    /// The layout of a line whose last fields have these lengths and are one space apart.
    ///
    /// `None` when the lengths do not fit the line, or the line does not fit sixteen bits.
    pub fn of(line: &[u8], client: &[u8], location: &[u8], time: &[u8]) -> Option<Layout> {
        // From the end, since the difference in the middle is the one field without a text here.
        let location_end = line.len().checked_sub(time.len() + 1)?;
        let client_end = location_end.checked_sub(location.len() + 1)?;
        let client_start = client_end.checked_sub(client.len())?;
        Some(Layout {
            client_start: u16::try_from(client_start).ok()?,
            client_end: u16::try_from(client_end).ok()?,
            location_end: u16::try_from(location_end).ok()?,
        })
    }

    /// The client in a line of this layout.
    pub fn client(self, line: &[u8]) -> &[u8] {
        span(line, self.client_start, self.client_end)
    }
}

/// What the herd knows, or might take in, of one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The AT line as it goes over the wire, without its LF.
    pub line: &'a [u8],
    /// Where its fields lie.
    pub layout: Layout,
    /// The client's clock when it reported.
    pub client_time: Nanos,
    /// The clock of the server that heard it.
    pub server_time: Nanos,
}

impl<'a> Record<'a> {
    /// The record that an AT line is, given the line and what was read from it.
    ///
    /// `None` only when `at` is of another line, or the line is longer than 65,535 bytes.
    pub fn new(line: &'a [u8], at: &AtLine<'_>) -> Option<Record<'a>> {
        let layout = Layout::of(line, at.client, at.location_text, at.time_text)?;
        Some(Record { line, layout, client_time: at.time, server_time: at.server_time() })
    }

    /// The client: any bytes without white space.
    pub fn client(&self) -> &'a [u8] {
        self.layout.client(self.line)
    }

    /// The place as the client wrote it, in ISO 6709.
    pub fn location(&self) -> &'a [u8] {
        span(self.line, self.layout.client_end.saturating_add(1), self.layout.location_end)
    }

    /// The name of the server that heard the client.
    pub fn server(&self) -> &'a [u8] {
        // Asked for nearly never, unlike the other fields: so its end is looked for, and not kept.
        let from = self.line.get(SERVER_START..).unwrap_or_default();
        from.split(|byte| *byte == b' ').next().unwrap_or_default()
    }

    /// Whether this record takes the place of `held`, a record of the same client.
    ///
    /// The later client time wins; when equal, the earlier server time, since the first report
    /// stands; when equal, the lesser server name, then the lesser line, byte for byte.
    pub fn wins_over(&self, held: &Record<'_>) -> bool {
        // Nearly always decided by the first field: the other ones are looked at only for a tie.
        let order = self.client_time.cmp(&held.client_time).then_with(|| {
            let mine = (self.server_time, self.server(), self.line);
            (held.server_time, held.server(), held.line).cmp(&mine)
        });
        order == Ordering::Greater
    }
}

fn span(line: &[u8], start: u16, end: u16) -> &[u8] {
    line.get(usize::from(start)..usize::from(end)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::peer::parse_at;

    fn record(line: &str) -> Record<'_> {
        Record::new(line.as_bytes(), &parse_at(line.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn a_record_knows_the_fields_of_its_line() {
        let record = record("AT Alford -0.263873386 kiwi +34.068930-118.445127 1479413884.5");
        assert_eq!(record.server(), b"Alford");
        assert_eq!(record.client(), b"kiwi");
        assert_eq!(record.location(), b"+34.068930-118.445127");
        assert_eq!(record.client_time, 1_479_413_884_500_000_000);
        assert_eq!(record.server_time, 1_479_413_884_236_126_614);
    }

    #[test]
    fn the_order_of_two_records_is_decided_field_by_field() {
        // From the greatest down; each differs from the one before it in one more field.
        let descending = [
            "AT Welsh +9.000000000 k +3-1 8",
            "AT Welsh +1.000000000 k +3-1 7",
            "AT Alford +2.000000000 k +3-1 7",
            "AT Ball +2.000000000 k +1-1 7",
            "AT Ball +2.000000000 k +2-1 7",
            "AT Ball +2.000000000 k +2-1 7.0",
        ];
        for (i, a) in descending.iter().enumerate() {
            for (j, b) in descending.iter().enumerate() {
                assert_eq!(record(a).wins_over(&record(b)), i < j, "{a} over {b}");
            }
        }
    }

    #[test]
    fn a_line_that_does_not_fit_is_no_record() {
        let long = format!("AT A +0.000000000 {} +1+1 1", "k".repeat(70_000));
        assert_eq!(Record::new(long.as_bytes(), &parse_at(long.as_bytes()).unwrap()), None);
        let at = parse_at(b"AT A +0.000000000 kiwi +1+1 1").unwrap();
        assert_eq!(Record::new(b"AT", &at), None);
    }
}
