//! One conformance test over the eight steps of the ladder (`src/ladder`): what each step must pass and,
//! by name, what it must fail, for the reason that its text gives. A step that passes what it says it
//! fails is as much a failure as the opposite.
//!
//! Each check has a server of its own, on a port from the system. A check waits for a condition until
//! its deadline; where the fault is that nothing comes, it goes on to show that the cause is the named
//! one (the lost line comes with the next edge, the second client is served when the first leaves).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A reply that has not come after this does not come, where one must.
const PATIENCE: Duration = Duration::from_secs(20);
/// The same where none is expected.
const SHORT: Duration = Duration::from_millis(700);
/// The longest reply to `SLOW`: more than any socket's buffers hold.
const LONG_BYTES: usize = 30_000_000;

/// Tells whether a server has a fault. `expected`: whether the text says so, which decides nothing but
/// how long to wait. Anything that is neither the fault nor its absence panics.
type Check = fn(step: u32, expected: bool) -> bool;

/// Each fault by the name that the texts give it, the steps that must have it, and how it shows.
const CHECKS: [(&str, &[u32], Check); 9] = [
    ("a second client waits", &[1], a_second_client_waits),
    ("a thread for each idle client", &[2], a_thread_for_each_idle_client),
    ("CPU while idle", &[3], cpu_while_idle),
    ("a line is lost", &[4], a_line_is_lost),
    ("a long reply is cut", &[4], a_long_reply_is_cut),
    ("a slow reader blocks all", &[1, 3], a_slow_reader_blocks_all),
    ("silent clients stay", &[1, 2, 3, 4, 5], silent_clients_stay),
    ("a neighbour is not told", &[1, 2, 3, 4, 5, 6], a_neighbour_is_not_told),
    (STALE, &[7], a_stale_event_reaches_a_stranger),
];
/// The steps before the seventh dial nobody, and are not checked for it.
const STALE: &str = "a stale event reaches a stranger";

#[test]
fn each_step_passes_and_fails_what_it_says() {
    let check = |step| {
        // A panic names the thread, and so the step.
        let thread = thread::Builder::new().name(format!("ladder_{step}"));
        thread.spawn(move || check_step(step)).unwrap()
    };
    let steps: Vec<_> = (1..=8).map(check).collect();
    let broken = |_| vec!["a step does what no text says: see the panic above".to_owned()];
    let wrong: Vec<String> =
        steps.into_iter().flat_map(|step| step.join().unwrap_or_else(broken)).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// What is wrong with one step.
fn check_step(step: u32) -> Vec<String> {
    answers_the_protocol(step);
    let mut wrong = Vec::new();
    for (fault, who, check) in CHECKS {
        let expected = who.contains(&step);
        if fault == STALE && step < 7 {
            continue;
        }
        let has_it = check(step, expected);
        if has_it != expected {
            let verdict = if has_it { "fails, and must pass" } else { "passes, and must fail" };
            wrong.push(format!("ladder_{step} {verdict}: {fault}"));
        }
    }
    wrong
}

#[test]
fn each_step_is_short_and_stands_on_std_mio_and_slab() {
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().count();
        assert!((40..=180).contains(&lines), "{} has {lines} lines", path.display());
        for line in text.lines().filter(|line| line.starts_with("use ")) {
            let first = line["use ".len()..].split([':', ';']).next().unwrap();
            let own = ["std", "mio", "slab", "connection", "reactor", "super"];
            assert!(own.contains(&first), "{}: {line}", path.display());
        }
    }
}

#[test]
fn each_text_shows_an_experiment_names_its_fault_and_asks() {
    for step in 1..=8 {
        let text = fs::read_to_string(folder().join(format!("ladder_{step}.rs"))).unwrap();
        let head: String = text.lines().map_while(|line| line.strip_prefix("//!")).collect();
        let (before, after) = head.split_once("What is wrong with it").expect(&head);
        assert!(before.contains(&format!("$ cargo run -q --example ladder_{step} ")), "{head}");
        let shows = step == 1 || before.contains(&format!("--example ladder_{} ", step - 1));
        assert!(shows, "the experiment runs the step before: {head}");
        assert!(after.contains("Question: ") && after.contains('?'), "{head}");
        for (fault, _, _) in CHECKS.iter().filter(|(_, who, _)| who.last() == Some(&step)) {
            let after = after.to_lowercase();
            assert!(after.contains(&fault.to_lowercase()), "step {step} must name it: {fault}");
        }
    }
}

#[test]
fn the_script_shows_a_difference_and_refuses_what_is_no_step() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/ladder");
    let run = |words: &[&str]| Command::new(&script).args(words).output().unwrap();
    for step in 1..8 {
        let output = run(&["diff", &step.to_string(), &(step + 1).to_string()]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && text.contains("\n+"), "{text}");
    }
    for words in [&["diff", "4"][..], &["diff", "4", "9"], &["try", "0"], &["try"], &[]] {
        let output = run(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(output.stderr.starts_with(b"usage: scripts/ladder "), "{words:?}");
    }
}

/// The running example of one step.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(step: u32) -> Self {
        Self::start_with(step, &[])
    }

    /// With arguments after the address: the idle limit in seconds, the neighbour's address.
    fn start_with(step: u32, arguments: &[&str]) -> Self {
        let mut child = Command::new(example(step))
            .arg("127.0.0.1:0")
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {}: {e}", example(step).display()));
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim_end().strip_prefix("listening on ").expect(&line).to_owned();
        Self { child, address }
    }

    fn connect(&self) -> Client {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        Client { stream, input: Vec::new() }
    }

    /// The number after `name` in `/proc/PID/status`.
    fn status(&self, name: &str) -> usize {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).expect(&text);
        line.trim_start_matches(':').split_whitespace().next().unwrap().parse().unwrap()
    }

    /// The CPU time that it has used, in the kernel's ticks of 10 ms.
    fn cpu_ticks(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let after_name = text.rsplit_once(") ").unwrap().1;
        let fields: Vec<&str> = after_name.split(' ').collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// In `target/debug/examples`, beside the folder of this test's own executable. `cargo test` builds the
/// examples, but `cargo test --test ladder` does not, and would test those of yesterday.
fn example(step: u32) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.ancestors().nth(2).unwrap().join("examples").join(format!("ladder_{step}"));
    let age = |path: &Path| fs::metadata(path).and_then(|data| data.modified()).ok();
    let sources = [format!("ladder_{step}"), "connection".to_owned(), "reactor".to_owned()];
    let used = if step == 8 {
        &sources[..]
    } else if step == 7 {
        &sources[..2]
    } else {
        &sources[..1]
    };
    for source in used {
        let source = folder().join(format!("{source}.rs"));
        assert!(age(&program) > age(&source), "run `cargo build --examples` first");
    }
    program
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ladder")
}

/// A client that never waits longer than it is told to.
struct Client {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Client {
    fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    /// Reads what there is. `false`: the server has closed the connection.
    fn read(&mut self) -> bool {
        let mut buffer = vec![0; 262_144];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(length) => {
                self.input.extend_from_slice(&buffer[..length]);
                true
            }
            Err(e) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&e.kind()) => true,
            Err(e) if e.kind() == ErrorKind::ConnectionReset => false,
            Err(e) => panic!("{e}"),
        }
    }

    /// Reads until the input satisfies the condition. `false`: it has not within the limit.
    fn read_until(&mut self, limit: Duration, condition: impl Fn(&[u8]) -> bool) -> bool {
        let deadline = Instant::now() + limit;
        while !condition(&self.input) {
            if Instant::now() > deadline || !self.read() {
                return condition(&self.input);
            }
        }
        true
    }

    /// Takes the next line, if it comes within the limit.
    fn line(&mut self, limit: Duration) -> Option<String> {
        self.read_until(limit, |input| input.contains(&b'\n'));
        let end = self.input.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = self.input.drain(..=end).collect();
        Some(String::from_utf8(line).unwrap().trim_end().to_owned())
    }

    /// Sends a line and demands its reply.
    fn demand(&mut self, line: &str, reply: &str) {
        self.send(&format!("{line}\n"));
        assert_eq!(self.line(PATIENCE).as_deref(), Some(reply));
    }

    /// Whether the server closes the connection within the limit.
    fn is_closed(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while self.read() {
            if Instant::now() > deadline {
                return false;
            }
        }
        true
    }
}

fn patience(fault_is_expected: bool) -> Duration {
    if fault_is_expected { SHORT } else { PATIENCE }
}

/// What all eight must do: the three replies, a line in pieces, replies after a half-close, and one
/// client's reset is not another's.
fn answers_the_protocol(step: u32) {
    let server = Server::start(step);
    let mut client = server.connect();
    client.demand("IAMAT kiwi +34-118 1", "AT ladder kiwi +34-118 1");
    client.demand("SLOW 5", "xxxxx");
    client.demand("SLOW many", "");
    client.demand("hello there", "? hello there");
    for piece in ["IAM", "AT k", "iwi +3", "4-118 2", "\n"] {
        client.send(piece);
        // So that the pieces are read one by one, mostly. Any other cut must do as well.
        assert!(client.read() && client.input.is_empty() || piece == "\n");
    }
    assert_eq!(client.line(PATIENCE).as_deref(), Some("AT ladder kiwi +34-118 2"));
    client.send("a\nb\n");
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.line(PATIENCE).as_deref(), Some("? a"));
    assert_eq!(client.line(PATIENCE).as_deref(), Some("? b"));
    drop(client);
    // Closing with unread input sends a reset.
    let mut rude = server.connect();
    rude.demand("hello", "? hello");
    rude.send("SLOW 100000\n");
    rude.stream.peek(&mut [0]).unwrap();
    drop(rude);
    server.connect().demand("still there", "? still there");
}

fn a_second_client_waits(step: u32, expected: bool) -> bool {
    let server = Server::start(step);
    let mut first = server.connect();
    first.demand("hello", "? hello");
    let mut second = server.connect();
    second.send("hello\n");
    if second.line(patience(expected)).is_some() {
        return false;
    }
    drop(first);
    assert_eq!(
        second.line(PATIENCE).as_deref(),
        Some("? hello"),
        "it waits for the first to leave"
    );
    true
}

fn a_thread_for_each_idle_client(step: u32, _expected: bool) -> bool {
    let server = Server::start(step);
    let before = server.status("Threads");
    let mut idle = Vec::new();
    // Step 1 serves the first only.
    for _ in 0..if step == 1 { 1 } else { 20 } {
        // Who has a reply has been accepted.
        let mut client = server.connect();
        client.demand("hello", "? hello");
        idle.push(client);
    }
    let more = server.status("Threads") - before;
    assert!(more == 0 || more == idle.len(), "{more} threads for {} clients", idle.len());
    more > 0
}

fn cpu_while_idle(step: u32, expected: bool) -> bool {
    const MUCH_TICKS: u64 = 20;
    let server = Server::start(step);
    let mut idle = server.connect();
    idle.demand("hello", "? hello");
    let before = server.cpu_ticks();
    let deadline = Instant::now() + if expected { PATIENCE } else { SHORT };
    while Instant::now() < deadline {
        if server.cpu_ticks() - before >= MUCH_TICKS {
            return true;
        }
        idle.read();
    }
    false
}

fn a_line_is_lost(step: u32, expected: bool) -> bool {
    const LINES: usize = 2_000;
    let server = Server::start(step);
    let mut client = server.connect();
    client.demand("hello", "? hello");
    let lines: Vec<String> = (0..LINES).map(|i| format!("line {i}\n")).collect();
    client.send(&lines.concat());
    let count = |input: &[u8]| input.split(|byte| *byte == b'\n').count() - 1;
    if client.read_until(patience(expected), |input| count(input) == LINES) {
        let replies: Vec<String> = lines.iter().map(|line| format!("? {line}")).collect();
        assert!(client.input == replies.concat().as_bytes(), "each is answered, in order");
        return false;
    }
    let before = count(&client.input);
    client.send("one more\n");
    let came = client.read_until(PATIENCE, |input| count(input) > before);
    assert!(came, "the lost lines wait in the kernel for the next edge");
    let text = String::from_utf8_lossy(&client.input);
    assert!(text.contains(&format!("? line {before}\n")), "an old line's reply comes first");
    true
}

fn a_long_reply_is_cut(step: u32, expected: bool) -> bool {
    let server = Server::start(step);
    let mut client = server.connect();
    client.send(&format!("SLOW {LONG_BYTES}\n"));
    if client.read_until(patience(expected), |input| input.len() > LONG_BYTES) {
        assert_eq!((client.input.len(), client.input.last()), (LONG_BYTES + 1, Some(&b'\n')));
        drop(client);
        // A client that has finished sending gets all of its reply, and then the end.
        let mut client = server.connect();
        client.send(&format!("SLOW {LONG_BYTES}\n"));
        client.stream.shutdown(Shutdown::Write).unwrap();
        assert!(client.is_closed(PATIENCE) && client.input.len() == LONG_BYTES + 1);
        return false;
    }
    assert!(!client.input.is_empty(), "its beginning comes");
    // What one write took is all of it: the next reply follows the cut.
    client.input.clear();
    client.demand("hello", "? hello");
    true
}

fn a_slow_reader_blocks_all(step: u32, expected: bool) -> bool {
    let server = Server::start(step);
    let mut slow = server.connect();
    slow.send(&format!("SLOW {LONG_BYTES}\n"));
    // Its reply has begun, so it is being served.
    slow.stream.set_read_timeout(None).unwrap();
    slow.stream.peek(&mut [0]).unwrap();
    let mut other = server.connect();
    other.send("hello\n");
    if other.line(patience(expected)).is_some() {
        return false;
    }
    drop(slow);
    assert_eq!(other.line(PATIENCE).as_deref(), Some("? hello"), "it waits for the slow reader");
    true
}

fn silent_clients_stay(step: u32, expected: bool) -> bool {
    let limit = Duration::from_secs(1);
    let server = Server::start_with(step, &["1"]);
    let mut silent = server.connect();
    // Who has a reply has been accepted.
    silent.demand("hello", "? hello");
    let mut busy = if step == 1 { None } else { Some(server.connect()) };
    // Who talks must stay, unless this test itself was too slow to talk.
    let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
    let deadline = last + if expected { limit * 2 } else { PATIENCE };
    let left = loop {
        if silent.is_closed(Duration::from_millis(100)) {
            break true;
        }
        if Instant::now() > deadline {
            break false;
        }
        longest = longest.max(last.elapsed());
        last = Instant::now();
        if let Some(busy) = &mut busy {
            busy.send("hello\n");
            assert!(busy.line(PATIENCE).is_some() || longest > limit / 2, "who talks must stay");
        }
    };
    !left
}

/// A neighbour of this test's making: what it hears it hears as a client of the server would.
fn neighbour() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

fn accept(listener: &TcpListener, limit: Duration) -> Option<Client> {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        if let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(false).unwrap();
            stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            return Some(Client { stream, input: Vec::new() });
        }
        thread::sleep(Duration::from_millis(5));
    }
    None
}

fn a_neighbour_is_not_told(step: u32, expected: bool) -> bool {
    let (listener, address) = neighbour();
    let server = Server::start_with(step, &["60", &address]);
    let mut client = server.connect();
    client.demand("IAMAT early +1-1 0", "AT ladder early +1-1 0");
    let Some(mut link) = accept(&listener, patience(expected)) else { return true };
    // A report from before the link counts or not. Those after it count.
    client.demand("IAMAT kiwi +34-118 1", "AT ladder kiwi +34-118 1");
    let mut told = link.line(PATIENCE).expect("a report");
    if told.contains("early") {
        link.send("early receipt\n");
        assert_eq!(client.line(PATIENCE).as_deref(), Some("early receipt"));
        told = link.line(PATIENCE).expect("a second report");
    }
    assert_eq!(told, "AT ladder kiwi +34-118 1");
    link.send("a receipt\n");
    assert_eq!(client.line(PATIENCE).as_deref(), Some("a receipt"));
    // The neighbour goes and comes back; nobody waits for it in the meantime.
    drop((listener, link));
    client.demand("hello", "? hello");
    let listener = TcpListener::bind(&address).unwrap();
    listener.set_nonblocking(true).unwrap();
    let mut link = accept(&listener, PATIENCE).expect("it is dialled again");
    client.demand("IAMAT kiwi +34-118 2", "AT ladder kiwi +34-118 2");
    assert_eq!(link.line(PATIENCE).as_deref(), Some("AT ladder kiwi +34-118 2"));
    false
}

fn a_stale_event_reaches_a_stranger(step: u32, _expected: bool) -> bool {
    let (listener, address) = neighbour();
    let server = Server::start_with(step, &["60", &address]);
    let mut link = accept(&listener, PATIENCE).expect("the neighbour is dialled");
    let mut gone = server.connect();
    gone.demand("IAMAT gone +1-1 1", "AT ladder gone +1-1 1");
    assert_eq!(link.line(PATIENCE).as_deref(), Some("AT ladder gone +1-1 1"));
    gone.stream.shutdown(Shutdown::Write).unwrap();
    assert!(gone.is_closed(PATIENCE), "the server has freed its key");
    // The next client gets that key. The receipt for the first is still to come.
    let mut stranger = server.connect();
    stranger.demand("hello", "? hello");
    link.send("receipt for gone\n");
    // The link keeps order: when the stranger hears its own receipt, that of the first has gone somewhere.
    stranger.send("IAMAT stranger +2-2 2\n");
    assert_eq!(link.line(PATIENCE).as_deref(), Some("AT ladder stranger +2-2 2"));
    link.send("receipt for stranger\n");
    let mut heard = Vec::new();
    while heard.last().map(String::as_str) != Some("receipt for stranger") {
        heard.push(stranger.line(PATIENCE).expect("its own receipt"));
    }
    assert!(heard.contains(&"AT ladder stranger +2-2 2".to_owned()));
    heard.contains(&"receipt for gone".to_owned())
}
