//! A connection between two servers: bytes that arrive in order, late, and not all.

use std::collections::{BTreeSet, VecDeque};

use herd::herd::links::NeighbourId;

use super::plan::Ms;
use super::random::Random;

/// Which end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    Dialler = 0,
    Listener = 1,
}

/// One end, and what is on its way to it.
pub struct Side {
    pub server: usize,
    /// Which start of that server.
    pub process: u32,
    /// And which of its identities.
    pub identity: u32,
    /// Whether it takes the connection for open.
    pub is_open: bool,
    on_the_way: VecDeque<Vec<u8>>,
    last_arrival: Ms,
}

pub struct Connection {
    pub sides: [Side; 2],
    /// What the dialler calls the listener.
    pub listener: NeighbourId,
    /// What the listener calls the dialler, once HELLO has arrived.
    pub dialler: Option<NeighbourId>,
    /// Nothing that is sent from now on arrives.
    pub is_broken: bool,
    /// Every AT line that was sent.
    pub sent: BTreeSet<Vec<u8>>,
    /// What the dialler has written and the kernel has not taken.
    pub output: Vec<u8>,
    /// Every AT line that the kernel has taken of the dialler.
    pub taken: BTreeSet<Vec<u8>>,
}

/// A server, which start of it, and which of its identities.
type Ends = (usize, u32, u32);

impl End {
    pub fn other(self) -> End {
        match self {
            End::Dialler => End::Listener,
            End::Listener => End::Dialler,
        }
    }
}

impl Connection {
    pub fn new(dialler: Ends, listener: Ends, id: NeighbourId) -> Connection {
        let side = |(server, process, identity)| Side {
            server,
            process,
            identity,
            is_open: true,
            on_the_way: VecDeque::new(),
            last_arrival: 0,
        };
        Connection {
            sides: [side(dialler), side(listener)],
            listener: id,
            dialler: None,
            is_broken: false,
            sent: BTreeSet::new(),
            output: Vec::new(),
            taken: BTreeSet::new(),
        }
    }

    pub fn side(&mut self, end: End) -> &mut Side {
        &mut self.sides[end as usize]
    }

    /// How much is on its way to one end.
    pub fn backlog(&self, to: End) -> usize {
        self.sides[to as usize].on_the_way.iter().map(Vec::len).sum()
    }

    /// Has the kernel take what the dialler has written, in whole lines, as far as it has room. What is
    /// written to a connection that is broken, and not known to be, it takes and loses.
    pub fn take_output(&mut self, socket_bytes: usize) -> Vec<u8> {
        let held = self.backlog(End::Listener);
        let room = if self.is_broken { usize::MAX } else { socket_bytes.saturating_sub(held) };
        let mut length = 0;
        for line in lines(&self.output) {
            if length + line.len() + 1 > room {
                break;
            }
            length += line.len() + 1;
            if line.starts_with(b"AT ") {
                self.taken.insert(line.to_vec());
            }
        }
        self.output.drain(..length).collect()
    }

    /// Sends bytes to one end, in one or two pieces. Gives when the pieces arrive.
    pub fn send(&mut self, to: End, bytes: Vec<u8>, now: Ms, random: &mut Random) -> Vec<Ms> {
        if self.is_broken || bytes.is_empty() {
            return Vec::new();
        }
        let side = self.side(to);
        let mut pieces = vec![bytes];
        if random.one_in(4)
            && let Some(end) = pieces[0].iter().position(|&byte| byte == b'\n')
            && end + 1 < pieces[0].len()
        {
            let rest = pieces[0].split_off(end + 1);
            pieces.push(rest);
        }
        let delayed = pieces.into_iter().map(|piece| {
            let delay = if random.one_in(20) { 1_000 } else { 20 };
            side.last_arrival = side.last_arrival.max(now + random.between(1, delay));
            side.on_the_way.push_back(piece);
            side.last_arrival
        });
        delayed.collect()
    }

    /// The next piece for one end, unless it was lost on the way.
    pub fn arrive(&mut self, to: End) -> Option<Vec<u8>> {
        self.side(to).on_the_way.pop_front()
    }

    /// The way is gone: of what is on it, a part still arrives, because it had got through already.
    pub fn break_off(&mut self, random: &mut Random) {
        if !std::mem::replace(&mut self.is_broken, true) {
            for side in &mut self.sides {
                let arrives = random.index(side.on_the_way.len() + 1);
                side.on_the_way.truncate(arrives);
            }
        }
    }

    /// All lines on their way to the listener.
    pub fn lines_on_the_way(&self) -> impl Iterator<Item = &[u8]> {
        let pieces = self.sides[End::Listener as usize].on_the_way.iter();
        pieces.flat_map(|piece| lines(piece))
    }
}

pub fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split_inclusive(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\n").unwrap())
}
