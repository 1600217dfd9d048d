//! The folder in which everything about the running processes lies, and the names of its files.
//!
//! Owns the layout of `run/` and nothing that is in the files. Every command enters it first.

use std::fs;
use std::path::{Path, PathBuf};

/// What the stand-in's files are called; no server may be.
pub const PLACES: &str = "places";

/// The folder, as a path from the working directory.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    /// The same folder as whoever typed the command would name it.
    shown: PathBuf,
}

impl RunDir {
    /// Makes the folder where it is missing and goes to the folder above it, for this program and for
    /// all that it starts: the name of a Unix socket has room for about a hundred bytes only, which a
    /// path from the root of a deep checkout would overflow, and `run/Alford.sock` never does.
    pub fn enter(wanted: &Path) -> Result<Self, String> {
        let fault = |error: std::io::Error| format!("cannot use {}: {error}", wanted.display());
        fs::create_dir_all(wanted.join("logs")).map_err(fault)?;
        let whole = wanted.canonicalize().map_err(fault)?;
        let (Some(above), Some(name)) = (whole.parent(), whole.file_name()) else {
            return Err(format!("{} is no folder to keep files in", wanted.display()));
        };
        let here = std::env::current_dir().map_err(fault)?;
        let shown = whole.strip_prefix(here).unwrap_or(&whole).to_owned();
        std::env::set_current_dir(above).map_err(fault)?;
        Ok(Self { path: name.into(), shown })
    }

    /// A folder of the same layout inside this one.
    pub fn inner(&self, name: &str) -> Result<Self, String> {
        let path = self.path.join(name);
        fs::create_dir_all(path.join("logs"))
            .map_err(|error| format!("cannot make {}: {error}", path.display()))?;
        Ok(Self { path, shown: self.shown.join(name) })
    }

    /// A file in the folder as whoever typed the command would name it.
    pub fn shown(&self, file: &Path) -> String {
        let inside = file.strip_prefix(&self.path).unwrap_or(file);
        self.shown.join(inside).display().to_string()
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the process of that name is written down.
    pub fn process_file(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.pid"))
    }

    /// Where that process listens for `STATUS` and `STOP`.
    pub fn socket(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.sock"))
    }

    /// The folder of the logs.
    pub fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    /// The folder of the journals: what the servers know outlives a stop there.
    pub fn journal(&self) -> PathBuf {
        self.path.join("journal")
    }

    /// The log that a server of that name writes.
    pub fn log(&self, name: &str) -> PathBuf {
        self.logs().join(format!("{name}.log"))
    }

    /// What the process of that name prints: its complaints when it does not get as far as its log.
    pub fn output(&self, name: &str) -> PathBuf {
        self.logs().join(format!("{name}.out"))
    }

    /// The certificate by which the stand-in is believed.
    pub fn places_ca(&self) -> PathBuf {
        self.path.join("places-ca.pem")
    }

    /// The keys that are made for the servers.
    pub fn keys(&self) -> PathBuf {
        self.path.join("keys")
    }

    /// Where a start that is under way is written down.
    pub fn starting(&self) -> PathBuf {
        self.path.join("starting")
    }

    /// The options that the herd was started with.
    pub fn options(&self) -> PathBuf {
        self.path.join("options")
    }
}
