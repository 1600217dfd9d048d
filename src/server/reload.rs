//! SIGHUP: the topology and the keys are read anew while the server runs.
//!
//! Reading may block, so it is done on a thread (`cli/files.rs` says how) and its result comes back as an
//! event. It is taken whole or not at all: when any of it is wrong, all stays as it was and the log says
//! what is wrong. Neighbours and ports that stay are not touched; connections that have been made stay
//! as they are, whatever the new keys say. Called by [`Server`].

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use super::doors::{Doors, Purpose, Wanted};
use super::trust::Believed;
use super::{Event, Server};
use crate::herd::topology::{ServerId, Topology};
use crate::herd::{Herd, NeighbourChange};
use crate::reactor::{Io, Target};

/// For each neighbour, connections that descriptors are kept for: the one that it dials, the one that is
/// dialled to it, and one of either that takes the place of another.
const CONNECTIONS_PER_NEIGHBOUR: usize = 3;

/// The thread that reads the files.
const RELOAD_THREAD: &str = "reload";

/// What the files say.
pub struct Files {
    /// Who there is.
    pub topology: Topology,
    /// This server in it.
    pub me: ServerId,
    /// What is probably not meant in it.
    pub warnings: Vec<String>,
    /// The keys.
    pub believed: Believed,
    /// Where to listen for clients.
    pub listen: Vec<SocketAddr>,
    /// Where to listen for links alone; empty: nowhere.
    pub listen_links: Vec<SocketAddr>,
}

/// Reads the files; runs on a thread. The error has a line for each fault.
pub type ReadFiles = Arc<dyn Fn() -> Result<Files, String> + Send + Sync>;

/// The files that were read, on their way to the server.
pub struct Read(Result<Files, String>);

impl fmt::Debug for Read {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(outcome) = self;
        f.debug_tuple("Read").field(&outcome.as_ref().map(|_| ()).map_err(String::as_str)).finish()
    }
}

/// What is needed to read the files again, and the ports that they have opened.
pub struct Reload {
    read: ReadFiles,
    state: State,
    /// The ports that are open.
    pub doors: Doors,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Reading,
    /// They have been asked for once more meanwhile, and may have changed after they were read.
    ReadingAndAgain,
}

impl Reload {
    /// With ports that are open already.
    pub fn new(read: ReadFiles, doors: Doors) -> Self {
        Self { read, state: State::Idle, doors }
    }
}

impl Files {
    /// The ports that are to be open.
    pub fn doors(&self) -> Wanted<'_> {
        Wanted {
            clients: (&self.listen, &self.believed.clients),
            links: (&self.listen_links, &self.believed.links),
        }
    }
}

/// How many connections to keep room for beside those that count against the limits.
pub fn room_apart(herd: &Herd) -> usize {
    let present = herd.neighbours().filter(|id| herd.neighbour_server(*id).is_some());
    CONNECTIONS_PER_NEIGHBOUR * present.count()
}

impl Server {
    /// Has the files read anew. Several requests while one is under way are one.
    pub fn reload(&mut self, io: &mut Io<Self>) {
        let Some(reload) = &mut self.reload else { return };
        if reload.state != State::Idle {
            log::info!("the files are still being read; they are read again after that");
            return reload.state = State::ReadingAndAgain;
        }
        let read = Arc::clone(&reload.read);
        let read = move || read();
        let begun = io.defer_to_thread(RELOAD_THREAD, Target::Application, read, |outcome| {
            let outcome =
                outcome.unwrap_or_else(|panic| Err(format!("reading them failed: {panic}")));
            Event::FilesRead(Box::new(Read(outcome)))
        });
        match begun {
            Ok(()) => reload.state = State::Reading,
            Err(why) => log::error!("the topology and the keys are not read anew: {why}"),
        }
    }

    /// The files have been read.
    pub(super) fn files_read(&mut self, read: Read, io: &mut Io<Self>) {
        let Some(reload) = &mut self.reload else { return };
        let again = std::mem::replace(&mut reload.state, State::Idle) == State::ReadingAndAgain;
        let Read(outcome) = read;
        if let Err(words) = outcome.and_then(|files| self.take_files(files, io)) {
            log::error!("the topology and the keys stay as they were:");
            words.lines().for_each(|line| log::error!("{line}"));
        }
        if again {
            self.reload(io);
        }
    }

    /// Takes what the files say. The error says why it cannot; then nothing has changed.
    fn take_files(&mut self, files: Files, io: &mut Io<Self>) -> Result<(), String> {
        let Some(reload) = &mut self.reload else { return Ok(()) };
        self.herd.check_topology(&files.topology, files.me).map_err(|e| e.to_string())?;
        let doors = |reload: &Reload, io: &Io<Self>| {
            [Purpose::Clients, Purpose::Links].map(|purpose| reload.doors.in_words(purpose, io))
        };
        let before = doors(reload, io);
        reload.doors.change(&files.doors(), io)?;
        let after = doors(reload, io);
        for warning in files.warnings.iter().flat_map(|warning| warning.lines()) {
            log::warn!("{warning}");
        }
        let Files { topology, me, believed, .. } = files;
        let changes = self.herd.change_topology(topology, me).map_err(|e| e.to_string())?;
        let what = if believed.trust.is_proof() { " and the keys are" } else { " is" };
        log::info!("the topology{what} taken anew; {}", told(&self.herd, &changes));
        if before != after {
            let [clients, links] = after;
            let links = if links.is_empty() { links } else { format!(", for links on {links}") };
            log::info!("listening on {clients}{links}");
        }
        self.links.trust = believed.trust;
        self.expiry = believed.expiry.map(|expiry| expiry.in_place_of(self.expiry.take()));
        if let Some(expiry) = &self.expiry {
            expiry.warn(self.herd.name(), io);
        }
        self.change_links(&changes, io);
        io.fit_to_descriptors(room_apart(&self.herd));
        Ok(())
    }
}

/// What has changed for neighbours, in words.
fn told(herd: &Herd, changes: &[NeighbourChange]) -> String {
    if changes.is_empty() {
        return "the neighbours are the same".to_owned();
    }
    let words = changes.iter().map(|change| {
        let (id, what) = match change {
            NeighbourChange::Added(id) => (*id, "is a neighbour now"),
            NeighbourChange::Removed(id) => (*id, "is no neighbour any more"),
            NeighbourChange::Moved(id) => (*id, "is dialled at another address"),
        };
        format!("{} {what}", herd.neighbour_name(id))
    });
    words.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::reactor::{Now, Reactor};
    use crate::server::alone;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn requests_while_the_files_are_read_have_them_read_once_more() {
        let reads = Arc::new(AtomicUsize::new(0));
        let (go_on, told) = channel();
        let (counted, told) = (Arc::clone(&reads), Mutex::new(told));
        let read: ReadFiles = Arc::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
            told.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            Err("line one\nline two".to_owned())
        });
        let reload = Some(Reload::new(read, Doors::default()));
        let mut reactor = Reactor::new(Server { reload, ..alone() }).unwrap();
        let cx = reactor.context();
        (0..3).for_each(|_| cx.app.reload(cx.io));
        (0..2).for_each(|_| go_on.send(()).unwrap());
        let deadline = Instant::now() + PATIENCE;
        while reactor.app().reload.as_ref().unwrap().state != State::Idle {
            assert!(Instant::now() < deadline, "it never ends");
            reactor.sleep(Some(Duration::from_millis(5))).unwrap();
            reactor.advance(Now::read());
        }
        assert_eq!(reads.load(Ordering::SeqCst), 2);
    }
}
