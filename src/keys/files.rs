//! Writing keys so that nobody else can read them, not even for a moment, and so that nobody ever meets
//! half of one; and refusing keys that others can read.
//!
//! A file gets its mode when it is made, not afterwards, under another name, and takes its own name when
//! it is whole and on the disk. Knows nothing of what is in the files. Called by `make`, and by whoever
//! reads a key.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// For keys: their owner reads and writes them, and nobody else.
pub(super) const SECRET: u32 = 0o600;

/// The bits of a mode that let others than the owner read a file, or put another text in its place.
const OTHERS: u32 = 0o066;

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

/// Refuses a key's file that others than its owner can read or change. The error names it, and the
/// command that mends it. What comes through a pipe has no mode of its own, and a file that is missing is
/// for whoever reads it to report.
pub fn refuse_shared_key(path: &Path) -> Result<(), String> {
    let Ok(found) = fs::metadata(path) else { return Ok(()) };
    let mode = found.permissions().mode() & 0o777;
    if !found.is_file() || mode & OTHERS == 0 {
        return Ok(());
    }
    let shown = path.display().to_string();
    let mend = quoted(&shown);
    Err(format!(
        "{shown} is a secret, and others than its owner can read or change it (mode {mode:03o}): chmod \
         600 {mend}"
    ))
}

/// A path as a shell takes it.
fn quoted(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-+=./,:@%".contains(&byte);
    if path.bytes().all(plain) {
        path.to_owned()
    } else {
        format!("'{}'", path.replace('\'', "'\\''"))
    }
}

/// A file's text, `None` when there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<String>, String> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(format!("cannot read {}: {e}", path.display())),
    }
}
