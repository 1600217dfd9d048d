//! Topology files, as somebody may write them, or send them.
//!
//! Accepted and refused agree with a slow reading of the same rules. A refusal names places that are in
//! the file. What is accepted is whole and symmetric, can be described, and is read again as it is when
//! it is written down.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use herd::herd::topology::{
    FILE_MAX_BYTES, LINE_MAX_BYTES, NAME_MAX_BYTES, PROBLEMS_MAX, Problem, SERVERS_MAX, Topology,
    TopologyErrors, describe,
};

use crate::engine::{Target, replay_and_probe};

pub const TARGET: Target = Target {
    name: "topology",
    check,
    tokens: &[
        b"Alford",
        b"Ball",
        b"ball",
        b"Hamilton",
        b"A",
        b"B",
        b"-",
        b"_",
        b"#",
        b" ",
        b"\t",
        b"\n",
        b"\r\n",
        b"\r",
        b"127.0.0.1:11550",
        b"127.0.0.1:11551",
        b"[::1]:11550",
        b"[::ffff:127.0.0.1]:11550",
        b"[0:0::1]:11550",
        b"[",
        b"]",
        b":",
        b":0",
        b":65535",
        b":65536",
        b":080",
        b":+80",
        b"h:1",
        b"links=",
        b" links=h:3",
        b"0.0.0.0:1",
        b"H:1",
        b"h:2",
        b"a.b:1",
        b"a..b:1",
        b"1.2.3:1",
        b"a.1:1",
        b"\xef\xbb\xbf",
        b"\xc3\xa9",
        b"\x1b[31m",
        b"\0",
        b"\x0c",
        b"\x0b",
        b"\xc2\x85",
        b"\n\n\n",
    ],
    extremes: &[63, 64, 253, 254, LINE_MAX_BYTES],
    input_max_bytes: 3 * LINE_MAX_BYTES,
};

fn check(input: &[u8]) -> String {
    let text = String::from_utf8_lossy(input);
    let acceptable = slow(&text);
    match Topology::parse("file", &text) {
        Ok((topology, warnings)) => {
            assert!(acceptable, "only sound files are accepted");
            for warning in &warnings {
                check_problem(&text, &warning.0);
                check_shown(&warning.to_string());
            }
            check_topology(&topology);
            let shape =
                (topology.len().min(4), topology.link_count().min(4), warnings.len().min(2));
            format!("{shape:?}")
        }
        Err(errors) => {
            assert!(!acceptable, "sound files are accepted");
            check_errors(&text, &errors);
            kinds(&errors)
        }
    }
}

/// The sentences without what they quote.
fn kinds(errors: &TopologyErrors) -> String {
    let kinds: BTreeSet<String> = errors
        .problems
        .iter()
        .map(|problem| {
            let message = &problem.message;
            let start = message.find('"').unwrap_or(message.len());
            let end = message.rfind('"').unwrap_or(0).max(start);
            [&message[..start], &message[end..]].concat().replace(|c: char| c.is_ascii_digit(), "")
        })
        .collect();
    kinds.into_iter().take(3).collect::<Vec<_>>().join("; ")
}

fn check_errors(text: &str, errors: &TopologyErrors) {
    assert!((1..=PROBLEMS_MAX).contains(&errors.problems.len()));
    assert!(errors.omitted == 0 || errors.problems.len() == PROBLEMS_MAX);
    let places: Vec<_> = errors.problems.iter().map(|p| (p.line, p.column)).collect();
    assert!(places.is_sorted(), "in the order of the file");
    for problem in &errors.problems {
        check_problem(text, problem);
    }
    check_shown(&errors.to_string());
}

/// A problem's place is in the file, and its line is shown.
fn check_problem(text: &str, problem: &Problem) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let line = text.lines().nth(problem.line - 1).unwrap_or_default();
    assert!(problem.line <= text.lines().count().max(1), "{problem:?}");
    // Just behind its end stands what is missing there.
    assert!((1..=line.chars().count() + 1).contains(&problem.column), "{problem:?}");
    match problem.text.strip_suffix("...") {
        Some(start) if line.len() > LINE_MAX_BYTES => assert!(line.starts_with(start)),
        _ => assert_eq!(problem.text, line),
    }
    assert!(problem.message.len() < 2000 && !problem.message.contains(char::is_control));
}

/// What reaches a terminal moves no cursor but by tabs and newlines.
fn check_shown(text: &str) {
    assert!(!text.contains(|c: char| c.is_control() && c != '\n' && c != '\t'), "{text:?}");
}

fn check_topology(topology: &Topology) {
    assert!((1..=SERVERS_MAX).contains(&topology.len()));
    let mut again = String::new();
    for id in topology.ids() {
        let server = topology.server(id).unwrap();
        assert_eq!(topology.by_name(server.name.as_bytes()), Some(id));
        let neighbours = topology.neighbours(id);
        assert!(neighbours.is_sorted() && !neighbours.contains(&id));
        assert!(neighbours.iter().all(|other| topology.neighbours(*other).contains(&id)));
        write!(again, "{} {}", server.name, server.address()).unwrap();
        if let Some(links) = &server.links {
            write!(again, " links={}", links.address()).unwrap();
        }
        for other in neighbours {
            write!(again, " {}", topology.name(*other)).unwrap();
        }
        again.push('\n');
    }
    if again.lines().all(|line| line.len() <= LINE_MAX_BYTES) && again.len() <= FILE_MAX_BYTES {
        let read = Topology::parse("again", &again).map(|(topology, _)| topology);
        assert_eq!(read.as_ref(), Ok(topology), "written down and read again");
    }
    let first = &topology.server(topology.ids().next().unwrap()).unwrap().name;
    assert_eq!(topology.nearest_name(first), Some(first.as_str()));
    let described = describe(topology);
    check_shown(&described);
    assert!(described.lines().count() > topology.len() && described.ends_with('\n'));
}

/// Whether a file is sound.
fn slow(text: &str) -> bool {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines: Vec<&str> = text.lines().collect();
    if text.len() > FILE_MAX_BYTES || lines.iter().any(|line| line.len() > LINE_MAX_BYTES) {
        return false;
    }
    let fields = |line: &&'_ str| -> Vec<String> {
        let before = line.split('#').next().unwrap();
        before.split_ascii_whitespace().map(str::to_owned).collect()
    };
    let rows: Vec<Vec<String>> =
        lines.iter().map(fields).filter(|fields| !fields.is_empty()).collect();
    let names: BTreeSet<&str> = rows.iter().map(|row| row[0].as_str()).collect();
    let folded: BTreeSet<String> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
    // Each field that is an address: the second of each row, and what stands behind `links=`.
    let fields = rows.iter().flat_map(|row| {
        let behind = row.iter().skip(2).filter_map(|field| field.strip_prefix("links="));
        row.get(1).map(String::as_str).into_iter().chain(behind)
    });
    let addresses: Vec<_> = fields.map(canonical_address).collect();
    let distinct: BTreeSet<_> = addresses.iter().flatten().collect();
    let others = |row: &'_ Vec<String>| -> Vec<String> {
        row.iter().skip(2).filter(|field| !field.starts_with("links=")).cloned().collect()
    };
    let known = |row: &Vec<String>| {
        others(row).iter().all(|name| names.contains(name.as_str()) && *name != row[0])
            && row.len() <= others(row).len() + 3
    };
    let is_dialled = |row: &Vec<String>| {
        !others(row).is_empty() || rows.iter().any(|other| others(other).contains(&row[0]))
    };
    let unspecified = |row: &Vec<String>| {
        let fields = row
            .iter()
            .skip(1)
            .filter_map(|field| canonical_address(field.strip_prefix("links=").unwrap_or(field)));
        fields.map(|(host, _)| host).any(|host| host == "0.0.0.0" || host == "::")
    };
    (1..=SERVERS_MAX).contains(&rows.len())
        && folded.len() == rows.len()
        && names.iter().all(|name| is_name(name))
        && rows.iter().all(|row| row.len() > 1)
        && addresses.iter().all(Option::is_some)
        && distinct.len() == addresses.len()
        && rows.iter().all(known)
        && !rows.iter().any(|row| is_dialled(row) && unspecified(row))
}

fn is_name(name: &str) -> bool {
    name.len() <= NAME_MAX_BYTES
        && !name.starts_with(['-', '_'])
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
}

/// An address in the one spelling that it shares with all that mean the same; `None` for a bad one.
fn canonical_address(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    port.bytes().all(|byte| byte.is_ascii_digit()).then_some(())?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if let Some(inside) = inside {
        let address: Ipv6Addr = inside.parse().ok()?;
        return Some((IpAddr::V6(address).to_canonical().to_string(), port));
    }
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return Some((address.to_string(), port));
    }
    let labels: Vec<&str> = host.split('.').collect();
    let is_label = |label: &&str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
    };
    let good = host.len() <= 253
        && labels.iter().all(is_label)
        && !labels.last()?.chars().all(|c| c.is_ascii_digit());
    good.then(|| (host.to_ascii_lowercase(), port))
}

#[test]
fn the_corpus_and_new_inputs_pass() {
    replay_and_probe(&TARGET);
}
