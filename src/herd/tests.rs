//! Whole herds in one thread, on a seeded network that delays, cuts, heals and restarts.
//!
//! Every choice comes from one seed, which is printed when a test fails; `HERD_SEED=n` runs that one
//! seed alone.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;

use super::links::{NeighbourId, Nonsense};
use super::topology::Topology;
use super::*;
use crate::wire::command::{Command, parse_command};
use crate::wire::peer::{PeerLine, parse_at, parse_peer_line};
use crate::wire::time::NANOS_PER_SECOND;

const KNOWN_TOPOLOGIES: [&str; 3] = [
    include_str!("../../topology.txt"),
    include_str!("../../tests/topologies/bolden.txt"),
    include_str!("../../tests/topologies/farmar.txt"),
];
const SEEDS: u64 = 60;
const STEPS: usize = 600;
const CLIENTS: u64 = 6;
const PLENTY: usize = 1 << 20;

/// Random numbers from a seed: `SplitMix64`, which is small and good enough to play a network.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn index(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).unwrap()
    }
}

/// The connection of one direction of an edge. Lines on their way keep their order.
struct Connection {
    dialler: usize,
    listener: usize,
    /// What the dialler calls the listener.
    neighbour: NeighbourId,
    open: bool,
    /// What the listener calls the dialler, once HELLO has arrived.
    welcomed: Option<NeighbourId>,
    to_listener: VecDeque<Vec<u8>>,
    to_dialler: VecDeque<Vec<u8>>,
    /// How often each AT line was written to this connection, over all its lives.
    crossings: HashMap<Vec<u8>, usize>,
}

struct World {
    random: Random,
    topology: Topology,
    herds: Vec<Herd>,
    connections: Vec<Connection>,
    next_identity: u64,
    /// Each server's clock is wrong by this much.
    skews: Vec<Nanos>,
    now: Nanos,
    /// By client: the greatest record that is certainly somewhere in the herd, as a line.
    floor: HashMap<Vec<u8>, Vec<u8>>,
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
    fn new(text: &str, seed: u64, catch_up: CatchUp) -> World {
        let mut random = Random(seed);
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
    fn report(&mut self, server: usize, client: u64, time: u64) {
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

    fn raise_floor(&mut self, client: Vec<u8>, line: Vec<u8>) {
        let floor = self.floor.entry(client).or_insert_with(|| line.clone());
        if wins_over(&line, floor) {
            *floor = line;
        }
    }

    fn dial(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        if !connection.open {
            let mut hello = Vec::new();
            self.herds[connection.dialler].hello(&mut hello);
            connection.open = true;
            connection.to_listener.extend(lines(&hello));
        }
    }

    /// Both sides are told, and what was on its way is lost.
    fn cut(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        connection.open = false;
        connection.welcomed = None;
        connection.to_listener.clear();
        connection.to_dialler.clear();
        self.herds[connection.dialler].link_lost(connection.neighbour);
    }

    fn pump(&mut self, index: usize, limit_bytes: usize) {
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
    fn heartbeat(&mut self, index: usize) {
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
    fn deliver(&mut self, index: usize) -> Result<(), Nonsense> {
        let connection = &mut self.connections[index];
        if let Some(line) = connection.to_listener.pop_front() {
            let herd = &mut self.herds[connection.listener];
            if let Some(dialler) = connection.welcomed {
                herd.dialler_line_received(dialler, &line)?;
            } else {
                let Some(PeerLine::Hello { version, server, identity }) = parse_peer_line(&line)
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
    fn restart(&mut self, server: usize) {
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

    fn step(&mut self, cuts: bool, restarts: bool) {
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
    fn settle(&mut self) {
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
    fn assert_agreement(&self) {
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

    fn crossings(&self) -> impl Iterator<Item = usize> {
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
fn random_topology(random: &mut Random) -> String {
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

/// Prints the seed when the test fails.
struct Announce(u64, String);

impl Drop for Announce {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with HERD_SEED={} on the topology\n{}", self.0, self.1);
        }
    }
}

/// Runs `play` with every seed, on a known topology or a random one.
fn with_seeds(play: impl Fn(&mut World)) {
    let seeds = match std::env::var("HERD_SEED") {
        Ok(seed) => seed.parse().map(|seed| seed..seed + 1).expect("HERD_SEED is a number"),
        Err(_) => 0..SEEDS,
    };
    for seed in seeds {
        let known = usize::try_from(seed % 6).ok().and_then(|index| KNOWN_TOPOLOGIES.get(index));
        let text =
            known.map_or_else(|| random_topology(&mut Random(!seed)), |&text| text.to_owned());
        let _announce = Announce(seed, text.clone());
        play(&mut World::new(&text, seed, CatchUp::On));
    }
}

#[test]
fn servers_agree_on_the_greatest_record_however_the_network_delays_cuts_and_heals() {
    with_seeds(|world| {
        for _ in 0..STEPS {
            world.step(true, false);
        }
        world.settle();
        world.assert_agreement();
        for (client, greatest) in &world.floor {
            assert_eq!(world.herds[0].where_is(client).unwrap().line, greatest);
        }
    });
}

#[test]
fn servers_agree_on_what_survived_however_servers_restart() {
    with_seeds(|world| {
        for _ in 0..STEPS {
            world.step(true, true);
        }
        world.settle();
        world.assert_agreement();
    });
}

#[test]
fn an_update_crosses_each_edge_at_most_once_in_each_direction() {
    with_seeds(|world| {
        for _ in 0..STEPS {
            world.step(false, false);
        }
        world.settle();
        world.assert_agreement();
        assert!(world.crossings().all(|count| count == 1));
    });
}

#[test]
fn an_update_does_not_go_back_where_it_came_from() {
    with_seeds(|world| {
        world.settle();
        let server = world.random.index(world.herds.len());
        world.report(server, 0, 1);
        world.settle();
        let edges = world.topology.link_count();
        let crossings = world.crossings().sum::<usize>();
        // A spanning tree at least; beyond it an edge is crossed from both sides at most.
        let tree = world.herds.len() - 1;
        assert!((tree..=tree + 2 * (edges - tree)).contains(&crossings), "{crossings} of {edges}");
    });
}

#[test]
fn resuming_after_a_cut_sends_each_missed_client_once() {
    with_seeds(|world| {
        for client in 0..CLIENTS {
            world.report(0, client, 1);
        }
        world.settle();
        let cut = world.random.index(world.connections.len());
        let dialler = world.connections[cut].dialler;
        world.cut(cut);
        world.connections[cut].crossings.clear();
        let missed = 1 + world.random.below(CLIENTS - 1);
        for (client, time) in
            [2, 3].into_iter().flat_map(|time| (0..missed).map(move |c| (c, time)))
        {
            world.report(dialler, client, time);
        }
        world.dial(cut);
        world.deliver(cut).unwrap(); // HELLO, and the HELLO that answers it
        world.deliver(cut).unwrap(); // RESUME
        world.pump(cut, PLENTY);
        assert_eq!(world.connections[cut].crossings.len() as u64, missed);
        world.settle();
        world.assert_agreement();
    });
}

#[test]
fn without_catching_up_a_restarted_server_learns_only_what_is_new() {
    for text in KNOWN_TOPOLOGIES {
        let mut world = World::new(text, 7, CatchUp::Off);
        world.settle();
        world.report(0, 0, 1);
        world.settle();
        world.restart(1);
        world.settle();
        world.report(2, 1, 1);
        world.settle();
        assert_eq!((world.herds[1].clients(), world.herds[0].clients()), (1, 2));
    }
}
