//! How the cost of an update grows with the herd: in messages, which theory knows, and in time.
//!
//! Here the servers have a network without delays and faults, so that what is measured is the core. An
//! update is told by the server that hears it to all neighbours, and by each of the n - 1 others, which
//! learn it once, to all neighbours but the one that it came from. With E edges that is 2E - (n - 1)
//! AT lines, whatever arrives first where: n + 1 on a ring, (n - 1)² where everybody talks with everybody.
//!
//! ```text
//! cargo test --release --test simulation growth -- --ignored --nocapture
//! ```

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs;
use std::time::Instant;

use herd::herd::links::{NeighbourId, Taken};
use herd::herd::topology::Topology;
use herd::herd::{Herd, Settings};
use herd::wire::command::{Command, parse_command};
use herd::wire::time::{NANOS_PER_SECOND, Nanos};

use super::connection::lines;
use super::random::Random;

/// How many clients report, in turn.
const CLIENTS: usize = 1_000;
/// A measurement is the best of so many, since other programs only ever add to one.
const ROUNDS: usize = 5;
/// How many AT lines a round carries at least.
const LINES_IN_A_ROUND: usize = 100_000;

/// Servers with every link up, between which a line takes no time.
struct StillHerd {
    herds: Vec<Herd>,
    /// By server and neighbour: which server that is, and what it calls this one.
    neighbours: Vec<Vec<(usize, NeighbourId)>>,
    /// By server and neighbour: how many AT lines were carried.
    carried: Vec<Vec<usize>>,
}

impl StillHerd {
    fn new(text: &str) -> StillHerd {
        let (topology, _) = Topology::parse("still", text).unwrap();
        let herd = |(id, identity)| Herd::new(topology.clone(), id, identity, Settings::default());
        let herds: Vec<Herd> = topology.ids().zip(1..).map(herd).collect();
        let place = |herd: &Herd, id| {
            let name = herd.neighbour_server(id).unwrap().name.as_bytes();
            topology.by_name(name).unwrap().index()
        };
        let mut neighbours = Vec::new();
        for herd in &herds {
            let me = herd.name().as_bytes();
            let pairs = herd.neighbours().map(|id| {
                let other = place(herd, id);
                (other, herds[other].neighbour_named(me).unwrap())
            });
            neighbours.push(pairs.collect::<Vec<_>>());
        }
        let carried = neighbours.iter().map(|all| vec![0; all.len()]).collect();
        let mut still = StillHerd { herds, neighbours, carried };
        still.link_all();
        still
    }

    /// Every server says HELLO to every neighbour, and is answered where to begin.
    fn link_all(&mut self) {
        for (dialler, all) in self.neighbours.iter().enumerate() {
            let ids: Vec<NeighbourId> = self.herds[dialler].neighbours().collect();
            for (id, &(listener, back)) in ids.into_iter().zip(all) {
                let name = self.herds[dialler].name().to_owned();
                let identity = dialler as u64 + 1;
                self.herds[listener].hello_received(1, name.as_bytes(), identity).unwrap();
                let mut answer = Vec::new();
                self.herds[listener].write_resume(back, &mut answer);
                for line in lines(&answer) {
                    self.herds[dialler].listener_line_received(id, line).unwrap();
                }
            }
        }
    }

    /// A server hears reports in one turn of its loop.
    fn hear<'a>(&mut self, server: usize, clock: Nanos, reports: impl Iterator<Item = &'a String>) {
        let mut reply = Vec::new();
        for report in reports {
            let Some(Command::IAmAt(said)) = parse_command(report.as_bytes()) else {
                panic!("{report}")
            };
            reply.clear();
            self.herds[server].client_heard(&said, clock, &mut reply).unwrap();
        }
    }

    /// Turns of the servers' loops, beginning with one's, until nobody has anything to say.
    fn run_to_rest(&mut self, server: usize) {
        let mut turns = VecDeque::from([server]);
        let mut out = Vec::new();
        while let Some(server) = turns.pop_front() {
            for (place, &(other, from)) in self.neighbours[server].iter().enumerate() {
                let id = self.herds[server].neighbours().nth(place).unwrap();
                while self.herds[server].lacks_changes(id) {
                    out.clear();
                    let pumped = self.herds[server].pump(id, &mut out, usize::MAX);
                    self.carried[server][place] += pumped.records;
                    let mut news = false;
                    for line in lines(&out) {
                        let taken = self.herds[other].dialler_line_received(from, line).unwrap();
                        news |= taken == Taken::Changed;
                    }
                    if news {
                        turns.push_back(other);
                    }
                }
            }
        }
    }

    fn carried(&self) -> usize {
        self.carried.iter().flatten().sum()
    }

    fn edges(&self) -> usize {
        self.herds[0].topology().link_count()
    }
}

/// A client's report, later the later it comes.
fn report(client: usize, time: usize) -> String {
    format!("IAMAT client{client}.example.org +34.068930-118.445127 {time}.392014450")
}

/// The servers, of which each talks with those for which `edge` says so.
fn topology(servers: usize, mut edge: impl FnMut(usize, usize) -> bool) -> String {
    let mut text = String::new();
    for a in 0..servers {
        let _ = write!(text, "S{a} h:{}", a + 1);
        (a + 1..servers).filter(|&b| edge(a, b)).for_each(|b| {
            let _ = write!(text, " S{b}");
        });
        text.push('\n');
    }
    text
}

fn ring(servers: usize) -> String {
    topology(servers, |a, b| b == a + 1 || (a == 0 && b == servers - 1))
}

fn complete(servers: usize) -> String {
    topology(servers, |_, _| true)
}

/// Connected, with two edges for each server, so that each has four neighbours on average; with five
/// servers that is everybody with everybody.
fn random(servers: usize) -> String {
    let mut random = Random::new(servers as u64);
    // Each with some server before it, and then edges at random until there are enough.
    let mut edges: Vec<(usize, usize)> = (1..servers).map(|b| (random.index(b), b)).collect();
    while edges.len() < 2 * servers {
        let b = 1 + random.index(servers - 1);
        let edge = (random.index(b), b);
        if !edges.contains(&edge) {
            edges.push(edge);
        }
    }
    topology(servers, |a, b| edges.contains(&(a, b)))
}

#[test]
fn an_update_costs_as_many_messages_as_theory_says() {
    for servers in [5, 6, 10, 20] {
        let n = servers;
        for (text, expected) in
            [(ring(n), n + 1), (complete(n), (n - 1) * (n - 1)), (random(n), 3 * n + 1)]
        {
            let mut still = StillHerd::new(&text);
            assert_eq!(expected, 2 * still.edges() - (n - 1));
            for origin in 0..n {
                let before = still.carried();
                let update = report(0, 1 + origin);
                still.hear(origin, NANOS_PER_SECOND, [&update].into_iter());
                still.run_to_rest(origin);
                assert_eq!(still.carried() - before, expected, "from {origin} of\n{text}");
                // Each server has it, and each edge has carried it at most once in each direction.
                assert!(still.herds.iter().all(|herd| herd.last_change() == 1 + origin as u64));
                assert!(still.carried.iter().flatten().all(|&lines| lines <= 1 + origin));
            }
        }
    }
}

#[test]
fn many_updates_of_one_client_in_one_turn_cross_each_link_at_most_once() {
    for text in [ring(5), complete(5), random(10)] {
        let mut still = StillHerd::new(&text);
        let updates: Vec<String> = (1..=1_000).map(|time| report(0, time)).collect();
        still.hear(0, NANOS_PER_SECOND, updates.iter());
        still.run_to_rest(0);
        assert!(still.carried.iter().flatten().all(|&lines| lines <= 1), "on\n{text}");
        for herd in &still.herds {
            let held = herd.where_is(b"client0.example.org").unwrap();
            assert!(held.line.ends_with(b" 1000.392014450"));
        }
    }
}

/// The time that this thread has had on a processor, where the system tells, else the time of day.
fn cpu_nanos(since: Instant) -> u128 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let first = text.split(' ').next().and_then(|field| field.parse().ok());
    first.unwrap_or_else(|| since.elapsed().as_nanos())
}

#[test]
#[ignore = "it measures, and asserts nothing: to be run in release mode"]
fn growth() {
    let start = Instant::now();
    for (name, make) in
        [("ring", ring as fn(usize) -> String), ("random", random), ("complete", complete)]
    {
        for servers in [5, 10, 20, 50] {
            let mut still = StillHerd::new(&make(servers));
            let expected = 2 * still.edges() - (servers - 1);
            let updates_in_a_round = LINES_IN_A_ROUND / expected;
            let mut best = u128::MAX;
            for round in 0..ROUNDS {
                let updates: Vec<String> = (0..updates_in_a_round)
                    .map(|i| report(i % CLIENTS, 1 + round * updates_in_a_round + i))
                    .collect();
                let before = cpu_nanos(start);
                for (i, update) in updates.iter().enumerate() {
                    let origin = i % servers;
                    still.hear(origin, NANOS_PER_SECOND, [update].into_iter());
                    still.run_to_rest(origin);
                }
                best = best.min((cpu_nanos(start) - before) / updates_in_a_round as u128);
            }
            let messages = still.carried() / (ROUNDS * updates_in_a_round);
            println!("growth {name} {servers} {messages} {best}");
        }
    }
}
