//! One listener for TLS and plain text: the first byte tells, and nothing else changes for either.

use super::tls::{TlsPeer, trusting};
use super::*;
use crate::reactor::bounds::limits::{HANDSHAKE_TIMEOUT, LINGER, STOP_TIMEOUT};
use crate::reactor::connection::stream::Output;
use crate::reactor::tls::session::tests::identity;

/// The first byte of a TLS connection.
const HANDSHAKE: u8 = 22;

fn either(tls: &TlsServer) -> ListenOptions {
    ListenOptions { speech: Speech::Either(tls.clone()), ..ListenOptions::default() }
}

#[test]
fn plain_text_and_tls_are_served_on_one_port() {
    let (server, client) = identity();
    let mut bench = Bench::new();
    let address = bench.listen_with(either(&server), || Script::echo("server"));
    let mut plain = Client::connect(address);
    let mut secret = TlsPeer::connect(address, &client);
    plain.send(b"in plain text");
    secret.say(b"over TLS");
    bench.until_received(&mut plain, 13);
    bench.until_text(&mut secret, 8);
    assert_eq!(
        (plain.received.as_slice(), secret.text.as_slice()),
        (&b"in plain text"[..], &b"over TLS"[..])
    );
    assert_eq!(bench.app().count("server: made"), 2);
    plain.finish_sending();
    bench.until_end(&mut plain);
    secret.close_notify();
    bench.until_tls_end(&mut secret);
    assert!(secret.closed);
    bench.until("both ends", |bench| bench.app().count("server: lost, closed in order") == 2);
    bench.assert_idle();
}

#[test]
fn the_first_byte_tells_however_the_rest_is_cut() {
    let (server, client) = identity();
    for first in 1..4 {
        let mut bench = Bench::new();
        let address = bench.listen_with(either(&server), || Script::echo("server"));
        let mut plain = Client::connect(address);
        plain.send(&b"hello"[..first]);
        bench.until_received(&mut plain, first);
        plain.send(&b"hello"[first..]);
        bench.until_received(&mut plain, 5);
        assert_eq!(plain.received, b"hello");

        let mut secret = TlsPeer::connect(address, &client);
        secret.session.seal(&mut Output::default()).unwrap();
        let hello = secret.session.records.unsent().to_vec();
        secret.session.records.advance(hello.len());
        secret.socket.send(&hello[..first]);
        bench.until_quiet();
        secret.socket.send(&hello[first..]);
        secret.say(b"hello");
        bench.until_text(&mut secret, 5);
        assert_eq!(bench.app().count("server: made"), 2);
    }
}

#[test]
fn who_says_nothing_may_stay_and_is_neither_yet() {
    let (server, _) = identity();
    let mut bench = Bench::new();
    let address = bench.listen_with(either(&server), || Script::echo("server"));
    let mut client = Client::connect(address);
    bench.until_quiet();
    bench.later(2 * HANDSHAKE_TIMEOUT);
    bench.until_quiet();
    bench.assert_idle();
    assert_eq!(bench.heard(), [""; 0]);
    client.send(b"good morning");
    bench.until_received(&mut client, 12);
    bench.later(2 * HANDSHAKE_TIMEOUT);
    bench.until_quiet();
    assert_eq!(bench.heard(), ["server: made", "server: data good morning"]);
}

#[test]
fn a_handshake_that_was_begun_must_end_in_time() {
    let (server, client) = identity();
    let mut bench = Bench::new();
    let address = bench.listen_with(either(&server), || Script::new("server"));
    let mut silent = Client::connect(address);
    bench.until_quiet();
    // The time is that of the handshake, not of the silence before it.
    bench.later(HANDSHAKE_TIMEOUT);
    silent.send(&[HANDSHAKE]);
    bench.until_quiet();
    assert_eq!(bench.heard(), [""; 0]);
    bench.later(HANDSHAKE_TIMEOUT);
    bench.turn();
    assert_eq!(bench.heard(), ["server: lost, TLS was not agreed in time"]);
    // One that ends in time is not watched any longer.
    let mut peer = TlsPeer::connect(address, &client);
    bench.until_heard_while_pumping("server: made", &mut peer);
    bench.later(2 * HANDSHAKE_TIMEOUT);
    bench.until_quiet();
    assert_eq!(bench.heard(), ["server: made"]);
    bench.assert_idle();
}

#[test]
fn rubbish_that_begins_as_tls_gets_an_alert_and_is_gone() {
    let (server, _) = identity();
    let mut bench = Bench::new();
    let address = bench.listen_with(either(&server), || Script::new("server"));
    for rubbish in [&b"\x16\n"[..], b"\x16IAMAT kiwi +1+1 1\n", &[HANDSHAKE, 3, 1, 255, 255, 0, 0]]
    {
        let mut client = Client::connect(address);
        client.send(rubbish);
        bench.until_quiet();
        client.finish_sending();
        bench.until_end(&mut client);
        bench.until("the end", |bench| !bench.app().heard.is_empty());
        let heard = bench.heard();
        assert!(heard.len() == 1 && heard[0].starts_with("server: lost, "), "{heard:?}");
        bench.assert_idle();
    }
}

#[test]
fn an_end_without_a_word_is_that_of_a_plain_connection() {
    let (server, _) = identity();
    let mut bench = Bench::new();
    let address = bench.listen_with(either(&server), || {
        Script::new("server").on_read_closed(|me, cx| {
            cx.io.write(me, b"farewell");
            cx.io.lose_connection(me);
        })
    });
    let mut client = Client::connect(address);
    client.finish_sending();
    bench.until_end(&mut client);
    assert_eq!(client.received, b"farewell");
    bench.until_heard("server: lost, closed in order");
    assert_eq!(bench.heard()[..2], ["server: made", "server: read closed"]);
    bench.assert_idle();
}

#[test]
fn what_is_written_before_the_first_byte_goes_out_in_the_speech_that_it_tells() {
    let (server, client) = identity();
    let mut bench = Bench::new();
    let address = bench.listen_with(either(&server), || Script::new("server"));
    let mut plain = Client::connect(address);
    let mut secret = TlsPeer::connect(address, &client);
    bench.until_quiet();
    for token in bench.reactor.connections() {
        assert!(bench.io().write(token, b"welcome"));
    }
    bench.until_quiet();
    plain.pump();
    assert_eq!(plain.received, b"", "it might yet begin with TLS");
    plain.send(b"hello");
    bench.until_received(&mut plain, 7);
    secret.pump_out();
    bench.until_text(&mut secret, 7);
    assert_eq!(
        (plain.received.as_slice(), secret.text.as_slice()),
        (&b"welcome"[..], &b"welcome"[..])
    );
    bench.assert_idle();
}

#[test]
fn a_connection_can_be_lost_before_its_first_byte() {
    let (server, _) = identity();
    let mut bench = Bench::new();
    let address = bench.listen_with(either(&server), || Script::new("server"));
    let mut client = Client::connect(address);
    bench.until_quiet();
    let [token] = bench.reactor.connections()[..] else { panic!("one connection") };
    bench.io().lose_connection(token);
    bench.until_end(&mut client);
    assert_eq!(client.end, Some(Ok(())), "in order");
    bench.later(LINGER);
    bench.turn();
    assert_eq!(bench.heard(), ["server: lost, closed in order"]);
    bench.assert_idle();
}

#[test]
fn a_stop_does_not_wait_for_first_bytes() {
    let (server, _) = identity();
    let mut bench = Bench::new();
    let address = bench.listen_with(either(&server), || Script::new("server"));
    let mut client = Client::connect(address);
    bench.until_quiet();
    bench.io().stop();
    bench.until_end(&mut client);
    client.finish_sending();
    bench.until("the stop", |bench| bench.reactor.has_stopped());
    assert!(LINGER < STOP_TIMEOUT);
    assert_eq!(bench.heard(), ["server: lost, closed in order"]);
}

#[test]
fn a_paused_connection_is_not_asked_what_it_speaks() {
    let (server, client) = identity();
    let mut bench = Bench::new();
    let address = bench.listen_with(either(&server), || Script::echo("server"));
    let mut peer = TlsPeer::connect(address, &client);
    bench.until_quiet();
    let [token] = bench.reactor.connections()[..] else { panic!("one connection") };
    bench.io().pause_producing(token);
    peer.say(b"hello");
    bench.until_quiet();
    peer.pump();
    assert!(peer.socket.received.is_empty());
    bench.io().resume_producing(token);
    bench.until_text(&mut peer, 5);
}

#[test]
fn who_dials_may_expect_another_name_than_the_host_s() {
    let (server, client) = identity();
    let mut bench = Bench::new();
    let address = bench.listen_with(either(&server), || Script::new("server"));
    for (name, told) in [
        ("localhost", "client: made"),
        ("Ball", "client: lost, the server's certificate is for another name"),
    ] {
        let options = ConnectOptions { tls_name: Some(name.to_owned()), ..trusting(&client) };
        let token = bench.dial_with(address, options, Script::new("client"));
        bench.until_heard(told);
        assert_eq!(bench.io().peer_is(token, "localhost"), name == "localhost");
        assert!(!bench.io().peer_is(token, "Ball"));
    }
    let anonymous = bench.app().token("server");
    assert!(!bench.io().peer_is(anonymous, "localhost"), "it has shown nothing");
    let token = bench.dial(address, Script::new("plain"));
    bench.until_heard("plain: made");
    assert!(!bench.io().peer_is(token, "localhost"));
}
