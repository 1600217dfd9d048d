//! Clocks that are wrong and names that are taken twice, as a neighbour meets them: the test plays it by
//! hand.

use std::net::TcpListener;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::support::{Client, Herd, PAIR, eventually};

const DAY: u64 = 86_400;

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Only Left runs.
fn left(arguments: &[&str]) -> Herd {
    let mut herd = Herd::new(PAIR);
    herd.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
    herd.start_one("Left");
    herd
}

/// Right says HELLO, and gives the connection with the RESUME that it got.
fn introduce(herd: &Herd, identity: &str, fields: &str) -> (Client, String) {
    let mut right = herd.connect("Left");
    let hello = right.ask(&format!("HELLO 1 Right {identity}{fields}"));
    assert!(hello.starts_with("HELLO 1 Left "), "{hello}");
    let resume = right.text_line();
    (right, resume)
}

const FIRST: &str = "00000000000000aa";
const SECOND: &str = "00000000000000bb";

fn lines_with<'l>(log: &'l str, level: &str, words: &str) -> Vec<&'l str> {
    log.lines().filter(|line| line.contains(level) && line.contains(words)).collect()
}

/// The log, once it has so many lines with these words.
fn log_with(herd: &Herd, count: usize, words: &str) -> String {
    eventually(&format!("{count} lines with {words:?}"), || {
        let log = herd.log("Left");
        (lines_with(&log, "", words).len() == count).then_some(log)
    })
}

#[test]
fn a_hello_tells_the_clock_and_one_that_differs_is_warned_of_and_in_the_status() {
    let herd = left(&[]);
    let mut right = herd.connect("Left");
    let hello = right.ask(&format!("HELLO 1 Right {FIRST} clock={}", now() + 3_600));
    let clock = hello.split(" clock=").nth(1).unwrap().parse::<f64>().unwrap();
    assert!(
        (clock - SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()).abs() < 60.0
    );
    herd.wait_for_log("Left", "WARN  the clock of Right is 60 minutes ahead of this server's");
    let status = herd.status("Left");
    let ahead = status["links"][0]["clock_ahead_s"].as_f64().unwrap();
    assert!((3_500.0..3_700.0).contains(&ahead), "{ahead}");
    assert_eq!(status["clock"]["state"], "doubted: neighbours disagree");
    // Right's clock is set right, and it says so.
    let (_right, _) = introduce(&herd, FIRST, &format!(" clock={}", now()));
    herd.wait_for_log("Left", "WARN  the clock of Right agrees with this server's again");
    eventually("the clock is confirmed", || {
        (herd.status("Left")["clock"]["state"] == "ok").then_some(())
    });
}

#[test]
fn a_record_from_ahead_of_the_clock_ends_the_link_before_it_and_is_warned_of_seldom() {
    let herd = left(&[]);
    for attempt in 0..3 {
        let (mut right, resume) = introduce(&herd, FIRST, "");
        let mark = if attempt == 0 { "0000000000000000 0".into() } else { format!("{FIRST} 1") };
        assert_eq!(resume, format!("RESUME {mark}"));
        // From as far ahead as may be, and further by its client's clock.
        let time = now() + 2 * DAY - 60;
        right.send(format!("AT Right -{DAY}.000000000 good{attempt} +1-1 {time}\nMARK 1\n"));
        let ahead = now() + DAY + 60;
        right.send(format!("AT Right +0.000000000 bad +1-1 {ahead}\nMARK 2\n"));
        right.until_cut();
        assert!(herd.knows("Left", &format!("good{attempt}")) && !herd.knows("Left", "bad"));
    }
    let words = "further ahead of this server's clock than allowed; one of the clocks is wrong";
    let log = log_with(&herd, 3, words);
    assert_eq!(lines_with(&log, "WARN", words).len(), 1, "{log}");
}

/// By its own two times: all servers decide alike, and marks count it.
#[test]
fn a_record_from_ahead_of_its_own_server_is_not_kept_and_the_link_goes_on() {
    let herd = left(&[]);
    let (mut right, _) = introduce(&herd, FIRST, "");
    let time = now();
    right.send(format!("AT Right -{DAY}.000000001 bad +1-1 {}\n", time + DAY));
    right.send(format!("AT Right +0.000000000 good +1-1 {time}\nMARK 2\n"));
    herd.wait_until_known("Left", "good");
    assert!(!herd.knows("Left", "bad"));
    drop(right);
    let (_right, resume) = introduce(&herd, FIRST, "");
    assert_eq!(resume, format!("RESUME {FIRST} 2"));
}

#[test]
fn with_any_time_allowed_a_server_may_be_a_day_ahead() {
    let herd = left(&["--max-ahead", "0"]);
    let (mut right, _) = introduce(&herd, FIRST, "");
    right.send(format!("AT Right -99999999999.000000000 far +1-1 {}\n", now() + 99_999_999_999));
    herd.wait_until_known("Left", "far");
    right.send(format!("AT Right +0.000000000 bad +1-1 {}\n", now() + DAY + 60));
    right.until_cut();
}

#[test]
fn of_two_processes_with_one_name_the_first_stays_and_both_are_named() {
    let herd = left(&[]);
    let (mut first, _) = introduce(&herd, FIRST, "");
    let hello = format!("HELLO 1 Right {SECOND}");
    for _ in 0..5 {
        assert_eq!(herd.connect("Left").ask(&hello), format!("? {hello}"));
    }
    let log = log_with(&herd, 5, "two processes call themselves Right");
    let warnings = lines_with(&log, "WARN", "two processes call themselves Right");
    assert_eq!(warnings.len(), 1, "{log}");
    for words in [&format!("(start {FIRST}), which stays"), &format!("(start {SECOND}), which is")]
    {
        assert!(warnings[0].contains(words.as_str()), "{}", warnings[0]);
    }
    assert_eq!(warnings[0].matches("127.0.0.1:").count(), 3, "{}", warnings[0]);
    // The first is still linked.
    first.send("MARK 7\n");
    let heartbeat = std::iter::repeat_with(|| first.text_line()).find(|line| line != "HERE 0");
    assert_eq!(heartbeat.as_deref(), Some("HERE 7"));
    // It ends, as at a restart: the other is let in at once.
    drop(first);
    eventually("the second is let in", || {
        herd.connect("Left").ask(&hello).starts_with("HELLO 1 Left ").then_some(())
    });
}

/// A machine that lost its power says no farewell: its next start must not wait for the end of the link.
#[test]
fn the_next_start_of_a_neighbour_that_fell_silent_is_let_in_before_its_link_is_lost() {
    let herd = left(&[]);
    let (_silent, _) = introduce(&herd, FIRST, "");
    let hello = format!("HELLO 1 Right {SECOND}");
    eventually("the second start is let in", || {
        herd.connect("Left").ask(&hello).starts_with("HELLO 1 Left ").then_some(())
    });
    assert!(!herd.log("Left").contains("not a word from it for too long"));
}

#[test]
fn a_neighbour_that_ends_each_link_at_once_is_dialled_less_and_less_often() {
    let mut herd = Herd::new(PAIR);
    let right = TcpListener::bind(("127.0.0.1", herd.port("Right"))).unwrap();
    herd.start_one("Left");
    let mut began = SystemTime::now();
    let mut delays = Vec::new();
    for _ in 0..10 {
        let mut link = Client::over(right.accept().unwrap().0);
        delays.push(began.elapsed().unwrap());
        assert!(link.text_line().starts_with("HELLO 1 Left "));
        link.send("HELLO 1 Right 00000000000000aa\nRESUME 0000000000000000 0\n");
        drop(link);
        began = SystemTime::now();
    }
    let total: Duration = delays.iter().skip(1).sum();
    // With a delay of 100 to 200 ms each it would be 1.4 s; with 100 ms to 2 s it is about 8.
    assert!(total > Duration::from_secs(3), "{delays:?}");
    let log = log_with(&herd, 10, "link to Right is down");
    assert_eq!(lines_with(&log, "WARN", "link to Right is down").len(), 1, "{log}");
}
