//! Every way in which a connection can end: its protocol is told once, and the slot is free.

use super::*;

/// How many were told, and with which reason, the last time.
fn lost(bench: &mut Bench, name: &str) -> (usize, String) {
    let prefix = format!("{name}: lost, ");
    let told = bench.app().heard.iter().filter_map(|note| note.strip_prefix(&prefix));
    let reasons: Vec<String> = told.map(str::to_owned).collect();
    (reasons.len(), reasons.last().cloned().unwrap_or_default())
}

/// Waits for the end of `name`, goes on for a while, and answers with the reason that was told once.
fn the_one_end(bench: &mut Bench, name: &str) -> String {
    bench.until("its end", |bench| lost(bench, name).0 > 0);
    bench.until_quiet();
    bench.later(Duration::from_secs(3600));
    bench.until_quiet();
    let (times, why) = lost(bench, name);
    assert_eq!(times, 1, "{:?}", bench.heard());
    assert_eq!(bench.io().sockets.len(), 1, "only the listener is left");
    assert_eq!(bench.reactor.handlers.iter().flatten().count(), 0);
    assert_eq!(bench.io().stats().accepted, 0);
    why
}

/// A server that greets, and a client that goes away with the greeting unread: the kernel answers for
/// it with a reset.
fn reset_by_the_peer(make: fn() -> Script, before: impl FnOnce(&mut Bench, Token)) -> String {
    let mut bench = Bench::new();
    let address = bench.listen(make);
    let client = Client::connect(address);
    bench.until_heard("server: made");
    let server = bench.app().token("server");
    bench.io().write(server, b"greeting");
    bench.until_quiet();
    before(&mut bench, server);
    drop(client);
    the_one_end(&mut bench, "server")
}

fn is_reset(why: &str) -> bool {
    why.starts_with("Connection reset") || why.starts_with("Broken pipe")
}

#[test]
fn reset_while_open() {
    let why = reset_by_the_peer(|| Script::new("server"), |_, _| {});
    assert!(is_reset(&why), "{why}");
}

#[test]
fn reset_while_paused() {
    let why = reset_by_the_peer(
        || Script::new("server"),
        |bench, server| {
            bench.io().pause_producing(server);
        },
    );
    assert!(is_reset(&why), "{why}");
}

#[test]
fn reset_while_held_back() {
    let why = reset_by_the_peer(
        || Script::new("server"),
        |bench, server| {
            bench.io().write(server, pattern(MANY_BYTES));
            bench.until_quiet();
            assert!(bench.io().backlog(server) > 0);
        },
    );
    assert!(is_reset(&why), "{why}");
}

#[test]
fn reset_while_losing() {
    let why = reset_by_the_peer(
        || Script::new("server"),
        |bench, server| {
            bench.io().owe(server);
            bench.io().lose_connection(server);
            bench.until_quiet();
        },
    );
    assert!(is_reset(&why), "{why}");
}

#[test]
fn reset_while_lingering() {
    let why = reset_by_the_peer(
        || Script::new("server"),
        |bench, server| {
            bench.io().lose_connection(server);
            bench.until_quiet();
        },
    );
    assert!(is_reset(&why), "{why}");
}

/// The peer has finished sending and waits for its answer, and is then killed. Nothing is written
/// meanwhile that would find it out.
fn reset_after_the_peers_end(server: fn() -> Script) {
    let mut bench = Bench::new();
    let address = bench.listen(server);
    let client = Client::connect(address);
    bench.until_heard("server: made");
    let server = bench.app().token("server");
    bench.io().write(server, b"greeting");
    client.finish_sending();
    bench.until_heard("server: read closed");
    bench.until_quiet();
    drop(client);
    bench.until("its end", |bench| lost(bench, "server").0 > 0);
    let why = the_one_end(&mut bench, "server");
    assert!(is_reset(&why), "{why}");
    assert_eq!(bench.app().count("server: read closed"), 1);
}

#[test]
fn reset_while_a_reply_is_owed_after_the_peers_end() {
    reset_after_the_peers_end(|| {
        Script::new("server").on_made(|me, cx| {
            cx.io.owe(me);
        })
    });
}

#[test]
fn reset_while_speaking_on_after_the_peers_end() {
    reset_after_the_peers_end(|| Script::new("server").on_read_closed(|_, _| {}));
}

#[test]
fn lose_then_abort_then_lose() {
    let mut bench = Bench::new();
    let address = bench.listen(|| {
        Script::new("server").on_data(|me, _, cx| {
            cx.io.write(me, b"never sent");
            cx.io.lose_connection(me);
            cx.io.abort_connection(me);
            cx.io.abort_connection(me);
            cx.io.lose_connection(me);
            assert!(!cx.io.write(me, b"x"));
        })
    });
    let mut client = Client::connect(address);
    client.send(b"x");
    assert_eq!(the_one_end(&mut bench, "server"), "aborted by this server");
    bench.until_end(&mut client);
    assert_eq!(client.received, b"");
}

#[test]
fn abort_in_each_callback() {
    type Add = fn(Script) -> Script;
    let abort = |me, cx: &mut BenchCtx<'_>| cx.io.abort_connection(me);
    let scripts: [(&str, Add); 4] = [
        ("made", |s| s.on_made(|me, cx| cx.io.abort_connection(me))),
        ("data", |s| s.on_data(|me, _, cx| cx.io.abort_connection(me))),
        ("read closed", |s| s.on_read_closed(|me, cx| cx.io.abort_connection(me))),
        ("event", |s| s.on_event(|me, _, cx| cx.io.abort_connection(me))),
    ];
    for (callback, script) in scripts {
        let mut bench = Bench::new();
        // In `connection_lost` it does nothing any more.
        let address = bench.listen(move || script(Script::new("server")).on_lost(abort));
        let mut client = Client::connect(address);
        client.send(b"x");
        bench.until_heard("server: made");
        let server = bench.app().token("server");
        match callback {
            "event" => bench.io().post(server, "event"),
            "read closed" => client.finish_sending(),
            _ => {}
        }
        assert_eq!(the_one_end(&mut bench, "server"), "aborted by this server", "{callback}");
        let heard = bench.heard();
        let last_but_one = &heard[heard.len() - 2];
        assert!(last_but_one.starts_with(&format!("server: {callback}")), "{heard:?}");
    }
}

#[test]
fn connecting_anew_from_the_callback_of_the_end() {
    let mut bench = Bench::new();
    let address = bench.listen(|| Script::new("server"));
    let again = move |_: Token, cx: &mut BenchCtx<'_>| {
        let script = Script::new("second").on_made(|me, cx| {
            cx.io.write(me, b"here again");
        });
        let options = ConnectOptions::default();
        cx.io.connect_tcp("127.0.0.1", address.port(), options, Box::new(script));
    };
    let first = bench.dial(address, Script::new("first").on_lost(again));
    bench.until_heard("first: made");
    bench.io().abort_connection(first);
    bench.until_heard("server: data here again");
    assert_eq!(lost(&mut bench, "first").0, 1);
    assert!(!bench.io().write(first, b"x"));
}

#[test]
fn ten_thousand_ends_in_one_turn() {
    const MANY: usize = 10_000;
    let mut bench = Bench::new();
    let tokens: Vec<Token> = (0..MANY)
        .map(|_| {
            let options = ConnectOptions::default();
            bench.io().connect_tcp("localhost", 1, options, Box::new(Script::new("many")))
        })
        .collect();
    for token in &tokens {
        bench.io().abort_connection(*token);
    }
    bench.turn();
    let ends = bench.app().heard.iter().filter(|note| note.starts_with("many: lost, ")).count();
    assert_eq!((ends, bench.io().sockets.len()), (MANY, 0));
    bench.until_quiet();
}

#[test]
fn hundreds_of_real_connections_come_and_go() {
    const MANY: usize = 300;
    let mut bench = Bench::new();
    let address = bench.listen(|| Script::echo("server"));
    for round in 1..=2 {
        let connect = |_| {
            let mut client = Client::connect(address);
            client.send(b"hello");
            // Or the kernel's backlog would be full after 128 of them.
            bench.turn();
            client
        };
        let mut clients: Vec<_> = (0..MANY).map(connect).collect();
        for client in &mut clients {
            bench.until_received(client, 5);
        }
        assert_eq!(bench.io().stats().accepted, MANY);
        drop(clients);
        bench.until("all ends", |bench| lost(bench, "server").0 == round * MANY);
        bench.until_quiet();
        let counts = (bench.io().stats().accepted, bench.io().sockets.len());
        assert_eq!(counts, (0, 1));
    }
    assert!(bench.reactor.handlers.len() <= MANY + 1, "slots are used again");
}

#[test]
fn what_an_end_changes_does_not_wait_for_the_next_event_to_be_handed_on() {
    let mut bench = Bench::new();
    let address = bench.listen(|| Script::new("server"));
    let client = Client::connect(address);
    bench.until_heard("server: made");
    bench.until_quiet();
    bench.app().at_turn_end = Some(|notes, _| notes.note("app", "turn end"));
    drop(client);
    bench.until_heard("server: lost, closed in order");
    assert_eq!(bench.heard().last().unwrap(), "server: lost, closed in order");
    assert!(bench.io().is_busy());
    bench.advance();
    assert_eq!(bench.heard(), ["app: turn end"]);
    assert!(!bench.io().is_busy());
}
