//! The reactor driven for real, over loopback, with a clock that stands still until a test moves it.
//!
//! [`Bench`] holds a reactor whose application writes down what everybody is told. [`Script`] is a
//! protocol made of closures. [`Client`] is a peer outside the reactor: a socket of the standard library
//! that never blocks, because the test that reads from it is also the one that turns the loop.
//! Nothing sleeps for luck: a test waits for what it wants to see, with a patience that only a failing
//! test uses up.

mod accepting;
mod bounds;
mod client;
mod closing;
mod connecting;
mod either;
mod endings;
mod flow;
mod later;
mod looking_up;
mod pace;
mod probation;
mod racing;
mod script;
mod stopping;
mod stress;
mod tls;
mod turns;
mod watch;

use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::*;
use client::Client;
use script::{BenchCtx, Notes, Script, Scripts};

/// The least by which one time is before another.
const MOMENT: Duration = Duration::from_millis(1);

/// Longer than anything takes on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A loop that sleeps as long as this has nothing to do; one that spins never does.
const IDLE: Duration = Duration::from_millis(30);

/// A reactor, and the time that it is told.
struct Bench {
    reactor: Reactor<Notes>,
    clock: Now,
}

impl Bench {
    /// Without a bound for unread output: many a test writes more at once than any bound allows.
    fn new() -> Self {
        Self::with_limits(Limits { unread_bytes: None, ..Limits::default() })
    }

    fn with_limits(limits: Limits) -> Self {
        let reactor = Reactor::with_limits(Notes::default(), limits).unwrap();
        Self { reactor, clock: Now::read() }
    }

    fn io(&mut self) -> &mut Io<Notes> {
        self.reactor.io()
    }

    fn app(&mut self) -> &mut Notes {
        self.reactor.app()
    }

    /// What was noted since the last time this was asked.
    fn heard(&mut self) -> Vec<String> {
        std::mem::take(&mut self.app().heard)
    }

    fn listen(&mut self, make: impl FnMut() -> Script + 'static) -> SocketAddr {
        self.listen_with(ListenOptions::default(), make)
    }

    fn listen_with(
        &mut self,
        options: ListenOptions,
        mut make: impl FnMut() -> Script + 'static,
    ) -> SocketAddr {
        let factory = Box::new(Scripts(move || Some(make())));
        let listener = self.io().listen_tcp(any_port(), options, factory).unwrap();
        self.io().local_address(listener).unwrap()
    }

    fn dial(&mut self, address: SocketAddr, script: Script) -> Token {
        self.dial_with(address, ConnectOptions::default(), script)
    }

    fn dial_with(&mut self, to: SocketAddr, options: ConnectOptions, script: Script) -> Token {
        let host = to.ip().to_string();
        self.io().connect_tcp(&host, to.port(), options, Box::new(script))
    }

    /// Moves the clock. The next turn sees it.
    fn later(&mut self, by: Duration) {
        self.clock.monotonic += by;
        self.clock.wall += by;
    }

    /// Steps 2 to 7 with what the last sleep brought.
    fn advance(&mut self) {
        self.reactor.advance(self.clock);
    }

    /// One turn with what is there now.
    fn turn(&mut self) {
        self.reactor.sleep(Some(Duration::ZERO)).unwrap();
        self.advance();
    }

    /// Turns of the loop until what the test waits for has come.
    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            let heard = &self.reactor.app().heard;
            assert!(Instant::now() < deadline, "this never came: {what}; heard: {heard:#?}");
            self.reactor.sleep(Some(Duration::from_millis(5))).unwrap();
            self.advance();
        }
    }

    fn until_heard(&mut self, note: &str) {
        self.until(note, |bench| bench.app().count(note) > 0);
    }

    /// Everything that can happen without anything new from outside has happened, and the loop sleeps.
    fn until_quiet(&mut self) {
        for _ in 0..100_000 {
            if self.sleeps() {
                return;
            }
        }
        panic!("the loop never comes to rest; heard: {:#?}", self.heard());
    }

    /// An idle loop sleeps: of a few turns one lasts as long as it was allowed to.
    fn assert_idle(&mut self) {
        let slept = (0..3).any(|_| self.sleeps());
        assert!(slept, "the loop spins; heard: {:#?}", self.heard());
    }

    fn sleeps(&mut self) -> bool {
        let started = Instant::now();
        self.reactor.sleep(Some(IDLE)).unwrap();
        let slept = started.elapsed() >= IDLE;
        self.advance();
        slept
    }

    /// Turns until this client has received so much.
    fn until_received(&mut self, client: &mut Client<impl Read + Write>, length: usize) {
        self.until("bytes at the client", |_| {
            client.pump();
            client.received.len() >= length
        });
    }

    /// Turns until this client has seen the end of its stream.
    fn until_end(&mut self, client: &mut Client<impl Read + Write>) {
        self.until("the end at the client", |_| {
            client.pump();
            client.end.is_some()
        });
    }
}

/// Port 0: the system chooses one, and no two tests meet.
fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// More than all buffers of the kernel between two sockets hold.
const MANY_BYTES: usize = 16 << 20;

/// Up to [`MANY_BYTES`] bytes in blocks that tell where they belong, so that a hole or a swap shows.
fn pattern(length: usize) -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    let bytes = BYTES.get_or_init(|| {
        let mut bytes = Vec::with_capacity(MANY_BYTES);
        for block in 0..u32::try_from(MANY_BYTES / 64).unwrap() {
            bytes.extend_from_slice([block.to_be_bytes(); 16].as_flattened());
        }
        bytes
    });
    &bytes[..length]
}

/// The variable that tells a copy of the test program that it is the child of one test.
const CHILD: &str = "HERD_REACTOR_TEST_CHILD";

fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// Runs one test of this very program again, in a process of its own, as that test's child. `limit` is
/// what the shell is to do before (`ulimit -n 40`). Its output can be read.
fn spawn_child(test: &str, limit: &str) -> Child {
    let mut script = String::new();
    let _ = write!(script, "{limit}; exec \"$0\" \"$@\"");
    Command::new("sh")
        .args(["-c", &script])
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}
