//! Notices that a target does not come back from an input: a loop without an end panics nowhere.
//!
//! A thread looks at what is running every second. Used by long runs alone: how long an input may
//! take depends on the machine, so no test of `cargo test` asks that.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::corpus;

/// How long one input may take: thousands of times what any takes.
const HANG_TIMEOUT: Duration = Duration::from_secs(20);

struct Running {
    since: Instant,
    target: &'static str,
    input: Vec<u8>,
}

/// What is running, for the thread to see.
pub struct Watch(Arc<Mutex<Option<Running>>>);

impl Watch {
    /// Starts the thread, which lives as long as the process.
    pub fn start() -> Self {
        let running = Arc::new(Mutex::new(None));
        let seen = Arc::clone(&running);
        thread::spawn(move || {
            loop {
                thread::sleep(Duration::from_secs(1));
                end_if_hanging(&seen);
            }
        });
        Self(running)
    }

    pub fn begun(&self, target: &'static str, input: &[u8]) {
        let running = Running { since: Instant::now(), target, input: input.to_vec() };
        *self.0.lock().unwrap() = Some(running);
    }

    pub fn ended(&self) {
        *self.0.lock().unwrap() = None;
    }
}

/// Keeps the input and ends the process, since a thread that hangs cannot be ended alone.
fn end_if_hanging(running: &Mutex<Option<Running>>) {
    let running = running.lock().unwrap();
    let Some(Running { since, target, input }) = &*running else { return };
    if since.elapsed() > HANG_TIMEOUT {
        let path = corpus::keep(target, input);
        println!("{target}: FAULT: no answer within {HANG_TIMEOUT:?}\n  kept as {path}");
        std::process::exit(1);
    }
}
