//! Many connections, and chance: whatever order things happen in, the promises hold. Each protocol is told
//! its end once, an echo is never anything but the beginning of what was sent, it is whole for a client
//! that was not dealt with roughly, and in the end the loop sleeps and holds nothing.

use std::collections::BTreeSet;

use super::*;

const CLIENTS: usize = 24;
const STEPS: usize = 3000;
const PIECE_BYTES: usize = 100_000;

/// A small generator of chance (Marsaglia's xorshift): the same seed, the same story.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap()
    }
}

fn server() -> Script {
    Script::echo("server").on_event(|me, event, cx| match event {
        "settle" => cx.io.settle(me),
        _ => cx.io.resume_producing(me),
    })
}

struct Someone {
    client: Client<TcpStream>,
    address: SocketAddr,
    sent: usize,
    finished: bool,
}

struct Story {
    bench: Bench,
    chance: Chance,
    listening: SocketAddr,
    clients: Vec<Someone>,
    /// Clients whose connection was lost or aborted by the server.
    dealt_with: BTreeSet<SocketAddr>,
    connected: usize,
}

impl Story {
    fn new(seed: u64) -> Self {
        let mut bench = Bench::new();
        let listening = bench.listen(server);
        let (clients, dealt_with) = (Vec::new(), BTreeSet::new());
        Self { bench, chance: Chance(seed), listening, clients, dealt_with, connected: 0 }
    }

    fn step(&mut self) {
        if self.clients.len() < CLIENTS {
            self.connect();
        }
        let one = self.chance.below(self.clients.len());
        match self.chance.below(12) {
            0..=2 => self.send(one),
            3..=5 => {
                let length = 1 + self.chance.below(2 * PIECE_BYTES);
                self.clients[one].client.pump_once(length);
            }
            6 => self.finish(one),
            7 if self.chance.below(4) == 0 => drop(self.clients.remove(one)),
            8 => self.treat_somebody(),
            9 => {
                let by = Duration::from_millis(self.chance.below(50) as u64);
                self.bench.later(by);
            }
            _ => self.bench.turn(),
        }
    }

    fn connect(&mut self) {
        let client = Client::connect(self.listening);
        let address = client.stream.local_addr().unwrap();
        self.clients.push(Someone { client, address, sent: 0, finished: false });
        self.connected += 1;
    }

    fn send(&mut self, one: usize) {
        let length = 1 + self.chance.below(PIECE_BYTES);
        let someone = &mut self.clients[one];
        if !someone.finished && !self.dealt_with.contains(&someone.address) {
            let rest = &pattern(MANY_BYTES)[someone.sent..];
            someone.sent += someone.client.send_some(&rest[..length.min(rest.len())]);
        }
    }

    fn finish(&mut self, one: usize) {
        let someone = &mut self.clients[one];
        if !someone.finished && !self.dealt_with.contains(&someone.address) {
            someone.client.finish_sending();
            someone.finished = true;
        }
    }

    /// A handler of some connection asks for something.
    fn treat_somebody(&mut self) {
        let made = &self.bench.app().made;
        let Some((_, token)) = made.get(self.chance.below(made.len().max(1))).copied() else {
            return;
        };
        let what = self.chance.below(8);
        let io = self.bench.io();
        match what {
            0 | 1 => {
                io.pause_producing(token);
                io.call_later(Duration::from_millis(30), token, "resume");
            }
            2 | 3 => {
                if io.owe(token) {
                    io.call_later(Duration::from_millis(40), token, "settle");
                }
            }
            4 => io.register_producer(token),
            5 => io.switch_protocol(token, Box::new(server())),
            rough => {
                if let Some(Peer::Tcp(address)) = io.peer(token) {
                    self.dealt_with.insert(address);
                }
                if rough == 6 { io.lose_connection(token) } else { io.abort_connection(token) }
            }
        }
    }

    /// Everybody finishes and reads to the end.
    fn end(&mut self) {
        for one in 0..self.clients.len() {
            self.finish(one);
        }
        let mut clients = std::mem::take(&mut self.clients);
        self.bench.until("everybody's end", |bench| {
            bench.later(Duration::from_millis(10));
            for someone in &mut clients {
                someone.client.pump();
            }
            clients.iter().all(|someone| someone.client.end.is_some())
        });
        for Someone { client, address, sent, .. } in &clients {
            let received = client.received.as_slice();
            assert!(pattern(*sent).starts_with(received), "{address} received something else");
            if !self.dealt_with.contains(address) {
                assert_eq!((client.end, received.len()), (Some(Ok(())), *sent), "{address}");
            }
        }
        drop(clients);
        self.bench.later(Duration::from_secs(3600));
        self.bench.until_quiet();
        let ends = self.bench.heard().iter().filter(|note| note.contains(": lost, ")).count();
        let io = self.bench.io();
        assert_eq!((ends, io.sockets.len(), io.stats().accepted), (self.connected, 1, 0));
        self.bench.assert_idle();
    }
}

#[test]
fn whatever_happens_the_promises_hold() {
    for seed in 1..=8u64 {
        // Shown when the test fails.
        println!("seed {seed}");
        let mut story = Story::new(seed << 32 | 0x9e37_79b9);
        for _ in 0..STEPS {
            story.step();
        }
        story.end();
    }
}
