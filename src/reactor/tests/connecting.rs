//! Making connections: refusals, time limits, what comes at once.

use std::net::TcpListener;

use super::*;

/// An address where nobody listens. It stays bound, and so nobody else's, until it is dropped.
fn refusing() -> (TcpListener, SocketAddr) {
    // Nothing accepts at an address of the loopback network other than the one that is bound.
    let bound = TcpListener::bind(any_port()).unwrap();
    let mut address = bound.local_addr().unwrap();
    address.set_ip([127, 0, 0, 77].into());
    (bound, address)
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

#[test]
fn a_socket_that_connected_to_itself_is_reset_and_counts_as_refused() {
    let mut bench = Bench::new();
    let good = bench.listen(|| Script::new("server"));
    let token = bench.dial(good, Script::new("client"));
    let dial = crate::reactor::io::sockets::find(&mut bench.io().sockets, token)
        .and_then(connection::Connection::dial)
        .unwrap();
    let attempt = dial.attempts.in_flight().next().unwrap();
    let stream = connected_to_itself();
    let address = stream.local_addr().unwrap();
    let found =
        crate::reactor::net::connect::find_attempt(&mut bench.io().sockets, attempt).unwrap();
    found.stream = crate::reactor::connection::stream::Stream::Tcp(stream);
    assert_eq!(bench.io().check_attempt(attempt), None);
    // Its port is free at once. A close without a reset would leave it in TIME-WAIT.
    let fresh = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::STREAM,
        None,
    );
    rustix::net::bind(fresh.unwrap(), &address).unwrap();
    bench.until_quiet();
    let words = "connection refused (the socket had connected to itself)";
    let lost = format!("client: lost, cannot connect to {good}: {words}");
    assert_eq!(bench.app().count(&lost), 1, "{:?}", bench.heard());
}
