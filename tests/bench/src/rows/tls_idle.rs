//! Idle connections over TLS: handshakes done one after the other from here, then silence.

use std::fs;
use std::net::TcpStream;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::bench::Bench;
use crate::compared::HERD;
use crate::servers::QUIET;
use crate::servers::{ANSWER_PATIENCE, HERD_PATIENCE, Stage};
use crate::table::{Check, Row, short};

/// Descriptors that are left for everything else.
const DESCRIPTORS_KEPT: u32 = 100;

const KIB: f64 = 1024.0;

/// Memory per idle connection after the handshake.
pub fn tls_idle(bench: &mut Bench) -> Result<Vec<Row>, String> {
    let count = bench.sizes.idle.min(descriptors().saturating_sub(DESCRIPTORS_KEPT));
    let stage = Stage::alone(bench)?;
    let flags = format!("{QUIET} {}", stage.keys(bench)?);
    let server = stage.serve(bench, "Alford", HERD, &flags)?;
    let client = Client::new(&stage)?;
    // The first handshake brings in what all later ones share.
    drop(client.connect(server.port)?);
    let before = server.process.resident_bytes()?;
    let mut open = Vec::new();
    for _ in 0..count {
        if bench.stop.asked() {
            return Err("stopped".to_owned());
        }
        open.push(client.connect(server.port)?);
    }
    let all =
        || server.counts("clients").is_ok_and(|clients| clients >= f64::from(count)).then_some(());
    bench.stop.wait(HERD_PATIENCE, all).ok_or("the server does not count all connections")?;
    let each = (server.process.resident_bytes()? - before) / f64::from(count.max(1));
    let work = format!("{} idle connections over TLS: memory each", short(count.into()));
    server.note_turn(bench);
    let row = Row::new(&work, "≤ 12 KiB", format!("{} KiB", short(each / KIB)))
        .judged(&[Check::at_most(each / KIB, 12.0)]);
    Ok(vec![row])
}

/// Somebody who speaks TLS and trusts the authority of one herd.
struct Client(Arc<ClientConfig>);

impl Client {
    fn new(stage: &Stage) -> Result<Self, String> {
        let file = stage.folder().join("keys/authority.pem");
        let shown = file.display();
        let authority = CertificateDer::from_pem_file(&file)
            .map_err(|error| format!("cannot read {shown}: {error}"))?;
        let mut roots = RootCertStore::empty();
        roots.add(authority).map_err(|error| format!("{shown}: {error}"))?;
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }

    /// A connection after its handshake. Nothing is said on it any more, so its keys are forgotten here.
    fn connect(&self, port: u16) -> Result<TcpStream, String> {
        let fault = |error: std::io::Error| format!("TLS to port {port}: {error}");
        let name = ServerName::try_from("Alford").map_err(|error| error.to_string())?;
        let mut session =
            ClientConnection::new(self.0.clone(), name).map_err(|error| error.to_string())?;
        let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(fault)?;
        stream.set_read_timeout(Some(ANSWER_PATIENCE)).map_err(fault)?;
        while session.is_handshaking() || session.wants_write() {
            session.complete_io(&mut stream).map_err(fault)?;
        }
        Ok(stream)
    }
}

/// How many descriptors this program may have (`/proc/self/limits`); a thousand where nobody tells.
fn descriptors() -> u32 {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    soft.unwrap_or(1_000)
}
