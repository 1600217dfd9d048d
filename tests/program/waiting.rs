//! Questions that wait for the upstream: shared by all who ask the same, bounded for each connection and in
//! all, answered in order also to those who read slowly.

use super::support::{Client, eventually};
use super::upstream::{Gate, PLACE, Scene, THREE, has_heard};

pub const LIMIT: &str = "{\"html_attributions\":[],\"results\":[],\"status\":\"OVER_QUERY_LIMIT\",\
                     \"error_message\":\"places: ";

/// The longest, for slow machines, for which questions may be held.
pub const PATIENT: [&str; 2] = ["--places-timeout", "50"];

/// An upstream that takes requests at once and answers when the gate is open.
pub fn held(arguments: &[&str]) -> (Scene, Gate) {
    let gate = Gate::default();
    let shut = gate.clone();
    let scene = Scene::new(&[&PATIENT, arguments].concat(), move |talk| {
        while talk.request().is_some() {
            shut.wait();
            talk.answer(THREE);
        }
    });
    (scene, gate)
}

/// Waits until the server has so many questions open, by its own word.
pub fn wait_for_questions(scene: &Scene, count: usize) {
    eventually(&format!("{count} questions"), || {
        (scene.herd.status("Solo")["questions"] == count).then_some(())
    });
}

/// Sends questions with radii that nobody else asks for, and how many there are.
pub fn ask_distinct(client: &mut Client, who: usize, count: usize) {
    for number in 0..count {
        client.send(format!("WHATSAT kiwi 0.{who:03}{number:03} 20\n"));
    }
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

#[test]
fn more_questions_than_connections_wait_their_turn_and_are_shared_meanwhile() {
    let (scene, gate) = held(&[]);
    let mut clients: Vec<Client> = (0..10).map(|_| scene.client()).collect();
    for (who, client) in clients.iter_mut().enumerate() {
        ask_distinct(client, who, 32);
    }
    wait_for_questions(&scene, 320);
    // What is asked already can be shared by one more.
    let mut late = scene.client();
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
    assert_eq!((scene.upstream.asked(), scene.upstream.open_max()), (320, 8));
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
    // One that has as many as anybody is turned away itself; another takes a place of those who have most.
    let (mut other, mut more) = (scene.client(), scene.client());
    other.send("WHATSAT kiwi 10 20\n");
    more.send("nonsense\n");
    assert_eq!(more.text_line(), "? nonsense");
    assert_eq!(scene.herd.status("Solo")["questions"], 1);
    assert!(!has_heard(&other));
    gate.open();
    assert_eq!(other.places_reply().1, THREE);
    let mut turned_away = 0;
    for client in full {
        for _ in 0..32 {
            let json = client.places_reply().1;
            turned_away += usize::from(json.contains("OVER_QUERY_LIMIT"));
        }
    }
    assert_eq!((scene.upstream.asked(), turned_away), (1, 1));
}

/// So many different ones, as equal ones share their request.
fn questions(count: usize) -> String {
    let lines = (1..=count).map(|radius| format!("WHATSAT kiwi {radius} 2\n"));
    lines.collect::<Vec<_>>().concat()
}

/// Which of a client's next replies say that too many wait.
fn refusals(client: &mut Client, replies: usize, words: &str) -> Vec<bool> {
    let mut refused = || {
        let json = client.places_reply().1;
        let over = json.contains("OVER_QUERY_LIMIT");
        assert_eq!(json.contains(words), over, "{json}");
        over
    };
    (0..replies).map(|_| refused()).collect()
}

#[test]
fn questions_of_a_connection_beyond_those_that_may_wait_are_refused() {
    let (scene, gate) = held(&["--max-waiting", "2"]);
    let (mut client, mut other) = (scene.client(), scene.client());
    client.send(questions(4));
    wait_for_questions(&scene, 2);
    other.send("WHATSAT kiwi 9 2\n");
    wait_for_questions(&scene, 3);
    // Replies come in order, also these.
    assert!(!has_heard(&client));
    gate.open();
    let words = "too many questions of this connection are waiting";
    assert_eq!(refusals(&mut client, 4, words), [false, false, true, true]);
    assert_eq!(refusals(&mut other, 1, words), [false]);
    client.send("WHATSAT kiwi 10 2\n");
    assert_eq!(refusals(&mut client, 1, words), [false]);
}

#[test]
fn questions_beyond_those_that_may_wait_in_all_are_refused_at_once() {
    let (scene, gate) = held(&["--max-waiting-in-all", "3"]);
    let mut client = scene.client();
    client.send(questions(20));
    wait_for_questions(&scene, 3);
    gate.open();
    let words = "this server has too many questions waiting";
    let refused = refusals(&mut client, 20, words);
    assert_eq!(refused, [[false; 3].as_slice(), &[true; 17]].concat());
    // The log is told once, not for each.
    scene.herd.wait_for_log("Solo", "further warnings are suppressed");
    let log = scene.herd.log("Solo");
    let warnings = log.lines().filter(|line| line.contains("WARN") && line.contains(words));
    assert_eq!(warnings.count(), 1, "{log}");
    client.send("WHATSAT kiwi 10 2\n");
    assert_eq!(refusals(&mut client, 1, words), [false]);
    let (nobody, _) = held(&["--max-waiting-in-all", "0"]);
    let mut client = nobody.client();
    client.send("WHATSAT kiwi 10 2\n");
    assert_eq!(refusals(&mut client, 1, words), [true]);
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

/// An answer with one place of so many bytes.
fn long_answer(bytes: usize) -> String {
    format!("{{\"results\":[\"{}\"]}}", "x".repeat(bytes))
}

#[test]
fn a_connection_that_holds_enough_behind_a_waiting_reply_is_over_the_limit() {
    let gate = Gate::default();
    let shut = gate.clone();
    let scene = Scene::new(&PATIENT, move |talk| {
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

/// However few each of them may ask for: they are many.
#[test]
fn answers_that_slow_readers_do_not_take_are_bounded_over_all_connections() {
    let long = long_answer(1_000_000);
    let served = long.clone();
    let scene = Scene::new(&["--max-held-in-all", "8000000"], move |talk| {
        while let Some(request) = talk.request() {
            let is_long = request.line().contains("radius=1000 ");
            talk.answer(if is_long { &served } else { THREE });
        }
    });
    let mut other = scene.client();
    let mut refused = || {
        other.send("WHATSAT kiwi 2 20\n");
        let words = "too many answers of this server wait to be taken";
        let json = other.places_reply().1;
        assert!(json == THREE || json == format!("{LIMIT}{words}\"}}\n"), "{json}");
        json != THREE
    };
    assert!(!refused());
    // Far more than the kernels on the way take.
    let ask = |client: &mut Client| client.send("WHATSAT kiwi 1 20\n".repeat(32));
    let mut slow = [scene.client(), scene.client()];
    slow.iter_mut().for_each(ask);
    eventually("a refusal", || refused().then_some(()));
    // Places is not asked by anybody for now, and all else goes on.
    assert_eq!(scene.herd.say("Solo", "nonsense"), "? nonsense\n");
    let [mut reads, leaves] = slow;
    drop(leaves);
    for number in 0..32 {
        assert!(reads.places_reply().1.trim_end() == long, "reply {number}");
    }
    eventually("room", || (!refused()).then_some(()));
}
