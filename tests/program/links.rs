//! What a server takes from a neighbour: the test plays the neighbour that dials, by hand.

use std::net::TcpListener;

use super::support::{Client, Herd, PAIR, Shape, eventually, say};

const KIWI: &str = "AT Right +0.263873386 kiwi +34.068930-118.445127 1479413884.392014450";

/// An AT line of Right's about another client.
fn at(client: &str) -> String {
    KIWI.replace("kiwi", client)
}

/// Only the server that the test talks to: Left, whose one neighbour Right is played by hand.
fn left() -> Herd {
    let mut herd = Herd::new(PAIR);
    herd.start_one("Left");
    herd
}

/// Says hello as Right, and reads the answer up to the resume line, which is returned.
fn introduce(herd: &Herd, identity: &str) -> (Client, String) {
    let mut right = herd.connect("Left");
    let hello = right.ask(&format!("HELLO 1 Right {identity}"));
    let own = hello.strip_prefix("HELLO 1 Left ").unwrap().split(' ').next().unwrap();
    assert!(own.len() == 16 && own.bytes().all(|byte| byte.is_ascii_hexdigit()), "{hello}");
    let resume = right.text_line();
    (right, resume)
}

/// Says hello as another start of Right, which is let in once the earlier connection has ended.
fn introduce_next_start(herd: &Herd, identity: &str) -> (Client, String) {
    eventually("the next start is let in", || {
        let mut right = herd.connect("Left");
        let hello = right.ask(&format!("HELLO 1 Right {identity}"));
        hello.starts_with("HELLO 1 Left ").then(|| {
            let resume = right.text_line();
            (right, resume)
        })
    })
}

/// The next heartbeat that tells of a mark.
fn marked(client: &mut Client) -> String {
    loop {
        let line = client.text_line();
        if line.starts_with("HERE ") && line != "HERE 0" {
            return line;
        }
    }
}

/// The next line that is no heartbeat.
fn news(client: &mut Client) -> String {
    loop {
        let line = client.text_line();
        if !line.starts_with("MARK ") && !line.starts_with("HERE ") {
            return line;
        }
    }
}

#[test]
fn a_neighbours_records_and_marks_are_taken_in() {
    let herd = left();
    let (mut right, resume) = introduce(&herd, "00000000000000aa");
    assert_eq!(resume, "RESUME 0000000000000000 0");
    right.send(format!("{KIWI}\nMARK 7\n{}\n", at("late")));
    assert_eq!(herd.wait_until_known("Left", "kiwi"), KIWI);
    herd.wait_until_known("Left", "late");
    let status = herd.status("Left");
    assert_eq!((&status["clients"], &status["records"]), (&0.into(), &2.into()), "{status}");
    assert_eq!(status["links"][0]["heard_from"], true);

    // It comes back: the mark says up to where nothing is missing.
    drop(right);
    let (right, resume) = introduce(&herd, "00000000000000aa");
    assert_eq!(resume, "RESUME 00000000000000aa 7");
    // It has started anew, so its changes are counted anew.
    drop(right);
    let (_right, resume) = introduce_next_start(&herd, "00000000000000bb");
    assert_eq!(resume, "RESUME 0000000000000000 0");
}

#[test]
fn heartbeats_come_on_both_connections_of_a_silent_link() {
    let mut herd = Herd::new(PAIR);
    let listener = TcpListener::bind(("127.0.0.1", herd.port("Right"))).unwrap();
    herd.start_one("Left");
    let (mut incoming, _) = introduce(&herd, "00000000000000aa");
    incoming.send("MARK 41\n");
    let mut dialled = Client::over(listener.accept().unwrap().0);
    assert!(dialled.text_line().starts_with("HELLO 1 Left "));
    dialled.send("HELLO 1 Right 00000000000000aa\nRESUME 0000000000000000 0\n");
    for _ in 0..2 {
        assert_eq!(incoming.text_line(), "HERE 41");
        assert_eq!(dialled.text_line(), "MARK 0");
        // Else it would be cut off, being silent itself.
        incoming.send("MARK 41\n");
        dialled.send("HERE 0\n");
    }
}

#[test]
fn what_comes_with_the_hello_counts_however_it_is_cut() {
    let herd = left();
    let said = |client: &str| format!("HELLO 1 Right 00000000000000aa\n{}\nMARK 3\n", at(client));
    let mut at_once = herd.connect("Left");
    at_once.send(said("at-once"));
    assert_eq!(herd.wait_until_known("Left", "at-once"), at("at-once"));
    let mut in_bytes = herd.connect("Left");
    for byte in said("in-bytes").bytes() {
        in_bytes.send([byte]);
    }
    assert_eq!(herd.wait_until_known("Left", "in-bytes"), at("in-bytes"));
}

#[test]
fn whoever_is_no_neighbour_is_answered_like_any_client() {
    const ROW: Shape = &[("Left", "Right"), ("Right", "Third"), ("Third", "")];
    let mut herd = Herd::new(ROW);
    herd.start_one("Left");
    let id = "00000000000000aa";
    for (hello, why) in [
        (format!("HELLO 1 Nobody {id}"), r#""Nobody" is no neighbour of Left"#),
        // In the topology, but without a link to this server.
        (format!("HELLO 1 Third {id}"), r#""Third" is no neighbour of Left"#),
        (format!("HELLO 1 Left {id}"), r#""Left" is no neighbour of Left"#),
        (format!("HELLO 2 Right {id}"), "it speaks version 2 of the link, and this is 1"),
        // None of the link's language at all.
        ("HELLO 1 Right".to_owned(), ""),
        (format!("HELLO 1 Right {id}a"), ""),
        (format!("HELLO 1 Right {}", id.to_uppercase()), ""),
        (format!(" HELLO 1 Right {id}"), ""),
        (format!("hello 1 Right {id}"), ""),
    ] {
        let mut client = herd.connect("Left");
        assert_eq!(client.ask(&hello), format!("? {hello}"));
        // It may not try again: a neighbour knows what to say first.
        let right = format!("HELLO 1 Right {id}");
        assert_eq!(client.ask(&right), format!("? {right}"));
        assert_eq!(client.ask(KIWI), format!("? {KIWI}"));
        let address = client.stream.local_addr().unwrap();
        if !why.is_empty() {
            herd.wait_for_log(
                "Left",
                &format!("WARN  {address} is not let in as a neighbour: {why}\n"),
            );
        }
    }
    assert!(!herd.knows("Left", "kiwi"));
    assert_eq!(herd.status("Left")["records"], 0);
}

#[test]
fn who_has_reported_is_a_client_and_no_neighbour() {
    let herd = left();
    let hello = "HELLO 1 Right 00000000000000aa";
    let mut client = herd.connect("Left");
    assert!(client.ask("IAMAT kiwi +1+1 1").starts_with("AT Left +"));
    assert_eq!(client.ask(hello), format!("? {hello}"));
    herd.wait_for_log("Left", &format!("speaks as neighbours do, and is none: {hello}"));
    assert!(client.ask("IAMAT kiwi +1+1 2").starts_with("AT Left +"));
    // As the first line it is a neighbour's.
    introduce(&herd, "00000000000000aa");
}

#[test]
fn a_hello_without_its_lf_changes_nothing() {
    let herd = left();
    let (mut right, _) = introduce(&herd, "00000000000000aa");
    right.send("MARK 7\n");
    assert_eq!(marked(&mut right), "HERE 7");
    // Somebody hangs up in the middle of what a neighbour says first after a new start.
    let hello = "HELLO 1 Right 00000000000000bb";
    assert_eq!(say(herd.port("Left"), hello.as_bytes()), format!("? {hello}\n"));
    herd.wait_for_log("Left", &format!("speaks as neighbours do, and is none: {hello}"));
    // The link is still there, and so is the memory of how far it had come.
    right.send(format!("{}\n", at("later")));
    assert_eq!(herd.wait_until_known("Left", "later"), at("later"));
    drop(right);
    let (_right, resume) = introduce(&herd, "00000000000000aa");
    assert_eq!(resume, "RESUME 00000000000000aa 7");
}

/// The test says it from 127.0.0.1; the topology has the neighbour elsewhere.
#[test]
fn a_neighbour_is_believed_only_from_its_address() {
    let mut addresses = vec!["127.0.0.9"];
    if TcpListener::bind("[::1]:0").is_ok() {
        addresses.push("[::1]");
    } else {
        eprintln!("no IPv6 here: half of the test is skipped");
    }
    for address in addresses {
        let mut herd = Herd::new(PAIR);
        let (left, right) = (herd.port("Left"), herd.port("Right"));
        let topology = format!("Left 127.0.0.1:{left} Right\nRight {address}:{right}\n");
        herd.folder.write("topology.txt", topology);
        herd.start_one("Left");
        let mut client = herd.connect("Left");
        let hello = "HELLO 1 Right 00000000000000aa";
        assert_eq!(client.ask(hello), format!("? {hello}"));
        assert_eq!(client.ask(KIWI), format!("? {KIWI}"));
        assert!(!herd.knows("Left", "kiwi"));
        herd.wait_for_log(
            "Left",
            "is not let in as a neighbour: Right does not live at that address",
        );
    }
}

#[test]
fn lines_of_a_link_from_a_client_are_invalid_and_change_nothing() {
    let herd = left();
    let lines = [KIWI, "MARK 5", "HERE 5", "RESUME 00000000000000aa 5"];
    for first in lines {
        let mut client = herd.connect("Left");
        assert_eq!(client.ask(first), format!("? {first}"));
        assert!(client.ask("IAMAT banana +1-1 5").starts_with("AT Left "));
        for line in lines {
            assert_eq!(client.ask(line), format!("? {line}"));
        }
    }
    assert!(!herd.knows("Left", "kiwi"));
    assert_eq!(herd.status("Left")["records"], 1);
}

#[test]
fn a_neighbour_that_talks_nonsense_is_cut_off_and_nothing_of_it_is_kept() {
    let herd = left();
    let bad = at("bad");
    for (number, (nonsense, why)) in [
        ("IAMAT bad +34.068930-118.445127 1479413884".to_owned(), "it is no line of a link"),
        (String::new(), "it is no line of a link"),
        (format!("{bad} "), "it is no line of a link"),
        (bad.replace(" bad ", "  bad "), "it is no line of a link"),
        (bad.replace("+34.068930", "+90.1"), "one of its fields is out of range"),
        (bad.replace("-118.445127", "-180.0001"), "one of its fields is out of range"),
        (bad.replace("1479413884.392014450", "soon"), "one of its fields is out of range"),
        (bad.replace("+0.263873386", "0.263873386"), "one of its fields is out of range"),
        (bad.replace("Right", "-Wrong"), r#"it names the server "-Wrong", which is no name"#),
        ("HERE 1".to_owned(), "a line of this kind does not belong here"),
        ("HELLO 1 Right 00000000000000aa".to_owned(), "a line of this kind does not belong here"),
        ("RESUME 0000000000000000 0".to_owned(), "a line of this kind does not belong here"),
        ("MARK -1".to_owned(), "it is no line of a link"),
    ]
    .into_iter()
    .enumerate()
    {
        let (mut right, _) = introduce(&herd, "00000000000000aa");
        let (before, after) = (format!("before-{number}"), at("after"));
        right.send(format!("{}\n{nonsense}\n{after}\n", at(&before)));
        right.until_cut();
        eventually(&format!("the log has {why:?} and {nonsense:?}"), || {
            let told = |line: &str| {
                line.contains("link from Right is cut: ")
                    && line.contains(why)
                    && line.ends_with(&format!(": {nonsense}"))
            };
            herd.log("Left").lines().any(told).then_some(())
        });
        assert_eq!(herd.wait_until_known("Left", &before), at(&before));
        for client in ["bad", "after"] {
            assert!(!herd.knows("Left", client), "{nonsense}");
        }
    }
}

#[test]
fn a_neighbours_line_may_be_longer_than_a_clients_but_not_without_end() {
    let herd = left();
    let long = |bytes: usize| at(&"x".repeat(bytes - at("").len()));
    let (mut right, _) = introduce(&herd, "00000000000000aa");
    right.send(format!("{}\n{KIWI}\n", long(16_480)));
    herd.wait_until_known("Left", "kiwi");
    right.send(long(16_481) + "x");
    right.until_cut();
    herd.wait_for_log("Left", "link with Right is cut: its line is too long");
    assert_eq!(herd.status("Left")["records"], 2);
}

#[test]
fn a_neighbours_later_connection_takes_the_place_of_the_earlier() {
    let herd = left();
    let (mut earlier, _) = introduce(&herd, "00000000000000aa");
    let (mut later, _) = introduce(&herd, "00000000000000aa");
    earlier.until_cut();
    later.send(format!("{KIWI}\n"));
    herd.wait_until_known("Left", "kiwi");
    assert_eq!(herd.status("Left")["links"][0]["heard_from"], true);
    drop(later);
    eventually("its end is noticed", || {
        (herd.status("Left")["links"][0]["heard_from"] == false).then_some(())
    });
}

#[test]
fn what_one_neighbour_tells_goes_on_to_the_others_and_not_back() {
    const ROW: Shape = &[("Right", "Left"), ("Left", "Third"), ("Third", "")];
    let mut herd = Herd::new(ROW);
    let listener = TcpListener::bind(("127.0.0.1", herd.port("Right"))).unwrap();
    herd.start_one("Left");
    herd.start_one("Third");
    let (mut incoming, _) = introduce(&herd, "00000000000000aa");
    let mut dialled = Client::over(listener.accept().unwrap().0);
    dialled.send("HELLO 1 Right 00000000000000aa\nRESUME 0000000000000000 0\n");
    assert!(dialled.text_line().starts_with("HELLO 1 Left "));
    incoming.send(format!("{KIWI}\n{KIWI}\nMARK 1\n"));
    assert_eq!(herd.wait_until_known("Third", "kiwi"), KIWI);
    let banana = herd.say("Third", "IAMAT banana +1-1 5");
    // The first thing that Right hears: its own record has been passed over.
    assert_eq!(news(&mut dialled), banana.trim_end());

    // Right has started anew and may have forgotten, so now it gets its own record too: whether it has
    // said so itself or only answers with another identity.
    let again = |identity: &str| {
        let mut dialled = Client::over(listener.accept().unwrap().0);
        dialled.send(format!("HELLO 1 Right {identity}\nRESUME 0000000000000000 0\n"));
        assert!(dialled.text_line().starts_with("HELLO 1 Left "));
        assert_eq!([news(&mut dialled), news(&mut dialled)], [KIWI, banana.trim_end()]);
    };
    drop(dialled);
    again("00000000000000cc");
    drop(incoming);
    let (_incoming, _) = introduce_next_start(&herd, "00000000000000bb");
    again("00000000000000bb");
}
