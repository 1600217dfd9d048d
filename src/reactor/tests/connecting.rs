//! Making connections: names, addresses in turn, refusals, time limits.

use std::net::TcpListener;
use std::sync::mpsc;

use super::*;

/// An address where nobody listens. It stays bound, and so nobody else's, until it is dropped.
fn refusing() -> (TcpListener, SocketAddr) {
    // Nothing accepts at an address of the loopback network other than the one that is bound.
    let bound = TcpListener::bind(any_port()).unwrap();
    let mut address = bound.local_addr().unwrap();
    address.set_ip([127, 0, 0, 77].into());
    (bound, address)
}

/// Keeps the helper thread busy, so that a look-up waits until the answer of the test's own choice.
fn occupy_helper(bench: &mut Bench) -> mpsc::Sender<()> {
    let (release, held) = mpsc::channel::<()>();
    bench.io().defer_to_thread(Target::Application, move || {
        let _ = held.recv();
        "released"
    });
    release
}

fn look_up(bench: &mut Bench, name: &str, port: u16, script: Script) -> Token {
    bench.io().connect_tcp(name, port, ConnectOptions::default(), Box::new(script))
}

#[test]
fn a_refused_connection_is_lost_with_words() {
    let mut bench = Bench::new();
    let (_bound, address) = refusing();
    let token = bench.dial(address, Script::new("client"));
    assert_eq!(bench.heard(), [""; 0], "also a failure that is clear at once arrives later");
    assert!(bench.io().write(token, b"too early to know"));
    bench.until_quiet();
    let words = format!("cannot connect to {}:{}", address.ip(), address.port());
    assert_eq!(bench.heard(), [format!("client: lost, {words}: connection refused")]);
    assert!(!bench.io().write(token, b"x"));
    assert!(bench.io().sockets.is_empty());
    bench.assert_idle();
}

#[test]
fn connecting_that_fails_at_once_takes_the_same_path() {
    let mut bench = Bench::new();
    // The system refuses to begin with a broadcast address.
    let nowhere = "255.255.255.255:9".parse().unwrap();
    let script = Script::new("client").on_lost(|me, cx| {
        assert!(!cx.io.write(me, b"x"));
    });
    bench.dial(nowhere, script);
    assert_eq!(bench.heard(), [""; 0]);
    bench.until_quiet();
    let heard = bench.heard();
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert!(
        heard[0].starts_with("client: lost, cannot connect to 255.255.255.255:9: "),
        "{heard:?}"
    );
    bench.assert_idle();
}

#[test]
fn a_name_that_is_not_found_is_lost_with_words() {
    let mut bench = Bench::new();
    look_up(&mut bench, "no such\0name", 80, Script::new("client"));
    bench.until_quiet();
    bench.until("its end", |bench| !bench.app().heard.is_empty());
    bench.until_quiet();
    let heard = bench.heard();
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert!(heard[0].contains(":80: the name cannot be looked up: "), "{heard:?}");
    assert!(bench.io().sockets.is_empty());
    bench.assert_idle();
}

#[test]
fn a_name_is_looked_up_on_the_helper_thread_and_blocks_no_turn() {
    let mut bench = Bench::new();
    let address = bench.listen(|| Script::echo("server"));
    let release = occupy_helper(&mut bench);
    let script = Script::new("client").on_made(|me, cx| {
        assert!(matches!(cx.io.peer(me), Some(Peer::Tcp(_))));
        cx.io.write(me, b", and more");
    });
    let token = look_up(&mut bench, "localhost", address.port(), script);
    assert_eq!(bench.io().peer(token), Some(Peer::Unknown));
    assert!(bench.io().write(token, b"written before"));
    let mut other = Client::connect(address);
    other.send(b"hello");
    bench.until_received(&mut other, 5);
    assert_eq!(bench.app().count("client: made"), 0);
    bench.assert_idle();
    release.send(()).unwrap();
    bench.until("the echo", |bench| bench.app().bytes("client") == b"written before, and more");
    bench.assert_idle();
}

#[test]
fn each_address_of_a_name_is_tried_in_turn() {
    let mut bench = Bench::new();
    let good = bench.listen(|| {
        Script::new("server").on_made(|me, cx| {
            cx.io.write(me, b"welcome");
        })
    });
    let release = occupy_helper(&mut bench);
    let token = look_up(&mut bench, "many.example", good.port(), Script::new("client"));
    let refusing = |last: u8| SocketAddr::new([127, 0, 0, last].into(), good.port());
    let answer = vec![refusing(71), "255.255.255.255:9".parse().unwrap(), refusing(72), good];
    bench.io().addresses_received(token, Ok(answer));
    bench.until_heard("client: data welcome");
    assert_eq!(bench.io().peer(token), Some(Peer::Tcp(good)));
    // What the failed ones left behind must not stick to the good one.
    let connection = bench.io().connection(token).unwrap();
    assert!(!connection.readable && !connection.announced);
    assert!(matches!(connection.layer, connection::Layer::Plain));
    assert_eq!(bench.app().count("client: made"), 1);
    assert_eq!(bench.heard().len(), 3);
    drop(release);
}

#[test]
fn when_all_addresses_fail_alike_the_words_are_said_once() {
    let mut bench = Bench::new();
    let release = occupy_helper(&mut bench);
    let token = look_up(&mut bench, "many.example", 9, Script::new("client"));
    let addresses = [71, 72].map(|last| SocketAddr::new([127, 0, 0, last].into(), 9));
    bench.io().addresses_received(token, Ok(addresses.to_vec()));
    bench.until_quiet();
    assert_eq!(
        bench.heard(),
        ["client: lost, cannot connect to many.example:9: connection refused"]
    );
    // The real answer, when it comes, finds nobody.
    drop(release);
    bench.until_heard("app: released");
    bench.until_quiet();
    assert_eq!(bench.heard(), ["app: released"]);
}

#[test]
fn an_address_that_does_not_answer_in_time_is_given_up() {
    let mut bench = Bench::new();
    let good = bench.listen(|| Script::new("server"));
    let silent = bench.listen(|| Script::new("silent"));
    let release = occupy_helper(&mut bench);
    let token = look_up(&mut bench, "many.example", 9, Script::new("client"));
    bench.io().addresses_received(token, Ok(vec![silent, good]));
    bench.later(ConnectOptions::default().connect_timeout);
    // Without asking the kernel, this address has not answered so far as the loop knows.
    bench.advance();
    bench.until_heard("client: made");
    assert_eq!(bench.io().peer(token), Some(Peer::Tcp(good)));
    let only = bench.dial(silent, Script::new("other"));
    bench.later(ConnectOptions::default().connect_timeout);
    bench.advance();
    bench.until_quiet();
    let words = format!("cannot connect to {silent}: no answer in time");
    assert_eq!(bench.app().count(&format!("other: lost, {words}")), 1);
    assert_eq!(bench.io().peer(only), None);
    drop(release);
}

/// A socket that has connected to itself, as the kernel makes one now and then where nobody listens.
fn connected_to_itself() -> mio::net::TcpStream {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let itself = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&itself, &any_port()).unwrap();
    let stream = std::net::TcpStream::from(itself);
    let address = stream.local_addr().unwrap();
    connect(&stream, &address).unwrap();
    stream.set_nonblocking(true).unwrap();
    mio::net::TcpStream::from_std(stream)
}

fn replace_stream(bench: &mut Bench, token: Token, stream: mio::net::TcpStream) {
    let connection = slots::find(&mut bench.io().sockets, token).unwrap();
    connection.stream = Some(transport::Stream::Tcp(stream));
}

#[test]
fn a_socket_that_connected_to_itself_is_reset_and_counts_as_refused() {
    let mut bench = Bench::new();
    let good = bench.listen(|| Script::new("server"));
    let release = occupy_helper(&mut bench);
    let token = look_up(&mut bench, "many.example", 9, Script::new("client"));
    bench.io().addresses_received(token, Ok(vec![good, good]));
    let stream = connected_to_itself();
    let address = stream.local_addr().unwrap();
    replace_stream(&mut bench, token, stream);
    assert!(!bench.io().check_connecting(token));
    // Its port is free at once. A close without a reset would leave it in TIME-WAIT.
    let fresh = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::STREAM,
        None,
    );
    rustix::net::bind(fresh.unwrap(), &address).unwrap();
    // The next address has its turn.
    bench.until_heard("client: made");
    assert_eq!(bench.io().peer(token), Some(Peer::Tcp(good)));

    let token = look_up(&mut bench, "one.example", 9, Script::new("other"));
    bench.io().addresses_received(token, Ok(vec![good]));
    let stream = connected_to_itself();
    replace_stream(&mut bench, token, stream);
    assert!(!bench.io().check_connecting(token));
    let words = "connection refused (the socket had connected to itself)";
    bench.until_heard(&format!("other: lost, cannot connect to one.example:9: {words}"));
    drop(release);
}

#[test]
fn a_name_whose_addresses_do_not_come_in_time_is_given_up() {
    let mut bench = Bench::new();
    let release = occupy_helper(&mut bench);
    look_up(&mut bench, "localhost", 9, Script::new("client"));
    bench.turn();
    bench.later(ConnectOptions::default().lookup_timeout);
    bench.turn();
    let words = "cannot connect to localhost:9: no answer to the look-up of the name in time";
    assert_eq!(bench.heard(), [format!("client: lost, {words}")]);
    drop(release);
    bench.until_heard("app: released");
    bench.until_quiet();
    assert_eq!(bench.heard(), ["app: released"]);
}

#[test]
fn too_many_look_ups_are_refused_with_words() {
    let mut bench = Bench::new();
    let release = occupy_helper(&mut bench);
    while bench.io().defer_to_thread(Target::Application, || "filler") {}
    look_up(&mut bench, "localhost", 9, Script::new("client"));
    bench.turn();
    let words = "cannot connect to localhost:9: too many look-ups wait already";
    assert_eq!(bench.heard(), [format!("client: lost, {words}")]);
    drop(release);
}

#[test]
fn who_is_lost_before_it_is_made_is_told_so_at_any_step() {
    let mut bench = Bench::new();
    let address = bench.listen(|| Script::new("server"));
    let release = occupy_helper(&mut bench);
    let looking_up = look_up(&mut bench, "localhost", 9, Script::new("looking up"));
    let connecting = bench.dial(address, Script::new("connecting"));
    bench.io().lose_connection(looking_up);
    bench.io().lose_connection(connecting);
    // An answer to the look-up that comes in the same turn wakes nobody from the dead.
    bench.io().addresses_received(looking_up, Ok(vec![address]));
    bench.turn();
    for name in ["looking up", "connecting"] {
        assert_eq!(bench.app().count(&format!("{name}: lost, aborted by this server")), 1);
        assert_eq!(bench.app().count(&format!("{name}: made")), 0);
    }
    drop(release);
    bench.until_heard("app: released");
    bench.until_quiet();
    assert_eq!(bench.io().sockets.len(), 1, "the listener");
}

#[test]
fn what_a_server_says_at_once_is_heard_at_once() {
    // The bytes arrive together with the news that the connection is made, and no edge follows.
    let mut bench = Bench::new();
    let listener = TcpListener::bind(any_port()).unwrap();
    bench.dial(listener.local_addr().unwrap(), Script::new("client"));
    let (mut server, _) = listener.accept().unwrap();
    server.write_all(b"220 ready").unwrap();
    bench.until_heard("client: data 220 ready");
    // The same with its end right behind.
    bench.dial(listener.local_addr().unwrap(), Script::new("second"));
    let (mut server, _) = listener.accept().unwrap();
    server.write_all(b"busy").unwrap();
    drop(server);
    bench.until_heard("second: lost, closed in order");
    assert_eq!(bench.app().bytes("second"), b"busy");
    bench.assert_idle();
}
