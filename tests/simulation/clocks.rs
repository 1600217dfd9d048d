//! Clocks that jump and come back, and what servers do about it: as `src/server/clock.rs` does.

use herd::herd::clock::ClockNews;
use herd::herd::settings::Settings;
use herd::wire::time::Nanos;

use super::connection::End;
use super::server::{BEGINNING_SECONDS, monotonic};
use super::world::{Event, World};

/// A search for records from ahead looks at so few at a time that others come in between.
const SEARCH_STEP_RECORDS: usize = 2;

impl World {
    /// The beginning of each turn of a server.
    pub fn look_at_clock(&mut self, server: usize) {
        let clock = self.servers[server].exact_clock(self.now);
        let Some(process) = &mut self.servers[server].process else { return };
        let number = process.number;
        match process.herd.clock_read(monotonic(self.now), clock) {
            Some(ClockNews::Jumped { .. }) => self.close_all(server, &[End::Dialler]),
            // The horizon may have been wrong too.
            Some(ClockNews::Trusted { .. }) => process.horizon = (None, process.clock),
            None => {}
        }
        let Some(process) = &mut self.servers[server].process else { return };
        if !process.herd.is_searching() {
            return;
        }
        match process.herd.search_ahead(SEARCH_STEP_RECORDS, self.random.next().max(1)) {
            None => self.after(0, Event::Turn(server, number)),
            Some(corrected) if corrected.starts_anew => {
                process.identities += 1;
                self.close_all(server, &[End::Dialler, End::Listener]);
            }
            Some(_) => {}
        }
    }

    /// Ends connections of a server, those in which it is such an end.
    fn close_all(&mut self, server: usize, ends: &[End]) {
        for index in 0..self.connections.len() {
            for &end in ends {
                let side = &self.connections[index].sides[end as usize];
                if side.server == server && side.is_open {
                    self.close(index, end);
                }
            }
        }
    }

    /// One end closes a connection; the other notices soon.
    pub fn close(&mut self, index: usize, end: End) {
        self.lost(index, end);
        self.break_off(index, 200);
    }

    pub fn is_clock_right(&self, server: usize) -> bool {
        !self.plan.clocks || self.servers[server].skew == 0
    }

    /// Whether a record's server time is further ahead of the right time than any server may allow.
    pub fn is_from_ahead(&self, line: &[u8]) -> bool {
        let latest = self.right_time() + Settings::default().server_ahead_max();
        self.plan.clocks && super::ledger::record(line).server_time > latest
    }

    pub fn right_time(&self) -> Nanos {
        BEGINNING_SECONDS * 1_000_000_000 + monotonic(self.now)
    }

    /// A client's clock: right, or wrong in the same way as its server's.
    pub fn client_clock(&mut self, server: usize) -> String {
        let same = self.random.one_in(4);
        let time = if same { self.servers[server].clock(self.now) } else { self.right_time() };
        let (millis, sign) = (time.abs() / 1_000_000, if time < 0 { "-" } else { "" });
        format!("{sign}{}.{:03}", millis / 1_000, millis % 1_000)
    }
}
