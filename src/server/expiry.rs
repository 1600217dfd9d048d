//! The end of this server's own certificate, said in the log in time: at the start, and then every day.
//!
//! It only warns. A server whose certificate has expired goes on serving clients; its neighbours do not
//! believe it any more, and their logs say so too. Called by [`Server`].

use std::path::PathBuf;
use std::time::Duration;

use super::{Event, Server};
use crate::keys::{SECONDS_PER_DAY, WARN_BEFORE_SECONDS, date, unix_seconds};
use crate::reactor::{Io, Target};
use crate::wire::certificate::Validity;

/// How often it is looked at.
pub const LOOK_EVERY: Duration = Duration::from_secs(24 * 3600);

/// When the certificate is valid, and where it lies.
pub struct Expiry {
    /// The server's folder.
    pub folder: PathBuf,
    /// As the certificate says.
    pub validity: Validity,
    /// How often it was looked at.
    pub looks: u64,
}

impl Expiry {
    /// Warns if there is something to warn of, and arranges to be called again.
    pub fn look(&mut self, name: &str, io: &mut Io<Server>) {
        self.warn(name, io);
        self.looks += 1;
        io.call_later(LOOK_EVERY, Target::Application, Event::LookAtExpiry);
    }

    /// Warns if there is something to warn of.
    pub fn warn(&self, name: &str, io: &Io<Server>) {
        if let Some(words) = self.warning(name, unix_seconds(io.wall_clock())) {
            log::warn!("{words}");
        }
    }

    /// This certificate takes the place of another one, whose next look is arranged already.
    #[must_use]
    pub fn in_place_of(self, before: Option<Self>) -> Self {
        Self { looks: before.map_or(0, |before| before.looks), ..self }
    }

    /// What is to be said at this moment, in seconds since 1970.
    fn warning(&self, name: &str, now: i64) -> Option<String> {
        let Validity { not_before, not_after } = self.validity;
        let (shown, left) = (self.folder.display(), not_after - now);
        if now < not_before {
            return Some(format!(
                "the certificate in {shown} is valid only from {}: is the clock of this machine right?",
                date(not_before)
            ));
        }
        let when = match left {
            ..0 => format!("has expired on {}: no neighbour believes it", date(not_after)),
            0..WARN_BEFORE_SECONDS => {
                format!("expires on {}, in {} days", date(not_after), left / SECONDS_PER_DAY)
            }
            _ => return None,
        };
        Some(format!(
            "the certificate in {shown} {when}; `herd keys --renew {name} DIR` makes a new one, which {name} \
             takes on SIGHUP or at its next start"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reactor::{Now, Reactor};
    use crate::server::alone;

    #[test]
    fn it_is_looked_at_every_day() {
        let validity = Validity { not_before: 0, not_after: 0 };
        let folder = PathBuf::from("keys/Solo");
        let expiry = Some(Expiry { folder, validity, looks: 0 });
        let mut reactor = Reactor::new(Server { expiry, ..alone() }).unwrap();
        let looks = |reactor: &mut Reactor<Server>| reactor.app().expiry.as_ref().unwrap().looks;
        let cx = reactor.context();
        cx.app.look_at_expiry(cx.io);
        let start = Now::read();
        for day in 1..=5 {
            assert_eq!(looks(&mut reactor), day);
            let passed = LOOK_EVERY * u32::try_from(day).unwrap();
            let monotonic = start.monotonic + passed;
            reactor.advance(Now { monotonic, wall: start.wall + passed });
        }
    }

    #[test]
    fn the_end_is_warned_of_from_thirty_days_before() {
        const DAY: i64 = SECONDS_PER_DAY;
        let validity = Validity { not_before: 100 * DAY, not_after: 200 * DAY };
        let expiry = Expiry { folder: PathBuf::from("keys/Ball"), validity, looks: 0 };
        let said = |now| expiry.warning("Ball", now);
        for now in [100 * DAY, 101 * DAY, 170 * DAY] {
            assert_eq!(said(now), None);
        }
        for (now, words) in [
            (100 * DAY - 1, "keys/Ball is valid only from 1970-04-11"),
            (
                170 * DAY + 1,
                "keys/Ball expires on 1970-07-20, in 29 days; `herd keys --renew Ball DIR`",
            ),
            (200 * DAY, "keys/Ball expires on 1970-07-20, in 0 days"),
            (200 * DAY + 1, "keys/Ball has expired on 1970-07-20"),
        ] {
            assert!(said(now).is_some_and(|said| said.contains(words)), "{now}: {:?}", said(now));
        }
    }
}
