//! Past each bound of [`Limits`], and just short of it.

use super::*;
use crate::reactor::bounds::limits::{LOSE_TIMEOUT, UNREAD_MAX_BYTES, UNREAD_TIMEOUT};

const IDLE_LIMIT: Duration = Duration::from_secs(10);

fn shouting(length: usize) -> impl FnMut() -> Script + 'static {
    move || {
        Script::new("server").on_made(move |me, cx| {
            cx.io.write(me, pattern(length));
        })
    }
}

/// Makes the server's output stand still: the kernel has taken what it can.
fn choked_bench(length: usize) -> (Bench, Client<TcpStream>) {
    let mut bench = Bench::new();
    let address = bench.listen(shouting(length));
    let client = Client::connect(address);
    bench.until_heard("server: made");
    bench.until_quiet();
    assert!(bench.io().stats().accepted == 1);
    (bench, client)
}

#[test]
fn more_unread_output_than_the_bound_ends_the_connection() {
    let mut bench = Bench::with_limits(Limits::default());
    let address = bench.listen(shouting(MANY_BYTES));
    let _client = Client::connect(address);
    bench.until_heard("server: made");
    bench.until("its end", |bench| bench.io().stats().accepted == 0);
    let heard = bench.heard();
    let words = heard.last().unwrap().strip_prefix("server: lost, closed: ").unwrap();
    let bytes = words.strip_suffix(" bytes of its replies lay unread").unwrap();
    assert!(bytes.parse::<usize>().unwrap() > UNREAD_MAX_BYTES, "{words}");
    bench.assert_idle();
}

#[test]
fn as_much_output_is_no_matter_to_one_who_reads_it() {
    let mut bench = Bench::with_limits(Limits::default());
    let address = bench.listen(|| {
        Script::new("server").on_data(|me, _, cx| {
            cx.io.write(me, pattern(UNREAD_MAX_BYTES));
        })
    });
    let mut client = Client::connect(address);
    for round in 1..4 {
        client.send(b"more");
        bench.until_received(&mut client, round * UNREAD_MAX_BYTES);
    }
    assert_eq!(bench.io().stats().accepted, 1);
}

#[test]
fn output_that_lies_unread_for_too_long_ends_the_connection() {
    let (mut bench, mut client) = choked_bench(MANY_BYTES);
    bench.later(UNREAD_TIMEOUT.saturating_sub(MOMENT));
    bench.turn();
    bench.assert_idle();
    assert_eq!(bench.heard(), ["server: made"]);
    bench.later(MOMENT);
    bench.turn();
    assert_eq!(bench.heard(), ["server: lost, closed: its replies lay unread for 60 s"]);
    bench.until_end(&mut client);
    assert!(client.received.len() < MANY_BYTES);
    bench.assert_idle();
}

#[test]
fn a_slow_but_steady_reader_gets_everything() {
    let (mut bench, mut client) = choked_bench(MANY_BYTES);
    while client.received.len() < MANY_BYTES {
        // As much as makes the kernel take more.
        let before = client.received.len();
        bench.until("some bytes", |_| {
            client.pump_once(1 << 20);
            client.received.len() >= MANY_BYTES.min(before + (4 << 20))
        });
        bench.until_quiet();
        bench.later(UNREAD_TIMEOUT.saturating_sub(MOMENT));
        bench.turn();
    }
    bench.later(2 * UNREAD_TIMEOUT);
    bench.until_quiet();
    assert_eq!(bench.heard(), ["server: made", "server: resume"]);
    bench.assert_idle();
}

#[test]
fn a_slow_but_steady_reader_gets_everything_of_a_closing_connection_too() {
    let mut bench = Bench::new();
    let address = bench.listen(|| {
        Script::new("server").on_made(|me, cx| {
            cx.io.write(me, pattern(MANY_BYTES));
            cx.io.lose_connection(me);
        })
    });
    let mut client = Client::connect(address);
    bench.until_heard("server: made");
    bench.until_quiet();
    while client.end.is_none() {
        let before = client.received.len();
        bench.until("some bytes", |_| {
            client.pump_once(1 << 20);
            client.end.is_some() || client.received.len() >= before + (4 << 20)
        });
        bench.until_quiet();
        bench.later(LOSE_TIMEOUT.saturating_sub(MOMENT));
        bench.turn();
    }
    assert_eq!((client.received.len(), client.end), (MANY_BYTES, Some(Ok(()))));
}

#[test]
fn one_who_read_late_but_all_is_looked_at_once_more_and_then_left_alone() {
    let (mut bench, mut client) = choked_bench(MANY_BYTES);
    bench.until_received(&mut client, MANY_BYTES);
    bench.until_quiet();
    assert!(bench.io().timers.next_due().is_some());
    let server = bench.app().token("server");
    // Until then the buffer stays, since it counts what was sent; afterwards it goes.
    assert!(bench.io().connection(server).unwrap().sent_bytes() > 0);
    bench.later(UNREAD_TIMEOUT);
    bench.turn();
    assert_eq!(bench.io().connection(server).unwrap().sent_bytes(), 0);
    assert_eq!(bench.io().timers.next_due(), None);
    assert_eq!(bench.heard(), ["server: made", "server: resume"]);
}

#[test]
fn who_reads_everything_is_never_timed() {
    let mut bench = Bench::new();
    let address = bench.listen(|| Script::echo("server"));
    let mut client = Client::connect(address);
    client.send(b"hello");
    bench.until_received(&mut client, 5);
    assert_eq!(bench.io().timers.next_due(), None);
}

fn idle_bench(script: impl FnMut() -> Script + 'static) -> (Bench, Client<TcpStream>) {
    let mut bench =
        Bench::with_limits(Limits { idle_timeout: Some(IDLE_LIMIT), ..Limits::default() });
    let address = bench.listen(script);
    let client = Client::connect(address);
    bench.until_heard("server: made");
    (bench, client)
}

#[test]
fn silence_ends_a_connection_and_each_word_prolongs_it() {
    let (mut bench, mut client) = idle_bench(|| Script::new("server"));
    for _ in 0..3 {
        bench.later(IDLE_LIMIT / 2);
        let heard = bench.app().bytes("server").len();
        client.send(b"still here");
        bench.until("the word", |bench| bench.app().bytes("server").len() > heard);
    }
    bench.heard();
    bench.later(IDLE_LIMIT.saturating_sub(MOMENT));
    bench.turn();
    bench.assert_idle();
    assert_eq!(bench.heard(), [""; 0]);
    bench.later(MOMENT);
    bench.turn();
    assert_eq!(bench.heard(), ["server: lost, closed: nothing was heard from it for 10 s"]);
    bench.until_end(&mut client);
    assert_eq!(client.end, Some(Ok(())), "its stream ends in order");
    bench.assert_idle();
    assert_eq!(bench.io().timers.next_due(), None);
}

#[test]
fn one_who_waits_for_an_answer_may_be_silent() {
    let (mut bench, mut client) = idle_bench(|| {
        Script::new("server").on_data(|me, _, cx| {
            cx.io.owe(me);
        })
    });
    client.send(b"question");
    bench.until_heard("server: data question");
    for _ in 0..5 {
        bench.later(IDLE_LIMIT);
        bench.turn();
    }
    let server = bench.app().token("server");
    assert!(bench.io().write(server, b"answer"));
    bench.io().settle(server);
    bench.until_received(&mut client, 6);
    // From the answer on the silence is the client's own.
    bench.later(2 * IDLE_LIMIT);
    bench.turn();
    assert_eq!(bench.app().count("server: lost, closed: nothing was heard from it for 10 s"), 1);
}

#[test]
fn urgent_connections_may_be_silent() {
    let (mut bench, _client) =
        idle_bench(|| Script::new("server").on_made(|me, cx| cx.io.set_urgent(me)));
    bench.later(3 * IDLE_LIMIT);
    bench.until_quiet();
    assert_eq!(bench.heard(), ["server: made"]);
    assert_eq!(bench.io().timers.next_due(), None);
}

#[test]
fn who_is_gone_is_not_looked_at_any_more() {
    let (mut bench, client) = idle_bench(|| Script::new("server"));
    assert!(bench.io().timers.next_due().is_some());
    drop(client);
    bench.until_heard("server: lost, closed in order");
    assert_eq!(bench.io().timers.next_due(), None);
}

#[test]
fn an_address_with_too_many_connections_gets_no_more_until_one_has_gone() {
    let mut bench =
        Bench::with_limits(Limits { connections_per_address: Some(2), ..Limits::default() });
    let address = bench.listen(|| Script::echo("server"));
    let mut clients: Vec<_> = (0..2).map(|_| Client::connect(address)).collect();
    bench.until("both", |bench| bench.io().stats().accepted == 2);
    let mut third = Client::connect(address);
    bench.until_end(&mut third);
    for client in &mut clients {
        client.send(b"hello");
        bench.until_received(client, 5);
    }
    // Somebody from elsewhere has room of his own, and so have programs of this machine.
    let mut elsewhere = Client::from("127.0.0.2", address);
    elsewhere.send(b"hello");
    bench.until_received(&mut elsewhere, 5);
    clients.pop();
    bench.until("room", |bench| bench.io().stats().accepted == 2);
    let mut late = Client::connect(address);
    late.send(b"hello");
    bench.until_received(&mut late, 5);
    drop((clients, elsewhere, late));
    bench.until("their ends", |bench| bench.io().stats().accepted == 0);
    bench.assert_idle();
}

#[test]
fn a_connection_that_the_factory_does_not_want_does_not_count_for_its_address() {
    let mut bench =
        Bench::with_limits(Limits { connections_per_address: Some(1), ..Limits::default() });
    let mut knocks = 0;
    let factory = Scripts(move || {
        knocks += 1;
        (knocks > 3).then(|| Script::echo("server"))
    });
    let listener =
        bench.io().listen_tcp(any_port(), ListenOptions::default(), Box::new(factory)).unwrap();
    let address = bench.io().local_address(listener).unwrap();
    for _ in 0..3 {
        let mut unwanted = Client::connect(address);
        bench.until_end(&mut unwanted);
    }
    let mut wanted = Client::connect(address);
    wanted.send(b"hello");
    bench.until_received(&mut wanted, 5);
}

#[test]
fn a_full_server_still_lets_programs_of_its_machine_in() {
    let folder = std::env::temp_dir().join(format!("herd-bounds-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("socket");
    let mut bench = Bench::with_limits(Limits { connections: 1, ..Limits::default() });
    let address = bench.listen(|| Script::echo("server"));
    let factory = Box::new(Scripts(|| Some(Script::echo("local"))));
    bench.io().listen_unix(&path, factory).unwrap();
    let _client = Client::connect(address);
    bench.until_heard("server: made");
    let stream = UnixStream::connect(&path).unwrap();
    stream.set_nonblocking(true).unwrap();
    let mut local = Client::over(stream);
    local.send(b"hello");
    bench.until_received(&mut local, 5);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn input_and_output_are_bounded_as_asked() {
    const INPUT: usize = 1000;
    const OUTPUT: usize = 10_000;
    let mut bench = Bench::with_limits(Limits {
        input_bytes: INPUT,
        output_bytes: OUTPUT,
        unread_bytes: None,
        ..Limits::default()
    });
    let address = bench.listen(|| {
        let script = Script::new("server").on_made(|me, cx| {
            cx.io.write(me, pattern(MANY_BYTES));
        });
        script.on_data(|_, data, _| assert!(data.len() <= INPUT, "{} bytes", data.len()))
    });
    let mut client = Client::connect(address);
    bench.until_heard("server: made");
    let server = bench.app().token("server");
    client.send(&pattern(MANY_BYTES)[..10 * INPUT]);
    bench.until_quiet();
    assert_eq!(bench.app().bytes("server"), b"");
    assert!(bench.io().is_held_back(server));
    assert_eq!(bench.io().limits.low_water_bytes(), OUTPUT / 4);
    bench.until("the low mark", |bench| {
        client.pump_once(1 << 16);
        let (backlog, held_back) = (bench.io().backlog(server), bench.io().is_held_back(server));
        assert!(held_back || backlog <= OUTPUT / 4, "{backlog} bytes");
        !held_back
    });
    bench.until("all input", |bench| bench.app().bytes("server").len() == 10 * INPUT);
}

#[test]
fn a_listener_stands_in_the_queue_once_however_many_knock() {
    let mut bench = Bench::with_limits(Limits { connections: 1, ..Limits::default() });
    let address = bench.listen(|| Script::echo("server"));
    let mut clients = Vec::new();
    for _ in 0..50 {
        clients.push(Client::connect(address));
        // Reaped but not served: each knock is an event of its own.
        bench.reactor.sleep(Some(Duration::ZERO)).unwrap();
        bench.reactor.note(bench.clock);
        assert!(bench.io().ready.len() <= 1);
    }
}

/// An idle connection is its place in the slab and one in the table of protocols, beside the protocol
/// itself. mio's socket is 8 bytes in a release and larger where it checks itself, as in tests.
#[test]
fn an_idle_connection_is_small() {
    let stream = size_of::<Option<crate::reactor::connection::stream::Stream>>();
    assert_eq!(size_of::<connection::Connection>() - stream, 72);
    assert_eq!(size_of::<crate::reactor::io::sockets::Socket>() - stream, 80);
    assert_eq!(size_of::<Option<Box<dyn Protocol<Notes>>>>(), 16);
}
