//! TLS as a layer of the transport: bytes in, bytes out. Every rustls name stands in this file.
//!
//! It is a filter inside a connection, not a protocol around another, because anyone may write to any
//! token and a wrapping protocol could be by-passed. It touches no socket: `connection.rs` hands it what
//! was read and writes what it has to say. The provider is ring, passed explicitly, so that no
//! process-wide default decides.

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

use super::transport::Output;

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
            .map_err(|e| format!("this certificate and key cannot be served: {e}"))
    }
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
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|e| format!("not a PEM certificate: {e}"))?;
            roots.add(certificate).map_err(|e| format!("not usable as an authority: {e}"))?;
        }
        if roots.is_empty() {
            return Err("no certificate in it (expected -----BEGIN CERTIFICATE-----)".to_owned());
        }
        Self::trusting(roots)
    }

    fn trusting(roots: RootCertStore) -> Result<Self, String> {
        ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map(|builder| builder.with_root_certificates(roots).with_no_client_auth())
            .map(|config| Self(Arc::new(config)))
            .map_err(|e| format!("TLS cannot be set up: {e}"))
    }
}

/// One connection's TLS state.
pub(super) struct TlsSession {
    session: rustls::Connection,
    /// Records that are ready for the socket.
    pub records: Output,
}

impl TlsSession {
    /// The answering side.
    pub fn server(tls: &TlsServer) -> Result<Self, String> {
        let session = ServerConnection::new(Arc::clone(&tls.0)).map_err(|e| words(&e))?;
        Ok(Self::new(rustls::Connection::Server(session)))
    }

    /// The dialling side, which checks that the certificate names `host` (a DNS name or an address).
    pub fn client(tls: &TlsClient, host: &str) -> Result<Self, String> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| format!("{host:?} is not a name that a certificate can carry"))?;
        let session = ClientConnection::new(Arc::clone(&tls.0), name).map_err(|e| words(&e))?;
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
                    return Err(words(&e));
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
        if !plain.is_empty() && !self.session.is_handshaking() {
            self.session.writer().write_all(plain.unsent()).map_err(|e| e.to_string())?;
            plain.clear();
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
            if self.session.write_tls(self.records.tail(&mut Vec::new())).is_err() {
                return;
            }
        }
    }
}

/// What rustls says, in words for those who did not write it.
fn words(error: &rustls::Error) -> String {
    use rustls::CertificateError as Certificate;
    match error {
        // A bad signature is what a server shows that has made itself a new certificate of the old name.
        rustls::Error::InvalidCertificate(
            Certificate::UnknownIssuer | Certificate::BadSignature,
        ) => "the server's certificate is not signed by a trusted authority".to_owned(),
        rustls::Error::InvalidCertificate(
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. },
        ) => "the server's certificate is for another name".to_owned(),
        rustls::Error::InvalidCertificate(
            Certificate::Expired | Certificate::ExpiredContext { .. },
        ) => "the server's certificate has expired".to_owned(),
        other => format!("TLS: {other}"),
    }
}

#[cfg(test)]
pub(super) mod tests;
