//! The connections to the upstream: kept, bounded, resumed, replaced when they are dead, and what becomes of
//! the question that meets such a one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rustls::HandshakeKind;

use super::support::eventually;
use super::upstream::{Gate, Identity, Scene, THREE, Talk, Upstream, fault, has_heard};
use super::waiting::{ask_distinct, held, wait_for_questions};

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
fn a_408_that_crosses_a_request_is_no_answer_to_it() {
    let http_1_0: fn(&mut Talk) = |talk| {
        talk.request();
        talk.send("HTTP/1.0 408 Request Time-out\r\nConnection: close\r\n\r\n<html><body>");
    };
    let cut: fn(&mut Talk) = |talk| {
        talk.request();
        talk.send("HTTP/1.1 408 Request Timeout\r\nContent-Length: 100\r\n\r\n");
        talk.cut();
    };
    let kept: fn(&mut Talk) = |talk| {
        talk.request();
        talk.send("HTTP/1.1 408 Request Timeout\r\nContent-Length: 2\r\n\r\n{}");
        talk.wait_for_end();
    };
    for end in [http_1_0, cut, kept] {
        let scene = after_one_answer(end);
        assert_eq!(scene.places("10 20"), THREE);
        assert_eq!(scene.places("11 20"), THREE);
        let last = scene.upstream.requests(3).pop().unwrap();
        assert!(last.line().contains("radius=11000"), "{}", last.line());
        assert_eq!((last.connection, scene.upstream.accepted()), (2, 2));
        scene.herd.wait_for_log("Solo", "asking again on a fresh one");
    }
}

#[test]
fn a_408_on_a_fresh_connection_is_the_answer() {
    let scene = Scene::new(&[], |talk| {
        while talk.request().is_some() {
            talk.send("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n");
        }
    });
    assert_eq!(scene.places("10 20"), fault("answered 408"));
    assert_eq!(scene.upstream.asked(), 1);
    // On the same connection it may be stale. The second try has a fresh one, and is the last.
    assert_eq!(scene.places("11 20"), fault("answered 408"));
    assert_eq!((scene.upstream.asked(), scene.upstream.accepted()), (3, 2));
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
