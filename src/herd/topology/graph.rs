//! What follows from a topology's shape: how far an update travels, and what one loss does.
//!
//! Plain breadth-first walks from every server, with nothing remembered between them: a herd has at
//! most [`SERVERS_MAX`](super::SERVERS_MAX) servers, and these questions are asked by a person.

use std::collections::VecDeque;

use super::{ServerId, Topology};

/// The longest of the shortest ways between two servers, with an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Diameter {
    /// Its length in links; 0 for a herd of one.
    pub links: usize,
    /// One end of such a way, the first in the order of the file.
    pub from: ServerId,
    /// The other end.
    pub to: ServerId,
}

/// The diameter, or `None` when some server cannot reach some other.
pub fn diameter(topology: &Topology) -> Option<Diameter> {
    let mut longest: Option<Diameter> = None;
    for from in topology.ids() {
        let distances = distances(topology, from, None);
        for (to, distance) in topology.ids().zip(distances) {
            let links = distance?;
            if longest.is_none_or(|known| links > known.links) {
                longest = Some(Diameter { links, from, to });
            }
        }
    }
    longest
}

/// The parts of the herd that can hear of each other, each in the order of the file.
///
/// One part means that the herd is connected.
pub fn components(topology: &Topology) -> Vec<Vec<ServerId>> {
    parts(topology, None)
}

/// The parts into which the servers that `lost` can reach would fall without it.
///
/// The greatest part comes first, the others are those that the loss cuts off from it. One part, or
/// none: the loss cuts nobody off, and `lost` is no cut vertex of the graph.
pub fn parts_without(topology: &Topology, lost: ServerId) -> Vec<Vec<ServerId>> {
    let reachable = distances(topology, lost, None);
    let reached = |id: ServerId| reachable.get(id.index()).is_some_and(Option::is_some);
    let mut parts = parts(topology, Some(lost));
    parts.retain(|part| part.first().is_some_and(|&id| reached(id)));
    // Stable: of parts of one size, the one that the file names first counts as what is left.
    parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
    parts
}

/// The connected parts of the topology, as if `without` were not there.
fn parts(topology: &Topology, without: Option<ServerId>) -> Vec<Vec<ServerId>> {
    let mut seen = vec![false; topology.len()];
    let mut parts = Vec::new();
    for from in topology.ids().filter(|&id| Some(id) != without) {
        if seen.get(from.index()).copied().unwrap_or(true) {
            continue;
        }
        let distances = distances(topology, from, without);
        let mut part = Vec::new();
        for ((id, seen), distance) in topology.ids().zip(&mut seen).zip(distances) {
            if distance.is_some() {
                *seen = true;
                part.push(id);
            }
        }
        parts.push(part);
    }
    parts
}

/// By server: how many links it is away from `from`, by ways that avoid `without`.
fn distances(topology: &Topology, from: ServerId, without: Option<ServerId>) -> Vec<Option<usize>> {
    let mut distances = vec![None; topology.len()];
    let mut queue = VecDeque::from([(from, 0)]);
    while let Some((id, distance)) = queue.pop_front() {
        let Some(known @ None) = distances.get_mut(id.index()) else { continue };
        *known = Some(distance);
        let next = topology.neighbours(id).iter().filter(|&&next| Some(next) != without);
        queue.extend(next.map(|&next| (next, distance + 1)));
    }
    distances
}
