//! An upstream under a test's control: a real HTTPS server on threads, whose every byte is scripted.
//!
//! It is written against rustls alone and shares nothing with the program, so a mistake there cannot
//! hide behind the same mistake here. A test hands it what each connection does; it notes what was
//! asked of it. A [`Scene`] is one server of a herd of one, and its upstream.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{HandshakeKind, ServerConfig, ServerConnection, StreamOwned};

use super::support::{ALONE, Client, DEADLINE, Herd, Process, eventually};

/// Who is asked for, and where that is.
pub const PLACE: &str = "+34.068930-118.445127";

/// An answer of Google's with three places.
pub const THREE: &str = "{\n   \"results\" : [ \"a\", \"b\", \"c\" ],\n   \"status\" : \"OK\"\n}\n";

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// The connection that brought it, counted from 1.
    pub connection: usize,
    /// The request line and the fields, without the empty line.
    pub head: String,
    pub body: String,
}

impl Request {
    /// The request line.
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap()
    }
}

/// What the upstream has seen.
#[derive(Default)]
struct Seen {
    accepted: usize,
    open: usize,
    open_max: usize,
    requests: Vec<Request>,
    handshakes: Vec<HandshakeKind>,
}

/// Something that a test lets happen, once it has seen what comes before.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    pub fn wait(&self) {
        let shut = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(shut, |open| !*open).unwrap());
    }
}

/// Lets through as many as it is told to, first come, first served.
#[derive(Clone, Default)]
pub struct Turnstile(Arc<(Mutex<Tickets>, Condvar)>);

#[derive(Default)]
struct Tickets {
    given: usize,
    allowed: usize,
}

impl Turnstile {
    pub fn allow(&self, count: usize) {
        self.0.0.lock().unwrap().allowed += count;
        self.0.1.notify_all();
    }

    pub fn pass(&self) {
        let mut tickets = self.0.0.lock().unwrap();
        tickets.given += 1;
        let mine = tickets.given;
        drop(self.0.1.wait_while(tickets, |tickets| tickets.allowed < mine).unwrap());
    }
}

/// A certificate that vouches for itself, with its key.
pub struct Identity {
    pub pem: String,
    config: Arc<ServerConfig>,
}

impl Identity {
    pub fn new(name: &str) -> Self {
        Self::made_with(name, |_| ())
    }

    /// The same with the marks of an authority, which may sign other certificates.
    pub fn of_authority(name: &str) -> Self {
        Self::made_with(name, |params| {
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        })
    }

    fn made_with(name: &str, change: impl FnOnce(&mut rcgen::CertificateParams)) -> Self {
        let mut params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        change(&mut params);
        let key = rcgen::KeyPair::generate().unwrap();
        let cert = params.self_signed(&key).unwrap();
        let chain: Vec<CertificateDer<'static>> = vec![cert.der().to_vec().into()];
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        Self { pem: cert.pem(), config: Arc::new(config) }
    }
}

/// The server.
pub struct Upstream {
    pub port: u16,
    /// What its servers are told to trust, as `--places-ca` takes it; empty: what the web trusts.
    pub pem: String,
    seen: Arc<Mutex<Seen>>,
}

impl Upstream {
    /// Speaks HTTPS as `localhost`; `script` is run for each connection on a thread of its own, and the
    /// connection is closed in order when it returns.
    pub fn start(script: impl Fn(&mut Talk) + Send + Sync + 'static) -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST, "localhost", script)
    }

    /// The same at another address of this machine, and under another name.
    pub fn start_at(
        ip: Ipv4Addr,
        name: &str,
        script: impl Fn(&mut Talk) + Send + Sync + 'static,
    ) -> Self {
        let identity = Identity::new(name);
        let pem = identity.pem.clone();
        Self { pem, ..Self::start_raw_at(ip, move |wire| wire.speak(&identity, &script)) }
    }

    /// The same without TLS: `script` has the bare stream.
    pub fn start_raw(script: impl Fn(Wire) + Send + Sync + 'static) -> Self {
        Self::start_raw_at(Ipv4Addr::LOCALHOST, script)
    }

    fn start_raw_at(ip: Ipv4Addr, script: impl Fn(Wire) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (seen, script) = (Arc::<Mutex<Seen>>::default(), Arc::new(script));
        let noted = Arc::clone(&seen);
        // It ends with the test's process, waiting for one connection more.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                stream.set_nodelay(true).unwrap();
                let (noted, script) = (Arc::clone(&noted), Arc::clone(&script));
                let number = {
                    let mut seen = noted.lock().unwrap();
                    (seen.accepted, seen.open) = (seen.accepted + 1, seen.open + 1);
                    seen.open_max = seen.open_max.max(seen.open);
                    seen.accepted
                };
                thread::spawn(move || {
                    let seen = Arc::clone(&noted);
                    script(Wire { number, stream, seen: noted });
                    seen.lock().unwrap().open -= 1;
                });
            }
        });
        Self { port, pem: String::new(), seen }
    }

    /// Waits for so many requests, and returns all.
    pub fn requests(&self, count: usize) -> Vec<Request> {
        eventually(&format!("{count} requests"), || {
            let seen = self.seen.lock().unwrap();
            (seen.requests.len() >= count).then(|| seen.requests.clone())
        })
    }

    /// Requests so far.
    pub fn asked(&self) -> usize {
        self.seen.lock().unwrap().requests.len()
    }

    /// Waits until so many connections have been accepted.
    pub fn wait_for_connections(&self, count: usize) {
        eventually(&format!("{count} connections"), || (self.accepted() >= count).then_some(()));
    }

    /// Connections so far.
    pub fn accepted(&self) -> usize {
        self.seen.lock().unwrap().accepted
    }

    /// The most connections that were open at a time.
    pub fn open_max(&self) -> usize {
        self.seen.lock().unwrap().open_max
    }

    pub fn handshakes(&self) -> Vec<HandshakeKind> {
        self.seen.lock().unwrap().handshakes.clone()
    }
}

/// A connection before TLS.
pub struct Wire {
    pub number: usize,
    pub stream: TcpStream,
    seen: Arc<Mutex<Seen>>,
}

impl Wire {
    /// Shakes hands as `identity`, runs the script, and closes.
    pub fn speak(self, identity: &Identity, script: &impl Fn(&mut Talk)) {
        let Self { number, mut stream, seen } = self;
        let mut session = ServerConnection::new(Arc::clone(&identity.config)).unwrap();
        if session.complete_io(&mut stream).is_err() {
            return;
        }
        seen.lock().unwrap().handshakes.extend(session.handshake_kind());
        let stream = StreamOwned::new(session, stream);
        let mut talk = Talk { number, stream, seen, ended: false };
        script(&mut talk);
        if !talk.ended {
            talk.close();
        }
    }
}

/// A connection after the handshake.
pub struct Talk {
    pub number: usize,
    stream: StreamOwned<ServerConnection, TcpStream>,
    seen: Arc<Mutex<Seen>>,
    ended: bool,
}

impl Talk {
    /// The next request, which is noted; `None` when the other side is gone.
    pub fn request(&mut self) -> Option<Request> {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).ok()?;
            bytes.extend(byte);
        }
        let head = String::from_utf8(bytes).unwrap().trim_end().to_owned();
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        self.stream.read_exact(&mut body).ok()?;
        let body = String::from_utf8(body).unwrap();
        let request = Request { connection: self.number, head, body };
        self.seen.lock().unwrap().requests.push(request.clone());
        Some(request)
    }

    /// Sends bytes as they are. `false`: the other side is gone.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).and_then(|()| self.stream.flush()).is_ok()
    }

    /// Sends a whole answer with status 200.
    pub fn answer(&mut self, body: &str) -> bool {
        let length = body.len();
        self.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}"))
    }

    /// Answers each request with the same.
    pub fn serve(&mut self, body: &str) {
        while self.request().is_some() {
            self.answer(body);
        }
    }

    /// Ends in order: `close_notify`, then FIN.
    pub fn close(&mut self) {
        self.stream.conn.send_close_notify();
        let _ = self.stream.conn.complete_io(&mut self.stream.sock);
        self.cut();
    }

    /// FIN without a word of TLS.
    pub fn cut(&mut self) {
        self.ended = true;
        let _ = self.stream.sock.shutdown(Shutdown::Write);
    }

    /// Waits for a request and resets the connection: that is what closing with unread input does.
    pub fn reset(&mut self) {
        self.ended = true;
        let _ = self.stream.sock.read(&mut [0]);
    }

    /// Waits until the other side has gone, so that it never meets a reset of ours.
    pub fn wait_for_end(&mut self) {
        self.stream.sock.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut bytes = [0; 1024];
        while self.stream.sock.read(&mut bytes).is_ok_and(|length| length > 0) {}
    }
}

/// One server, and the upstream that it asks.
pub struct Scene {
    pub herd: Herd,
    pub upstream: Upstream,
}

impl Scene {
    /// An upstream with this script, and a server that trusts it.
    pub fn new(arguments: &[&str], script: impl Fn(&mut Talk) + Send + Sync + 'static) -> Self {
        Self::on(Upstream::start(script), arguments)
    }

    pub fn on(upstream: Upstream, arguments: &[&str]) -> Self {
        let mut scene = Self::unstarted(upstream, arguments);
        scene.herd.start_one("Solo");
        scene
    }

    /// The same, to be started by the test.
    pub fn unstarted(upstream: Upstream, arguments: &[&str]) -> Self {
        let mut herd = Herd::new(ALONE);
        let mut all = vec!["--places".to_owned(), format!("https://localhost:{}", upstream.port)];
        if !upstream.pem.is_empty() {
            let file = herd.folder.write("ca.pem", &upstream.pem);
            all.extend(["--places-ca".to_owned(), file.display().to_string()]);
        }
        // Each question is a call of its own, as many as there are, unless a test is about that.
        for flag in ["--places-rate", "--places-cache"] {
            if !arguments.contains(&flag) {
                all.extend([flag.to_owned(), "0".to_owned()]);
            }
        }
        all.extend(arguments.iter().map(|&argument| argument.to_owned()));
        herd.arguments = all;
        Self { herd, upstream }
    }

    /// A client, after it has said that `kiwi` is at [`PLACE`].
    pub fn client(&self) -> Client {
        let mut client = self.herd.connect("Solo");
        let reply = client.ask(&format!("IAMAT kiwi {PLACE} 1479413884.392014450"));
        assert!(reply.starts_with("AT Solo +"), "{reply}");
        client
    }

    /// Sends the server a signal.
    pub fn signal(&self, signal: &str) {
        self.process().signal(signal);
    }

    /// Stops the server in its tracks, until it gets a `-CONT`; returns when it does stand.
    pub fn halt(&self) {
        let status = format!("/proc/{}/status", self.process().child.id());
        self.signal("-STOP");
        eventually("the server stands", || {
            std::fs::read_to_string(&status).unwrap().contains("T (stopped)").then_some(())
        });
    }

    fn process(&self) -> &Process {
        self.herd.servers[0].2.as_ref().unwrap()
    }

    /// The JSON of the reply to `WHATSAT kiwi` with these words, on a connection of its own.
    pub fn places(&self, words: &str) -> String {
        let mut client = self.client();
        client.send(format!("WHATSAT kiwi {words}\n"));
        client.places_reply().1
    }
}

/// Whether a client who has read everything so far has heard more. Does not wait.
pub fn has_heard(client: &Client) -> bool {
    client.stream.set_nonblocking(true).unwrap();
    let peeked = client.stream.peek(&mut [0]);
    client.stream.set_nonblocking(false).unwrap();
    peeked.is_ok()
}

/// The reply's JSON when there is nothing but a fault to tell.
pub fn fault(words: &str) -> String {
    format!(
        "{{\"html_attributions\":[],\"results\":[],\"status\":\"UNKNOWN_ERROR\",\
         \"error_message\":\"places: {words}\"}}\n"
    )
}
