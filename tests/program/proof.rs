//! Who is taken for a neighbour by a server with keys, and who is not: each attack that one can think of,
//! and what is left of it in the log.

use std::net::TcpListener;

use herd::keys::authority::Certified;

use super::support::{Client, Herd, PAIR, Shape, eventually};
use super::tls::{forged, serve};

const KIWI: &str = "AT Right +0.263873386 kiwi +34.068930-118.445127 1479413884.392014450";
const HELLO: &str = "HELLO 1 Right 00000000000000aa";
const IDENTITY: &str = "00000000000000aa";

/// Left has one neighbour, Right; Third is in the herd too.
const ROW: Shape = &[("Left", "Right"), ("Right", "Third"), ("Third", "")];

/// Only Left, with keys: the test plays the others.
fn left(shape: Shape) -> Herd {
    let mut herd = Herd::new(shape).with_keys();
    herd.start_one("Left");
    herd
}

/// That Left has neither taken anything in nor anybody for its neighbour.
#[track_caller]
fn nothing_happened(herd: &Herd) {
    let status = herd.status("Left");
    assert_eq!(
        (&status["records"], &status["links"][0]["heard_from"]),
        (&0.into(), &false.into()),
        "{status}"
    );
}

#[test]
fn a_neighbour_that_proves_itself_is_heard() {
    let herd = left(PAIR);
    let mut right = herd.tls("Left", Some(&herd.certified("Right")));
    assert!(right.ask(HELLO).unwrap().starts_with("HELLO 1 Left "));
    assert_eq!(right.line().unwrap(), "RESUME 0000000000000000 0");
    right.send(&format!("{KIWI}\nMARK 7\n")).unwrap();
    assert_eq!(herd.wait_until_known("Left", "kiwi"), KIWI);
    // Each new connection of a neighbour takes the place of the one before, and goes on after its mark.
    let mut again = herd.tls("Left", Some(&herd.certified("Right")));
    assert!(again.ask(HELLO).unwrap().starts_with("HELLO 1 Left "));
    assert_eq!(again.line().unwrap(), format!("RESUME {IDENTITY} 7"));
    right.until_cut();
}

#[test]
fn link_lines_without_proof_are_invalid_commands_that_change_nothing_and_are_warned_of() {
    let herd = left(ROW);
    let lines = [
        HELLO,
        KIWI,
        "RESUME 00000000000000aa 0",
        "MARK 7",
        "HERE 7",
        "AT",
        " AT Right\tnonsense",
        "HELLO 2 Right 00000000000000aa",
        "HELLO 1 Nobody 00000000000000aa",
    ];
    let warnings = || {
        let log = herd.log("Left");
        let told = ["is not let in as a neighbour: ", "speaks as neighbours do, and is none: "];
        let warns = log.lines().filter_map(|line| line.split_once(" WARN  ")).map(|(_, said)| said);
        // Several of a kind about one connection are logged as one with their number, and those for
        // which there is no room as a number alone.
        let number = |text: Option<&str>| text?.split(' ').next()?.parse().ok();
        let times = |said: &str| {
            if said.contains(" more warnings ") {
                number(Some(said)).unwrap_or(0)
            } else if told.iter().any(|words| said.contains(words)) {
                number(said.rsplit_once(" (").map(|(_, times)| times)).unwrap_or(1)
            } else {
                0
            }
        };
        warns.map(times).sum::<u64>()
    };
    let mut said = 0;
    for first in lines {
        // First on its connection, and after something else; in plain text, over TLS without a
        // certificate, and with that of a server of the herd that is no neighbour.
        let mut plain = herd.connect("Left");
        assert_eq!(plain.ask(first), format!("? {first}"));
        assert_eq!(plain.ask(KIWI), format!("? {KIWI}"));
        for shown in [None, Some(herd.certified("Third"))] {
            let mut client = herd.tls("Left", shown.as_ref());
            assert_eq!(client.ask(first).unwrap(), format!("? {first}"));
            assert_eq!(client.ask(HELLO).unwrap(), format!("? {HELLO}"));
            assert_eq!(client.ask(KIWI).unwrap(), format!("? {KIWI}"));
        }
        said += 2 + 2 * 3;
        eventually("each is counted, once", || (warnings() == said).then_some(()));
    }
    // A neighbour that has not said hello is none yet.
    let mut right = herd.tls("Left", Some(&herd.certified("Right")));
    assert_eq!(right.ask(KIWI).unwrap(), format!("? {KIWI}"));
    assert_eq!(right.ask(HELLO).unwrap(), format!("? {HELLO}"));
    eventually("each is counted, once", || (warnings() == said + 2).then_some(()));
    nothing_happened(&herd);
}

#[test]
fn whoever_is_not_let_in_is_told_of_with_the_reason() {
    let herd = left(ROW);
    let third = herd.certified("Third");
    let proofless = "has shown no certificate of this herd for that name";
    for (shown, hello, why) in [
        // The right certificate of a server that is no neighbour, under its own name and another.
        (Some(&third), "Third", "\"Third\" is no neighbour of Left"),
        (Some(&third), "Right", proofless),
        // A neighbour's certificate, and the name of another; also one that differs in case alone.
        (Some(&herd.certified("Right")), "Third", "\"Third\" is no neighbour of Left"),
        (Some(&herd.certified("Right")), "right", "\"right\" is no neighbour of Left"),
        // Its own certificate, come back to it.
        (Some(&herd.certified("Left")), "Right", proofless),
        (Some(&herd.certified("Left")), "Left", "\"Left\" is no neighbour of Left"),
        (None, "Right", proofless),
    ] {
        let hello = format!("HELLO 1 {hello} {IDENTITY}");
        let mut client = herd.tls("Left", shown);
        assert_eq!(client.ask(&hello).unwrap(), format!("? {hello}"));
        assert_eq!(client.ask(KIWI).unwrap(), format!("? {KIWI}"));
        herd.wait_for_log("Left", why);
        nothing_happened(&herd);
    }
}

#[test]
fn a_neighbour_cannot_speak_for_another() {
    const STAR: Shape = &[("Left", "Right Third"), ("Right", ""), ("Third", "")];
    let herd = left(STAR);
    let mut third = herd.tls("Left", Some(&herd.certified("Third")));
    assert_eq!(third.ask(HELLO).unwrap(), format!("? {HELLO}"));
    herd.wait_for_log(
        "Left",
        "it says that it is Right, and has shown no certificate of this herd",
    );
    nothing_happened(&herd);
}

#[test]
fn certificates_that_are_not_good_end_the_connection_with_an_alert_and_a_log_line() {
    let herd = left(PAIR);
    for (shown, why) in [
        (forged("Right"), "the client's certificate is not signed by a trusted authority"),
        (herd.certify("Right", -1), "the client's certificate has expired"),
    ] {
        let mut client = herd.tls("Left", Some(&shown));
        // In TLS 1.3 a client learns what became of its certificate with the first answer.
        let answer = client.ask(HELLO).unwrap_err().to_string();
        assert!(answer.contains("alert"), "{answer}");
        let logged = format!(" disconnected: {why}");
        herd.wait_for_log("Left", &logged);
        let log = herd.log("Left");
        assert!(log.lines().any(|line| line.contains("WARN ") && line.ends_with(&logged)), "{log}");
        nothing_happened(&herd);
    }
    eventually("they are gone", || (herd.status("Left")["clients"] == 0).then_some(()));
    // One that is still good for a day is good.
    let mut right = herd.tls("Left", Some(&herd.certify("Right", 1)));
    assert!(right.ask(HELLO).unwrap().starts_with("HELLO 1 Left "));
}

#[test]
fn an_older_tls_proves_nothing() {
    let herd = left(PAIR);
    let shown = herd.certified("Right");
    let mut right = herd.tls_of(&rustls::version::TLS12, "Left", Some(&shown));
    assert_eq!(right.ask(HELLO).unwrap(), format!("? {HELLO}"));
    nothing_happened(&herd);
}

#[test]
fn a_proven_neighbour_that_sends_nonsense_is_cut_off_and_its_record_is_not_stored() {
    let herd = left(PAIR);
    let shown = herd.certified("Right");
    for (line, why) in [
        ("IAMAT plum +1-1 5".to_owned(), "no line of a link"),
        (KIWI.replace("+34", "+94"), "one of its fields is out of range"),
        (KIWI.replace("-118", "-181"), "one of its fields is out of range"),
        (KIWI.replace("+0.263873386", "+0.2638733861"), "no line of a link"),
        (KIWI.replace("Right", "No.body"), "\"No.body\", which is no name of a server"),
        (HELLO.to_owned(), "does not belong here"),
    ] {
        let mut right = herd.tls("Left", Some(&shown));
        assert!(right.ask(HELLO).unwrap().starts_with("HELLO 1 Left "));
        right.line().unwrap();
        right.send(&format!("{line}\n{KIWI}\n")).unwrap();
        right.until_cut();
        herd.wait_for_log("Left", &format!(": {line}\n"));
        let log = herd.log("Left");
        assert!(log.contains("WARN  link from Right is cut: ") && log.contains(why), "{log}");
        eventually("the link is gone", || {
            (herd.status("Left")["links"][0]["heard_from"] == false).then_some(())
        });
        nothing_happened(&herd);
    }
}

/// Left, which dials the test in place of Right.
fn dialling() -> (Herd, TcpListener) {
    let mut herd = Herd::new(ROW).with_keys();
    let listener = TcpListener::bind(("127.0.0.1", herd.port("Right"))).unwrap();
    herd.start_one("Left");
    (herd, listener)
}

#[test]
fn the_server_that_answers_must_be_the_one_that_was_dialled() {
    let (herd, listener) = dialling();
    let lives = |shown: &Certified| serve(listener.accept().unwrap().0, shown);
    for (shown, why) in [
        (herd.certified("Third"), "the server's certificate is for another name"),
        (herd.certified("Left"), "the server's certificate is for another name"),
        (forged("Right"), "the server's certificate is not signed by a trusted authority"),
        (herd.certify("Right", -1), "the server's certificate has expired"),
    ] {
        let told = lives(&shown).until_cut();
        assert_eq!(told, "", "it is told nothing");
        herd.wait_for_log("Left", &format!("Right cannot be reached: {why}"));
    }
    let mut right = lives(&herd.certified("Right"));
    assert!(right.line().unwrap().starts_with("HELLO 1 Left "));
    // A proof is no licence to be somebody else.
    right.send("HELLO 1 Third 00000000000000aa\n").unwrap();
    right.until_cut();
    herd.wait_for_log("Left", "\"Third\" answers where Right should be");
}

#[test]
fn a_listener_that_speaks_no_tls_is_told_nothing() {
    let (herd, listener) = dialling();
    let mut plain = Client::over(listener.accept().unwrap().0);
    plain.send("HELLO 1 Right 00000000000000aa\nRESUME 0000000000000000 0\n");
    let mut told = Vec::new();
    let _ = std::io::Read::read_to_end(&mut plain.stream, &mut told);
    assert_eq!(told.first(), Some(&22), "TLS only");
    assert!(!told.windows(5).any(|part| part == b"HELLO"));
    herd.wait_for_log(
        "Left",
        "Right cannot be reached: TLS: what the peer speaks is no TLS (does it have keys",
    );
}

/// Left with keys, Right without.
fn mixed(clients: &[&str]) -> Herd {
    let mut herd = Herd::new(PAIR).with_keys();
    let keys = herd.arguments.clone();
    herd.arguments.extend(clients.iter().map(|&word| word.to_owned()));
    herd.start_one("Left");
    herd.arguments = keys[..keys.len() - 2].to_vec();
    herd.start_one("Right");
    herd
}

#[test]
fn a_mixed_herd_does_not_link_and_both_sides_say_why() {
    for (clients, left_says, right_says) in [
        (
            &[][..],
            "it says that it is Right, and has shown no certificate of this herd for that name (was Right \
             started without --keys?)",
            "it does not believe that this server is its neighbour",
        ),
        (
            &["--clients", "tls"],
            "disconnected: TLS: what the peer speaks is no TLS",
            "link to Left is cut: it answers in TLS, and this server was started without --keys",
        ),
    ] {
        let herd = mixed(clients);
        herd.wait_for_log("Left", left_says);
        herd.wait_for_log("Right", right_says);
        // And what Left dials.
        herd.wait_for_log(
            "Left",
            "Right cannot be reached: TLS: what the peer speaks is no TLS (does it have keys",
        );
        herd.wait_for_log("Right", "TLS, which this server cannot speak without --keys");
        for name in ["Left", "Right"] {
            let status = herd.status(name);
            assert_eq!(status["links"][0]["heard_from"], false, "{status}");
            assert_ne!(status["links"][0]["state"], "up", "{status}");
        }
    }
}
