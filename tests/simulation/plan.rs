//! What a seed plays: which herd, which faults, how long, and what the servers' disks promise.

use std::fmt::Write as _;

use herd::wire::time::Nanos;

use super::random::Random;

/// Milliseconds of the world's time.
pub type Ms = u64;

const KNOWN_TOPOLOGIES: [&str; 3] = [
    include_str!("../../topology.txt"),
    include_str!("../topologies/bolden.txt"),
    include_str!("../topologies/farmar.txt"),
];

/// One herd in so many is a large one, since those take as much time as all others together.
const LARGE_ONE_IN: u64 = 60;

/// By how many hours clocks are wrong. Half of the time they come back.
const JUMPS_HOURS: [Nanos; 10] = [0, 0, 0, 0, 0, 1, -1, 50, -400_000, 876_000];

/// When the servers' journals are synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Replies wait for it.
    Always,
    /// Each second.
    Second,
    /// When the machine likes.
    Never,
}

/// How bad it gets; each kind includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// What is said arrives late, and in another order than what others say.
    Delays,
    /// Edges are cut and heal, servers stop for a while, clocks are wrong and are set.
    Cuts,
    /// Servers and their machines die, at the worst moment too, and come back; disks are full.
    Deaths,
    /// A server may come back without its journal, or with one that its disk has spoilt.
    SpoiltJournals,
}

/// How much servers may know, and what happens beyond it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// There is room for all clients.
    ForAll,
    /// A server that is full refuses new clients.
    Refusing,
    /// The clients unheard for the longest make room, and each client's records have the same order by
    /// its own time and by the servers'.
    InOrder,
    /// They make room, clients' clocks and servers' clocks are wrong, and clients repeat themselves.
    AnyOrder,
}

/// What a test is about.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, not one state")]
pub struct Theme {
    pub trouble: Trouble,
    pub syncs: &'static [Sync],
    /// Clients are forgotten after a while.
    pub forgetting: bool,
    /// Clients report all the time, and for long.
    pub busy: bool,
    /// Whether there are more clients than a server may know.
    pub room: Room,
    /// A turn may bring many reports, and sockets hold little.
    pub load: bool,
    /// Clocks jump by hours, days and centuries, and come back.
    pub clocks: bool,
}

/// One seed's world.
#[derive(Clone, Debug)]
pub struct Plan {
    pub topology: String,
    pub sync: Sync,
    pub trouble: Trouble,
    /// Each report is news, and there are many.
    pub busy: bool,
    pub clients: u64,
    /// At most how many reports one turn brings.
    pub reports_at_once: u64,
    /// How much of what is written to a link the kernel holds until the neighbour reads it.
    pub socket_bytes: usize,
    /// How long reports and faults go on.
    pub run: Ms,
    /// On average, how long from one report to the next, and from one fault to the next.
    pub report_every: Ms,
    pub fault_every: Ms,
    /// How wrong a server's clock may be, to either side.
    pub skew: Ms,
    /// How finely servers' clocks count: coarse ones make records tie.
    pub clock_step: Ms,
    /// How many clients a server may know, where that is fewer than there are.
    pub clients_max: Option<usize>,
    /// And how many bytes they may weigh.
    pub memory_max: Option<usize>,
    pub room: Room,
    pub forget_after: Option<Ms>,
    /// Clocks jump by hours, days and centuries, and come back.
    pub clocks: bool,
}

impl Plan {
    pub fn new(theme: Theme, seed: u64, random: &mut Random) -> Plan {
        let large = random.one_in(LARGE_ONE_IN) && !theme.busy;
        let topology = match usize::try_from(seed % 8).unwrap() {
            known if known < KNOWN_TOPOLOGIES.len() && !large => KNOWN_TOPOLOGIES[known].to_owned(),
            _ if large => random_topology(random, 20, 50),
            _ => random_topology(random, 5, 8),
        };
        Plan {
            topology,
            sync: random.pick(theme.syncs),
            trouble: theme.trouble,
            busy: theme.busy,
            clients: match theme {
                Theme { busy: true, .. } => 300,
                Theme { load: true, .. } => random.between(20, 80),
                Theme { room: Room::ForAll, .. } => random.between(1, 6),
                _ => random.between(4, 9),
            },
            reports_at_once: if theme.load { 40 } else { 1 },
            socket_bytes: if theme.load { 300 + random.index(4_000) } else { usize::MAX },
            run: if theme.busy { 900_000 } else { random.between(5_000, 25_000) },
            report_every: if theme.busy { 4 } else { random.between(100, 400) },
            fault_every: random.between(300, 2_000),
            // Above what makes a jump, and below what two servers take for a wrong clock.
            skew: match theme {
                Theme { room: Room::InOrder, .. } | Theme { clocks: true, .. } => 0,
                Theme { forgetting: true, .. } => random.pick(&[0, 1_000]),
                _ => random.pick(&[0, 1_000, 25_000]),
            },
            clock_step: match theme {
                Theme { room: Room::InOrder, .. }
                | Theme { forgetting: true, .. }
                | Theme { clocks: true, .. } => 1,
                _ => random.pick(&[1, 1_000, 5_000]),
            },
            clients_max: (theme.room != Room::ForAll).then(|| 1 + random.index(3)),
            memory_max: (theme.room == Room::AnyOrder && random.one_in(2))
                .then(|| 500 + random.index(1_000)),
            room: theme.room,
            forget_after: theme.forgetting.then(|| random.between(4_000, 10_000)),
            clocks: theme.clocks,
        }
    }

    /// Whether all servers are to hold the same at rest. One that is full and refuses misses what is told
    /// past it; where those unheard for the longest make room, it is a question of order.
    pub fn all_agree(&self) -> bool {
        let are_told_alike = self.clocks || self.all_forget_at_once();
        matches!(self.room, Room::ForAll | Room::InOrder) && are_told_alike
    }

    /// Whether what was replied to stays, but for what the horizon has passed. Where a client's records are
    /// in two orders, the greater one may go before the lesser one.
    pub fn replies_are_kept(&self) -> bool {
        self.room != Room::AnyOrder && self.forget_after.is_none()
    }

    /// Whether a line that was told is never forgotten and then learned again.
    pub fn each_line_is_told_once(&self) -> bool {
        self.room != Room::AnyOrder && self.all_forget_at_once()
    }

    /// Whether servers forget a client at the same moment: where clocks differ, and are set, one may
    /// forget what it then hears again from another, until all have forgotten.
    pub fn all_forget_at_once(&self) -> bool {
        self.forget_after.is_none() || (self.skew == 0 && !self.clocks)
    }

    /// By how much a clock is wrong.
    pub fn wrong_clock(&self, random: &mut Random) -> Nanos {
        if self.clocks {
            // No two wrong clocks agree, but for those that nobody minds.
            let (mut hours, other) = (random.pick(&JUMPS_HOURS), random.below(1_000));
            let is_small = hours.abs() <= 1;
            if is_small && self.forget_after.is_some() {
                // What all took for good then would be remembered for longer than what beats it.
                hours *= 48;
            }
            let other = if is_small { other % 50 } else { other };
            let seconds = hours * 3_600 + hours.signum() * Nanos::from(other * 121);
            return seconds * 1_000_000_000;
        }
        let wrong = Nanos::from(random.between(0, 2 * self.skew)) - Nanos::from(self.skew);
        wrong * 1_000_000
    }
}

/// A connected topology: a tree, and some links more.
fn random_topology(random: &mut Random, least: u64, most: u64) -> String {
    let mut text = "S0 h:1\n".to_owned();
    for i in 1..random.between(least, most) {
        let _ = write!(text, "S{i} h:{} S{}", i + 1, random.below(i));
        for other in (0..i).filter(|_| random.one_in(3 * i)) {
            let _ = write!(text, " S{other}");
        }
        text.push('\n');
    }
    text
}
