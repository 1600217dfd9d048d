//! Makes what is missing of a herd's keys, and renews what is to be renewed; the rest is not touched.
//!
//! First it is found out what there is and what has to be done, and whether it can be done; only then is
//! anything written. The authority's key is needed only when there is something to sign.

use std::path::{Path, PathBuf};

use super::authority::{Authority, name_fault};
use super::files::{PUBLIC, SECRET, make_private_folder, read, refuse_shared_key, write_whole};
use super::{
    AUTHORITY, AUTHORITY_DAYS, AUTHORITY_KEY, CERTIFICATE, CLOCKS_APART_SECONDS, KEY,
    SECONDS_PER_DAY, ServerKeys, WARN_BEFORE_SECONDS, date,
};
use crate::reactor::certificates_in_pem;
use crate::wire::certificate::{Validity, validity};

/// What a herd's keys should be.
pub struct Wanted<'a> {
    /// The servers.
    pub names: &'a [&'a str],
    /// Where the authority's key is kept, when not in the folder.
    pub authority_key: Option<&'a Path>,
    /// Which of them get a new key and certificate though they have one.
    pub renew: Renew,
    /// How long new certificates are valid.
    pub days: u32,
    /// Seconds since 1970.
    pub now: i64,
}

/// Whose key and certificate are made anew.
pub enum Renew {
    /// Only what is missing is made.
    Nobody,
    /// Those servers'.
    Named(Vec<String>),
    /// Every server's.
    All,
    /// Those that their servers would warn of.
    Expiring,
}

/// What was done for one server, or for the authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There was none.
    Made,
    /// It is another one now.
    Renewed,
    /// It is as it was.
    Kept,
}

/// One certificate, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Whose.
    pub name: String,
    /// When it is valid.
    pub validity: Validity,
    /// What was done.
    pub outcome: Outcome,
}

/// Sees to it that `dir` has an authority and a folder for each server. Answers what there is now, the
/// authority first. The error says what is wrong and what to do; what was there before is then as it was,
/// unless a disk failed in between.
pub fn make(dir: &Path, wanted: &Wanted<'_>) -> Result<Vec<Row>, String> {
    if let Some(fault) = wanted.names.iter().find_map(|name| name_fault(name)) {
        return Err(fault);
    }
    if let Renew::Named(names) = &wanted.renew
        && let Some(stranger) = names.iter().find(|name| !wanted.names.contains(&name.as_str()))
    {
        return Err(format!("there is no server {stranger:?} in the topology to renew"));
    }
    let mut signer = Signer::find(dir, wanted)?;
    let plan: Result<Vec<Row>, String> =
        wanted.names.iter().map(|name| look_at(dir, name, &signer, wanted)).collect();
    let mut rows = plan?;
    let new = |row: &Row| row.outcome != Outcome::Kept;
    if rows.iter().any(new) {
        signer.unlock()?;
    }
    make_private_folder(dir)?;
    signer.write()?;
    for row in rows.iter_mut().filter(|row| new(row)) {
        signer.certify(row)?;
    }
    rows.insert(0, Row { name: "(authority)".to_owned(), ..signer.row });
    Ok(rows)
}

/// How a server stands, and what is to be done about it. For a new certificate the validity is that which
/// it is to have.
fn look_at(
    dir: &Path,
    name: &str,
    signer: &Signer<'_>,
    wanted: &Wanted<'_>,
) -> Result<Row, String> {
    let row = |outcome, validity| Ok(Row { name: name.to_owned(), validity, outcome });
    let new = Validity {
        not_before: wanted.now - CLOCKS_APART_SECONDS,
        // No certificate counts for longer than the authority that signed it.
        not_after: (wanted.now + i64::from(wanted.days) * SECONDS_PER_DAY)
            .min(signer.row.validity.not_after),
    };
    let folder = dir.join(name);
    let Some(certificate) = read(&folder.join(CERTIFICATE))? else {
        return row(Outcome::Made, new);
    };
    let (whole, shown) = (folder.join(CERTIFICATE), folder.display());
    let validity = validity_of(&certificate, &whole);
    let renew = match &wanted.renew {
        Renew::Nobody => false,
        Renew::Named(names) => names.iter().any(|renewed| renewed == name),
        Renew::All => true,
        Renew::Expiring => {
            validity.as_ref().is_ok_and(|v| v.not_after - wanted.now < WARN_BEFORE_SECONDS)
        }
    };
    if renew {
        return row(Outcome::Renewed, new);
    }
    let validity = validity.map_err(|e| format!("{e}; make it anew with --renew {name}"))?;
    if read(&folder.join(AUTHORITY))?.as_ref() != Some(&signer.certificate) {
        return Err(format!(
            "{shown} is not of the authority {}, or that file is gone; put the right one back, or \
             make {name}'s keys anew with --renew {name}",
            dir.join(AUTHORITY).display()
        ));
    }
    // It may well have gone to its machine for good.
    if read(&folder.join(KEY))?.is_some() {
        let right = ServerKeys::read(dir, name).and_then(|keys| keys.credentials.server());
        right.map_err(|e| format!("{shown}: {e}; make {name}'s keys anew with --renew {name}"))?;
    }
    row(Outcome::Kept, validity)
}

/// The authority, as far as it is needed.
struct Signer<'a> {
    dir: &'a Path,
    key_file: PathBuf,
    now: i64,
    /// In PEM.
    certificate: String,
    row: Row,
    /// With its key.
    authority: Option<Authority>,
    /// The key is new too.
    new_key: bool,
}

impl<'a> Signer<'a> {
    /// The authority of the folder, or a new one, which is not written yet.
    fn find(dir: &'a Path, wanted: &Wanted<'_>) -> Result<Self, String> {
        let key_file = wanted.authority_key.map_or_else(|| dir.join(AUTHORITY_KEY), Path::to_owned);
        let (file, now) = (dir.join(AUTHORITY), wanted.now);
        let row = |outcome, validity| Row { name: String::new(), validity, outcome };
        if let Some(certificate) = read(&file)? {
            let row = row(Outcome::Kept, validity_of(&certificate, &file)?);
            return Ok(Self {
                dir,
                key_file,
                now,
                certificate,
                row,
                authority: None,
                new_key: false,
            });
        }
        let key = read_key(&key_file)?;
        let new_key = key.is_none();
        let authority = match key {
            Some(key) => {
                Authority::from_key(&key).map_err(|e| format!("{}: {e}", key_file.display()))?
            }
            None => Authority::generate()?,
        };
        let validity = Validity {
            not_before: now - CLOCKS_APART_SECONDS,
            not_after: now + i64::from(AUTHORITY_DAYS) * SECONDS_PER_DAY,
        };
        let certificate = authority.certificate(validity)?;
        let row = row(Outcome::Made, validity);
        Ok(Self { dir, key_file, now, certificate, row, authority: Some(authority), new_key })
    }

    /// Gets the key, for there is something to sign.
    fn unlock(&mut self) -> Result<(), String> {
        let (shown, file) = (self.key_file.display(), self.dir.join(AUTHORITY));
        if self.row.validity.not_after <= self.now {
            return Err(format!(
                "the authority {} has expired on {}; make a new one with all its servers in \
                 another folder",
                file.display(),
                date(self.row.validity.not_after)
            ));
        }
        if self.authority.is_some() {
            return Ok(());
        }
        let Some(key) = read_key(&self.key_file)? else {
            return Err(format!(
                "there are certificates to sign, and the authority's key is not at {shown}; say \
                 with --authority-key FILE where it is kept. If it is lost, make a new authority \
                 with all its servers in another folder"
            ));
        };
        let authority = Authority::from_key(&key).map_err(|e| format!("{shown}: {e}"))?;
        if !certificates_in_pem(self.certificate.as_bytes())?.iter().any(|der| authority.is_of(der))
        {
            return Err(format!("{shown} is not the key of {}", file.display()));
        }
        self.authority = Some(authority);
        Ok(())
    }

    /// Writes what of it is new: the key first, or an interruption could leave a certificate whose key
    /// nobody has.
    fn write(&self) -> Result<(), String> {
        let Some(authority) = self.authority.as_ref().filter(|_| self.row.outcome == Outcome::Made)
        else {
            return Ok(());
        };
        if self.new_key {
            write_whole(&self.key_file, &authority.key(), SECRET)?;
        }
        write_whole(&self.dir.join(AUTHORITY), &self.certificate, PUBLIC)
    }

    /// Writes a server's folder: the certificate last, since with it the folder counts as whole.
    fn certify(&self, row: &Row) -> Result<(), String> {
        let Some(authority) = &self.authority else { return Ok(()) };
        let made = authority.certify(&row.name, row.validity)?;
        let folder = self.dir.join(&row.name);
        make_private_folder(&folder)?;
        write_whole(&folder.join(AUTHORITY), &self.certificate, PUBLIC)?;
        write_whole(&folder.join(KEY), &made.key, SECRET)?;
        write_whole(&folder.join(CERTIFICATE), &made.certificate, PUBLIC)
    }
}

/// The authority's key as text, `None` when there is no such file.
fn read_key(path: &Path) -> Result<Option<String>, String> {
    refuse_shared_key(path)?;
    read(path)
}

fn validity_of(pem: &str, file: &Path) -> Result<Validity, String> {
    let shown = file.display();
    let certificates = certificates_in_pem(pem.as_bytes()).map_err(|e| format!("{shown}: {e}"))?;
    let read = certificates.first().and_then(|der| validity(der));
    read.ok_or_else(|| format!("{shown} is no certificate"))
}
