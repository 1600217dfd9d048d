//! Whole herds of real processes: how an update travels, and what becomes of it when servers die,
//! freeze and come back.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::support::{ALFORD, BOLDEN, Client, FARMAR, Herd, PAIR, Shape, eventually};

/// The servers of a shape.
fn names(shape: Shape) -> Vec<&'static str> {
    shape.iter().map(|(name, _)| *name).collect()
}

/// Each server with its neighbours.
fn neighbours(shape: Shape) -> HashMap<&'static str, Vec<&'static str>> {
    let mut all: HashMap<_, Vec<_>> = HashMap::new();
    for (name, others) in shape {
        for other in others.split_whitespace() {
            all.entry(*name).or_default().push(other);
            all.entry(other).or_default().push(*name);
        }
    }
    all
}

fn iamat(client: &str, time: &str) -> String {
    format!("IAMAT {client} +34.068930-118.445127 {time}")
}

/// A WHATSAT on a connection of its own or on one that is open, without waiting for anything.
fn at_line(client: &mut Client, whom: &str) -> String {
    client.send(format!("WHATSAT {whom} 1 1\n"));
    client.places_reply().0
}

/// What this server's log says about records: `(neighbour, sent, line)` in its order.
fn travels(herd: &Herd, name: &str) -> Vec<(String, bool, String)> {
    let log = herd.log(name);
    let event = |line: &str| {
        let mut words = line.split_once("INFO  ")?.1.splitn(3, ' ');
        let (who, direction, text) = (words.next()?, words.next()?, words.next()?);
        let travels = text.starts_with("AT ") && !who.contains(':');
        travels.then(|| (who.to_owned(), direction == "<", text.to_owned()))
    };
    log.lines().filter_map(event).collect()
}

/// Ten clients at each server, in one segment, and a second report of each.
fn tell_everybody(herd: &Herd, shape: Shape) -> HashMap<String, String> {
    let mut records = HashMap::new();
    for name in names(shape) {
        let mut client = herd.connect(name);
        for time in ["1479413884", "1479413885.5"] {
            let said: String =
                (0..10).map(|number| iamat(&format!("{name}-{number}"), time) + "\n").collect();
            client.send(said);
            for number in 0..10 {
                let record = client.text_line();
                assert!(record.starts_with(&format!("AT {name} ")), "{record}");
                records.insert(format!("{name}-{number}"), record);
            }
        }
    }
    records
}

/// Every server soon holds each record byte for byte as the server that heard it wrote it; and an
/// update goes once to each neighbour, except the one that it was learned from.
fn flooding_is_complete_and_frugal(shape: Shape) {
    let mut herd = Herd::start(shape);
    let records = tell_everybody(&herd, shape);
    for name in names(shape) {
        for (client, record) in &records {
            eventually(&format!("{name} holds {record}"), || {
                (herd.wait_until_known(name, client) == *record).then_some(())
            });
        }
        assert_eq!(herd.status(name)["records"], records.len());
    }
    for name in names(shape) {
        herd.stop(name);
    }

    let neighbours = neighbours(shape);
    for name in names(shape) {
        let travels = travels(&herd, name);
        let once: HashSet<_> = travels.iter().collect();
        assert_eq!(once.len(), travels.len(), "{name} sent or got something twice: {travels:#?}");
        for record in records.values() {
            let mine = |sent| {
                let those = travels.iter().filter(move |(_, s, line)| *s == sent && line == record);
                those.map(|(who, ..)| who.as_str()).collect::<Vec<_>>()
            };
            // The own record may come round a ring, but it was learned from nobody.
            let own = record.starts_with(&format!("AT {name} "));
            let source = mine(false).first().copied().filter(|_| !own);
            assert!(own || source.is_some(), "{name} has {record} from nobody");
            let mut told = mine(true);
            told.sort_unstable();
            let mut expected = neighbours[name].clone();
            expected.retain(|neighbour| Some(*neighbour) != source);
            expected.sort_unstable();
            assert_eq!(told, expected, "{name} learned {record} from {source:?}");
        }
    }
}

#[test]
fn every_server_of_the_default_herd_soon_knows_and_no_edge_carries_an_update_twice() {
    flooding_is_complete_and_frugal(ALFORD);
}

#[test]
fn every_server_of_the_second_herd_soon_knows_and_no_edge_carries_an_update_twice() {
    flooding_is_complete_and_frugal(BOLDEN);
}

#[test]
fn every_server_of_the_third_herd_soon_knows_and_no_edge_carries_an_update_twice() {
    flooding_is_complete_and_frugal(FARMAR);
}

#[test]
fn a_client_id_of_any_bytes_travels_as_it_is() {
    let herd = Herd::start(BOLDEN);
    // No UTF-8, a NUL, an IAC before a byte that makes it no command, a line separator, a long one.
    let long = [b'x'; 16_000];
    for id in [&b"\xfe\x80\0"[..], b"\xff\x01", "\u{2028}\u{202e}".as_bytes(), &long] {
        let mut hamilton = herd.connect("Hamilton");
        hamilton.send([b"IAMAT ", id, b" +1-1 5\n"].concat());
        let record = hamilton.line();
        assert!(record.windows(id.len()).any(|window| window == id));
        eventually("Powell, three links away, has it", || {
            let mut powell = herd.connect("Powell");
            powell.send([b"WHATSAT ", id, b" 1 1\n"].concat());
            (powell.line() == record).then_some(())
        });
    }
}

/// No waiting: the neighbour has it in its socket before the client has its answer.
#[test]
fn a_neighbour_knows_before_the_client_is_answered() {
    let herd = Herd::start(ALFORD);
    let mut alford = herd.connect("Alford");
    let mut open = herd.connect("Hamilton");
    for round in 0..200 {
        let whom = format!("client-{round}");
        let record = alford.ask(&iamat(&whom, "1479413884.392014450"));
        assert_eq!(at_line(&mut open, &whom), record, "round {round}");
        assert_eq!(at_line(&mut herd.connect("Welsh"), &whom), record, "round {round}");
    }
}

#[test]
fn a_report_that_is_not_newer_is_answered_and_changes_and_moves_nothing() {
    let mut herd = Herd::start(PAIR);
    let first = herd.say("Left", &iamat("kiwi", "1479413884.5"));
    assert_eq!(herd.wait_until_known("Right", "kiwi"), first.trim_end());
    for name in ["Left", "Right"] {
        // A late one, the same once more, and the same moment written otherwise.
        for time in ["1479413883", "-5", "1479413884.5", "1479413884.500"] {
            let reply = herd.say(name, &iamat("kiwi", time));
            assert!(reply.starts_with(&format!("AT {name} ")), "{reply}");
            assert!(reply.ends_with(&format!(" {time}\n")), "{reply}");
        }
    }
    // What is said later on the same links has overtaken nothing.
    for (name, other) in [("Left", "Right"), ("Right", "Left")] {
        herd.say(name, &iamat(&format!("{name}-last"), "1"));
        herd.wait_until_known(other, &format!("{name}-last"));
        assert_eq!(herd.wait_until_known(name, "kiwi"), first.trim_end());
    }
    herd.stop("Left");
    herd.stop("Right");
    for name in ["Left", "Right"] {
        assert_eq!(travels(&herd, name).len(), 3, "{:?}", travels(&herd, name));
    }
}

#[test]
fn servers_that_hear_one_client_at_the_same_moment_come_to_agree() {
    let herd = Herd::start(FARMAR);
    let mut clients: Vec<_> = names(FARMAR).iter().map(|name| herd.connect(name)).collect();
    for round in 0..20 {
        let said = iamat("kiwi", &format!("{round}.25")) + "\n";
        for client in &mut clients {
            client.send(&said);
        }
        let replies: Vec<_> = clients.iter_mut().map(Client::text_line).collect();
        eventually("all hold one of the five records", || {
            let mut records = clients.iter_mut().map(|client| at_line(client, "kiwi"));
            let first = records.next()?;
            (records.all(|record| record == first) && replies.contains(&first)).then_some(())
        });
    }
}

#[test]
fn a_killed_server_comes_back_to_all_that_its_neighbours_know() {
    let mut herd = Herd::start(ALFORD);
    let own = herd.say("Welsh", &iamat("welsh-own", "1"));
    herd.say("Alford", &iamat("kiwi", "1"));
    herd.wait_until_known("Welsh", "kiwi");
    herd.wait_until_known("Alford", "welsh-own");
    herd.kill("Welsh");

    // The others go on, around the gap.
    for time in 2..=20 {
        herd.say("Alford", &iamat("kiwi", &time.to_string()));
    }
    let newest = herd.say("Ball", &iamat("kiwi", "21"));
    let new = herd.say("Hamilton", &iamat("new", "5"));
    for name in ["Alford", "Ball"] {
        eventually(name, || {
            (herd.wait_until_known(name, "kiwi") == newest.trim_end()).then_some(())
        });
        herd.wait_until_known(name, "new");
    }

    herd.start_one("Welsh");
    for (client, record) in [("welsh-own", own), ("kiwi", newest), ("new", new)] {
        assert_eq!(herd.wait_until_known("Welsh", client), record.trim_end());
    }
    assert_eq!(herd.status("Welsh")["records"], 3);
    for name in ["Alford", "Ball"] {
        herd.wait_until_linked(name);
        herd.wait_for_log(
            name,
            "link to Welsh is up, resuming: it starts from nothing, 3 to look at",
        );
        herd.wait_for_log(name, "Welsh has caught up: ");
    }
    herd.stop("Welsh");
    // Nothing that had been overtaken was sent, and nothing twice over one link.
    let log = herd.log("Welsh");
    let since = log.rfind("Welsh starts on").unwrap();
    for neighbour in ["Alford", "Ball"] {
        let came = format!(" {neighbour} > AT ");
        let lines: Vec<_> = log[since..].lines().filter(|line| line.contains(&came)).collect();
        assert!(lines.len() <= 3, "{lines:?}");
        assert!(
            lines.iter().all(|line| !line.contains("kiwi") || line.ends_with(" 21")),
            "{lines:?}"
        );
    }
}

#[test]
fn a_herd_that_stops_as_a_whole_forgets() {
    let mut herd = Herd::start(PAIR);
    herd.say("Left", &iamat("kiwi", "1"));
    herd.wait_until_known("Right", "kiwi");
    herd.stop("Left");
    herd.stop("Right");
    herd.start_all();
    for name in ["Left", "Right"] {
        assert_eq!(herd.say(name, "WHATSAT kiwi 1 1"), "? WHATSAT kiwi 1 1\n");
        assert_eq!(herd.status(name)["records"], 0);
    }
}

#[test]
fn without_catching_up_a_server_that_comes_back_gets_what_is_new() {
    let mut herd = Herd::start_with(PAIR, &["--catch-up", "off"]);
    herd.say("Left", &iamat("before", "1"));
    herd.wait_until_known("Right", "before");
    herd.kill("Right");
    herd.say("Left", &iamat("meanwhile", "1"));
    herd.start_one("Right");
    herd.wait_until_linked("Left");
    herd.wait_for_log("Left", "link to Right is up, resuming: it gets what is new from now on");
    herd.say("Left", &iamat("after", "1"));
    herd.wait_until_known("Right", "after");
    assert!(!herd.knows("Right", "before") && !herd.knows("Right", "meanwhile"));
    assert_eq!(herd.status("Right")["records"], 1);
}

#[test]
fn a_herd_cut_in_two_stays_cut_and_each_half_goes_on_serving() {
    let mut herd = Herd::start(FARMAR);
    // The only neighbour of Hill; the others go round by Young.
    herd.kill("Meeks");
    let hill = herd.say("Hill", &iamat("hill", "1"));
    let farmar = herd.say("Farmar", &iamat("farmar", "1"));
    for name in ["Young", "Gasol"] {
        assert_eq!(herd.wait_until_known(name, "farmar"), farmar.trim_end());
    }
    assert!(!herd.knows("Hill", "farmar"));
    for name in ["Farmar", "Young", "Gasol"] {
        assert!(!herd.knows(name, "hill"));
    }
    let links = herd.status("Hill")["links"].clone();
    assert_eq!(links.as_array().unwrap().len(), 1, "{links}");
    assert_eq!((&links[0]["name"], &links[0]["heard_from"]), (&"Meeks".into(), &false.into()));
    assert_ne!(links[0]["state"], "up");

    herd.start_one("Meeks");
    assert_eq!(herd.wait_until_known("Hill", "farmar"), farmar.trim_end());
    assert_eq!(herd.wait_until_known("Young", "hill"), hill.trim_end());
}

/// Takes about ten seconds, because that is the promise.
#[test]
fn a_frozen_neighbour_is_noticed_within_ten_seconds_and_gets_what_it_missed_when_it_thaws() {
    let mut herd = Herd::start(PAIR);
    let say = |herd: &Herd, from: usize, to: usize| {
        for number in from..to {
            herd.say("Left", &iamat(&format!("client-{number}"), "1"));
        }
    };
    say(&herd, 0, 10);
    herd.wait_until_known("Right", "client-9");
    herd.process("Right").signal("-STOP");
    let frozen = Instant::now();
    eventually("Left notices in both directions", || {
        let link = herd.status("Left")["links"][0].clone();
        (link["state"] != "up" && link["heard_from"] == false).then_some(())
    });
    assert!(frozen.elapsed() <= Duration::from_secs(10), "{:?}", frozen.elapsed());
    herd.wait_for_log("Left", "link with Right is cut: not a word from it for too long");
    say(&herd, 10, 15);

    herd.process("Right").signal("-CONT");
    herd.wait_until_known("Right", "client-14");
    herd.wait_until_linked("Left");
    herd.wait_until_linked("Right");
    herd.wait_for_log(
        "Left",
        "link to Right is up, resuming: it has all up to change 10, 5 to look at",
    );
    herd.wait_for_log("Left", "Right has caught up: 5 records were sent");
    herd.stop("Left");
    let sent = travels(&herd, "Left").iter().filter(|(_, sent, _)| *sent).count();
    assert_eq!(sent, 15, "{:?}", travels(&herd, "Left"));
}
