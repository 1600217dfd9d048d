//! Processes by number and start time: noting them in files, finding them again, signalling them.
//!
//! A number alone may by now belong to a stranger, so a process is only ever believed to be ours when
//! its start time is the noted one, and no signal goes out without that check. Knows nothing of herds.

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How often a process is looked at while waiting for its end.
const POLL: Duration = Duration::from_millis(5);

/// A process, told from all others that had or will have its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// When it started, as the system words it; only ever compared.
    start: String,
}

/// What a process file says of the process now.
#[derive(Debug, PartialEq, Eq)]
pub enum Noted {
    /// There is no file.
    Nothing,
    /// The process of the file, described here, is gone.
    Stale(String),
    /// It runs.
    Running(Process),
}

impl Process {
    /// This program's own.
    pub fn this() -> Result<Self, String> {
        let pid = std::process::id();
        let found = look_up(pid).ok_or("neither /proc nor ps knows of this process")?;
        Ok(Self { pid, start: found.start })
    }

    /// Whether it still runs. One that has ended and waits to be noticed by its parent does not.
    pub fn runs(&self) -> bool {
        look_up(self.pid).is_some_and(|found| found.start == self.start && !found.ended)
    }

    /// Sends it a signal such as `TERM`, unless it is gone.
    pub fn signal(&self, name: &str) -> Result<(), String> {
        if !self.runs() {
            return Ok(());
        }
        // The shell's own `kill`: a system call would need `unsafe` or another crate.
        let sent = Command::new("sh")
            .args(["-c", "kill -s \"$1\" \"$2\"", "sh", name, &self.pid.to_string()])
            .output()
            .map_err(|error| format!("cannot run sh to signal process {}: {error}", self.pid))?;
        if sent.status.success() || !self.runs() {
            return Ok(());
        }
        let words = String::from_utf8_lossy(&sent.stderr);
        Err(format!("cannot send {name} to process {}: {}", self.pid, words.trim()))
    }

    /// Waits for its end; false when it still runs after that time.
    pub fn ends_within(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while self.runs() {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(POLL);
        }
        true
    }

    /// Notes it in a file.
    pub fn note(&self, file: &Path) -> Result<(), String> {
        fs::write(file, format!("{} {}\n", self.pid, self.start))
            .map_err(|error| format!("cannot write {}: {error}", file.display()))
    }
}

/// Reads a process file and looks whether its process still runs.
pub fn noted(file: &Path) -> Result<Noted, String> {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Noted::Nothing),
        Err(error) => return Err(format!("cannot read {}: {error}", file.display())),
    };
    let Some(process) = parse_note(&text) else {
        return Ok(Noted::Stale("no process is named in it".to_owned()));
    };
    if process.runs() {
        return Ok(Noted::Running(process));
    }
    Ok(Noted::Stale(format!("process {} is gone", process.pid)))
}

fn parse_note(text: &str) -> Option<Process> {
    let (pid, start) = text.trim().split_once(' ')?;
    Some(Process { pid: pid.parse().ok()?, start: start.to_owned() })
}

/// Starts a program that outlives this one: in a process group of its own, so that a Ctrl-C meant for
/// this program does not reach it; nothing to read, and what it prints goes to the file `output`.
#[allow(clippy::zombie_processes, reason = "it outlives this program, and its parent is then init")]
pub fn spawn(command: &mut Command, output: &Path) -> Result<Process, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let fault = |error: std::io::Error| format!("cannot start {program}: {error}");
    // Complaints may name what the log does.
    let mut options = OpenOptions::new();
    let printed = options.write(true).create(true).truncate(true).mode(0o600).open(output);
    let printed = printed.map_err(|error| format!("cannot write {}: {error}", output.display()))?;
    let complaints = printed.try_clone().map_err(fault)?;
    let child = command
        .process_group(0)
        // That variable is for the program that a person runs; a server's messages name `herd`.
        .env_remove("HERD_ROOT")
        .stdin(Stdio::null())
        .stdout(printed)
        .stderr(complaints)
        .spawn()
        .map_err(fault)?;
    let found = look_up(child.id())
        .ok_or_else(|| format!("process {} cannot be found after its start", child.id()))?;
    Ok(Process { pid: child.id(), start: found.start })
}

/// What the system says of the process of a number.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    start: String,
    /// Ended, and kept by the system only until its parent asks how.
    ended: bool,
}

/// Asks the system: `/proc` where there is one, else `ps`.
fn look_up(pid: u32) -> Option<Found> {
    if Path::new("/proc/self/stat").exists() {
        return parse_proc_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?);
    }
    let pid = pid.to_string();
    let ps = Command::new("ps").args(["-o", "stat=", "-o", "lstart=", "-p", &pid]).output().ok()?;
    parse_ps(&String::from_utf8_lossy(&ps.stdout))
}

/// Reads `/proc/PID/stat` (proc(5)): the name, field 2, is in parentheses and may hold any character,
/// so counting starts behind its last one with field 3, the state. Field 20 counts the threads, field 22
/// is the start time.
fn parse_proc_stat(line: &str) -> Option<Found> {
    let (_, behind_name) = line.rsplit_once(')')?;
    let mut fields = behind_name.split_ascii_whitespace();
    let state = fields.next()?;
    let threads = fields.nth(20 - 3 - 1)?;
    let start = fields.nth(22 - 20 - 1)?;
    // The first thread of a killed process can end before the others, which still hold its ports.
    let alone = threads.parse().is_ok_and(|threads: u32| threads <= 1);
    Some(Found { start: start.to_owned(), ended: alone && matches!(state, "Z" | "X") })
}

/// Reads a line of `ps -o stat= -o lstart=`: the state, then the start time with spaces in it.
fn parse_ps(line: &str) -> Option<Found> {
    let (state, start) = line.trim().split_once(' ')?;
    Some(Found { start: start.trim().to_owned(), ended: state.starts_with('Z') })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder for one test, under the build's own, removed with it.
    fn scratch(name: &str) -> std::path::PathBuf {
        let path = Path::new("target/local-tests").join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn the_start_time_is_found_behind_any_name() {
        let mut fields: Vec<String> = (4..=52).map(|field| format!("f{field}")).collect();
        for name in ["herd", "a) b (c", "S 1 2"] {
            let stat = format!("77 ({name}) S {}", fields.join(" "));
            let found = parse_proc_stat(&stat).unwrap();
            assert_eq!(found, Found { start: "f22".into(), ended: false });
        }
        for (threads, ended) in [("2", false), ("1", true), ("0", true)] {
            fields[20 - 4] = threads.to_owned();
            let stat = format!("77 (x) Z {}", fields.join(" "));
            assert_eq!(parse_proc_stat(&stat).unwrap().ended, ended);
        }
        assert_eq!(parse_proc_stat("77 (x) S 1 2 3"), None);
        assert_eq!(parse_proc_stat(""), None);
    }

    #[test]
    fn a_line_of_ps_is_read_too() {
        let found = parse_ps("Ss   Sat Nov 21 08:39:01 2026\n").unwrap();
        assert_eq!(found, Found { start: "Sat Nov 21 08:39:01 2026".into(), ended: false });
        assert_eq!(parse_ps(""), None);
    }

    #[test]
    fn a_process_is_known_by_its_number_and_its_start() {
        let folder = scratch("known");
        let file = folder.join("x.pid");
        assert_eq!(noted(&file), Ok(Noted::Nothing));

        let mut command = Command::new("sleep");
        let process = spawn(command.arg("60"), &folder.join("x.out")).unwrap();
        process.note(&file).unwrap();
        assert_eq!(noted(&file), Ok(Noted::Running(process.clone())));
        assert!(!process.ends_within(Duration::from_millis(1)));

        // The same number with another start is a stranger: not found, and not signalled.
        let stranger = Process { start: format!("{}0", process.start), ..process.clone() };
        stranger.note(&file).unwrap();
        assert_eq!(noted(&file), Ok(Noted::Stale(format!("process {} is gone", process.pid))));
        stranger.signal("KILL").unwrap();
        assert!(process.runs());

        process.signal("KILL").unwrap();
        assert!(process.ends_within(Duration::from_secs(10)));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_without_a_process_in_it_is_stale() {
        let folder = scratch("stale");
        let file = folder.join("x.pid");
        for text in ["", "twelve 3\n", "12\n"] {
            fs::write(&file, text).unwrap();
            assert_eq!(noted(&file), Ok(Noted::Stale("no process is named in it".into())));
        }
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_program_that_is_missing_is_named() {
        let folder = scratch("missing");
        let fault = spawn(&mut Command::new("no-such-program"), &folder.join("out")).unwrap_err();
        assert!(fault.starts_with("cannot start no-such-program: "), "{fault}");
        fs::remove_dir_all(folder).unwrap();
    }
}
