//! The log: what is in it, what cannot be forged in it, and what becomes of the service when it cannot
//! be written.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use super::journal_faults::SmallDisk;
use super::support::{
    ALONE, Client, DEADLINE, HERD, Herd, PAIR, Process, control, eventually, herd as run_herd,
};

const KIWI: &str = "IAMAT kiwi.cs.ucla.edu +34.068930-118.445127 1479413884.392014450";

/// A log line's level and message; its time has to be UTC to the microsecond.
fn parts(line: &str) -> (&str, &str) {
    let (time, rest) = line.split_once(' ').unwrap_or_default();
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000000Z", "{line:?}");
    let (level, message) = rest.split_at_checked(6).unwrap_or_else(|| panic!("{line:?}"));
    assert!(["ERROR ", "WARN  ", "INFO  ", "DEBUG "].contains(&level), "{line:?}");
    (level.trim_end(), message)
}

/// The messages of a log from `first` to `last`, both included.
fn messages<'a>(log: &'a str, first: &str, last: &str) -> Vec<&'a str> {
    assert!(log.ends_with('\n'), "{log:?}");
    let all: Vec<_> = log.lines().map(|line| parts(line).1).collect();
    let place = |text: &str| all.iter().position(|message| message.starts_with(text));
    let (Some(start), Some(end)) = (place(first), place(last)) else {
        panic!("from {first:?} to {last:?}: {log}")
    };
    all[start..=end].to_vec()
}

/// What one conversation, sent at once, leaves in the log of a server that stops after it.
fn logged(said: &[u8]) -> (String, Vec<String>) {
    let mut herd = Herd::start(ALONE);
    let mut client = herd.connect("Solo");
    let me = client.stream.local_addr().unwrap().to_string();
    client.send(said);
    client.finish();
    let mut replies = Vec::new();
    client.stream.read_to_end(&mut replies).unwrap();
    herd.stop("Solo");
    let log = fs::read(herd.folder.path("logs/Solo.log")).unwrap();
    // One line an event and nothing else: printable ASCII, whatever was said.
    assert!(log.iter().all(|byte| (b' '..=b'~').contains(byte) || *byte == b'\n'), "{log:?}");
    let log = String::from_utf8(log).unwrap();
    let end = format!("{me} disconnected");
    let lines = messages(&log, &format!("{me} connected"), &end).into_iter();
    let strip = |line: &str| line.strip_prefix(&me).unwrap_or(line).trim_start().to_owned();
    (log.clone(), lines.map(strip).collect())
}

#[test]
fn every_line_in_and_out_is_logged_with_who_and_which_way() {
    let (log, lines) =
        logged(format!("{KIWI}\r\nWHATSAT nobody 1 1\n\n hello  \nIAMAT").as_bytes());
    let at_line = lines[2].strip_prefix("< ").unwrap();
    assert!(at_line.starts_with("AT Solo +") && at_line.ends_with(&KIWI[5..]), "{at_line}");
    let expected = [
        "connected",
        &format!("> {KIWI}"),
        &format!("< {at_line}"),
        "> WHATSAT nobody 1 1",
        "< ? WHATSAT nobody 1 1",
        "> ",
        "< ? ",
        ">  hello  ",
        "< ?  hello  ",
        "> IAMAT",
        "< ? IAMAT",
        "disconnected: closed in order",
    ];
    assert_eq!(lines, expected.map(|line| line.trim_start().to_owned()));
    let first = parts(log.lines().next().unwrap()).1;
    assert!(first.starts_with("Solo starts on 127.0.0.1:"), "{first}");
    assert!(first.contains(" with 0 neighbours; places: google at 127.0.0.1:"), "{first}");
    let all = messages(&log, "Solo starts", "Solo has stopped");
    assert_eq!(all[all.len() - 2], "stopping: Terminate received");
}

#[test]
fn nobody_can_forge_a_line() {
    let forged = "2026-01-01T00:00:00.000000Z INFO  Solo has stopped";
    for (separator, shown) in [
        ("\r", "\\r"),
        ("\x0b", "\\u{b}"),
        ("\x0c", "\\u{c}"),
        ("\0", "\\u{0}"),
        ("\x1b[2K\x1b[1A", "\\u{1b}[2K\\u{1b}[1A"),
        ("\x7f\x08", "\\u{7f}\\u{8}"),
        ("\u{85}", "\\u{85}"),
        ("\u{2028}\u{2029}", "\\u{2028}\\u{2029}"),
        ("\u{202e}\u{61c}\u{2066}", "\\u{202e}\\u{61c}\\u{2066}"),
        ("\\n", "\\\\n"),
    ] {
        let (log, lines) = logged(format!("kiwi{separator}{forged}\n").as_bytes());
        assert_eq!(lines[1], format!("> kiwi{shown}{forged}"));
        assert_eq!(lines[2], format!("< ? kiwi{shown}{forged}"));
        assert_eq!(log.lines().filter(|line| line.ends_with("INFO  Solo has stopped")).count(), 3);
        assert_eq!(log.lines().filter(|line| parts(line).1 == "Solo has stopped").count(), 1);
    }
    let (_, lines) = logged(b"\x80kiwi\xfe\xc3(\xed\xa0\x80\n");
    assert_eq!(lines[1], "> \\x80kiwi\\xfe\\xc3(\\xed\\xa0\\x80");
    // A name in a HELLO, and the start of a line that is too long, come from strangers too.
    let name = "\u{202e}\x1b[2J";
    let (_, lines) = logged(format!("HELLO 1 {name} 00000000000000aa\n").as_bytes());
    let refused = "is not let in as a neighbour: \"\\u{202e}\\u{1b}[2J\" is no neighbour of Solo";
    assert_eq!(lines[2], refused);
    let (_, lines) = logged(format!("\x1b[2J{}", "x".repeat(17_000)).as_bytes());
    assert_eq!(
        lines[1],
        format!("is closed: its line is too long; it began \\u{{1b}}[2J{}", "x".repeat(60))
    );
}

#[test]
fn long_lines_are_cut_with_their_length() {
    let (_, lines) = logged(format!("{}\n{}\n", "x".repeat(16_384), "y".repeat(512)).as_bytes());
    assert_eq!(lines[1], format!("> {}... (16384 bytes)", "x".repeat(512)));
    assert_eq!(lines[2], format!("< ? {}... (16386 bytes)", "x".repeat(510)));
    assert_eq!(lines[3], format!("> {}", "y".repeat(512)));
}

#[test]
fn links_are_logged_from_both_sides() {
    let mut herd = Herd::new(PAIR);
    herd.start_one("Left");
    herd.wait_for_log("Left", "Right cannot be reached: cannot connect to 127.0.0.1:");
    let record = herd.say("Left", KIWI);
    herd.start_one("Right");
    herd.wait_until_linked("Left");
    herd.wait_until_known("Right", "kiwi.cs.ucla.edu");
    herd.stop("Right");
    herd.wait_for_log("Left", "link from Right is down: ");
    herd.wait_for_log("Left", "link to Right is down: ");
    herd.stop("Left");
    let record = record.trim_end();
    for (name, expected) in [
        (
            "Left",
            vec![
                "WARN  link to Right is down: closed in order; dialling again in ",
                "INFO  link from Right is down: closed in order; it brought 0 news",
                "INFO  Right < HELLO 1 Left ",
                "INFO  Right > HELLO 1 Right ",
                "INFO  Right > RESUME 0000000000000000 0",
                "INFO  link to Right is up, resuming: it starts from nothing, 1 to look at",
                &format!("INFO  Right < {record}"),
                "INFO  Right has caught up: 1 records were sent",
            ],
        ),
        (
            "Right",
            vec![
                " > HELLO 1 Left ",
                "INFO  link from Left is up",
                "INFO  Left < HELLO 1 Right ",
                "INFO  Left < RESUME 0000000000000000 0",
                &format!("INFO  Left > {record}"),
                "INFO  link from Left is down: closed in order; it brought 1 news",
                "INFO  link to Left is down: closed in order",
            ],
        ),
    ] {
        let log = herd.log(name);
        for text in expected {
            assert!(log.contains(text), "{name}'s log lacks {text:?}:\n{log}");
        }
        assert!(!log.contains(" MARK ") && !log.contains(" HERE "), "heartbeats are for debugging");
    }
}

#[test]
fn the_level_says_how_much_is_logged() {
    let heartbeat = "DEBUG Right > HERE ";
    for (level, has, lacks) in [
        ("debug", vec![heartbeat, "DEBUG Right < MARK ", "INFO  Left starts"], "TRACE "),
        ("info", vec!["INFO  Left starts", "WARN  places: no key is given"], "DEBUG "),
        ("warn", vec!["WARN  places: no key is given"], "INFO "),
        ("off", vec![], "Z "),
    ] {
        let mut herd = Herd::start_with(PAIR, &["--log-level", level]);
        for text in has {
            herd.wait_for_log("Left", text);
        }
        herd.say("Left", KIWI);
        herd.stop("Left");
        assert!(!herd.log("Left").contains(lacks), "{level}: {}", herd.log("Left"));
    }
}

#[test]
fn a_connection_that_breaks_says_why() {
    let herd = Herd::start(ALONE);
    let mut client = herd.connect("Solo");
    let me = client.stream.local_addr().unwrap();
    client.send("hello\n");
    // What has come and is not read makes the system reset the connection.
    client.stream.peek(&mut [0]).unwrap();
    drop(client);
    herd.wait_for_log("Solo", &format!("{me} disconnected: "));
    let log = herd.log("Solo");
    assert!(log.to_lowercase().contains("connection reset"), "{log}");
}

#[test]
fn sighup_opens_the_file_anew_and_no_line_is_lost() {
    let mut herd = Herd::start(ALONE);
    let folder = herd.folder.path("logs");
    let (file, old) = (folder.join("Solo.log"), folder.join("Solo.log.1"));
    herd.say("Solo", "before");
    herd.wait_for_log("Solo", "> before");
    fs::rename(&file, &old).unwrap();
    herd.say("Solo", "meanwhile");
    herd.process("Solo").signal("-HUP");
    herd.wait_for_log("Solo", "the log is opened anew, as SIGHUP asks");
    herd.process("Solo").signal("-USR1");
    herd.wait_for_log("Solo", "the log is opened anew, as SIGUSR1 asks");
    herd.say("Solo", "after");
    herd.wait_for_log("Solo", "> after");
    let (old, new) = (fs::read_to_string(old).unwrap(), herd.log("Solo"));
    assert!(old.contains("> before") && !old.contains("> after"), "{old}");
    assert_eq!((old + &new).matches("> meanwhile").count(), 1);

    // Its folder is gone: the old file serves on, and it is tried again until it can be done.
    let moved = herd.folder.path("moved");
    fs::rename(&folder, &moved).unwrap();
    herd.process("Solo").signal("-HUP");
    let trouble = |herd: &Herd| herd.status("Solo")["log_trouble"].clone();
    eventually("the trouble is told", || {
        let trouble = trouble(&herd);
        trouble.as_str()?.starts_with("cannot open the log ").then_some(())
    });
    herd.say("Solo", "in between");
    eventually("the old file has it", || {
        fs::read_to_string(moved.join("Solo.log")).ok()?.contains("> in between").then_some(())
    });
    assert!(!trouble(&herd).is_null());
    fs::create_dir(&folder).unwrap();
    herd.say("Solo", "at last");
    herd.wait_for_log("Solo", "> at last");
    eventually("the trouble is over", || trouble(&herd).is_null().then_some(()));
    herd.stop("Solo");
    herd.start_one("Solo");
    let log = herd.log("Solo");
    assert!(
        log.contains("> at last") && log.contains("Solo has stopped"),
        "a start appends: {log}"
    );
}

#[test]
fn the_log_is_written_in_batches() {
    let mut herd = Herd::start(ALONE);
    let counts = format!("/proc/{}/io", herd.process("Solo").child.id());
    // Calls of write(2) and its like: the log's, and the wake-ups of the loop; replies are sent.
    let writes = || {
        let counts = fs::read_to_string(&counts).ok()?;
        counts.lines().find_map(|line| line.strip_prefix("syscw: ")?.parse::<u64>().ok())
    };
    let Some(before) = writes() else {
        return eprintln!("the system does not count the program's writes: skipped");
    };
    let mut client = herd.connect("Solo");
    for round in 0..20 {
        let said: Vec<_> = (0..100).map(|n| format!("IAMAT {round}-{n} +1-1 5\n")).collect();
        client.send(said.concat());
        (0..100).for_each(|_| drop(client.line()));
    }
    herd.wait_for_log("Solo", "> IAMAT 19-99 ");
    let lines = herd.log("Solo").lines().count() as u64;
    let calls = writes().unwrap() - before;
    assert!(lines > 4_000 && calls < lines / 20, "{calls} calls for {lines} lines");
}

#[test]
fn a_full_disk_stops_no_service_and_is_told() {
    let mut herd = Herd::new(ALONE);
    let folder = herd.folder.path("logs");
    let file = folder.join("Solo.log");
    fs::create_dir(&folder).unwrap();
    if symlink("/dev/full", &file).is_err() || !file.exists() {
        return eprintln!("no /dev/full here: skipped");
    }
    herd.start_one("Solo");
    let trouble = |herd: &Herd| herd.status("Solo")["log_trouble"].clone();
    eventually("the trouble is told", || {
        let trouble = trouble(&herd);
        trouble.as_str()?.starts_with("the log cannot be written: No space left").then_some(())
    });
    for _ in 0..10 {
        assert!(herd.say("Solo", KIWI).starts_with("AT Solo "));
    }
    fs::remove_file(&file).unwrap();
    herd.process("Solo").signal("-HUP");
    herd.wait_for_log("Solo", " lines are missing here: the log was too slow or full\n");
    eventually("the trouble is over", || trouble(&herd).is_null().then_some(()));
    herd.stop("Solo");
}

/// Standard error is a pipe that nobody reads. Names are looked up meanwhile, which must not wait for it.
#[test]
fn a_log_that_nobody_reads_blocks_nothing() {
    let mut herd = Herd::new(PAIR);
    let topology = fs::read_to_string(herd.folder.path("topology.txt")).unwrap();
    herd.folder.write("topology.txt", topology.replace("127.0.0.1", "localhost"));
    herd.start_one("Right");
    let socket = herd.folder.path("left");
    let mut command = Command::new("sh");
    let words = r#"exec "$0" serve Left --topology "$1" --control "$2" 2>&1"#;
    command.args(["-c", words, HERD]).args([&herd.folder.path("topology.txt"), &socket]);
    let mut left = Process::spawn("Left", command.stdout(Stdio::piped()), &herd.folder);
    let status =
        || -> Option<serde_json::Value> { serde_json::from_str(&control(&socket, "STATUS")?).ok() };
    eventually("Left answers", status);

    // Twenty-four megabytes of log, more than may wait.
    let address = eventually("Left listens", || {
        let addresses = ["127.0.0.1", "::1"].map(|ip| (ip, herd.port("Left")));
        addresses.into_iter().find_map(|address| std::net::TcpStream::connect(address).ok())
    });
    let mut client = Client::over(address);
    for round in 0..250 {
        let id = "x".repeat(400);
        let said: Vec<_> = (0..100).map(|n| format!("IAMAT {id}-{n} +1-1 {round}\n")).collect();
        client.send(said.concat());
        (0..100).for_each(|_| drop(client.line()));
    }
    herd.kill("Right");
    let link = || status().map(|status| status["links"][0].clone());
    eventually("the link is down", || (link()?["state"] != "up").then_some(()));
    herd.start_one("Right");
    eventually("the link is up again", || (link()?["state"] == "up").then_some(()));
    eventually("Right has caught up", || (herd.status("Right")["records"] == 100).then_some(()));

    // Now somebody reads: what is lost is said.
    let lines = lines_of(left.child.stdout.take().unwrap());
    let next = || lines.recv_timeout(DEADLINE).expect("the log goes on");
    while !next().ends_with(" lines are missing here: the log was too slow or full") {}
    drop(client);
    left.signal("-TERM");
    while parts(&next()).1 != "Left has stopped" {}
    assert_eq!(left.exit_code(), Some(0));
}

/// The lines of a pipe, as they come.
fn lines_of(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines() {
            let Ok(()) = sender.send(line.unwrap()) else { return };
        }
    });
    receiver
}

#[test]
fn a_log_that_cannot_be_one_is_refused_at_the_start_and_retried_while_it_runs() {
    let mut herd = Herd::new(ALONE);
    let folder = herd.folder.path("logs");
    let file = folder.join("Solo.log");
    fs::create_dir(&folder).unwrap();
    let make_fifo = || assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
    let (topology, logs) = (herd.folder.path("topology.txt"), folder.display().to_string());
    let topology = topology.display().to_string();
    let start = ["serve", "Solo", "--topology", &topology, "--log-dir", &logs];
    let listener = || drop(std::os::unix::net::UnixListener::bind(&file).unwrap());
    let make: [(&str, &dyn Fn()); 3] = [
        ("a FIFO", &make_fifo),
        ("a socket", &listener),
        ("a folder", &|| fs::create_dir(&file).unwrap()),
    ];
    for (what, make) in make {
        make();
        let output = run_herd(&start);
        let error = String::from_utf8(output.stderr).unwrap();
        let expected = format!("herd: cannot open the log {}: it is {what}, ", file.display());
        assert!(output.status.code() == Some(1) && error.starts_with(&expected), "{error}");
        let _ = fs::remove_dir(&file);
        let _ = fs::remove_file(&file);
    }

    herd.start_one("Solo");
    let trouble = |herd: &Herd| herd.status("Solo")["log_trouble"].clone();
    fs::rename(&file, folder.join("moved")).unwrap();
    make_fifo();
    herd.process("Solo").signal("-HUP");
    eventually("the trouble is told", || {
        trouble(&herd).as_str()?.contains("it is a FIFO").then_some(())
    });
    assert!(herd.say("Solo", KIWI).starts_with("AT Solo "));
    eventually("the old file has the trouble and what came after it", || {
        let text = fs::read_to_string(folder.join("moved")).ok()?;
        (text.contains(" WARN  cannot open the log ") && text.contains("< AT Solo ")).then_some(())
    });
    // Nobody asks again, and nothing is logged meanwhile.
    fs::remove_file(&file).unwrap();
    eventually("the trouble is over", || trouble(&herd).is_null().then_some(()));
    herd.say("Solo", "after");
    herd.wait_for_log("Solo", "> after");
}

#[test]
fn a_log_that_is_deleted_while_nothing_happens_is_missed_and_made_anew() {
    let herd = Herd::start(ALONE);
    let file = herd.folder.path("logs/Solo.log");
    for _ in 0..2 {
        herd.say("Solo", "before");
        herd.wait_for_log("Solo", "> before");
        fs::remove_file(&file).unwrap();
        herd.wait_for_log("Solo", "WARN  the log was deleted or moved away; this is a new one\n");
    }
    herd.say("Solo", "after");
    herd.wait_for_log("Solo", "> after");
}

#[test]
fn log_files_are_their_owners_alone_unless_another_mode_is_asked_for() {
    for (arguments, expected) in [(vec![], 0o600), (vec!["--log-mode", "644"], 0o644)] {
        let herd = Herd::start_with(ALONE, &arguments);
        let found = fs::metadata(herd.folder.path("logs/Solo.log")).unwrap();
        assert_eq!(found.permissions().mode() & 0o7777, expected);
    }
    for word in ["8", "0", "0778", "4755", "77", "rw", "444"] {
        let output = run_herd(&["serve", "Solo", "--log-mode", word]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(&format!("--log-mode {word:?}: an octal mode")), "{error}");
    }
}

#[test]
fn a_flood_of_lines_takes_no_more_than_the_log_may_and_its_end_is_there() {
    let herd = Herd::start_with(ALONE, &["--log-max", "200000"]);
    let file = herd.folder.path("logs/Solo.log");
    let bytes = || {
        let length = |name: &std::path::Path| fs::metadata(name).map_or(0, |found| found.len());
        length(&file) + length(&file.with_extension("log.old"))
    };
    let mut client = herd.connect("Solo");
    for round in 0..100 {
        let said: Vec<_> = (0..100).map(|n| format!("IAMAT k{n} +1-1 {round}\n")).collect();
        client.send(said.concat());
        (0..100).for_each(|_| drop(client.line()));
        assert!(bytes() <= 200_000, "{}", bytes());
    }
    herd.wait_for_log("Solo", "> IAMAT k99 +1-1 99\n");
    assert!((100_000..=200_000).contains(&bytes()), "{}", bytes());
    for word in ["-1", "16383", "64MB", ""] {
        let output = run_herd(&["serve", "Solo", "--log-max", word]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(
            error.contains(&format!("--log-max {word:?}: a number of bytes from 16384")),
            "{error}"
        );
    }
}

/// How long the log has become, when a line that was sent last of all has been answered.
fn log_bytes(herd: &Herd) -> usize {
    herd.say("Solo", "last");
    herd.log("Solo").len()
}

#[test]
fn no_client_makes_the_log_longer_than_what_it_sends_at_warn() {
    // What every second may add, whatever it costs, over a generous number of seconds.
    const ALLOWANCE: usize = 8192 + 64 * 120;
    const LINES: usize = 200_000;
    let herd = Herd::start_with(ALONE, &["--log-level", "warn"]);
    let before = log_bytes(&herd);
    let mut client = herd.connect("Solo");
    for _ in 0..LINES / 1000 {
        client.send("AT\n".repeat(1000));
        (0..1000).for_each(|_| drop(client.line()));
    }
    let grown = log_bytes(&herd) - before;
    assert!(grown <= ALLOWANCE, "{grown} bytes for {LINES} lines on one connection");
    let me = client.stream.local_addr().unwrap();
    let first = format!("{me} speaks as neighbours do, and is none: AT\n");
    herd.wait_for_log("Solo", &first);
    herd.wait_for_log("Solo", " times in ");
    // All are accounted for.
    eventually("each warning is counted", || {
        let log = herd.log("Solo");
        let mine = log.lines().filter(|line| line.contains(&me.to_string()));
        let times = |line: &str| line.rsplit_once(" (")?.1.split(' ').next()?.parse().ok();
        let counted: usize = mine.map(|line| times(line).unwrap_or(1)).sum();
        (counted == LINES).then_some(())
    });

    // Each on a connection of its own, of several kinds.
    let before = log_bytes(&herd);
    let mut sent = 0;
    for number in 0..600 {
        let said = match number % 4 {
            0 => "AT\n".to_owned(),
            1 => format!("HELLO 1 Left{} 00000000000000aa\n", "\x01".repeat(30)),
            2 => "\x16\x03\x01".to_owned(),
            _ => "MARK 1\nGET / HTTP/1.1\n".to_owned(),
        };
        sent += said.len();
        let mut client = herd.connect("Solo");
        client.send(said);
        client.finish();
        client.until_cut();
    }
    let grown = log_bytes(&herd) - before;
    assert!(grown <= sent + ALLOWANCE, "{grown} bytes for {sent} on 600 connections");
    herd.wait_for_log("Solo", " more warnings about what others sent are left out");
}

#[test]
fn a_log_leaves_the_last_of_a_disk_to_the_journal() {
    const DISK_BYTES: u64 = 20 << 20;
    let mut herd = Herd::new(ALONE);
    let Some(disk) = SmallDisk::mount(&herd, DISK_BYTES) else { return };
    // What the disk has left, by the system's own word.
    let free = || {
        let disk = rustix::fs::statvfs(&disk.0).unwrap();
        disk.f_bavail * disk.f_frsize
    };
    let folder = disk.0.display().to_string();
    herd.arguments.extend(["--log-level", "info", "--journal", &folder].map(str::to_owned));
    std::os::unix::fs::symlink(&disk.0, herd.folder.path("logs")).unwrap();
    herd.start_all();
    let trouble = || herd.status("Solo")["log_trouble"].clone();
    let mut client = herd.connect("Solo");
    let line = format!("{}\n", "x".repeat(500));
    eventually("the log has no more room", || {
        client.send(line.repeat(1000));
        (0..1000).for_each(|_| drop(client.line()));
        trouble().as_str()?.contains("left to the journal").then_some(())
    });
    let reserve = DISK_BYTES / 20;
    assert!(free() >= reserve - 64 * 1024, "{} bytes are left of {reserve}", free());
    assert!(herd.say("Solo", KIWI).starts_with("AT Solo "));
    assert_eq!(herd.status("Solo")["journal"]["state"], "ok");
    // Room: what was dropped is counted.
    let file = disk.0.join("Solo.log");
    fs::remove_file(&file).unwrap();
    herd.wait_for_log("Solo", " lines are missing here: the log was too slow or full\n");
    eventually("the trouble is over", || trouble().is_null().then_some(()));
    herd.kill("Solo");
}
