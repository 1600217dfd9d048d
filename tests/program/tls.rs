//! TLS as the other side of a server speaks it: rustls over a blocking socket, with any certificate.
//!
//! Written against rustls and `herd::keys` alone, so that a test can show what the program would never show.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::SystemTime;

use herd::keys::authority::{Authority, Certified};
use herd::keys::{SECONDS_PER_DAY, unix_seconds};
use herd::wire::certificate::Validity;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    SupportedProtocolVersion,
};

use super::support::{DEADLINE, Herd, herd};

impl Herd {
    /// Makes the herd's keys, which all servers that start from now on are given.
    pub fn with_keys(mut self) -> Self {
        let (dir, topology) = (self.folder.path("keys"), self.folder.path("topology.txt"));
        let (dir, topology) = (dir.to_str().unwrap(), topology.to_str().unwrap());
        let made = herd(&["keys", "--topology", topology, dir]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        self.arguments.extend(["--keys".to_owned(), dir.to_owned()]);
        self
    }

    /// What stands in a file of the keys.
    pub fn key_file(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path("keys").join(name)).unwrap()
    }

    /// The certificate and key of one of its servers.
    pub fn certified(&self, name: &str) -> Certified {
        Certified {
            certificate: self.key_file(&format!("{name}/certificate.pem")),
            key: self.key_file(&format!("{name}/key.pem")),
        }
    }

    /// A certificate by the herd's own authority that is valid until some days from now.
    pub fn certify(&self, name: &str, days: i64) -> Certified {
        let authority = Authority::from_key(&self.key_file("authority-key.pem")).unwrap();
        authority.certify(name, until(days)).unwrap()
    }

    /// A client that shows this certificate, or none.
    pub fn tls(&self, server: &str, shown: Option<&Certified>) -> Tls {
        self.tls_of(&rustls::version::TLS13, server, shown)
    }

    pub fn tls_of(
        &self,
        version: &'static SupportedProtocolVersion,
        server: &str,
        shown: Option<&Certified>,
    ) -> Tls {
        let roots = roots(&self.key_file("authority.pem"));
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots);
        let config = match shown {
            None => config.with_no_client_auth(),
            Some(shown) => {
                let (chain, key) = identity(shown);
                config.with_client_auth_cert(chain, key).unwrap()
            }
        };
        let name = ServerName::try_from(server.to_owned()).unwrap();
        let session = ClientConnection::new(Arc::new(config), name).unwrap();
        let stream = TcpStream::connect(("127.0.0.1", self.port(server))).unwrap();
        let socket = stream.try_clone().unwrap();
        let tls = Box::new(StreamOwned::new(session, Tls::bounded(stream)));
        Tls(BufReader::new(tls), socket)
    }

    /// The certificate that a server shows, in DER.
    pub fn shown_by(&self, server: &str) -> Vec<u8> {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots(&self.key_file("authority.pem")))
            .with_no_client_auth();
        let name = ServerName::try_from(server.to_owned()).unwrap();
        let mut session = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut stream =
            Tls::bounded(TcpStream::connect(("127.0.0.1", self.port(server))).unwrap());
        while session.is_handshaking() {
            session.complete_io(&mut stream).unwrap();
        }
        session.peer_certificates().unwrap()[0].to_vec()
    }
}

/// From some days before to some days after now.
pub fn until(days: i64) -> Validity {
    let now = unix_seconds(SystemTime::now());
    Validity { not_before: now - 1000 * SECONDS_PER_DAY, not_after: now + days * SECONDS_PER_DAY }
}

/// A certificate by an authority that nobody knows, which calls itself as the herd's does.
pub fn forged(name: &str) -> Certified {
    Authority::generate().unwrap().certify(name, until(10)).unwrap()
}

/// The server's side of a connection that was accepted.
pub fn serve(stream: TcpStream, shown: &Certified) -> Tls {
    let (chain, key) = identity(shown);
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let session = ServerConnection::new(Arc::new(config)).unwrap();
    let socket = stream.try_clone().unwrap();
    Tls(BufReader::new(Box::new(StreamOwned::new(session, Tls::bounded(stream)))), socket)
}

fn identity(shown: &Certified) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let certificate = CertificateDer::from_pem_slice(shown.certificate.as_bytes()).unwrap();
    (vec![certificate], PrivateKeyDer::from_pem_slice(shown.key.as_bytes()).unwrap())
}

fn roots(pem: &str) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    roots
}

trait Both: Read + Write {}
impl<T: Read + Write> Both for T {}

/// One side of a TLS connection, read by lines, and the socket below it.
pub struct Tls(BufReader<Box<dyn Both>>, TcpStream);

impl Tls {
    fn bounded(stream: TcpStream) -> TcpStream {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    pub fn send(&mut self, text: &str) -> io::Result<()> {
        self.send_bytes(text.as_bytes())
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.get_mut().write_all(bytes)?;
        self.0.get_mut().flush()
    }

    /// Ends the input with a FIN alone, without `close_notify`.
    pub fn bare_fin(&self) {
        self.1.shutdown(Shutdown::Write).unwrap();
    }

    /// The rest up to the other side's `close_notify`.
    pub fn rest(&mut self) -> io::Result<String> {
        let mut text = String::new();
        self.0.read_to_string(&mut text)?;
        Ok(text)
    }

    /// The next line, without its LF.
    pub fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        match line.strip_suffix('\n') {
            Some(line) => Ok(line.to_owned()),
            None => Err(io::Error::other(format!("the end came within {line:?}"))),
        }
    }

    pub fn ask(&mut self, line: &str) -> io::Result<String> {
        self.send(&format!("{line}\n"))?;
        self.line()
    }

    /// What still comes until the connection ends, in whatever way.
    pub fn until_cut(&mut self) -> String {
        let mut text = Vec::new();
        let _ = self.0.read_to_end(&mut text);
        String::from_utf8(text).unwrap()
    }
}
