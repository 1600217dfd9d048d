//! Names with several addresses: which is tried when, which wins, and what becomes of the others.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use super::*;
use crate::reactor::bounds::limits::ATTEMPT_DELAY;
use crate::reactor::io::sockets::Kind;
use crate::reactor::tls::session::tests::identity;

/// Addresses of this machine, each by its last number. Nobody listens at them unless a test does.
pub fn addresses(last: &[u8]) -> Vec<SocketAddr> {
    last.iter().map(|last| SocketAddr::new([127, 0, 0, *last].into(), 0)).collect()
}

/// From now on every name has these addresses.
pub fn resolve_to(bench: &mut Bench, last: &[u8]) {
    let answer = addresses(last);
    bench.io().resolver = Arc::new(move |_: &str| Ok(answer.clone()));
}

/// An address at which no attempt is ever answered: a listener's backlog is full, so that the kernel drops
/// whatever comes.
struct BlackHole {
    _listener: TcpListener,
    _backlog: Vec<mio::net::TcpStream>,
}

impl BlackHole {
    fn at(last: u8, port: u16) -> Self {
        let address = SocketAddr::new([127, 0, 0, last].into(), port);
        let listener = TcpListener::bind(address).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let first = TcpStream::connect(address).unwrap();
        first.set_nonblocking(true).unwrap();
        let more = (0..3).map(|_| mio::net::TcpStream::connect(address).unwrap());
        let backlog = std::iter::once(mio::net::TcpStream::from_std(first)).chain(more).collect();
        Self { _listener: listener, _backlog: backlog }
    }
}

/// A server at 127.0.0.1, and its port.
fn server(bench: &mut Bench) -> u16 {
    bench.listen(|| Script::new("server")).port()
}

fn connect(bench: &mut Bench, port: u16, script: Script) -> Token {
    bench.io().connect_tcp("many.example", port, ConnectOptions::default(), Box::new(script))
}

fn attempts(bench: &mut Bench) -> usize {
    let sockets = bench.io().sockets.iter();
    sockets.filter(|(_, socket)| matches!(socket.kind, Kind::Attempt(_))).count()
}

/// Turns until so many attempts are in flight.
fn until_attempts(bench: &mut Bench, count: usize) {
    bench.until("attempts are in flight", |bench| attempts(bench) == count);
}

fn at(last: u8, port: u16) -> Peer {
    Peer::Tcp(SocketAddr::new([127, 0, 0, last].into(), port))
}

#[test]
fn addresses_that_refuse_cost_no_time() {
    let mut bench = Bench::new();
    let good = bench.listen(|| {
        Script::new("server").on_made(|me, cx| {
            cx.io.write(me, b"welcome");
        })
    });
    // The clock stands still.
    resolve_to(&mut bench, &[71, 255, 72, 1]);
    let token = connect(&mut bench, good.port(), Script::new("client"));
    bench.until_heard("client: data welcome");
    assert_eq!(bench.io().peer(token), Some(at(1, good.port())));
    // What the failed ones left behind must not stick to the good one.
    let connection = bench.io().connection(token).unwrap();
    assert!(!connection.readable && !connection.announced);
    assert!(matches!(connection.layer, connection::Layer::Plain));
    assert_eq!(bench.app().count("client: made"), 1);
    assert_eq!(bench.heard().len(), 3);
    assert_eq!(attempts(&mut bench), 0);
    bench.assert_idle();
}

#[test]
fn when_all_addresses_fail_alike_the_words_are_said_once() {
    let mut bench = Bench::new();
    resolve_to(&mut bench, &[71, 72]);
    connect(&mut bench, 9, Script::new("client"));
    bench.until_heard("client: lost, cannot connect to many.example:9: connection refused");
    assert!(bench.io().sockets.is_empty());
    bench.assert_idle();
}

#[test]
fn one_dead_address_costs_250_ms_once_and_then_nothing() {
    let mut bench = Bench::new();
    let port = server(&mut bench);
    let _hole = BlackHole::at(2, port);
    resolve_to(&mut bench, &[2, 1]);
    let token = connect(&mut bench, port, Script::new("first"));
    until_attempts(&mut bench, 1);
    bench.later(ATTEMPT_DELAY.checked_sub(MOMENT).unwrap());
    bench.until_quiet();
    assert_eq!((attempts(&mut bench), bench.heard().len()), (1, 0), "not before its time");
    bench.later(MOMENT);
    bench.until_heard("first: made");
    assert_eq!(bench.io().peer(token), Some(at(1, port)));
    assert_eq!(attempts(&mut bench), 0, "the dead one is closed");
    bench.assert_idle();
    // The clock stands still from here on: the one that worked is the first.
    let token = connect(&mut bench, port, Script::new("second"));
    bench.until_heard("second: made");
    assert_eq!(bench.io().peer(token), Some(at(1, port)));
    bench.until_quiet();
    assert_eq!((attempts(&mut bench), bench.io().look_ups().len()), (0, 0));
}

#[test]
fn the_first_address_goes_on_beside_the_second_and_may_still_win() {
    let mut bench = Bench::new();
    let port = server(&mut bench);
    let _second = BlackHole::at(2, port);
    let slow = TcpListener::bind(("127.0.0.3", port)).unwrap();
    rustix::net::listen(&slow, 0).unwrap();
    let address = slow.local_addr().unwrap();
    let first = TcpStream::connect(address).unwrap();
    resolve_to(&mut bench, &[3, 2]);
    let token = connect(&mut bench, port, Script::new("client"));
    until_attempts(&mut bench, 1);
    bench.later(ATTEMPT_DELAY);
    until_attempts(&mut bench, 2);
    // There is room in the backlog again, and the kernel asks once more after a second.
    drop((slow.accept().unwrap(), first));
    bench.until_heard("client: made");
    assert_eq!(bench.io().peer(token), Some(at(3, port)));
    assert_eq!(attempts(&mut bench), 0);
    bench.assert_idle();
}

#[test]
fn an_address_that_does_not_answer_in_time_is_given_up() {
    let mut bench = Bench::new();
    let port = server(&mut bench);
    let _hole = BlackHole::at(2, port);
    let token = bench.dial(([127, 0, 0, 2], port).into(), Script::new("client"));
    bench.until_quiet();
    bench.later(ConnectOptions::default().connect_timeout);
    bench.until_quiet();
    let words = format!("cannot connect to 127.0.0.2:{port}: no answer in time");
    assert_eq!(bench.heard(), [format!("client: lost, {words}")]);
    assert_eq!((bench.io().peer(token), attempts(&mut bench)), (None, 0));
    bench.assert_idle();
}

#[test]
fn a_dial_that_is_aborted_closes_all_its_attempts() {
    let mut bench = Bench::new();
    let port = server(&mut bench);
    let _holes = [BlackHole::at(2, port), BlackHole::at(3, port)];
    resolve_to(&mut bench, &[2, 3]);
    let token = connect(&mut bench, port, Script::new("client"));
    until_attempts(&mut bench, 1);
    bench.later(ATTEMPT_DELAY);
    until_attempts(&mut bench, 2);
    bench.io().abort_connection(token);
    bench.turn();
    assert_eq!(bench.heard(), ["client: lost, aborted by this server"]);
    assert_eq!((attempts(&mut bench), bench.io().sockets.len()), (0, 1));
    bench.assert_idle();
}

#[test]
fn two_that_connect_at_once_make_one_connection() {
    let mut bench = Bench::new();
    let port = server(&mut bench);
    let other = TcpListener::bind(("127.0.0.2", port)).unwrap();
    resolve_to(&mut bench, &[2, 1]);
    // Both have connected before the loop hears of either.
    connect(&mut bench, port, Script::new("client"));
    bench
        .until("the first has begun", |bench| attempts(bench) == 1 || !bench.app().made.is_empty());
    bench.later(ATTEMPT_DELAY);
    bench.advance();
    bench.until_heard("client: made");
    bench.until_quiet();
    assert_eq!(bench.app().count("client: made"), 1);
    assert_eq!(attempts(&mut bench), 0);
    drop(other);
    bench.assert_idle();
}

#[test]
fn a_stop_does_not_wait_for_attempts() {
    let mut bench = Bench::new();
    let port = server(&mut bench);
    let _hole = BlackHole::at(2, port);
    resolve_to(&mut bench, &[2]);
    connect(&mut bench, port, Script::new("client"));
    until_attempts(&mut bench, 1);
    bench.io().stop();
    bench.until("the stop", |bench| bench.reactor.has_stopped());
    assert_eq!(bench.app().count("client: lost, aborted by this server"), 1);
}

#[test]
fn an_address_that_breaks_the_handshake_is_the_last_to_be_tried_the_next_time() {
    let (server, client) = identity();
    let mut bench = Bench::new();
    let options = ListenOptions { speech: Speech::Tls(server), ..ListenOptions::default() };
    let port = bench.listen_with(options, || Script::new("server")).port();
    // It takes connections, and hangs up at the first word of TLS.
    let broken = TcpListener::bind(("127.0.0.2", port)).unwrap();
    broken.set_nonblocking(true).unwrap();
    resolve_to(&mut bench, &[2, 1]);
    let dial = |bench: &mut Bench, name: &'static str| {
        let options = ConnectOptions {
            tls: Some(client.clone()),
            tls_name: Some("localhost".to_owned()),
            ..ConnectOptions::default()
        };
        let script = Box::new(Script::new(name));
        bench.io().connect_tcp("many.example", port, options, script)
    };
    dial(&mut bench, "first");
    bench.until("it is dialled", |_| broken.accept().is_ok());
    bench
        .until("its end", |bench| bench.heard().iter().any(|note| note.starts_with("first: lost")));
    let token = dial(&mut bench, "second");
    bench.until_heard("second: made");
    assert_eq!(bench.io().peer(token), Some(at(1, port)));
    bench.assert_idle();
}
