//! The links of a simulated herd: who dials whom, what is sent, what arrives, and what is noticed.
//!
//! It does what `src/server/link.rs` does with sockets, and watches that nothing is sent that should
//! not be.

use herd::herd::links::{Answer, Nonsense, Taken};
use herd::wire::peer::{PeerLine, parse_at, parse_peer_line};

use super::connection::{Connection, End, lines};
use super::plan::Ms;
use super::world::{Event, World, edge, text};

/// A link whose neighbour reads slowly is not pumped any more above this.
const HIGH_WATER_BYTES: usize = 300;
/// The most that one pump is asked to write.
const PUMP_BYTES_MAX: usize = 400;
/// What a pump may write beyond that: the line that reaches the limit, and a mark.
const PUMP_OVERSHOOT_BYTES: usize = 150;
/// How often both ends of a connection say that they are there.
const HEARTBEAT: Ms = 3_000;

impl World {
    /// A turn of a server begins. Which links and whether the journal are to have all that it brings is
    /// decided here a second time, so that a mistake of the herd's own is not repeated.
    pub fn turn_begins(&mut self, server: usize) {
        self.wake(server);
        let Some(process) = &mut self.servers[server].process else { return };
        for id in process.herd.neighbours().collect::<Vec<_>>() {
            let dialled = process.links[id.index()].dialled;
            let is_empty = dialled.is_some_and(|index| self.connections[index].output.is_empty());
            let is_up = process.herd.link_is_up(id);
            process.links[id.index()].is_owed = is_up && is_empty && process.herd.backlog(id) == 0;
            process.herd.turn_begins(id, is_empty);
        }
        let is_whole = process.writer.cursor() == process.herd.last_change();
        process.journal_is_owed = is_whole && !process.write_failed;
    }

    /// The kernel takes what it has room for of all that a server has written to its links.
    fn flush_links(&mut self, server: usize) {
        let Some(process) = &self.servers[server].process else { return };
        for index in process.links.iter().filter_map(|link| link.dialled).collect::<Vec<_>>() {
            let bytes = self.connections[index].take_output(self.plan.socket_bytes);
            self.send(index, End::Listener, bytes);
        }
    }

    /// The replies of a turn leave, or begin to wait: what they tell of is where it must be.
    pub fn assert_promises(&mut self, server: usize) {
        let Some(process) = &self.servers[server].process else { return };
        let written = text(&process.written);
        for reply in process.replies.iter().filter(|reply| reply.record.is_some()) {
            // A later report of the same turn may have taken its place.
            let Some(held) = process.herd.where_is(&reply.client) else { continue };
            let line = text(held.line);
            if process.journal_is_owed && !process.write_failed {
                assert!(written.contains(&line), "replied, and not in the journal: {line}");
                self.promises_checked.0 += 1;
            }
            for (link, id) in process.links.iter().zip(process.herd.neighbours()) {
                let Some(index) = link.dialled.filter(|_| link.is_owed) else { continue };
                let connection = &self.connections[index];
                if connection.output.is_empty() && process.herd.link_is_up(id) {
                    let is_there = connection.taken.contains(held.line);
                    assert!(is_there, "replied, and not with the kernel for a link: {line}");
                    self.promises_checked.1 += 1;
                }
            }
        }
    }

    pub fn pump_links(&mut self, server: usize) -> bool {
        let mut more = false;
        let neighbours: Vec<_> = match &self.servers[server].process {
            Some(process) => process.herd.neighbours().collect(),
            None => return false,
        };
        for id in neighbours {
            let Some(process) = &mut self.servers[server].process else { return false };
            let Some(index) = process.links[id.index()].dialled else { continue };
            let connection = &mut self.connections[index];
            let backlog = connection.output.len() + connection.backlog(End::Listener);
            let is_behind = process.herd.is_behind(id);
            if is_behind && backlog >= HIGH_WATER_BYTES {
                continue;
            }
            let mut out = Vec::new();
            process.herd.pump(id, &mut out, self.random.index(PUMP_BYTES_MAX));
            more |= process.herd.lacks_changes(id);
            let listener = connection.sides[End::Listener as usize].identity;
            // What is told is marked at once: a resume must not have it told again.
            let last = lines(&out).last().and_then(parse_peer_line);
            assert!(
                out.is_empty() || matches!(last, Some(PeerLine::Mark(_))),
                "told without a mark"
            );
            for line in lines(&out).filter(|line| line.starts_with(b"AT ")) {
                self.told += 1;
                let text = String::from_utf8_lossy(line);
                let again = !connection.sent.insert(line.to_vec());
                assert!(
                    !again || !self.plan.each_line_is_told_once(),
                    "sent twice on a link: {text}"
                );
                // Not to the one that it came from, as long as that one cannot have forgotten it.
                let client = parse_at(line).unwrap().client;
                let source = process.learned.get(client).filter(|(.., told)| told == line);
                let back = source.is_some_and(|(from, start, _)| (*from, *start) == (id, listener));
                assert!(!back, "sent back to where it came from: {text}");
            }
            connection.output.extend(out);
            let backlog = connection.output.len() + connection.backlog(End::Listener);
            let bound = HIGH_WATER_BYTES + PUMP_BYTES_MAX + PUMP_OVERSHOOT_BYTES;
            assert!(!is_behind || backlog <= bound, "{backlog} bytes for a link that is behind");
        }
        self.flush_links(server);
        more
    }

    pub fn send(&mut self, index: usize, to: End, bytes: Vec<u8>) {
        for moment in self.connections[index].send(to, bytes, self.now, &mut self.random) {
            self.after(moment - self.now, Event::Arrival(index, to));
        }
    }

    /// Dials a neighbour, unless that is done.
    pub fn dial(&mut self, server: usize, neighbour: usize) {
        let Some(process) = &mut self.servers[server].process else { return };
        if process.links[neighbour].dialled.is_some() {
            return;
        }
        let (number, identity) = (process.number, process.identities);
        let id = process.herd.neighbours().nth(neighbour).unwrap();
        let mut hello = Vec::new();
        process.herd.hello(&mut hello);
        let listener = self.topology.neighbours(self.servers[server].id)[neighbour].index();
        let Some(other) =
            self.servers[listener].process.as_ref().map(|it| (it.number, it.identities))
        else {
            return self.dial_again(server, neighbour);
        };
        if self.cut.contains(&edge(server, listener)) {
            return self.dial_again(server, neighbour);
        }
        let index = self.connections.len();
        self.connections.push(Connection::new(
            (server, number, identity),
            (listener, other.0, other.1),
            id,
        ));
        let process = self.servers[server].process.as_mut().unwrap();
        process.links[neighbour].dialled = Some(index);
        self.send(index, End::Listener, hello);
        let beat = self.random.between(1, HEARTBEAT);
        self.after(beat, Event::Heartbeat(index));
    }

    fn dial_again(&mut self, server: usize, neighbour: usize) {
        let Some(process) = &mut self.servers[server].process else { return };
        let number = process.number;
        let delay = process.links[neighbour].backoff.next_delay(self.random.next());
        let delay = u64::try_from(delay.as_millis()).unwrap();
        assert!((100..=2_000).contains(&delay), "a neighbour is dialled again in {delay} ms");
        self.after(delay, Event::Dial(server, number, neighbour));
    }

    pub fn heartbeat(&mut self, index: usize) {
        if self.calm {
            return;
        }
        let mut is_open = false;
        for end in [End::Dialler, End::Listener] {
            let connection = &self.connections[index];
            let side = &connection.sides[end as usize];
            let (server, listener, dialler) =
                (side.server, connection.listener, connection.dialler);
            if !side.is_open || self.servers[server].paused_until > self.now {
                continue;
            }
            is_open = true;
            let Some(process) = &mut self.servers[server].process else { continue };
            let mut out = Vec::new();
            match (end, dialler) {
                (End::Dialler, _) => process.herd.write_mark(listener, &mut out),
                (End::Listener, Some(dialler)) => process.herd.write_here(dialler, &mut out),
                (End::Listener, None) => {}
            }
            match end {
                End::Dialler => {
                    self.connections[index].output.extend(out);
                    self.flush_links(server);
                }
                End::Listener => self.send(index, end.other(), out),
            }
        }
        if is_open {
            self.after(HEARTBEAT, Event::Heartbeat(index));
        }
    }

    pub fn arrival(&mut self, index: usize, end: End) {
        let Some(bytes) = self.connections[index].arrive(end) else { return };
        let side = &self.connections[index].sides[end as usize];
        let server = side.server;
        if !side.is_open || !self.is_running(server, side.process) {
            return;
        }
        self.turn_begins(server);
        // A clock that jumped may have ended it just now.
        if !self.connections[index].sides[end as usize].is_open {
            return self.turn_end(server);
        }
        match end {
            End::Dialler => self.answered(index, &bytes),
            End::Listener => {
                for line in lines(&bytes) {
                    if self.connections[index].sides[end as usize].is_open {
                        self.told_line(index, line);
                    }
                }
                // There is room again.
                let dialler = &self.connections[index].sides[End::Dialler as usize];
                let (dialler, number) = (dialler.server, dialler.process);
                let waits = !self.connections[index].output.is_empty();
                if waits || self.lacks_changes(dialler, number, index) {
                    self.after(0, Event::Turn(dialler, number));
                }
            }
        }
        self.turn_end(server);
    }

    fn lacks_changes(&self, dialler: usize, number: u32, index: usize) -> bool {
        let running = self.servers[dialler].process.as_ref().filter(|it| it.number == number);
        running.is_some_and(|it| it.herd.lacks_changes(self.connections[index].listener))
    }

    fn answered(&mut self, index: usize, bytes: &[u8]) {
        let connection = &self.connections[index];
        let server = connection.sides[End::Dialler as usize].server;
        let id = connection.listener;
        let Some(process) = &mut self.servers[server].process else { return };
        let number = process.number;
        for line in lines(bytes) {
            let answer = process.herd.listener_line_received(id, line);
            let answer = answer.unwrap_or_else(|nonsense| panic!("{nonsense}: {}", text(line)));
            if let Answer::Hello(fields) = answer {
                process.herd.clock_told(id, &fields);
            }
        }
        process.links[id.index()].backoff.reset();
        self.after(0, Event::Turn(server, number));
    }

    fn told_line(&mut self, index: usize, line: &[u8]) {
        let Some(from) = self.connections[index].dialler else {
            return self.hello_received(index, line);
        };
        let start = self.connections[index].sides[End::Dialler as usize].identity;
        let server = self.connections[index].sides[End::Listener as usize].server;
        let Some(process) = &mut self.servers[server].process else { return };
        let taken = process.herd.dialler_line_received(from, line);
        if let Err(Nonsense::FromAhead { .. }) = taken {
            assert!(self.plan.clocks);
            return self.close(index, End::Listener);
        }
        let taken = taken.unwrap_or_else(|nonsense| panic!("{nonsense}: {}", text(line)));
        if taken == Taken::Full {
            process.assert_full(&self.plan, parse_at(line).unwrap().server_time());
        }
        if taken == Taken::Changed {
            let client = parse_at(line).unwrap().client.to_vec();
            process.learned.insert(client, (from, start, line.to_vec()));
        }
    }

    fn hello_received(&mut self, index: usize, line: &[u8]) {
        let Some(PeerLine::Hello { version, server: name, identity, fields }) =
            parse_peer_line(line)
        else {
            panic!("no HELLO: {}", text(line))
        };
        let server = self.connections[index].sides[End::Listener as usize].server;
        let Some(process) = &mut self.servers[server].process else { return };
        let number = process.number;
        let from = process.herd.hello_received(version, name, identity).unwrap();
        process.herd.clock_told(from, &fields);
        let mut out = Vec::new();
        process.herd.write_resume(from, &mut out);
        let neighbour = &mut process.links[from.index()];
        let start = self.connections[index].sides[End::Dialler as usize].identity;
        if std::mem::replace(&mut neighbour.identity, start) != start {
            process.learned.retain(|_, (source, ..)| *source != from);
        }
        if let Some(earlier) = neighbour.heard.replace(index) {
            self.connections[earlier].side(End::Listener).is_open = false;
            self.connections[earlier].break_off(&mut self.random);
            let late = self.random.between(1, 200);
            self.after(late, Event::Lost(earlier, End::Dialler));
        }
        self.connections[index].dialler = Some(from);
        self.send(index, End::Dialler, out);
        self.after(0, Event::Turn(server, number));
        self.after(0, Event::Dial(server, number, from.index()));
    }

    /// One end notices that its connection is gone.
    pub fn lost(&mut self, index: usize, end: End) {
        let connection = &mut self.connections[index];
        let (listener, dialler) = (connection.listener, connection.dialler);
        let side = connection.side(end);
        if !std::mem::replace(&mut side.is_open, false) {
            return;
        }
        let (server, number) = (side.server, side.process);
        if !self.is_running(server, number) {
            return;
        }
        let Some(process) = &mut self.servers[server].process else { return };
        match (end, dialler) {
            (End::Dialler, _) => {
                process.herd.link_lost(listener);
                process.links[listener.index()].dialled = None;
                self.dial_again(server, listener.index());
            }
            (End::Listener, Some(dialler)) => {
                let heard = &mut process.links[dialler.index()].heard;
                *heard = heard.filter(|heard| *heard != index);
            }
            (End::Listener, None) => {}
        }
    }
}
