//! One server of the model: the real `Herd` core with the real journal, as a function of its inputs.
//!
//! A `Herd` can be neither cloned nor hashed. So a server is the list of inputs since its start, and its herd
//! is built from that list whenever one more input arrives. Two servers are equal when their herds print the
//! same with `{:?}`, which shows every field, whatever order of inputs led there.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use herd::herd::journal::{Replay, Writer};
use herd::herd::links::{Answer, NeighbourId};
use herd::herd::record::Record;
use herd::herd::topology::Topology;
use herd::herd::{Herd, Settings};
use herd::wire::command::{Command, parse_command};
use herd::wire::peer::{PeerLine, parse_at, parse_peer_line};
use herd::wire::time::NANOS_PER_SECOND;

/// One line without its LF.
pub type Line = Vec<u8>;

/// One record for each pump, the least that it writes. A link is pumped when its neighbour has read all
/// that was sent, so links fall behind, and what changes twice meanwhile is sent once.
const PUMP_BYTES: usize = 1;

/// What every server's clock says, at any time: nothing here waits. A report's record has the report's number
/// on top, in seconds, or two could be the same.
const CLOCK: i128 = 1_000 * NANOS_PER_SECOND;

/// What is handed to a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// A client's IAMAT, and its number among the reports.
    Report(u8, &'static str),
    /// A line that the listener of a dialled connection sends.
    Answered(usize, Line),
    /// The first line of a connection that somebody dialled.
    Hello(Line),
    /// A later line of a connection that this neighbour dialled.
    Told(usize, Line),
    /// The connection dialled to this neighbour is gone.
    Lost(usize),
    /// The output to a neighbour has room again.
    Room,
}

/// By server: whether the output to it has room.
pub type Room = [bool; 3];

/// What a server knows of one client: the number of the change, and the AT line.
pub type Held = BTreeMap<Vec<u8>, (u64, Line)>;

/// One start of a server, with all that follows from its inputs.
#[derive(Clone, Debug)]
pub struct Server {
    place: usize,
    start: u64,
    /// What its journal had when it started.
    found: Vec<u8>,
    inputs: Vec<(Input, Room)>,
    pub view: View,
    /// A hash of all that its future depends on.
    digest: u64,
}

/// What can be seen of a server after its last input.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub held: Held,
    /// By server: the identity and mark that a RESUME to it would name.
    pub taken: [(u64, u64); 3],
    /// By server: whether the link to it has more to write.
    pub lacks: [bool; 3],
    pub journal: Vec<u8>,
    /// By server: the lines that the last input caused on the connection dialled to it.
    pub told: [Vec<Line>; 3],
    /// The lines that answer the last input, if it was a HELLO.
    pub answer: Vec<Line>,
    /// The first thing that was wrong.
    pub fault: Option<String>,
}

impl PartialEq for Server {
    fn eq(&self, other: &Server) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Server {}

impl Hash for Server {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

impl Server {
    /// A start of the server at this place of the topology, with what its journal has.
    pub fn start(topology: &Topology, place: usize, start: u64, found: Vec<u8>) -> Server {
        let (inputs, view) = (Vec::new(), View::default());
        let mut server = Server { place, start, found, inputs, view, digest: 0 };
        let mut built = Replayed::of(topology, &server);
        server.view = built.look(&View::default());
        server.digest = built.digest(&server);
        server
    }

    /// The identity in its HELLO.
    pub fn identity(&self) -> u64 {
        self.start * 16 + self.place as u64 + 1
    }

    /// The line with which it opens a connection.
    pub fn hello(&self, topology: &Topology) -> Line {
        let (mut herd, mut out) = (new_herd(topology, self), Vec::new());
        read_clock(&mut herd);
        herd.hello(&mut out);
        lines(&out).next().unwrap_or_default().to_vec()
    }

    /// The same server after one more input and the end of its turn.
    pub fn after(&self, topology: &Topology, input: Input, room: Room) -> Server {
        let mut replayed = Replayed::of(topology, self);
        let mut server = Server { view: View::default(), ..self.clone() };
        let mut view = replayed.turn(&input, room);
        let seen = replayed.look(&self.view);
        (view.held, view.taken, view.lacks) = (seen.held, seen.taken, seen.lacks);
        view.journal = seen.journal;
        view.fault = self.view.fault.clone().or(view.fault).or(seen.fault);
        server.inputs.push((input, room));
        server.view = view;
        server.digest = replayed.digest(&server);
        server
    }
}

fn new_herd(topology: &Topology, server: &Server) -> Herd {
    let me = topology.by_name(name(server.place).as_bytes()).expect("a server of the topology");
    Herd::new(topology.clone(), me, server.identity(), Settings::default())
}

/// A server built anew from its inputs.
struct Replayed {
    herd: Herd,
    writer: Writer,
    journal: Vec<u8>,
    /// The changes that the journal brought.
    replayed: Held,
}

impl Replayed {
    fn of(topology: &Topology, server: &Server) -> Replayed {
        let mut herd = new_herd(topology, server);
        read_clock(&mut herd);
        let mut replay = Replay::new(&mut herd);
        replay.receive(&server.found);
        let (_, writer) = replay.finish();
        let replayed = held_in(&server.found);
        let mut built = Replayed { herd, writer, journal: server.found.clone(), replayed };
        for (input, room) in &server.inputs {
            built.turn(input, *room);
        }
        built
    }

    /// One turn: the clock, an input, then the journal, then the links, as `server` does it.
    fn turn(&mut self, input: &Input, room: Room) -> View {
        let mut view = View::default();
        read_clock(&mut self.herd);
        for (place, has_room) in room.into_iter().enumerate() {
            if let Some(id) = self.neighbour(place) {
                self.herd.turn_begins(id, has_room);
            }
        }
        self.input(input, &mut view);
        self.writer.pump(&self.herd, &mut self.journal, usize::MAX);
        self.herd.make_room();
        for place in 0..3 {
            let Some(id) = self.neighbour(place) else { continue };
            if room[place] && self.herd.lacks_changes(id) {
                let mut out = Vec::new();
                self.herd.pump(id, &mut out, PUMP_BYTES);
                view.told[place] = lines(&out).map(<[u8]>::to_vec).collect();
            }
        }
        view
    }

    fn input(&mut self, input: &Input, view: &mut View) {
        let herd = &mut self.herd;
        let id = |herd: &Herd, place: usize| herd.neighbour_named(name(place).as_bytes());
        match input {
            Input::Report(number, text) => {
                let Some(Command::IAmAt(said)) = parse_command(text.as_bytes()) else {
                    panic!("no report: {text}")
                };
                let clock = CLOCK + i128::from(*number) * NANOS_PER_SECOND;
                if herd.client_heard(&said, clock, &mut Vec::new()).is_err() {
                    view.fault = Some(format!("{text} is refused"));
                }
            }
            Input::Answered(place, line) => {
                let Some(id) = id(herd, *place) else { return };
                match herd.listener_line_received(id, line) {
                    Ok(Answer::Hello(fields)) => drop(herd.clock_told(id, &fields)),
                    Ok(Answer::Resumed(_) | Answer::Here(_)) => {}
                    Err(nonsense) => view.fault = Some(format!("{nonsense}: {}", text(line))),
                }
            }
            Input::Hello(line) => match introduce(herd, line) {
                Some(id) => {
                    let mut out = Vec::new();
                    herd.write_resume(id, &mut out);
                    view.answer = lines(&out).map(<[u8]>::to_vec).collect();
                }
                None => view.fault = Some(format!("refused: {}", text(line))),
            },
            Input::Told(place, line) => {
                let Some(id) = id(herd, *place) else { return };
                if let Err(nonsense) = herd.dialler_line_received(id, line) {
                    view.fault = Some(format!("{nonsense}: {}", text(line)));
                }
            }
            Input::Lost(place) => {
                if let Some(id) = id(herd, *place) {
                    herd.link_lost(id);
                }
            }
            Input::Room => {}
        }
    }

    /// What is dead in the change log is passed over, and what was sent is on its way already. Each
    /// link is judged anew in the next turn, and how often one fell behind is for people.
    fn digest(&mut self, server: &Server) -> u64 {
        let mut hasher = DefaultHasher::new();
        for id in self.herd.neighbours() {
            self.herd.turn_begins(id, false);
        }
        for part in without_counts(&format!("{:?}", self.herd)).split("Entry { ") {
            let live = part.split_once("slot: None }").map_or(part, |(_dead, rest)| rest);
            live.hash(&mut hasher);
        }
        server.view.fault.hash(&mut hasher);
        // Only a first start can be followed by another, which begins with its journal.
        if server.start == 0 {
            (held_in(&self.journal), taken_in(&self.journal)).hash(&mut hasher);
        }
        hasher.finish()
    }

    fn neighbour(&self, place: usize) -> Option<NeighbourId> {
        self.herd.neighbour_named(name(place).as_bytes())
    }

    /// What can be seen now, given what was seen before the last input.
    fn look(&self, before: &View) -> View {
        let mut view = View { journal: self.journal.clone(), ..View::default() };
        let earlier = if before.held.is_empty() { &self.replayed } else { &before.held };
        for client in ["k", "j"] {
            let client = client.as_bytes().to_vec();
            let found = self.herd.where_is(&client).map(|record| record.line.to_vec());
            let was = earlier.get(&client);
            let Some(line) = found else {
                view.fault = was.map(|(_, line)| format!("forgotten: {}", text(line)));
                continue;
            };
            let change = match was {
                Some((change, was)) if *was == line => *change,
                Some((_, was)) if !wins(&line, was) => {
                    view.fault = Some(format!("{} gave way to {}", text(was), text(&line)));
                    self.herd.last_change()
                }
                _ => self.herd.last_change(),
            };
            view.held.insert(client, (change, line));
        }
        for place in 0..3 {
            let Some(id) = self.neighbour(place) else { continue };
            view.taken[place] = self.taken(id);
            let (was, mark) = (before.taken[place], view.taken[place]);
            if was.0 == mark.0 && was.1 > mark.1 {
                view.fault = Some(format!("a mark went from {} back to {}", was.1, mark.1));
            }
            view.lacks[place] = self.herd.lacks_changes(id);
        }
        view
    }

    /// What a RESUME to this neighbour would name.
    fn taken(&self, id: NeighbourId) -> (u64, u64) {
        let mut out = Vec::new();
        self.herd.write_resume(id, &mut out);
        let resume = lines(&out).filter_map(parse_peer_line).find_map(|line| match line {
            PeerLine::Resume { identity, mark } => Some((identity, mark)),
            _ => None,
        });
        resume.unwrap_or_default()
    }
}

/// Says the time to a herd. A clock that a neighbour has confirmed is trusted, and then the store is searched.
fn read_clock(herd: &mut Herd) {
    herd.set_clock(CLOCK);
    herd.clock_read(CLOCK, CLOCK);
    if herd.is_searching() {
        let corrected = herd.search_ahead(usize::MAX, u64::MAX);
        assert!(
            corrected.is_some_and(|it| it.dropped == 0 && !it.starts_anew),
            "the clock is right"
        );
    }
}

/// What a herd prints, without how often each of its links has fallen behind.
fn without_counts(printed: &str) -> String {
    let mut parts = printed.split("fell_behind: ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.trim_start_matches(|it: char| it.is_ascii_digit()))
}

fn introduce(herd: &mut Herd, line: &[u8]) -> Option<NeighbourId> {
    let PeerLine::Hello { version, server, identity, fields } = parse_peer_line(line)? else {
        return None;
    };
    let id = herd.hello_received(version, server, identity).ok()?;
    herd.clock_told(id, &fields);
    Some(id)
}

/// What a server has that replays this journal, numbered as it numbers it.
fn held_in(journal: &[u8]) -> Held {
    let mut held = Held::new();
    let mut last = 0;
    for line in lines(journal).filter(|line| line.starts_with(b"AT ")) {
        let Some(end) = line.iter().rposition(|byte| *byte == b'#') else { continue };
        let line = line[..end].trim_ascii_end();
        let client = record(line).client().to_vec();
        if held.get(&client).is_none_or(|(_, was)| wins(line, was)) {
            last += 1;
            held.insert(client, (last, line.to_vec()));
        }
    }
    held
}

/// The last mark of each neighbour that a journal has.
fn taken_in(journal: &[u8]) -> BTreeMap<Line, Line> {
    let taken = lines(journal).filter(|line| line.starts_with(b"TAKEN "));
    let fields =
        taken.filter_map(|line| line.split(|byte| *byte == b' ').nth(1).map(|n| (n, line)));
    fields.map(|(name, line)| (name.to_vec(), line.to_vec())).collect()
}

/// The name of the server at a place.
pub fn name(place: usize) -> &'static str {
    ["A", "B", "C"][place]
}

pub fn record(line: &[u8]) -> Record<'_> {
    let at = parse_at(line).unwrap_or_else(|| panic!("no AT line: {}", text(line)));
    Record::new(line, &at).expect("a short line")
}

/// Whether one AT line is greater than another of the same client.
pub fn wins(line: &[u8], over: &[u8]) -> bool {
    record(line).wins_over(&record(over))
}

pub fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line).into_owned()
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split_inclusive(|byte| *byte == b'\n').filter_map(|line| line.strip_suffix(b"\n"))
}
