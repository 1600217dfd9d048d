//! The herd's keys: its authority and a certificate for each server, by which neighbours know each other.
//!
//! `herd keys` and `scripts/herd start` make them ([`make()`]), `herd serve` reads its own
//! ([`ServerKeys::read`]); nothing of this runs while the loop does, so all of it may block. Who is
//! believed on a connection is not decided here, but by TLS (`reactor/tls/session.rs`).
//!
//! ```text
//! DIR/authority.pem            the authority's certificate, no secret
//! DIR/authority-key.pem        what signs new certificates; may be kept elsewhere
//! DIR/NAME/authority.pem       ┐
//! DIR/NAME/certificate.pem     ├ all that the machine of NAME needs
//! DIR/NAME/key.pem             ┘
//! ```
//!
//! Reading order: [`authority`] makes keys and certificates in memory, `make` decides which are missing,
//! `files` writes them so that nobody else can read them, not even for a moment.

pub mod authority;
mod files;
mod make;

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::reactor::Credentials;
use crate::wire::certificate::{Validity, validity};
use crate::wire::time::{NANOS_PER_SECOND, Nanos, write_utc};

pub use files::refuse_shared_key;
pub use make::{Outcome, Renew, Row, Wanted, make};

/// So long before the end of a certificate its server warns in its log, each day.
pub const WARN_BEFORE_SECONDS: i64 = 30 * SECONDS_PER_DAY;

/// How long a server's certificate is valid unless it is said otherwise: a herd should be looked after
/// more often than that, and should not stop because it was not.
pub const SERVER_DAYS: u32 = 2 * 365;

/// How long the authority is valid. To make a new one means to go to every machine.
pub const AUTHORITY_DAYS: u32 = 10 * 365;

/// The longest validity that can be asked for, a hundred years.
pub const DAYS_MAX: u32 = 100 * 365;

/// A certificate is valid from a little before it was made, for machines whose clocks are behind.
pub const CLOCKS_APART_SECONDS: i64 = 3600;

/// Seconds in a day.
pub const SECONDS_PER_DAY: i64 = 86_400;

const AUTHORITY: &str = "authority.pem";
const AUTHORITY_KEY: &str = "authority-key.pem";
const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";

/// What one server needs to prove itself, and to believe its neighbours.
pub struct ServerKeys {
    /// Where it was found.
    pub folder: PathBuf,
    /// For TLS.
    pub credentials: Credentials,
    /// When the certificate is valid.
    pub validity: Validity,
}

impl ServerKeys {
    /// Reads the keys of the server `name` from its own folder, or from the folder of all keys. The
    /// error names the file, what is wrong with it and what to do.
    pub fn read(dir: &Path, name: &str) -> Result<Self, String> {
        let own = dir.join(name);
        let folder = if own.is_dir() { own } else { dir.to_owned() };
        let shown = folder.display();
        let read = |file: &str| {
            std::fs::read(folder.join(file)).map_err(|e| {
                format!("cannot read {shown}/{file}: {e}; `herd keys DIR` makes a server's keys")
            })
        };
        let (authority, certificate, key) = (read(AUTHORITY)?, read(CERTIFICATE)?, read(KEY)?);
        refuse_shared_key(&folder.join(KEY))?;
        let credentials = Credentials::from_pem(&authority, &certificate, &key)
            .map_err(|e| format!("the keys in {shown} are not right: {e}"))?;
        if !credentials.is_for(name) {
            return Err(format!(
                "the certificate in {shown} is another server's; {name} needs its own, which \
                 `herd keys DIR` puts into DIR/{name}"
            ));
        }
        let validity = validity(credentials.certificate())
            .ok_or_else(|| format!("{shown}/{CERTIFICATE} does not say when it expires"))?;
        Ok(Self { folder, credentials, validity })
    }
}

/// The day of a moment in seconds since 1970, as in 2026-11-17.
pub fn date(seconds: i64) -> String {
    let mut text = Vec::new();
    write_utc(&mut text, Nanos::from(seconds) * NANOS_PER_SECOND);
    text.truncate("2026-11-17".len());
    String::from_utf8_lossy(&text).into_owned()
}

/// A moment of the wall clock in seconds since 1970; 0 for what was before.
pub fn unix_seconds(moment: SystemTime) -> i64 {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
