//! The order of replies while a WHATSAT waits for Places, and what a half-close then means.

use super::{Mute, exchange, has_heard_nothing, wait_for_questions};
use crate::support::{Client, Herd};

/// What a WHATSAT is told of a [`Mute`] that hangs up on it.
fn assert_is_an_error(json: &str) {
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!(
        (&json["status"], &json["results"]),
        (&"UNKNOWN_ERROR".into(), &serde_json::json!([]))
    );
}

/// Reports these clients, each at a place of its own, and returns their AT lines.
fn report(herd: &Herd, clients: &[&str]) -> Vec<String> {
    let places = ["+1+1", "+2+2", "+3+3"];
    let report = |(client, place)| herd.say("Solo", &format!("IAMAT {client} {place} 1"));
    clients.iter().zip(places).map(report).map(|line| line.trim_end().to_owned()).collect()
}

fn assert_whatsat_reply(client: &mut Client, expected: &str) {
    let (at_line, json) = client.places_reply();
    assert_eq!(at_line, expected);
    assert_is_an_error(&json);
}

#[test]
fn replies_come_in_the_order_of_the_commands_also_behind_a_waiting_whatsat() {
    let (upstream, herd) = Mute::with_solo();
    let known = report(&herd, &["first", "second"]);
    let mut client = herd.connect("Solo");
    client.send(
        "one\nWHATSAT first 1 1\nIAMAT kiwi +1+1 1\nWHATISAT second 1 1\n\nWHATSAT nobody 1 1\n",
    );
    assert_eq!(client.text_line(), "? one");
    wait_for_questions(&herd, 2);
    let [first, second] = [upstream.question(), upstream.question()];
    // The later question is answered earlier.
    drop(second);
    wait_for_questions(&herd, 1);
    client.send("two\n");
    // Two more questions of ours are answered, so the server has had its turns.
    herd.say("Solo", "x");
    herd.status("Solo");
    assert!(has_heard_nothing(&client));
    drop(first);
    assert_whatsat_reply(&mut client, &known[0]);
    assert!(client.text_line().ends_with(" kiwi +1+1 1"));
    assert_whatsat_reply(&mut client, &known[1]);
    assert_eq!(client.text_line(), "? ");
    assert_eq!(client.text_line(), "? WHATSAT nobody 1 1");
    assert_eq!(client.text_line(), "? two");
    assert_eq!(client.ask("three"), "? three", "and from then on at once");
}

#[test]
fn a_waiting_whatsat_holds_up_no_other_connection() {
    let (_upstream, herd) = Mute::with_solo();
    report(&herd, &["kiwi"]);
    let mut waiting = herd.connect("Solo");
    waiting.send("WHATSAT kiwi 1 1\n");
    wait_for_questions(&herd, 1);
    let reply = herd.say("Solo", "IAMAT kiwi +1+1 2");
    assert!(reply.ends_with(" kiwi +1+1 2\n"), "{reply}");
    assert!(has_heard_nothing(&waiting));
}

#[test]
fn a_whatsat_tells_what_was_known_when_it_came() {
    let (upstream, herd) = Mute::with_solo();
    let known = report(&herd, &["kiwi"]);
    let mut client = herd.connect("Solo");
    client.send("WHATSAT kiwi 1 1\nIAMAT kiwi +2+2 2\n");
    wait_for_questions(&herd, 1);
    drop(upstream.question());
    assert_whatsat_reply(&mut client, &known[0]);
    assert!(client.text_line().ends_with(" kiwi +2+2 2"));
}

#[test]
fn after_a_half_close_every_reply_still_owed_is_sent_before_the_server_closes() {
    let (upstream, herd) = Mute::with_solo();
    let known = report(&herd, &["first", "second"]);
    let mut client = herd.connect("Solo");
    // The last line has no LF, and counts all the same.
    client.send("WHATSAT first 1 1\nIAMAT kiwi +1+1 1\nWHATSAT second 1 1");
    client.finish();
    wait_for_questions(&herd, 2);
    assert!(has_heard_nothing(&client), "not even the end");
    let [first, second] = [upstream.question(), upstream.question()];
    drop(second);
    wait_for_questions(&herd, 1);
    assert!(has_heard_nothing(&client), "not even the end");
    drop(first);
    assert_whatsat_reply(&mut client, &known[0]);
    assert!(client.text_line().ends_with(" kiwi +1+1 1"));
    assert_whatsat_reply(&mut client, &known[1]);
    assert_eq!(client.rest(), "");
}

#[test]
fn a_line_that_is_cut_off_behind_a_waiting_whatsat_closes_after_its_reply() {
    let (upstream, herd) = Mute::with_solo();
    let known = report(&herd, &["kiwi"]);
    let mut client = herd.connect("Solo");
    client.send(format!("WHATSAT kiwi 1 1\n{}", "x".repeat(16_385)));
    wait_for_questions(&herd, 1);
    drop(upstream.question());
    assert_whatsat_reply(&mut client, &known[0]);
    assert_eq!(client.rest(), format!("? {}...\n", "x".repeat(64)));
}

#[test]
fn a_client_that_leaves_while_its_whatsat_waits_is_no_matter() {
    let (upstream, herd) = Mute::with_solo();
    report(&herd, &["kiwi"]);
    let mut client = herd.connect("Solo");
    client.send("WHATSAT kiwi 1 1\n");
    wait_for_questions(&herd, 1);
    drop(client);
    drop(upstream.question());
    wait_for_questions(&herd, 0);
    assert_eq!(exchange(&herd, "still here\n"), b"? still here\n");
}
