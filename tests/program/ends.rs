//! How a peer's input may end, and what it still gets then.

use super::protocol::{Mute, wait_for_questions};
use super::support::{Herd, PAIR, eventually};

#[test]
fn over_tls_a_bare_fin_gets_every_reply_that_complete_lines_are_owed() {
    let (upstream, herd) = Mute::with_solo_and_keys();
    let mut client = herd.tls("Solo", None);
    client
        .send("IAMAT kiwi +1+1 1\nWHATSAT kiwi 1 1\nIAMAT kiwi +1+1 2\nIAMAT cut +1+1 3")
        .unwrap();
    client.bare_fin();
    wait_for_questions(&herd, 1);
    herd.wait_for_log("Solo", " hung up without close_notify: its unfinished line is dropped");
    // The answer comes long after the FIN.
    drop(upstream.question());
    // An error here would be an end without the server's own close_notify.
    let text = client.rest().unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 5, "{text}");
    assert!(lines[0].ends_with(" kiwi +1+1 1") && lines[1] == lines[0], "{text}");
    assert!(lines[2].contains("\"UNKNOWN_ERROR\"") && lines[4].ends_with(" kiwi +1+1 2"), "{text}");
    assert!(!herd.knows("Solo", "cut"));
    eventually("the client is gone", || (herd.status("Solo")["clients"] == 0).then_some(()));
    assert!(!herd.log("Solo").contains("without TLS's close_notify"), "{}", herd.log("Solo"));
}

#[test]
fn over_tls_a_bare_fin_after_many_lines_gets_all_their_replies() {
    let mut herd = Herd::new(super::support::ALONE).with_keys();
    herd.start_all();
    let mut client = herd.tls("Solo", None);
    let lines: Vec<_> = (0..3_000).map(|n| format!("IAMAT k{n} +1+1 1\n")).collect();
    client.send(&lines.concat()).unwrap();
    client.bare_fin();
    assert_eq!(client.rest().unwrap().lines().count(), 3_000);
}

#[test]
fn a_link_that_ends_with_a_bare_fin_was_cut_off() {
    let mut herd = Herd::new(PAIR).with_keys();
    herd.start_one("Left");
    let mut right = herd.tls("Left", Some(&herd.certified("Right")));
    assert!(right.ask("HELLO 1 Right 00000000000000aa").unwrap().starts_with("HELLO 1 Left "));
    right.bare_fin();
    herd.wait_for_log(
        "Left",
        "link from Right is down: the peer hung up without TLS's close_notify",
    );
}
