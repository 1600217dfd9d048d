//! Questions are shared out fairly: by turns of addresses and connections, at a rate that the upstream is to have,
//! and each but once for those who ask the same.

use std::net::Ipv4Addr;
use std::time::Instant;

use super::support::{Client, eventually};
use super::upstream::{PLACE, Scene, THREE, Turnstile, fault, has_heard};
use super::waiting::{LIMIT, PATIENT, ask_distinct, held, wait_for_questions};

/// A client of another address, after it has said that `kiwi` is at [`PLACE`].
fn client_from(scene: &Scene, last: u8) -> Client {
    let address = Ipv4Addr::new(127, 0, 0, last);
    let mut client = Client::connect_from(address, scene.herd.port("Solo"));
    let reply = client.ask(&format!("IAMAT kiwi {PLACE} 1479413884.392014450"));
    assert!(reply.starts_with("AT Solo +"), "{reply}");
    client
}

/// An upstream that answers one request each time it is let.
fn one_at_a_time(arguments: &[&str]) -> (Scene, Turnstile) {
    let turnstile = Turnstile::default();
    let passes = turnstile.clone();
    let scene = Scene::new(&[&PATIENT, arguments].concat(), move |talk| {
        while talk.request().is_some() {
            passes.pass();
            talk.answer(THREE);
        }
    });
    (scene, turnstile)
}

/// Who asked what an upstream was asked, by the radii that [`ask_distinct`] gives them.
fn askers(scene: &Scene, count: usize) -> Vec<usize> {
    let radius = |line: &str| {
        let (_, rest) = line.split_once("radius=").unwrap();
        rest.split(['.', ' ', '&']).next().unwrap().parse().unwrap()
    };
    scene.upstream.requests(count).iter().map(|request| radius(request.line())).collect()
}

/// Lets one answer out after the other, and tells whose questions come in their places.
fn asked_next(scene: &Scene, turnstile: &Turnstile, count: usize) -> Vec<usize> {
    let start = scene.upstream.asked();
    for number in 1..=count {
        turnstile.allow(1);
        scene.upstream.requests(start + number);
    }
    askers(scene, start + count)[start..].to_vec()
}

#[test]
fn a_strangers_three_hundred_questions_put_one_ahead_of_anothers() {
    let (scene, turnstile) = one_at_a_time(&[]);
    let mut stranger: Vec<Client> = (0..10).map(|_| client_from(&scene, 2)).collect();
    for (connection, client) in stranger.iter_mut().enumerate() {
        ask_distinct(client, 100 + connection, 30);
    }
    wait_for_questions(&scene, 300);
    assert_eq!(askers(&scene, 8).len(), 8);
    let mut other = scene.client();
    // Its first ones find connections that nobody may take from it.
    ask_distinct(&mut other, 1, 20);
    wait_for_questions(&scene, 320);
    assert_eq!(askers(&scene, 12)[8..], [1; 4]);
    turnstile.allow(1000);
    for _ in 0..20 {
        assert_eq!(other.places_reply().1, THREE);
    }
    for client in &mut stranger {
        for _ in 0..30 {
            assert_eq!(client.places_reply().1, THREE);
        }
    }
    // From then on they take turns, give or take what is under way at the same time.
    let order = askers(&scene, 320);
    let last = order.iter().rposition(|asker| *asker == 1).unwrap();
    assert!(last < 12 + 2 * 16 + 16, "the other's last question was number {last}: {order:?}");
}

#[test]
fn connections_of_one_address_take_turns() {
    let (scene, turnstile) = one_at_a_time(&[]);
    let (mut greedy, mut modest) = (scene.client(), scene.client());
    ask_distinct(&mut greedy, 1, 32);
    wait_for_questions(&scene, 32);
    assert_eq!(askers(&scene, 8), [1; 8]);
    ask_distinct(&mut modest, 2, 3);
    wait_for_questions(&scene, 35);
    assert_eq!(asked_next(&scene, &turnstile, 8), [1, 2, 1, 2, 1, 2, 1, 1]);
    turnstile.allow(1000);
}

#[test]
fn an_address_has_as_many_connections_as_are_free() {
    let (scene, gate) = held(&[]);
    let mut clients = Vec::new();
    let mut total = 0;
    for (address, share) in [(2, 8), (3, 4), (4, 2), (5, 1), (6, 1), (7, 0)] {
        let mut client = client_from(&scene, address);
        ask_distinct(&mut client, address.into(), 20);
        clients.push(client);
        wait_for_questions(&scene, 20 * clients.len());
        let asked = askers(&scene, total + share);
        assert_eq!(asked[total..], vec![usize::from(address); share]);
        total += share;
    }
    assert_eq!((scene.upstream.asked(), scene.upstream.open_max()), (16, 16));
    gate.open();
    for client in &mut clients {
        for _ in 0..20 {
            assert_eq!(client.places_reply().1, THREE);
        }
    }
    assert_eq!((scene.upstream.asked(), scene.upstream.open_max()), (120, 16));
}

#[test]
fn a_shared_question_has_the_turn_of_its_luckiest_asker() {
    let (scene, turnstile) = one_at_a_time(&[]);
    let mut stranger = client_from(&scene, 2);
    ask_distinct(&mut stranger, 1, 32);
    wait_for_questions(&scene, 32);
    scene.upstream.requests(8);
    // The stranger's last question is the other's first.
    let mut other = scene.client();
    other.send("WHATSAT kiwi 0.001031 20\n");
    let shared = scene.upstream.requests(9).pop().unwrap();
    assert!(shared.line().contains("radius=1.031 "), "{}", shared.line());
    turnstile.allow(1000);
    assert_eq!(other.places_reply().1, THREE);
    for _ in 0..32 {
        assert_eq!(stranger.places_reply().1, THREE);
    }
    assert_eq!(scene.upstream.asked(), 32);
}

#[test]
fn when_too_many_wait_the_newest_of_whoever_has_most_is_turned_away() {
    let (scene, gate) = held(&["--max-waiting-in-all", "20"]);
    let (mut many, mut fewer) = (client_from(&scene, 2), client_from(&scene, 2));
    ask_distinct(&mut many, 1, 11);
    ask_distinct(&mut fewer, 2, 9);
    wait_for_questions(&scene, 20);
    let mut other = scene.client();
    let barrier = || assert_eq!(scene.herd.say("Solo", "nonsense"), "? nonsense\n");
    // The newest of the greater connection of the address that has most gives way: its eleventh.
    ask_distinct(&mut other, 3, 1);
    barrier();
    // Whoever has the most is turned away itself.
    ask_distinct(&mut many, 4, 1);
    barrier();
    // Within the address the greater connection gives way to the other: with its tenth.
    ask_distinct(&mut fewer, 5, 1);
    barrier();
    assert_eq!(scene.herd.status("Solo")["questions"], 20);
    gate.open();
    let over = format!("{LIMIT}this server has too many questions waiting\"}}\n");
    let heard = |client: &mut Client, count: usize| -> Vec<bool> {
        let mut served = || {
            let json = client.places_reply().1;
            assert!(json == THREE || json == over, "{json}");
            json == THREE
        };
        (0..count).map(|_| served()).collect()
    };
    assert_eq!(heard(&mut other, 1), [true]);
    let served = heard(&mut many, 12);
    assert_eq!(served, [[true; 9].as_slice(), &[false; 3]].concat());
    assert_eq!(heard(&mut fewer, 10), [true; 10]);
    assert_eq!(scene.upstream.asked(), 20);
}

#[test]
fn what_nobody_waits_for_any_more_is_not_asked() {
    let (scene, turnstile) = one_at_a_time(&[]);
    let mut left = scene.client();
    left.send("nonsense\n");
    ask_distinct(&mut left, 1, 30);
    wait_for_questions(&scene, 30);
    scene.upstream.requests(8);
    let mut stays = scene.client();
    stays.send("WHATSAT kiwi 0.001029 20\n");
    // With a reply unread it resets.
    eventually("the reply is there", || has_heard(&left).then_some(()));
    drop(left);
    // What has been sent, and what somebody else asks too.
    wait_for_questions(&scene, 9);
    turnstile.allow(1000);
    assert_eq!(stays.places_reply().1, THREE);
    wait_for_questions(&scene, 0);
    assert_eq!(scene.upstream.asked(), 9);
}

#[test]
fn calls_beyond_the_rate_wait_and_are_over_the_limit_when_their_time_is_over() {
    let limits = ["--places-rate", "2", "--places-timeout", "3"];
    let scene = Scene::new(&limits, |talk| talk.serve(THREE));
    let mut client = scene.client();
    let begun = Instant::now();
    ask_distinct(&mut client, 1, 30);
    let words = "this server asks no more than 2 questions a second";
    let over = format!("{LIMIT}{words}\"}}\n");
    // One that is sent at the last moment.
    let late = fault("no complete answer within 3 s");
    let (mut served, mut turned_away) = (0, 0);
    for _ in 0..30 {
        let json = client.places_reply().1;
        assert!([THREE, &over, &late].contains(&json.as_str()), "{json}");
        served += usize::from(json == THREE);
        turned_away += usize::from(json == over);
    }
    // A burst of two seconds' calls, and then two a second as long as the questions wait.
    let seconds = usize::try_from(begun.elapsed().as_secs()).unwrap();
    let most = 4 + 2 * (seconds + 1);
    assert!((8..=most).contains(&served) && turned_away >= 15, "{served} of at most {most}");
    assert!(scene.upstream.asked() <= most);
}

#[test]
fn a_retry_is_a_call() {
    let scene = Scene::new(&["--places-rate", "1"], |talk| {
        talk.request();
        talk.answer(THREE);
        if talk.number == 1 {
            talk.request();
        } else {
            talk.serve(THREE);
        }
    });
    let begun = Instant::now();
    assert_eq!(scene.places("10 20"), THREE);
    assert_eq!(scene.places("11 20"), THREE);
    assert_eq!(scene.upstream.asked(), 3);
    // Two calls are the burst; the third has to wait for its second.
    assert!(begun.elapsed().as_millis() >= 900, "{:?}", begun.elapsed());
}

#[test]
fn without_a_rate_there_is_no_limit() {
    let scene = Scene::new(&["--places-rate", "0"], |talk| talk.serve(THREE));
    let mut clients: Vec<Client> = (0..10).map(|_| scene.client()).collect();
    for (who, client) in clients.iter_mut().enumerate() {
        ask_distinct(client, who, 30);
    }
    for client in &mut clients {
        for _ in 0..30 {
            assert_eq!(client.places_reply().1, THREE);
        }
    }
    assert_eq!(scene.upstream.asked(), 300);
}

#[test]
fn the_same_question_twenty_times_in_a_row_is_one_call() {
    let scene = Scene::new(&["--places-cache", "3600"], |talk| talk.serve(THREE));
    let mut client = scene.client();
    client.ask(&format!("IAMAT moa {PLACE} 2"));
    for number in 0..20 {
        // Under two names, in two spellings, on two connections, with all bounds.
        let (who, radius) = if number % 2 == 0 { ("kiwi", "10") } else { ("moa", "010.0") };
        let mut other = scene.client();
        let asker = if number % 3 == 0 { &mut client } else { &mut other };
        asker.send(format!("WHATSAT {who} {radius} {number}\n"));
        let (at_line, json) = asker.places_reply();
        assert!(at_line.contains(&format!(" {who} ")), "{at_line}");
        let lists = ["[]", "[ \"a\" ]", "[ \"a\", \"b\" ]"];
        let list = lists.get(number).copied().unwrap_or("[ \"a\", \"b\", \"c\" ]");
        assert_eq!(json, THREE.replace("[ \"a\", \"b\", \"c\" ]", list));
    }
    // More at once than may wait: they do not wait.
    client.send("WHATSAT kiwi 10 20\n".repeat(100));
    for _ in 0..100 {
        assert_eq!(client.places_reply().1, THREE);
    }
    assert_eq!(scene.upstream.asked(), 1);
    assert_eq!(scene.places("10.001 20"), THREE);
    assert_eq!(scene.upstream.asked(), 2);
}

#[test]
fn an_answer_is_kept_for_its_time_only() {
    let scene = Scene::new(&["--places-cache", "0.2"], |talk| talk.serve(THREE));
    eventually("a second call", || {
        assert_eq!(scene.places("10 20"), THREE);
        (scene.upstream.asked() == 2).then_some(())
    });
    let never = Scene::new(&["--places-cache", "0"], |talk| talk.serve(THREE));
    for count in 1..=3 {
        assert_eq!(never.places("10 20"), THREE);
        assert_eq!(never.upstream.asked(), count);
    }
}

#[test]
fn only_answers_that_are_good_are_kept() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 42\r\n\r\n{\"results\":[],\"status\":\"OVER_QUERY_LIMIT\"}",
        "HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n{\"results\":[],\"status\":\"REQUEST_DENIED\"}",
        "HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{\"results\":[]}",
        "HTTP/1.1 503 Busy\r\nContent-Length: 15\r\n\r\n{\"status\":\"OK\"}",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno",
    ] {
        let scene = Scene::new(&["--places-cache", "3600"], move |talk| {
            while talk.request().is_some() {
                talk.send(answer);
            }
        });
        for count in 1..=3 {
            scene.places("10 20");
            assert_eq!(scene.upstream.asked(), count, "{answer}");
        }
    }
    let zero = "{\"results\":[],\"status\":\"ZERO_RESULTS\"}";
    let scene = Scene::new(&["--places-cache", "3600"], move |talk| talk.serve(zero));
    for _ in 0..3 {
        assert_eq!(scene.places("10 20").trim_end(), zero);
    }
    assert_eq!(scene.upstream.asked(), 1);
}
