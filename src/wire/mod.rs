//! Bytes to meaning and back: lines, Telnet, commands, locations, times, and what neighbours say.
//!
//! Nothing here knows a socket, a clock, the reactor or the herd: each part is a function from
//! bytes to values, or a state machine that is fed bytes and asked for events. `server` calls
//! all of it; `herd` uses only the values.
//!
//! Reading order: [`mod@line`] and [`telnet`] cut a connection's bytes into lines, [`command`] and
//! [`peer`] give the lines their meaning, [`plain`] does both in one pass for the line that is most
//! frequent, and [`journal`] for the file that outlives a server.
//! [`location`], [`time`] and [`decimal`] read the fields, with [`digits`] and [`scan`] as their tools.
//! [`http`] frames what goes to Places and comes back, [`json`] cuts its lists. [`certificate`] reads
//! when one expires. [`ahead`] guesses whom lines are about before they are read.

pub mod ahead;
pub mod certificate;
pub mod command;
mod crc32;
pub mod decimal;
mod digits;
pub mod http;
pub mod journal;
pub mod json;
pub mod line;
pub mod location;
pub mod peer;
pub mod plain;
mod scan;
pub mod telnet;
pub mod time;

#[cfg(test)]
mod tests;
