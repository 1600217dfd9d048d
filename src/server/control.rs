//! The control socket: one more line protocol on the same loop, for programs of the same user.
//!
//! `STATUS` answers one line of JSON, `STOP` stops the server in order. Of the loop it tells the `turns` since
//! the start and the longest of them, from waking to falling asleep, in microseconds: for so long everybody
//! else has waited, also while the system had the processor do something else. What the program made of it
//! is beside it, the most processor time that a turn used; of one that a single event has brought it is not asked.
//! `look_ups` lists the names whose look-up has no answer yet, and `journal` has the job that the journal's
//! thread has not finished, each with the moment since when.
//! Its file is readable and writable
//! for its owner only, which is all the protection it has and needs. Called by the reactor.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::logging::Text;
use super::{Server, clock, unix_nanos};
use crate::herd::store::Store;
use crate::keys::date;
use crate::reactor::{Application, Ctx, Factory, Io, LookUp, Peer, Protocol, Reactor, Token};
use crate::wire::line::{Input, LineReceiver};
use crate::wire::time::{Nanos, write_utc};

/// The longest line on a control socket.
pub const CONTROL_LINE_MAX_BYTES: usize = 256;

/// What an application tells of itself on its control socket.
pub trait Controlled: Application {
    /// The answer to `STATUS`: an object.
    fn status(&self, io: &Io<Self>) -> Value;
}

/// Listens at `path` with mode 0600. A socket that a dead process has left there is replaced; one that
/// somebody answers at is an error, as is a file of another kind.
pub fn listen<A: Controlled>(reactor: &mut Reactor<A>, path: &Path) -> Result<(), String> {
    let shown = path.display();
    let failed = |e: io::Error| format!("cannot listen on the control socket {shown}: {e}");
    if let Ok(found) = fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            return Err(format!(
                "{shown} exists and is no socket; name another one with --control"
            ));
        }
        if UnixStream::connect(path).is_ok() {
            return Err(format!("somebody answers at {shown}: is this server running already?"));
        }
        fs::remove_file(path).map_err(failed)?;
    }
    reactor.io().listen_unix(path, Box::new(Controls)).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)
}

struct Controls;

impl<A: Controlled> Factory<A> for Controls {
    fn build_protocol(&mut self, _: Peer, _: &mut Ctx<'_, A>) -> Option<Box<dyn Protocol<A>>> {
        Some(Box::new(Control { lines: LineReceiver::raw(CONTROL_LINE_MAX_BYTES) }))
    }
}

struct Control {
    lines: LineReceiver,
}

impl<A: Controlled> Protocol<A> for Control {
    fn data_received(&mut self, me: Token, mut data: &[u8], cx: &mut Ctx<'_, A>) {
        while let Some(input) = self.lines.next(&mut data) {
            input_received(me, input, cx);
        }
    }

    /// A last line without LF counts, as on a client's connection.
    fn read_closed(&mut self, me: Token, cx: &mut Ctx<'_, A>) {
        if let Some(input) = self.lines.finish() {
            input_received(me, input, cx);
        }
        cx.io.lose_connection(me);
    }
}

fn input_received<A: Controlled>(me: Token, input: Input<'_>, cx: &mut Ctx<'_, A>) {
    let answer = match input {
        Input::Line(line) => answer(line, cx),
        Input::TooLong(_) | Input::Telnet(_) => {
            json!({ "error": format!("a line has at most {CONTROL_LINE_MAX_BYTES} bytes") })
        }
    };
    cx.io.write(me, format!("{answer}\n").as_bytes());
    if !matches!(input, Input::Line(_)) {
        cx.io.lose_connection(me);
    }
}

fn answer<A: Controlled>(line: &[u8], cx: &mut Ctx<'_, A>) -> Value {
    match line {
        b"STATUS" => cx.app.status(cx.io),
        b"STOP" => {
            log::info!("stopping: asked to over the control socket");
            cx.io.stop();
            json!({ "stopping": true })
        }
        _ => {
            json!({ "error": format!("unknown command \"{}\"; there are STATUS and STOP", Text(line)) })
        }
    }
}

impl Controlled for Server {
    fn status(&self, io: &Io<Self>) -> Value {
        let stats = io.stats();
        let (upstream, upstream_connections, questions) = self.places.status();
        let links: Vec<Value> = self
            .herd
            .neighbours()
            .filter_map(|id| {
                let (server, link) =
                    (self.herd.neighbour_server(id)?, self.links.status(&self.herd, id)?);
                Some(json!({
                    "name": server.name,
                    "state": link.state,
                    "backlog": link.backlog,
                    "behind": link.is_behind,
                    "times_behind": link.times_behind,
                    "heard_from": link.heard_from,
                    "clock_ahead_s": clock::seconds_ahead(&self.herd, id),
                }))
            })
            .collect();
        json!({
            "name": self.herd.name(),
            "pid": std::process::id(),
            "since": utc(self.started),
            "turns": stats.turns,
            "longest_turn_us": microseconds(stats.longest_turn),
            "longest_turn_cpu_us": microseconds(stats.longest_turn_cpu),
            "connections": stats.accepted,
            "clients": self.clients,
            "records": self.herd.clients(),
            "store": store_status(self.herd.store()),
            "certificate_expires": self.expiry.as_ref().map(|e| date(e.validity.not_after)),
            "links": links,
            "upstream": upstream,
            "upstream_connections": upstream_connections,
            "questions": questions,
            "journal": self.journal.as_ref().map(|journal| journal.status(&self.herd, io)),
            "look_ups": io.look_ups().iter().map(|l| look_up(l, io)).collect::<Vec<_>>(),
            "log_trouble": self.log.trouble(),
            "clock": clock::status(&self.herd),
            "now": utc(unix_nanos(io.wall_clock())),
        })
    }
}

/// How full the store is, who had to go, and up to when everything is let go.
fn store_status(store: &Store) -> Value {
    let (capacity, fullness) = (store.capacity(), store.fullness());
    json!({
        "clients_max": capacity.clients,
        "bytes": store.weight(),
        "bytes_max": capacity.memory_bytes,
        "evicted": fullness.evicted,
        "refused": fullness.turned_away,
        "horizon": store.horizon().map(utc),
    })
}

/// A look-up without an answer.
fn look_up(look_up: &LookUp, io: &Io<Server>) -> Value {
    let mut told = waiting_since(&look_up.host, look_up.since, io);
    if let Some(told) = told.as_object_mut() {
        told.insert("running".to_owned(), look_up.is_running.into());
        told.insert("connections".to_owned(), look_up.connections.into());
    }
    told
}

/// What has not come back yet, and since when: the moment for people, and the time for programs.
pub(super) fn waiting_since(what: &str, since: Instant, io: &Io<Server>) -> Value {
    let waited = io.now().saturating_duration_since(since);
    let wall = io.wall_clock().checked_sub(waited).unwrap_or(io.wall_clock());
    json!({ "what": what, "since": utc(unix_nanos(wall)), "seconds": waited.as_secs_f64() })
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A moment as JSON has it.
pub fn utc(moment: Nanos) -> String {
    let mut text = Vec::new();
    write_utc(&mut text, moment);
    String::from_utf8_lossy(&text).into_owned()
}
