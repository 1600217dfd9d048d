//! The world of the herd's tests: servers in one thread, and a network whose every choice comes from a seed.
//! It delays, cuts, heals and restarts, and knows what each server must hold in the end.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;

use super::random::Random;
use super::{CLIENTS, PLENTY};
use crate::herd::links::{NeighbourId, Nonsense};
use crate::herd::topology::Topology;
use crate::herd::*;
use crate::wire::command::{Command, parse_command};
use crate::wire::peer::{PeerLine, parse_at, parse_peer_line};
use crate::wire::time::NANOS_PER_SECOND;

/// The connection of one direction of an edge. Lines on their way keep their order.
pub(super) struct Connection {
    pub(super) dialler: usize,
    listener: usize,
    /// What the dialler calls the listener.
    neighbour: NeighbourId,
    open: bool,
    /// What the listener calls the dialler, once HELLO has arrived.
    welcomed: Option<NeighbourId>,
    to_listener: VecDeque<Vec<u8>>,
    to_dialler: VecDeque<Vec<u8>>,
    /// How often each AT line was written to this connection, over all its lives.
    pub(super) crossings: HashMap<Vec<u8>, usize>,
}

pub(super) struct World {
    pub(super) random: Random,
    pub(super) topology: Topology,
    pub(super) herds: Vec<Herd>,
    pub(super) connections: Vec<Connection>,
    next_identity: u64,
    /// Each server's clock is wrong by this much.
    skews: Vec<Nanos>,
    now: Nanos,
    /// By client: the greatest record that is certainly somewhere in the herd, as a line.
    pub(super) floor: HashMap<Vec<u8>, Vec<u8>>,
    /// Every line that any server ever made.
    ever: Vec<Vec<u8>>,
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    bytes
        .split_inclusive(|&byte| byte == b'\n')
        .map(|line| line.strip_suffix(b"\n").unwrap().to_vec())
}

fn wins_over(a: &[u8], b: &[u8]) -> bool {
    let record = |line| Record::new(line, &parse_at(line).unwrap()).unwrap();
    record(a).wins_over(&record(b))
}

impl World {
    pub(super) fn new(text: &str, seed: u64, catch_up: CatchUp) -> World {
        let mut random = Random::new(seed);
        let (topology, _) = Topology::parse("world", text).unwrap();
        let settings = Settings { catch_up, ..Settings::default() };
        let herds: Vec<Herd> = topology
            .ids()
            .zip(1..)
            .map(|(id, identity)| Herd::new(topology.clone(), id, identity, settings))
            .collect();
        let mut connections = Vec::new();
        for (dialler, herd) in herds.iter().enumerate() {
            for neighbour in herd.neighbours() {
                let name = &herd.neighbour_server(neighbour).unwrap().name;
                let listener = topology.by_name(name.as_bytes()).unwrap().index();
                connections.push(Connection {
                    dialler,
                    listener,
                    neighbour,
                    open: false,
                    welcomed: None,
                    to_listener: VecDeque::new(),
                    to_dialler: VecDeque::new(),
                    crossings: HashMap::new(),
                });
            }
        }
        let skews = herds.iter().map(|_| Nanos::from(random.below(3)) * NANOS_PER_SECOND).collect();
        let next_identity = herds.len() as u64 + 1;
        let (floor, ever) = (HashMap::new(), Vec::new());
        World { random, topology, herds, connections, next_identity, skews, now: 0, floor, ever }
    }

    /// A client reports to a server; few clients and few times, so that reports meet and tie.
    pub(super) fn report(&mut self, server: usize, client: u64, time: u64) {
        let line = format!("IAMAT k{client} +{}-1 {time}", self.random.below(2));
        let Some(Command::IAmAt(said)) = parse_command(line.as_bytes()) else { panic!("{line}") };
        self.now += NANOS_PER_SECOND / 2;
        let mut reply = Vec::new();
        let merged =
            self.herds[server].client_heard(&said, self.now + self.skews[server], &mut reply);
        if merged.unwrap() != Merged::Kept {
            reply.pop();
            self.ever.push(reply.clone());
            self.raise_floor(said.client.to_vec(), reply);
        }
    }

    pub(super) fn raise_floor(&mut self, client: Vec<u8>, line: Vec<u8>) {
        let floor = self.floor.entry(client).or_insert_with(|| line.clone());
        if wins_over(&line, floor) {
            *floor = line;
        }
    }

    pub(super) fn dial(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        if !connection.open {
            let mut hello = Vec::new();
            self.herds[connection.dialler].hello(&mut hello);
            connection.open = true;
            connection.to_listener.extend(lines(&hello));
        }
    }

    /// Both sides are told, and what was on its way is lost.
    pub(super) fn cut(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        connection.open = false;
        connection.welcomed = None;
        connection.to_listener.clear();
        connection.to_dialler.clear();
        self.herds[connection.dialler].link_lost(connection.neighbour);
    }

    pub(super) fn pump(&mut self, index: usize, limit_bytes: usize) {
        let connection = &mut self.connections[index];
        let mut out = Vec::new();
        self.herds[connection.dialler].pump(connection.neighbour, &mut out, limit_bytes);
        for line in lines(&out) {
            if line.starts_with(b"AT ") {
                *connection.crossings.entry(line.clone()).or_default() += 1;
            }
            connection.to_listener.push_back(line);
        }
    }

    /// Both heartbeats of a connection.
    pub(super) fn heartbeat(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        let mut out = Vec::new();
        self.herds[connection.dialler].write_mark(connection.neighbour, &mut out);
        connection.to_listener.extend(lines(&out));
        if let Some(dialler) = connection.welcomed {
            let mut out = Vec::new();
            self.herds[connection.listener].write_here(dialler, &mut out);
            connection.to_dialler.extend(lines(&out));
        }
    }

    /// One line arrives at each side, if one is on its way.
    pub(super) fn deliver(&mut self, index: usize) -> Result<(), Nonsense> {
        let connection = &mut self.connections[index];
        if let Some(line) = connection.to_listener.pop_front() {
            let herd = &mut self.herds[connection.listener];
            if let Some(dialler) = connection.welcomed {
                herd.dialler_line_received(dialler, &line)?;
            } else {
                let Some(PeerLine::Hello { version, server, identity, .. }) =
                    parse_peer_line(&line)
                else {
                    panic!("no hello: {line:?}")
                };
                let dialler = herd.hello_received(version, server, identity).unwrap();
                let mut out = Vec::new();
                herd.write_resume(dialler, &mut out);
                connection.to_dialler.extend(lines(&out));
                connection.welcomed = Some(dialler);
            }
        }
        if let Some(line) = connection.to_dialler.pop_front() {
            self.herds[connection.dialler].listener_line_received(connection.neighbour, &line)?;
        }
        Ok(())
    }

    /// A server forgets everything; what it alone knew is no longer expected to survive.
    pub(super) fn restart(&mut self, server: usize) {
        for index in 0..self.connections.len() {
            if [self.connections[index].dialler, self.connections[index].listener].contains(&server)
            {
                self.cut(index);
            }
        }
        let herd = &self.herds[server];
        let (me, settings) = (herd.me, herd.settings);
        self.herds[server] = Herd::new(self.topology.clone(), me, self.next_identity, settings);
        self.next_identity += 1;
        self.floor.clear();
        for (client, line) in self.herds.iter().flat_map(held).collect::<Vec<_>>() {
            self.raise_floor(client, line);
        }
    }

    pub(super) fn step(&mut self, cuts: bool, restarts: bool) {
        let connection = self.random.index(self.connections.len());
        match self.random.below(100) {
            0..20 => {
                let server = self.random.index(self.herds.len());
                let (client, time) = (self.random.below(CLIENTS), self.random.below(40));
                self.report(server, client, time);
            }
            20..55 => self.deliver(connection).unwrap(),
            55..80 => {
                let limit_bytes = self.random.index(200);
                self.pump(connection, limit_bytes);
            }
            80..85 => self.heartbeat(connection),
            85..95 => self.dial(connection),
            95..99 if cuts => self.cut(connection),
            99 if restarts => {
                let server = self.random.index(self.herds.len());
                self.restart(server);
            }
            _ => {}
        }
    }

    /// Heals the network and lets everything arrive. Nothing may be passed on for ever.
    pub(super) fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 1_000, "the herd does not come to rest");
            for index in 0..self.connections.len() {
                self.dial(index);
                self.pump(index, PLENTY);
            }
            let on_the_way =
                |it: &Connection| !it.to_listener.is_empty() || !it.to_dialler.is_empty();
            if !self.connections.iter().any(on_the_way) {
                return;
            }
            for index in 0..self.connections.len() {
                while on_the_way(&self.connections[index]) {
                    self.deliver(index).unwrap();
                }
            }
        }
    }

    /// All servers hold the same, nothing that survived was lost, and nothing was made up.
    pub(super) fn assert_agreement(&self) {
        let first = sorted(&self.herds[0]);
        for herd in &self.herds {
            assert_eq!(sorted(herd), first, "{} and {}", herd.name(), self.herds[0].name());
        }
        for (client, floor) in &self.floor {
            let held = self.herds[0].where_is(client).expect("a client was forgotten");
            assert!(!wins_over(floor, held.line), "{floor:?} is greater than {:?}", held.line);
        }
        assert!(first.iter().all(|(_, line)| self.ever.contains(line)));
    }

    pub(super) fn crossings(&self) -> impl Iterator<Item = usize> {
        self.connections.iter().flat_map(|connection| connection.crossings.values().copied())
    }
}

fn held(herd: &Herd) -> Vec<(Vec<u8>, Vec<u8>)> {
    let changes = herd.store.changes_after(0).filter_map(|(_, change)| change);
    changes.map(|it| (it.record.client().to_vec(), it.record.line.to_vec())).collect()
}

fn sorted(herd: &Herd) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut records = held(herd);
    records.sort();
    records
}

/// A connected topology of 2 to 12 servers: a tree, and some links more.
pub(super) fn random_topology(random: &mut Random) -> String {
    let mut text = "S0 h:1\n".to_owned();
    for i in 1..2 + random.below(11) {
        let _ = write!(text, "S{i} h:{} S{}", i + 1, random.below(i));
        for other in (0..i).filter(|_| random.below(8) == 0) {
            let _ = write!(text, " S{other}");
        }
        text.push('\n');
    }
    text
}
