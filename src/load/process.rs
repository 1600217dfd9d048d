//! What the system says of processes: the processor time they had and waited for, and their memory.
//!
//! From `/proc` (proc(5), and the kernel's sched-stats.rst for `schedstat`), where there is one; elsewhere
//! there is nothing to report. Reading is a few system calls, made twice in a run and never for a reply.
//! Called by the applications of this module.

use std::fs;
use std::ops::Sub;

/// Processes that are watched at once.
pub const PIDS_MAX: usize = 1000;

/// Processor time of all threads of some processes, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// Had.
    pub ran: u64,
    /// Waited for, ready to run, while others ran.
    pub waited: u64,
}

impl Sub for Cpu {
    type Output = Self;

    /// What came to it between two readings. A thread that has ended meanwhile takes its time with it.
    fn sub(self, before: Self) -> Self {
        Self {
            ran: self.ran.saturating_sub(before.ran),
            waited: self.waited.saturating_sub(before.waited),
        }
    }
}

/// The processor time of these processes so far, where the system tells.
pub fn cpu(pids: &[u32]) -> Option<Cpu> {
    let mut sum = Cpu::default();
    let mut told = false;
    for pid in pids {
        for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
            // A thread may end between its being listed and its being read.
            let text = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
            if let Some(cpu) = parse_schedstat(&text) {
                sum = Cpu { ran: sum.ran + cpu.ran, waited: sum.waited + cpu.waited };
                told = true;
            }
        }
    }
    told.then_some(sum)
}

/// The resident memory of a process in kB, where the system tells.
pub fn resident_kb(pid: u32) -> Option<u64> {
    parse_resident(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

/// How many files this process may have open, where the system tells.
pub fn files_max() -> Option<usize> {
    parse_files_max(&fs::read_to_string("/proc/self/limits").ok()?)
}

fn parse_schedstat(text: &str) -> Option<Cpu> {
    let mut words = text.split_whitespace();
    Some(Cpu { ran: words.next()?.parse().ok()?, waited: words.next()?.parse().ok()? })
}

fn parse_resident(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn parse_files_max(text: &str) -> Option<usize> {
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(usize::MAX),
        soft => soft.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_texts_are_read() {
        let cpu = parse_schedstat("1716294120 20489177 4391\n");
        assert_eq!(cpu, Some(Cpu { ran: 1_716_294_120, waited: 20_489_177 }));
        assert_eq!(parse_schedstat("1716294120"), None);
        let status = "VmHWM:\t    9000 kB\nVmRSS:\t    8264 kB\nRssAnon:\t 1 kB\n";
        assert_eq!(parse_resident(status), Some(8264));
        assert_eq!(parse_resident("Name:\tkthreadd\n"), None);
        let limits = "Max processes   1  2  processes\nMax open files   1024   524288   files\n";
        assert_eq!(parse_files_max(limits), Some(1024));
        assert_eq!(
            parse_files_max("Max open files  unlimited unlimited files\n"),
            Some(usize::MAX)
        );
    }

    #[test]
    fn time_between_two_readings_never_goes_below_nothing() {
        let (before, after) = (Cpu { ran: 5, waited: 9 }, Cpu { ran: 8, waited: 3 });
        assert_eq!(after - before, Cpu { ran: 3, waited: 0 });
    }

    #[test]
    fn a_process_that_is_not_there_tells_nothing() {
        assert_eq!(cpu(&[u32::MAX]), None);
        assert_eq!(resident_kb(u32::MAX), None);
        assert_eq!(cpu(&[]), None);
    }
}
