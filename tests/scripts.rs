//! `scripts/herd` as its users meet it: the real manager starts real servers, each test in a run folder
//! and on ports of its own. What runs at the end of a test, also of one that failed, is stopped.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

#[path = "program/support/ports.rs"]
mod ports;

use ports::free_ports;

/// Past it something hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// A run folder, with a topology of three servers in a row.
struct Stage {
    folder: PathBuf,
    ports: Vec<u16>,
}

/// What a command said, and how it ended.
struct Said {
    out: String,
    err: String,
    code: i32,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
            code: output.status.code().expect("ended by no signal"),
        }
    }
}

impl Stage {
    fn set(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("scripts-{name}"));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let ports = free_ports(3);
        let [alford, ball, welsh] = ports[..] else { unreachable!("three were asked for") };
        let topology = format!(
            "Alford 127.0.0.1:{alford} Ball\nBall 127.0.0.1:{ball} Welsh\nWelsh 127.0.0.1:{welsh}\n"
        );
        fs::write(folder.join("topology.txt"), topology).unwrap();
        Self { folder, ports }
    }

    fn run(&self) -> PathBuf {
        self.folder.join("run")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_herd"));
        command.args(words).current_dir(&self.folder).env_remove("PLACES_API_KEY");
        command.env("HERD_ROOT", env!("CARGO_MANIFEST_DIR")).env("HERD_RUN", self.run());
        command
    }

    fn herd(&self, words: &[&str]) -> Said {
        self.command(words).output().unwrap().into()
    }

    /// Starts the servers, and is content with nothing less.
    fn start(&self) -> Said {
        let said = self.herd(&["start", "--topology", "topology.txt"]);
        assert_eq!(said.code, 0, "{}\n{}", said.out, said.err);
        said
    }

    /// The number in a process file.
    fn process(&self, name: &str) -> String {
        let text = fs::read_to_string(self.run().join(format!("{name}.pid"))).unwrap();
        text.split(' ').next().unwrap().to_owned()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.command(&["stop"]).output();
    }
}

/// The cells of the line that begins with `name`.
fn row<'a>(table: &'a str, name: &str) -> Vec<&'a str> {
    let line = table.lines().find(|line| line.starts_with(name)).expect(table);
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
}

#[test]
fn a_herd_is_started_watched_talked_to_and_stopped() {
    let stage = Stage::set("whole");
    let said = stage.start();
    let address = format!("127.0.0.1:{}", stage.ports[0]);
    let pid = stage.process("Alford");
    assert_eq!(row(&said.out, "Alford"), ["Alford", &address, &pid, "run/logs/Alford.log"]);
    assert!(said.out.contains("Try: scripts/herd say Alford 'IAMAT "), "{}", said.out);
    // Nobody pays for the stand-in's answers.
    #[cfg(target_os = "linux")]
    {
        let words = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
        assert!(words.contains("\0--places-rate\x000\0"), "{words}");
    }

    let said = stage.herd(&["say", "Alford", "IAMAT kiwi +34.068930-118.445127 1479413884.39"]);
    assert!(said.out.starts_with("AT Alford +"), "{}", said.out);
    let said = stage.herd(&["say", "Ball", "WHATSAT kiwi 10 1"]);
    assert!(said.out.starts_with("AT Alford +") && said.out.ends_with("\n}\n\n"), "{}", said.out);
    assert!(said.out.contains("\"name\" : \"Bel Air\""), "{}", said.out);

    let said = stage.herd(&["status"]);
    let ball = row(&said.out, "Ball");
    assert_eq!((said.code, ball[3], ball[4], ball[6]), (0, "running", "2 of 2", "1"));
    assert_eq!(row(&said.out, "places")[3], "running");
    // A log is written a moment after what it tells of.
    let deadline = Instant::now() + PATIENCE;
    while !stage.herd(&["logs", "Alford"]).out.contains(" > IAMAT kiwi +34.068930-118.445127 ") {
        assert!(Instant::now() < deadline, "the log of Alford lacks the IAMAT");
    }

    assert_eq!(stage.herd(&["stop"]).out, "Stopped: Alford, Ball, Welsh, places.\n");
    let said = stage.herd(&["status"]);
    assert_eq!(said.code, 3);
    assert!(said.out.contains("Nothing runs."), "{}", said.out);
    assert_eq!(stage.herd(&["stop"]).out, "Nothing runs that could be stopped.\n");
}

/// Every file of the keys with its bytes.
fn keys(stage: &Stage) -> Vec<(PathBuf, Vec<u8>)> {
    let mut folders = vec![stage.run().join("keys")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push((path.clone(), fs::read(path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

#[test]
fn keys_are_made_on_first_use_and_links_are_protected_by_them() {
    let stage = Stage::set("keys");
    stage.start();
    let mode =
        |name: &str| fs::metadata(stage.run().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("keys"), mode("keys/Ball"), mode("keys/Ball/key.pem")), (0o700, 0o700, 0o600));
    assert_eq!(mode("keys/authority-key.pem"), 0o600);
    let log = || fs::read_to_string(stage.run().join("logs/Ball.log")).unwrap();
    // A log is written a moment after what it tells of.
    let deadline = Instant::now() + PATIENCE;
    while !log().contains("links are TLS") {
        assert!(Instant::now() < deadline, "{}", log());
    }
    // Whoever comes without a certificate is no neighbour.
    let said = stage.herd(&["say", "Ball", "HELLO 1 Welsh 00000000000000aa"]);
    assert_eq!(said.out, "? HELLO 1 Welsh 00000000000000aa\n");

    // They stay what they are, and a server that is new gets its own.
    let before = keys(&stage);
    stage.herd(&["restart", "Ball"]);
    assert!(keys(&stage) == before);
    stage.herd(&["stop"]);
    let file = stage.folder.join("topology.txt");
    let port = free_ports(1)[0];
    let text = fs::read_to_string(&file).unwrap() + &format!("Young 127.0.0.1:{port} Ball\n");
    fs::write(&file, text).unwrap();
    stage.start();
    let after = keys(&stage);
    assert_eq!(after.len(), before.len() + 3);
    assert!(before.iter().all(|file| after.contains(file)));

    // Keys from elsewhere are taken as they are, and remembered for a server that is brought back.
    stage.herd(&["stop"]);
    fs::rename(stage.run().join("keys"), stage.folder.join("elsewhere")).unwrap();
    let said = stage.herd(&["start", "--topology", "topology.txt", "--keys", "elsewhere"]);
    assert_eq!(said.code, 0, "{}", said.err);
    stage.herd(&["kill", "Ball"]);
    assert_eq!(stage.herd(&["start", "Ball"]).code, 0);
    assert!(!stage.run().join("keys").exists());

    // Keys that are not right are told before anything starts.
    stage.herd(&["stop"]);
    fs::create_dir(stage.run().join("keys")).unwrap();
    fs::write(stage.run().join("keys/authority.pem"), "rubbish").unwrap();
    let said = stage.herd(&["start", "--topology", "topology.txt"]);
    assert!(said.code == 1 && said.err.contains("the servers' keys are not right"), "{}", said.err);
    assert!(said.err.contains("Without run/keys all are made anew"), "{}", said.err);
    assert!(!stage.run().join("Ball.pid").exists());
}

#[test]
fn a_herd_whose_clients_must_speak_tls_is_talked_to_in_tls() {
    let stage = Stage::set("tls");
    let said = stage.herd(&["start", "--topology", "topology.txt", "--clients", "tls"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let said = stage.herd(&["say", "Welsh", "IAMAT kiwi +34.068930-118.445127 1479413884.39"]);
    assert!(said.out.starts_with("AT Welsh +"), "{}{}", said.out, said.err);
    // Plain text gets an alert and no reply.
    let mut plain = TcpStream::connect(("127.0.0.1", stage.ports[2])).unwrap();
    plain.write_all(b"WHATSAT kiwi 1 1\n").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert_eq!(answer.first(), Some(&21), "{answer:?}");
    // Nor is anybody talked to who is not the server that was meant.
    fs::rename(stage.run().join("keys/authority.pem"), stage.run().join("keys/gone")).unwrap();
    assert!(stage.herd(&["say", "Welsh", "hello"]).err.contains("scripts/herd: 127.0.0.1:"));
}

#[test]
fn a_killed_server_is_told_and_brought_back_with_the_same_options() {
    let stage = Stage::set("killed");
    stage.start();
    assert_eq!(stage.herd(&["kill", "Welsh"]).code, 0);
    let said = stage.herd(&["status"]);
    assert_eq!((said.code, row(&said.out, "Welsh")[3]), (3, "down"));
    assert!(said.out.contains("\nBall: its link with Welsh is "), "{}", said.out);
    assert!(stage.herd(&["kill", "Welsh"]).err.contains("Welsh does not run; these do: Alford"));

    // The topology is not named again: it is that of the herd that runs.
    let said = stage.herd(&["start", "Welsh"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(stage.herd(&["status"]).code, 0);
}

#[test]
fn a_herd_that_was_stopped_knows_at_the_next_start_what_it_knew() {
    let stage = Stage::set("kept");
    stage.start();
    let at_line = stage.herd(&["say", "Alford", "IAMAT kiwi +34-118 1479413884.39"]).out;
    assert_eq!(stage.herd(&["stop"]).code, 0);
    stage.start();
    let said = stage.herd(&["say", "Alford", "WHATSAT kiwi 10 1"]);
    assert!(said.out.starts_with(&at_line), "{}", said.out);
    assert_eq!(stage.herd(&["restart"]).code, 0);
    let said = stage.herd(&["say", "Alford", "WHATSAT kiwi 10 1"]);
    assert!(said.out.starts_with(&at_line), "{}", said.out);
}

#[test]
fn a_second_start_leaves_alone_what_runs() {
    let stage = Stage::set("second");
    stage.start();
    let pid = stage.process("Ball");
    let said = stage.start();
    assert!(said.err.contains(&format!("Ball already runs as process {pid}.")), "{}", said.err);
    assert_eq!(stage.process("Ball"), pid);
    let said = stage.herd(&["restart", "Ball"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert_ne!(stage.process("Ball"), pid);
}

#[test]
fn a_port_in_use_is_told_before_anything_starts() {
    let stage = Stage::set("port");
    let _taken = TcpListener::bind(("127.0.0.1", stage.ports[2])).unwrap();
    let said = stage.herd(&["start", "--topology", "topology.txt"]);
    assert_eq!(said.code, 1);
    let expected = format!("Welsh cannot listen at 127.0.0.1:{}: another program", stage.ports[2]);
    assert!(said.err.contains(&expected), "{}", said.err);
    assert!(!stage.run().join("Alford.pid").exists());
}

#[test]
fn a_stale_process_file_reaches_no_stranger() {
    let stage = Stage::set("stale");
    fs::create_dir_all(stage.run()).unwrap();
    // The number is this test's own, as if the system had given it out anew since.
    let note = format!("{} 1\n", std::process::id());
    fs::write(stage.run().join("Ball.pid"), note).unwrap();
    let said = stage.herd(&["stop"]);
    assert!(said.err.contains(&format!("process {} is gone", std::process::id())), "{}", said.err);
    assert_eq!(said.out, "Nothing runs that could be stopped.\n");
    fs::write(stage.run().join("Ball.pid"), "rubbish").unwrap();
    assert!(stage.start().err.contains("Ball.pid is left from earlier"));
}

#[test]
fn a_server_that_does_not_come_up_is_told_with_its_last_words() {
    let stage = Stage::set("upstream");
    let said = stage.herd(&["start", "--topology", "topology.txt", "--upstream", "nobody"]);
    assert_eq!(said.code, 1);
    assert!(said.err.contains("servers did not become ready"), "{}", said.err);
    // Which one is seen to end first is not settled.
    assert!(said.err.contains(".out:\n  herd: "), "{}", said.err);
    assert!(said.err.contains("nobody"), "{}", said.err);
}

#[test]
fn with_a_key_no_stand_in_is_started() {
    let stage = Stage::set("key");
    let mut command = stage.command(&["start", "--topology", "topology.txt", "Alford"]);
    let said: Said = command.env("PLACES_API_KEY", "secret-key").output().unwrap().into();
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(!stage.run().join("places.pid").exists());
    for file in fs::read_dir(stage.run().join("logs")).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        assert!(!text.contains("secret-key"), "{text}");
    }
    assert!(!fs::read_to_string(stage.run().join("options")).unwrap().contains("secret-key"));
}

#[test]
fn what_is_typed_wrong_is_named() {
    let stage = Stage::set("typed");
    let said = stage.herd(&["start", "--topology", "topology.txt", "Alfrod"]);
    assert!(said.err.contains("no server \"Alfrod\"; did you mean Alford?"), "{}", said.err);
    assert_eq!(said.code, 1);
    for (words, named) in [
        (&["start", "--frobnicate"][..], "--frobnicate"),
        (&["strat"][..], "\"strat\""),
        (&["kill"][..], "kill wants one NAME"),
        (&["say", "Alford"][..], "say wants NAME and 'LINE'"),
        (&[][..], "which command?"),
    ] {
        let said = stage.herd(words);
        assert!(said.code == 2 && said.err.contains(named), "{words:?}: {}", said.err);
    }
}

#[test]
fn the_demo_gets_the_answers_it_should() {
    let stage = Stage::set("demo");
    let said = stage.herd(&["demo"]);
    assert_eq!(said.code, 0, "{}\n{}", said.out, said.err);
    assert!(said.out.contains("\n> IAMAT kiwi.cs.ucla.edu "), "{}", said.out);
    assert!(said.out.contains("\n< AT Alford +"), "{}", said.out);
    let left: Vec<_> = fs::read_dir(stage.run()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["logs"]);
}

#[test]
fn a_machine_without_cargo_is_told_what_to_do() {
    let stage = Stage::set("cargo");
    let tools = stage.folder.join("tools");
    fs::create_dir_all(&tools).unwrap();
    for tool in ["dirname", "sh"] {
        let found = ["/bin", "/usr/bin"].map(|folder| Path::new(folder).join(tool));
        symlink(found.iter().find(|path| path.exists()).unwrap(), tools.join(tool)).unwrap();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/herd");
    let mut command = Command::new("sh");
    command.arg(script).arg("start").env("PATH", &tools).env("CARGO_HOME", &tools);
    command.env("CARGO_TARGET_DIR", stage.folder.join("nothing-built"));
    let said: Said = command.output().unwrap().into();
    assert_eq!(said.code, 1);
    assert!(said.err.contains("cargo was not found"), "{}", said.err);
    assert!(said.err.contains("Install Rust"), "{}", said.err);
}
