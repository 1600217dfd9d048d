//! Telnet: negotiation on the wire, and the real programs that people use, where they are installed.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};

use super::protocol::{Mute, Staged, exchange, wait_for_questions};
use super::support::{ALONE, Herd, eventually};

const IAC: u8 = 255;
const DONT: u8 = 254;
const DO: u8 = 253;
const WONT: u8 = 252;
const WILL: u8 = 251;
const SB: u8 = 250;
const INTERRUPT: u8 = 244;
const SE: u8 = 240;
const TIMING_MARK: u8 = 6;

/// What a Ctrl-C of the usual telnet sends.
const CTRL_C: [u8; 5] = [IAC, INTERRUPT, IAC, DO, TIMING_MARK];

const AT_KIWI: &str = " kiwi +1+1 1";

fn solo() -> Herd {
    Herd::start(ALONE)
}

#[test]
fn every_do_is_answered_wont_and_every_will_dont() {
    let herd = solo();
    for (asked, answered) in [(DO, WONT), (WILL, DONT)] {
        let (asked, answered): (Vec<_>, Vec<_>) =
            (0..=255).map(|option| ([IAC, asked, option], [IAC, answered, option])).unzip();
        assert_eq!(exchange(&herd, asked.concat()), answered.concat());
    }
}

#[test]
fn wont_dont_and_two_byte_commands_get_no_answer() {
    let herd = solo();
    for statement in [WONT, DONT] {
        let all: Vec<[u8; 3]> = (0..=255).map(|option| [IAC, statement, option]).collect();
        assert_eq!(exchange(&herd, [&all.concat()[..], b"x\n"].concat()), b"? x\n");
    }
    let all: Vec<[u8; 2]> = (SE..SB).map(|command| [IAC, command]).collect();
    assert_eq!(exchange(&herd, [&all.concat()[..], b"x\n"].concat()), b"? x\n");
}

#[test]
fn commands_anywhere_in_the_input_are_taken_out_before_a_line_is_read() {
    let herd = solo();
    let mut client = herd.connect("Solo");
    let said = [
        &[IAC, DO, 1][..],
        b"IAM",
        &[IAC, WILL, b'\n'],
        b"AT ki",
        &CTRL_C,
        b"wi +1+1",
        &[IAC, SB, 24, b'\n', 0, IAC, IAC, IAC, SE, IAC, DONT, b' '],
        b" 1\r",
        &[IAC, 249],
        b"\n",
    ];
    client.send(said.concat());
    let mut answers = [0; 9];
    read_exact(&mut client, &mut answers);
    assert_eq!(answers, [IAC, WONT, 1, IAC, DONT, b'\n', IAC, WONT, TIMING_MARK]);
    let reply = client.text_line();
    assert!(reply.starts_with("AT Solo +") && reply.ends_with(AT_KIWI), "{reply}");
    // Byte by byte it is the same.
    for byte in said.concat() {
        client.send([byte]);
    }
    read_exact(&mut client, &mut answers);
    assert_eq!(answers, [IAC, WONT, 1, IAC, DONT, b'\n', IAC, WONT, TIMING_MARK]);
    assert!(client.text_line().ends_with(AT_KIWI));
}

fn read_exact(client: &mut super::support::Client, bytes: &mut [u8]) {
    client.stream.read_exact(bytes).unwrap();
}

#[test]
fn sub_negotiations_are_skipped_within_the_line_limit() {
    let herd = solo();
    let skipped = |bytes| [&[IAC, SB][..], &vec![b'x'; bytes], &[IAC, SE]].concat();
    let line = |bytes| [b"a", &skipped(bytes)[..], b"b\n"].concat();
    assert_eq!(exchange(&herd, line(16_384 - 4)), b"? ab\n");
    assert_eq!(exchange(&herd, line(16_384 - 3)), b"? a...\n");
    let mut client = herd.connect("Solo");
    client.send([&[IAC, SB][..], &vec![b'x'; 100_000]].concat());
    assert_eq!(client.rest(), "? ...\n");
}

#[test]
fn two_iacs_are_one_byte_255_and_an_iac_before_a_low_byte_is_no_command() {
    let herd = solo();
    assert_eq!(
        exchange(&herd, [b'a', IAC, IAC, b'b', b'\n']),
        [b'?', b' ', b'a', IAC, b'b', b'\n']
    );
    for low in (0..SE).filter(|byte| *byte != b'\n' && *byte != b'\r') {
        let said = [b'a', IAC, low, b'\n'];
        assert_eq!(exchange(&herd, said), [&b"? "[..], &said].concat());
    }
    let reply =
        exchange(&herd, b"IAMAT \xff\xff\xff\x01\xff\xff +1+1 1\nWHATSAT \xff\x01\xff 0 0\n");
    let lines: Vec<&[u8]> = reply.split(|byte| *byte == b'\n').collect();
    assert!(lines[0].ends_with(b" \xff\xff\x01\xff +1+1 1"), "{lines:?}");
    assert_eq!(lines[1], b"? WHATSAT \xff\x01\xff 0 0", "another client");
}

#[test]
fn a_cr_nul_is_white_space_and_any_other_nul_an_ordinary_byte() {
    let herd = solo();
    let reply = exchange(&herd, b"\r\0IAMAT\r\0kiwi\r\0+1+1 1\r\0\n");
    assert!(reply.ends_with(format!("{AT_KIWI}\n").as_bytes()), "{reply:?}");
    let reply = exchange(&herd, b"IAMAT \0kiwi\0 +1+1 1\n");
    assert!(reply.ends_with(b" \0kiwi\0 +1+1 1\n"), "{reply:?}");
    assert_eq!(exchange(&herd, b"IAMAT kiwi +1+1 1\0\n"), b"? IAMAT kiwi +1+1 1\0\n");
}

#[test]
fn an_interrupt_is_answered_at_once_also_while_a_whatsat_waits() {
    let (upstream, herd) = Mute::with_solo();
    let known = herd.say("Solo", "IAMAT kiwi +1+1 1");
    let mut client = herd.connect("Solo");
    client.send("WHATSAT kiwi 1 1\n");
    wait_for_questions(&herd, 1);
    client.send(CTRL_C);
    let mut answer = [0; 3];
    read_exact(&mut client, &mut answer);
    assert_eq!(answer, [IAC, WONT, TIMING_MARK]);
    drop(upstream.question());
    assert_eq!(client.places_reply().0, known.trim_end());
}

/// Telnet's Synch: an IAC, and a DM that is TCP's urgent data (RFC 854). The standard library sends none.
#[test]
fn a_synch_loses_no_byte_and_no_reply() {
    const SYNCH: &str = "
import socket, sys
s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
s.send(b'IAMAT one +1+1 1\\n')
s.send(b'\\xff\\xf4\\xff')
s.send(b'\\xf2', socket.MSG_OOB)
s.send(b'IAMAT two +1+1 1\\n')
s.shutdown(socket.SHUT_WR)
while data := s.recv(4096): sys.stdout.buffer.write(data)
";
    if !is_installed("python3", "--version", "Python") {
        return;
    }
    let herd = solo();
    let port = herd.port("Solo").to_string();
    let output = Command::new("python3").args(["-c", SYNCH, &port]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    for (line, client) in lines.iter().zip(["one", "two"]) {
        let end = format!(" {client} +1+1 1");
        assert!(line.starts_with("AT Solo +") && line.ends_with(&end), "{lines:?}");
    }
}

/// A program on a terminal of its own, or on pipes: what is typed, and what it shows.
struct Terminal {
    child: Child,
    keyboard: ChildStdin,
    screen: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (keyboard, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let screen = Arc::<Mutex<Vec<u8>>>::default();
        let shown = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut buffer) {
                shown.lock().unwrap().extend_from_slice(&buffer[..length]);
            }
        });
        Self { child, keyboard, screen }
    }

    /// The telnet program on a pseudo-terminal.
    fn telnet(port: u16) -> Self {
        let telnet = format!("telnet 127.0.0.1 {port}");
        Self::start(Command::new("script").args(["-q", "-e", "-c", &telnet, "/dev/null"]))
    }

    fn type_in(&mut self, text: impl AsRef<[u8]>) {
        self.keyboard.write_all(text.as_ref()).unwrap();
    }

    fn wait_for(&self, text: &str) {
        eventually(&format!("the screen shows {text:?}"), || {
            self.shown().contains(text).then_some(())
        });
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().unwrap()).into_owned()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the screen ---\n{}", self.shown());
        }
    }
}

/// Whether the machine has this program, whose help or version has to hold `mark`. Says so if not, past
/// the test harness, which shows only what failing tests print.
fn is_installed(program: &str, ask: &str, mark: &str) -> bool {
    let output = Command::new(program).arg(ask).stdin(Stdio::null()).output();
    let found = output.is_ok_and(|output| {
        let said = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&said).contains(mark)
    });
    if !found {
        let _ = writeln!(std::io::stderr(), "SKIPPED: this machine has no {program} ({mark})");
    }
    found
}

fn has_telnet_on_a_terminal() -> bool {
    is_installed("telnet", "--help", "telnet") && is_installed("script", "--version", "util-linux")
}

#[test]
fn the_real_telnet_talks_to_it() {
    if !has_telnet_on_a_terminal() {
        return;
    }
    let Staged { herd, .. } = &Staged::start(ALONE);
    let mut telnet = Terminal::telnet(herd.port("Solo"));
    telnet.wait_for("Connected");
    telnet.type_in("IAMAT kiwi +34.068930-118.445127 1479413884.392014450\n");
    telnet.wait_for(" kiwi +34.068930-118.445127 1479413884.392014450\r\nAT Solo +");
    telnet.type_in("WHATSAT kiwi 10 1\n");
    telnet.wait_for("\"status\" : \"OK\"\r\n}\r\n\r\n");
    telnet.type_in("WHO\n");
    telnet.wait_for("\r\n? WHO\r\n");
}

#[test]
fn the_real_telnet_shows_replies_after_a_ctrl_c() {
    if !has_telnet_on_a_terminal() {
        return;
    }
    let (upstream, herd) = Mute::with_solo();
    let mut telnet = Terminal::telnet(herd.port("Solo"));
    telnet.wait_for("Connected");
    telnet.type_in("IAMAT kiwi +1+1 1\n");
    telnet.wait_for("\r\nAT Solo +");
    telnet.type_in("\x03");
    wait_for_timing_marks(&herd, 1);
    telnet.type_in("IAMAT kiwi +1+1 2\n");
    telnet.wait_for(" kiwi +1+1 2\r\nAT Solo +");
    // Somebody waits for a WHATSAT and grows impatient; the answer comes all the same.
    telnet.type_in("WHATSAT kiwi 1 1\n");
    wait_for_questions(&herd, 1);
    telnet.type_in("\x03");
    wait_for_timing_marks(&herd, 2);
    telnet.type_in("WHO\n");
    herd.wait_for_log("Solo", "> WHO");
    drop(upstream.question());
    telnet.wait_for("\"UNKNOWN_ERROR\"");
    telnet.wait_for("\r\n? WHO\r\n");
}

/// Waits until telnet has asked so many times for a sign that its Ctrl-C has arrived.
fn wait_for_timing_marks(herd: &Herd, count: usize) {
    eventually(&format!("{count} timing marks are refused"), || {
        (herd.log("Solo").matches(r"< \xff\xfc\u{6}").count() == count).then_some(())
    });
}

#[test]
fn printf_into_nc_gets_every_reply_that_is_owed() {
    if !is_installed("nc", "-h", "-N") {
        return;
    }
    let Staged { herd, .. } = &Staged::start(ALONE);
    let port = herd.port("Solo");
    let nc = |said: &str| {
        let command = format!("printf '{said}' | nc -N 127.0.0.1 {port}");
        let output = Command::new("sh").args(["-c", &command]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let reply = nc("IAMAT kiwi +34.068930-118.445127 1\\n");
    assert!(reply.starts_with("AT Solo +"), "{reply}");
    assert!(reply.ends_with(" kiwi +34.068930-118.445127 1\n"), "{reply}");
    let places = nc("WHATSAT kiwi 10 1");
    assert!(places.starts_with(&reply) && places.ends_with("\"OK\"\n}\n\n"), "{places}");
    assert_eq!(nc("WHO"), "? WHO\n");
}
