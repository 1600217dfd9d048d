//! The wall clock, looked at in each turn: warnings about it, and what links do about it.
//!
//! What is believed is decided in [`herd::clock`](crate::herd::clock), and what follows for records in
//! [`herd::correction`](crate::herd::correction). This file reads the clocks, says in the log what was
//! found, and closes the links that have to introduce themselves anew. Called by [`Server`].

use std::time::{Duration, Instant};

use log::Level;
use serde_json::{Value, json};

use super::{Event, Server, random, unix_nanos};
use crate::herd::clock::{AGREE_WITHIN, ClockNews, DOUBT_MAX, Proof};
use crate::herd::correction::SEARCH_STEP_RECORDS;
use crate::herd::links::NeighbourId;
use crate::herd::{Corrected, Herd};
use crate::reactor::{Io, Target};
use crate::wire::peer::HelloFields;
use crate::wire::time::{NANOS_PER_SECOND, Nanos};

/// How long after a warning others of its kind are no warnings.
pub const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// How long after one jump others are no warnings: a clock that runs too fast jumps all the time.
pub const JUMP_WARNING_INTERVAL: Duration = Duration::from_millis(500);

/// A warning that comes at most once a minute, however often its cause does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seldom {
    last: Option<Instant>,
}

impl Seldom {
    /// The level of such a line now.
    pub fn level(&mut self, now: Instant) -> Level {
        self.level_every(WARNING_INTERVAL, now)
    }

    /// The same for a warning that may come more often.
    fn level_every(&mut self, interval: Duration, now: Instant) -> Level {
        let is_soon = |last| now.saturating_duration_since(last) < interval;
        if self.last.is_some_and(is_soon) {
            return Level::Info;
        }
        self.last = Some(now);
        Level::Warn
    }
}

impl Server {
    /// Reads the clock, and does what follows. To be called at the beginning of each turn, and before a
    /// journal is replayed.
    pub fn look_at_clock(&mut self, io: &mut Io<Self>) {
        let monotonic = io.now().saturating_duration_since(self.clock_origin).as_nanos();
        let monotonic = Nanos::try_from(monotonic).unwrap_or(Nanos::MAX);
        let wall = unix_nanos(io.wall_clock());
        self.herd.set_clock(wall);
        if let Some(news) = self.herd.clock_read(monotonic, wall) {
            let warning = self.jumped.level_every(JUMP_WARNING_INTERVAL, io.now());
            log_news(news, warning);
            if matches!(news, ClockNews::Jumped { .. }) {
                self.links.introduce_anew(io);
            }
        }
        if self.herd.is_searching() {
            match self.herd.search_ahead(SEARCH_STEP_RECORDS, random().max(1)) {
                Some(corrected) => self.corrected(corrected, io),
                None => io.post(Target::Application, Event::PumpAgain),
            }
        }
    }

    fn corrected(&mut self, corrected: Corrected, io: &mut Io<Self>) {
        let Corrected { dropped, restored, starts_anew } = corrected;
        if dropped > 0 || restored > 0 {
            log::warn!(
                "the clock was wrong: {dropped} records from ahead of it are dropped, and {restored} that \
                 had given way to them are back"
            );
        }
        if starts_anew {
            log::warn!("after a wrong clock, every neighbour is asked for all that it knows");
            self.links.start_anew(io);
        }
    }

    /// A neighbour has said what its clock is: warns when it is not this server's.
    pub(super) fn clock_told(&mut self, id: NeighbourId, fields: &HelloFields, io: &Io<Self>) {
        let Some(ahead) = self.herd.clock_told(id, fields) else { return };
        self.links.note_clock(&self.herd, id, ahead, io.now());
    }

    /// A report was refused because it is from too far ahead. Whose clock is wrong is not known, so it
    /// is a warning: a server with a clock of 1970 refuses everybody.
    pub fn refused_from_ahead(&mut self, io: &Io<Self>) -> Level {
        self.refused_from_ahead.level(io.now())
    }
}

/// What `STATUS` tells of the clock.
pub fn status(herd: &Herd) -> Value {
    let clock = herd.clock();
    let state = match clock.jumped_by() {
        _ if clock.is_too_early() => "wrong: it is earlier than this program".to_owned(),
        Some(by) => format!("doubted: it jumped by {}", span(by)),
        None if clock.is_unconfirmed() => "not yet confirmed by a neighbour".to_owned(),
        None if clock.is_doubted() => "doubted: neighbours disagree".to_owned(),
        None => "ok".to_owned(),
    };
    json!({ "state": state, "doubted": clock.is_doubted() })
}

/// How far a neighbour's clock is ahead, in seconds, for `STATUS`.
pub fn seconds_ahead(herd: &Herd, id: NeighbourId) -> Option<f64> {
    let millis = herd.clock().difference(id)? / (NANOS_PER_SECOND / 1_000);
    #[expect(clippy::cast_precision_loss, reason = "for people, and far below 2^53 in any case")]
    Some(millis as f64 / 1_000.0)
}

/// Whether two clocks that differ by so much agree.
pub fn agree(ahead: Nanos) -> bool {
    ahead.abs() <= AGREE_WITHIN
}

/// `warning` is the level of what is a warning.
fn log_news(news: ClockNews, warning: Level) {
    match news {
        ClockNews::Jumped { by } => log::log!(
            warning,
            "the clock of this machine jumped {} by {}: until it is back, a neighbour confirms it or {} have \
             passed, it is doubted and no client is forgotten; reports that seem too far ahead of it are \
             refused",
            if by < 0 { "back" } else { "forward" },
            span(by.abs()),
            span(DOUBT_MAX)
        ),
        ClockNews::Trusted { proof, after_jump } => {
            let why = match proof {
                Proof::Returned => "it is back where it was before it jumped",
                Proof::Neighbours => "more neighbours agree with it than not",
                Proof::Time => "it has run on, and no neighbour disagrees",
            };
            let level = if after_jump { warning } else { Level::Info };
            log::log!(level, "the clock of this machine is trusted: {why}");
        }
    }
}

/// A span of time in words.
pub fn span(nanos: Nanos) -> String {
    const UNITS: [(&str, Nanos); 5] = [
        ("years", 31_557_600),
        ("days", 86_400),
        ("hours", 3_600),
        ("minutes", 60),
        ("seconds", 1),
    ];
    let round = |unit: Nanos| (nanos + nanos.signum() * unit / 2) / unit;
    let fits = |(_, unit): &&(&str, Nanos)| round(unit * NANOS_PER_SECOND).abs() >= 2;
    match UNITS.iter().find(fits) {
        Some((name, unit)) => format!("{} {name}", round(unit * NANOS_PER_SECOND)),
        None => format!("{} ms", nanos / (NANOS_PER_SECOND / 1_000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_of_one_kind_comes_once_a_minute() {
        let (mut seldom, start) = (Seldom::default(), Instant::now());
        let warned = (0..180)
            .filter(|second| seldom.level(start + Duration::from_secs(*second)) == Level::Warn);
        assert_eq!(warned.collect::<Vec<_>>(), [0, 60, 120]);
    }

    #[test]
    fn a_span_is_told_in_a_unit_that_fits() {
        for (seconds, words) in [
            (-3_600, "-60 minutes"),
            (7_200, "2 hours"),
            (172_800, "2 days"),
            (3_155_760_000, "100 years"),
            (3_599, "60 minutes"),
            (3, "3 seconds"),
        ] {
            assert_eq!(span(seconds * NANOS_PER_SECOND), words);
        }
        assert_eq!(span(NANOS_PER_SECOND / 2), "500 ms");
    }
}
