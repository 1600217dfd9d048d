//! A herd that changes while it runs: servers are added, removed, renamed and moved, one topology file at a
//! time, and keys are renewed. Nothing is lost, and no link is cut but those that are taken away.

use std::net::TcpListener;
use std::process::Command;

use super::support::{Herd, PAIR, Shape, eventually, free_ports, herd as run};

const ROW: Shape = &[("Ann", "Bob"), ("Bob", "Cid"), ("Cid", "")];
const TRIANGLE: Shape = &[("Ann", "Bob Cid"), ("Bob", "Cid"), ("Cid", "")];
const TWO_AND_NEW: Shape = &[("Ann", "Bob"), ("Bob", ""), ("New", "Ann")];

/// A line of a topology file for a server of this herd.
fn row(herd: &Herd, name: &str, links: &str) -> String {
    format!("{name} 127.0.0.1:{} {links}\n", herd.port(name))
}

/// A report at one server is known at the others.
fn is_told(herd: &Herd, at: &str, client: &str, others: &[&str]) {
    let reply = herd.say(at, &format!("IAMAT {client} +1-1 5"));
    assert!(reply.starts_with(&format!("AT {at} ")), "{reply}");
    for other in others {
        assert_eq!(herd.wait_until_known(other, client), reply.trim_end(), "at {other}");
    }
}

/// How often a server's log says this.
fn said(herd: &Herd, name: &str, words: &str) -> usize {
    herd.log(name).matches(words).count()
}

/// None of these servers has lost a link, and each of its links came up once.
fn nothing_was_cut(herd: &Herd, between: &[(&str, &str)]) {
    for (from, to) in between {
        for (server, other) in [(from, to), (to, from)] {
            // The log has a thread of its own, so its lines come a moment later.
            herd.wait_for_log(server, &format!("link to {other} is up"));
            let log = herd.log(server);
            let words = [format!("link to {other} is down"), format!("link from {other} is down")];
            assert!(!log.contains("is cut") && !words.iter().any(|it| log.contains(it)), "{log}");
            assert_eq!(log.matches(&format!("link to {other} is up")).count(), 1, "{log}");
        }
    }
}

/// Adds journals, which a restart needs.
fn with_journals(shape: Shape) -> Herd {
    let mut herd = Herd::new(shape);
    let folder = herd.folder.path("journal").to_str().unwrap().to_owned();
    herd.arguments.extend(["--journal".to_owned(), folder]);
    herd
}

#[test]
fn a_server_joins_while_others_do_not_know_it_yet() {
    let mut herd = Herd::new(TWO_AND_NEW);
    let old = row(&herd, "Ann", "Bob") + &row(&herd, "Bob", "");
    let new = old.clone() + &row(&herd, "New", "Ann");
    for name in ["Ann", "Bob"] {
        herd.give_topology(name, &old);
        herd.start_one(name);
    }
    herd.wait_until_linked("Ann");
    let mut client = herd.connect("Ann");
    assert_eq!(client.ask("one"), "? one");
    // The new server is up before anybody has heard of it, and is let in when Ann has.
    herd.give_topology("New", &new);
    herd.start_one("New");
    herd.wait_for_log("Ann", "\"New\" is no neighbour of Ann");
    herd.give_topology("Ann", &new);
    herd.reload("Ann");
    herd.wait_for_log("Ann", "the topology is taken anew; New is a neighbour now");
    herd.wait_until_linked("New");
    // Bob lacks it, and is told what it says, and tells what he hears.
    is_told(&herd, "New", "kiwi", &["Ann", "Bob"]);
    for report in 0..5 {
        is_told(&herd, "New", &format!("new-{report}"), &["Bob"]);
        is_told(&herd, "Ann", &format!("ann-{report}"), &["Bob", "New"]);
        is_told(&herd, "Bob", &format!("bob-{report}"), &["Ann", "New"]);
    }
    let warning = "a record names the server New, which is not in this topology";
    herd.wait_for_log("Bob", warning);
    assert_eq!(said(&herd, "Bob", warning), 1, "one warning for a name");
    herd.give_topology("Bob", &new);
    herd.reload("Bob");
    herd.wait_for_log("Bob", "taken anew; the neighbours are the same");
    is_told(&herd, "New", "plum", &["Bob"]);
    assert_eq!(client.ask("two"), "? two", "a client notices nothing");
    nothing_was_cut(&herd, &[("Ann", "Bob")]);
}

#[test]
fn a_server_leaves_and_what_it_has_heard_stays_and_travels() {
    let mut herd = with_journals(ROW).with_own_topologies();
    herd.start_all();
    is_told(&herd, "Cid", "kiwi", &["Ann", "Bob"]);
    let record = herd.wait_until_known("Ann", "kiwi");
    let new = row(&herd, "Ann", "Bob") + &row(&herd, "Bob", "");
    herd.give_topology("Bob", &new);
    herd.reload("Bob");
    herd.wait_for_log("Bob", "Cid is no neighbour any more");
    eventually("the link is gone at both ends", || {
        let links = herd.status("Bob")["links"].as_array().unwrap().len();
        let link = herd.status("Cid")["links"][0].clone();
        (links == 1 && link["heard_from"] == false && link["state"] != "up").then_some(())
    });
    assert_eq!(said(&herd, "Bob", "is cut"), 0, "closed in peace: {}", herd.log("Bob"));
    herd.stop("Cid");
    is_told(&herd, "Bob", "plum", &["Ann"]);
    nothing_was_cut(&herd, &[("Ann", "Bob")]);
    // Ann starts anew: first with the old file, then with the new one, and has Cid's record every time.
    for name in ["old", "new"] {
        herd.stop("Ann");
        if name == "new" {
            herd.give_topology("Ann", &new);
        }
        herd.start_one("Ann");
        herd.wait_until_linked("Ann");
        assert_eq!(herd.wait_until_known("Ann", "kiwi"), record);
        is_told(&herd, "Bob", name, &["Ann"]);
        is_told(&herd, "Ann", &format!("{name}-back"), &["Bob"]);
    }
    let warning = "names the server Cid, which is not in this topology";
    herd.wait_for_log("Ann", warning);
    assert_eq!(said(&herd, "Ann", warning), 1);
    // Bob has lost his memory and his journal, and is told all by Ann.
    herd.stop("Bob");
    std::fs::remove_file(herd.folder.path("journal/Bob.journal")).unwrap();
    herd.start_one("Bob");
    assert_eq!(herd.wait_until_known("Bob", "kiwi"), record);
}

#[test]
fn a_link_that_is_taken_away_is_the_only_one_that_goes_and_may_come_back() {
    let mut herd = Herd::new(TRIANGLE).with_own_topologies();
    herd.start_all();
    is_told(&herd, "Ann", "one", &["Bob", "Cid"]);
    let without = row(&herd, "Ann", "Bob") + &row(&herd, "Bob", "Cid") + &row(&herd, "Cid", "");
    let with = std::fs::read_to_string(herd.folder.path("topology.txt")).unwrap();
    for name in ["Ann", "Cid"] {
        herd.give_topology(name, &without);
        herd.reload(name);
        is_told(&herd, "Ann", &format!("without-{name}"), &["Bob", "Cid"]);
        is_told(&herd, "Cid", &format!("from-cid-{name}"), &["Ann"]);
    }
    for name in ["Ann", "Cid"] {
        assert_eq!(herd.status(name)["links"].as_array().unwrap().len(), 1);
    }
    for name in ["Cid", "Ann"] {
        herd.give_topology(name, &with);
        herd.reload(name);
        is_told(&herd, "Ann", &format!("with-{name}"), &["Bob", "Cid"]);
    }
    herd.wait_until_linked("Ann");
    herd.wait_until_linked("Cid");
    nothing_was_cut_but(&herd);
}

/// Of the triangle, the links of Bob.
fn nothing_was_cut_but(herd: &Herd) {
    for other in ["Ann", "Cid"] {
        assert_eq!(said(herd, "Bob", &format!("link to {other} is up")), 1);
        assert_eq!(said(herd, other, "link to Bob is up"), 1);
    }
    assert_eq!(said(herd, "Bob", "is down"), 0, "{}", herd.log("Bob"));
    // What was known on both sides was not told again.
    herd.wait_for_log("Ann", "link to Cid is up, resuming: it has all up to change ");
}

#[test]
fn a_server_moves_and_its_links_stay_whoever_knows_of_it_first() {
    for bob_first in [false, true] {
        let mut herd = Herd::new(PAIR).with_own_topologies();
        herd.start_all();
        let (left, right) = (herd.port("Left"), herd.port("Right"));
        let to = free_ports(1)[0];
        let new = format!("Left 127.0.0.1:{left} Right\nRight 127.0.0.1:{to}\n");
        let mut client = herd.connect("Right");
        assert_eq!(client.ask("one"), "? one");
        let order = if bob_first { ["Right", "Left"] } else { ["Left", "Right"] };
        for (number, name) in order.into_iter().enumerate() {
            herd.give_topology(name, &new);
            herd.reload(name);
            if name == "Right" {
                herd.servers[1].1 = to;
                eventually("the old port is free", || TcpListener::bind(("127.0.0.1", right)).ok());
                herd.wait_for_log("Right", &format!("listening on 127.0.0.1:{to}"));
            } else if !bob_first {
                herd.wait_for_log("Left", "Right cannot be reached at its new address: ");
            }
            is_told(&herd, "Left", &format!("left-{number}"), &["Right"]);
            is_told(&herd, "Right", &format!("right-{number}"), &["Left"]);
        }
        herd.wait_for_log("Left", "Right is reached at its new address");
        eventually("its link is up there", || {
            (herd.status("Left")["links"][0]["state"] == "up").then_some(())
        });
        is_told(&herd, "Left", "last", &["Right"]);
        assert_eq!(client.ask("two"), "? two", "a client at the old port notices nothing");
        assert_eq!(said(&herd, "Left", "link to Right is down"), 0, "{}", herd.log("Left"));
        assert_eq!(said(&herd, "Right", "link to Left is down"), 0);
        // Its link goes on there after an outage too.
        herd.kill("Right");
        herd.start_one("Right");
        herd.wait_until_linked("Left");
        is_told(&herd, "Left", "again", &["Right"]);
    }
}

#[test]
fn a_server_is_renamed_and_nothing_is_lost() {
    const SHAPE: Shape = &[("Ann", "Bob"), ("Bob", "Cid"), ("Cid", ""), ("Bea", "")];
    let mut herd = with_journals(SHAPE);
    let (ann, bob, cid) = (herd.port("Ann"), herd.port("Bob"), herd.port("Cid"));
    let with = |name: &str| {
        format!("Ann 127.0.0.1:{ann} {name}\n{name} 127.0.0.1:{bob} Cid\nCid 127.0.0.1:{cid}\n")
    };
    for name in ["Ann", "Bob", "Cid"] {
        herd.give_topology(name, &with("Bob"));
        herd.start_one(name);
    }
    for name in ["Ann", "Bob", "Cid"] {
        herd.wait_until_linked(name);
    }
    is_told(&herd, "Bob", "kiwi", &["Ann", "Cid"]);
    // Ann has the new file already, the others have not.
    herd.give_topology("Ann", &with("Bea"));
    herd.reload("Ann");
    herd.wait_for_log("Ann", "Bob is no neighbour any more");
    for (at, client) in [("Ann", "ann"), ("Bob", "bob"), ("Cid", "cid")] {
        herd.say(at, &format!("IAMAT {client} +1-1 5"));
    }
    herd.stop("Bob");
    herd.servers[3].1 = bob;
    herd.give_topology("Bea", &with("Bea"));
    herd.start_one("Bea");
    herd.give_topology("Cid", &with("Bea"));
    herd.reload("Cid");
    for name in ["Ann", "Bea", "Cid"] {
        herd.wait_until_linked(name);
        for client in ["kiwi", "ann", "bob", "cid"] {
            herd.wait_until_known(name, client);
        }
    }
    is_told(&herd, "Bea", "plum", &["Ann", "Cid"]);
}

#[test]
fn a_wrong_file_is_refused_with_its_errors_and_the_old_one_stays() {
    let mut herd = Herd::start(PAIR);
    let good = std::fs::read_to_string(herd.folder.path("topology.txt")).unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    let shown = herd.folder.path("topology.txt").display().to_string();
    let mut client = herd.connect("Left");
    for (number, (text, words)) in [
        (
            "Left 127.0.0.1:1 Rigt\nRight h:99999\n".to_owned(),
            vec![
                format!("ERROR {shown}:1:18: unknown server \"Rigt\" (did you mean \"Right\"?)"),
                format!("ERROR {shown}:2:9: bad port \"99999\""),
            ],
        ),
        (
            "Ann 127.0.0.1:1\n".to_owned(),
            vec!["ERROR no server \"Left\" in the topology; there are Ann".to_owned()],
        ),
        (
            format!("Left {taken} Right\nRight 127.0.0.1:{}\n", herd.port("Right")),
            vec![format!("ERROR cannot listen on {taken}: ")],
        ),
        (
            "Left 127.0.0.1:1 Right\nRight 192.0.2.1:7\n".to_owned(),
            vec![
                "ERROR the link to Right (192.0.2.1) would leave this machine in plain text"
                    .to_owned(),
            ],
        ),
    ]
    .into_iter()
    .enumerate()
    {
        herd.folder.write("topology.txt", text);
        herd.reload("Left");
        for words in words {
            herd.wait_for_log("Left", &words);
        }
        is_told(&herd, "Left", &format!("kiwi-{number}"), &["Right"]);
        assert_eq!(client.ask("still here"), "? still here");
    }
    // What would never come to an end is not waited for.
    std::fs::remove_file(&shown).unwrap();
    assert!(Command::new("mkfifo").arg(&shown).status().unwrap().success());
    herd.reload("Left");
    herd.wait_for_log("Left", "is no ordinary file");
    std::fs::remove_file(&shown).unwrap();
    herd.reload("Left");
    herd.wait_for_log("Left", "ERROR cannot read the topology ");
    herd.folder.write("topology.txt", good);
    herd.reload("Left");
    herd.wait_for_log("Left", "taken anew; the neighbours are the same");
    nothing_was_cut(&herd, &[("Left", "Right")]);
}

#[test]
fn many_hangups_are_one_reading_after_another_and_the_last_file_counts() {
    let mut herd = Herd::new(TWO_AND_NEW);
    let old = row(&herd, "Ann", "Bob") + &row(&herd, "Bob", "");
    let new = old.clone() + &row(&herd, "New", "Ann");
    for name in ["Ann", "Bob"] {
        herd.give_topology(name, &old);
        herd.start_one(name);
    }
    herd.wait_until_linked("Ann");
    for round in 0..50 {
        herd.give_topology("Ann", if round % 2 == 0 { &new } else { &old });
        herd.process("Ann").signal("-HUP");
    }
    herd.give_topology("Ann", &new);
    herd.process("Ann").signal("-HUP");
    eventually("the last file is the topology", || {
        (herd.status("Ann")["links"].as_array()?.len() == 2).then_some(())
    });
    nothing_was_cut(&herd, &[("Ann", "Bob")]);
}

#[test]
fn renewed_keys_are_shown_from_now_on_and_links_stay() {
    let mut herd = Herd::new(PAIR).with_keys();
    herd.start_all();
    let topology = herd.folder.path("topology.txt").to_str().unwrap().to_owned();
    let keys = herd.folder.path("keys").to_str().unwrap().to_owned();
    let expires = |herd: &Herd| herd.status("Right")["certificate_expires"].clone();
    let before = expires(&herd);
    let renew = ["keys", "--topology", &topology, "--days", "29", "--renew", "Right", &keys];
    assert!(run(&renew).status.success());
    assert_eq!(expires(&herd), before);
    herd.reload("Right");
    herd.wait_for_log(
        "Right",
        "the topology and the keys are taken anew; the neighbours are the same",
    );
    assert_ne!(expires(&herd), before);
    herd.wait_for_log("Right", "expires on ");
    is_told(&herd, "Left", "kiwi", &["Right"]);
    nothing_was_cut(&herd, &[("Left", "Right")]);
    // Whoever connects now is shown the new certificate.
    let shown = herd.shown_by("Right");
    assert_eq!(herd_pem(&herd.key_file("Right/certificate.pem")), shown);
    // Keys that do not do are refused, and the old ones stay.
    std::fs::copy(herd.folder.path("keys/Left/key.pem"), herd.folder.path("keys/Right/key.pem"))
        .unwrap();
    herd.reload("Right");
    herd.wait_for_log("Right", "our certificate is for another key");
    assert_eq!(herd.shown_by("Right"), shown);
    nothing_was_cut(&herd, &[("Left", "Right")]);
}

/// The certificate of a PEM text, in DER.
fn herd_pem(pem: &str) -> Vec<u8> {
    herd::reactor::certificates_in_pem(pem.as_bytes()).unwrap().remove(0)
}

#[test]
fn a_new_authority_is_believed_from_now_on() {
    let mut herd = Herd::new(PAIR).with_keys();
    herd.start_all();
    let (keys, old) = (herd.folder.path("keys"), herd.folder.path("old"));
    std::fs::rename(&keys, &old).unwrap();
    let topology = herd.folder.path("topology.txt").to_str().unwrap().to_owned();
    assert!(run(&["keys", "--topology", &topology, keys.to_str().unwrap()]).status.success());
    // Left knows the new authority and Right does not: their links go on as they are.
    herd.reload("Left");
    is_told(&herd, "Left", "kiwi", &["Right"]);
    is_told(&herd, "Right", "plum", &["Left"]);
    nothing_was_cut(&herd, &[("Left", "Right")]);
    herd.reload("Right");
    // Whoever has only a certificate of the old one is nobody any more.
    let text = |file: &str| std::fs::read_to_string(old.join(file)).unwrap();
    let stolen = herd::keys::authority::Certified {
        certificate: text("Right/certificate.pem"),
        key: text("Right/key.pem"),
    };
    let mut thief = herd.tls("Left", Some(&stolen));
    assert!(thief.ask("HELLO 1 Right 00000000000000aa").is_err());
    // And who comes back under the new one is in.
    herd.kill("Right");
    herd.start_one("Right");
    herd.wait_until_linked("Left");
    is_told(&herd, "Left", "last", &["Right"]);
}

/// Reports go on at every server while links go, come and move, first at one server and then at another.
#[test]
fn a_herd_changes_under_load_and_nothing_that_was_acknowledged_is_lost() {
    const LAST: usize = 12;
    let mut herd = Herd::new(TRIANGLE).with_own_topologies();
    herd.start_all();
    let names = ["Ann", "Bob", "Cid"];
    let (ann, bob) = (row(&herd, "Ann", "Bob Cid"), row(&herd, "Bob", "Cid"));
    let cids = [herd.port("Cid"), free_ports(1)[0]];
    let without = row(&herd, "Ann", "Bob");
    let mut clients: Vec<_> = names.iter().map(|name| herd.connect(name)).collect();
    let mut acknowledged = 0;
    for step in 0..LAST {
        // The link between Ann and Cid comes and goes, and Cid goes from port to port.
        let ann = if step % 4 < 2 { &without } else { &ann };
        let port = cids[(step / 2 + 1) % 2];
        let text = format!("{ann}{bob}Cid 127.0.0.1:{port}\n");
        for name in names {
            herd.give_topology(name, &text);
            herd.process(name).signal("-HUP");
            let lines = |number: usize| format!("IAMAT {step}-{name}-{number} +1-1 5\n");
            let burst: String = (0..50).map(lines).collect();
            for client in &mut clients {
                client.send(&burst);
            }
            for client in &mut clients {
                for _ in 0..50 {
                    assert!(client.text_line().starts_with("AT "));
                }
            }
            acknowledged += 50;
        }
    }
    herd.servers[2].1 = cids[(LAST / 2) % 2];
    for name in names {
        herd.reload(name);
    }
    for name in names {
        eventually(&format!("{name} knows all"), || {
            (herd.status(name)["records"] == acknowledged).then_some(())
        });
    }
    // All agree, whoever heard a client first.
    for step in [0, LAST - 1] {
        let client = format!("{step}-Bob-7");
        let known = names.map(|name| herd.wait_until_known(name, &client));
        assert_eq!(known[0], known[1]);
        assert_eq!(known[1], known[2]);
    }
    for name in names {
        assert!(!herd.log(name).contains("is cut"), "{}", herd.log(name));
    }
    assert_eq!(said(&herd, "Bob", "link to Ann is up"), 1, "that link was in all files");
}

#[test]
fn while_the_authority_changes_a_server_may_trust_both() {
    let mut herd = Herd::new(PAIR).with_keys();
    let (keys, old) = (herd.folder.path("keys"), herd.folder.path("old"));
    std::fs::rename(&keys, &old).unwrap();
    let topology = herd.folder.path("topology.txt").to_str().unwrap().to_owned();
    assert!(run(&["keys", "--topology", &topology, keys.to_str().unwrap()]).status.success());
    // Left has its new keys and Right its old ones; both trust both.
    let text = |file: &str| std::fs::read_to_string(herd.folder.path(file)).unwrap();
    let both = text("keys/authority.pem") + &text("old/authority.pem");
    for file in ["certificate.pem", "key.pem"] {
        std::fs::copy(old.join("Right").join(file), keys.join("Right").join(file)).unwrap();
    }
    for name in ["Left", "Right"] {
        std::fs::write(keys.join(name).join("authority.pem"), &both).unwrap();
    }
    herd.start_all();
    is_told(&herd, "Left", "kiwi", &["Right"]);
    is_told(&herd, "Right", "plum", &["Left"]);
}
