//! Processes of the program: started, signalled, waited for, killed.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::{DEADLINE, Folder, eventually};

/// The program under test.
pub const HERD: &str = env!("CARGO_BIN_EXE_herd");

/// One running process, with its standard error in a file.
pub struct Process {
    pub child: Child,
    pub name: String,
    errors: PathBuf,
}

impl Process {
    pub fn spawn(name: &str, command: &mut Command, folder: &Folder) -> Self {
        let errors = folder.path(&format!("{name}.err"));
        let child = command
            .stdin(Stdio::null())
            .stderr(fs::File::create(&errors).unwrap())
            .spawn()
            .unwrap();
        Self { child, name: name.to_owned(), errors }
    }

    pub fn errors(&self) -> String {
        fs::read_to_string(&self.errors).unwrap_or_default()
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Waits for its end. `None`: by a signal.
    pub fn exit_code(&mut self) -> Option<i32> {
        let child = &mut self.child;
        eventually("the process ends", || child.try_wait().unwrap()).code()
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- standard error of {} ---\n{}", self.name, self.errors());
        }
    }
}

/// Runs `herd` with arguments to its end.
pub fn herd(arguments: &[&str]) -> Output {
    run_to_end(Command::new(HERD).args(arguments))
}

/// Runs a command to its end, which has to come by itself.
pub fn run_to_end(command: &mut Command) -> Output {
    command.env_remove("PLACES_API_KEY").stdin(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + DEADLINE;
    while child.try_wait().unwrap().is_none() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    let _ = child.kill();
    child.wait_with_output().unwrap()
}
