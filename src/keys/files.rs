//! Writing keys so that nobody else can read them, not even for a moment, and so that nobody ever meets
//! half of one.
//!
//! A file gets its mode when it is made, not afterwards, under another name, and takes its own name when
//! it is whole and on the disk. Knows nothing of what is in the files. Called by `make`.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// For keys: their owner reads and writes them, and nobody else.
pub(super) const SECRET: u32 = 0o600;

/// For certificates, which anybody may see who can reach them.
pub(super) const PUBLIC: u32 = 0o644;

/// Makes a folder that only its owner can enter, where it is missing, and those above it.
pub(super) fn make_private_folder(path: &Path) -> Result<(), String> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|e| format!("cannot make the folder {}: {e}", path.display()))
}

/// Writes a file with this mode, in place of an earlier one. The error leaves the earlier one as it was.
pub(super) fn write_whole(path: &Path, text: &str, mode: u32) -> Result<(), String> {
    let beside = path.with_extension("new");
    let written = write_new(&beside, text, mode).and_then(|()| fs::rename(&beside, path));
    written.map_err(|e| {
        // What is left of it is in nobody's way, but no use either.
        let _ = fs::remove_file(&beside);
        format!("cannot write {}: {e}", path.display())
    })
}

fn write_new(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    // What an interrupted run has left, which might have another mode.
    if let Err(e) = fs::remove_file(path)
        && e.kind() != ErrorKind::NotFound
    {
        return Err(e);
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// A file's text, `None` when there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<String>, String> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(format!("cannot read {}: {e}", path.display())),
    }
}
