//! The connections to the upstream and the questions that share them: kept, bounded, resumed, retried.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rustls::HandshakeKind;

use super::support::{Client, eventually};
use super::upstream::{Gate, Identity, PLACE, Scene, THREE, Talk, Upstream, fault, has_heard};

/// An upstream that takes requests at once and answers when the gate is open.
fn held(arguments: &[&str]) -> (Scene, Gate) {
    let gate = Gate::default();
    let shut = gate.clone();
    let scene = Scene::new(arguments, move |talk| {
        while talk.request().is_some() {
            shut.wait();
            talk.answer(THREE);
        }
    });
    (scene, gate)
}

/// Waits until the server has so many questions open, by its own word.
fn wait_for_questions(scene: &Scene, count: usize) {
    eventually(&format!("{count} questions"), || {
        (scene.herd.status("Solo")["questions"] == count).then_some(())
    });
}

/// Sends questions with radii that nobody else asks for, and how many there are.
fn ask_distinct(client: &mut Client, who: usize, count: usize) {
    for number in 0..count {
        client.send(format!("WHATSAT kiwi 0.{who:03}{number:03} 20\n"));
    }
}

const LIMIT: &str = "{\"html_attributions\":[],\"results\":[],\"status\":\"OVER_QUERY_LIMIT\",\
                     \"error_message\":\"places: ";

#[test]
fn a_connection_is_kept_for_the_next_question() {
    let scene = Scene::new(&[], |talk| talk.serve(THREE));
    for _ in 0..5 {
        assert_eq!(scene.places("10 20"), THREE);
    }
    let connections: Vec<usize> = scene.upstream.requests(5).iter().map(|r| r.connection).collect();
    assert_eq!(connections, [1; 5]);
    assert_eq!(scene.herd.status("Solo")["upstream_connections"], 1);
}

#[test]
fn no_more_than_eight_connections_and_the_rest_wait_their_turn() {
    let (scene, gate) = held(&[]);
    let mut client = scene.client();
    ask_distinct(&mut client, 1, 20);
    scene.upstream.requests(8);
    wait_for_questions(&scene, 20);
    let mut other = scene.herd.connect("Solo");
    assert!(other.ask("IAMAT other +1+1 1").starts_with("AT Solo +"));
    assert_eq!((scene.upstream.asked(), has_heard(&client)), (8, false));
    gate.open();
    for _ in 0..20 {
        assert_eq!(client.places_reply().1, THREE);
    }
    let mut radii: Vec<String> =
        scene.upstream.requests(20).iter().map(|request| request.line().to_owned()).collect();
    radii.sort();
    radii.dedup();
    assert_eq!((radii.len(), scene.upstream.asked()), (20, 20));
    assert_eq!((scene.upstream.open_max(), scene.upstream.accepted()), (8, 8));
}

#[test]
fn one_request_serves_all_who_ask_the_same_each_with_its_own_bound() {
    let (scene, gate) = held(&[]);
    let mut clients: Vec<Client> = (0..5).map(|_| scene.client()).collect();
    for (bound, client) in clients.iter_mut().enumerate() {
        // The same radius in two spellings; the same place under two names.
        let (who, radius) = if bound % 2 == 0 { ("kiwi", "10") } else { ("moa", "10.000") };
        client.ask(&format!("IAMAT moa {PLACE} {bound}"));
        client.send(format!("WHATSAT {who} {radius} {bound}\n"));
        scene.upstream.requests(1);
        let barrier = scene.herd.connect("Solo").ask("nonsense");
        assert_eq!(barrier, "? nonsense");
    }
    assert_eq!(scene.herd.status("Solo")["questions"], 1);
    gate.open();
    for (bound, client) in clients.iter_mut().enumerate() {
        let (at_line, json) = client.places_reply();
        let who = if bound % 2 == 0 { "kiwi" } else { "moa" };
        assert!(at_line.contains(&format!(" {who} {PLACE} ")), "{at_line}");
        let lists = ["[]", "[ \"a\" ]", "[ \"a\", \"b\" ]"];
        let list = lists.get(bound).copied().unwrap_or("[ \"a\", \"b\", \"c\" ]");
        assert_eq!(json, THREE.replace("[ \"a\", \"b\", \"c\" ]", list));
    }
    assert_eq!(scene.upstream.asked(), 1);
    // An answer is not remembered.
    assert_eq!(scene.places("10 20"), THREE);
    assert_eq!(scene.upstream.asked(), 2);
}

#[test]
fn other_radii_and_other_places_are_other_questions() {
    let (scene, gate) = held(&[]);
    let mut client = scene.client();
    client.ask("IAMAT moa +34.068930-118.445128 1");
    client.send("WHATSAT kiwi 10 1\nWHATSAT kiwi 10.001 1\nWHATSAT moa 10 1\n");
    let mut asked: Vec<String> =
        scene.upstream.requests(3).iter().map(|r| r.head.clone()).collect();
    asked.dedup();
    assert_eq!(asked.len(), 3);
    gate.open();
}

/// An upstream whose first connection answers one request and then does this; the others go on.
fn after_one_answer(script: impl Fn(&mut Talk) + Send + Sync + 'static) -> Scene {
    Scene::new(&[], move |talk| {
        if talk.number == 1 {
            talk.request();
            talk.answer(THREE);
            script(talk);
        } else {
            talk.serve(THREE);
        }
    })
}

#[test]
fn a_kept_connection_that_was_closed_meanwhile_is_replaced() {
    for end in [Talk::close, Talk::cut, |talk: &mut Talk| {
        // What some servers say to an idle connection; it must not be taken for the next answer.
        talk.send("HTTP/1.1 408 Request Timeout\r\nContent-Length: 2\r\n\r\n{}");
        talk.wait_for_end();
    }] {
        let scene = after_one_answer(end);
        assert_eq!(scene.places("10 20"), THREE);
        eventually("the server has noticed", || {
            (scene.herd.status("Solo")["upstream_connections"] == 0).then_some(())
        });
        assert_eq!(scene.places("11 20"), THREE);
        assert_eq!(scene.upstream.requests(2)[1].connection, 2);
    }
}

#[test]
fn a_question_that_meets_a_dead_connection_is_asked_once_more_on_a_fresh_one() {
    let close: fn(&mut Talk) = |talk| _ = talk.request();
    let cut: fn(&mut Talk) = |talk| {
        talk.request();
        talk.cut();
    };
    for end in [close, cut, Talk::reset] {
        let scene = after_one_answer(end);
        assert_eq!(scene.places("10 20"), THREE);
        assert_eq!(scene.places("11 20"), THREE);
        let last = scene.upstream.requests(2).pop().unwrap();
        assert!(last.line().contains("radius=11000"), "{}", last.line());
        assert_eq!((last.connection, scene.upstream.accepted()), (2, 2));
        scene.herd.wait_for_log("Solo", "asking again on a fresh one");
    }
}

#[test]
fn it_is_asked_once_more_and_not_twice() {
    let scene = Scene::new(&[], |talk| {
        talk.request();
        if talk.number == 1 {
            talk.answer(THREE);
            talk.request();
        }
    });
    assert_eq!(scene.places("10 20"), THREE);
    assert_eq!(scene.places("11 20"), fault("closed before any byte of the answer"));
    assert_eq!((scene.upstream.asked(), scene.upstream.accepted()), (3, 2));
}

#[test]
fn an_answer_that_has_begun_is_not_asked_for_again() {
    for (cut, words) in [
        (false, "closed in the middle of the answer's head"),
        (true, "the peer hung up without TLS's close_notify"),
    ] {
        let scene = after_one_answer(move |talk| {
            talk.request();
            talk.send("HTTP/1.1 200");
            if cut {
                talk.cut();
            }
        });
        assert_eq!(scene.places("10 20"), THREE);
        assert_eq!(scene.places("11 20"), fault(words));
        assert_eq!((scene.upstream.asked(), scene.upstream.accepted()), (2, 1));
    }
}

#[test]
fn eight_dead_connections_are_eight_fresh_ones() {
    let gate = Gate::default();
    let shut = gate.clone();
    let scene = Scene::new(&[], move |talk| {
        talk.request();
        shut.wait();
        talk.answer(THREE);
        if talk.number <= 8 {
            talk.request();
        } else {
            talk.serve(THREE);
        }
    });
    let mut client = scene.client();
    ask_distinct(&mut client, 1, 8);
    scene.upstream.requests(8);
    gate.open();
    for _ in 0..8 {
        assert_eq!(client.places_reply().1, THREE);
    }
    ask_distinct(&mut client, 2, 20);
    for _ in 0..20 {
        assert_eq!(client.places_reply().1, THREE);
    }
    assert_eq!((scene.upstream.accepted(), scene.upstream.asked()), (16, 36));
}

/// The server is stopped while a question arrives and its kept connection ends, in this order, so that
/// it finds both at once. The question must not be lost between them.
fn in_one_turn(question_first: bool, end: fn(&mut Talk)) {
    let (ending, ended) = (Gate::default(), Gate::default());
    let gates = (ending.clone(), ended.clone());
    let scene = after_one_answer(move |talk| {
        gates.0.wait();
        end(talk);
        gates.1.open();
        talk.wait_for_end();
    });
    let mut client = scene.client();
    client.send("WHATSAT kiwi 10 20\n");
    assert_eq!(client.places_reply().1, THREE);
    scene.halt();
    if question_first {
        client.send("WHATSAT kiwi 11 20\n");
    }
    ending.open();
    ended.wait();
    if !question_first {
        client.send("WHATSAT kiwi 11 20\n");
    }
    scene.signal("-CONT");
    assert_eq!(client.places_reply().1, THREE);
    assert_eq!(scene.upstream.requests(2)[1].connection, 2);
}

#[test]
fn a_question_that_comes_in_the_turn_of_the_end_is_not_lost() {
    let stray: fn(&mut Talk) = |talk| _ = talk.send("HTTP/1.1 408 Request Timeout\r\n\r\n");
    for end in [Talk::close, Talk::cut, stray] {
        in_one_turn(true, end);
        in_one_turn(false, end);
    }
}

#[test]
fn the_second_connection_resumes_the_session_of_the_first() {
    let scene = after_one_answer(|_| ());
    assert_eq!(scene.places("10 20"), THREE);
    assert_eq!(scene.places("11 20"), THREE);
    let handshakes = scene.upstream.handshakes();
    assert_ne!(handshakes[0], HandshakeKind::Resumed);
    assert_eq!(handshakes[1..], [HandshakeKind::Resumed]);
}

#[test]
fn the_wait_for_a_connection_counts_too_and_a_stuck_one_makes_room() {
    let scene = Scene::new(&["--places-timeout", "1.5"], |talk| {
        talk.request();
        if talk.number <= 8 {
            talk.wait_for_end();
        }
        talk.answer(THREE);
    });
    let mut client = scene.client();
    ask_distinct(&mut client, 1, 12);
    for _ in 0..12 {
        assert_eq!(client.places_reply().1, fault("no complete answer within 1.5 s"));
    }
    assert_eq!(scene.upstream.asked(), 8);
    assert_eq!(scene.places("10 20"), THREE);
    assert_eq!(scene.herd.status("Solo")["questions"], 0);
}

#[test]
fn one_question_beyond_the_queue_is_over_the_limit_at_once() {
    let (scene, gate) = held(&[]);
    let mut clients: Vec<Client> = (0..8).map(|_| scene.client()).collect();
    for (who, client) in clients.iter_mut().enumerate() {
        ask_distinct(client, who, 32);
    }
    wait_for_questions(&scene, 256);
    let mut late = scene.client();
    late.send("WHATSAT kiwi 50 5\n");
    let (at_line, json) = late.places_reply();
    assert!(at_line.contains(" kiwi "), "{at_line}");
    assert_eq!(json, format!("{LIMIT}this server has too many questions waiting\"}}\n"));
    // What is asked already can be shared by one more.
    late.send("WHATSAT kiwi 0.000000 20\n");
    assert!(scene.herd.connect("Solo").ask("IAMAT other +1+1 1").starts_with("AT Solo +"));
    assert!(!has_heard(&late));
    gate.open();
    assert_eq!(late.places_reply().1, THREE);
    for client in &mut clients {
        for _ in 0..32 {
            assert_eq!(client.places_reply().1, THREE);
        }
    }
    assert_eq!((scene.upstream.asked(), scene.upstream.open_max()), (256, 8));
}

#[test]
fn one_question_beyond_a_connections_share_is_over_the_limit() {
    let (scene, gate) = held(&[]);
    let mut client = scene.client();
    ask_distinct(&mut client, 1, 33);
    client.send("end\n");
    wait_for_questions(&scene, 32);
    gate.open();
    for _ in 0..32 {
        assert_eq!(client.places_reply().1, THREE);
    }
    let words = "too many questions of this connection are waiting";
    assert_eq!(client.places_reply().1, format!("{LIMIT}{words}\"}}\n"));
    assert_eq!(client.text_line(), "? end");
    assert_eq!(scene.upstream.asked(), 32);
}

#[test]
fn one_asker_beyond_ten_thousand_is_over_the_limit_at_once() {
    let (scene, gate) = held(&[]);
    let mut clients: Vec<Client> = (0..313).map(|_| scene.client()).collect();
    let (last, full) = clients.split_last_mut().unwrap();
    for client in &mut *full {
        client.send("WHATSAT kiwi 10 0\n".repeat(32));
    }
    last.send("WHATSAT kiwi 10 0\n".repeat(16));
    // Whoever is answered now has come after all of them.
    assert_eq!(scene.herd.say("Solo", "nonsense"), "? nonsense\n");
    let words = "this server has too many questions waiting";
    assert_eq!(scene.places("10 20"), format!("{LIMIT}{words}\"}}\n"));
    assert_eq!(scene.herd.status("Solo")["questions"], 1);
    gate.open();
    for client in full {
        for _ in 0..32 {
            assert!(client.places_reply().1.contains("\"OK\""));
        }
    }
    assert_eq!((scene.upstream.asked(), scene.places("10 20").as_str()), (1, THREE));
}

#[test]
fn an_asker_who_has_gone_is_no_matter() {
    let (scene, gate) = held(&[]);
    let (mut left, mut reset, mut stays) = (scene.client(), scene.client(), scene.client());
    left.send("WHATSAT kiwi 10 1\n");
    reset.send("nonsense\nWHATSAT kiwi 11 1\n");
    stays.send("WHATSAT kiwi 10 20\nWHATSAT kiwi 12 20\n");
    wait_for_questions(&scene, 3);
    scene.upstream.requests(3);
    // The one has closed its side and may still listen; the other, with a reply unread, resets.
    eventually("the reply is there", || has_heard(&reset).then_some(()));
    drop((left, reset));
    eventually("it is gone", || (scene.herd.status("Solo")["clients"] == 2).then_some(()));
    gate.open();
    assert_eq!(stays.places_reply().1, THREE);
    assert_eq!(stays.places_reply().1, THREE);
    assert_eq!(scene.places("10 20"), THREE);
    assert_eq!((scene.upstream.asked(), scene.upstream.accepted()), (4, 3));
}

#[test]
fn a_dead_upstream_is_not_dialled_for_each_question_and_is_found_again() {
    let alive = Arc::new(AtomicBool::new(false));
    let (identity, up) = (Identity::new("localhost"), Arc::clone(&alive));
    let pem = identity.pem.clone();
    // A connection that ends before TLS is one that could not be made.
    let mut upstream = Upstream::start_raw(move |wire| {
        if up.load(Ordering::SeqCst) {
            wire.speak(&identity, &|talk: &mut Talk| talk.serve(THREE));
        }
    });
    upstream.pem = pem;
    let scene = Scene::on(upstream, &[]);
    let mut client = scene.client();
    let begun = Instant::now();
    for round in 0..100 {
        ask_distinct(&mut client, round, 10);
        for _ in 0..10 {
            let json = client.places_reply().1;
            assert!(json.contains("\"status\":\"UNKNOWN_ERROR\""), "{json}");
        }
    }
    // However slow the machine: between two bouts of attempts lies the time for which a failure holds,
    // and the pool bounds each bout.
    let bouts = begun.elapsed().as_millis() / 100 + 1;
    let attempts = scene.upstream.accepted();
    assert!(attempts as u128 <= 8 * bouts && attempts < 1000, "{attempts} in {bouts} bouts");

    alive.store(true, Ordering::SeqCst);
    eventually("the upstream is found again", || (scene.places("10 20") == THREE).then_some(()));
}

/// An answer with one place of so many bytes.
fn long_answer(bytes: usize) -> String {
    format!("{{\"results\":[\"{}\"]}}", "x".repeat(bytes))
}

#[test]
fn a_connection_that_holds_enough_behind_a_waiting_reply_is_over_the_limit() {
    let gate = Gate::default();
    let shut = gate.clone();
    let scene = Scene::new(&[], move |talk| {
        while let Some(request) = talk.request() {
            if request.line().contains("radius=1000 ") {
                shut.wait();
            }
            talk.answer(&long_answer(40_000));
        }
    });
    let mut client = scene.client();
    client.send("WHATSAT kiwi 1 20\nWHATSAT kiwi 2 20\n");
    scene.upstream.requests(2);
    wait_for_questions(&scene, 1);
    // 40,000 bytes are held: not enough.
    client.send("WHATSAT kiwi 3 20\n");
    scene.upstream.requests(3);
    wait_for_questions(&scene, 1);
    // 80,000 are.
    client.send("WHATSAT kiwi 4 20\n");
    assert_eq!(scene.herd.say("Solo", "nonsense"), "? nonsense\n");
    // What follows waits.
    client.send("WHATSAT kiwi 5 20\n");
    assert_eq!(scene.herd.say("Solo", "nonsense"), "? nonsense\n");
    assert_eq!((scene.upstream.asked(), has_heard(&client)), (3, false));
    gate.open();
    for _ in 0..3 {
        assert_eq!(client.places_reply().1, long_answer(40_000) + "\n");
    }
    let words = "too many questions of this connection are waiting";
    assert_eq!(client.places_reply().1, format!("{LIMIT}{words}\"}}\n"));
    assert_eq!(client.places_reply().1, long_answer(40_000) + "\n");
}

/// 32 answers are far more than the server lets lie unread, and than the kernel takes.
#[test]
fn who_takes_long_answers_slowly_gets_them_all() {
    for arguments in [&[][..], &["--max-output", "3000000"][..]] {
        let answer = long_answer(1_000_000);
        let served = answer.clone();
        let scene = Scene::new(arguments, move |talk| talk.serve(&served));
        let mut client = scene.client();
        client.send("WHATSAT kiwi 1 20\n".repeat(32) + "IAMAT x +1+1 1\nend");
        client.finish();
        scene.upstream.requests(1);
        wait_for_questions(&scene, 0);
        for number in 0..32 {
            // Time for the server to be done with what it can be done with.
            assert_eq!(scene.herd.say("Solo", "nonsense"), "? nonsense\n");
            assert!(client.places_reply().1.trim_end() == answer, "reply {number}");
        }
        assert!(client.text_line().starts_with("AT Solo "));
        assert_eq!(client.rest(), "? end\n");
    }
}
