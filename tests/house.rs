//! The walls of the house: which file may name which.
//!
//! Every `crate::` and `super::` path outside test code is read and followed to the file that defines
//! the name, through re-exports. What comes out is a graph of files. It must have no circle, its
//! folders must not name each other both ways, and each part names only the parts below it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "house/read.rs"]
mod read;
#[path = "house/resolve.rs"]
mod resolve;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use resolve::{Edge, House};

/// The one exception: a protocol names `Io`, which holds protocols that wait to move in.
const EXCEPTIONS: &[(&str, &str)] = &[("src/reactor/protocol.rs", "src/reactor/io/mod.rs")];

/// Circles of files, pairs of folders that name each other, and names across a wall that are still there.
/// These counts may only fall; at 0 each rule holds whole.
const CIRCLES_LEFT: usize = 11;
const FOLDER_PAIRS_LEFT: usize = 7;
const BROKEN_LEFT: usize = 14;

/// What each part of the library may name beside itself.
const WALLS: &[(&str, &[&str])] = &[
    ("src/reactor", &[]),
    ("src/wire", &[]),
    ("src/herd", &["src/wire"]),
    ("src/keys", &["src/wire"]),
    ("src/load", &["src/reactor", "src/wire"]),
    ("src/server/stand_in", &["src/reactor", "src/wire"]),
    ("src/server", &["src/reactor", "src/wire", "src/herd"]),
];

fn house() -> House {
    House::read(Path::new(env!("CARGO_MANIFEST_DIR")))
}

#[test]
fn no_files_name_each_other_in_a_circle() {
    let house = house();
    let is_excepted = |edge: &Edge| {
        let pair = (edge.from.as_str(), edge.to.as_str());
        EXCEPTIONS.contains(&pair) || EXCEPTIONS.contains(&(pair.1, pair.0))
    };
    let edges: Vec<&Edge> = house.edges.iter().filter(|edge| !is_excepted(edge)).collect();
    let pairs = edges.iter().map(|edge| (edge.from.as_str(), edge.to.as_str()));
    let circles = circles(pairs);
    let told: Vec<String> = circles.iter().map(|circle| describe(circle, &edges)).collect();
    holds("circles of files", &told, CIRCLES_LEFT);
}

#[test]
fn no_two_folders_name_each_other() {
    let house = house();
    let mut both_ways = Vec::new();
    let mut names: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    for edge in &house.edges {
        if let Some((from, to)) = siblings(&edge.from, &edge.to) {
            names.entry((from, to)).or_default().push(edge.to_string());
        }
    }
    for ((from, to), there) in &names {
        let Some(back) = names.get(&(*to, *from)).filter(|_| from < to) else { continue };
        let (there, back) = (there.join("\n  "), back.join("\n  "));
        both_ways.push(format!("{from} and {to}:\n  {there}\n and back:\n  {back}"));
    }
    holds("folders that name each other", &both_ways, FOLDER_PAIRS_LEFT);
}

#[test]
fn each_part_names_only_the_parts_below_it() {
    let house = house();
    let part = |file: &str| {
        let inside = |part: &&str| file.starts_with(&format!("{part}/"));
        WALLS.iter().map(|(part, _)| *part).filter(inside).max_by_key(|part| part.len())
    };
    let mut broken = Vec::new();
    for edge in house.edges.iter().filter(|edge| edge.to.starts_with("src/")) {
        let Some((from, below)) = WALLS.iter().find(|(from, _)| part(&edge.from) == Some(from))
        else {
            continue;
        };
        let inside = |folder: &&str| edge.to.starts_with(&format!("{folder}/"));
        if !inside(from) && !below.iter().any(inside) {
            broken.push(edge.to_string());
        }
    }
    holds("names across a wall", &broken, BROKEN_LEFT);
}

#[test]
fn the_reader_sees_what_is_there() {
    let house = house();
    let sees = |from: &str, to: &str| house.edges.iter().any(|e| e.from == from && e.to == to);
    // A plain path, a name that is handed on, a name of the library in a test.
    assert!(sees("src/reactor/flush.rs", "src/reactor/bounds/limits.rs"));
    assert!(sees("src/server/places/fair.rs", "src/reactor/token.rs"));
    assert!(sees("tests/simulation/server.rs", "src/herd/mod.rs"));
    assert!(house.edges.len() > 500, "only {} edges", house.edges.len());
}

/// There are as many as are known, and no more. With fewer, the count falls.
fn holds(what: &str, found: &[String], left: usize) {
    let (count, list) = (found.len(), found.join("\n"));
    assert!(count <= left, "{count} {what}, where {left} were left:\n{list}");
    assert!(count == left, "only {count} {what}: write {count} in place of {left}");
}

/// The pairs of sibling folders that a path from one file to another leads across.
fn siblings<'a>(from: &'a str, to: &'a str) -> Option<(&'a str, &'a str)> {
    let common = from.bytes().zip(to.bytes()).take_while(|(a, b)| a == b).count();
    let start = from[..common].rfind('/').map_or(0, |slash| slash + 1);
    let folder = |path: &'a str| path[start..].find('/').map(|slash| &path[..start + slash]);
    folder(from).zip(folder(to))
}

/// The strongly connected components with more than one member (Tarjan's would be quicker; the
/// house is small).
fn circles<'a>(edges: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<BTreeSet<&'a str>> {
    let mut next: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (from, to) in edges.filter(|(from, to)| from != to) {
        next.entry(from).or_default().insert(to);
    }
    let reach: BTreeMap<&str, BTreeSet<&str>> =
        next.keys().map(|from| (*from, reachable(from, &next))).collect();
    let mut circles = BTreeSet::new();
    for (from, reached) in &reach {
        let returns = |to: &&&str| reach.get(*to).is_some_and(|back| back.contains(from));
        let mut circle: BTreeSet<&str> = reached.iter().filter(returns).copied().collect();
        if !circle.is_empty() {
            circle.insert(from);
            circles.insert(circle);
        }
    }
    circles.into_iter().collect()
}

fn reachable<'a>(from: &str, next: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> BTreeSet<&'a str> {
    let (mut seen, mut ahead) = (BTreeSet::new(), vec![from]);
    while let Some(file) = ahead.pop() {
        for to in next.get(file).into_iter().flatten() {
            if seen.insert(*to) {
                ahead.push(to);
            }
        }
    }
    seen
}

fn describe(circle: &BTreeSet<&str>, edges: &[&Edge]) -> String {
    let inside =
        |edge: &&&Edge| circle.contains(edge.from.as_str()) && circle.contains(edge.to.as_str());
    let ties: Vec<String> = edges.iter().filter(inside).map(ToString::to_string).collect();
    format!("{} files:\n  {}", circle.len(), ties.join("\n  "))
}
