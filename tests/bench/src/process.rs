//! Processes: started on a CPU of their own, asked for their CPU time and memory, and stopped by number.
//!
//! Whatever is started here ends with the value that stands for it, however the program goes on. A Ctrl-C
//! meant for this program reaches none of them by itself: each is a process group of its own. Knows nothing
//! of herds or peers.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// The CPU of the load generator.
pub const LOAD_CPU: u32 = 1;

/// The share of the time without a CPU from which on a sample counts as disturbed.
pub const DISTURBED: f64 = 0.03;

/// How often a process is looked at while something is waited for.
pub const POLL: Duration = Duration::from_millis(2);

/// How long a process has to end after SIGTERM.
const END_PATIENCE: Duration = Duration::from_secs(5);

/// Whether somebody wants this program to stop (Ctrl-C, SIGTERM, SIGHUP).
#[derive(Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// From now on these signals only set the flag.
    pub fn catch() -> Result<Self, String> {
        let stop = Self::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, stop.0.clone())
                .map_err(|error| format!("cannot catch signal {signal}: {error}"))?;
        }
        Ok(stop)
    }

    /// Whether to stop.
    pub fn asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Sleeps until `ready` has something, for at most `patience`; `None` when it has not, or when
    /// this program is to stop.
    pub fn wait<T>(&self, patience: Duration, mut ready: impl FnMut() -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(found) = ready() {
                return Some(found);
            }
            if self.asked() || Instant::now() >= deadline {
                return None;
            }
            sleep(POLL);
        }
    }
}

/// A process that ends with this value.
pub struct Process {
    child: Child,
    /// What is told of it in errors.
    name: String,
}

impl Process {
    /// Starts a program on a CPU, where `taskset` can say so. What it prints goes to the file `output`.
    pub fn start(command: &Command, cpu: Option<u32>, output: &Path) -> Result<Self, String> {
        let name = command.get_program().to_string_lossy().into_owned();
        let printed = File::create(output)
            .map_err(|error| format!("cannot write {}: {error}", output.display()))?;
        let complaints = printed.try_clone().map_err(|error| error.to_string())?;
        let mut pinned = pinned(command, cpu);
        pinned.stdin(Stdio::null()).stdout(printed).stderr(complaints);
        Self::spawn(&mut pinned, name)
    }

    /// Starts a program, whose output the caller has arranged.
    pub fn spawn(command: &mut Command, name: String) -> Result<Self, String> {
        let child = command
            .process_group(0)
            .spawn()
            .map_err(|error| format!("cannot start {name}: {error}"))?;
        Ok(Self { child, name })
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// What it has printed, of one that has ended and whose output goes to pipes.
    pub fn output(&mut self) -> (String, String) {
        let (mut out, mut err) = (String::new(), String::new());
        // What cannot be read is as good as not said.
        let _ = self.child.stdout.take().map(|mut pipe| pipe.read_to_string(&mut out));
        let _ = self.child.stderr.take().map(|mut pipe| pipe.read_to_string(&mut err));
        (out, err)
    }

    /// Waits for its end. The error says that it takes too long, or that this program is to stop.
    pub fn finish(&mut self, stop: &Stop, patience: Duration) -> Result<ExitStatus, String> {
        stop.wait(patience, || self.ended()).ok_or_else(|| {
            let seconds = patience.as_secs();
            if stop.asked() {
                "stopped".to_owned()
            } else {
                format!("{} has not ended within {seconds} s", self.name)
            }
        })
    }

    /// The CPU time that all its threads have used, in nanoseconds.
    pub fn cpu_ns(&self) -> Result<f64, String> {
        Ok(self.schedule()?.0)
    }

    /// The time that they were ready to run and had no CPU, as a share of that and the time that they ran.
    pub fn waited_share(&self) -> Result<f64, String> {
        let (ran, waited) = self.schedule()?;
        Ok(waited / (ran + waited).max(1.0))
    }

    /// Nanoseconds that all its threads ran and waited for a CPU (the kernel's sched-stats.rst).
    pub fn schedule(&self) -> Result<(f64, f64), String> {
        let tasks = format!("/proc/{}/task", self.pid());
        let fault = |error: io::Error| format!("cannot read {tasks}: {error}");
        let (mut ran, mut waited) = (0.0, 0.0);
        for task in fs::read_dir(&tasks).map_err(fault)? {
            let path = task.map_err(fault)?.path().join("schedstat");
            // A thread may end between the two looks.
            let text = fs::read_to_string(path).unwrap_or_default();
            let mut numbers = text.split(' ').map(|word| word.parse::<f64>().unwrap_or(0.0));
            ran += numbers.next().unwrap_or(0.0);
            waited += numbers.next().unwrap_or(0.0);
        }
        Ok((ran, waited))
    }

    /// Its resident memory in bytes.
    pub fn resident_bytes(&self) -> Result<f64, String> {
        let path = format!("/proc/{}/status", self.pid());
        let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        resident_bytes(&text).ok_or_else(|| format!("{path} does not tell VmRSS"))
    }
}

/// Reads `VmRSS` of `/proc/PID/status`, which is in KiB (proc(5)).
fn resident_bytes(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<f64>().ok().map(|kib| kib * 1024.0)
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended().is_some() {
            return;
        }
        // The shell's own `kill`: a system call would need `unsafe` or another crate. It reaches what the
        // process has started itself, as cargo does its compilers.
        let group = format!("-{}", self.pid());
        let _ = Command::new("sh").args(["-c", "kill -- \"$1\"", "sh", &group]).status();
        if Stop::default().wait(END_PATIENCE, || self.ended()).is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The command under `taskset`, on a machine that has it and a CPU of that number.
pub fn pinned(command: &Command, cpu: Option<u32>) -> Command {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let cpu = cpu.filter(|cpu| usize::try_from(*cpu).is_ok_and(|cpu| cpu < cpus));
    let Some(cpu) = cpu.filter(|_| find("taskset").is_some()) else {
        let mut same = Command::new(command.get_program());
        same.args(command.get_args());
        return same;
    };
    let mut pinned = Command::new("taskset");
    pinned.args(["-c", &cpu.to_string()]).arg(command.get_program()).args(command.get_args());
    pinned
}

/// Where a program is, of those that can be called by name.
pub fn find(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper() -> Process {
        Process::start(Command::new("sleep").arg("60"), None, Path::new("/dev/null")).unwrap()
    }

    #[test]
    fn a_process_ends_with_its_value() {
        let process = sleeper();
        let folder = format!("/proc/{}", process.pid());
        assert!(Path::new(&folder).exists());
        drop(process);
        assert!(!Path::new(&folder).exists());
    }

    #[test]
    fn waiting_ends_when_the_program_is_to_stop() {
        let stop = Stop::default();
        stop.0.store(true, Ordering::Relaxed);
        let fault = sleeper().finish(&stop, Duration::from_secs(60)).unwrap_err();
        assert_eq!(fault, "stopped");
    }

    #[test]
    fn cpu_time_and_memory_are_read() {
        let process = sleeper();
        assert!(process.cpu_ns().unwrap() >= 0.0);
        assert!((0.0..=1.0).contains(&process.waited_share().unwrap()));
        assert!(process.resident_bytes().unwrap() > 0.0);
        assert_eq!(resident_bytes("VmHWM:\t9 kB\nVmRSS:\t  3 kB\n"), Some(3.0 * 1024.0));
        assert_eq!(resident_bytes("VmSize: 9 kB"), None);
    }
}
