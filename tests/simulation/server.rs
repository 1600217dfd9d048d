//! One server: the herd's own truth on a disk that loses things.
//!
//! What stands here is what a real server does with [`herd::journal`](herd::herd::journal), without its
//! reactor: the order at the end of a turn, the journal's thread that does one thing at a time, the file
//! that is written anew.

use std::collections::BTreeMap;

use herd::herd::backoff::Backoff;
use herd::herd::journal::{Gate, REWRITE_SLACK_BYTES, Replay, Verdict, Writer};
use herd::herd::links::NeighbourId;
use herd::herd::topology::{ServerId, Topology};
use herd::herd::{Herd, Settings};
use herd::wire::time::Nanos;

use super::disk::{Disk, File};
use super::ledger::{Ledger, Reply};
use super::plan::{Ms, Plan, Room, Sync, Trouble};
use super::random::Random;

/// By how many clients a store may be over its bound while they wait.
const SLACK_CLIENTS: usize = 64;
/// Log entries that a server may have beside a multiple of its clients.
const LOG_SLACK_ENTRIES: usize = 1_400;
/// About as long as a line of a journal gets here.
const LINE_BYTES: usize = 130;
/// How much longer than twice what it must hold a journal may get: until it is begun anew, and while
/// a slow disk is at that.
const JOURNAL_SLACK_BYTES: u64 = REWRITE_SLACK_BYTES + 200_000;

/// How long a reply waits for the disk before it is refused: less than a server's ten seconds, so that it
/// happens often.
const REPLY_TIMEOUT: Ms = 1_000;

/// The world's clock begins here, in seconds since 1970.
pub const BEGINNING_SECONDS: Nanos = 1_500_000_000;

/// More often than this no server starts anew after a wrong clock before it is started again.
const IDENTITIES_PER_START_MAX: u32 = 1_000;

/// One server of the herd, running or not.
pub struct Server {
    pub id: ServerId,
    /// How often it has started.
    pub starts: u32,
    pub process: Option<Process>,
    pub paused_until: Ms,
    /// How wrong its clock is, and how finely it counts.
    pub skew: Nanos,
    pub clock_step: Ms,
    pub disk: Disk,
    /// What it has told clients itself, since its disk was last spoilt.
    pub told: Ledger,
    /// The highest horizon that any start of it has had.
    pub highest_horizon: Option<Nanos>,
}

/// One start of a server.
pub struct Process {
    pub number: u32,
    /// How many identities it had, counting over all starts of the server.
    pub identities: u32,
    pub herd: Herd,
    pub writer: Writer,
    /// A file is being written anew, and this is how far.
    pub second_writer: Option<Writer>,
    /// What to go back to if the new file cannot take the journal's place.
    pub first_writer: Option<Writer>,
    pub job: Option<Job>,
    /// Whether the moment is set at which the job is done.
    pub job_is_timed: bool,
    /// What waits, and since when.
    pub gate: Gate<(Ms, Reply)>,
    /// The replies of this turn.
    pub replies: Vec<Reply>,
    /// Its clock, and the server time of its next report: no two have the same.
    pub clock: Nanos,
    pub next_stamp: Nanos,
    /// How high the horizon was, and what the clock was then.
    pub horizon: (Option<Nanos>, Nanos),
    /// The journal lacked nothing when the turn began, so all that it brings is to be written.
    pub journal_is_owed: bool,
    /// Nothing could be written in the last turn that wrote.
    pub write_failed: bool,
    /// What this turn has written to the journal.
    pub written: Vec<u8>,
    /// By neighbour.
    pub links: Vec<Link>,
    /// By client: who told the line that is held.
    pub learned: BTreeMap<Vec<u8>, (NeighbourId, u32, Vec<u8>)>,
}

/// What a server keeps of a neighbour.
#[derive(Clone, Default)]
pub struct Link {
    pub dialled: Option<usize>,
    pub heard: Option<usize>,
    /// Which identity of the neighbour has said HELLO last.
    pub identity: u32,
    /// It was current when the turn began, so all that the turn brings is to be written to it.
    pub is_owed: bool,
    pub backoff: Backoff,
}

/// What the journal's thread is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// Syncing the journal, which has all changes up to this number and is this long.
    Sync { change: u64, length: usize },
    /// Putting the fresh file in the journal's place: first a sync of what it has.
    SyncFresh { change: u64, length: usize },
    /// Then the rename.
    Rename { change: u64 },
    /// Then a sync of the folder.
    SyncFolder { change: u64 },
}

impl Process {
    /// A client was turned away, whose record would have had this server time: it was not while there was
    /// room, and not while somebody else could have made room.
    pub fn assert_full(&self, plan: &Plan, server_time: Nanos) {
        if plan.room == Room::Refusing {
            let clients = self.herd.clients();
            assert_eq!(Some(clients), plan.clients_max, "somebody was turned away");
        } else {
            assert!(self.herd.store().horizon() >= Some(server_time), "somebody was turned away");
        }
    }

    /// The turn's clock is read.
    pub fn wake(&mut self, clock: Nanos) {
        if clock != self.clock {
            (self.clock, self.next_stamp) = (clock, clock);
        }
        self.herd.set_clock(clock);
    }

    /// The horizon never passes the clock, and never falls unless the clock does.
    fn assert_horizon(&mut self) {
        let horizon = self.herd.store().horizon();
        assert!(horizon <= Some(self.next_stamp), "the horizon is ahead of the clock");
        let (before, clock) = std::mem::replace(&mut self.horizon, (horizon, self.clock));
        assert!(horizon >= before || self.clock < clock, "the horizon has fallen");
    }
}

impl Server {
    pub fn new(id: ServerId, skew: Nanos, clock_step: Ms) -> Server {
        let (disk, told) = (Disk::default(), Ledger::default());
        Server {
            id,
            starts: 0,
            process: None,
            paused_until: 0,
            skew,
            clock_step,
            disk,
            told,
            highest_horizon: None,
        }
    }

    /// What its clock says.
    pub fn clock(&self, now: Ms) -> Nanos {
        let exact = self.exact_clock(now);
        exact - exact % (Nanos::from(self.clock_step) * 1_000_000)
    }

    /// The same as finely as can be: a clock that counts in long steps would seem to jump.
    pub fn exact_clock(&self, now: Ms) -> Nanos {
        BEGINNING_SECONDS * 1_000_000_000 + monotonic(now) + self.skew
    }

    /// Starts it with what its journal has.
    pub fn start(&mut self, topology: &Topology, settings: Settings, now: Ms, random: &mut Random) {
        self.starts += 1;
        let mut herd = Herd::new(topology.clone(), self.id, random.next().max(1), settings);
        let clock = self.clock(now);
        let _ = herd.clock_read(monotonic(now), self.exact_clock(now));
        herd.set_clock(clock);
        herd.forget(clock, 0);
        let mut replay = Replay::new(&mut herd);
        let chunk_bytes = random.index(500) + 1;
        self.disk.journal.bytes.chunks(chunk_bytes).for_each(|chunk| replay.receive(chunk));
        let (replayed, writer) = replay.finish();
        let keep = usize::try_from(replayed.keep_bytes).unwrap();
        self.disk.journal.bytes.truncate(keep);
        self.disk.journal.synced = self.disk.journal.synced.min(keep);
        let links = vec![Link::default(); herd.neighbours().count()];
        self.process = Some(Process {
            number: self.starts,
            identities: self.starts * IDENTITIES_PER_START_MAX,
            herd,
            writer,
            second_writer: None,
            first_writer: None,
            job: None,
            job_is_timed: false,
            gate: Gate::new(),
            replies: Vec::new(),
            clock,
            next_stamp: clock,
            horizon: (None, clock),
            journal_is_owed: true,
            write_failed: false,
            written: Vec::new(),
            links,
            learned: BTreeMap::new(),
        });
    }

    /// Which file is written to: the fresh one from the moment on that it is to take the journal's place.
    fn file(&mut self) -> &mut File {
        let switching = self.process.as_ref().is_some_and(|it| it.first_writer.is_some());
        match &mut self.disk.fresh {
            Some(fresh) if switching => fresh,
            _ => &mut self.disk.journal,
        }
    }

    /// Writes what changed in this turn, before anybody is told. Gives whether there is more to do.
    pub fn write_journal(&mut self, random: &mut Random) -> bool {
        let full = self.disk.full && random.one_in(2);
        let Some(process) = &mut self.process else { return false };
        let before = process.writer.clone();
        let mut out = Vec::new();
        let limit_bytes = if random.one_in(2) { random.index(100) } else { random.index(500) };
        let mut more = process.writer.pump(&process.herd, &mut out, limit_bytes);
        process.write_failed = full;
        if full {
            process.writer.go_back(before.clone());
            out.truncate(random.index(out.len() + 1));
            more = true;
        }
        process.written.clone_from(&out);
        let file = self.file();
        // What a write that failed has left goes first.
        file.bytes.truncate(usize::try_from(before.file_bytes()).unwrap());
        file.synced = file.synced.min(file.bytes.len());
        file.bytes.extend(out);
        if self.process.as_ref().is_some_and(|it| it.writer.wants_rewrite(&it.herd)) {
            self.begin_rewrite();
        }
        self.rewrite(random) || more
    }

    /// Goes on with the file that is being written anew, and puts it in the journal's place when
    /// nothing is missing in it.
    fn rewrite(&mut self, random: &mut Random) -> bool {
        let Some(process) = &mut self.process else { return false };
        let Some(second) = &mut process.second_writer else { return false };
        let fresh = self.disk.fresh.get_or_insert_default();
        let more = second.pump(&process.herd, &mut fresh.bytes, random.index(100));
        if !more && process.job.is_none() {
            let job = Job::SyncFresh { change: second.cursor(), length: fresh.bytes.len() };
            process.job = Some(job);
            let second = process.second_writer.take().unwrap();
            process.first_writer = Some(std::mem::replace(&mut process.writer, second));
        }
        more
    }

    /// What a server keeps is in proportion to the clients that it knows.
    pub fn assert_bounded(&mut self, plan: &Plan) {
        let Some(process) = &mut self.process else { return };
        process.assert_horizon();
        self.highest_horizon = self.highest_horizon.max(process.herd.store().horizon());
        let clients = process.herd.clients();
        let weight = process.herd.store().weight();
        if clients > plan.clients_max.unwrap_or(usize::MAX)
            || weight > plan.memory_max.unwrap_or(usize::MAX)
        {
            // They wait until this server's clock has come to where they were heard.
            let held = held(&process.herd);
            let ahead = |line: &&Vec<u8>| super::ledger::record(line).server_time > process.clock;
            let waiting = held.values().filter(ahead).count();
            // What is set aside is held too, and what is due is known until it is swept.
            let most = held.len().min(clients);
            assert!(waiting >= most, "{clients} clients of {weight} bytes are known");
            assert!(waiting <= plan.clients_max.unwrap_or(0) + SLACK_CLIENTS, "{waiting} wait");
        }
        let entries = process.herd.change_log_entries();
        assert!(entries <= 3 * clients + LOG_SLACK_ENTRIES, "{entries} log entries for {clients}");
        // A full disk keeps a journal from being written anew, so that it only grows.
        if plan.trouble < Trouble::Deaths {
            let bytes = self.disk.journal.bytes.len() as u64;
            let bound = (2 * clients * LINE_BYTES) as u64 + JOURNAL_SLACK_BYTES;
            assert!(bytes <= bound, "a journal of {bytes} bytes for {clients} clients");
        }
    }

    /// Begins to write the journal anew, unless that is done already.
    pub fn begin_rewrite(&mut self) {
        if let Some(process) = &mut self.process
            && process.second_writer.is_none()
            && process.first_writer.is_none()
        {
            self.disk.fresh = None;
            process.second_writer = Some(Writer::new());
        }
    }

    /// What the journal's thread should do, if it is idle and something is not safe on disk.
    pub fn begin_sync(&mut self) {
        let Some(process) = &mut self.process else { return };
        let is_safe = process.gate.is_synced(process.writer.cursor());
        if process.job.is_none() && (!is_safe || self.disk.journal.is_dirty()) {
            let length = self.disk.journal.bytes.len();
            process.job = Some(Job::Sync { change: process.writer.cursor(), length });
        }
    }

    /// The journal's thread has done one thing.
    pub fn job_done(&mut self, random: &mut Random) {
        let Some(process) = &mut self.process else { return };
        let Some(job) = process.job.take() else { return };
        let safe = |length: usize, file: &mut File| {
            file.synced = file.synced.max(length.min(file.bytes.len()));
        };
        match job {
            Job::Sync { change, length } => {
                safe(length, &mut self.disk.journal);
                process.gate.synced(change);
            }
            Job::SyncFresh { change, length } => {
                if self.disk.full && random.one_in(2) {
                    process.writer.go_back(process.first_writer.take().unwrap());
                    process.write_failed = true;
                    self.disk.fresh = None;
                } else if let Some(fresh) = &mut self.disk.fresh {
                    safe(length, fresh);
                    process.job = Some(Job::Rename { change });
                }
            }
            Job::Rename { change } => {
                self.disk.renamed = true;
                process.job = Some(Job::SyncFolder { change });
            }
            Job::SyncFolder { change } => {
                self.disk.renamed = false;
                self.disk.journal = self.disk.fresh.take().unwrap();
                process.first_writer = None;
                process.gate.synced(change);
            }
        }
    }

    /// Lets go the replies of this turn, and those of earlier ones, as far as they need not wait.
    pub fn let_go(&mut self, plan: &Plan, now: Ms) -> Vec<Reply> {
        let Some(process) = &mut self.process else { return Vec::new() };
        let replies = std::mem::take(&mut process.replies);
        if plan.sync != Sync::Always {
            return replies;
        }
        let last = process.herd.last_change();
        let mut ready: Vec<_> = std::iter::from_fn(|| process.gate.next_ready()).collect();
        if process.gate.oldest().is_some_and(|(since, _)| now - since >= REPLY_TIMEOUT) {
            process.gate.refuse().for_each(drop);
        }
        for reply in replies {
            if process.gate.verdict(last) != Verdict::Refuse {
                ready.extend(process.gate.hold(last, (now, reply)));
            }
        }
        ready.into_iter().map(|(_, reply)| reply).collect()
    }
}

/// The world's time as the herd's core counts it.
pub fn monotonic(now: Ms) -> Nanos {
    Nanos::from(now) * 1_000_000
}

/// By client, what a journal has.
pub fn records_in(journal: &[u8], topology: &Topology, id: ServerId) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut herd = Herd::new(topology.clone(), id, 1, Settings::default());
    let mut replay = Replay::new(&mut herd);
    replay.receive(journal);
    replay.finish();
    held(&herd)
}

/// By client, what a server holds.
pub fn held(herd: &Herd) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut dump = Vec::new();
    let mut writer = Writer::new();
    while writer.pump(herd, &mut dump, usize::MAX) {}
    let lines = super::connection::lines(&dump);
    let records = lines.filter(|line| line.starts_with(b"AT ")).map(|line| {
        let (line, _seal) = line.split_at(line.len() - b" #01234567".len());
        (super::ledger::record(line).client().to_vec(), line.to_vec())
    });
    records.collect()
}
