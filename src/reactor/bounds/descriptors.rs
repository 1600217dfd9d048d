//! How many descriptors this process may have, and how many of them accepted connections may take.
//!
//! Running out is met before it happens: accepting pauses while there are some left for everything else
//! (links that are dialled, the upstream, logs, the journal). What other programs use up of the whole
//! machine's, nobody can foresee; `net/accept.rs` lives with that. Called once, at the start.
//!
//! The kernel keeps descriptors in a table that begins small and doubles when it is full. In a process of several
//! threads the call that needs the next descriptor then sleeps until no processor can be looking at the
//! old table any more: 5 to 50 ms on Linux 6.18 (`expand_fdtable` waits for RCU), seven times on the way to
//! ten thousand connections. So the table is made large before there is a second thread.

use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::reactor::bounds::limits::{DESCRIPTOR_RESERVE, TABLE_MAX_DESCRIPTORS};

/// Where the system does not tell how many descriptors are open: more than a server has at its start.
const OPEN_AT_LEAST: usize = 32;

/// Makes room for so many connections. To be called before any thread is started.
pub fn prepare(connections: usize) {
    raise_limit();
    if let Some(limit) = getrlimit(Resource::Nofile).current {
        enlarge_table(wanted(usize::try_from(limit).unwrap_or(usize::MAX), connections));
    }
}

/// Raises this process's limit of descriptors as far as it may itself. The lower one is there for
/// programs that use `select`, which this one does not.
fn raise_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Refused where the system has another limit that is lower; then the present one stays.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// How many descriptors there are to be in the table.
fn wanted(limit: usize, connections: usize) -> usize {
    limit.min(connections.saturating_add(DESCRIPTOR_RESERVE)).min(TABLE_MAX_DESCRIPTORS)
}

/// Makes the kernel's table so large, at 8 bytes for each, or up to 16, as it is rounded up to a power of two:
/// for a moment the last of them is open. Where that is refused, the table grows as it is needed.
fn enlarge_table(descriptors: usize) {
    if let Some(last) = descriptors.checked_sub(1).and_then(|last| i32::try_from(last).ok()) {
        let _ = fcntl_dupfd_cloexec(std::io::stderr(), last);
    }
}

/// How many descriptors this process may have, and how many are open. `None`: as many as one likes.
pub(in crate::reactor) fn limit_and_open() -> Option<(usize, usize)> {
    let limit = getrlimit(Resource::Nofile).current?;
    Some((usize::try_from(limit).unwrap_or(usize::MAX), open()))
}

/// How many connections can be accepted beside those that are open, so that the reserve is left for the
/// rest. With very few descriptors the reserve is half of what is free, and there is always room for one
/// connection: a server that nobody can ask is none.
pub(in crate::reactor) fn room(limit: usize, open: usize, reserve: usize) -> usize {
    let free = limit.saturating_sub(open);
    (free - reserve.min(free / 2)).max(1)
}

fn open() -> usize {
    // Reading it opens one more, which is closed again and stands for no one.
    std::fs::read_dir("/dev/fd").map_or(OPEN_AT_LEAST, |open| open.count().saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_left_free_and_where_little_is_half_of_it() {
        let room = |limit, open| room(limit, open, 64);
        assert_eq!(room(1024, 24), 936);
        assert_eq!(room(64, 24), 20);
        assert_eq!((room(30, 28), room(20, 28), room(0, 0)), (1, 1, 1));
    }

    #[test]
    fn the_table_is_for_the_connections_and_the_reserve_within_the_limit() {
        assert_eq!(wanted(1_000_000, 100), 100 + DESCRIPTOR_RESERVE);
        assert_eq!(wanted(1024, 1000), 1024);
        assert_eq!(wanted(1024, usize::MAX), 1024);
        assert_eq!(wanted(1 << 30, 100_000_000), TABLE_MAX_DESCRIPTORS);
    }

    /// `FDSize` in `/proc/self/status` is how many descriptors the table has a place for (proc(5)). Raises the
    /// limit of the whole test process, for good; no other test needs the lower one.
    #[cfg(target_os = "linux")]
    #[test]
    fn the_table_grows_before_anybody_comes() {
        let size = || -> usize {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("FDSize:")).unwrap();
            line.trim().parse().unwrap()
        };
        raise_limit();
        let limit = usize::try_from(getrlimit(Resource::Nofile).current.unwrap()).unwrap();
        let before = size();
        if before >= limit {
            return eprintln!("SKIPPED: the table has {before} places, and may have {limit}");
        }
        let wanted = limit.min(2 * before);
        enlarge_table(wanted);
        assert!(size() >= wanted, "{} after {before}", size());
        assert!(!std::fs::exists(format!("/dev/fd/{}", wanted - 1)).unwrap(), "it is left open");
        // What cannot be had does no harm.
        for wanted in [0, limit + 1, usize::MAX] {
            enlarge_table(wanted);
        }
    }

    #[test]
    fn open_descriptors_are_counted() {
        let before = open();
        let _files: Vec<_> = (0..20).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        // Other tests of this process open and close some meanwhile, hardly twenty.
        assert!(open() > before, "{} after {before}", open());
    }
}
