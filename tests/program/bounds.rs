//! Past each bound that `herd serve` lets its owner set: what happens to whoever is past it, what the log
//! says, and that everybody else is served meanwhile.

use std::io::{ErrorKind, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::support::{ALONE, Client, HERD, Herd, PAIR, Process, eventually, herd};

const QUESTION: &str = "nonsense";
const ANSWER: &str = "? nonsense";

fn assert_serves(herd: &Herd) {
    assert_eq!(herd.connect("Solo").ask(QUESTION), ANSWER);
}

/// Whether this connection has been answered by now.
fn is_answered(client: &mut Client) -> bool {
    client.stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut byte = [0];
    match client.stream.peek(&mut byte) {
        Ok(length) => length > 0,
        Err(e) => {
            assert!(matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{e}");
            false
        }
    }
}

/// Sends commands without reading one answer, until the kernels on the way are full or the server has cut
/// the connection; the bytes that went.
fn flood(stream: &mut TcpStream) -> usize {
    let lines = format!("{}\n", "x".repeat(999)).repeat(100);
    stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut sent = 0;
    loop {
        match stream.write(&lines.as_bytes()[sent % lines.len()..]) {
            Ok(length) => sent += length,
            Err(_) => return sent,
        }
    }
}

/// Again and again, as a server that gets no CPU for a while looks like one that takes nothing more.
fn flood_until_told(herd: &Herd, client: &mut Client, words: &str) {
    eventually(words, || {
        flood(&mut client.stream);
        herd.log("Solo").contains(words).then_some(())
    });
}

/// The table grows in the middle of an `accept` otherwise, which then sleeps for as long as 50 ms.
#[cfg(target_os = "linux")]
#[test]
fn the_kernels_table_has_a_place_for_every_connection_before_the_first_one_comes() {
    let mut herd = Herd::start_with(ALONE, &["--max-connections", "5000"]);
    let pid = herd.process("Solo").child.id();
    let number = |file: &str, line: &str| -> usize {
        let path = format!("/proc/{pid}/{file}");
        let text = std::fs::read_to_string(path).unwrap();
        let words = text.lines().find_map(|found| found.strip_prefix(line)).unwrap();
        words.split_whitespace().next().unwrap().parse().unwrap()
    };
    let places = number("status", "FDSize:");
    assert!(places >= number("limits", "Max open files").min(5000), "{places}");
}

#[test]
fn more_connections_than_the_limit_wait_until_one_has_gone() {
    let herd = Herd::start_with(ALONE, &["--max-connections", "3"]);
    let mut clients: Vec<_> = (0..3).map(|_| herd.connect("Solo")).collect();
    for client in &mut clients {
        assert_eq!(client.ask(QUESTION), ANSWER);
    }
    let mut late = herd.connect("Solo");
    late.send(format!("{QUESTION}\n"));
    herd.wait_for_log("Solo", "accepting pauses: the limit of connections is reached");
    assert!(!is_answered(&mut late));
    assert_eq!(clients[0].ask(QUESTION), ANSWER);
    // Whoever looks after the server gets in.
    assert!(herd.status("Solo")["connections"].as_u64().unwrap() >= 3);
    clients.pop();
    eventually("the answer", || is_answered(&mut late).then_some(()));
    assert_eq!(late.text_line(), ANSWER);
}

#[test]
fn one_address_past_its_limit_is_turned_away_and_told_of_once() {
    let herd = Herd::start_with(ALONE, &["--max-connections-per-address", "2"]);
    let mut clients: Vec<_> = (0..2).map(|_| herd.connect("Solo")).collect();
    for client in &mut clients {
        assert_eq!(client.ask(QUESTION), ANSWER);
    }
    for _ in 0..20 {
        assert_eq!(herd.connect("Solo").until_cut(), "");
    }
    assert_eq!(clients[0].ask(QUESTION), ANSWER);
    herd.wait_for_log("Solo", "127.0.0.1 has 2 connections, as many as one address may");
    assert_eq!(herd.log("Solo").matches("as many as one address may").count(), 1);
    drop(clients);
    eventually("room", || {
        let mut client = herd.connect("Solo");
        client.send(format!("{QUESTION}\n"));
        client.stream.shutdown(Shutdown::Write).ok()?;
        (client.until_cut() == format!("{ANSWER}\n")).then_some(())
    });
}

#[test]
fn a_line_past_its_limit_is_answered_with_its_beginning_and_ends_the_connection() {
    let herd = Herd::start_with(ALONE, &["--max-line", "100"]);
    let mut client = herd.connect("Solo");
    let line = "x".repeat(100);
    assert_eq!(client.ask(&line), format!("? {line}"));
    client.send(format!("{line}y\n{QUESTION}\n"));
    let beginning = "x".repeat(64);
    assert_eq!(client.until_cut(), format!("? {beginning}...\n"));
    assert_serves(&herd);
}

#[test]
fn more_lines_than_a_turn_answers_cost_turns_and_lose_nothing() {
    const LINES: usize = 1000;
    let turns_with = |arguments: &[&str]| {
        let herd = Herd::start_with(ALONE, arguments);
        let mut client = herd.connect("Solo");
        client.send((0..LINES).map(|number| format!("{number}\n")).collect::<Vec<_>>().concat());
        for number in 0..LINES {
            assert_eq!(client.text_line(), format!("? {number}"));
        }
        herd.status("Solo")["turns"].as_u64().unwrap()
    };
    let turns = turns_with(&["--max-lines", "2"]);
    assert!(turns >= 500, "{turns} turns");
    let turns = turns_with(&[]);
    assert!(turns < 500, "{turns} turns");
}

#[test]
fn a_small_budget_of_input_costs_turns_and_changes_no_answer() {
    const LINES: usize = 100;
    let turns_with = |arguments: &[&str]| {
        let herd = Herd::start_with(ALONE, arguments);
        let line = "x".repeat(999);
        let mut client = herd.connect("Solo");
        client.send(format!("{line}\n").repeat(LINES));
        for _ in 0..LINES {
            assert_eq!(client.text_line(), format!("? {line}"));
        }
        herd.status("Solo")["turns"].as_u64().unwrap()
    };
    let turns = turns_with(&["--max-input", "512"]);
    assert!(turns >= 100_000 / 512, "{turns} turns");
    let turns = turns_with(&[]);
    assert!(turns < 100_000 / 512, "{turns} turns");
}

#[test]
fn a_client_that_does_not_read_is_not_read_and_has_lost_nothing_when_it_does() {
    // Were it read on, the bound for unread output would end it.
    let herd = Herd::start_with(ALONE, &["--max-output", "512", "--max-unread", "200000"]);
    let mut client = herd.connect("Solo");
    let sent = flood(&mut client.stream);
    assert_serves(&herd);
    let whole = sent / 1000;
    let answer = format!("? {}", "x".repeat(999));
    for _ in 0..whole - 1 {
        assert_eq!(client.text_line(), answer);
    }
}

#[test]
fn too_many_unread_bytes_end_the_connection() {
    let limits = ["--max-output", "10000000", "--max-unread", "100000"];
    let herd = Herd::start_with(ALONE, &limits);
    let mut client = herd.connect("Solo");
    flood_until_told(&herd, &mut client, "bytes of its replies lay unread");
    client.until_cut();
    assert_serves(&herd);
    let log = herd.log("Solo");
    let line = log.lines().find(|line| line.contains("lay unread")).unwrap();
    assert!(line.contains("WARN") && line.contains("127.0.0.1:"), "{line}");
}

#[test]
fn replies_that_lie_unread_for_too_long_end_the_connection() {
    let herd = Herd::start_with(ALONE, &["--unread-timeout", "0.2"]);
    let mut client = herd.connect("Solo");
    flood_until_told(&herd, &mut client, "closed: its replies lay unread for 0.2 s");
    client.until_cut();
    assert_serves(&herd);
}

#[test]
fn a_silent_client_is_closed_and_a_silent_link_is_not() {
    let herd = Herd::start_with(PAIR, &["--idle-timeout", "0.2"]);
    for _ in 0..3 {
        assert_eq!(herd.connect("Left").rest(), "");
    }
    herd.wait_for_log("Left", "closed: nothing was heard from it for 0.2 s");
    for name in ["Left", "Right"] {
        assert_eq!(herd.status(name)["links"][0]["state"], "up");
        let log = herd.log(name);
        assert!(!log.contains("is down") && !log.contains("is cut"), "{log}");
    }
}

#[test]
fn without_an_idle_timeout_silence_is_allowed() {
    let herd = Herd::start(ALONE);
    let mut client = herd.connect("Solo");
    assert_eq!(client.ask(QUESTION), ANSWER);
    assert!(!is_answered(&mut client));
    assert_eq!(client.ask(QUESTION), ANSWER);
}

/// The kernel's timer for the server's side of this connection, as `/proc/net/tcp` has it: "02" is
/// keep-alive, "00" none.
#[cfg(target_os = "linux")]
fn kernel_timer(herd: &Herd, client: &Client) -> String {
    let ours = format!(":{:04X}", herd.port("Solo"));
    let theirs = format!(":{:04X}", client.stream.local_addr().unwrap().port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let mut rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let row = rows.find(|row| row[1].ends_with(&ours) && row[2].ends_with(&theirs)).unwrap();
    row[5].split_once(':').unwrap().0.to_owned()
}

#[cfg(target_os = "linux")]
#[test]
fn the_kernel_looks_after_silent_connections_when_asked_to() {
    for (arguments, timer) in [(&[][..], "02"), (&["--keepalive", "0"][..], "00")] {
        let herd = Herd::start_with(ALONE, arguments);
        let mut client = herd.connect("Solo");
        assert_eq!(client.ask(QUESTION), ANSWER);
        // Until the answer is acknowledged the timer is that of its sending.
        eventually("the timer", || (kernel_timer(&herd, &client) == timer).then_some(()));
    }
}

#[test]
fn a_tls_handshake_that_takes_too_long_ends_the_connection() {
    let mut herd = Herd::new(ALONE).with_keys();
    herd.arguments.extend(["--handshake-timeout", "0.2"].map(str::to_owned));
    herd.start_one("Solo");
    let mut client = herd.connect("Solo");
    client.send([22, 3]);
    assert_eq!(client.until_cut(), "");
    herd.wait_for_log("Solo", "TLS was not agreed in time");
    assert_serves(&herd);
}

/// Starts the one server after the shell has lowered its limit of descriptors.
fn start_with_ulimit(herd: &mut Herd, ulimit: &str, arguments: &[&str]) {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("ulimit {ulimit}; exec \"$0\" \"$@\""), HERD, "serve", "Solo"])
        .arg("--topology")
        .arg(herd.folder.path("topology.txt"))
        .arg("--log-dir")
        .arg(herd.folder.path("logs"))
        .arg("--control")
        .arg(herd.folder.path("Solo.sock"))
        .args(arguments)
        .stdout(Stdio::null());
    herd.servers[0].2 = Some(Process::spawn("Solo", &mut command, &herd.folder));
    eventually("Solo answers STATUS", || herd.try_status("Solo"));
}

#[test]
fn with_few_descriptors_accepting_pauses_in_time_and_the_rest_goes_on() {
    const CLIENTS: usize = 64;
    let mut herd = Herd::new(ALONE);
    let journal = herd.folder.path("journal");
    start_with_ulimit(&mut herd, "-n 64", &["--journal", journal.to_str().unwrap()]);
    herd.wait_for_log("Solo", "connections and not for --max-connections 100000");
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| herd.connect("Solo")).collect();
    for client in &mut clients {
        client.send(format!("{QUESTION}\n"));
    }
    herd.wait_for_log("Solo", "accepting pauses: the limit of connections is reached");
    let accepted: usize = clients.iter_mut().map(|client| usize::from(is_answered(client))).sum();
    assert!((5..CLIENTS - 10).contains(&accepted), "{accepted} of {CLIENTS}");
    // Never out of them: the log can be opened anew, the control socket answers, clients are served.
    let log = herd.folder.path("logs").join("Solo.log");
    std::fs::rename(&log, herd.folder.path("old.log")).unwrap();
    herd.process("Solo").signal("-HUP");
    eventually("the new log", || log.exists().then_some(()));
    assert!(herd.status("Solo")["log_trouble"].is_null(), "{}", herd.status("Solo"));
    assert_eq!(clients[0].text_line(), ANSWER);
    assert!(clients[0].ask("IAMAT kiwi +1-1 1").starts_with("AT Solo "));
    let old = std::fs::read_to_string(herd.folder.path("old.log")).unwrap();
    assert!(!old.contains("os error 24"), "{old}");
    // By itself, when the first ones have gone, those who waited are served.
    let waiting = clients.split_off(CLIENTS - 5);
    drop(clients);
    for mut client in waiting {
        eventually("its turn", || is_answered(&mut client).then_some(()));
    }
}

#[test]
fn the_soft_limit_of_descriptors_is_no_limit() {
    let mut herd = Herd::new(ALONE);
    start_with_ulimit(&mut herd, "-S -n 64", &["--max-connections", "500"]);
    let mut clients: Vec<_> = (0..200).map(|_| herd.connect("Solo")).collect();
    for client in &mut clients {
        assert_eq!(client.ask(QUESTION), ANSWER);
    }
    assert!(!herd.log("Solo").contains("there is room for"));
}

#[test]
fn a_file_that_may_not_grow_is_the_journals_trouble_and_nobody_elses() {
    let mut herd = Herd::new(ALONE);
    let journal = herd.folder.path("journal");
    let arguments = ["--journal", journal.to_str().unwrap(), "--log-level", "off"];
    // In blocks of 512 bytes, or of 1,024 in some shells.
    start_with_ulimit(&mut herd, "-f 4", &arguments);
    let mut client = herd.connect("Solo");
    for number in 0..100 {
        let reply = client.ask(&format!("IAMAT client{number} +1-1 1"));
        assert!(reply.starts_with("AT Solo "), "{reply}");
    }
    eventually("the journal's trouble", || {
        let status = herd.status("Solo");
        status["journal"].to_string().to_lowercase().contains("too large").then_some(())
    });
    assert_eq!(herd.status("Solo")["records"], 100);
}

#[test]
fn values_that_make_no_sense_are_refused_with_what_would() {
    for (flag, word, needed) in [
        ("--max-connections", "0", "a whole number from 1 on is needed"),
        ("--max-connections-per-address", "-1", "a whole number from 0 on is needed"),
        ("--max-line", "16385", "a whole number from 1 to 16384 is needed"),
        ("--max-line", "0", "a whole number from 1 to 16384 is needed"),
        ("--max-input", "100", "a whole number from 512 to 67108864 is needed"),
        ("--max-output", "1e6", "a whole number from 512 to 67108864 is needed"),
        ("--max-unread", "much", "a whole number from 0 on is needed"),
        ("--unread-timeout", "-1", "a number of seconds from 0 (off) to 31536000 is needed"),
        ("--idle-timeout", "NaN", "a number of seconds from 0 (off) to 31536000 is needed"),
        ("--keepalive", "40000", "a number of seconds from 0 (off) to 32767 is needed"),
        ("--handshake-timeout", "0", "a number of seconds above 0 and up to 31536000 is needed"),
        ("--max-lines", "0", "a whole number from 1 on is needed"),
        ("--max-waiting", "x", "a whole number from 0 on is needed"),
        ("--max-waiting-in-all", "1.5", "a whole number from 0 on is needed"),
        ("--max-held-in-all", "64M", "a whole number from 0 on is needed"),
    ] {
        let said = herd(&["serve", "Solo", flag, word]);
        let text = String::from_utf8(said.stderr).unwrap();
        assert_eq!(text, format!("herd: {flag} {word:?}: {needed}\n"));
        assert_eq!(said.status.code(), Some(2));
    }
}
