//! Looks through every interleaving of three reports and a cut or a restart in a herd of three servers,
//! which are the real `Herd` cores with the real journal's lines.
//!
//! Three properties hold in each state. *Complete up to the mark*: whoever has taken in a mark holds, or
//! holds something greater than, all that its neighbour had changed up to there. *Never goes back*: no
//! record gives way to a lesser one, no mark falls, and a start with a journal loses nothing. *Equal in the
//! end*: when nothing is left to happen, all servers hold the same, and no less than what survived.
//! Run by `scripts/model`; a property that fails prints a shortest list of events that leads there.

mod network;
mod server;

use std::process::ExitCode;
use std::time::Instant;

use herd::herd::topology::Topology;
use stateright::{Checker, Model, Property};

use network::{Event, Scenario, State};
use server::wins;

const ROW: &str = "A h:1 B\nB h:2 C\nC h:3";
const RING: &str = "A h:1 B C\nB h:2 C\nC h:3";

/// A client that roams from one end to the other, and one that stays. What comes to one server comes over
/// one connection, in this order; what comes to the other may come before, between or after.
const ROAMING: &[(usize, &str)] =
    &[(0, "IAMAT k +1-1 1"), (0, "IAMAT j +1-1 1"), (2, "IAMAT k +2-2 2")];

impl Model for Scenario {
    type State = State;
    type Action = Event;

    fn init_states(&self) -> Vec<State> {
        vec![self.beginning()]
    }

    fn actions(&self, state: &State, events: &mut Vec<Event>) {
        self.events(state, events);
    }

    fn next_state(&self, state: &State, event: Event) -> Option<State> {
        let mut next = state.clone();
        self.apply(&mut next, event);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Scenario>> {
        vec![
            Property::always("complete up to the mark", |_, state: &State| is_complete(state)),
            Property::always("never goes back", |_, state: &State| never_went_back(state)),
            Property::always("equal in the end", |model: &Scenario, state: &State| {
                !is_at_rest(model, state) || is_equal(state)
            }),
            Property::sometimes("comes to rest", |model: &Scenario, state: &State| {
                is_at_rest(model, state) && state.cuts_left == 0 && state.restarts_left == 0
            }),
        ]
    }
}

/// Whether each mark that a server has taken in is true.
fn is_complete(state: &State) -> bool {
    let holds = |held: &server::Held, client: &Vec<u8>, line: &Vec<u8>| {
        held.get(client).is_some_and(|(_, own)| own == line || wins(own, line))
    };
    state.servers.iter().all(|server| {
        server.view.taken.iter().filter(|(_, mark)| *mark > 0).all(|&(identity, mark)| {
            let now = state.servers.iter().find(|it| it.identity() == identity);
            let told = now.map(|it| &it.view.held).or_else(|| state.past.get(&identity));
            let mut told = told.into_iter().flatten().filter(|(_, (change, _))| *change <= mark);
            told.all(|(client, (_, line))| holds(&server.view.held, client, line))
        })
    })
}

fn never_went_back(state: &State) -> bool {
    state.fault.is_none() && state.servers.iter().all(|server| server.view.fault.is_none())
}

/// Whether nothing can happen any more but cuts and restarts.
fn is_at_rest(model: &Scenario, state: &State) -> bool {
    let mut events = Vec::new();
    model.events(state, &mut events);
    events.iter().all(|event| matches!(event, Event::Cut(_) | Event::Restart(_)))
}

fn is_equal(state: &State) -> bool {
    state.servers.iter().all(|server| {
        let held = server.view.held.iter().map(|(client, (_, line))| (client, line));
        held.eq(state.floor.iter())
    })
}

fn scenario(name: &'static str, topology: &str, faults: (u8, u8), has_journal: bool) -> Scenario {
    let (topology, _) = Topology::parse(name, topology).expect("a topology");
    let (cuts, restarts) = faults;
    Scenario { name, topology, reports: ROAMING, cuts, restarts, has_journal }
}

/// Looks through one scenario. Gives whether all properties hold.
fn check(scenario: Scenario) -> bool {
    let (name, begun) = (scenario.name, Instant::now());
    let checker = scenario.checker().spawn_bfs().join();
    let (states, unique) = (checker.state_count(), checker.unique_state_count());
    let mut holds = true;
    for (property, path) in checker.discoveries() {
        if property != "comes to rest" {
            holds = false;
            println!("{name}: NOT {property}: {:?}", path.into_actions());
        }
    }
    if checker.discovery("comes to rest").is_none() {
        holds = false;
        println!("{name}: never comes to rest");
    }
    let seconds = begun.elapsed().as_secs_f64();
    let verdict = if holds { "all properties hold" } else { "FAILED" };
    println!("{name}: {unique} states, {states} steps, {seconds:.1} s: {verdict}");
    holds
}

fn main() -> ExitCode {
    let all = [
        scenario("row, a cut", ROW, (1, 0), false),
        scenario("row, a restart", ROW, (0, 1), false),
        scenario("row with journals, a restart", ROW, (0, 1), true),
        scenario("ring, a cut", RING, (1, 0), false),
        scenario("row, a cut and a restart", ROW, (1, 1), false),
    ];
    // Both faults together take many minutes, and are looked through when they are named.
    let wanted = std::env::args().nth(1);
    let is_wanted = |scenario: &Scenario| match &wanted {
        Some(name) => scenario.name.contains(name.as_str()),
        None => scenario.cuts + scenario.restarts == 1,
    };
    let mut holds = true;
    for scenario in all.into_iter().filter(is_wanted) {
        holds &= check(scenario);
    }
    if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
