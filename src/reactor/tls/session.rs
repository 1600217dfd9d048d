//! TLS as a layer of the transport: bytes in, bytes out. Every rustls name stands in this file or, where it
//! is an error's, in `words.rs`.
//!
//! It is a filter inside a connection, not a protocol around another, because anyone may write to any
//! token and a wrapping protocol could be by-passed. It touches no socket: the connection hands it what
//! was read and writes what it has to say. The provider is ring, passed explicitly, so that no
//! process-wide default decides.

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    ClientConfig, ClientConnection, ProtocolVersion, RootCertStore, ServerConfig, ServerConnection,
};

use crate::reactor::connection::stream::{Output, Spare};
use crate::reactor::tls::words::{CLIENTS, OURS, SERVERS, words};

/// The first byte of whoever opens a TLS connection: the type of a handshake's record.
pub(in crate::reactor) const TLS_HANDSHAKE: u8 = 22;

/// How a listener speaks TLS: its certificate and key.
#[derive(Clone)]
pub struct TlsServer(Arc<ServerConfig>);

impl TlsServer {
    /// From a chain of certificates in DER (own certificate first) and its private key in PKCS #8 DER.
    /// The error says what is wrong with them.
    pub fn new(chain: Vec<Vec<u8>>, key: Vec<u8>) -> Result<Self, String> {
        let chain = chain.into_iter().map(CertificateDer::from).collect();
        let key = PrivateKeyDer::Pkcs8(key.into());
        ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map(|config| Self(Arc::new(config)))
            .map_err(|e| format!("this certificate and key cannot be served: {}", words(&e, OURS)))
    }
}

/// By what this side shows who it is, and by what it recognizes those who show the same: a certificate
/// with its key, and the authority that it has in common with them.
pub struct Credentials {
    authority: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Credentials {
    /// From three PEM texts. The error names the one that is not what it should be.
    pub fn from_pem(authority: &[u8], certificate: &[u8], key: &[u8]) -> Result<Self, String> {
        let authority = authorities(authority).map_err(|e| format!("the authority: {e}"))?;
        let chain = certificates(certificate).map_err(|e| format!("the certificate: {e}"))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| format!("the key: {e}"))?;
        Ok(Self { authority: Arc::new(authority), chain, key })
    }

    /// Our own certificate in DER.
    pub fn certificate(&self) -> &[u8] {
        self.chain.first().map_or(&[], |certificate| certificate)
    }

    /// Whether our own certificate is for this name.
    pub fn is_for(&self, name: &str) -> bool {
        self.chain.first().is_some_and(|certificate| is_for(certificate, name))
    }

    /// A listener that shows our certificate, and lets whoever connects show one of the same authority;
    /// those who have none are welcome too. See [`Io::peer_is`](crate::reactor::Io::peer_is). The error says
    /// why the certificate and the key do not do.
    pub fn server(&self) -> Result<TlsServer, String> {
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(
            Arc::clone(&self.authority),
            Arc::clone(&provider),
        );
        let verifier = verifier.allow_unauthenticated().build().map_err(|e| e.to_string())?;
        let builder = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| words(&e, OURS))?;
        let mut config = builder
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .map_err(|e| words(&e, OURS))?;
        // A resumed session would repeat what was proven then, by a certificate that may have expired
        // since. So nothing is remembered, and each connection proves anew.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(TlsServer(Arc::new(config)))
    }

    /// For connections to those of the same authority: TLS 1.3, our certificate is shown, and theirs is
    /// believed. The error is that of [`Credentials::server`].
    pub fn client(&self) -> Result<TlsClient, String> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|e| words(&e, OURS))?;
        let mut config = builder
            .with_root_certificates(Arc::clone(&self.authority))
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())
            .map_err(|e| words(&e, OURS))?;
        config.resumption = rustls::client::Resumption::disabled();
        Ok(TlsClient(Arc::new(config)))
    }
}

/// The certificates of a PEM text, each in DER; at least one. The error says why there is none.
pub fn certificates_in_pem(pem: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    Ok(certificates(pem)?.iter().map(|certificate| certificate.to_vec()).collect())
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = certificates.map_err(|e| format!("not a PEM certificate: {e}"))?;
    if certificates.is_empty() {
        return Err("no certificate in it (expected -----BEGIN CERTIFICATE-----)".to_owned());
    }
    Ok(certificates)
}

fn authorities(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        let unusable = |e| format!("not usable as an authority: {}", words(&e, "the"));
        roots.add(certificate).map_err(unusable)?;
    }
    Ok(roots)
}

/// Whether a certificate is for this name, as TLS compares names: without regard to case. Says nothing
/// of whether it is to be believed.
fn is_for(certificate: &CertificateDer<'_>, name: &str) -> bool {
    let Ok(name) = ServerName::try_from(name) else { return false };
    let parsed = ParsedCertificate::try_from(certificate);
    parsed.is_ok_and(|parsed| rustls::client::verify_server_name(&parsed, &name).is_ok())
}

/// How a connection that we make speaks TLS: whom it trusts. Sessions are remembered and resumed between
/// all connections made with clones of one value.
#[derive(Clone)]
pub struct TlsClient(Arc<ClientConfig>);

impl TlsClient {
    /// Trusts the authorities that browsers trust (the `webpki-roots` list).
    pub fn web() -> Result<Self, String> {
        let roots = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
        Self::trusting(roots)
    }

    /// Trusts just the certificates of a PEM text. The error says why there are none.
    pub fn from_pem(pem: &[u8]) -> Result<Self, String> {
        Self::trusting(authorities(pem)?)
    }

    fn trusting(roots: RootCertStore) -> Result<Self, String> {
        ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map(|builder| builder.with_root_certificates(roots).with_no_client_auth())
            .map(|config| Self(Arc::new(config)))
            .map_err(|e| format!("TLS cannot be set up: {}", words(&e, OURS)))
    }
}

/// One connection's TLS state.
pub(in crate::reactor) struct TlsSession {
    session: rustls::Connection,
    /// Records that are ready for the socket.
    pub records: Output,
}

impl TlsSession {
    /// The answering side.
    pub fn server(tls: &TlsServer) -> Result<Self, String> {
        let session = ServerConnection::new(Arc::clone(&tls.0)).map_err(|e| words(&e, OURS))?;
        Ok(Self::new(rustls::Connection::Server(session)))
    }

    /// The dialling side, which checks that the certificate is for `name` (a DNS name or an address).
    pub fn client(tls: &TlsClient, name: &str) -> Result<Self, String> {
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| format!("{name:?} is not a name that a certificate can carry"))?;
        let session =
            ClientConnection::new(Arc::clone(&tls.0), name).map_err(|e| words(&e, OURS))?;
        Ok(Self::new(rustls::Connection::Client(session)))
    }

    fn new(mut session: rustls::Connection) -> Self {
        // The transport's own water marks bound what is written; a second limit below them would only
        // make a write fail half-way.
        session.set_buffer_limit(None);
        Self { session, records: Output::default() }
    }

    pub fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    fn peers(&self) -> &'static str {
        match self.session {
            rustls::Connection::Client(_) => SERVERS,
            rustls::Connection::Server(_) => CLIENTS,
        }
    }

    /// Whether the peer has shown, over TLS 1.3, a certificate of an authority that we trust, which is
    /// for this name, and has the key to it. The handshake has checked all of that but the name.
    pub fn peer_is(&self, name: &str) -> bool {
        let agreed = !self.session.is_handshaking()
            && self.session.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        let shown = self.session.peer_certificates().and_then(|chain| chain.first());
        shown.is_some_and(|certificate| agreed && is_for(certificate, name))
    }

    /// Takes bytes from the socket; plain text is appended to `plain`. Answers whether the peer has
    /// closed its side with `close_notify`. Whatever was processed may owe records of its own (a
    /// handshake's answer, a key update, an alert), also when it failed: they wait in `records`.
    pub fn receive(&mut self, mut bytes: &[u8], plain: &mut Vec<u8>) -> Result<bool, String> {
        let mut closed = false;
        while !bytes.is_empty() && !closed {
            // Takes some 4 KiB a call, and refuses only when its plain text is not fetched, which the
            // loop below always does.
            self.session.read_tls(&mut bytes).map_err(|e| e.to_string())?;
            let state = match self.session.process_new_packets() {
                Ok(state) => state,
                Err(e) => {
                    self.collect_records();
                    return Err(words(&e, self.peers()));
                }
            };
            closed = state.peer_has_closed();
            let start = plain.len();
            plain.resize(start + state.plaintext_bytes_to_read(), 0);
            if let Some(room) = plain.get_mut(start..) {
                self.session.reader().read_exact(room).map_err(|e| e.to_string())?;
            }
        }
        self.collect_records();
        Ok(closed)
    }

    /// Turns plain output into records, once the handshake allows it.
    pub fn seal(&mut self, plain: &mut Output) -> Result<(), String> {
        let length = plain.unsent().len();
        if length > 0 && !self.session.is_handshaking() {
            self.session.writer().write_all(plain.unsent()).map_err(|e| e.to_string())?;
            plain.advance(length);
        }
        self.collect_records();
        Ok(())
    }

    /// Says that we shall send no more (RFC 8446, section 6.1).
    pub fn send_close_notify(&mut self) {
        self.session.send_close_notify();
        self.collect_records();
    }

    fn collect_records(&mut self) {
        while self.session.wants_write() {
            // Writing into memory cannot fail; were it to, the records would stay where they are.
            if self.session.write_tls(self.records.tail(&mut Spare::default())).is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod proofs;
#[cfg(test)]
pub(in crate::reactor) mod tests;
