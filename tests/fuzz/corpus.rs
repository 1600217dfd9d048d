//! The inputs that are kept, one file each, in `tests/fuzz/corpus/TARGET/`.
//!
//! What somebody wrote has a name that says what it is for; what was found begins with `found-`. The
//! files are the bytes that a target is shown, as they are, so they can be read and written by hand.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;

/// The files of a target and what is in them, by name.
pub fn files(target: &str) -> Vec<(String, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(folder(target)) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = paths
        .map(|path| {
            let input = fs::read(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
            (path.display().to_string(), input)
        })
        .collect();
    // The order of a folder is anyone's, and a seed has to give the same run everywhere.
    files.sort();
    files
}

/// The inputs of a target.
pub fn read(target: &str) -> Vec<Vec<u8>> {
    files(target).into_iter().map(|(_, input)| input).collect()
}

/// Writes an input that was found; gives the path of its file.
pub fn keep(target: &str, input: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    let folder = folder(target);
    let path = folder.join(format!("found-{:016x}", hasher.finish()));
    let written = fs::create_dir_all(&folder).and_then(|()| fs::write(&path, input));
    written.unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    path.display().to_string()
}

fn folder(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target)
}
