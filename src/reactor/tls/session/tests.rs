//! Two TLS sides joined by memory: no socket, no clock, and any cutting of what goes between them.

use rustls::HandshakeKind;

use crate::reactor::tls::session::*;

/// The first byte of an alert (RFC 8446, section 5.1).
const ALERT: u8 = 21;

/// Who is certified as localhost and 127.0.0.1, and who trusts that.
pub fn identity() -> (TlsServer, TlsClient) {
    let names = ["localhost", "127.0.0.1"].map(str::to_owned);
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let key = made.signing_key.serialize_der();
    let server = TlsServer::new(vec![made.cert.der().to_vec()], key).unwrap();
    (server, TlsClient::from_pem(made.cert.pem().as_bytes()).unwrap())
}

/// The same certificate, from a server of the years before 2018.
pub fn only_tls_1_2(tls: &TlsServer) -> TlsServer {
    ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .map(|builder| {
            builder.with_no_client_auth().with_cert_resolver(tls.0.cert_resolver.clone())
        })
        .map(|config| TlsServer(Arc::new(config)))
        .unwrap()
}

/// One side, what it wants to say and what it has heard.
pub(in crate::reactor) struct Side {
    pub tls: TlsSession,
    output: Output,
    pub heard: Vec<u8>,
    closed: bool,
}

impl Side {
    pub fn new(tls: TlsSession) -> Self {
        Self { tls, output: Output::default(), heard: Vec::new(), closed: false }
    }

    pub fn say(&mut self, text: &[u8]) {
        self.output.tail(&mut Spare::default()).extend_from_slice(text);
    }

    /// What this side has for the socket now.
    pub fn take_records(&mut self) -> Vec<u8> {
        self.tls.seal(&mut self.output).unwrap();
        let records = self.tls.records.unsent().to_vec();
        self.tls.records.advance(records.len());
        records
    }

    pub fn hear(&mut self, bytes: &[u8], piece: usize) {
        for piece in bytes.chunks(piece) {
            self.closed |= self.tls.receive(piece, &mut self.heard).unwrap();
        }
    }
}

fn pair(tls: &(TlsServer, TlsClient), name: &str) -> (Side, Side) {
    let client = Side::new(TlsSession::client(&tls.1, name).unwrap());
    (client, Side::new(TlsSession::server(&tls.0).unwrap()))
}

/// Carries everything over, in pieces, until neither side has more to say.
pub(in crate::reactor) fn converse(client: &mut Side, server: &mut Side, piece: usize) {
    loop {
        let (there, back) = (client.take_records(), server.take_records());
        if there.is_empty() && back.is_empty() {
            return;
        }
        server.hear(&there, piece);
        client.hear(&back, piece);
    }
}

#[test]
fn any_cutting_of_the_records_gives_the_same_text() {
    let (server, client) = identity();
    for tls in [(only_tls_1_2(&server), client.clone()), (server, client)] {
        any_cutting_gives_the_same_text(&tls);
    }
}

fn any_cutting_gives_the_same_text(tls: &(TlsServer, TlsClient)) {
    let text: Vec<u8> = (0..200_000u32).flat_map(u32::to_be_bytes).collect();
    for piece in [1, 5, 4095, 4096, 4097, 20_000, usize::MAX] {
        let (mut client, mut server) = pair(tls, "localhost");
        client.say(&text);
        server.say(&text[..70_000]);
        converse(&mut client, &mut server, piece);
        assert!(!client.tls.is_handshaking() && !server.tls.is_handshaking());
        assert!(server.heard == text && client.heard == text[..70_000], "pieces of {piece}");
        client.tls.send_close_notify();
        converse(&mut client, &mut server, piece);
        assert!(server.closed && !client.closed);
        // The other direction goes on.
        server.say(b"the answer");
        server.tls.seal(&mut server.output).unwrap();
        server.tls.send_close_notify();
        converse(&mut client, &mut server, piece);
        assert!(client.heard.ends_with(b"the answer") && client.closed);
    }
}

#[test]
fn text_waits_until_the_handshake_is_done() {
    let (mut client, _) = pair(&identity(), "localhost");
    client.say(b"secret");
    let hello = client.take_records();
    assert!(!hello.is_empty());
    assert_eq!(client.output.unsent(), b"secret");
}

#[test]
fn the_second_connection_resumes_the_session_of_the_first() {
    let tls = identity();
    let kinds = [(); 2].map(|()| {
        let (mut client, mut server) = pair(&tls, "localhost");
        client.say(b"x");
        server.say(b"y");
        converse(&mut client, &mut server, usize::MAX);
        [client.tls.session.handshake_kind(), server.tls.session.handshake_kind()]
    });
    let both = |kind| [Some(kind), Some(kind)];
    assert_eq!(kinds, [both(HandshakeKind::Full), both(HandshakeKind::Resumed)]);
}

#[test]
fn nothing_is_heard_behind_a_close_notify() {
    let (mut client, mut server) = pair(&identity(), "localhost");
    converse(&mut client, &mut server, usize::MAX);
    client.say(b"before");
    client.tls.seal(&mut client.output).unwrap();
    client.tls.send_close_notify();
    client.say(b"behind");
    let mut records = client.take_records();
    records.extend_from_slice(b"and this is no record at all");
    server.hear(&records, usize::MAX);
    server.hear(b"nor is this", 1);
    assert_eq!((server.heard.as_slice(), server.closed), (&b"before"[..], true));
}

#[test]
fn what_is_no_tls_is_refused_with_an_alert() {
    let (_, mut server) = pair(&identity(), "localhost");
    let error = server.tls.receive(b"GET / HTTP/1.1\r\n\r\n", &mut Vec::new()).unwrap_err();
    assert!(error.starts_with("TLS: "), "{error}");
    assert_eq!(server.tls.records.unsent().first(), Some(&ALERT));
}

#[test]
fn a_changed_record_is_refused() {
    let (mut client, mut server) = pair(&identity(), "localhost");
    converse(&mut client, &mut server, usize::MAX);
    client.say(b"one two three");
    let mut records = client.take_records();
    *records.last_mut().unwrap() ^= 1;
    assert!(server.tls.receive(&records, &mut server.heard).is_err());
    assert_eq!(server.heard, b"");
}

#[test]
fn a_certificate_that_is_not_good_is_told_in_plain_words() {
    let (tls, other) = (identity(), identity());
    let cases = [
        (&other.1, "localhost", "not signed by a trusted authority"),
        (&tls.1, "example.com", "is for another name"),
    ];
    for (trusting, name, words) in cases {
        let mut client = Side::new(TlsSession::client(trusting, name).unwrap());
        let mut server = Side::new(TlsSession::server(&tls.0).unwrap());
        server.hear(&client.take_records(), usize::MAX);
        let answer = server.take_records();
        let error = client.tls.receive(&answer, &mut client.heard).unwrap_err();
        assert!(error.contains(words), "{error}");
        let alert = client.take_records();
        assert!(server.tls.receive(&alert, &mut server.heard).is_err());
    }
}

#[test]
fn what_cannot_be_configured_is_refused_with_words() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let certificate = made.cert.der().to_vec();
    for (chain, key) in
        [(vec![], vec![1, 2, 3]), (vec![certificate], vec![]), (vec![vec![0]], vec![])]
    {
        let error = TlsServer::new(chain, key).err().unwrap();
        assert!(error.starts_with("this certificate and key cannot be served: "), "{error}");
    }
    let garbage = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for pem in [&b""[..], b"no certificate", garbage, b"-----BEGIN CERTIFICATE-----\n?"] {
        assert!(TlsClient::from_pem(pem).is_err(), "{}", String::from_utf8_lossy(pem));
    }
    assert!(TlsClient::web().is_ok());
    let (_, client) = identity();
    let error = TlsSession::client(&client, "not a name").err().unwrap();
    assert!(error.contains("not a name that a certificate can carry"), "{error}");
    assert!(TlsSession::client(&client, "::1").is_ok());
}
