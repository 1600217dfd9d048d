//! TLS over real sockets: both roles, ends in order and otherwise, back-pressure, time limits.

use super::*;
use crate::reactor::bounds::limits::{
    HANDSHAKE_TIMEOUT, HIGH_WATER_BYTES, LINGER, READ_BUDGET_BYTES,
};
use crate::reactor::connection::stream::{Flushed, Output, Spare};
use crate::reactor::tls::session::TlsSession;
use crate::reactor::tls::session::tests::{identity, only_tls_1_2};

/// The first byte of an alert (RFC 8446, section 5.1).
const ALERT: u8 = 21;

fn listening(tls: &TlsServer) -> ListenOptions {
    ListenOptions { speech: Speech::Tls(tls.clone()), ..ListenOptions::default() }
}

pub(super) fn trusting(tls: &TlsClient) -> ConnectOptions {
    ConnectOptions { tls: Some(tls.clone()), ..ConnectOptions::default() }
}

/// A peer outside the reactor that speaks TLS.
pub(super) struct TlsPeer {
    pub socket: Client<TcpStream>,
    pub session: TlsSession,
    /// How much of what the socket received has been decrypted.
    fed: usize,
    pub text: Vec<u8>,
    output: Output,
    /// `close_notify` has come.
    pub closed: bool,
    failed: Option<String>,
}

impl TlsPeer {
    fn over(socket: Client<TcpStream>, session: TlsSession) -> Self {
        let (text, output) = (Vec::new(), Output::default());
        Self { socket, session, fed: 0, text, output, closed: false, failed: None }
    }

    pub(super) fn connect(address: SocketAddr, tls: &TlsClient) -> Self {
        Self::over(Client::connect(address), TlsSession::client(tls, "localhost").unwrap())
    }

    pub(super) fn say(&mut self, text: &[u8]) {
        self.output.tail(&mut Spare::default()).extend_from_slice(text);
        self.pump_out();
    }

    /// Sends as much as the kernel takes.
    pub(super) fn pump_out(&mut self) {
        self.session.seal(&mut self.output).unwrap();
        let flushed = self.session.records.flush_to(&mut self.socket.stream);
        assert!(!matches!(flushed, Flushed::Failed(_)), "{flushed:?}");
    }

    fn pump_in(&mut self) {
        self.socket.pump();
        if self.failed.is_none() {
            let news = &self.socket.received[self.fed..];
            match self.session.receive(news, &mut self.text) {
                Ok(closed) => self.closed |= closed,
                Err(words) => self.failed = Some(words),
            }
            self.fed = self.socket.received.len();
        }
    }

    pub(super) fn pump(&mut self) {
        self.pump_in();
        if self.socket.end.is_none() {
            self.pump_out();
        }
    }

    pub(super) fn close_notify(&mut self) {
        self.session.send_close_notify();
        self.pump_out();
    }
}

impl Bench {
    pub(super) fn until_heard_while_pumping(&mut self, note: &str, peer: &mut TlsPeer) {
        self.until(note, |bench| {
            peer.pump();
            bench.app().count(note) > 0
        });
    }

    pub(super) fn until_text(&mut self, peer: &mut TlsPeer, length: usize) {
        self.until("text at the TLS peer", |_| {
            peer.pump();
            peer.text.len() >= length
        });
    }

    pub(super) fn until_tls_end(&mut self, peer: &mut TlsPeer) {
        self.until("the end at the TLS peer", |_| {
            peer.pump();
            peer.socket.end.is_some()
        });
    }
}

#[test]
fn much_goes_both_ways_between_two_connections_and_ends_in_order() {
    much_goes_both_ways(identity());
}

#[test]
fn much_goes_both_ways_over_tls_1_2_too() {
    // There the side that dials has nothing of its own to send when the handshake is done.
    let (server, client) = identity();
    much_goes_both_ways((only_tls_1_2(&server), client));
}

fn much_goes_both_ways((server, client): (TlsServer, TlsClient)) {
    const MUCH: usize = 4 << 20;
    let mut bench = Bench::new();
    let address = bench.listen_with(listening(&server), || Script::echo("server"));
    let token = bench.dial_with(address, trusting(&client), Script::new("client"));
    assert!(bench.io().write(token, pattern(MUCH)), "before anything is agreed");
    bench.until("the echo", |bench| bench.app().bytes("client").len() == MUCH);
    assert!(bench.app().bytes("client") == pattern(MUCH));
    assert!(bench.app().bytes("server") == pattern(MUCH));
    assert_eq!(bench.app().count("client: made"), 1);
    bench.assert_idle();
    bench.io().lose_connection(token);
    bench.until_heard("server: lost, closed in order");
    bench.until_heard("client: lost, closed in order");
    assert_eq!(bench.app().count("server: read closed"), 1);
    bench.assert_idle();
}

#[test]
fn a_half_close_waits_for_what_is_owed_and_the_answer_ends_with_a_close_notify() {
    let (server, client) = identity();
    let mut bench = Bench::new();
    let address = bench.listen_with(listening(&server), || {
        let ask = |me, _: &[u8], cx: &mut BenchCtx<'_>| {
            cx.io.owe(me);
            cx.io.call_later(Duration::from_secs(5), me, "answer");
        };
        let answer = |me, _: &'static str, cx: &mut BenchCtx<'_>| {
            cx.io.write(me, pattern(MANY_BYTES));
            cx.io.settle(me);
        };
        Script::new("server").on_data(ask).on_event(answer)
    });
    let mut peer = TlsPeer::connect(address, &client);
    peer.say(b"question");
    bench.until_heard_while_pumping("server: data question", &mut peer);
    peer.close_notify();
    bench.until_heard("server: read closed");
    bench.assert_idle();
    bench.later(Duration::from_secs(5));
    // Slowly, so that the kernel is full most of the time, also when the last record is due.
    bench.until("the whole answer", |_| {
        for _ in 0..40 {
            peer.socket.pump_once(40_009);
        }
        peer.socket.end.is_some()
    });
    peer.pump_in();
    assert!(peer.text == pattern(MANY_BYTES), "{} bytes", peer.text.len());
    assert!(peer.closed, "without close_notify it might have been cut off");
    assert_eq!((peer.socket.end, peer.failed), (Some(Ok(())), None));
    bench.until_heard("server: lost, closed in order");
    assert_eq!(bench.app().count("server: read closed"), 1);
    bench.assert_idle();
}

#[test]
fn what_comes_behind_a_close_notify_is_neither_heard_nor_told() {
    let (server, client) = identity();
    let mut bench = Bench::new();
    let address =
        bench.listen_with(listening(&server), || Script::new("server").on_read_closed(|_, _| {}));
    let mut peer = TlsPeer::connect(address, &client);
    peer.say(b"before");
    bench.until_heard_while_pumping("server: data before", &mut peer);
    peer.close_notify();
    bench.until_heard("server: read closed");
    peer.socket.send(b"no record at all");
    bench.until_quiet();
    peer.socket.finish_sending();
    bench.until_quiet();
    assert_eq!(bench.heard(), ["server: made", "server: data before", "server: read closed"]);
    let server = bench.app().token("server");
    bench.io().write(server, b"still here");
    bench.io().lose_connection(server);
    bench.until_tls_end(&mut peer);
    assert_eq!((peer.text.as_slice(), peer.closed), (&b"still here"[..], true));
    bench.until_heard("server: lost, closed in order");
    bench.assert_idle();
}

#[test]
fn an_end_without_close_notify_is_reported_as_truncation_on_either_side() {
    let words = "the peer hung up without TLS's close_notify";
    let (server, client) = identity();
    let mut bench = Bench::new();
    let address = bench.listen_with(listening(&server), || Script::new("server"));
    let mut peer = TlsPeer::connect(address, &client);
    peer.say(b"half a mess");
    bench.until_heard_while_pumping("server: data half a mess", &mut peer);
    peer.socket.finish_sending();
    bench.until_heard(&format!("server: lost, {words}"));

    let listener = std::net::TcpListener::bind(any_port()).unwrap();
    let to = listener.local_addr().unwrap();
    bench.dial_with(to, trusting(&client), Script::new("client"));
    let (stream, _) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    let mut peer = TlsPeer::over(Client::over(stream), TlsSession::server(&server).unwrap());
    bench.until_heard_while_pumping("client: made", &mut peer);
    peer.say(b"half a mess");
    peer.socket.finish_sending();
    bench.until_heard(&format!("client: lost, {words}"));
    assert_eq!(bench.app().bytes("client"), b"half a mess");
    let heard = bench.heard();
    assert!(!heard.iter().any(|note| note.contains("read closed")), "{heard:?}");
    bench.assert_idle();
}

#[test]
fn a_protocol_may_answer_what_was_whole_before_a_bare_fin() {
    let (server, client) = identity();
    let mut bench = Bench::new();
    let address = bench.listen_with(listening(&server), || {
        let ask = |me, _: &[u8], cx: &mut BenchCtx<'_>| {
            cx.io.owe(me);
            cx.io.call_later(Duration::from_secs(5), me, "answer");
        };
        let answer = |me, _: &'static str, cx: &mut BenchCtx<'_>| {
            cx.io.write(me, b"the answer");
            cx.io.settle(me);
        };
        let script = Script::new("server").on_data(ask).on_event(answer);
        script.on_read_truncated(|me, cx| cx.io.lose_connection(me))
    });
    let mut peer = TlsPeer::connect(address, &client);
    peer.say(b"question");
    bench.until_heard_while_pumping("server: data question", &mut peer);
    peer.socket.finish_sending();
    bench.until_heard("server: read truncated");
    bench.assert_idle();
    bench.later(Duration::from_secs(5));
    bench.until_tls_end(&mut peer);
    assert_eq!((peer.text.as_slice(), peer.closed), (&b"the answer"[..], true));
    bench.until_heard("server: lost, closed in order");
    bench.assert_idle();
}

#[test]
fn hanging_up_in_the_handshake_is_told_once_and_nothing_was_made() {
    let (server, client) = identity();
    let mut bench = Bench::new();
    let address = bench.listen_with(listening(&server), || Script::new("server"));
    drop(Client::connect(address));
    let listener = std::net::TcpListener::bind(any_port()).unwrap();
    let to = listener.local_addr().unwrap();
    bench.dial_with(to, trusting(&client), Script::new("client"));
    let (stream, _) = listener.accept().unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let words = "the peer hung up during the TLS handshake";
    bench.until_heard(&format!("server: lost, {words}"));
    bench.until_heard(&format!("client: lost, {words}"));
    bench.until_quiet();
    assert_eq!(bench.heard().len(), 2);
}

#[test]
fn a_certificate_that_is_not_good_ends_both_sides_with_words() {
    let (server, client) = identity();
    let (_, stranger) = identity();
    for (trusted, host, words) in [
        (&stranger, "localhost", "the server's certificate is not signed by a trusted authority"),
        (&client, "127.0.0.2", "the server's certificate is for another name"),
    ] {
        let mut bench = Bench::new();
        let factory = Box::new(Scripts(|| Some(Script::new("server"))));
        let everywhere = "0.0.0.0:0".parse().unwrap();
        let listener = bench.io().listen_tcp(everywhere, listening(&server), factory).unwrap();
        let port = bench.io().local_address(listener).unwrap().port();
        let script = Box::new(Script::new("client"));
        bench.io().connect_tcp(host, port, trusting(trusted), script);
        bench.until("both ends", |bench| bench.app().heard.len() == 2);
        bench.until_quiet();
        let heard = bench.heard();
        assert!(heard.contains(&format!("client: lost, {words}")), "{heard:?}");
        let alerted = "server: lost, TLS: received fatal alert";
        assert!(heard.iter().any(|note| note.starts_with(alerted)), "{heard:?}");
        assert_eq!(heard.len(), 2, "{heard:?}");
    }
}

#[test]
fn who_speaks_no_tls_gets_an_alert_and_is_gone() {
    let (server, _) = identity();
    let mut bench = Bench::new();
    let address = bench.listen_with(listening(&server), || Script::new("server"));
    let mut client = Client::connect(address);
    client.send(b"GET / HTTP/1.1\r\n\r\n");
    bench.until_end(&mut client);
    assert_eq!(client.received.first(), Some(&ALERT));
    client.finish_sending();
    bench.until("the end", |bench| !bench.app().heard.is_empty());
    let heard = bench.heard();
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert!(heard[0].starts_with("server: lost, TLS: "), "{heard:?}");
    bench.assert_idle();
}

#[test]
fn a_handshake_that_takes_too_long_is_given_up() {
    let (server, client) = identity();
    let mut bench = Bench::new();
    let address = bench.listen_with(listening(&server), || Script::new("server"));
    let _silent = Client::connect(address);
    let listener = std::net::TcpListener::bind(any_port()).unwrap();
    let to = listener.local_addr().unwrap();
    bench.dial_with(to, trusting(&client), Script::new("client"));
    let _never_answers = listener.accept().unwrap();
    bench.until_quiet();
    bench.assert_idle();
    assert_eq!(bench.heard(), [""; 0]);
    bench.later(ConnectOptions::default().handshake_timeout);
    bench.turn();
    assert_eq!(bench.heard(), ["client: lost, TLS was not agreed in time"]);
    bench.later(HANDSHAKE_TIMEOUT);
    bench.turn();
    assert_eq!(bench.heard(), ["server: lost, TLS was not agreed in time"]);
    // The time limit ends with the handshake.
    let mut peer = TlsPeer::connect(address, &client);
    bench.until_heard_while_pumping("server: made", &mut peer);
    let server = bench.app().token("server");
    bench.io().owe(server);
    bench.io().lose_connection(server);
    bench.turn();
    bench.later(2 * HANDSHAKE_TIMEOUT);
    bench.until_quiet();
    assert_eq!(bench.heard(), ["server: made"]);
}

#[test]
fn who_does_not_read_answers_is_not_read_over_tls_either() {
    const TIMES: usize = 16;
    let (server, client) = identity();
    let mut bench = Bench::new();
    let address = bench.listen_with(listening(&server), || {
        Script::new("server").on_data(|me, data, cx| {
            cx.io.write(me, &data.repeat(TIMES));
        })
    });
    let mut peer = TlsPeer::connect(address, &client);
    bench.until_heard_while_pumping("server: made", &mut peer);
    let server = bench.app().token("server");
    peer.say(pattern(MANY_BYTES / TIMES));
    bench.until("the server to hold back", |bench| {
        peer.pump_out();
        let backlog = bench.io().backlog(server);
        // Records are a little longer than what is in them.
        assert!(backlog < HIGH_WATER_BYTES + (TIMES + 1) * READ_BUDGET_BYTES, "{backlog} bytes");
        backlog >= HIGH_WATER_BYTES
    });
    bench.until_quiet();
    let read = bench.app().bytes("server").len();
    assert!(read < MANY_BYTES / TIMES, "all of it was read");
    peer.pump_out();
    bench.until_quiet();
    assert_eq!(bench.app().bytes("server").len(), read);
    bench.assert_idle();
    bench.until_text(&mut peer, MANY_BYTES);
    assert!(bench.app().bytes("server") == pattern(MANY_BYTES / TIMES));
    bench.assert_idle();
}

#[test]
fn a_tls_peer_that_is_still_sending_receives_the_whole_answer() {
    let (server, client) = identity();
    let mut bench = Bench::new();
    let address = bench.listen_with(listening(&server), || {
        Script::new("server").on_data(|me, _, cx| {
            cx.io.write(me, pattern(1 << 20));
            cx.io.lose_connection(me);
        })
    });
    let mut peer = TlsPeer::connect(address, &client);
    peer.say(b"POST");
    bench.until_heard_while_pumping("server: data POST", &mut peer);
    peer.say(&pattern(MANY_BYTES)[..8 << 20]);
    bench.until("the whole upload", |_| {
        peer.pump_out();
        peer.session.records.is_empty()
    });
    peer.socket.send(b"what is no record does no harm any more");
    bench.until_quiet();
    bench.until_tls_end(&mut peer);
    assert!(peer.text == pattern(1 << 20) && peer.closed, "{} bytes", peer.text.len());
    assert_eq!(peer.socket.end, Some(Ok(())));
    bench.later(LINGER);
    bench.turn();
    assert_eq!(bench.app().count("server: lost, closed in order"), 1);
    bench.assert_idle();
}

/// Input that is unread when a socket closes makes the kernel send a reset, which can destroy the alert.
#[test]
fn an_alert_reaches_a_tls_peer_that_goes_on_sending() {
    let (server, client) = identity();
    let mut bench = Bench::new();
    let address = bench.listen_with(listening(&server), || Script::echo("server"));
    let mut peer = TlsPeer::connect(address, &client);
    peer.say(b"before");
    bench.until_text(&mut peer, 6);
    let before = peer.socket.received.len();
    peer.socket.send(b"no record at all");
    let sent = peer.socket.send_some(pattern(MANY_BYTES));
    bench.until("the end", |_| {
        peer.socket.pump();
        peer.socket.end.is_some()
    });
    assert_eq!(peer.socket.end, Some(Ok(())), "{sent} bytes sent");
    assert!(peer.socket.received.len() > before, "no alert");
    bench.until_quiet();
    let is_lost = |note: &String| note.starts_with("server: lost, TLS: ");
    assert!(!bench.app().heard.iter().any(is_lost), "it lingers");
    bench.later(LINGER);
    bench.turn();
    assert!(bench.app().heard.iter().any(is_lost));
    bench.assert_idle();
}

/// It is sent while handlers still run, and replies may leave only after the turn's end.
#[test]
fn an_alert_takes_no_output_of_the_same_turn_along() {
    let (server, client) = identity();
    let mut bench = Bench::new();
    let address = bench.listen_with(listening(&server), || Script::echo("server"));
    let mut peer = TlsPeer::connect(address, &client);
    peer.say(b"before");
    bench.until_text(&mut peer, 6);
    let before = peer.socket.received.len();
    peer.socket.send(b"no record at all");
    bench.reactor.sleep(Some(PATIENCE)).unwrap();
    let server = bench.app().token("server");
    bench.io().write(server, b"too early");
    bench.advance();
    bench.until("the end", |_| {
        peer.socket.pump();
        peer.socket.end.is_some()
    });
    // One record: its head of five bytes, the last two of which tell how long the rest is.
    let record = &peer.socket.received[before..];
    assert_eq!(record.len(), 5 + usize::from(u16::from_be_bytes([record[3], record[4]])));
}
