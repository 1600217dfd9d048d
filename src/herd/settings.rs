//! What an operator can choose about a herd's truth: catching up, how much, how far ahead, how long.
//!
//! Plain values, filled in by the command line and read by [`Herd`](super::Herd). The servers of one
//! herd are meant to be given the same ones.

use std::fmt;

use super::clock::AGREE_WITHIN;
use super::record::Record;
use super::store::{CLIENT_WEIGHT_BYTES, Capacity, WhenFull};
use crate::wire::peer::PEER_LINE_MAX_BYTES;
use crate::wire::time::{NANOS_PER_SECOND, Nanos};

/// How many clients are known at most, unless told otherwise: a few hundred megabytes.
pub const CLIENTS_MAX: usize = 1_000_000;

/// How many bytes what is known of clients takes at most, unless told otherwise: a gibibyte.
pub const MEMORY_MAX_BYTES: usize = 1 << 30;

/// The least that it may be bounded to: the longest client fits.
pub const MEMORY_LEAST_BYTES: usize = PEER_LINE_MAX_BYTES + CLIENT_WEIGHT_BYTES;

/// How far a client's clock may be ahead of the server's, unless told otherwise: a day, which forgives
/// a wrong time zone.
pub const AHEAD_MAX_SECONDS: u32 = 86_400;

/// What a neighbour gets when a link to it comes up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CatchUp {
    /// Exactly what it missed.
    #[default]
    On,
    /// Only what is new from then on: the original course project required no more.
    Off,
}

/// What can be chosen about a herd's truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What a neighbour gets when a link to it comes up.
    pub catch_up: CatchUp,
    /// How many clients are known at most; about a billion in any case, the slots of a store.
    pub max_clients: usize,
    /// How many bytes they weigh together at most, see [`weight_of`](super::store::weight_of). An ID may
    /// have 16 KB, so that a bound on clients alone is none on memory.
    pub max_memory_bytes: usize,
    /// What happens past either.
    pub when_full: WhenFull,
    /// How far the time of a report may be ahead of the clock of the server that hears it; `None`: any.
    /// Otherwise a clock that is years ahead would freeze its client's location for years.
    pub max_ahead: Option<Nanos>,
    /// A client that no server has heard for this long is forgotten; `None`: never.
    pub forget_after: Option<Nanos>,
    /// A wall clock that tells an earlier time is wrong for certain.
    pub clock_earliest: Nanos,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            catch_up: CatchUp::On,
            max_clients: CLIENTS_MAX,
            max_memory_bytes: MEMORY_MAX_BYTES,
            when_full: WhenFull::Evict,
            max_ahead: Some(Nanos::from(AHEAD_MAX_SECONDS) * NANOS_PER_SECOND),
            forget_after: None,
            clock_earliest: Nanos::MIN,
        }
    }
}

impl Settings {
    /// How much the store holds.
    pub fn capacity(&self) -> Capacity {
        let (clients, memory_bytes) = (self.max_clients, self.max_memory_bytes);
        Capacity { clients, memory_bytes, when_full: self.when_full }
    }

    /// How far the server time of a record may be ahead of this server's clock: as far as a client's may
    /// be, but no less than clocks of servers may differ. Beyond that one of the two clocks is wrong.
    pub fn server_ahead_max(&self) -> Nanos {
        let day = Nanos::from(AHEAD_MAX_SECONDS) * NANOS_PER_SECOND;
        self.max_ahead.map_or(day, |ahead| ahead.max(AGREE_WITHIN))
    }

    /// Whether a record is from too far ahead by its own two times, as all servers decide alike.
    pub fn is_too_far_ahead(&self, record: &Record<'_>) -> bool {
        self.max_ahead.is_some_and(|ahead| record.client_time - record.server_time > ahead)
    }
}

/// Why a well-formed report is refused like an invalid command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The client is not known, and the store is full of such as may not or cannot make room.
    Full,
    /// The server's clock is not past the horizon, up to which everything is let go.
    PastHorizon,
    /// Its time is further ahead of this server's clock than [`Settings::max_ahead`].
    TooFarAhead,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refused::Full => "the store is full",
            Refused::PastHorizon => {
                "this server's clock is behind what it has let go already (was it set back?)"
            }
            Refused::TooFarAhead => {
                "its time is too far ahead of this server's clock; one of the two is wrong"
            }
        })
    }
}

impl std::error::Error for Refused {}

#[cfg(test)]
mod tests {
    use super::super::change_log::SLACK_ENTRIES;
    use super::super::journal::Writer;
    use super::super::links::Taken;
    use super::super::store::Merged;
    use super::super::topology::Topology;
    use super::super::{FORGET_STEP_CLIENTS, Herd};
    use super::*;
    use crate::wire::command::{Command, parse_command};

    fn herd(settings: Settings) -> Herd {
        let (topology, _) = Topology::parse("pair", "A h:1 B\nB h:2").unwrap();
        let me = topology.by_name(b"A").unwrap();
        Herd::new(topology, me, 1, settings)
    }

    /// A client of this server reports, at second 1000 of the server's clock.
    fn report(herd: &mut Herd, client: &str, time: &str) -> (Result<Merged, Refused>, String) {
        let line = format!("IAMAT {client} +1-1 {time}");
        let Some(Command::IAmAt(said)) = parse_command(line.as_bytes()) else { panic!("{line}") };
        let mut out = b"> ".to_vec();
        let merged = herd.client_heard(&said, 1_000 * NANOS_PER_SECOND, &mut out);
        (merged, String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_report_from_too_far_ahead_is_refused_and_one_at_the_limit_is_not() {
        let mut herd = herd(Settings::default());
        let (outcome, reply) = report(&mut herd, "k", "87400.000000001");
        assert_eq!((outcome, reply.as_str()), (Err(Refused::TooFarAhead), "> "));
        assert_eq!((herd.clients(), herd.last_change()), (0, 0));
        assert_eq!(report(&mut herd, "k", "87400").0, Ok(Merged::New));
        let mut herd = self::herd(Settings { max_ahead: None, ..Settings::default() });
        assert_eq!(report(&mut herd, "k", "999999999999").0, Ok(Merged::New));
    }

    /// The record alone decides, and not the clock of who is told: here that stands at second 1000.
    #[test]
    fn what_one_server_has_accepted_from_ahead_is_believed_by_all() {
        const DAY: u32 = AHEAD_MAX_SECONDS;
        let any = Settings { max_ahead: None, ..Settings::default() };
        for (settings, line, taken) in [
            (any, "AT B -998999999999.000000000 k +1-1 999999999999".into(), Taken::Changed),
            // B's clock is a day ahead of this one, and its client's a day ahead of B's.
            (
                Settings::default(),
                format!("AT B -{DAY}.000000000 k +1-1 {}", 1_000 + 2 * DAY),
                Taken::Changed,
            ),
            // What no server with this limit has accepted.
            (
                Settings::default(),
                format!("AT B -{DAY}.000000001 k +1-1 {}", 1_000 + DAY),
                Taken::Kept,
            ),
        ] {
            let mut herd = herd(settings);
            herd.clock_read(0, 1_000 * NANOS_PER_SECOND);
            let from = herd.hello_received(1, b"B", 7).unwrap();
            if settings == any {
                herd.clock_read(1, 1_000_000_000 * NANOS_PER_SECOND);
            }
            assert_eq!(herd.dialler_line_received(from, line.as_bytes()), Ok(taken), "{line}");
            assert_eq!(herd.dialler_line_received(from, b"MARK 5"), Ok(Taken::Mark));
            assert_eq!(herd.clients(), usize::from(taken == Taken::Changed));
        }
    }

    #[test]
    fn a_herd_that_refuses_new_clients_counts_them_whoever_has_heard_them() {
        let when_full = WhenFull::Refuse;
        let mut herd = herd(Settings { max_clients: 1, when_full, ..Settings::default() });
        assert_eq!(report(&mut herd, "k1", "1").0, Ok(Merged::New));
        let (outcome, reply) = report(&mut herd, "k2", "1");
        assert_eq!((outcome, reply.as_str()), (Err(Refused::Full), "> "));
        assert_eq!(report(&mut herd, "k1", "2").0, Ok(Merged::Changed));
        assert_eq!(report(&mut herd, "k1", "2").0, Ok(Merged::Kept));
        let from = herd.hello_received(1, b"B", 7).unwrap();
        for (line, taken) in [
            ("AT B +0.000000000 k2 +1-1 7", Taken::Full),
            ("AT B +0.000000000 k1 +1-1 7", Taken::Changed),
            ("AT B +0.000000000 k3 +1-1 7", Taken::Full),
        ] {
            assert_eq!(herd.dialler_line_received(from, line.as_bytes()), Ok(taken), "{line}");
        }
        assert_eq!((herd.clients(), herd.store().fullness().turned_away), (1, 3));
    }

    #[test]
    fn a_record_that_is_not_kept_still_counts_for_marks() {
        let mut herd = herd(Settings { max_clients: 1, ..Settings::default() });
        report(&mut herd, "k1", "1").0.unwrap();
        let from = herd.hello_received(1, b"B", 7).unwrap();
        for (line, taken) in [
            ("AT B +900.000000000 k2 +1-1 7", Taken::Full),
            ("AT B +900.000000000 k3 +1-1 6", Taken::Kept),
            ("MARK 3", Taken::Mark),
        ] {
            assert_eq!(herd.dialler_line_received(from, line.as_bytes()), Ok(taken), "{line}");
        }
        let mut told = Vec::new();
        herd.write_here(from, &mut told);
        assert_eq!((told.as_slice(), herd.clients()), (&b"HERE 3\n"[..], 1));
    }

    #[test]
    fn changes_whose_clients_are_all_forgotten_leave_nothing_to_be_told_or_written() {
        let forget_after = Some(60 * NANOS_PER_SECOND);
        let mut herd = herd(Settings { forget_after, ..Settings::default() });
        let clients = 3 * SLACK_ENTRIES;
        for client in 0..clients {
            report(&mut herd, &format!("k{client}"), "5").0.unwrap();
        }
        assert_eq!(herd.forget(2_000 * NANOS_PER_SECOND, clients), clients);
        assert_eq!(herd.change_log_entries(), 0, "not even the newest change is in the log");
        let to = herd.neighbours().next().unwrap();
        for line in ["HELLO 1 B 0000000000000007", "RESUME 0000000000000000 0"] {
            herd.listener_line_received(to, line.as_bytes()).unwrap();
        }
        assert!(herd.lacks_changes(to));
        assert!(!herd.pump(to, &mut Vec::new(), usize::MAX).more);
        assert!(!herd.lacks_changes(to), "or the loop would come back for it in every turn");
        let mut writer = Writer::new();
        assert!(!writer.pump(&herd, &mut Vec::new(), usize::MAX));
        assert_eq!(writer.cursor(), herd.last_change(), "or replies would be held back for it");
    }

    #[test]
    fn a_client_that_was_not_heard_for_long_is_forgotten_by_all_and_stays_so() {
        let forget_after = Some(60 * NANOS_PER_SECOND);
        let mut herd = herd(Settings { forget_after, ..Settings::default() });
        let from = herd.hello_received(1, b"B", 7).unwrap();
        report(&mut herd, "k", "5").0.unwrap();
        let line = "AT A +995.000000000 k +1-1 5";
        assert_eq!(herd.forget(1_060 * NANOS_PER_SECOND - 1, 0), 0);
        assert_eq!(herd.where_is(b"k").unwrap().line, line.as_bytes());
        // Then it is gone, swept or not.
        for swept in [0, 1] {
            assert_eq!(herd.forget(1_060 * NANOS_PER_SECOND, FORGET_STEP_CLIENTS * swept), swept);
            assert_eq!(herd.where_is(b"k"), None);
            assert_eq!(herd.dialler_line_received(from, line.as_bytes()), Ok(Taken::Kept));
            assert_eq!(herd.where_is(b"k"), None);
        }
        let later = b"AT B +95.000000000 k +1-1 905";
        assert_eq!(herd.dialler_line_received(from, later), Ok(Taken::Kept), "heard at 1000");
        let later = b"AT B +155.000000001 k +1-1 905";
        assert_eq!(herd.dialler_line_received(from, later), Ok(Taken::Changed), "heard after 1060");
    }

    #[test]
    fn without_a_limit_nothing_is_forgotten() {
        let mut herd = herd(Settings::default());
        report(&mut herd, "k", "5").0.unwrap();
        assert_eq!(herd.forget(Nanos::MAX, usize::MAX), 0);
        assert!(herd.where_is(b"k").is_some());
    }
}
