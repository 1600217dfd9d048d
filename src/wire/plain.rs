//! A report in its plain spelling, read straight from the input.
//!
//! Nearly every line that a herd ever hears is an IAMAT whose fields are apart by one space and which
//! lies whole in what was read. For such a line one pass does what takes two otherwise, finding its end
//! and reading its fields: each field ends where the next byte is none of its own, so nothing is looked
//! for first. What this takes, the [line receiver](super::line) and [`command`](super::command) would
//! take in the same way; what it leaves, a Telnet command, a piece of a line or another spelling, is
//! theirs. Called by the client's handler, between two lines.

use super::command::IAmAt;
use super::location::take_location;
use super::scan::find_end_of_plain;
use super::time::take_time;

/// Takes the report that `data` begins with, if there is one in its plain spelling, with its LF; gives
/// the line without that, and what it says.
///
/// The client's ID is of ASCII above the space here, so that no byte of a Telnet command can be among it.
#[inline]
pub fn take_report<'d>(
    data: &mut &'d [u8],
    line_max_bytes: usize,
) -> Option<(&'d [u8], IAmAt<'d>)> {
    let after_word = data.strip_prefix(b"IAMAT")?;
    let text = after_word.strip_prefix(b" ")?;
    let (client, rest) = text.split_at_checked(find_end_of_plain(text)?)?;
    let at_location = rest.strip_prefix(b" ")?;
    let (location_text, rest) = take_location(at_location)?;
    let at_time = rest.strip_prefix(b" ")?;
    let (time, end) = take_time(at_time)?;
    let after = end.strip_prefix(b"\n")?;

    let line = data.get(..data.len() - end.len())?;
    let time_text = at_time.get(..at_time.len() - end.len())?;
    let as_written = after_word.get(..after_word.len() - after.len())?;
    if client.is_empty() || line.len() > line_max_bytes {
        return None;
    }
    *data = after;
    Some((line, IAmAt { client, location_text, time, time_text, as_written }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::command::{Command, parse_command};
    use crate::wire::line::{Input, LINE_MAX_BYTES, LineReceiver};

    const KIWI: &[u8] = b"IAMAT kiwi.cs.ucla.edu +34.068930-118.445127 1479413884.392014450";

    /// What a report says, and all that stands behind it.
    fn taken(input: &[u8], line_max_bytes: usize) -> Option<(Vec<u8>, String, Vec<u8>)> {
        let mut data = input;
        let (line, said) = take_report(&mut data, line_max_bytes)?;
        Some((line.to_vec(), spelled(&said), data.to_vec()))
    }

    /// The same by the general way.
    fn received(input: &[u8], line_max_bytes: usize) -> Option<(Vec<u8>, String, Vec<u8>)> {
        let mut data = input;
        let mut receiver = LineReceiver::new().with_line_max_bytes(line_max_bytes);
        let Some(Input::Line(line)) = receiver.next(&mut data) else { return None };
        let Some(Command::IAmAt(said)) = parse_command(line) else { return None };
        Some((line.to_vec(), spelled(&said), data.to_vec()))
    }

    fn spelled(said: &IAmAt<'_>) -> String {
        let IAmAt { client, location_text, time, time_text, .. } = said;
        let mut fields = Vec::new();
        said.write_end(&mut fields);
        format!("{client:?} {location_text:?} {time} {time_text:?} {fields:?}")
    }

    #[test]
    fn reports_are_taken_one_by_one_from_the_front() {
        let input = [KIWI, b"\nIAMAT a +1-1 7\nIAMAT b"].concat();
        let mut data = input.as_slice();
        let (line, said) = take_report(&mut data, LINE_MAX_BYTES).unwrap();
        assert_eq!((line, said.client), (KIWI, b"kiwi.cs.ucla.edu".as_slice()));
        assert_eq!(said.time, 1_479_413_884_392_014_450);
        assert_eq!(take_report(&mut data, LINE_MAX_BYTES).unwrap().0, b"IAMAT a +1-1 7");
        assert_eq!(take_report(&mut data, LINE_MAX_BYTES), None);
        assert_eq!(data, b"IAMAT b", "what is not taken stays");
    }

    #[test]
    fn what_is_not_plain_is_left_to_others() {
        for line in [
            "IAMAT k +1-1 7",
            "IAMAT k +1-1 7\r\n",
            "IAMAT  k +1-1 7\n",
            " IAMAT k +1-1 7\n",
            "IAMAT\tk +1-1 7\n",
            "IAMAT k\t+1-1 7\n",
            "IAMAT k +1-1  7\n",
            "IAMAT k +1-1 7 \n",
            "IAMAT  +1-1 7\n",
            "IAMAT kïwi +1-1 7\n",
            "IAMAT k +91-1 7\n",
            "IAMAT k +1-1 7.\n",
            "IAMAT k +1-1 1234567890123\n",
            "WHATSAT k 1 1\n",
            "\n",
        ] {
            assert_eq!(taken(line.as_bytes(), LINE_MAX_BYTES), None, "{line:?}");
        }
        assert_eq!(taken(b"IAMAT k\xff\xf4 +1-1 7\n", LINE_MAX_BYTES), None);
    }

    #[test]
    fn a_line_that_is_too_long_is_left_to_whoever_answers_it() {
        let input = [KIWI, b"\n"].concat();
        assert!(taken(&input, KIWI.len()).is_some());
        assert_eq!(taken(&input, KIWI.len() - 1), None);
    }

    proptest! {
        #[test]
        fn what_is_taken_is_what_the_general_way_gives(
            id in "[!-~]{0,20}",
            location in "[-+][0-9]{1,4}(\\.[0-9]{1,17})?[-+][0-9]{1,4}(\\.[0-9]{1,17})?",
            time in "-?[0-9]{1,13}(\\.[0-9]{1,10})?",
            place: prop::sample::Index,
            bytes in prop::collection::vec(any::<u8>(), 0..3),
            behind in prop::collection::vec(any::<u8>(), 0..20),
            limit in 10..90usize,
        ) {
            let plain = format!("IAMAT {id} {location} {time}\n").into_bytes();
            let whole = [plain.as_slice(), &behind].concat();
            // Of lines in the plain spelling, exactly those are taken that are reports.
            prop_assert_eq!(taken(&whole, limit), received(&whole, limit));
            // One that is spoiled somewhere may be left, but is never taken in another sense.
            let (start, end) = whole.split_at(place.index(whole.len()));
            let spoiled = [start, &bytes, end].concat();
            if let Some(taken) = taken(&spoiled, limit) {
                prop_assert_eq!(Some(taken), received(&spoiled, limit));
            }
        }
    }
}
