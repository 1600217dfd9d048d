//! Tests of `--sync always`: which replies wait for the disk, and what becomes of them when it takes nothing.

use super::*;

/// A server whose syncs never come back, and a client whose report waits for one.
fn hung(name: &str) -> (Scene, TcpStream) {
    let mut scene = Scene::new(name, SyncPolicy::Always);
    let mut client = scene.connect();
    scene.turn_until_synced();
    let journal = scene.reactor.app().journal.as_mut().unwrap();
    assert!(journal.syncing == Syncing::Idle);
    journal.syncing = Syncing::UnderWay("a sync", std::time::Instant::now());
    scene.hear(&mut client, "kiwi");
    assert_eq!(heard(&client), "");
    (scene, client)
}

/// The sync comes back after all.
fn sync_succeeds(scene: &mut Scene) {
    let extent = scene.reactor.app().journal.as_ref().unwrap().extent();
    scene.tell(JournalEvent::Synced { extent, outcome: Ok(()) });
}

fn expect(scene: &mut Scene, client: &TcpStream, reply: &str) {
    let mut text = String::new();
    let deadline = Instant::now() + Duration::from_secs(30);
    while text.len() < reply.len() {
        assert!(Instant::now() < deadline, "{text:?} is not {reply:?}");
        scene.turn();
        text += &heard(client);
    }
    assert_eq!(text, reply);
}

/// An AT line: each report has a nanosecond of its own, so only the difference's start is known.
fn expect_at(scene: &mut Scene, client: &TcpStream, difference: &str, end: &str) {
    let mut text = String::new();
    let deadline = Instant::now() + Duration::from_secs(30);
    while !text.ends_with('\n') {
        assert!(Instant::now() < deadline, "{text:?} does not end with {end:?}");
        scene.turn();
        text += &heard(client);
    }
    assert!(text.starts_with(&format!("AT Solo {difference}")) && text.ends_with(end), "{text}");
}

#[test]
fn a_report_that_is_not_on_disk_in_ten_seconds_is_refused_and_others_at_once_until_it_is() {
    let (mut scene, mut client) = hung("hung");
    scene.clock = REPLY_TIMEOUT.saturating_sub(Duration::from_millis(1));
    scene.turn();
    assert_eq!((heard(&client).as_str(), &scene.status()["refuses"]), ("", &false.into()));
    // One has waited for ten seconds, and the other for a millisecond.
    scene.hear(&mut client, "plum");
    scene.clock = REPLY_TIMEOUT;
    expect(&mut scene, &client, "? IAMAT kiwi +1-1 7\n? IAMAT plum +1-1 7\n");
    assert_eq!(
        (&scene.status()["refuses"], &scene.status()["replies_waiting"]),
        (&true.into(), &0.into())
    );
    // At once, though no time passes; also what says nothing new, and questions.
    client.write_all(b"IAMAT\tpear +1-1 7 \nIAMAT kiwi +1-1 6\nWHATSAT plum 1 0\nhello\n").unwrap();
    let replies = "? IAMAT\tpear +1-1 7 \n? IAMAT kiwi +1-1 6\n? WHATSAT plum 1 0\n? hello\n";
    expect(&mut scene, &client, replies);
    sync_succeeds(&mut scene);
    assert_eq!(scene.status()["refuses"], false);
    // What was refused is known all the same, and on disk by now.
    client.write_all(b"IAMAT pear +1-1 7\n").unwrap();
    expect_at(&mut scene, &client, "+3.0", " pear +1-1 7\n");
    // And replies wait again.
    scene.hear(&mut client, "fig");
    assert_eq!(heard(&client), "");
    scene.turn_until_synced();
    expect_at(&mut scene, &client, "+3.0", " fig +1-1 7\n");
}

#[test]
fn a_refusal_stands_where_the_reply_would_have_stood() {
    let (mut scene, mut client) = hung("order");
    let other = scene.connect();
    client.write_all(b"first\nIAMAT plum +1-1 7\nsecond\nIAMAT fig +1-1").unwrap();
    (&other).write_all(b"hello\n").unwrap();
    expect(&mut scene, &other, "? hello\n");
    assert_eq!(heard(&client), "", "no reply overtakes another");
    scene.clock = REPLY_TIMEOUT;
    let replies = "? IAMAT kiwi +1-1 7\n? first\n? IAMAT plum +1-1 7\n? second\n";
    expect(&mut scene, &client, replies);
    // A last line without its end counts, and all is sent before the connection ends.
    client.shutdown(std::net::Shutdown::Write).unwrap();
    expect(&mut scene, &client, "? IAMAT fig +1-1\n");
    scene.turn_until("the connection ends", |scene| scene.reactor.app().clients == 1);
}

#[test]
fn one_who_has_finished_sending_gets_the_refusal_before_the_end() {
    let (mut scene, client) = hung("half-closed");
    client.shutdown(std::net::Shutdown::Write).unwrap();
    for _ in 0..5 {
        scene.turn();
    }
    assert_eq!(scene.reactor.app().clients, 1);
    scene.clock = REPLY_TIMEOUT;
    expect(&mut scene, &client, "? IAMAT kiwi +1-1 7\n");
    scene.turn_until("the connection ends", |scene| scene.reactor.app().clients == 0);
    assert_eq!((&client).read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_telnet_request_is_answered_past_replies_that_wait() {
    let (mut scene, mut client) = hung("telnet");
    client.write_all(b"\xff\xfd\x06").unwrap();
    let mut answer = [0; 16];
    scene.turn_until("it is answered", |_| client.peek(&mut [0]).is_ok());
    let length = client.read(&mut answer).unwrap();
    assert_eq!(&answer[..length], b"\xff\xfc\x06");
    sync_succeeds(&mut scene);
    expect(&mut scene, &client, "AT Solo -7.000000000 kiwi +1-1 7\n");
}

#[test]
fn what_is_on_disk_is_told_while_other_things_wait() {
    let mut scene = Scene::new("known", SyncPolicy::Always);
    let mut client = scene.connect();
    scene.hear(&mut client, "kiwi");
    scene.turn_until_synced();
    expect(&mut scene, &client, "AT Solo -7.000000000 kiwi +1-1 7\n");
    let hangs = Syncing::UnderWay("a sync", std::time::Instant::now());
    scene.reactor.app().journal.as_mut().unwrap().syncing = hangs;
    scene.hear(&mut client, "plum");
    let mut other = scene.connect();
    other.write_all(b"IAMAT kiwi +1-1 7\n").unwrap();
    expect_at(&mut scene, &other, "-6.9", " kiwi +1-1 7\n");
    assert_eq!(heard(&client), "");
    scene.clock = REPLY_TIMEOUT;
    expect(&mut scene, &client, "? IAMAT plum +1-1 7\n");
    // Also to the one who has been refused, and while others are.
    client.write_all(b"IAMAT kiwi +1-1 7\n").unwrap();
    expect_at(&mut scene, &client, "+3.0", " kiwi +1-1 7\n");
}

#[test]
fn one_whose_replies_wait_is_not_read_for_ever() {
    let (mut scene, mut client) = hung("flow");
    let line = |number: usize| format!("IAMAT {number:0>200} +1-1 7\n");
    let lines: String = (0..2_000).map(line).collect();
    let mut sent = 0;
    for _ in 0..200 {
        sent += client.write(&lines.as_bytes()[sent..]).unwrap_or(0);
        scene.turn();
    }
    // A few reads at most are answered, and one lies unanswered.
    let known = scene.reactor.app().herd.clients();
    assert!((100..600).contains(&known), "{known} reports were taken in");
    let mut replies = String::new();
    let length = "AT Solo -7.000000000 kiwi +1-1 7\n".len() + 2_000 * (200 + 29);
    let deadline = Instant::now() + Duration::from_secs(60);
    while replies.len() < length {
        assert!(Instant::now() < deadline, "{} bytes of replies", replies.len());
        sent += client.write(&lines.as_bytes()[sent..]).unwrap_or(0);
        let journal = scene.reactor.app().journal.as_ref().unwrap();
        if matches!(journal.syncing, Syncing::UnderWay(..)) {
            sync_succeeds(&mut scene);
        }
        scene.turn();
        (0..100).for_each(|_| replies += &heard(&client));
    }
    let told: Vec<&str> = replies.lines().map(|line| line.split(' ').nth(3).unwrap()).collect();
    let expected = (0..2_000).map(|number| format!("{number:0>200}"));
    assert!(told.into_iter().skip(1).eq(expected));
    assert!(replies.lines().all(|line| line.starts_with("AT Solo ")));
    assert_eq!(scene.reactor.app().held_bytes, 0);
}
