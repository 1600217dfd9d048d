//! Connections past a limit that prove to have room of their own, and those that do not; and listeners
//! that change while the loop runs.

use super::*;
use crate::reactor::bounds::limits::{
    ACCEPT_RETRY, PROBATION_HANDSHAKE, PROBATION_LEAST, PROBATION_MAX, PROOF_TIMEOUT,
};
use crate::reactor::tls::session::tests::identity;

/// Answers `prove` by setting the connection apart, and everything else with an echo once there is room.
fn gate() -> Script {
    let answer = |me: Token, data: &[u8], cx: &mut BenchCtx<'_>| {
        if data.starts_with(b"prove") {
            cx.io.set_apart(me);
        } else if cx.io.is_on_probation(me) {
            if cx.io.may_wait_for_room(me) {
                cx.io.pause_producing(me);
            } else {
                cx.io.lose_connection(me);
            }
            return;
        }
        cx.io.write(me, data);
    };
    Script::new("server").on_data(answer).on_resume(|me, cx| {
        cx.io.write(me, b"late");
        cx.io.resume_producing(me);
    })
}

fn with_room(limits: Limits) -> (Bench, SocketAddr) {
    let mut bench = Bench::with_limits(limits);
    let address = bench.listen(gate);
    bench.io().fit_to_descriptors(6);
    bench.io().expect_apart(true);
    (bench, address)
}

fn says(bench: &mut Bench, address: SocketAddr, words: &[u8]) -> Client<TcpStream> {
    let mut client = Client::connect(address);
    client.send(words);
    bench.until_received(&mut client, words.len());
    client
}

#[test]
fn past_the_limit_who_proves_itself_gets_in_and_others_wait_until_one_has_gone() {
    let (mut bench, address) = with_room(Limits { connections: 2, ..Limits::default() });
    let first = says(&mut bench, address, b"one");
    let _second = says(&mut bench, address, b"two");
    let mut waiting = Client::connect(address);
    waiting.send(b"three");
    let mut silent = Client::connect(address);
    bench.until_heard("server: data three");
    for round in 0..3 {
        let mut proven = says(&mut bench, address, b"prove");
        assert_eq!(bench.io().stats().accepted, 5 + round);
        proven.send(b"more");
        bench.until_received(&mut proven, 9);
        std::mem::forget(proven);
    }
    bench.later(2 * PROOF_TIMEOUT);
    bench.until_quiet();
    waiting.pump();
    silent.pump();
    assert_eq!((waiting.received.len(), waiting.end, silent.end), (0, None, None));
    drop(first);
    bench.until_received(&mut waiting, 4);
    assert_eq!(bench.app().count("server: resume"), 1);
    silent.send(b"four");
    bench.until_heard("server: data four");
    bench.assert_idle();
    silent.pump();
    assert!(silent.received.is_empty());
    drop(waiting);
    bench.until_received(&mut silent, 4);
    assert_eq!(silent.received, b"late");
}

#[test]
fn one_that_counted_and_proves_itself_leaves_its_place_to_others() {
    let (mut bench, address) = with_room(Limits { connections: 1, ..Limits::default() });
    let mut first = says(&mut bench, address, b"one");
    let mut second = Client::connect(address);
    second.send(b"two");
    bench.until_heard("server: data two");
    first.send(b"prove");
    bench.until_received(&mut second, 4);
    // And its end frees no place that it did not have.
    let mut third = Client::connect(address);
    third.send(b"three");
    bench.until_heard("server: data three");
    drop(first);
    bench.until("its end", |bench| bench.io().stats().accepted == 2);
    bench.until_quiet();
    third.pump();
    assert!(third.received.is_empty());
}

#[test]
fn past_its_addresses_limit_a_connection_proves_itself_in_time_or_is_closed() {
    let limits = Limits { connections_per_address: Some(1), ..Limits::default() };
    let (mut bench, address) = with_room(limits);
    let _first = says(&mut bench, address, b"one");
    let mut proven = says(&mut bench, address, b"prove");
    let mut stranger = Client::connect(address);
    stranger.send(b"two");
    bench.until_end(&mut stranger);
    assert!(stranger.received.is_empty());
    drop(stranger);
    bench.until("its end", |bench| bench.io().stats().accepted == 2);
    let mut silent = Client::connect(address);
    bench.until("it is in", |bench| bench.io().stats().accepted == 3);
    bench.later(PROOF_TIMEOUT.saturating_sub(MOMENT));
    bench.until_quiet();
    silent.pump();
    assert_eq!(silent.end, None);
    bench.later(MOMENT);
    bench.until_end(&mut silent);
    bench.until_heard("server: lost, closed: its address has as many connections as it may");
    proven.send(b"more");
    bench.until_received(&mut proven, 9);
    let elsewhere = Client::from("127.0.0.2", address);
    bench.until("it is in", |bench| bench.io().stats().accepted == 3);
    drop((proven, elsewhere));
    bench.until("their ends", |bench| bench.io().stats().accepted == 1);
    assert!(bench.io().sockets.len() <= 2, "nothing is left behind");
}

#[test]
fn on_probation_are_few_and_the_idle_one_that_came_first_goes_for_the_next() {
    let (mut bench, address) = with_room(Limits { connections: 1, ..Limits::default() });
    let _first = says(&mut bench, address, b"one");
    let mut crowd: Vec<_> = (0..PROBATION_MAX).map(|_| Client::connect(address)).collect();
    bench.until("all are in", |bench| bench.io().stats().accepted == 1 + PROBATION_MAX);
    // Nobody knocks, so nobody has to go, however long they have been here.
    bench.until_quiet();
    let mut late = Client::connect(address);
    late.send(b"prove");
    bench.until_quiet();
    assert_eq!(bench.io().stats().accepted, 1 + PROBATION_MAX, "each has some time");
    bench.later(PROBATION_LEAST.max(ACCEPT_RETRY));
    bench.until_received(&mut late, 5);
    bench.until_end(&mut crowd[0]);
    bench.until_heard("server: lost, closed: there is no room, and others wait too");
    crowd.iter_mut().for_each(Client::pump);
    assert_eq!(crowd.iter().filter(|client| client.end.is_some()).count(), 1);
    // A crowd that comes again and again does not keep out who proves itself.
    for _ in 0..2 {
        crowd.extend((0..PROBATION_MAX).map(|_| Client::connect(address)));
        let mut proven = Client::connect(address);
        proven.send(b"prove");
        bench.until("it is in", |bench| {
            bench.later(PROBATION_LEAST);
            proven.pump();
            proven.received.len() == 5
        });
        let most = bench.io().stats().accepted;
        assert!(most <= 2 * PROBATION_MAX, "{most}");
    }
}

#[test]
fn who_shakes_hands_is_not_idle() {
    let (tls, _) = identity();
    let mut bench = Bench::with_limits(Limits { connections: 1, ..Limits::default() });
    let options = ListenOptions { speech: Speech::Either(tls), ..ListenOptions::default() };
    let address = bench.listen_with(options, gate);
    bench.io().fit_to_descriptors(1);
    bench.io().expect_apart(true);
    let _first = says(&mut bench, address, b"one");
    let mut shaking = Client::connect(address);
    shaking.send(&[22, 3, 1]);
    let crowd: Vec<_> = (1..PROBATION_MAX).map(|_| Client::connect(address)).collect();
    bench.until("all are in", |bench| bench.io().stats().accepted == 1 + PROBATION_MAX);
    bench.until_quiet();
    bench.later(PROBATION_LEAST.max(ACCEPT_RETRY));
    let late: Vec<_> = (0..3).map(|_| Client::connect(address)).collect();
    bench.until("three have gone", |bench| {
        bench.app().count("server: lost, closed: there is no room, and others wait too") == 3
    });
    shaking.pump();
    assert_eq!(shaking.end, None);
    // But not for ever.
    bench.later(PROBATION_HANDSHAKE);
    let last: Vec<_> = (0..PROBATION_MAX).map(|_| Client::connect(address)).collect();
    bench.until_end(&mut shaking);
    drop((crowd, late, last));
}

#[test]
fn a_listener_for_proof_alone_has_places_of_its_own() {
    let mut bench = Bench::with_limits(Limits { connections: 1, ..Limits::default() });
    let open = bench.listen(gate);
    let options = ListenOptions { proof_only: true, ..ListenOptions::default() };
    let apart = bench.listen_with(options, gate);
    bench.io().fit_to_descriptors(3);
    bench.io().expect_apart(true);
    let _first = says(&mut bench, open, b"one");
    let crowd: Vec<_> = (0..PROBATION_MAX).map(|_| Client::connect(open)).collect();
    bench.until("all are in", |bench| bench.io().stats().accepted == 1 + PROBATION_MAX);
    let mut proven = says(&mut bench, apart, b"prove");
    let mut stranger = Client::connect(apart);
    stranger.send(b"two");
    bench.until_end(&mut stranger);
    drop(stranger);
    bench.until("its end", |bench| bench.io().stats().accepted == 2 + PROBATION_MAX);
    let mut silent = Client::connect(apart);
    bench.until("it is in", |bench| bench.io().stats().accepted == 3 + PROBATION_MAX);
    bench.later(PROOF_TIMEOUT);
    bench.until_end(&mut silent);
    bench.until_heard("server: lost, closed: it has not proven itself, which this port is for");
    proven.send(b"more");
    bench.until_received(&mut proven, 9);
    drop(crowd);
}

#[test]
fn while_nobody_is_missing_nobody_is_on_probation() {
    let mut bench = Bench::with_limits(Limits { connections: 1, ..Limits::default() });
    let address = bench.listen(gate);
    bench.io().fit_to_descriptors(6);
    let _first = says(&mut bench, address, b"one");
    let mut next = Client::connect(address);
    next.send(b"prove");
    bench.until_quiet();
    assert_eq!((bench.io().stats().accepted, next.received.len()), (1, 0));
    bench.io().expect_apart(true);
    bench.later(ACCEPT_RETRY);
    bench.until_received(&mut next, 5);
}

#[test]
fn a_listener_that_closes_lets_in_who_waits_and_its_connections_stay() {
    const WAITING: usize = 100;
    let mut bench = Bench::new();
    let factory = Box::new(Scripts(|| Some(Script::echo("server"))));
    let options = ListenOptions::default;
    let old = bench.io().listen_tcp(any_port(), options(), factory).unwrap();
    let address = bench.io().local_address(old).unwrap();
    let mut early = says(&mut bench, address, b"early");
    let mut waiting: Vec<_> = (0..WAITING).map(|_| Client::connect(address)).collect();
    let other = bench.listen(|| Script::echo("other"));
    bench.io().close_listener(old);
    for client in &mut waiting {
        client.send(b"hello");
    }
    for client in &mut waiting {
        bench.until_received(client, 5);
    }
    bench.until("it is closed", |_| TcpStream::connect(address).is_err());
    early.send(b"later");
    bench.until_received(&mut early, 10);
    says(&mut bench, other, b"hello");
    // Its address is free again, and its name names nothing.
    let factory = Box::new(Scripts(|| Some(Script::echo("new"))));
    bench.io().listen_tcp(address, options(), factory).unwrap();
    bench.io().close_listener(old);
    says(&mut bench, address, b"hello");
    bench.until_heard("new: data hello");
    assert_eq!(bench.reactor.factories.len(), 2);
}

#[test]
fn a_listener_speaks_otherwise_from_now_on_and_earlier_connections_go_on() {
    let (tls, _) = identity();
    let mut bench = Bench::new();
    let factory = Box::new(Scripts(|| Some(Script::echo("server"))));
    let listener = bench.io().listen_tcp(any_port(), ListenOptions::default(), factory).unwrap();
    let address = bench.io().local_address(listener).unwrap();
    let mut early = says(&mut bench, address, b"early");
    bench.io().set_speech(listener, Speech::Tls(tls));
    let mut plain = Client::connect(address);
    plain.send(b"plain text");
    bench.until_end(&mut plain);
    assert_eq!(plain.received.first(), Some(&21), "an alert");
    early.send(b"later");
    bench.until_received(&mut early, 10);
}
