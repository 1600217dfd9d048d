//! How many descriptors this process may have, and how many of them accepted connections may take.
//!
//! Running out is met before it happens: accepting pauses while there are some left for everything else
//! (links that are dialled, the upstream, logs, the journal). What other programs use up of the whole
//! machine's, nobody can foresee; `accept.rs` lives with that. Called once, at the start.

use rustix::process::{Resource, getrlimit, setrlimit};

use super::limits::DESCRIPTOR_RESERVE;

/// Where the system does not tell how many descriptors are open: more than a server has at its start.
const OPEN_AT_LEAST: usize = 32;

/// Raises this process's limit of descriptors as far as it may itself. The lower one is there for
/// programs that use `select`, which this one does not.
pub fn raise_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Refused where the system has another limit that is lower; then the present one stays.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// How many connections can be accepted from now on, so that enough descriptors are left for the rest.
/// `None`: as many as one likes.
pub(super) fn room_for_connections() -> Option<usize> {
    let limit = getrlimit(Resource::Nofile).current?;
    Some(room(usize::try_from(limit).unwrap_or(usize::MAX), open()))
}

/// With very few descriptors the reserve is half of what is free, and one connection there is always room
/// for: a server that nobody can ask is none.
fn room(limit: usize, open: usize) -> usize {
    let free = limit.saturating_sub(open);
    (free - DESCRIPTOR_RESERVE.min(free / 2)).max(1)
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
        assert_eq!(room(1024, 24), 1000 - DESCRIPTOR_RESERVE);
        assert_eq!(room(64, 24), 20);
        assert_eq!((room(30, 28), room(20, 28), room(0, 0)), (1, 1, 1));
    }

    #[test]
    fn open_descriptors_are_counted() {
        let before = open();
        let _files: Vec<_> = (0..20).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        // Other tests of this process open and close some meanwhile, hardly twenty.
        assert!(open() > before, "{} after {before}", open());
    }
}
