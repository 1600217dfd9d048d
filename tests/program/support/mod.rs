//! What the tests of the whole program share: folders, ports, processes, clients, waiting.
//!
//! Nothing sleeps for luck: [`eventually`] waits for a condition with a deadline. Every process is
//! killed when its value is dropped, so a failing test leaves none behind.

mod answering;
mod client;
mod herd;
mod ports;
mod process;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub use answering::answering;
pub use client::{Client, control, say};
pub use herd::{ALFORD, ALONE, BOLDEN, FARMAR, Herd, PAIR, Shape};
pub use ports::free_ports;
pub use process::{HERD, Process, herd, run_to_end};

/// Far more than anything takes on a busy machine; it only bounds how long a failure takes.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// Waits until `condition` gives something, or fails with `what`.
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A folder of the test's own, removed when dropped.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // Short, because the paths of Unix sockets are bounded.
        let path = std::env::temp_dir().join(format!("herd-{}-{count}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.path(name), text).unwrap();
        // Some of them are keys, which must be their owner's alone.
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
        self.path(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
