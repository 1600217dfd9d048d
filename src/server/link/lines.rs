//! What both connections of a link do with lines: write and log them, keep the silence short, cut off.
//!
//! Called by the handlers beside it.

use crate::herd::liveness::{Due, Liveness, SECOND_LOOK_AFTER};
use crate::reactor::{Ctx, Io, Token};
use crate::server::logging::Text;
use crate::server::{Event, Server};

/// Does what is due for a link's life, and arranges to be called again.
pub(super) fn beat(
    me: Token,
    name: &str,
    liveness: &mut Liveness,
    io: &mut Io<Server>,
    heartbeat: impl FnOnce(&mut Vec<u8>),
) {
    let now = io.now();
    if liveness.due(now) == Due::Heartbeat {
        write(me, name, io, heartbeat);
        liveness.told(now);
    }
    match liveness.due(now) {
        Due::At(moment) => {
            io.call_later(moment.saturating_duration_since(now), me, Event::Beat);
        }
        Due::Heartbeat => {}
        Due::Lost if !liveness.suspect() => {
            io.call_later(SECOND_LOOK_AFTER, me, Event::Beat);
        }
        Due::Lost => {
            log::warn!("link with {name} is cut: not a word from it for too long");
            io.abort_connection(me);
        }
    }
}

/// Writes to a link, and logs what it wrote.
pub(super) fn write(
    to: Token,
    name: &str,
    io: &mut Io<Server>,
    compose: impl FnOnce(&mut Vec<u8>),
) {
    io.write_with(to, |output| {
        let start = output.len();
        compose(output);
        log_sent(name, output.get(start..).unwrap_or_default());
    });
}

pub(super) fn log_sent(name: &str, text: &[u8]) {
    if !log::log_enabled!(log::Level::Info) {
        return;
    }
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        log::log!(level_of(line), "{name} < {}", Text(line));
    }
}

/// Heartbeats come every other second for as long as a link is up, and tell nothing to most readers.
pub(super) fn level_of(line: &[u8]) -> log::Level {
    let heartbeat = line.starts_with(b"MARK ") || line.starts_with(b"HERE ");
    if heartbeat { log::Level::Debug } else { log::Level::Info }
}

/// Ends a link, one of whose lines cannot be taken in.
pub(super) fn cut(me: Token, name: &str, why: &str, cx: &mut Ctx<'_, Server>) {
    log::warn!("link with {name} is cut: its line is {why}");
    cx.io.abort_connection(me);
}
