//! What must hold once a herd has been left in peace.

use std::collections::{BTreeMap, BTreeSet};

use super::connection::{Connection, End};
use super::ledger::raise;
use super::plan::{Ms, Sync};
use super::server::held;
use super::world::{World, text};
use herd::herd::store::weight_of;
use herd::wire::time::Nanos;

/// A clock that counts in these stands still for as long as a world lasts.
const CLOCK_STEP_WITHOUT_END: Ms = 7_000_000_000;

/// By client, a line.
type Records = BTreeMap<Vec<u8>, Vec<u8>>;

impl World {
    /// The network heals, all servers run, nobody reports: the herd must come to rest, and agree.
    pub fn settle(&mut self) {
        self.calm = true;
        self.cut.clear();
        for server in 0..self.servers.len() {
            self.servers[server].paused_until = 0;
            self.servers[server].disk.full = false;
            if self.plan.clocks {
                self.servers[server].skew = 0;
            }
            self.start(server);
            self.look_at_clock(server);
        }
        let survived = greatest(self.all_held().filter(|(_, line)| !self.is_from_ahead(line)));
        let lines = self.lines_anywhere();
        let (told, connections) = (self.told, self.connections.len());
        self.run_to_rest();
        self.forget_everywhere(0);
        self.assert_whole();
        if self.plan.all_agree() {
            self.assert_agreement(&survived);
        }
        // Each connection tells a line once; that there are few of both is what bounds it all.
        let born = self.connections.len() - connections;
        // A server that starts anew after a wrong clock ends its links twice, and so may all others.
        let directions = 2 * self.topology.link_count() * if self.plan.clocks { 4 } else { 1 };
        assert!(born <= 4 * directions, "{born} connections for {directions} directions");
        let (told, most) = (self.told - told, (born + directions) * lines);
        assert!(told <= most, "{told} lines are told, more than {most}");
    }

    /// All servers stop at once, and start with what their disks have.
    pub fn stop_all_and_start(&mut self) {
        for server in 0..self.servers.len() {
            self.die(server, true);
        }
        self.settle();
    }

    /// Each record of each running server, with its client.
    fn all_held(&self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        let running = self.servers.iter().filter_map(|server| server.process.as_ref());
        running.flat_map(|process| held(&process.herd))
    }

    /// How many different AT lines are held or on their way.
    fn lines_anywhere(&self) -> usize {
        let mut lines: BTreeSet<Vec<u8>> = self.all_held().map(|(_, line)| line).collect();
        let on_the_way = self.connections.iter().flat_map(Connection::lines_on_the_way);
        lines.extend(on_the_way.filter(|line| line.starts_with(b"AT ")).map(<[u8]>::to_vec));
        lines.len()
    }

    /// So much time passes that nothing is due to be known any more.
    pub fn let_all_be_forgotten(&mut self, budget: usize) {
        self.now += self.plan.forget_after.unwrap() + 2 * self.plan.skew + 1;
        self.forget_everywhere(budget);
    }

    /// All servers are told what time it is, and look at so many clients.
    pub fn forget_everywhere(&mut self, budget: usize) {
        let now = self.now;
        for server in &mut self.servers {
            let clock = server.clock(now);
            if let Some(process) = &mut server.process {
                process.herd.forget(clock, budget);
            }
        }
    }

    /// Every server runs, every link is up and has nothing left to say, and every reply has left.
    fn assert_whole(&self) {
        for server in &self.servers {
            let process = server.process.as_ref().expect("a server does not run");
            let name = process.herd.name();
            for id in process.herd.neighbours() {
                let neighbour = &process.herd.neighbour_server(id).unwrap().name;
                assert!(process.herd.link_is_up(id), "the link from {name} to {neighbour} is down");
                assert!(!process.herd.lacks_changes(id), "{name} owes {neighbour} something");
                let index = process.links[id.index()].dialled.unwrap();
                assert_eq!(self.connections[index].backlog(End::Listener), 0);
            }
            assert_eq!(process.gate.waiting(), 0, "{name} owes replies");
            assert!(!process.gate.refuses(), "{name} refuses, and its disk is as good as ever");
            assert!(process.job.is_none() && process.second_writer.is_none());
            assert!(self.plan.sync != Sync::Always || !server.disk.journal.is_dirty());
        }
    }

    /// Every server holds the same, made by a server, no less than what survived and what is owed.
    fn assert_agreement(&self, survived: &Records) {
        let first = held(&self.servers[0].process.as_ref().unwrap().herd);
        for server in &self.servers {
            let herd = &server.process.as_ref().unwrap().herd;
            assert_eq!(texts(&held(herd)), texts(&first), "{} and the first differ", herd.name());
        }
        for line in first.values() {
            assert!(!self.is_from_ahead(line), "{} is from ahead of all clocks", text(line));
            assert!(self.ledger.made.contains(line), "{} was never said", text(line));
        }
        let remembered = |line: &[u8]| self.is_remembered(line);
        for (client, line) in survived.iter().filter(|(_, line)| remembered(line)) {
            let mut best = Some(line.clone());
            first.get(client).iter().for_each(|held| raise(&mut best, held));
            assert_eq!(best.as_ref(), first.get(client), "{} is lost", text(line));
        }
        if self.plan.replies_are_kept() {
            let horizon = self.servers.iter().filter_map(|server| server.highest_horizon).max();
            self.ledger.assert_paid(&first, horizon);
        }
    }

    fn is_remembered(&self, line: &[u8]) -> bool {
        let after = self.settings().forget_after;
        let heard = super::ledger::record(line).server_time;
        after.is_none_or(|after| heard > self.servers[0].clock(self.now) - after)
            && Some(heard) > self.highest_horizon()
    }

    fn highest_horizon(&self) -> Option<Nanos> {
        let running = self.servers.iter().filter_map(|server| server.process.as_ref());
        running.filter_map(|process| process.herd.store().horizon()).max()
    }

    /// Full servers hold as many as they may, and those are the last that were heard of all that are left.
    pub fn assert_full_of_the_newest(&self) {
        let most = self.plan.clients_max.unwrap();
        for process in self.servers.iter().map(|server| server.process.as_ref().unwrap()) {
            let held = held(&process.herd).len();
            assert!(held == most || process.herd.store().horizon().is_none(), "{held} of {most}");
        }
    }

    /// Everybody who was heard before is passed by the horizon, and then all servers hold the same, whatever
    /// has happened to them.
    pub fn assert_all_differences_end(&mut self) {
        self.now += 2 * self.plan.skew + self.plan.clock_step + 1;
        let by_weight = self.plan.memory_max.map_or(usize::MAX, |bytes| bytes / weight_of(b"n1"));
        let room = by_weight.min(self.plan.clients_max.unwrap());
        // By each server's clock they are newer than all before.
        for newcomer in 0..room {
            let server = self.random.index(self.servers.len());
            self.hear(server, &format!("IAMAT n{newcomer} +1-1 1000"));
        }
        self.settle();
        for process in self.servers.iter().map(|server| server.process.as_ref().unwrap()) {
            let held = held(&process.herd);
            let newcomers = held.keys().filter(|client| client.starts_with(b"n")).count();
            assert_eq!((newcomers, held.len()), (room, room), "{}", process.herd.name());
        }
    }

    /// Nobody has died, so each client's greatest record that ever was is known, wherever one asks.
    pub fn assert_nothing_is_lost(&self) {
        let made = self.ledger.made.iter();
        let made = made.map(|line| (super::ledger::record(line).client().to_vec(), line.clone()));
        let known = held(&self.servers[0].process.as_ref().unwrap().herd);
        assert_eq!(texts(&known), texts(&greatest(made)));
    }

    /// Nothing was cut, so each line has crossed each edge at most once in each direction.
    pub fn assert_each_edge_is_crossed_once(&self) {
        let mut crossings = BTreeSet::new();
        for connection in &self.connections {
            let [dialler, listener] = &connection.sides;
            for line in &connection.sent {
                let crossing = (dialler.server, listener.server, line);
                assert!(crossings.insert(crossing), "crosses an edge again: {}", text(line));
            }
        }
        // And to each server from at most all but one of its neighbours, the one it came from.
        for line in &self.ledger.made {
            let count = crossings.iter().filter(|(.., crossed)| crossed == &line).count();
            let (edges, servers) = (self.topology.link_count(), self.servers.len());
            assert!(count <= 2 * edges - (servers - 1), "{count} crossings of {}", text(line));
        }
    }

    /// To a herd at rest comes one update. The server that hears it tells all neighbours, and each other
    /// server learns it once and tells all but the one that it came from.
    pub fn assert_an_update_costs_what_theory_says(&mut self) {
        let server = self.random.index(self.servers.len());
        let told = self.told;
        self.hear(server, "IAMAT k0 +0-1 1000");
        self.settle();
        let (edges, servers) = (self.topology.link_count(), self.servers.len());
        assert_eq!(self.told - told, 2 * edges - (servers - 1), "the lines that an update costs");
    }

    /// Every server knows so many clients.
    pub fn assert_all_know(&self, clients: usize) {
        for process in self.servers.iter().map(|server| server.process.as_ref().unwrap()) {
            assert_eq!(process.herd.clients(), clients, "known to {}", process.herd.name());
        }
    }

    /// Every server finds this record of a client, given the end of its line, or none.
    pub fn assert_all_find(&self, client: &str, record: Option<&str>) {
        for process in self.servers.iter().map(|server| server.process.as_ref().unwrap()) {
            let found = process.herd.where_is(client.as_bytes()).map(|found| text(found.line));
            let is_right = match (&found, record) {
                (Some(found), Some(record)) => found.ends_with(record),
                (found, record) => found.is_none() && record.is_none(),
            };
            assert!(is_right, "{} finds {found:?}, not {record:?}", process.herd.name());
        }
    }

    /// A server that forgot what it heard hears the same again in the same moment of its clock, but from
    /// another place: two records that differ in nothing else. All have to hold the lesser line.
    pub fn assert_the_lesser_line_wins_a_tie(&mut self) {
        let server = self.random.index(self.servers.len());
        let first = self.random.below(2);
        self.servers[server].clock_step = CLOCK_STEP_WITHOUT_END;
        self.hear(server, &format!("IAMAT k0 +{first}-1 1000"));
        self.settle();
        self.lose_all_of(server);
        self.hear(server, &format!("IAMAT k0 +{}-1 1000", 1 - first));
        self.settle();
        self.assert_all_find("k0", Some("+0-1 1000"));
    }

    /// Each server holds what it has replied to, or something greater.
    pub fn assert_each_keeps_its_own(&self) {
        for server in &self.servers {
            server.told.assert_paid(&held(&server.process.as_ref().unwrap().herd), None);
        }
    }

    /// A server that was away for a while is sent what it missed, and nothing that it had.
    pub fn assert_only_what_was_missed_is_sent(&mut self) {
        self.calm = false;
        (0..self.connections.len()).for_each(|index| self.heartbeat(index));
        self.calm = true;
        self.run_to_rest();
        let away = self.random.index(self.servers.len());
        let had = held(&self.servers[away].process.as_ref().unwrap().herd);
        self.die(away, true);
        for _ in 0..self.random.below(4) {
            let server = self.random.index(self.servers.len());
            self.report(server);
        }
        // Those that dial it do not come to rest, but all else does.
        self.run_until(self.now + 3_000);
        let earlier = self.connections.len();
        self.settle();
        for connection in &self.connections[earlier..] {
            if connection.sides[End::Listener as usize].server == away {
                for line in &connection.sent {
                    let known = had.values().any(|had| had == line);
                    assert!(!known, "sent, but was not missed: {}", text(line));
                }
            }
        }
    }
}

/// By client, the greatest of some records.
fn greatest(records: impl Iterator<Item = (Vec<u8>, Vec<u8>)>) -> Records {
    let mut greatest: BTreeMap<Vec<u8>, Option<Vec<u8>>> = BTreeMap::new();
    for (client, line) in records {
        raise(greatest.entry(client).or_default(), &line);
    }
    greatest.into_iter().filter_map(|(client, line)| Some((client, line?))).collect()
}

fn texts(records: &Records) -> Vec<String> {
    records.values().map(|line| text(line)).collect()
}
