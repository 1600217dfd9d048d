//! A topology in words: the text that `herd check` prints of a file without faults.
//!
//! Pure: a topology in, a text out. Printing it and choosing the exit code is the program's business.

use std::fmt::Write as _;

use super::{Endpoint, ServerEntry, ServerId, Topology, components, diameter, parts_without};

/// The servers with addresses and neighbours as a table, then what the shape of the herd means.
///
/// The last paragraphs tell the diameter and which servers the loss of one would cut off from the
/// others. Ends with a newline.
pub fn describe(topology: &Topology) -> String {
    let mut text = table(topology);
    // Writing to a String cannot fail, here and below.
    let _ = write!(text, "\n{}\n\n{}", reach(topology), losses(topology));
    text
}

/// One line per server under a heading, its columns as wide as their widest entry. The column of
/// addresses for links is there when any server has one.
fn table(topology: &Topology) -> String {
    let servers: Vec<_> =
        topology.ids().filter_map(|id| Some((id, topology.server(id)?))).collect();
    let mut columns = vec![
        column("name", servers.iter().map(|(_, server)| server.name.clone())),
        column("address", servers.iter().map(|(_, server)| server.address())),
    ];
    if servers.iter().any(|(_, server)| server.links.is_some()) {
        let links = |server: &ServerEntry| server.links.as_ref().map(Endpoint::address);
        let shown = servers.iter().map(|(_, server)| links(server).unwrap_or("-".to_owned()));
        columns.push(column("links", shown));
    }
    let neighbours = |id: ServerId| match topology.neighbours(id) {
        [] => "nobody".to_owned(),
        neighbours => topology.names(neighbours),
    };
    columns.push(column("talks with", servers.iter().map(|(id, _)| neighbours(*id))));
    let mut text = String::new();
    for row in 0..=servers.len() {
        let cells = columns.iter().filter_map(|cells| cells.get(row));
        let line = cells.map(String::as_str).collect::<Vec<_>>().join("  ");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// A heading and what stands below it, all of one width.
fn column(heading: &str, entries: impl Iterator<Item = String>) -> Vec<String> {
    let cells: Vec<String> = std::iter::once(heading.to_owned()).chain(entries).collect();
    let width = cells.iter().map(String::len).max().unwrap_or(0);
    cells.iter().map(|cell| format!("{cell:width$}")).collect()
}

/// How far an update travels, or who never hears of whom.
fn reach(topology: &Topology) -> String {
    let counts = format!(
        "{} and {}",
        counted(topology.len(), "server"),
        counted(topology.link_count(), "link")
    );
    if let Some(diameter) = diameter(topology) {
        if diameter.links == 0 {
            return format!("{counts}. Diameter 0: there is nobody to pass an update on to.");
        }
        return format!(
            "{counts}. Diameter {}: an update reaches everybody over at most {}, as from {} to {}.",
            diameter.links,
            counted(diameter.links, "link"),
            topology.name(diameter.from),
            topology.name(diameter.to)
        );
    }
    let parts = components(topology);
    format!(
        "{counts}. No diameter: the herd is not connected. Its {} parts never hear of each other:\n  {}",
        parts.len(),
        listed(topology, &parts, "\n  ")
    )
}

/// One line per server whose loss would cut others off, or a line that there is none.
fn losses(topology: &Topology) -> String {
    let mut text = String::new();
    for lost in topology.ids() {
        let parts = parts_without(topology, lost);
        let name = topology.name(lost);
        let _ = match parts.as_slice() {
            [] | [_] => Ok(()),
            [rest, cut] => {
                let verb = if cut.len() == 1 { "is" } else { "are" };
                let (cut, rest) = (topology.names(cut), topology.names(rest));
                writeln!(text, "Without {name}, {cut} {verb} cut off from {rest}.")
            }
            _ => {
                let parts = listed(topology, &parts, " | ");
                writeln!(text, "Without {name}, these are cut off from each other: {parts}.")
            }
        };
    }
    if text.is_empty() {
        text.push_str("The loss of one server cuts off no other.\n");
    }
    text
}

/// Parts of the herd in one text, each as its names.
fn listed(topology: &Topology, parts: &[Vec<ServerId>], separator: &str) -> String {
    parts.iter().map(|part| topology.names(part)).collect::<Vec<_>>().join(separator)
}

/// `1 link`, `2 links`.
fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
