//! A topology in words: the text that `herd check` prints of a file without faults.
//!
//! Pure: a topology in, a text out. Printing it and choosing the exit code is the program's business.

use std::fmt::Write as _;

use super::{ServerId, Topology, components, diameter, parts_without};

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

/// One line per server under a heading, its columns as wide as their widest entry.
fn table(topology: &Topology) -> String {
    let heading = ["name", "address", "talks with"].map(String::from);
    let rows = topology.ids().filter_map(|id| {
        let server = topology.server(id)?;
        let neighbours = match topology.neighbours(id) {
            [] => "nobody".to_owned(),
            neighbours => topology.names(neighbours),
        };
        Some([server.name.clone(), server.address(), neighbours])
    });
    let rows: Vec<[String; 3]> = std::iter::once(heading).chain(rows).collect();
    let name_width = rows.iter().map(|[name, ..]| name.len()).max().unwrap_or(0);
    let address_width = rows.iter().map(|[_, address, _]| address.len()).max().unwrap_or(0);
    let mut text = String::new();
    for [name, address, neighbours] in &rows {
        let _ = writeln!(text, "{name:name_width$}  {address:address_width$}  {neighbours}");
    }
    text
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
