//! Whole herds in one thread, on a seeded network that delays, cuts, heals and restarts.
//!
//! Every choice comes from one seed, which is printed when a test fails; `HERD_SEED=n` runs that one
//! seed alone.

// By its path, since the simulation, an integration test, and these tests of the library cannot see each
// other's modules, and the program itself has no use for it.
#[path = "../../tests/simulation/random.rs"]
#[allow(dead_code, reason = "the simulation needs more of it")]
mod random;
mod world;

use random::Random;
use world::{World, random_topology};

use super::settings::CatchUp;

const KNOWN_TOPOLOGIES: [&str; 3] = [
    include_str!("../../topology.txt"),
    include_str!("../../tests/topologies/bolden.txt"),
    include_str!("../../tests/topologies/farmar.txt"),
];
const SEEDS: u64 = 60;
const STEPS: usize = 600;
const CLIENTS: u64 = 6;
const PLENTY: usize = 1 << 20;

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
            known.map_or_else(|| random_topology(&mut Random::new(!seed)), |&text| text.to_owned());
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
