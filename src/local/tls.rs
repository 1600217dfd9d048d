//! A server's port over TLS, for herds whose clients must speak it (`--clients tls`).
//!
//! The server has to show the certificate of the herd's authority with its name; nothing is shown to it, as
//! any client would. Called by `talk`.

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;

/// Who has to answer, and who vouches for that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// The server's name.
    pub name: String,
    /// The file with the authority's certificate.
    pub authority: PathBuf,
}

impl Expected {
    /// Sends a text on a connection, says that it is all, and returns what the reply is read from.
    pub fn say(&self, stream: TcpStream, text: &[u8]) -> io::Result<impl Read + use<>> {
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_file(&self.authority);
        let added = certificate.map_err(io::Error::other).map(|found| roots.add(found));
        added?.map_err(io::Error::other)?;
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(self.name.clone()).map_err(io::Error::other)?;
        let session = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(session, stream);
        stream.write_all(text)?;
        stream.conn.send_close_notify();
        stream.flush()?;
        Ok(stream)
    }
}
