//! The stand-in over real TLS: it and its clients on one reactor, with a clock that can be put forward.

use std::path::PathBuf;
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

/// A file for one test's certificate.
fn scratch(name: &str) -> PathBuf {
    let folder = Path::new("target/stand-in-tests");
    fs::create_dir_all(folder).unwrap();
    folder.join(format!("{name}-{}.pem", std::process::id()))
}

/// A stand-in that logs nowhere.
fn stand_in(listen: &str, file: &Path) -> Result<Reactor<StandIn>, String> {
    StandIn::reactor(&[listen.parse().unwrap()], file, Log::nowhere())
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
        let file = scratch(name);
        let mut reactor = stand_in("127.0.0.1:0", &file).unwrap();
        let port = reactor.app().address().port();
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
    assert_eq!(stage.reactor.app().requests, 3);
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
    stage.ahead = SILENCE_TIMEOUT * 2 / 3;
    let client = stage.latest.unwrap();
    assert!(stage.reactor.io().write(client, REQUEST.as_bytes()));
    stage.until(&heard, |heard| answers(heard) == 2);
    stage.ahead = SILENCE_TIMEOUT * 4 / 3;
    stage.turn();
    stage.turn();
    assert!(stage.reactor.io().write(client, REQUEST.as_bytes()));
    stage.until(&heard, |heard| answers(heard) == 3);
    stage.ahead = SILENCE_TIMEOUT * 3;
    stage.until(&heard, |heard| heard.lost.is_some());
}

#[test]
fn faults_of_the_start_are_told() {
    let mut stage = Stage::set("faults");
    let taken = stage.reactor.app().address().to_string();
    let fault = |listen: &str, file: &Path| stand_in(listen, file).err().unwrap();
    let text = fault(&taken, &scratch("unused"));
    assert!(text.starts_with(&format!("cannot listen on {taken}: ")), "{text}");
    assert!(!scratch("unused").exists(), "one that cannot listen must not replace the certificate");
    let text = fault("127.0.0.1:0", Path::new("no-such-folder/ca.pem"));
    assert!(text.starts_with("cannot write the certificate to no-such-folder/ca.pem: "), "{text}");
}
