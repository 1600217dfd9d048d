//! The connections between three servers, and every event that can happen next.
//!
//! A connection carries in order what a turn wrote, and it is read whole. When it breaks, by a cut or a death,
//! what is on its way to the listener arrives line by line as far as chance will have it: a record without
//! the mark behind it, too. The dialler notices at once and dials again: noticing later would look
//! the same to everybody else, since the first line of the new connection may be on its way for any time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use herd::herd::topology::Topology;

use crate::server::{Held, Input, Line, Server, wins};

/// A connection that one server dialled to another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Connection {
    pub dialler: usize,
    pub listener: usize,
    pub to_listener: VecDeque<Line>,
    pub dialler_open: bool,
    pub listener_open: bool,
    /// Whether the listener has read HELLO.
    pub is_met: bool,
}

/// The herd and its network at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub servers: [Arc<Server>; 3],
    /// Oldest first for each pair of servers, and sorted by pair.
    pub connections: Vec<Connection>,
    /// A bit for each report that was made.
    pub reported: u8,
    pub cuts_left: u8,
    pub restarts_left: u8,
    /// What earlier starts of servers held at their end, by identity.
    pub past: BTreeMap<u64, Held>,
    /// By client, the greatest record that must not be lost.
    pub floor: BTreeMap<Vec<u8>, Line>,
    /// What a restart has lost, where that may not be.
    pub fault: Option<String>,
}

/// What can happen next. A number is a place in [`State::connections`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    Report(u8),
    /// All that is on its way, or one line when the connection is broken. With a HELLO the dialler has the
    /// answer at once: otherwise what it causes would only wait longer.
    ListenerReads(usize),
    /// What is on its way to the listener does not arrive.
    ListenerLoses(usize),
    Cut(usize),
    Restart(usize),
}

/// One set of events whose interleavings are looked through.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub name: &'static str,
    pub topology: Topology,
    /// Which server hears what.
    pub reports: &'static [(usize, &'static str)],
    pub cuts: u8,
    pub restarts: u8,
    /// Whether a server starts with what it knew.
    pub has_journal: bool,
}

impl Scenario {
    /// Whether two servers are neighbours.
    fn is_edge(&self, one: usize, other: usize) -> bool {
        let id = |place| self.topology.by_name(crate::server::name(place).as_bytes());
        let (Some(one), Some(other)) = (id(one), id(other)) else { return false };
        self.topology.neighbours(one).contains(&other)
    }

    /// All directions of all edges: who dials whom.
    pub fn directions(&self) -> impl Iterator<Item = (usize, usize)> {
        let all = (0..9).map(|pair| (pair / 3, pair % 3));
        all.filter(|&(dialler, listener)| self.is_edge(dialler, listener))
    }

    /// Three servers that know nothing, with all links up.
    pub fn beginning(&self) -> State {
        let server = |place| Arc::new(Server::start(&self.topology, place, 0, Vec::new()));
        let mut state = State {
            servers: [server(0), server(1), server(2)],
            connections: Vec::new(),
            reported: 0,
            cuts_left: self.cuts,
            restarts_left: self.restarts,
            past: BTreeMap::new(),
            floor: BTreeMap::new(),
            fault: None,
        };
        for (dialler, listener) in self.directions().collect::<Vec<_>>() {
            self.dial(&mut state, dialler, listener);
        }
        for index in 0..state.connections.len() {
            self.apply(&mut state, Event::ListenerReads(index));
        }
        state
    }

    /// Everything that can happen now.
    pub fn events(&self, state: &State, events: &mut Vec<Event>) {
        let is_made = |number: u8| state.reported & (1 << number) != 0;
        let server = |number: u8| self.reports[usize::from(number)].0;
        let open = |&number: &u8| {
            let earlier = |before: u8| server(before) != server(number) || is_made(before);
            !is_made(number) && (0..number).all(earlier)
        };
        let reports = 0..u8::try_from(self.reports.len()).unwrap_or(u8::MAX);
        events.extend(reports.filter(open).map(Event::Report));
        for (index, it) in state.connections.iter().enumerate() {
            if it.listener_open && !it.to_listener.is_empty() {
                events.push(Event::ListenerReads(index));
            }
            if it.listener_open && !it.dialler_open {
                events.push(Event::ListenerLoses(index));
            }
            if it.dialler_open && state.cuts_left > 0 {
                events.push(Event::Cut(index));
            }
        }
        if state.restarts_left > 0 {
            events.extend((0..3).map(Event::Restart));
        }
    }

    pub fn apply(&self, state: &mut State, event: Event) {
        match event {
            Event::Report(number) => {
                state.reported |= 1 << number;
                let (place, text) = self.reports[usize::from(number)];
                self.hand(state, place, Input::Report(number, text));
            }
            Event::ListenerReads(index) => self.listener_reads(state, index),
            Event::ListenerLoses(index) => state.connections[index].listener_open = false,
            Event::Cut(index) => {
                state.cuts_left -= 1;
                self.lose(state, index);
            }
            Event::Restart(place) => self.restart(state, place),
        }
        state
            .connections
            .retain(|it| it.dialler_open || (it.listener_open && !it.to_listener.is_empty()));
        state.raise_floor();
    }

    fn dial(&self, state: &mut State, dialler: usize, listener: usize) {
        let hello = state.servers[dialler].hello(&self.topology);
        state.connections.push(Connection {
            dialler,
            listener,
            to_listener: VecDeque::from([hello]),
            dialler_open: true,
            listener_open: true,
            is_met: false,
        });
        state.connections.sort_by_key(|it| (it.dialler, it.listener));
    }

    /// The dialler's end of a connection is gone, and it dials again.
    fn lose(&self, state: &mut State, index: usize) {
        let it = &mut state.connections[index];
        if !std::mem::replace(&mut it.dialler_open, false) {
            return;
        }
        let (dialler, listener) = (it.dialler, it.listener);
        self.hand(state, dialler, Input::Lost(listener));
        self.dial(state, dialler, listener);
    }

    fn listener_reads(&self, state: &mut State, index: usize) {
        let it = &mut state.connections[index];
        let (dialler, listener, is_met) = (it.dialler, it.listener, it.is_met);
        let Some(line) = it.to_listener.pop_front() else { return };
        if is_met {
            self.hand(state, listener, Input::Told(dialler, line));
            while state.connections[index].dialler_open {
                let Some(line) = state.connections[index].to_listener.pop_front() else { break };
                self.hand(state, listener, Input::Told(dialler, line));
            }
            let it = &state.connections[index];
            let has_room = it.dialler_open && it.to_listener.is_empty();
            if has_room && state.servers[dialler].view.lacks[listener] {
                self.hand(state, dialler, Input::Room);
            }
            return;
        }
        it.is_met = true;
        // A neighbour has one connection: another one ends before the new one is answered.
        let other = state.connections.iter().enumerate().position(|(other, it)| {
            other != index && it.is_met && (it.dialler, it.listener) == (dialler, listener)
        });
        if let Some(other) = other {
            state.connections[other].listener_open = false;
        }
        self.hand(state, listener, Input::Hello(line));
        let answer = state.servers[listener].view.answer.clone();
        if state.connections[index].dialler_open {
            for line in answer {
                self.hand(state, dialler, Input::Answered(listener, line));
            }
        }
        if let Some(other) = other {
            self.lose(state, other);
        }
    }

    /// Hands a server one input, and sends what its turn wrote to the links.
    fn hand(&self, state: &mut State, place: usize, input: Input) {
        let room = [0, 1, 2].map(|listener| {
            let dialled = state.dialled(place, listener);
            dialled.is_some_and(|index| state.connections[index].to_listener.is_empty())
        });
        let server = state.servers[place].after(&self.topology, input, room);
        for (listener, told) in server.view.told.iter().enumerate() {
            if let Some(index) = state.dialled(place, listener) {
                let it = &mut state.connections[index];
                if it.listener_open {
                    it.to_listener.extend(told.iter().cloned());
                }
            }
        }
        state.servers[place] = Arc::new(server);
    }

    /// SIGKILL and a new start. The kernel closes its connections, and what it wrote may still arrive.
    fn restart(&self, state: &mut State, place: usize) {
        state.restarts_left -= 1;
        let old = Arc::clone(&state.servers[place]);
        state.past.insert(old.identity(), old.view.held.clone());
        let found = if self.has_journal { old.view.journal.clone() } else { Vec::new() };
        let new = Server::start(&self.topology, place, 1, found);
        if self.has_journal {
            for (client, (_, line)) in &old.view.held {
                if new.view.held.get(client).is_none_or(|(_, now)| now != line) {
                    state.fault = Some(format!("a start lost {}", crate::server::text(line)));
                }
            }
        } else {
            // What it alone knew is gone.
            state.floor.clear();
        }
        state.servers[place] = Arc::new(new);
        for it in &mut state.connections {
            if it.dialler == place {
                it.dialler_open = false;
            }
            if it.listener == place {
                it.listener_open = false;
            }
        }
        for (dialler, listener) in self.directions() {
            if dialler == place {
                self.dial(state, dialler, listener);
            }
        }
        let to_it = |it: &Connection| it.listener == place && !it.listener_open && it.dialler_open;
        while let Some(index) = state.connections.iter().position(to_it) {
            self.lose(state, index);
        }
    }
}

impl State {
    /// The connection that the dialler takes for open.
    fn dialled(&self, dialler: usize, listener: usize) -> Option<usize> {
        let is_it =
            |it: &Connection| it.dialler_open && (it.dialler, it.listener) == (dialler, listener);
        self.connections.iter().position(is_it)
    }

    fn raise_floor(&mut self) {
        for server in &self.servers {
            for (client, (_, line)) in &server.view.held {
                match self.floor.get(client) {
                    Some(floor) if !wins(line, floor) => {}
                    _ => drop(self.floor.insert(client.clone(), line.clone())),
                }
            }
        }
    }
}
