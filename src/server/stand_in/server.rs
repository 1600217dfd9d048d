//! The stand-in as an application on the reactor: HTTPS on one port, with a certificate made at start.
//!
//! Owns the connections of those who ask, and nothing about places: bytes become requests in
//! `wire::http::server`, requests become answers in [`super::answer`]. `herd places` runs it.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use crate::reactor::limits::HIGH_WATER_BYTES;
use crate::reactor::{
    Application, Ctx, DelayedCall, Factory, ListenOptions, Peer, Protocol, Reactor, Reason,
    TlsServer, Token,
};
use crate::wire::http::server::{Incoming, Refusal, RequestReader, query_pairs, write_response};

use super::answer::{answer, failure};
use super::gazetteer::Gazetteer;

/// How long a connection may stay without a whole request. Longer than any answer keeps a client
/// thinking, and an end to those that were left open or never say anything sensible.
pub const IDLE_MAX: Duration = Duration::from_secs(60);

/// Who the certificate is for: this machine, by each of its usual names.
const CERTIFIED_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// What Google says of its answers.
const CONTENT_TYPE: &str = "application/json; charset=UTF-8";

/// The stand-in: what all its connections share.
pub struct StandIn {
    gazetteer: Gazetteer<'static>,
    /// Requests answered so far, the refused ones included.
    answered: u64,
}

/// What delayed calls deliver.
#[derive(Debug)]
pub enum Event {
    /// To a connection: it has had [`IDLE_MAX`] without a whole request.
    IdleOver,
}

impl Application for StandIn {
    type Event = Event;
}

impl StandIn {
    /// With the towns that are built in. The error, which a test rules out, names their faulty line.
    pub fn new() -> Result<Self, String> {
        Ok(Self { gazetteer: Gazetteer::built_in()?, answered: 0 })
    }

    /// Requests answered so far, the refused ones included.
    pub fn answered(&self) -> u64 {
        self.answered
    }

    /// What it is, in a sentence for whoever starts it.
    pub fn describe(&self) -> String {
        format!(
            "a stand-in for Google Places, with {} towns of {} countries (GeoNames, CC BY 4.0)",
            self.gazetteer.town_count(),
            self.gazetteer.country_count()
        )
    }
}

/// Makes a certificate, writes it to `certificate_file` if there is one (a PEM text, which is what
/// `--places-ca` reads), and listens on `address`. Returns the address with the port that it has.
pub fn listen(
    reactor: &mut Reactor<StandIn>,
    address: SocketAddr,
    certificate_file: Option<&Path>,
) -> Result<SocketAddr, String> {
    let names = CERTIFIED_NAMES.map(str::to_owned);
    let certified = rcgen::generate_simple_self_signed(names)
        .map_err(|e| format!("cannot make a certificate: {e}"))?;
    let chain = vec![certified.cert.der().to_vec()];
    let tls = TlsServer::new(chain, certified.signing_key.serialize_der())?;
    let failed = |e: std::io::Error| format!("cannot listen on {address}: {e}");
    let options = ListenOptions { tls: Some(tls) };
    let listener = reactor.io().listen_tcp(address, options, Box::new(Arrivals)).map_err(failed)?;
    // Only a stand-in that listens may replace the certificate of one that may still run.
    if let Some(file) = certificate_file {
        write_whole(file, &certified.cert.pem())
            .map_err(|e| format!("cannot write the certificate to {}: {e}", file.display()))?;
    }
    reactor.io().local_address(listener).ok_or_else(|| format!("{address} has no port"))
}

/// Writes a file so that no reader ever sees a part of it.
fn write_whole(file: &Path, text: &str) -> std::io::Result<()> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(".new");
    fs::write(&beside, text)?;
    fs::rename(&beside, file)
}

struct Arrivals;

impl Factory<StandIn> for Arrivals {
    fn build_protocol(
        &mut self,
        _: Peer,
        _: &mut Ctx<'_, StandIn>,
    ) -> Option<Box<dyn Protocol<StandIn>>> {
        Some(Box::new(Conversation { reader: RequestReader::new(), idle: None }))
    }
}

/// One connection: requests in, answers out, in their order.
struct Conversation {
    reader: RequestReader,
    idle: Option<DelayedCall>,
}

impl Protocol<StandIn> for Conversation {
    fn connection_made(&mut self, me: Token, cx: &mut Ctx<'_, StandIn>) {
        self.idle = Some(cx.io.call_later(IDLE_MAX, me, Event::IdleOver));
    }

    fn data_received(&mut self, me: Token, mut data: &[u8], cx: &mut Ctx<'_, StandIn>) {
        loop {
            let reply = match self.reader.receive(&mut data) {
                Ok(None) => return,
                Ok(Some(request)) => respond(&cx.app.gazetteer, &request),
                Err(Refusal { status, reason }) => {
                    let body = failure("INVALID_REQUEST", Some(reason));
                    Reply { status, reason, body, keep_alive: false }
                }
            };
            cx.app.answered += 1;
            cx.io.write_with(me, |out| reply.write(out));
            if let Some(idle) = self.idle {
                cx.io.reset(idle, IDLE_MAX);
            }
            // One read can hold hundreds of requests. Whoever sends so many without taking answers gets
            // those that fit, and asks again on another connection.
            if !reply.keep_alive || cx.io.backlog(me) > HIGH_WATER_BYTES {
                cx.io.lose_connection(me);
                return;
            }
        }
    }

    fn event_received(&mut self, me: Token, event: Event, cx: &mut Ctx<'_, StandIn>) {
        match event {
            Event::IdleOver => cx.io.lose_connection(me),
        }
    }

    fn connection_lost(&mut self, _me: Token, _why: &Reason, cx: &mut Ctx<'_, StandIn>) {
        if let Some(idle) = self.idle.take() {
            cx.io.cancel(idle);
        }
    }
}

/// What goes back for one request.
struct Reply {
    status: u16,
    reason: &'static str,
    body: Vec<u8>,
    keep_alive: bool,
}

impl Reply {
    fn write(&self, out: &mut Vec<u8>) {
        let Self { status, reason, body, keep_alive } = self;
        write_response(out, *status, reason, CONTENT_TYPE, body, *keep_alive);
    }
}

fn respond(gazetteer: &Gazetteer<'_>, request: &Incoming) -> Reply {
    if request.method != "GET" {
        let body = failure("INVALID_REQUEST", Some("This stand-in answers GET and nothing else."));
        // The answer to a HEAD would have no body, and this one has.
        return Reply { status: 405, reason: "Method Not Allowed", body, keep_alive: false };
    }
    let (path, query) = query_pairs(&request.target);
    let (status, body) = answer(gazetteer, &path, &query);
    let reason = if status == 200 { "OK" } else { "Not Found" };
    Reply { status, reason, body, keep_alive: request.keep_alive }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Instant;

    use super::*;
    use crate::reactor::{ConnectOptions, Now, TlsClient};

    /// Real sockets on this machine answer in microseconds; past this something hangs.
    const PATIENCE: Duration = Duration::from_secs(20);

    const REQUEST: &str = "GET /maps/api/place/nearbysearch/json?location=34.068930,-118.445127\
                           &radius=10000&key=any HTTP/1.1\r\nHost: localhost\r\n\r\n";

    /// What a client has heard, and why its connection ended if it has.
    #[derive(Default)]
    struct Heard {
        text: String,
        lost: Option<Reason>,
    }

    /// Sends one text and listens.
    struct Client {
        says: String,
        heard: Arc<Mutex<Heard>>,
    }

    impl Protocol<StandIn> for Client {
        fn connection_made(&mut self, me: Token, cx: &mut Ctx<'_, StandIn>) {
            cx.io.write(me, self.says.as_bytes());
        }

        fn data_received(&mut self, _: Token, data: &[u8], _: &mut Ctx<'_, StandIn>) {
            self.heard.lock().unwrap().text.push_str(std::str::from_utf8(data).unwrap());
        }

        fn connection_lost(&mut self, _: Token, why: &Reason, _: &mut Ctx<'_, StandIn>) {
            self.heard.lock().unwrap().lost = Some(why.clone());
        }
    }

    /// A stand-in, and clients of it on the same reactor.
    struct Stage {
        reactor: Reactor<StandIn>,
        port: u16,
        trust: TlsClient,
        /// The latest client's connection.
        latest: Option<Token>,
        /// How far the clock is ahead of the real one.
        ahead: Duration,
    }

    impl Stage {
        fn set(name: &str) -> Self {
            let folder = Path::new("target/stand-in-tests");
            fs::create_dir_all(folder).unwrap();
            let file = folder.join(format!("{name}-{}.pem", std::process::id()));
            let mut reactor = Reactor::new(StandIn::new().unwrap()).unwrap();
            let any_port = "127.0.0.1:0".parse().unwrap();
            let port = listen(&mut reactor, any_port, Some(&file)).unwrap().port();
            let trust = TlsClient::from_pem(&fs::read(&file).unwrap()).unwrap();
            fs::remove_file(file).unwrap();
            Self { reactor, port, trust, latest: None, ahead: Duration::ZERO }
        }

        fn say(&mut self, host: &str, says: &str) -> Arc<Mutex<Heard>> {
            let heard = Arc::new(Mutex::new(Heard::default()));
            let client = Client { says: says.to_owned(), heard: Arc::clone(&heard) };
            let options = ConnectOptions { tls: Some(self.trust.clone()), ..Default::default() };
            let io = self.reactor.io();
            self.latest = Some(io.connect_tcp(host, self.port, options, Box::new(client)));
            heard
        }

        fn turn(&mut self) {
            self.reactor.sleep(Some(Duration::from_millis(10))).unwrap();
            let now = Now::read();
            self.reactor.advance(Now { monotonic: now.monotonic + self.ahead, ..now });
        }

        /// Turns of the loop until `done`, and what was heard then.
        fn until(&mut self, heard: &Mutex<Heard>, done: impl Fn(&Heard) -> bool) -> String {
            let deadline = Instant::now() + PATIENCE;
            while !done(&heard.lock().unwrap()) {
                let heard = heard.lock().unwrap();
                assert!(Instant::now() < deadline, "heard {:?}, lost {:?}", heard.text, heard.lost);
                drop(heard);
                self.turn();
            }
            heard.lock().unwrap().text.clone()
        }
    }

    #[test]
    fn requests_are_answered_in_order_on_one_kept_connection() {
        let mut stage = Stage::set("order");
        let other = "GET /other HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let heard = stage.say("localhost", &[REQUEST, other, REQUEST].concat());
        let text = stage.until(&heard, |heard| heard.text.matches("\n}\n").count() == 3);
        let heads: Vec<&str> = text.lines().filter(|line| line.starts_with("HTTP/")).collect();
        assert_eq!(heads, ["HTTP/1.1 200 OK", "HTTP/1.1 404 Not Found", "HTTP/1.1 200 OK"]);
        assert!(text.starts_with(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=UTF-8\r\nContent-Length: "
        ));
        assert!(text.contains("\r\n\r\n{\n   \"html_attributions\" : [],\n   \"results\" : [\n"));
        assert!(text.contains("\"name\" : \"Westwood\""));
        assert_eq!(heard.lock().unwrap().lost, None);
        assert_eq!(stage.reactor.app().answered(), 3);
    }

    #[test]
    fn the_certificate_names_this_machine_in_each_of_its_names() {
        let mut stage = Stage::set("names");
        for host in ["localhost", "127.0.0.1"] {
            let heard = stage.say(host, REQUEST);
            stage.until(&heard, |heard| heard.text.ends_with("\n}\n"));
        }
    }

    #[test]
    fn what_is_no_request_is_refused_and_ends_the_connection() {
        let mut stage = Stage::set("refused");
        for (says, status) in [
            ("nonsense\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n"),
            ("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 405 Method Not Allowed\r\n"),
            ("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HTTP/1.1 404 Not Found"),
        ] {
            let heard = stage.say("localhost", &[says, REQUEST].concat());
            let text = stage.until(&heard, |heard| heard.lost.is_some());
            assert!(text.starts_with(status), "{text}");
            assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{text}");
        }
    }

    #[test]
    fn a_client_that_asks_much_and_takes_nothing_is_cut_off() {
        let mut stage = Stage::set("flood");
        let heard = stage.say("localhost", &REQUEST.repeat(300));
        let text = stage.until(&heard, |heard| heard.lost.is_some());
        let answers = text.matches("HTTP/1.1 200 OK").count();
        assert!((2..300).contains(&answers), "{answers}");
        assert!(text.len() < 2 * HIGH_WATER_BYTES, "{}", text.len());
        assert!(text.ends_with("\n}\n"));
    }

    #[test]
    fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
        let mut stage = Stage::set("idle");
        let heard = stage.say("localhost", REQUEST);
        let answers = |heard: &Heard| heard.text.matches("\n}\n").count();
        stage.until(&heard, |heard| answers(heard) == 1);
        stage.ahead = IDLE_MAX * 2 / 3;
        let client = stage.latest.unwrap();
        assert!(stage.reactor.io().write(client, REQUEST.as_bytes()));
        stage.until(&heard, |heard| answers(heard) == 2);
        stage.ahead = IDLE_MAX * 4 / 3;
        stage.turn();
        stage.turn();
        assert!(stage.reactor.io().write(client, REQUEST.as_bytes()));
        stage.until(&heard, |heard| answers(heard) == 3);
        stage.ahead = IDLE_MAX * 3;
        stage.until(&heard, |heard| heard.lost.is_some());
    }

    #[test]
    fn faults_of_the_start_are_told() {
        let mut stage = Stage::set("faults");
        let taken = SocketAddr::from(([127, 0, 0, 1], stage.port));
        let fault = listen(&mut stage.reactor, taken, None).unwrap_err();
        assert!(fault.starts_with(&format!("cannot listen on {taken}: ")), "{fault}");
        let nowhere = Path::new("no-such-folder/ca.pem");
        let any_port = "127.0.0.1:0".parse().unwrap();
        let fault = listen(&mut stage.reactor, any_port, Some(nowhere)).unwrap_err();
        assert!(fault.starts_with("cannot write the certificate to no-such-folder/ca.pem: "));
        assert!(
            stage.reactor.app().describe().starts_with("a stand-in for Google Places, with 13")
        );
    }
}
