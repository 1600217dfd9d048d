//! Reads a topology file and collects every fault in it.
//!
//! One line per server: name, address, perhaps `links=ADDRESS`, and the names of neighbours; `#` begins
//! a comment. First the lines become rows of fields that know their place, then the rows are checked
//! against each other, so that a fault in one line never hides the faults of another. The only caller
//! is [`Topology::parse`].

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::problem::{PROBLEMS_MAX, Problem, TopologyErrors, Warning};
use super::spelling::nearest;
use super::{Endpoint, ServerEntry, ServerId, Topology};

/// The longest file that is looked at: 256 servers with hundreds of neighbours each fit.
pub const FILE_MAX_BYTES: usize = 256 * 1024;
/// The longest line: enough to name every server of the greatest herd as a neighbour.
pub const LINE_MAX_BYTES: usize = 16 * 1024;
/// The most servers. Flooding in a larger herd would be a mistake anyway: each has every record.
pub const SERVERS_MAX: usize = 256;
/// The longest server name: a label of a host name (RFC 1035, 2.3.4), so that it fits certificates
/// and file names.
pub const NAME_MAX_BYTES: usize = 63;

/// The longest host name (RFC 1035, 2.3.4, without the closing root label), in bytes.
const HOST_MAX_BYTES: usize = 253;
/// The longest label of a host name, in bytes (the same section).
const HOST_LABEL_MAX_BYTES: usize = 63;
/// How much of a faulty line that is too long is shown, in characters.
const LONG_LINE_SHOWN_CHARS: usize = 60;

/// One run of characters without white space, and where it stands.
#[derive(Clone, Copy)]
struct Field<'a> {
    text: &'a str,
    line: usize,
    column: usize,
}

/// What stands before the address for links. No name contains a `=`.
const LINKS: &str = "links=";

/// One line that describes a server.
struct Row<'a> {
    name: Field<'a>,
    address: Option<Field<'a>>,
    /// The address for links, without [`LINKS`].
    links: Option<Field<'a>>,
    neighbours: Vec<Field<'a>>,
}

/// The problems found so far, and what is needed to say where they are.
struct Findings<'a> {
    file_name: &'a str,
    lines: Vec<&'a str>,
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
    omitted: usize,
}

impl Findings<'_> {
    fn problem(&self, line: usize, column: usize, message: String) -> Problem {
        let text = self.lines.get(line - 1).copied().unwrap_or_default();
        let text = if text.len() > LINE_MAX_BYTES {
            text.chars().take(LONG_LINE_SHOWN_CHARS).chain("...".chars()).collect()
        } else {
            text.to_owned()
        };
        Problem { file_name: self.file_name.to_owned(), line, column, message, text }
    }

    fn error_at(&mut self, line: usize, column: usize, message: String) {
        if self.is_full() {
            self.omitted += 1;
        } else {
            self.errors.push(self.problem(line, column, message));
        }
    }

    /// Whether further errors are only counted.
    fn is_full(&self) -> bool {
        self.errors.len() >= PROBLEMS_MAX
    }

    fn error(&mut self, at: Field<'_>, message: String) {
        self.error_at(at.line, at.column, message);
    }

    fn warning(&mut self, at: Field<'_>, message: String) {
        if self.warnings.len() < PROBLEMS_MAX {
            self.warnings.push(self.problem(at.line, at.column, message));
        }
    }
}

/// See [`Topology::parse`].
pub(super) fn parse(
    file_name: &str,
    text: &str,
) -> Result<(Topology, Vec<Warning>), TopologyErrors> {
    // Some editors open a file with a byte order mark; it is no part of the first name.
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let lines = text.lines().collect();
    let mut findings =
        Findings { file_name, lines, errors: Vec::new(), warnings: Vec::new(), omitted: 0 };
    let mut topology = Topology { servers: Vec::new(), neighbours: Vec::new() };
    if text.len() > FILE_MAX_BYTES {
        // Where the bound was passed; nothing of the file is believed.
        let line = text.bytes().take(FILE_MAX_BYTES).filter(|&byte| byte == b'\n').count() + 1;
        let length = text.len();
        findings.error_at(
            line,
            1,
            format!("the file has {length} bytes, more than {FILE_MAX_BYTES}"),
        );
    } else {
        let rows = rows(&mut findings);
        let names = check_names(&rows, &mut findings);
        topology.servers = check_addresses(&rows, &mut findings);
        topology.neighbours = check_neighbours(&rows, &names, &mut findings);
        check_reachable(&rows, &topology.neighbours, &mut findings);
    }

    if findings.errors.is_empty() {
        return Ok((topology, findings.warnings.into_iter().map(Warning).collect()));
    }
    let mut problems = findings.errors;
    problems.sort_by_key(|problem| (problem.line, problem.column));
    Err(TopologyErrors { problems, omitted: findings.omitted })
}

/// The lines that describe servers, with the bounds on lines and servers checked.
fn rows<'a>(findings: &mut Findings<'a>) -> Vec<Row<'a>> {
    let mut rows = Vec::new();
    for (index, text) in findings.lines.clone().into_iter().enumerate() {
        let line = index + 1;
        if text.len() > LINE_MAX_BYTES {
            let length = text.len();
            let message = format!("this line has {length} bytes, more than {LINE_MAX_BYTES}");
            findings.error_at(line, 1, message);
            continue;
        }
        let mut fields = fields(line, text).into_iter().peekable();
        let Some(name) = fields.next() else { continue };
        if rows.len() == SERVERS_MAX {
            findings.error(name, format!("a herd has at most {SERVERS_MAX} servers"));
            break;
        }
        let address = fields.next_if(|field| !field.text.starts_with(LINKS));
        let mut row = Row { name, address, links: None, neighbours: Vec::new() };
        fields.for_each(|field| row.take(field, findings));
        rows.push(row);
    }
    if rows.is_empty() && findings.errors.is_empty() {
        let message = "no servers: a line for each is needed, as in \
                       \"Alford 127.0.0.1:11550 Hamilton\"";
        findings.error_at(1, 1, message.to_owned());
    }
    rows
}

impl<'a> Row<'a> {
    /// Takes one of the fields behind the address: the address for links, or a neighbour's name.
    fn take(&mut self, field: Field<'a>, findings: &mut Findings<'_>) {
        let Some((key, value)) = field.text.split_once('=') else {
            return self.neighbours.push(field);
        };
        let at_value =
            Field { text: value, column: field.column + key.chars().count() + 1, ..field };
        if !field.text.starts_with(LINKS) {
            let message = format!("unknown setting {}: there is only {LINKS:?}", quoted(key));
            findings.error(field, message);
        } else if self.links.is_some() {
            findings.error(field, "a second address for links: a server has one".to_owned());
        } else {
            self.links = Some(at_value);
        }
    }
}

/// The fields of a line up to its comment.
fn fields(line: usize, text: &str) -> Vec<Field<'_>> {
    let text = text.split('#').next().unwrap_or_default();
    let mut fields = Vec::new();
    let mut column = 1;
    // Splitting at every single white space character keeps the count of columns simple.
    for piece in text.split(|c: char| c.is_ascii_whitespace()) {
        if !piece.is_empty() {
            fields.push(Field { text: piece, line, column });
        }
        column += piece.chars().count() + 1;
    }
    fields
}

/// Checks that names are well-formed and unique, and gives each its server.
///
/// Bad and repeated names stand in the answer too: a neighbour that names one is not a second fault.
fn check_names<'a>(rows: &[Row<'a>], findings: &mut Findings<'_>) -> HashMap<&'a str, ServerId> {
    let mut names = HashMap::new();
    // Certificates and some file systems do not tell upper from lower case, so nor may two names.
    let mut lines_by_folded_name: HashMap<String, Field<'_>> = HashMap::new();
    for (row, index) in rows.iter().zip(0u16..) {
        let Field { text, line, .. } = row.name;
        if let Some(fault) = name_fault(text) {
            findings.error(row.name, fault);
        }
        let first = *lines_by_folded_name.entry(text.to_ascii_lowercase()).or_insert(row.name);
        if first.line != line {
            let same = if first.text == text {
                String::new()
            } else {
                format!(" as {}, and case alone does not tell them apart", quoted(first.text))
            };
            let message =
                format!("name {} already stands in line {}{same}", quoted(text), first.line);
            findings.error(row.name, message);
        }
        names.entry(text).or_insert(ServerId(index));
    }
    names
}

/// Whether this could be the name of a server in a topology file.
pub fn is_server_name(name: &[u8]) -> bool {
    (1..=NAME_MAX_BYTES).contains(&name.len())
        && name.first().is_some_and(u8::is_ascii_alphanumeric)
        && name.iter().all(|&byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// What is wrong with a server's name, if anything is.
fn name_fault(name: &str) -> Option<String> {
    if name.len() > NAME_MAX_BYTES {
        return Some(format!("name {} is longer than {NAME_MAX_BYTES} bytes", quoted(name)));
    }
    (!is_server_name(name.as_bytes())).then(|| {
        format!(
            "name {} should be letters and digits (and - or _ after the first), since it names \
             files and certificates too",
            quoted(name)
        )
    })
}

/// Checks that each server has addresses of its own. A server with a bad one is left out.
fn check_addresses(rows: &[Row<'_>], findings: &mut Findings<'_>) -> Vec<ServerEntry> {
    let mut lines_by_address = HashMap::new();
    let mut servers = Vec::new();
    for row in rows {
        let name = row.name.text;
        let mut check =
            |field: Field<'_>| check_address(field, &mut lines_by_address, &mut *findings);
        let (address, links) = (row.address.and_then(&mut check), row.links.and_then(&mut check));
        if row.address.is_none() {
            let message = format!("server {} has no address, as in 127.0.0.1:11550", quoted(name));
            findings.error(row.name, message);
        }
        if let Some(Endpoint { host, port }) = address {
            servers.push(ServerEntry { name: name.to_owned(), host, port, links });
        }
    }
    servers
}

/// Reads one address, and checks that it stands nowhere else. `None`: it cannot be read.
fn check_address(
    field: Field<'_>,
    lines_by_address: &mut HashMap<(String, u16), usize>,
    findings: &mut Findings<'_>,
) -> Option<Endpoint> {
    let (host, port) = match address(field.text) {
        Ok(address) => address,
        Err(AddressFault { skip, message }) => {
            findings.error_at(field.line, field.column + skip, message);
            return None;
        }
    };
    let endpoint = Endpoint { host: host.to_owned(), port };
    // One address in two spellings is still one address.
    let host =
        endpoint.ip().map_or_else(|| host.to_ascii_lowercase(), |ip| ip.to_canonical().to_string());
    let shown = quoted(field.text);
    match lines_by_address.entry((host, port)) {
        Entry::Vacant(place) => _ = place.insert(field.line),
        Entry::Occupied(first) if *first.get() == field.line => {
            let message = format!("links need an address of their own, and {shown} is for clients");
            findings.error(field, message);
        }
        Entry::Occupied(first) => {
            let message = format!("address {shown} is already that of line {}", first.get());
            findings.error(field, message);
        }
    }
    Some(endpoint)
}

/// Checks that no server has neighbours who could not dial it: an unspecified address means every
/// address of the machine that listens there, and no machine to whoever dials it.
fn check_reachable(rows: &[Row<'_>], neighbours: &[Vec<ServerId>], findings: &mut Findings<'_>) {
    let has_neighbours = rows.iter().zip(neighbours).filter(|(_, list)| !list.is_empty());
    for field in has_neighbours.flat_map(|(row, _)| [row.address, row.links]).flatten() {
        let ip = address(field.text).ok().and_then(|(host, _)| super::ip_of(host));
        if ip.is_some_and(|ip| ip.to_canonical().is_unspecified()) {
            let message = format!(
                "{} is no address that a neighbour can dial: name one of this server's, and listen \
                 there with --listen",
                quoted(field.text)
            );
            findings.error(field, message);
        }
    }
}

/// Why a text is no address: the sentence, and after how many characters of it the fault begins.
struct AddressFault {
    skip: usize,
    message: String,
}

/// Splits `host:port`, with brackets around an IPv6 address (as in RFC 3986, 3.2.2).
fn address(text: &str) -> Result<(&str, u16), AddressFault> {
    let fault = |skip: usize, message: String| Err(AddressFault { skip, message });
    let shown = quoted(text);
    let (host, port, skip) = if let Some(inside) = text.strip_prefix('[') {
        let Some((host, after)) = inside.split_once(']') else {
            return fault(0, format!("address {shown} lacks its closing bracket"));
        };
        if host.parse::<Ipv6Addr>().is_err() {
            return fault(1, format!("{} is no IPv6 address", quoted(host)));
        }
        (host, after.strip_prefix(':'), host.chars().count() + 3)
    } else {
        let (host, port) =
            text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
        if host.contains(':') {
            return fault(0, format!("address {shown}: IPv6 goes in brackets, as in [::1]:11550"));
        }
        if let Some(message) = host_fault(host) {
            return fault(0, message);
        }
        (host, port, host.chars().count() + 1)
    };
    let Some(port) = port else {
        return fault(0, format!("address {shown} has no port, as in 127.0.0.1:11550"));
    };
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse::<u16>() {
        Ok(number @ 1..) if digits => Ok((host, number)),
        _ => fault(skip, format!("bad port {}: it is a number from 1 to 65535", quoted(port))),
    }
}

/// What is wrong with a host that stands without brackets, if anything is.
fn host_fault(host: &str) -> Option<String> {
    let label_is_good = |label: &str| {
        let inside = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        (1..=HOST_LABEL_MAX_BYTES).contains(&label.len())
            && label.chars().all(inside)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // No top-level domain is a number, so such a name was meant as an IPv4 address (RFC 1123, 2.1).
    let numeric = |label: &str| !label.is_empty() && label.bytes().all(|c| c.is_ascii_digit());
    if host.is_empty() {
        Some("the address has no host before its port".to_owned())
    } else if host.rsplit('.').next().is_some_and(numeric) {
        let bad = host.parse::<Ipv4Addr>().map(IpAddr::V4).is_err();
        bad.then(|| format!("{} is no IPv4 address", quoted(host)))
    } else {
        let good = host.len() <= HOST_MAX_BYTES && host.split('.').all(label_is_good);
        (!good).then(|| format!("bad host name {}", quoted(host)))
    }
}

/// Checks the links, and gives each server's neighbours, both ways, in the order of the file.
fn check_neighbours(
    rows: &[Row<'_>],
    names: &HashMap<&str, ServerId>,
    findings: &mut Findings<'_>,
) -> Vec<Vec<ServerId>> {
    let mut neighbours: Vec<Vec<ServerId>> = vec![Vec::new(); rows.len()];
    for (row, index) in rows.iter().zip(0u16..) {
        let mut named_here = Vec::new();
        for &field in &row.neighbours {
            let Some(&other) = names.get(field.text) else {
                // The search is the one costly step here, and a fault beyond the bound is not shown.
                let near = if findings.is_full() {
                    None
                } else {
                    nearest(field.text, rows.iter().map(|row| row.name.text))
                };
                let hint =
                    near.map_or(String::new(), |name| format!(" (did you mean {}?)", quoted(name)));
                findings.error(field, format!("unknown server {}{hint}", quoted(field.text)));
                continue;
            };
            if field.text == row.name.text {
                let message = format!("server {} is its own neighbour", quoted(field.text));
                findings.error(field, message);
            } else if named_here.contains(&other) {
                let message = format!("neighbour {} is named twice", quoted(field.text));
                findings.warning(field, message);
            } else {
                named_here.push(other);
            }
        }
        for other in named_here {
            for (from, to) in [(ServerId(index), other), (other, ServerId(index))] {
                if let Some(list) = neighbours.get_mut(from.index()) {
                    list.push(to);
                }
            }
        }
    }
    for (row, list) in rows.iter().zip(&mut neighbours) {
        list.sort_unstable();
        list.dedup();
        // A herd of one is small, but whole: nothing is missing from it.
        if list.is_empty() && rows.len() > 1 {
            let name = quoted(row.name.text);
            findings
                .warning(row.name, format!("server {name} talks with nobody: no link reaches it"));
        }
    }
    neighbours
}

/// A text from the file in quotes, with control characters escaped and a long one cut.
fn quoted(text: &str) -> String {
    match text.char_indices().nth(NAME_MAX_BYTES + 1) {
        Some((end, _)) => format!("{:?}...", text.split_at(end).0),
        None => format!("{text:?}"),
    }
}
