//! The stand-in's server: HTTPS on the same reactor, with a certificate made at its start.
//!
//! One protocol value a connection, one request after the other, kept alive. It owns no places
//! (`gazetteer.rs`) and no layout (`answer.rs`). Called by the reactor; set up by `cli`.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::answer::answer;
use super::gazetteer::Gazetteer;
use crate::reactor::bounds::limits::HIGH_WATER_BYTES;
use crate::reactor::{
    About, Application, Ctx, DelayedCall, Factory, Io, Peer, Protocol, Reactor, Reason, Signal,
    Speech, TlsServer, Token,
};
use crate::server::control::{Controlled, utc};
use crate::server::listening::listen_on_all;
use crate::server::logging::{Log, LogEvent, Text};
use crate::server::unix_nanos;
use crate::wire::http::server::{Incoming, RequestReader, query_pairs, write_response};
use crate::wire::time::Nanos;

/// How long a connection may be silent between or within requests.
pub const SILENCE_TIMEOUT: Duration = Duration::from_secs(120);

/// The application: the towns, and what it tells of itself.
pub struct StandIn {
    gazetteer: Gazetteer<'static>,
    log: Log,
    address: SocketAddr,
    started: Nanos,
    requests: u64,
}

/// What the stand-in's handlers are told.
#[derive(Debug)]
pub enum Event {
    /// A connection has been silent for too long.
    Silent,
    /// News of the log.
    Log(LogEvent),
}

impl From<LogEvent> for Event {
    fn from(event: LogEvent) -> Self {
        Self::Log(event)
    }
}

impl Application for StandIn {
    type Event = Event;

    fn event_received(&mut self, event: Event, _io: &mut Io<Self>) {
        if let Event::Log(event) = event {
            self.log.event_received(event);
        }
    }

    fn turn_begin(&mut self, io: &mut Io<Self>) {
        self.log.turn_begins(io.wall_clock());
    }

    fn turn_end(&mut self, io: &mut Io<Self>) {
        self.log.hand_over(io);
    }

    fn signal_received(&mut self, signal: Signal, io: &mut Io<Self>) {
        match signal {
            Signal::Hangup | Signal::User1 => self.log.reopen(signal),
            Signal::Terminate | Signal::Interrupt => io.stop(),
        }
    }
}

impl Controlled for StandIn {
    fn status(&self, io: &Io<Self>) -> Value {
        json!({
            "name": "places",
            "pid": std::process::id(),
            "since": utc(self.started),
            "address": self.address.to_string(),
            "turns": io.stats().turns,
            "connections": io.stats().accepted,
            "requests": self.requests,
            "towns": self.gazetteer.town_count(),
            "log_trouble": self.log.trouble(),
        })
    }
}

impl StandIn {
    /// A reactor that serves the built-in towns at all addresses of `listen`, and writes the certificate that vouches for
    /// it to `ca_out`. The error says which of this failed.
    pub fn reactor(
        listen: &[SocketAddr],
        ca_out: &Path,
        log: Log,
    ) -> Result<Reactor<Self>, String> {
        let gazetteer = Gazetteer::built_in()?;
        let (tls, pem) = certificate()?;
        let address = *listen.first().ok_or("there is no address to listen on")?;
        let app = Self { gazetteer, log, address, started: 0, requests: 0 };
        let mut reactor =
            Reactor::new(app).map_err(|e| format!("the event loop cannot start: {e}"))?;
        let speech = Speech::Tls(tls);
        let listening = listen_on_all(reactor.io(), listen, &speech, || Box::new(Https))?;
        let address = listening.first().copied().unwrap_or(address);
        let started = unix_nanos(reactor.io().wall_clock());
        (reactor.app().address, reactor.app().started) = (address, started);
        write_whole(ca_out, &pem)
            .map_err(|e| format!("cannot write the certificate to {}: {e}", ca_out.display()))?;
        Ok(reactor)
    }

    /// Where it listens; the first of several.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many towns of how many countries it knows.
    pub fn extent(&self) -> (usize, usize) {
        (self.gazetteer.town_count(), self.gazetteer.country_count())
    }

    /// Its log, for the last lines.
    pub fn log(&mut self) -> &mut Log {
        &mut self.log
    }
}

/// A certificate for this machine's own names, which vouches for itself, and its PEM for those who are
/// to trust it.
fn certificate() -> Result<(TlsServer, String), String> {
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let made = rcgen::generate_simple_self_signed(names)
        .map_err(|e| format!("cannot make a certificate: {e}"))?;
    let chain = vec![made.cert.der().to_vec()];
    let tls = TlsServer::new(chain, made.signing_key.serialize_der())?;
    Ok((tls, made.cert.pem()))
}

/// Writes a file so that nobody ever reads half of it.
fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    let beside = path.with_extension("new");
    fs::write(&beside, text)?;
    fs::rename(&beside, path)
}

struct Https;

impl Factory<StandIn> for Https {
    fn build_protocol(
        &mut self,
        peer: Peer,
        _: &mut Ctx<'_, StandIn>,
    ) -> Option<Box<dyn Protocol<StandIn>>> {
        Some(Box::new(Connection { peer, requests: RequestReader::new(), silence: None }))
    }
}

struct Connection {
    peer: Peer,
    requests: RequestReader,
    silence: Option<DelayedCall>,
}

impl Protocol<StandIn> for Connection {
    fn connection_made(&mut self, me: Token, cx: &mut Ctx<'_, StandIn>) {
        log::info!("{} connected", self.peer);
        self.silence = Some(cx.io.call_later(SILENCE_TIMEOUT, me, Event::Silent));
    }

    /// A request is framed by itself: those that were whole are answered.
    fn read_truncated(&mut self, me: Token, cx: &mut Ctx<'_, StandIn>) {
        cx.io.lose_connection(me);
    }

    fn data_received(&mut self, me: Token, mut data: &[u8], cx: &mut Ctx<'_, StandIn>) {
        if let Some(silence) = self.silence {
            cx.io.reset(silence, SILENCE_TIMEOUT);
        }
        loop {
            match self.requests.receive(&mut data) {
                Ok(Some(request)) => {
                    let keep_alive = self.request_received(me, &request, cx);
                    // One read can hold hundreds of requests. Whoever sends so many and waits for no
                    // answer gets those that fit, and may ask again on another connection.
                    if !keep_alive || cx.io.backlog(me) > HIGH_WATER_BYTES {
                        return cx.io.lose_connection(me);
                    }
                }
                Ok(None) => return,
                Err(refusal) => {
                    let (status, reason) = (refusal.status, refusal.reason);
                    let words = format_args!("{} is refused: {status} {reason}", self.peer);
                    cx.io.warn("refused", About::Connection(me), 0, words);
                    let body = format!("{reason}\n");
                    cx.io.write_with(me, |output| {
                        write_response(output, status, reason, &[PLAIN], body.as_bytes(), false);
                    });
                    return cx.io.lose_connection(me);
                }
            }
        }
    }

    fn event_received(&mut self, me: Token, event: Event, cx: &mut Ctx<'_, StandIn>) {
        if matches!(event, Event::Silent) {
            cx.io.lose_connection(me);
        }
    }

    fn connection_lost(&mut self, _: Token, why: &Reason, cx: &mut Ctx<'_, StandIn>) {
        log::info!("{} disconnected: {why}", self.peer);
        if let Some(silence) = self.silence {
            cx.io.cancel(silence);
        }
    }
}

const PLAIN: (&str, &str) = ("Content-Type", "text/plain; charset=UTF-8");
const JSON: (&str, &str) = ("Content-Type", "application/json; charset=UTF-8");

/// Whoever is told that a method is not allowed must be told which are (RFC 9110, section 15.5.6).
const ALLOW: (&str, &str) = ("Allow", "GET");

impl Connection {
    /// Answers a request. Says whether the connection can take another one.
    fn request_received(&self, me: Token, request: &Incoming, cx: &mut Ctx<'_, StandIn>) -> bool {
        cx.app.requests += 1;
        // The body of an answer to HEAD would be taken for the next answer (RFC 9110, section 9.3.2).
        let keep_alive = request.keep_alive && request.method == "GET";
        let (path, query) = query_pairs(&request.target);
        let (status, reason, fields, body) = if request.method == "GET" {
            match answer(&cx.app.gazetteer, &path, &query) {
                (200, body) => (200, "OK", [JSON].as_slice(), body),
                (status, body) => (status, "Not Found", [JSON].as_slice(), body),
            }
        } else {
            let body = b"only GET is answered here\n".to_vec();
            (405, "Method Not Allowed", [PLAIN, ALLOW].as_slice(), body)
        };
        // The query holds the asker's key: only the parts that are no secret are logged.
        let asked = |name: &str| {
            let value = query.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value);
            value.as_bytes()
        };
        log::info!(
            "{} {} {} location={} radius={} -> {status}, {} bytes",
            self.peer,
            Text(request.method.as_bytes()),
            Text(path.as_bytes()),
            Text(asked("location")),
            Text(asked("radius")),
            body.len(),
        );
        cx.io.write_with(me, |output| {
            write_response(output, status, reason, fields, &body, keep_alive);
        });
        keep_alive
    }
}

#[cfg(test)]
mod tests;
