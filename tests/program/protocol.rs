//! The rules for lines and commands, one test a rule, against the real program over real sockets.
//!
//! What these tests share is here, and serves `telnet` and `transcripts` too; the tests are in the
//! modules, by what they are about.

mod iamat;
mod lines;
mod order;
mod refusals;
mod whatsat;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::{ALONE, Client, DEADLINE, HERD, Herd, Process, Shape, eventually};

/// One server without neighbours, and with no upstream that answers.
fn solo() -> Herd {
    // Some of the times in these tests are of no clock at all.
    Herd::start_with(ALONE, &["--max-ahead", "0"])
}

/// All that comes back for these bytes and a half-close, on a connection of its own.
pub fn exchange(herd: &Herd, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let name = &herd.servers[0].0;
    let mut stream = TcpStream::connect(("127.0.0.1", herd.port(name))).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(bytes.as_ref()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    read_to_end(&mut stream)
}

/// Everything until the server closes in order; a reset is a failure.
pub fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Whether nothing has come on this connection that is not read yet. Does not wait.
pub fn has_heard_nothing(client: &Client) -> bool {
    client.stream.set_nonblocking(true).unwrap();
    let peeked = client.stream.peek(&mut [0]);
    client.stream.set_nonblocking(false).unwrap();
    peeked.is_err_and(|e| e.kind() == ErrorKind::WouldBlock)
}

/// Lines that are sent on one connection, and the first line of the reply to each.
fn answers(herd: &Herd, lines: &[String]) -> Vec<String> {
    let replies = String::from_utf8(exchange(herd, lines.join("\n") + "\n")).unwrap();
    let is_first = |line: &&str| line.starts_with("AT ") || line.starts_with("? ");
    replies.lines().filter(is_first).map(str::to_owned).collect()
}

fn assert_all_are_commands(herd: &Herd, lines: &[String]) {
    let answers = answers(herd, lines);
    assert_eq!(answers.len(), lines.len(), "{answers:?}");
    for (line, answer) in lines.iter().zip(answers) {
        assert!(answer.starts_with("AT "), "{line} is answered {answer}");
    }
}

fn assert_none_is_a_command(herd: &Herd, lines: &[String]) {
    let expected: Vec<String> = lines.iter().map(|line| format!("? {line}")).collect();
    assert_eq!(answers(herd, lines), expected);
}

/// An AT line in its parts: the server, its clock less the client's in nanoseconds, and the copy.
pub fn at_line(line: &str) -> (String, i128, String) {
    let mut parts = line.splitn(4, ' ');
    let mut part = || parts.next().unwrap_or_else(|| panic!("no AT line: {line:?}"));
    assert_eq!(part(), "AT", "{line}");
    let (server, difference, copy) = (part(), part(), part());
    let (seconds, nanos) = difference.split_once('.').unwrap();
    assert!(seconds.starts_with(['+', '-']) && nanos.len() == 9, "{difference}");
    (server.to_owned(), format!("{seconds}{nanos}").parse().unwrap(), copy.to_owned())
}

/// The clock, as the protocol counts it.
pub fn unix_nanos() -> i128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos().try_into().unwrap()
}

/// An upstream that takes connections and says nothing until it hangs up, so that a test decides when a
/// question is answered.
pub struct Mute {
    listener: TcpListener,
}

impl Mute {
    /// With a lone server that asks it.
    pub fn with_solo() -> (Self, Herd) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let mut herd = Herd::new(ALONE);
        herd.arguments = vec!["--places".to_owned(), url];
        herd.start_all();
        (Self { listener }, herd)
    }

    /// The same with keys, so that clients may speak TLS.
    pub fn with_solo_and_keys() -> (Self, Herd) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let mut herd = Herd::new(ALONE).with_keys();
        herd.arguments.extend(["--places".to_owned(), url]);
        herd.arguments.drain(..2);
        herd.start_all();
        (Self { listener }, herd)
    }

    /// The connection of the next question, in the order of the questions; dropping it is the answer.
    pub fn question(&self) -> TcpStream {
        self.listener.accept().unwrap().0
    }
}

/// Waits until so many questions are on their way to the upstream.
pub fn wait_for_questions(herd: &Herd, count: u64) {
    eventually(&format!("{count} questions are asked"), || {
        (herd.status("Solo")["questions"] == count).then_some(())
    });
}

/// A herd that asks `herd places`, the stand-in, over real TLS.
pub struct Staged {
    pub herd: Herd,
    _stand_in: Process,
}

impl Staged {
    pub fn start(shape: Shape) -> Self {
        let mut herd = Herd::new(shape);
        let ca = herd.folder.path("places-ca.pem").display().to_string();
        let mut command = Command::new(HERD);
        command.args(["places", "--listen", "127.0.0.1:0", "--ca-out", &ca]).stdout(Stdio::piped());
        let mut stand_in = Process::spawn("places", &mut command, &herd.folder);
        let mut said = String::new();
        BufReader::new(stand_in.child.stdout.take().unwrap()).read_line(&mut said).unwrap();
        let address = said.strip_prefix("listening on 127.0.0.1:").unwrap();
        let (port, _) = address.split_once(':').unwrap();
        let url = format!("https://localhost:{port}");
        herd.arguments = ["--places", &url, "--places-ca", &ca].map(str::to_owned).to_vec();
        herd.environment.push(("PLACES_API_KEY".to_owned(), "any-will-do".to_owned()));
        herd.start_all();
        Self { herd, _stand_in: stand_in }
    }
}
