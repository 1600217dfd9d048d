//! Servers that are full: who is forgotten, what clients and neighbours are answered, and what is logged.

use std::fmt::Write as _;
use std::fs;

use super::journal::{journal, keeping, report};
use super::support::{ALONE, Client, Herd, PAIR, eventually, herd};

/// Sends reports of clients `k0`, `k1`, … in one go, and gives how many were answered AT.
fn crowd(client: &mut Client, clients: std::ops::Range<usize>) -> usize {
    let mut lines = String::new();
    for number in clients.clone() {
        let _ = writeln!(lines, "IAMAT k{number} +1-1 7");
    }
    client.send(lines);
    clients.filter(|_| client.text_line().starts_with("AT ")).count()
}

fn wait_for_records(herd: &Herd, name: &str, records: u64) {
    eventually(&format!("{name} holds {records} records"), || {
        (herd.status(name)["records"] == records).then_some(())
    });
}

#[test]
fn on_full_servers_those_unheard_for_the_longest_make_room_for_all_others() {
    let herd = Herd::start_with(PAIR, &["--max-clients", "100"]);
    let mut left = herd.connect("Left");
    assert_eq!(crowd(&mut left, 0..100), 100);
    // One of the first is heard again, and so it is not the next to go.
    assert!(left.ask("IAMAT k3 +1-1 8").starts_with("AT "));
    assert_eq!(crowd(&mut left, 100..250), 150, "every newcomer is taken in, in one turn or many");
    herd.wait_until_known("Right", "k249");
    for name in ["Left", "Right"] {
        wait_for_records(&herd, name, 100);
        for (client, is_known) in
            [("k3", false), ("k149", false), ("k150", true), ("k151", true), ("k249", true)]
        {
            assert_eq!(herd.knows(name, client), is_known, "{client} at {name}");
        }
        herd.wait_for_log(name, "the store is full with 100 clients");
        assert_eq!(herd.log(name).matches("the store is full").count(), 1);
        let store = &herd.status(name)["store"];
        // The link may leave out who had to go before it came to it.
        let evicted = store["evicted"].as_u64().unwrap();
        assert!(if name == "Left" { evicted == 150 } else { evicted > 0 }, "{store}");
        assert_eq!(store["refused"], 0, "{store}");
        assert!(store["horizon"].as_str().is_some_and(|time| time.ends_with('Z')), "{store}");
    }
    assert!(herd.connect("Right").ask("IAMAT newcomer +1-1 7").starts_with("AT "));
    herd.wait_until_known("Left", "newcomer");
    assert!(!herd.knows("Left", "k150") && !herd.knows("Right", "k150"));
}

#[test]
fn a_full_server_starts_with_what_it_held_and_what_it_let_go_does_not_come_back() {
    let mut herd = keeping(PAIR, &["--max-clients", "50"]);
    assert_eq!(crowd(&mut herd.connect("Left"), 0..200), 200);
    wait_for_records(&herd, "Right", 50);
    herd.wait_until_known("Right", "k199");
    herd.stop("Left");
    let kept = fs::read_to_string(journal(&herd, "Left")).unwrap();
    assert!(kept.contains(" k199 "), "and perhaps some that were let go since");
    herd.kill("Right");
    for name in ["Left", "Right"] {
        herd.start_one(name);
    }
    for name in ["Left", "Right"] {
        herd.wait_until_linked(name);
        wait_for_records(&herd, name, 50);
        assert!(herd.knows(name, "k150") && !herd.knows(name, "k149") && !herd.knows(name, "k0"));
    }
    for name in ["Left", "Right"] {
        let newcomer = format!("newcomer-at-{name}");
        report(&mut herd.connect(name), &newcomer, 7);
        for name in ["Left", "Right"] {
            herd.wait_until_known(name, &newcomer);
        }
    }
    assert!(!herd.knows("Left", "k151") && !herd.knows("Right", "k151"));
    assert!(herd.status("Left")["records"] == 50 && herd.knows("Left", "k152"));
}

#[test]
fn no_more_bytes_are_known_than_may_be_however_long_the_ids_are() {
    let herd = Herd::start_with(ALONE, &["--max-memory", "1000000"]);
    let mut client = herd.connect("Solo");
    for number in 0..200 {
        let line = format!("IAMAT {number}-{} +1-1 7", "x".repeat(16_000));
        assert!(client.ask(&line).starts_with("AT "), "{number}");
    }
    let store = &herd.status("Solo")["store"];
    let bytes = store["bytes"].as_u64().unwrap();
    assert!((900_000..=1_000_000).contains(&bytes), "{store}");
    assert_eq!(herd.status("Solo")["records"], 61);
    report(&mut client, "short", 7);
}

#[test]
fn a_server_that_refuses_knows_no_more_clients_than_may_be() {
    let herd = Herd::start_with(PAIR, &["--max-clients", "2", "--when-full", "refuse"]);
    let mut client = herd.connect("Left");
    report(&mut client, "k1", 7);
    report(&mut client, "k2", 7);
    assert_eq!(client.ask("IAMAT k3 +1-1 7"), "? IAMAT k3 +1-1 7");
    report(&mut client, "k1", 8);
    herd.wait_for_log("Left", "reports of new clients are refused");
    let status = herd.status("Left");
    assert_eq!((&status["records"], &status["store"]["refused"]), (&2.into(), &1.into()));
    assert!(status["store"]["horizon"].is_null(), "{status}");
}

#[test]
fn neighbours_with_other_bounds_are_warned_of() {
    let mut herd = Herd::new(PAIR);
    herd.arguments.extend(["--max-clients".to_owned(), "5".to_owned()]);
    herd.start_one("Left");
    *herd.arguments.last_mut().unwrap() = "6".to_owned();
    herd.start_one("Right");
    for (name, words) in [
        ("Left", "Right holds at most 6 clients and 1073741824 bytes, and this server 5 clients"),
        ("Right", "Left holds at most 5 clients and 1073741824 bytes, and this server 6 clients"),
    ] {
        herd.wait_until_linked(name);
        herd.wait_for_log(name, words);
        assert_eq!(herd.log(name).matches("holds at most").count(), 1);
    }
}

#[test]
fn the_flags_of_a_full_store_say_what_they_need() {
    for (words, named) in [
        (["--max-memory", "16000"], "--max-memory \"16000\": a whole number of bytes"),
        (["--max-memory", "1e9"], "--max-memory \"1e9\""),
        (["--when-full", "panic"], "--when-full \"panic\": there are evict and refuse"),
    ] {
        let said = herd(&[&["serve", "Solo"][..], &words].concat());
        let text = String::from_utf8(said.stderr).unwrap();
        assert!(said.status.code() == Some(2) && text.contains(named), "{words:?}: {text}");
    }
}
