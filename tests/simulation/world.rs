//! A world of servers: its time, and what happens next.
//!
//! One queue of events in the order of time; the same seed gives the same events. What goes wrong is
//! decided in `faults`, what must hold in the end in `verdict`.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use herd::herd::store::{Merged, WhenFull};
use herd::herd::topology::Topology;
use herd::herd::{FORGET_STEP_CLIENTS, Refused, Settings};
use herd::wire::command::{Command, parse_command};
use herd::wire::time::Nanos;

use super::connection::{Connection, End};
use super::ledger::{Ledger, Reply};
use super::plan::{Ms, Plan, Room, Sync, Trouble};
use super::random::Random;
use super::server::Server;

/// A herd that is left in peace comes to rest within so many events for each edge of its topology.
const EVENTS_TO_REST_MAX: usize = 4_000;
/// And within so much time: all have noticed what is gone, and have dialled again.
const TIME_TO_REST_MAX: Ms = 60_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// A client says to this server where it is.
    Report(usize),
    /// Something arrives at one end of a connection.
    Arrival(usize, End),
    /// One end of a connection notices that it is gone.
    Lost(usize, End),
    /// A server, in this start of it, dials a neighbour.
    Dial(usize, u32, usize),
    Heartbeat(usize),
    /// A server, in this start of it, has more to do.
    Turn(usize, u32),
    JobDone(usize, u32),
    /// A second has passed.
    Tick(usize, u32),
    Fault,
    Start(usize),
    Heal(usize, usize),
}

pub struct World {
    pub plan: Plan,
    pub random: Random,
    pub topology: Topology,
    pub now: Ms,
    queue: BinaryHeap<Reverse<(Ms, u64, Event)>>,
    queued: u64,
    pub servers: Vec<Server>,
    pub connections: Vec<Connection>,
    /// Edges that nothing gets through, the lower server first.
    pub cut: BTreeSet<(usize, usize)>,
    pub ledger: Ledger,
    /// What clients said lately, for those that say it again to another server.
    said: Vec<String>,
    /// No reports, faults and heartbeats any more.
    pub calm: bool,
    /// How many AT lines were sent.
    pub told: usize,
    /// How often a reply was looked for in the journal, and with the kernel for a link.
    pub promises_checked: (usize, usize),
    trace: bool,
}

impl World {
    pub fn new(plan: Plan, mut random: Random) -> World {
        let (topology, _) = Topology::parse("world", &plan.topology).unwrap();
        let server = |id| Server::new(id, plan.wrong_clock(&mut random), plan.clock_step);
        let servers = topology.ids().map(server).collect();
        let mut world = World {
            plan,
            random,
            topology,
            now: 0,
            queue: BinaryHeap::new(),
            queued: 0,
            servers,
            connections: Vec::new(),
            cut: BTreeSet::new(),
            ledger: Ledger::default(),
            said: Vec::new(),
            calm: false,
            told: 0,
            promises_checked: (0, 0),
            trace: std::env::var_os("HERD_TRACE").is_some(),
        };
        for server in 0..world.servers.len() {
            let late = world.random.below(1_000);
            world.after(late, Event::Start(server));
        }
        world.schedule_report(0);
        world.schedule_fault();
        world
    }

    /// Lets an event happen so much later.
    pub fn after(&mut self, delay: Ms, event: Event) {
        self.queued += 1;
        self.queue.push(Reverse((self.now + delay, self.queued, event)));
    }

    /// Goes on until a moment.
    pub fn run_until(&mut self, end: Ms) {
        while self.queue.peek().is_some_and(|Reverse((moment, ..))| *moment <= end) {
            self.step();
        }
        self.now = end;
    }

    /// Goes on until nothing happens any more, which must be soon.
    pub fn run_to_rest(&mut self) {
        let began = self.now;
        let mut events_left = EVENTS_TO_REST_MAX * (self.topology.link_count() + 1);
        while self.step() {
            events_left -= 1;
            assert!(events_left > 0, "the herd does not come to rest");
        }
        let taken = self.now - began;
        assert!(taken <= TIME_TO_REST_MAX, "the herd comes to rest only after {taken} ms");
    }

    fn step(&mut self) -> bool {
        let Some(Reverse((moment, _, event))) = self.queue.pop() else { return false };
        self.now = self.now.max(moment);
        if self.calm && matches!(event, Event::Report(_) | Event::Fault | Event::Heartbeat(_)) {
            return true;
        }
        // What happens to a stopped server waits for it.
        if let Some(server) = self.happens_to(event)
            && self.servers[server].paused_until > self.now
        {
            self.after(self.servers[server].paused_until - self.now, event);
            return true;
        }
        if self.trace {
            eprintln!("{:>8} {event:?}", self.now);
        }
        if let Some(server) = self.happens_to(event) {
            self.look_at_clock(server);
        }
        self.happen(event);
        true
    }

    fn happens_to(&self, event: Event) -> Option<usize> {
        match event {
            Event::Arrival(connection, end) | Event::Lost(connection, end) => {
                Some(self.connections[connection].sides[end as usize].server)
            }
            Event::Report(server)
            | Event::Dial(server, ..)
            | Event::Turn(server, _)
            | Event::JobDone(server, _)
            | Event::Tick(server, _) => Some(server),
            Event::Heartbeat(_) | Event::Fault | Event::Start(_) | Event::Heal(..) => None,
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Report(server) => {
                self.report(server);
                self.schedule_report(server);
            }
            Event::Arrival(connection, end) => self.arrival(connection, end),
            Event::Lost(connection, end) => self.lost(connection, end),
            Event::Dial(server, process, neighbour) => {
                if self.is_running(server, process) {
                    self.dial(server, neighbour);
                }
            }
            Event::Heartbeat(connection) => self.heartbeat(connection),
            Event::Turn(server, process) => {
                if self.is_running(server, process) {
                    self.turn_begins(server);
                    self.turn_end(server);
                }
            }
            Event::JobDone(server, process) => {
                if self.is_running(server, process) {
                    self.turn_begins(server);
                    self.servers[server].process.as_mut().unwrap().job_is_timed = false;
                    self.servers[server].job_done(&mut self.random);
                    self.turn_end(server);
                }
            }
            Event::Tick(server, process) => self.tick(server, process),
            Event::Fault => {
                self.fault();
                self.schedule_fault();
            }
            Event::Start(server) => self.start(server),
            Event::Heal(a, b) => drop(self.cut.remove(&(a, b))),
        }
    }

    pub fn is_running(&self, server: usize, process: u32) -> bool {
        self.servers[server].process.as_ref().is_some_and(|running| running.number == process)
    }

    fn schedule_report(&mut self, last: usize) {
        if !self.calm {
            // Often a client says something at once again to the same server.
            let at_once = self.random.one_in(4);
            let delay = if at_once { 10 } else { 2 * self.plan.report_every };
            let delay = self.random.between(1, delay);
            let server = if at_once { last } else { self.random.index(self.servers.len()) };
            self.after(delay, Event::Report(server));
        }
    }

    fn schedule_fault(&mut self) {
        if !self.calm && self.plan.trouble >= Trouble::Cuts {
            let delay = self.random.between(1, 2 * self.plan.fault_every);
            self.after(delay, Event::Fault);
        }
    }

    pub fn settings(&self) -> Settings {
        let forget_after = self.plan.forget_after.map(|after| Nanos::from(after) * 1_000_000);
        let max_clients = self.plan.clients_max.unwrap_or(Settings::default().max_clients);
        let max_memory_bytes = self.plan.memory_max.unwrap_or(Settings::default().max_memory_bytes);
        let refuses = self.plan.room == Room::Refusing;
        let when_full = if refuses { WhenFull::Refuse } else { WhenFull::Evict };
        Settings { forget_after, max_clients, max_memory_bytes, when_full, ..Settings::default() }
    }

    /// A turn of a server begins: it reads its clock.
    pub fn wake(&mut self, server: usize) {
        self.look_at_clock(server);
        let clock = self.servers[server].clock(self.now);
        if let Some(process) = &mut self.servers[server].process {
            process.wake(clock);
        }
    }

    /// Clients say where they are, or say again what they said, perhaps to another server: in one turn.
    pub fn report(&mut self, server: usize) {
        self.turn_begins(server);
        let many = self.plan.reports_at_once > 1 && self.random.one_in(2);
        let reports = if many { self.random.between(1, self.plan.reports_at_once) } else { 1 };
        for _ in 0..reports {
            let line = self.next_report(server);
            self.take_in(server, &line);
        }
        self.turn_end(server);
    }

    fn next_report(&mut self, server: usize) -> String {
        let forgetting = self.plan.forget_after.is_some() || self.plan.room == Room::InOrder;
        if forgetting || self.said.is_empty() || !self.random.one_in(5) {
            let mut client = self.random.below(self.plan.clients).to_string();
            if self.plan.busy {
                // A few move all the time and the others hardly ever.
                let moves = self.random.below(5).to_string();
                client = if self.random.one_in(50) { client } else { moves };
                client = format!("{client:0>60}");
            }
            if self.plan.memory_max.is_some() {
                // Some weigh more than others.
                client = client.repeat(1 + client.len() * usize::from(client.as_bytes()[0] % 5));
            }
            // Clients' clocks are as wrong as they like, but for forgetting: where what was heard
            // first is later by the client's clock, servers forget alike only in the end. And where all
            // is to be news, time has to go on.
            let time = if self.plan.clocks {
                self.client_clock(server)
            } else if forgetting || self.plan.busy {
                // No two alike: a repeat that another server hears is in the other order.
                format!(
                    "{}.{:03}{:06}",
                    self.now / 1_000,
                    self.now % 1_000,
                    self.said.len() % 1_000_000
                )
            } else {
                (self.now / 1_000 + self.random.below(20)).to_string()
            };
            let place = self.random.below(2);
            self.said.push(format!("IAMAT k{client} +{place}-1 {time}"));
        }
        let recent = self.said.len().min(8);
        let again = !forgetting && self.random.one_in(5);
        let again = if again { self.random.index(recent) } else { 0 };
        self.said[self.said.len() - 1 - again].clone()
    }

    /// A server hears a report, if it is running.
    pub fn hear(&mut self, server: usize, line: &str) {
        self.turn_begins(server);
        self.take_in(server, line);
        self.turn_end(server);
    }

    fn take_in(&mut self, server: usize, line: &str) {
        let is_right = self.is_clock_right(server);
        let forgetting = self.plan.forget_after.is_some();
        let Some(process) = &mut self.servers[server].process else { return };
        let is_trusted = !process.herd.clock().is_doubted() && !process.herd.is_searching();
        let is_promise = is_right && is_trusted;
        let stamp = process.next_stamp;
        process.next_stamp += 1;
        let Some(Command::IAmAt(said)) = parse_command(line.as_bytes()) else { panic!("{line}") };
        let (client, time) = (said.client.to_vec(), said.time);
        let known = process.herd.where_is(&client).map(|held| held.client_time);
        let mut reply = Vec::new();
        let merged = match process.herd.client_heard(&said, stamp, &mut reply) {
            Ok(merged) => merged,
            Err(Refused::TooFarAhead) => {
                let is_client_right = time <= self.right_time();
                return assert!(!is_right || !is_client_right, "refused at a right clock: {line}");
            }
            Err(refused) => {
                assert!(
                    refused == Refused::PastHorizon || (refused, known) == (Refused::Full, None)
                );
                return process.assert_full(&self.plan, stamp);
            }
        };
        reply.pop();
        let is_doubted = process.herd.clock().is_doubted() || process.herd.is_searching();
        if is_doubted && self.plan.clocks {
            // One that loses now may be set aside, and win once the clock is trusted.
            self.ledger.made.insert(reply.clone());
        }
        let record = matches!(merged, Merged::New | Merged::Changed).then_some(reply);
        let is_newer = known.is_none_or(|known| time > known);
        let is_as_expected = record.is_some() == is_newer;
        assert!(is_as_expected || (forgetting && is_doubted), "a record is what is newer: {line}");
        if let Some(line) = &record {
            self.ledger.made.insert(line.clone());
            process.learned.remove(&client);
        }
        process.replies.push(Reply { client, time, record, is_promise });
    }

    /// A second has passed on a server.
    fn tick(&mut self, server: usize, process: u32) {
        if self.calm || !self.is_running(server, process) {
            return;
        }
        self.turn_begins(server);
        let clock = self.servers[server].clock(self.now);
        if let Some(process) = &mut self.servers[server].process {
            process.herd.forget(clock, FORGET_STEP_CLIENTS.min(2));
        }
        if self.plan.sync == Sync::Second {
            self.servers[server].begin_sync();
        }
        self.turn_end(server);
        self.after(1_000, Event::Tick(server, process));
    }

    /// What a server does at the end of each turn: the journal, the neighbours, the clients.
    pub fn turn_end(&mut self, server: usize) {
        self.wake(server);
        let Some(process) = &mut self.servers[server].process else { return };
        let mut more = process.herd.make_room();
        more |= self.servers[server].write_journal(&mut self.random);
        self.servers[server].assert_bounded(&self.plan);
        more |= self.pump_links(server);
        self.assert_promises(server);
        let replies = self.servers[server].let_go(&self.plan, self.now);
        if self.plan.sync == Sync::Always {
            let told = !replies.is_empty();
            for reply in replies {
                self.servers[server].told.replied(&reply);
                self.ledger.replied(&reply);
            }
            // The worst moment there is: a promise was made this instant.
            if told && self.plan.trouble >= Trouble::Deaths && !self.calm && self.random.one_in(30)
            {
                return self.kill_all();
            }
            self.servers[server].begin_sync();
        }
        let Some(process) = &mut self.servers[server].process else { return };
        let number = process.number;
        if process.job.is_some() && !std::mem::replace(&mut process.job_is_timed, true) {
            let duration = if self.random.one_in(4) { 1_000 } else { 20 };
            let duration = self.random.between(1, duration);
            self.after(duration, Event::JobDone(server, number));
        }
        if more {
            let delay = self.random.between(1, 20);
            self.after(delay, Event::Turn(server, number));
        }
    }
}

/// An edge of the topology, whichever way it is named.
pub fn edge(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

pub fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line).into_owned()
}
