//! What goes wrong: edges that are cut, servers that stop, die and start, disks and clocks.

use std::collections::BTreeMap;

use super::connection::End;
use super::disk::Disk;
use super::ledger::{Ledger, raise};
use super::plan::{Ms, Trouble};
use super::server::{held, records_in};
use super::world::{Event, World, edge};

/// How long a side may take to notice that the other is gone without a word.
const NOTICED_WITHIN: Ms = 8_000;

impl World {
    /// Something goes wrong.
    pub fn fault(&mut self) {
        let server = self.random.index(self.servers.len());
        let kills = self.plan.trouble >= Trouble::Deaths;
        match self.random.below(12) {
            0..3 => self.cut_an_edge(server),
            3 => self.break_a_connection(),
            4 => {
                let pause = self.random.between(1, 5_000);
                self.servers[server].paused_until = self.now + pause;
            }
            5..9 if kills => self.kill(server),
            9 if kills => self.kill_all(),
            10 if kills => self.servers[server].disk.full ^= true,
            11 => self.servers[server].skew = self.plan.wrong_clock(&mut self.random),
            _ => {}
        }
        if self.plan.clocks && self.random.one_in(2) {
            let server = self.random.index(self.servers.len());
            self.servers[server].skew = self.plan.wrong_clock(&mut self.random);
        }
        if self.random.one_in(3) {
            self.servers[server].begin_rewrite();
            let number = self.servers[server].starts;
            self.after(0, Event::Turn(server, number));
        }
    }

    /// Nothing gets through between two neighbours for a while.
    fn cut_an_edge(&mut self, server: usize) {
        let neighbours = self.topology.neighbours(self.servers[server].id);
        let other = self.random.pick(neighbours).index();
        let (a, b) = edge(server, other);
        self.cut.insert((a, b));
        for index in 0..self.connections.len() {
            let [dialler, listener] = &self.connections[index].sides;
            if edge(dialler.server, listener.server) == (a, b) {
                self.break_off(index, NOTICED_WITHIN);
            }
        }
        let heals = self.random.between(1, 6_000);
        self.after(heals, Event::Heal(a, b));
    }

    fn break_a_connection(&mut self) {
        if !self.connections.is_empty() {
            let index = self.random.index(self.connections.len());
            self.break_off(index, NOTICED_WITHIN);
        }
    }

    /// A connection is gone, and both ends notice in time.
    pub fn break_off(&mut self, index: usize, within: Ms) {
        if self.connections[index].is_broken {
            return;
        }
        self.connections[index].break_off(&mut self.random);
        for end in [End::Dialler, End::Listener] {
            let noticed = self.random.between(1, within);
            self.after(noticed, Event::Lost(index, end));
        }
    }

    /// A server dies, or its machine does, and is started again in a while.
    fn kill(&mut self, server: usize) {
        let power = self.random.one_in(2);
        self.die(server, power);
        let down = self.random.between(1, 3_000);
        self.after(down, Event::Start(server));
    }

    /// All servers are in one room, and its power fails.
    pub fn kill_all(&mut self) {
        for server in 0..self.servers.len() {
            self.die(server, true);
            let down = self.random.between(1, 3_000);
            self.after(down, Event::Start(server));
        }
    }

    /// A server dies, or its machine does.
    pub fn die(&mut self, server: usize, power: bool) {
        if self.servers[server].process.take().is_none() {
            return;
        }
        if power {
            self.servers[server].disk.lose_power(&mut self.random);
        } else {
            self.servers[server].disk.process_died();
        }
        self.servers[server].paused_until = 0;
        for index in 0..self.connections.len() {
            for end in [End::Dialler, End::Listener] {
                let side = self.connections[index].side(end);
                if side.server == server && side.is_open {
                    side.is_open = false;
                    self.break_off(index, if power { NOTICED_WITHIN } else { 50 });
                }
            }
        }
    }

    /// A server starts, with its journal or with what has become of it.
    pub fn start(&mut self, server: usize) {
        if self.servers[server].process.is_some() {
            return;
        }
        let spoilt = self.plan.trouble == Trouble::SpoiltJournals && self.random.one_in(3);
        if spoilt && self.random.one_in(2) {
            self.servers[server].disk = Disk::default();
        } else if spoilt {
            self.servers[server].disk.spoil(&mut self.random);
        }
        let (now, settings) = (self.now, self.settings());
        let it = &mut self.servers[server];
        it.start(&self.topology, settings, now, &mut self.random);
        if spoilt {
            self.servers[server].told = Ledger::default();
            self.lower_what_is_owed(server);
        }
        let it = &self.servers[server];
        let Some(process) = &it.process else { return };
        if self.plan.replies_are_kept() {
            it.told.assert_paid(&held(&process.herd), it.highest_horizon);
        }
        let (number, neighbours) = (process.number, process.links.len());
        self.after(0, Event::Turn(server, number));
        self.after(1_000, Event::Tick(server, number));
        for neighbour in 0..neighbours {
            // To find out where a neighbour is may take a while, and it may dial in first.
            let slow = self.random.one_in(4);
            let late = self.random.between(1, if slow { 3_000 } else { 50 });
            self.after(late, Event::Dial(server, number, neighbour));
        }
    }

    /// A server dies with its disk, and is started with an empty one.
    pub fn lose_all_of(&mut self, server: usize) {
        self.die(server, true);
        self.servers[server].disk = Disk::default();
        self.servers[server].told = Ledger::default();
        self.start(server);
        self.lower_what_is_owed(server);
    }

    /// A server's disk has lost something, and the promise is only about disks that do not.
    fn lower_what_is_owed(&mut self, spoilt: usize) {
        let mut durable: BTreeMap<Vec<u8>, Option<Vec<u8>>> = BTreeMap::new();
        for server in 0..self.servers.len() {
            let it = &self.servers[server];
            let records = match &it.process {
                Some(process) if server == spoilt => held(&process.herd),
                _ => records_in(it.disk.durable(), &self.topology, it.id),
            };
            for (client, line) in records {
                raise(durable.entry(client).or_default(), &line);
            }
        }
        let durable = durable.into_iter().filter_map(|(client, line)| Some((client, line?)));
        self.ledger.lower(&durable.collect());
    }
}
