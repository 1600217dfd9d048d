//! Accepting: limits, shortages, bursts, and Unix sockets.

use std::fs::File;
use std::io::BufReader;

use super::*;
use crate::reactor::bounds::limits::{ACCEPT_BUDGET, ACCEPT_RETRY};
use crate::reactor::io::sockets::Kind;
use crate::reactor::net::accept::{Accepted, Listener, ListenerSocket, Speech, find_listener};

#[test]
fn a_burst_larger_than_the_budget_of_a_turn_is_accepted_whole() {
    const BURST: usize = ACCEPT_BUDGET + 20;
    let mut bench = Bench::new();
    let address = bench.listen(|| Script::new("server"));
    let clients: Vec<_> = (0..BURST).map(|_| Client::connect(address)).collect();
    bench.turn();
    assert_eq!(bench.io().stats().accepted, ACCEPT_BUDGET);
    // Nobody else comes, so no edge either.
    bench.until("the rest", |bench| bench.io().stats().accepted == BURST);
    drop(clients);
    bench.until("their ends", |bench| bench.io().stats().accepted == 0);
    bench.assert_idle();
}

#[test]
fn a_connection_that_the_factory_does_not_want_is_closed() {
    let mut bench = Bench::new();
    let mut turn = 0;
    let factory = Scripts(move || {
        turn += 1;
        (turn % 2 == 0).then(|| Script::echo("server"))
    });
    let listener =
        bench.io().listen_tcp(any_port(), ListenOptions::default(), Box::new(factory)).unwrap();
    let address = bench.io().local_address(listener).unwrap();
    let mut unwanted = Client::connect(address);
    bench.until_end(&mut unwanted);
    let mut wanted = Client::connect(address);
    wanted.send(b"hello");
    bench.until_received(&mut wanted, 5);
    assert_eq!(bench.io().stats().accepted, 1);
    bench.assert_idle();
}

#[test]
fn at_the_limit_of_connections_the_next_waits_until_one_has_gone() {
    let mut bench = Bench::with_limits(Limits { connections: 2, ..Limits::default() });
    let address = bench.listen(|| Script::echo("server"));
    let mut clients: Vec<_> = (0..3).map(|_| Client::connect(address)).collect();
    for client in &mut clients {
        client.send(b"hello");
    }
    bench.until_received(&mut clients[0], 5);
    bench.until_received(&mut clients[1], 5);
    for _ in 0..3 {
        bench.assert_idle();
        bench.later(ACCEPT_RETRY);
        bench.turn();
    }
    assert_eq!(bench.io().stats().accepted, 2);
    clients.remove(0);
    bench.until("room", |bench| bench.io().stats().accepted == 1);
    bench.later(ACCEPT_RETRY);
    bench.until_received(&mut clients[1], 5);
    bench.assert_idle();
}

/// Whether a listener waits for its delayed call.
fn is_paused(bench: &mut Bench, listener: Token) -> bool {
    find_listener(&mut bench.io().sockets, listener).unwrap().paused
}

#[test]
fn while_accepting_pauses_a_new_arrival_is_not_accepted_though_there_is_room() {
    let mut bench = Bench::with_limits(Limits { connections: 1, ..Limits::default() });
    let address = bench.listen(|| Script::new("server"));
    let first = Client::connect(address);
    bench.until_heard("server: made");
    let _second = Client::connect(address);
    let listener = Token::new(0, 0);
    bench.until("the pause", |bench| is_paused(bench, listener));
    drop(first);
    bench.until("room", |bench| bench.io().stats().accepted == 0);
    // An edge: without the pause it would end the wait.
    let _third = Client::connect(address);
    bench.assert_idle();
    assert_eq!((bench.io().stats().accepted, is_paused(&mut bench, listener)), (0, true));
    bench.later(ACCEPT_RETRY.checked_sub(MOMENT).unwrap());
    bench.turn();
    assert_eq!(bench.io().stats().accepted, 0);
    bench.later(MOMENT);
    bench.until("the next", |bench| bench.io().stats().accepted == 1);
}

#[test]
fn a_listener_is_found_by_its_own_name_alone() {
    let mut bench = Bench::new();
    let listener = {
        let factory = Box::new(Scripts(|| Some(Script::new("server"))));
        bench.io().listen_tcp(any_port(), ListenOptions::default(), factory).unwrap()
    };
    find_listener(&mut bench.io().sockets, listener).unwrap().paused = true;
    // The name of one that stood in the same slot before.
    let earlier = Token::new(listener.slot(), listener.generation().wrapping_sub(1));
    assert!(find_listener(&mut bench.io().sockets, earlier).is_none());
    bench.io().resume_accepting(earlier);
    assert!(
        is_paused(&mut bench, listener),
        "the delayed call of another listener ended its pause"
    );
    bench.io().resume_accepting(listener);
    assert!(!is_paused(&mut bench, listener));
}

#[test]
fn one_who_has_gone_or_a_signal_does_not_pause_accepting_and_any_other_error_does() {
    let mut bench = Bench::new();
    // In the order in which they come.
    let mut errors =
        vec![ErrorKind::Interrupted, ErrorKind::ConnectionAborted, ErrorKind::OutOfMemory];
    errors.reverse();
    let failing = Listener::new(ListenerSocket::Failing(errors), Speech::Plain);
    let listener = bench.io().keep(Kind::Listener(failing));
    for _ in 0..2 {
        assert!(matches!(bench.io().accept(listener), Accepted::Gone));
        assert!(!is_paused(&mut bench, listener));
    }
    assert!(matches!(bench.io().accept(listener), Accepted::Nobody));
    assert!(is_paused(&mut bench, listener));
    bench.io().resume_accepting(listener);
    assert!(matches!(bench.io().accept(listener), Accepted::Nobody), "nobody waits");
    assert!(!is_paused(&mut bench, listener));
}

#[test]
fn an_address_in_use_is_an_error_and_no_listener() {
    let mut bench = Bench::new();
    let address = bench.listen(|| Script::new("server"));
    let factory = Box::new(Scripts(|| Some(Script::new("other"))));
    let error = bench.io().listen_tcp(address, ListenOptions::default(), factory).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert_eq!(bench.io().sockets.len(), 1);
}

#[test]
fn unix_sockets_work_like_any_other() {
    let folder = std::env::temp_dir().join(format!("herd-reactor-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("socket");
    let mut bench = Bench::new();
    let factory = Box::new(Scripts(|| Some(Script::echo("server"))));
    let listener = bench.io().listen_unix(&path, factory).unwrap();
    assert_eq!(bench.io().local_address(listener), None);
    let second = Box::new(Scripts(|| Some(Script::echo("server"))));
    let error = bench.io().listen_unix(&path, second).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);

    let stream = UnixStream::connect(&path).unwrap();
    stream.set_nonblocking(true).unwrap();
    let mut client = Client::over(stream);
    let mut sent = 0;
    let data = pattern(2 << 20);
    bench.until("the echo", |_| {
        sent += client.send_some(&data[sent..]);
        client.pump();
        client.received.len() == data.len()
    });
    assert!(client.received == data);
    let server = bench.app().token("server");
    assert_eq!(bench.io().peer(server), Some(Peer::Unix));
    client.finish_sending();
    bench.until_end(&mut client);
    bench.until_heard("server: lost, closed in order");
    std::fs::remove_dir_all(&folder).unwrap();
    bench.assert_idle();
}

#[test]
fn out_of_descriptors_accepting_pauses_and_recovers_by_itself() {
    if is_child() {
        return serve_without_descriptors();
    }
    let mut child = spawn_child(
        "reactor::tests::accepting::out_of_descriptors_accepting_pauses_and_recovers_by_itself",
        "ulimit -n 40",
    );
    let mut output = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_to_string(&mut output).unwrap();
    assert!(child.wait().unwrap().success(), "{output}");
    assert!(output.contains("1 passed"), "{output}");
}

/// In the child, which may open 40 files.
fn serve_without_descriptors() {
    let mut bench = Bench::new();
    let address = bench.listen(|| Script::echo("server"));
    let mut early = Client::connect(address);
    bench.until_heard("server: made");
    let mut files = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        files.push(file);
    }
    assert!(files.len() < 40, "the limit does not hold");
    // One descriptor, for the client's own side.
    files.pop();
    let mut late = Client::connect(address);
    late.send(b"late");
    let turns = bench.io().stats().turns;
    for round in 1..=5 {
        early.send(b"early");
        bench.until_received(&mut early, 5 * round);
        bench.assert_idle();
        bench.later(ACCEPT_RETRY);
    }
    bench.turn();
    assert_eq!(bench.io().stats().accepted, 1);
    let turns = bench.io().stats().turns - turns;
    assert!(turns < 100, "{turns} turns: accepting spins");
    files.clear();
    bench.later(ACCEPT_RETRY);
    bench.until_received(&mut late, 4);
    bench.assert_idle();
}
