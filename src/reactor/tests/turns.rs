//! One turn of the loop: the order of its steps, its budgets, and who meets whom in it.

use super::*;
use crate::reactor::bounds::limits::{READ_BUDGET_BYTES, TURN_READ_BUDGETS};

#[test]
fn a_turn_goes_through_its_steps_in_order() {
    let mut bench = Bench::new();
    let address = bench.listen(|| Script::echo("server"));
    let mut client = Client::connect(address);
    bench.until_heard("server: made");
    let doomed = Script::new("doomed").on_lost(|_, cx| {
        let server = cx.app.token("server");
        let left = cx.io.backlog(server);
        cx.app.note("doomed", &format!("{left} bytes unsent at the server"));
    });
    let producer = Script::new("producer").on_made(|me, cx| cx.io.register_producer(me));
    bench.dial(address, doomed);
    bench.dial(address, producer);
    bench.until_heard("producer: made");
    bench.until_heard("doomed: made");
    bench.until_quiet();

    bench.app().at_turn_end = Some(|notes, io| {
        let left = io.backlog(notes.token("server"));
        notes.note("turn end", &format!("{left} bytes unsent at the server"));
    });
    bench.io().call_later(Duration::from_secs(1), Target::Application, "called");
    bench.later(Duration::from_secs(1));
    // The one with data must be the last that was made by its name, which is what the notes look at.
    let first = bench.app().made[0].1;
    bench.app().made.push(("server", first));
    client.send(b"ping");
    // Returns with the readiness of the bytes: the loop has nothing else to do.
    bench.reactor.sleep(Some(PATIENCE)).unwrap();
    bench.heard();
    let (doomed, producer) = (bench.app().token("doomed"), bench.app().token("producer"));
    bench.io().abort_connection(doomed);
    bench.io().drained.push_back(producer);
    bench.io().post(Target::Application, "posted");
    bench.advance();
    assert_eq!(
        bench.heard(),
        [
            "app: called",
            "app: posted",
            "producer: resume",
            "server: data ping",
            "turn end: 4 bytes unsent at the server",
            "doomed: lost, aborted by this server",
            "doomed: 0 bytes unsent at the server",
        ]
    );
    bench.app().at_turn_end = None;
    bench.until_received(&mut client, 4);
    bench.assert_idle();
}

#[test]
fn whoever_comes_before_the_first_turn_is_served() {
    let mut bench = Bench::new();
    let address = bench.listen(|| Script::echo("server"));
    let mut clients = [0; 3].map(|_| Client::connect(address));
    for client in &mut clients {
        client.send(b"early");
    }
    for client in &mut clients {
        bench.until_received(client, 5);
    }
    assert_eq!(bench.app().count("server: data early"), 3);
    bench.assert_idle();
}

#[test]
fn a_busy_connection_keeps_nobody_waiting_and_what_it_has_left_over_is_read_later() {
    let mut bench = Bench::new();
    let mut names = ["busy", "quiet"].into_iter();
    let address = bench.listen(move || Script::new(names.next().unwrap()));
    let mut busy = Client::connect(address);
    bench.until_heard("busy: made");
    let mut quiet = Client::connect(address);
    bench.until_heard("quiet: made");
    bench.until_quiet();

    let data = pattern(1 << 20);
    let waiting = busy.send_some(data);
    assert!(waiting > 2 * READ_BUDGET_BYTES, "the kernel takes only {waiting} bytes");
    quiet.send(b"short");
    bench.until_heard("quiet: data short");
    let (turns, before) = (bench.io().stats().turns, bench.app().bytes("busy").len());
    assert!(before <= READ_BUDGET_BYTES * usize::try_from(turns).unwrap());
    assert!(before < waiting, "the quiet one had to wait until the busy one was done");
    // Nothing more is sent, so no edge comes: the rest is read because it was queued again.
    bench.until("the rest", |bench| bench.app().bytes("busy").len() == waiting);
    assert_eq!(bench.app().bytes("busy"), &data[..waiting]);
    bench.assert_idle();
}

#[test]
fn many_busy_connections_make_no_long_turn_and_an_urgent_one_is_read_first() {
    let mut bench = Bench::new();
    let mut names = std::iter::once("urgent").chain(std::iter::repeat("busy"));
    let address = bench.listen(move || {
        let name = names.next().unwrap();
        Script::new(name).on_made(move |me, cx| {
            if name == "urgent" {
                cx.io.set_urgent(me);
            }
        })
    });
    let mut urgent = Client::connect(address);
    bench.until_heard("urgent: made");
    let mut crowd: Vec<_> = (0..40).map(|_| Client::connect(address)).collect();
    bench.until("the crowd", |bench| bench.app().count("busy: made") == 40);
    bench.until_quiet();
    let sent: usize = crowd.iter_mut().map(|busy| busy.send_some(pattern(1 << 17))).sum();
    assert!(
        sent > 2 * (TURN_READ_BUDGETS * READ_BUDGET_BYTES),
        "the kernel takes only {sent} bytes"
    );
    bench.turn();
    urgent.send(b"mark");
    bench.turn();
    assert_eq!(bench.app().count("urgent: data mark"), 1, "behind the crowd");
    let (mut seen, bound) =
        (bench.app().bytes("busy").len(), (TURN_READ_BUDGETS * READ_BUDGET_BYTES));
    assert!(seen <= 2 * (bound + READ_BUDGET_BYTES), "{seen} bytes in two turns");
    bench.until("everything", |bench| {
        let length = bench.app().bytes("busy").len();
        assert!(length - seen <= bound + READ_BUDGET_BYTES, "{} bytes in one turn", length - seen);
        seen = length;
        seen == sent
    });
    bench.assert_idle();
}

#[test]
fn no_turn_reads_more_than_the_budget_from_one_connection() {
    let mut bench = Bench::new();
    let address = bench.listen(|| Script::new("server"));
    let mut client = Client::connect(address);
    let sent = client.send_some(pattern(1 << 20));
    let mut seen = 0;
    bench.until("everything", |bench| {
        let length = bench.app().bytes("server").len();
        assert!(length - seen <= READ_BUDGET_BYTES, "{} bytes in one turn", length - seen);
        seen = length;
        seen == sent
    });
    bench.assert_idle();
}

#[test]
fn a_hundred_commands_in_one_segment_are_answered_in_one_write() {
    let mut bench = Bench::new();
    let address = bench.listen(|| {
        Script::new("server").on_data(|me, data, cx| {
            for line in data.split_inclusive(|byte| *byte == b'\n') {
                cx.io.write(me, line);
            }
            let unsent = cx.io.backlog(me);
            cx.app.note("server", &format!("has {unsent} bytes to send"));
        })
    });
    let mut client = Client::connect(address);
    bench.until_heard("server: made");
    bench.until_quiet();
    bench.app().at_turn_end = Some(|notes, io| {
        let (server, waiting) = (notes.token("server"), io.writes.len());
        let unsent = io.backlog(server);
        notes.note("turn end", &format!("{waiting} to flush, {unsent} bytes"));
    });
    client.send(&b"line\n".repeat(100));
    bench.reactor.sleep(Some(PATIENCE)).unwrap();
    bench.heard();
    bench.advance();
    assert_eq!(
        bench.heard()[1..],
        ["server: has 500 bytes to send", "turn end: 1 to flush, 500 bytes"]
    );
    let server = bench.app().token("server");
    assert_eq!(bench.io().backlog(server), 0, "all of it went in that turn");
    bench.app().at_turn_end = None;
    bench.until_received(&mut client, 500);
}

#[test]
fn urgent_connections_are_flushed_before_the_others() {
    let mut bench = Bench::new();
    let mut names = ["client", "link"].into_iter();
    let address = bench.listen(move || Script::new(names.next().unwrap()));
    let _client = Client::connect(address);
    bench.until_heard("client: made");
    let _neighbour = Client::connect(address);
    bench.until_heard("link: made");
    bench.until_quiet();
    let (client, link) = (bench.app().token("client"), bench.app().token("link"));
    bench.io().set_urgent(link);
    bench.io().write(client, b"answer");
    bench.io().write(link, b"news");
    let io = bench.io();
    assert_eq!(
        (io.urgent_writes.make_contiguous(), io.writes.make_contiguous()),
        (&mut [link][..], &mut [client][..])
    );
    bench.turn();
    assert_eq!((bench.io().backlog(link), bench.io().backlog(client)), (0, 0));
    bench.assert_idle();
}

#[test]
fn a_token_kept_past_its_connection_names_nobody() {
    let mut bench = Bench::new();
    let address = bench.listen(|| Script::echo("server"));
    let client = Client::connect(address);
    bench.until_heard("server: made");
    let old = bench.app().token("server");
    bench.io().call_later(Duration::from_secs(5), old, "for the old one, later");
    drop(client);
    bench.until_heard("server: lost, closed in order");
    assert!(!bench.io().write(old, b"anybody there?"));

    let mut stranger = Client::connect(address);
    bench.until("a new connection", |bench| bench.app().count("server: made") == 2);
    let new = bench.app().token("server");
    assert_eq!(old.slot(), new.slot(), "this test is about a slot that is used again");
    bench.heard();
    let io = bench.io();
    assert!(!io.write(old, b"for the old one"));
    assert!(!io.owe(old));
    assert_eq!((io.backlog(old), io.peer(old), io.may_produce(old)), (0, None, false));
    io.settle(old);
    io.pause_producing(old);
    io.lose_connection(old);
    io.abort_connection(old);
    io.post(old, "for the old one");
    // A stale event of the kernel, and a stale entry in each queue.
    io.ready.push_back(old);
    io.writes.push_back(old);
    io.drained.push_back(old);
    io.ended.push_back((old, Reason::Aborted));
    io.switch_protocol(old, Box::new(Script::new("usurper")));
    bench.later(Duration::from_secs(5));
    bench.turn();
    assert_eq!(bench.heard(), [""; 0]);
    stranger.send(b"hello");
    bench.until_received(&mut stranger, 5);
    assert_eq!(stranger.received, b"hello");
    assert_eq!(bench.io().stats().accepted, 1);
    bench.assert_idle();
}

#[test]
fn an_event_of_this_turn_for_a_connection_that_ends_in_it_reaches_nobody() {
    let mut bench = Bench::new();
    let mut names = ["one", "other"].into_iter();
    let address = bench.listen(move || {
        Script::new(names.next().unwrap_or("later")).on_data(|_, _, cx| {
            for name in ["one", "other"] {
                let token = cx.app.token(name);
                cx.io.abort_connection(token);
            }
        })
    });
    let mut one = Client::connect(address);
    bench.until_heard("one: made");
    let mut other = Client::connect(address);
    bench.until_heard("other: made");
    bench.until_quiet();
    bench.heard();
    one.send(b"x");
    other.send(b"x");
    bench.until_heard("other: lost, aborted by this server");
    let heard = bench.heard();
    assert_eq!(heard.iter().filter(|note| note.contains("data")).count(), 1, "{heard:?}");
    assert_eq!(heard.iter().filter(|note| note.contains("lost")).count(), 2, "{heard:?}");
    bench.assert_idle();
}

#[test]
fn another_protocol_takes_over_with_the_next_input() {
    let mut bench = Bench::new();
    let address = bench.listen(|| {
        Script::new("first").on_data(|me, _, cx| {
            let second = Script::echo("second").on_made(|me, cx| {
                cx.io.write(me, b"switched\n");
            });
            // Of two the later stands.
            cx.io.switch_protocol(me, Box::new(Script::new("never")));
            cx.io.switch_protocol(me, Box::new(second));
        })
    });
    let mut client = Client::connect(address);
    client.send(b"hello");
    bench.until_received(&mut client, 9);
    client.send(b"rest");
    client.finish_sending();
    bench.until_end(&mut client);
    assert_eq!(client.received, b"switched\nrest");
    bench.until_heard("second: lost, closed in order");
    assert_eq!(
        bench.heard(),
        [
            "first: made",
            "first: data hello",
            "never: made",
            "second: made",
            "second: data rest",
            "second: read closed",
            "second: lost, closed in order",
        ]
    );
}

#[test]
fn a_protocol_switched_in_at_the_very_end_is_told_of_nothing_and_haunts_nobody() {
    let mut bench = Bench::new();
    let address = bench.listen(|| {
        Script::echo("server").on_lost(|me, cx| {
            cx.io.switch_protocol(me, Box::new(Script::echo("ghost")));
        })
    });
    for _ in 0..3 {
        let mut client = Client::connect(address);
        client.send(b"hello");
        bench.until_received(&mut client, 5);
    }
    bench.until("the last end", |bench| bench.app().count("server: lost, closed in order") == 3);
    assert!(!bench.heard().iter().any(|note| note.starts_with("ghost")));
    assert_eq!(bench.reactor.handlers.iter().flatten().count(), 0);
}

#[test]
fn the_loop_counts_its_turns_and_the_longest_of_them() {
    const WORK: Duration = Duration::from_millis(20);
    let mut bench = Bench::new();
    bench.app().at_event = Some(|_, _, io| {
        std::thread::sleep(WORK);
        io.stop();
    });
    bench.io().post(Target::Application, "work");
    bench.reactor.run().unwrap();
    let stats = bench.io().stats();
    assert!(stats.longest_turn >= WORK, "{stats:?}");
    // It slept, which takes none of a processor's time.
    assert!(stats.longest_turn_cpu < stats.longest_turn, "{stats:?}");
    assert!(stats.longest_turn_cpu > Duration::ZERO, "{stats:?}");
    assert!(stats.turns >= 1 && stats.accepted == 0, "{stats:?}");
}

#[test]
fn a_turn_is_quiet_when_one_event_has_brought_it_and_nothing_is_left_over() {
    let mut bench = Bench::new();
    let address = bench.listen(|| Script::echo("echo"));
    let mut clients: Vec<_> = (0..2).map(|_| Client::connect(address)).collect();
    bench.until("both", |bench| bench.app().count("echo: made") == 2);
    bench.until_quiet();
    let wakes_quiet = |bench: &mut Bench, limit| {
        bench.reactor.sleep(Some(limit)).unwrap();
        let quiet = bench.reactor.is_quiet();
        bench.advance();
        quiet
    };
    clients[0].send(b"one");
    assert!(wakes_quiet(&mut bench, PATIENCE));
    bench.until_quiet();
    clients[0].send(b"one, and what was left over");
    bench.io().post(Target::Application, "left over");
    assert!(!wakes_quiet(&mut bench, PATIENCE));
    bench.until_quiet();
    // No event, as when a delayed call is due.
    assert!(!wakes_quiet(&mut bench, Duration::ZERO));
    // The kernel may still be carrying the second one's when the first one's has come.
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "two events never come at once");
        for client in &mut clients {
            client.send(b"two");
        }
        if !wakes_quiet(&mut bench, PATIENCE) {
            break;
        }
        bench.until_quiet();
    }
}

#[test]
fn a_link_is_read_before_what_an_earlier_turn_has_left_for_this_one() {
    let mut bench = Bench::new();
    let address = bench.listen(|| Script::new("link").on_made(|me, cx| cx.io.set_urgent(me)));
    let mut neighbour = Client::connect(address);
    bench.until_heard("link: made");
    bench.until_quiet();
    bench.heard();
    neighbour.send(b"news");
    bench.reactor.sleep(Some(PATIENCE)).unwrap();
    bench.io().post(Target::Application, "left over");
    bench.advance();
    assert_eq!(bench.heard(), ["link: data news", "app: left over"]);
}

#[test]
fn lines_that_an_earlier_turn_has_left_count_in_the_turn_that_takes_them_up() {
    let mut bench = Bench::with_limits(Limits { input_bytes: 100, ..Limits::default() });
    let address =
        bench.listen(|| Script::new("server").on_event(|_, _, cx| cx.io.charge_input(100)));
    let _client = Client::connect(address);
    bench.until_heard("server: made");
    bench.until_quiet();
    bench.heard();
    let server = bench.app().token("server");
    for _ in 0..=TURN_READ_BUDGETS {
        bench.io().post(server, "go on");
    }
    bench.turn();
    assert_eq!(bench.heard().len(), TURN_READ_BUDGETS);
    bench.turn();
    assert_eq!(bench.heard().len(), 1);
}

#[test]
fn what_had_been_queued_of_one_that_becomes_urgent_goes_first_too() {
    let mut bench = Bench::new();
    let address = bench.listen(|| Script::new("server"));
    let mut clients = [0; 2].map(|_| Client::connect(address));
    bench.until("both", |bench| bench.app().made.len() == 2);
    bench.until_quiet();
    let [first, second] = [0, 1].map(|number| bench.app().made[number].1);
    for client in &mut clients {
        client.send(b"hello");
    }
    bench.io().pause_producing(second);
    bench.until_quiet();
    bench.io().resume_producing(second);
    for token in [first, second] {
        bench.io().write(token, b"reply");
    }
    bench.io().set_urgent(second);
    assert_eq!(bench.io().urgent_writes, [second]);
    assert_eq!(bench.io().urgent_ready, [second]);
    for client in &mut clients {
        bench.until_received(client, 5);
    }
    bench.assert_idle();
}
