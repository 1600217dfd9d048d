//! `herd places`: Google's answers to the letter, over HTTPS that anybody can speak, with real towns.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::support::{ALONE, DEADLINE, Folder, HERD, Herd, Process, control, eventually, herd};
use super::upstream::{PLACE, fault};

/// What is near UCLA, reckoned and laid out by another program than the one under test.
const UCLA: &str = include_str!("answers/ucla-10km.json");

const PATH: &str = "/maps/api/place/nearbysearch/json";

/// The question that [`UCLA`] answers.
fn ucla() -> String {
    format!("{PATH}?location=34.068930,-118.445127&radius=10000&key=sesame")
}

/// A running stand-in.
struct StandIn {
    folder: Folder,
    process: Process,
    greeting: Vec<String>,
    port: u16,
}

impl StandIn {
    fn start() -> Self {
        Self::start_in(Folder::new(), "127.0.0.1:0")
    }

    fn start_in(folder: Folder, listen: &str) -> Self {
        let mut command = Command::new(HERD);
        command.args(["places", "--listen", listen, "--ca-out"]).arg(folder.path("ca.pem"));
        command.arg("--control").arg(folder.path("sock")).stdout(Stdio::piped());
        let mut process = Process::spawn("places", &mut command, &folder);
        let lines = BufReader::new(process.child.stdout.take().unwrap()).lines();
        let greeting: Vec<String> = lines.take(2).map(Result::unwrap).collect();
        let address =
            greeting[0].strip_prefix("listening on ").unwrap().split(": ").next().unwrap();
        let port = address.rsplit(':').next().unwrap().parse().unwrap();
        Self { folder, process, greeting, port }
    }

    fn ca(&self) -> PathBuf {
        self.folder.path("ca.pem")
    }

    fn connect(&self) -> Https {
        self.connect_as("localhost").unwrap()
    }

    /// A connection on which the server must prove that it has this name, by the certificate in its file.
    fn connect_as(&self, name: &'static str) -> std::io::Result<Https> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.ca()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(name).unwrap();
        let session = ClientConnection::new(Arc::new(config), name).unwrap();
        let socket = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut stream = StreamOwned::new(session, socket);
        stream.conn.complete_io(&mut stream.sock)?;
        Ok(Https(BufReader::new(stream)))
    }

    /// The JSON of one GET on a connection of its own.
    fn get(&self, target: &str) -> String {
        let (head, body) = self.connect().get(target);
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        body
    }
}

/// A client's connection to it.
struct Https(BufReader<StreamOwned<ClientConnection, TcpStream>>);

impl Https {
    fn send(&mut self, text: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(text.as_ref()).unwrap();
    }

    /// The head and the body of the next answer.
    fn answer(&mut self) -> (String, String) {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(self.0.read_line(&mut head).unwrap(), 0, "the end after {head:?}");
        }
        let length = head.split_once("Content-Length: ").unwrap().1.split_once('\r').unwrap().0;
        let mut body = vec![0; length.parse().unwrap()];
        self.0.read_exact(&mut body).unwrap();
        (head, String::from_utf8(body).unwrap())
    }

    fn get(&mut self, target: &str) -> (String, String) {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        self.answer()
    }

    /// Whether the server has closed, in order, and said nothing more.
    fn is_closed(&mut self) -> bool {
        self.0.read(&mut [0]).unwrap() == 0
    }
}

#[test]
fn it_says_what_it_is_and_where() {
    let stand_in = StandIn::start();
    let start = format!(
        "listening on 127.0.0.1:{}: a stand-in for Google Places, not Google, with ",
        stand_in.port
    );
    let [first, second] = stand_in.greeting.as_slice() else { panic!("two lines") };
    assert!(first.starts_with(&start) && first.ends_with(" from GeoNames (CC BY 4.0)"), "{first}");
    let (url, ca) = (format!("https://localhost:{}", stand_in.port), stand_in.ca());
    assert_eq!(
        *second,
        format!("try: herd serve NAME --places {url} --places-ca {}", ca.display())
    );
}

#[test]
fn its_answer_is_googles_layout_to_the_letter() {
    let (head, body) = StandIn::start().connect().get(&ucla());
    let fields = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=UTF-8\r\n\
         Content-Length: {}\r\nConnection: keep-alive\r\n\r\n",
        UCLA.len()
    );
    assert_eq!(head, fields);
    assert_eq!(body, UCLA);
}

#[test]
fn what_is_wrong_is_said_as_google_says_it() {
    let stand_in = StandIn::start();
    let empty = |status: &str| {
        format!(
            "{{\n   \"html_attributions\" : [],\n   \"results\" : [],\n   \"status\" : \"{status}\"\n}}\n"
        )
    };
    let near = |query: &str| stand_in.get(&format!("{PATH}?{query}"));
    // The nearest town is far from where the equator meets Greenwich's meridian.
    assert_eq!(near("location=0,0&radius=50000&key=x"), empty("ZERO_RESULTS"));
    assert_eq!(near("location=91,0&radius=10&key=x"), empty("INVALID_REQUEST"));
    assert_eq!(near("location=1,1&key=x"), empty("INVALID_REQUEST"));
    let denied = near("location=1,1&radius=10");
    assert!(denied.starts_with("{\n   \"error_message\" : \"The request carries no API key."));
    assert!(denied.ends_with(&empty("REQUEST_DENIED")[1..]), "{denied}");
}

#[test]
fn other_paths_and_methods_are_refused() {
    let stand_in = StandIn::start();
    let mut client = stand_in.connect();
    let (head, body) = client.get("/");
    assert!(head.starts_with("HTTP/1.1 404 Not Found\r\nContent-Type: application/json"), "{head}");
    assert!(body.contains("\"status\" : \"NOT_FOUND\""), "{body}");
    assert_eq!(client.get(&ucla()).1, UCLA);
    client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody");
    let (head, _) = client.answer();
    assert!(head.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"), "{head}");
    assert!(head.contains("\r\nAllow: GET\r\n"), "{head}");
    assert!(client.is_closed());
}

#[test]
fn a_connection_is_kept_as_long_as_both_want_it() {
    let stand_in = StandIn::start();
    let mut client = stand_in.connect();
    let requests = format!("GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", ucla()).repeat(3);
    client.send(&requests);
    for _ in 0..3 {
        assert_eq!(client.answer().1, UCLA);
    }
    client.send(format!("GET {} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", ucla()));
    assert_eq!(client.answer().1, UCLA);
    client.send(format!("GET {} HTTP/1.0\r\n\r\n{requests}", ucla()));
    let (head, body) = client.answer();
    assert!(head.contains("\r\nConnection: close\r\n") && body == UCLA, "{head}");
    assert!(client.is_closed());
    let mut client = stand_in.connect();
    client.send(format!("GET {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", ucla()));
    assert_eq!(client.answer().1, UCLA);
    assert!(client.is_closed());
}

#[test]
fn what_is_no_request_is_refused_and_ends_the_connection() {
    let stand_in = StandIn::start();
    let long = "x".repeat(17_000);
    for (text, status) in [
        (
            format!("GET / HTTP/1.1\r\nHost: x\r\nCookie: {long}\r\n\r\n"),
            "431 Request Header Fields",
        ),
        (format!("GET /?{long} HTTP/1.1\r\nHost: x\r\n\r\n"), "431 Request Header Fields"),
        (format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(64)), "431 Request"),
        ("nonsense\r\n\r\n".to_owned(), "400 Bad Request"),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), "400 Bad Request"),
        (
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n".to_owned(),
            "413 Content Too",
        ),
    ] {
        let mut client = stand_in.connect();
        client.send(&text);
        let (head, _) = client.answer();
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{head}");
        assert!(client.is_closed(), "{status}");
    }
}

#[test]
fn its_certificate_is_for_this_machine_and_no_other() {
    let stand_in = StandIn::start();
    for name in ["localhost", "127.0.0.1", "::1"] {
        assert_eq!(stand_in.connect_as(name).unwrap().get(&ucla()).1, UCLA, "{name}");
    }
    assert!(!fs::read_to_string(stand_in.ca()).unwrap().contains("PRIVATE"));
    let refused = stand_in.connect_as("maps.googleapis.com").err().unwrap().to_string();
    assert!(refused.contains("not valid for name"), "{refused}");
}

#[test]
fn a_slow_client_stops_nobody() {
    const REQUESTS: u64 = 20_000;
    let stand_in = StandIn::start();
    let (_mute, mut slow, mut greedy) = (
        TcpStream::connect(("127.0.0.1", stand_in.port)).unwrap(),
        stand_in.connect(),
        stand_in.connect(),
    );
    slow.send("GET / HTTP/1.1\r\nHost:");
    // It takes no answer. Those that have no room must not be made, nor their requests be read.
    greedy.0.get_mut().sock.set_nonblocking(true).unwrap();
    let many = format!("GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", ucla()).repeat(100);
    while greedy.0.get_mut().write_all(many.as_bytes()).is_ok() && answered(&stand_in) < REQUESTS {}
    assert_eq!(stand_in.get(&ucla()), UCLA);
    assert!(answered(&stand_in) < REQUESTS);
    slow.send(" localhost\r\n\r\n");
    assert!(slow.answer().0.starts_with("HTTP/1.1 404 "));
}

/// Requests that have been answered.
fn answered(stand_in: &StandIn) -> u64 {
    let status = control(&stand_in.folder.path("sock"), "STATUS").unwrap();
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["name"], "places");
    status["requests"].as_u64().unwrap()
}

#[test]
fn it_stops_in_order_whoever_is_connected() {
    for by_signal in [true, false] {
        let mut stand_in = StandIn::start();
        let (mut idle, mut slow) = (stand_in.connect(), stand_in.connect());
        assert_eq!(idle.get(&ucla()).1, UCLA);
        slow.send("GET /");
        if by_signal {
            stand_in.process.signal("-TERM");
        } else {
            let answer = control(&stand_in.folder.path("sock"), "STOP").unwrap();
            assert_eq!(answer, "{\"stopping\":true}\n");
        }
        assert!(idle.is_closed() && slow.is_closed());
        drop((idle, slow));
        assert_eq!(stand_in.process.child.wait().unwrap().code(), Some(0));
        assert!(!stand_in.folder.path("sock").exists());
    }
}

#[test]
fn what_it_cannot_have_is_said_in_words() {
    let stand_in = StandIn::start();
    let taken = format!("127.0.0.1:{}", stand_in.port);
    let ca = stand_in.folder.path("other.pem").display().to_string();
    for (arguments, code, words) in [
        (["--listen", &taken, "--ca-out", &ca], 1, format!("cannot listen on {taken}: ")),
        (
            ["--listen", "127.0.0.1:0", "--ca-out", "/none/x.pem"],
            1,
            "certificate to /none/x".into(),
        ),
        (["--listen", "nowhere", "--ca-out", &ca], 2, "\"nowhere\" is no address".into()),
        (["--listen", "127.0.0.1:0", "--key", "sesame"], 2, "flag \"--key\"".into()),
    ] {
        let output = herd(&[&["places"], &arguments[..]].concat());
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{error}");
        assert!(error.contains(&words), "{error}");
    }
    assert_eq!(stand_in.get(&ucla()), UCLA);
}

#[test]
fn its_log_has_the_question_and_not_the_key() {
    let mut stand_in = StandIn::start();
    stand_in.get(&ucla());
    stand_in.process.signal("-TERM");
    stand_in.process.child.wait().unwrap();
    let log = stand_in.process.errors();
    let line = format!("GET {PATH} location=34.068930,-118.445127 radius=10000 -> 200, ");
    assert!(
        log.contains("a stand-in for Google Places, starts on") && log.contains(&line),
        "{log}"
    );
    assert!(!log.contains("sesame"), "{log}");
}

#[test]
fn sighup_opens_its_log_anew_as_that_of_a_server() {
    let stand_in = StandIn::start();
    stand_in.process.signal("-HUP");
    eventually("the log says so", || {
        stand_in.process.errors().contains("the log is opened anew").then_some(())
    });
    assert_eq!(stand_in.get(&ucla()), UCLA);
}

/// A server that asks this stand-in.
fn serve(stand_in: &StandIn, key: Option<&str>) -> Herd {
    let mut herd = Herd::new(ALONE);
    let (url, ca) = (format!("https://localhost:{}", stand_in.port), stand_in.ca());
    let ca = ca.display().to_string();
    let flags = ["--places", &url, "--places-ca", &ca, "--places-cache", "0"];
    herd.arguments = flags.map(str::to_owned).to_vec();
    herd.environment.extend(key.map(|key| ("PLACES_API_KEY".to_owned(), key.to_owned())));
    herd.start_one("Solo");
    herd.say("Solo", &format!("IAMAT kiwi {PLACE} 1479413884.392014450"));
    herd
}

#[test]
fn a_whatsat_is_answered_end_to_end() {
    let mut stand_in = StandIn::start();
    let herd = serve(&stand_in, Some("sesame"));
    let mut client = herd.connect("Solo");
    client.send("WHATSAT kiwi 10 20\nWHATSAT kiwi 10 1\nWHATSAT kiwi 10 0\n");
    let (at_line, json) = client.places_reply();
    assert!(at_line.ends_with(&format!(" kiwi {PLACE} 1479413884.392014450")), "{at_line}");
    assert_eq!(json, UCLA);
    let [start, end] =
        ["{\n         \"geometry\"", "\n   ],\n"].map(|text| UCLA.find(text).unwrap());
    let first = UCLA[start..].find(",\n      {\n").unwrap();
    assert_eq!(client.places_reply().1, format!("{}{}", &UCLA[..start + first], &UCLA[end..]));
    assert_eq!(client.places_reply().1, UCLA.replace(&UCLA[start - 7..end + 4], ""));
    // One who trusts the certificate of the last start meets another one now.
    stand_in.process.signal("-TERM");
    stand_in.process.child.wait().unwrap();
    let listen = format!("127.0.0.1:{}", stand_in.port);
    let _again = StandIn::start_in(stand_in.folder, &listen);
    client.send("WHATSAT kiwi 10 20\n");
    let words = "the server's certificate is not signed by a trusted authority";
    assert_eq!(client.places_reply().1, fault(words));
}

#[test]
fn a_server_without_a_key_is_told_so_by_the_stand_in() {
    let stand_in = StandIn::start();
    let herd = serve(&stand_in, None);
    let reply = herd.say("Solo", "WHATSAT kiwi 10 20");
    assert!(reply.contains("\n   \"status\" : \"REQUEST_DENIED\"\n}\n\n"), "{reply}");
    assert!(!reply.contains("UNKNOWN_ERROR"), "{reply}");
}

#[test]
fn curl_speaks_with_it() {
    if Command::new("curl").arg("--version").output().is_err() {
        return eprintln!("SKIPPED: there is no curl on this machine");
    }
    let stand_in = StandIn::start();
    let url = format!("https://localhost:{}{}", stand_in.port, ucla());
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--noproxy", "*", "--cacert"])
        .arg(stand_in.ca())
        .arg(url)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), UCLA);
}
