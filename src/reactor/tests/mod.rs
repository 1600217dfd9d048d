//! The reactor driven for real, over loopback, with a clock that stands still until a test moves it.
//!
//! [`Bench`] holds a reactor whose application writes down what everybody is told. [`Script`] is a
//! protocol made of closures. [`Client`] is a peer outside the reactor: a socket of the standard library
//! that never blocks, because the test that reads from it is also the one that turns the loop.
//! Nothing sleeps for luck: a test waits for what it wants to see, with a patience that only a failing
//! test uses up.

mod accepting;
mod closing;
mod connecting;
mod endings;
mod flow;
mod later;
mod stopping;
mod tls;
mod turns;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::*;

/// Longer than anything takes on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(4);

/// A loop that sleeps as long as this has nothing to do; one that spins never does.
const IDLE: Duration = Duration::from_millis(30);

/// A note of data shows at most so many bytes of it.
const SHOWN_BYTES: usize = 24;

type BenchCtx<'a> = Ctx<'a, Notes>;

/// The application: it writes down what happens.
#[derive(Default)]
struct Notes {
    /// Who was told what, in order: `server: made`.
    heard: Vec<String>,
    /// All that each script was handed.
    bytes: BTreeMap<&'static str, Vec<u8>>,
    /// Every connection that was made, by its script's name.
    made: Vec<(&'static str, Token)>,
    at_event: Option<fn(&mut Notes, &'static str, &mut Io<Notes>)>,
    at_turn_end: Option<fn(&mut Notes, &mut Io<Notes>)>,
}

impl Notes {
    fn note(&mut self, who: &str, what: &str) {
        self.heard.push(format!("{who}: {what}"));
    }

    fn token(&self, who: &str) -> Token {
        let mut made = self.made.iter().rev();
        made.find(|(name, _)| *name == who).expect("that connection was never made").1
    }

    fn bytes(&self, who: &str) -> &[u8] {
        self.bytes.get(who).map_or(&[], Vec::as_slice)
    }

    fn count(&self, note: &str) -> usize {
        self.heard.iter().filter(|heard| *heard == note).count()
    }
}

impl Application for Notes {
    type Event = &'static str;

    fn event_received(&mut self, event: &'static str, io: &mut Io<Self>) {
        self.note("app", event);
        if let Some(act) = self.at_event {
            act(self, event, io);
        }
    }

    fn turn_end(&mut self, io: &mut Io<Self>) {
        if let Some(act) = self.at_turn_end {
            act(self, io);
        }
    }
}

/// A protocol made of closures. Whatever it is told is noted first.
struct Script {
    name: &'static str,
    made: Box<dyn FnMut(Token, &mut BenchCtx<'_>)>,
    data: Box<dyn FnMut(Token, &[u8], &mut BenchCtx<'_>)>,
    read_closed: Box<dyn FnMut(Token, &mut BenchCtx<'_>)>,
    event: Box<dyn FnMut(Token, &'static str, &mut BenchCtx<'_>)>,
    resume: Box<dyn FnMut(Token, &mut BenchCtx<'_>)>,
    lost: Box<dyn FnMut(Token, &mut BenchCtx<'_>)>,
}

impl Script {
    /// Listens, says nothing, and goes when its peer has finished.
    fn new(name: &'static str) -> Self {
        Self {
            name,
            made: Box::new(|_, _| {}),
            data: Box::new(|_, _, _| {}),
            read_closed: Box::new(|me, cx| cx.io.lose_connection(me)),
            event: Box::new(|_, _, _| {}),
            resume: Box::new(|_, _| {}),
            lost: Box::new(|_, _| {}),
        }
    }

    fn echo(name: &'static str) -> Self {
        Self::new(name).on_data(|me, data, cx| {
            cx.io.write(me, data);
        })
    }

    fn on_made(mut self, act: impl FnMut(Token, &mut BenchCtx<'_>) + 'static) -> Self {
        self.made = Box::new(act);
        self
    }

    fn on_data(mut self, act: impl FnMut(Token, &[u8], &mut BenchCtx<'_>) + 'static) -> Self {
        self.data = Box::new(act);
        self
    }

    fn on_read_closed(mut self, act: impl FnMut(Token, &mut BenchCtx<'_>) + 'static) -> Self {
        self.read_closed = Box::new(act);
        self
    }

    fn on_event(
        mut self,
        act: impl FnMut(Token, &'static str, &mut BenchCtx<'_>) + 'static,
    ) -> Self {
        self.event = Box::new(act);
        self
    }

    fn on_resume(mut self, act: impl FnMut(Token, &mut BenchCtx<'_>) + 'static) -> Self {
        self.resume = Box::new(act);
        self
    }

    fn on_lost(mut self, act: impl FnMut(Token, &mut BenchCtx<'_>) + 'static) -> Self {
        self.lost = Box::new(act);
        self
    }
}

impl Protocol<Notes> for Script {
    fn connection_made(&mut self, me: Token, cx: &mut BenchCtx<'_>) {
        cx.app.note(self.name, "made");
        cx.app.made.push((self.name, me));
        (self.made)(me, cx);
    }

    fn data_received(&mut self, me: Token, data: &[u8], cx: &mut BenchCtx<'_>) {
        assert!(!data.is_empty(), "data of no bytes");
        let start = String::from_utf8_lossy(&data[..data.len().min(SHOWN_BYTES)]);
        cx.app.note(self.name, &format!("data {}", start.trim_end()));
        cx.app.bytes.entry(self.name).or_default().extend_from_slice(data);
        (self.data)(me, data, cx);
    }

    fn read_closed(&mut self, me: Token, cx: &mut BenchCtx<'_>) {
        cx.app.note(self.name, "read closed");
        (self.read_closed)(me, cx);
    }

    fn event_received(&mut self, me: Token, event: &'static str, cx: &mut BenchCtx<'_>) {
        cx.app.note(self.name, event);
        (self.event)(me, event, cx);
    }

    fn resume_producing(&mut self, me: Token, cx: &mut BenchCtx<'_>) {
        cx.app.note(self.name, "resume");
        (self.resume)(me, cx);
    }

    fn connection_lost(&mut self, me: Token, why: &Reason, cx: &mut BenchCtx<'_>) {
        cx.app.note(self.name, &format!("lost, {why}"));
        (self.lost)(me, cx);
    }
}

/// Makes scripts with a closure; `None` closes the connection at once.
struct Scripts<F>(F);

impl<F: FnMut() -> Option<Script>> Factory<Notes> for Scripts<F> {
    fn build_protocol(
        &mut self,
        _: Peer,
        _: &mut BenchCtx<'_>,
    ) -> Option<Box<dyn Protocol<Notes>>> {
        (self.0)().map(|script| Box::new(script) as Box<dyn Protocol<Notes>>)
    }
}

/// A reactor, and the time that it is told.
struct Bench {
    reactor: Reactor<Notes>,
    clock: Now,
}

impl Bench {
    fn new() -> Self {
        Self { reactor: Reactor::new(Notes::default()).unwrap(), clock: Now::read() }
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
        (0..u32::try_from(MANY_BYTES / 64).unwrap())
            .flat_map(|i| [i.to_be_bytes(); 16].concat())
            .collect()
    });
    &bytes[..length]
}

/// A peer outside the reactor.
struct Client<S> {
    stream: S,
    received: Vec<u8>,
    /// How its stream ended: `Ok` with a FIN, or the error.
    end: Option<Result<(), ErrorKind>>,
}

impl Client<TcpStream> {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nonblocking(true).unwrap();
        Self::over(stream)
    }

    fn finish_sending(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }
}

impl Client<UnixStream> {
    fn finish_sending(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }
}

impl<S: Read + Write> Client<S> {
    fn over(stream: S) -> Self {
        Self { stream, received: Vec::new(), end: None }
    }

    /// Sends something small, which a socket's buffer takes whole.
    fn send(&mut self, bytes: &[u8]) {
        assert_eq!(self.stream.write(bytes).unwrap(), bytes.len());
    }

    /// Sends as much as the kernel takes, and says how much that was.
    fn send_some(&mut self, bytes: &[u8]) -> usize {
        let mut sent = 0;
        while sent < bytes.len() {
            match self.stream.write(&bytes[sent..]) {
                Ok(length) => sent += length,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => panic!("the client cannot send: {e}"),
            }
        }
        sent
    }

    /// Takes in what has come.
    fn pump(&mut self) {
        while self.end.is_none() && self.pump_once(64 * 1024) > 0 {}
    }

    /// One read of at most so many bytes.
    fn pump_once(&mut self, length_max: usize) -> usize {
        let mut buffer = vec![0; length_max];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.end = Some(Ok(())),
            Ok(length) => {
                self.received.extend_from_slice(&buffer[..length]);
                return length;
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(e) => self.end = Some(Err(e.kind())),
        }
        0
    }
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
