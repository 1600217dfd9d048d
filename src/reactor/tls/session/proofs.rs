//! Who a peer has proven to be: certificates good and bad, shown between two sides joined by memory.

use rcgen::{
    CertificateParams, ExtendedKeyUsagePurpose as Purpose, IsCa, Issuer, KeyPair, PublicKeyData,
};
use rustls::HandshakeKind;

use crate::reactor::tls::session::tests::{Side, converse, only_tls_1_2};
use crate::reactor::tls::session::*;

const BOTH_ENDS: [Purpose; 2] = [Purpose::ServerAuth, Purpose::ClientAuth];

/// What signs certificates, and its own. Every one bears the same name, as if each were to be taken for
/// the other.
struct Signer {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Signer {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
        params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Signs a certificate for `name` that expires in that year.
    fn sign(
        &self,
        name: &str,
        year: i32,
        purposes: &[Purpose],
        key: &impl PublicKeyData,
    ) -> String {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        params.extended_key_usages = purposes.to_vec();
        params.use_authority_key_identifier_extension = true;
        params.signed_by(key, &self.issuer).unwrap().pem()
    }

    fn credentials_with(&self, name: &str, year: i32, purposes: &[Purpose]) -> Credentials {
        let key = KeyPair::generate().unwrap();
        self.trusted_with(&self.sign(name, year, purposes, &key), &key)
    }

    fn credentials(&self, name: &str) -> Credentials {
        self.credentials_with(name, 4096, &BOTH_ENDS)
    }

    /// Believes this signer, and shows what it is given.
    fn trusted_with(&self, chain: &str, key: &KeyPair) -> Credentials {
        let key = key.serialize_pem();
        Credentials::from_pem(self.pem.as_bytes(), chain.as_bytes(), key.as_bytes()).unwrap()
    }
}

/// `client` dials `server`, and expects it to be called `name`.
fn dial(client: &TlsClient, server: &Credentials, name: &str) -> (Side, Side) {
    let client = Side::new(TlsSession::client(client, name).unwrap());
    (client, Side::new(TlsSession::server(&server.server().unwrap()).unwrap()))
}

/// The handshake of two who believe each other.
fn agree(client: &TlsClient, server: &Credentials) -> (Side, Side) {
    let (mut client, mut server) = dial(client, server, "Alford");
    converse(&mut client, &mut server, usize::MAX);
    assert!(!client.tls.is_handshaking() && !server.tls.is_handshaking());
    (client, server)
}

/// A client dials Alford and is not believed: what each side says of it.
fn refused(client: &Credentials, alford: &Credentials) -> [String; 2] {
    let (mut client, mut server) = dial(&client.client().unwrap(), alford, "Alford");
    server.hear(&client.take_records(), usize::MAX);
    client.hear(&server.take_records(), usize::MAX);
    let shown = client.take_records();
    let here = server.tls.receive(&shown, &mut server.heard).unwrap_err();
    assert!(!server.tls.peer_is("Ball"));
    let alert = server.tls.records.unsent().to_vec();
    let there = client.tls.receive(&alert, &mut client.heard).unwrap_err();
    [here, there]
}

#[test]
fn each_side_knows_who_the_other_is() {
    let signer = Signer::new();
    let (alford, ball) = (signer.credentials("Alford"), signer.credentials("Ball"));
    let (client, server) = dial(&ball.client().unwrap(), &alford, "Alford");
    assert!(!server.tls.peer_is("Ball") && !client.tls.peer_is("Alford"), "nothing is shown yet");
    let (client, server) = agree(&ball.client().unwrap(), &alford);
    assert!(server.tls.peer_is("Ball") && client.tls.peer_is("Alford"));
    assert!(server.tls.peer_is("BALL"), "as TLS compares names");
    for name in ["", "Bal", "Ballo", "Alford", "*", "B*", "not a name", "127.0.0.1"] {
        assert!(!server.tls.peer_is(name), "{name}");
    }
}

#[test]
fn who_has_no_certificate_is_welcome_and_nobody() {
    let signer = Signer::new();
    let alford = signer.credentials("Alford");
    let anonymous = TlsClient::from_pem(signer.pem.as_bytes()).unwrap();
    let (mut client, mut server) = agree(&anonymous, &alford);
    assert!(
        !server.tls.peer_is("Ball") && !server.tls.peer_is("Alford") && !server.tls.peer_is("")
    );
    client.say(b"IAMAT");
    converse(&mut client, &mut server, 7);
    assert_eq!(server.heard, b"IAMAT");
}

#[test]
fn a_certificate_of_another_authority_is_refused_on_both_sides_with_words() {
    let (signer, stranger) = (Signer::new(), Signer::new());
    let alford = signer.credentials("Alford");
    let key = KeyPair::generate().unwrap();
    let forged = signer.trusted_with(&stranger.sign("Ball", 4096, &BOTH_ENDS, &key), &key);
    let [here, there] = refused(&forged, &alford);
    assert_eq!(here, "the client's certificate is not signed by a trusted authority");
    assert!(there.ends_with("the peer does not believe our certificate"), "{there}");
    // And the other way round: who answers is not the one that was dialled.
    let (mut client, mut server) =
        dial(&forged.client().unwrap(), &stranger.credentials("Alford"), "Alford");
    server.hear(&client.take_records(), usize::MAX);
    let shown = server.take_records();
    let words = client.tls.receive(&shown, &mut client.heard).unwrap_err();
    assert_eq!(words, "the server's certificate is not signed by a trusted authority");
    assert!(!client.tls.peer_is("Alford"));
}

#[test]
fn an_expired_certificate_proves_nothing() {
    let signer = Signer::new();
    let (alford, ball) =
        (signer.credentials("Alford"), signer.credentials_with("Ball", 2020, &BOTH_ENDS));
    let [here, there] = refused(&ball, &alford);
    assert_eq!(here, "the client's certificate has expired");
    assert!(there.ends_with("by the peer's clock our certificate has expired"), "{there}");
}

#[test]
fn a_certificate_for_servers_only_does_not_make_a_client() {
    let signer = Signer::new();
    let ball = signer.credentials_with("Ball", 4096, &[Purpose::ServerAuth]);
    let [here, _] = refused(&ball, &signer.credentials("Alford"));
    assert_eq!(here, "the client's certificate is not for this use");
}

/// An authority that serves with its own certificate, as `openssl req -x509` makes one.
#[test]
fn an_authoritys_own_certificate_does_not_make_a_server() {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["Alford".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).unwrap().pem();
    let signer =
        Signer { issuer: Issuer::new(params, KeyPair::generate().unwrap()), pem: pem.clone() };
    let alford = signer.trusted_with(&pem, &key);
    let client = TlsClient::from_pem(pem.as_bytes()).unwrap();
    let (mut client, mut server) = dial(&client, &alford, "Alford");
    server.hear(&client.take_records(), usize::MAX);
    let shown = server.take_records();
    let told = client.tls.receive(&shown, &mut client.heard).unwrap_err();
    let words = "certificate is an authority's own, which may sign but not speak for a server";
    assert_eq!(told, format!("the server's {words}"));
}

#[test]
fn a_certificate_of_tomorrow_is_told_from_one_that_has_expired() {
    let signer = Signer::new();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["Ball".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(4000, 1, 1);
    let pem = params.signed_by(&key, &signer.issuer).unwrap().pem();
    let [here, there] = refused(&signer.trusted_with(&pem, &key), &signer.credentials("Alford"));
    assert_eq!(here, "the client's certificate is not valid yet by the clock of this machine");
    assert!(there.starts_with("TLS: "), "{there}");
}

#[test]
fn who_has_a_certificate_cannot_make_one_for_somebody_else() {
    let signer = Signer::new();
    let ball = KeyPair::generate().unwrap();
    let balls = signer.sign("Ball", 4096, &BOTH_ENDS, &ball);
    let key = KeyPair::generate().unwrap();
    let issuer = Issuer::new(CertificateParams::new(["Ball".to_owned()]).unwrap(), ball);
    let pem = signer.pem.clone();
    let forged = Signer { issuer, pem }.sign("Hamilton", 4096, &BOTH_ENDS, &key);
    let chain = signer.trusted_with(&format!("{forged}{balls}"), &key);
    let [here, there] = refused(&chain, &signer.credentials("Alford"));
    assert_eq!(here, "the client's certificate is not signed by a trusted authority");
    assert!(there.contains("alert"), "{there}");
}

#[test]
fn another_name_than_the_one_dialled_is_refused() {
    let signer = Signer::new();
    let ball = signer.credentials("Ball").client().unwrap();
    let (mut client, mut server) = dial(&ball, &signer.credentials("Hamilton"), "Alford");
    server.hear(&client.take_records(), usize::MAX);
    let shown = server.take_records();
    let words = client.tls.receive(&shown, &mut client.heard).unwrap_err();
    assert_eq!(words, "the server's certificate is for another name");
    let told = server.tls.receive(&client.take_records(), &mut server.heard).unwrap_err();
    assert!(told.ends_with("the peer does not believe our certificate"), "{told}");
}

#[test]
fn an_older_tls_serves_clients_and_proves_nothing() {
    let signer = Signer::new();
    let (alford, ball) = (signer.credentials("Alford"), signer.credentials("Ball"));
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(Arc::clone(&ball.authority))
        .with_client_auth_cert(ball.chain.clone(), ball.key.clone_key())
        .unwrap();
    let (client, server) = agree(&TlsClient(Arc::new(config)), &alford);
    assert_eq!(server.tls.session.protocol_version(), Some(ProtocolVersion::TLSv1_2));
    assert!(server.tls.session.peer_certificates().is_some() && !server.tls.peer_is("Ball"));
    assert!(!client.tls.peer_is("Alford"));

    // And who dials a neighbour speaks nothing older.
    let mut client = TlsSession::client(&ball.client().unwrap(), "Alford").unwrap();
    let mut server = TlsSession::server(&only_tls_1_2(&alford.server().unwrap())).unwrap();
    client.collect_records();
    assert!(server.receive(client.records.unsent(), &mut Vec::new()).is_err());
}

#[test]
fn each_connection_proves_anew() {
    let signer = Signer::new();
    let (alford, ball) =
        (signer.credentials("Alford").server().unwrap(), signer.credentials("Ball"));
    let anonymous = TlsClient::from_pem(signer.pem.as_bytes()).unwrap();
    for client in [ball.client().unwrap(), anonymous] {
        for _ in 0..2 {
            let mut client = Side::new(TlsSession::client(&client, "Alford").unwrap());
            let mut server = Side::new(TlsSession::server(&alford).unwrap());
            converse(&mut client, &mut server, usize::MAX);
            assert_eq!(server.tls.session.handshake_kind(), Some(HandshakeKind::Full));
        }
    }
}

#[test]
fn what_does_not_belong_together_is_told_with_words() {
    let signer = Signer::new();
    let (ball, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let chain = signer.sign("Ball", 4096, &BOTH_ENDS, &ball);
    let mixed = signer.trusted_with(&chain, &other);
    let (server, client) = (mixed.server().map(drop), mixed.client().map(drop));
    for error in [server.unwrap_err(), client.unwrap_err()] {
        assert_eq!(error, "our certificate is for another key");
    }
    let (pem, key) = (signer.pem.as_bytes(), ball.serialize_pem());
    let said = |authority: &[u8], chain: &[u8], key: &[u8]| {
        Credentials::from_pem(authority, chain, key).map(drop).unwrap_err()
    };
    assert!(
        said(b"", chain.as_bytes(), key.as_bytes()).starts_with("the authority: no certificate")
    );
    assert!(said(pem, b"", key.as_bytes()).starts_with("the certificate: no certificate"));
    assert!(said(pem, chain.as_bytes(), chain.as_bytes()).starts_with("the key: "));
    let credentials = signer.trusted_with(&chain, &ball);
    assert!(
        credentials.is_for("Ball") && credentials.is_for("ball") && !credentials.is_for("Alford")
    );
    let ders = certificates_in_pem(format!("{chain}{}", signer.pem).as_bytes()).unwrap();
    assert_eq!((ders.len(), ders[0].as_slice()), (2, credentials.certificate()));
}
