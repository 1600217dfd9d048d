//! Ends in order: half-closes, owed replies, lingering, and the time limits of all that.

use super::*;
use crate::reactor::bounds::limits::{LINGER, LOSE_TIMEOUT};

#[test]
fn after_a_half_close_all_output_still_goes_out() {
    let mut bench = Bench::new();
    let address = bench.listen(|| {
        Script::new("server").on_data(|me, _, cx| {
            cx.io.write(me, pattern(MANY_BYTES));
        })
    });
    let mut client = Client::connect(address);
    client.send(b"everything, please\n");
    client.finish_sending();
    bench.until_end(&mut client);
    assert_eq!(client.end, Some(Ok(())));
    assert!(client.received == pattern(MANY_BYTES), "{} bytes", client.received.len());
    bench.until_heard("server: lost, closed in order");
    bench.assert_idle();
}

/// A protocol that leaves everything but its data to the defaults. It owes an answer to what it hears.
struct Plain;

impl Protocol<Notes> for Plain {
    fn data_received(&mut self, me: Token, _data: &[u8], cx: &mut BenchCtx<'_>) {
        cx.io.owe(me);
    }
}

#[test]
fn by_default_a_half_close_ends_the_connection_when_all_is_answered() {
    let mut bench = Bench::new();
    let listener = std::net::TcpListener::bind(any_port()).unwrap();
    let port = listener.local_addr().unwrap().port();
    let options = ConnectOptions::default();
    let token = bench.io().connect_tcp("127.0.0.1", port, options, Box::new(Plain));
    let (stream, _) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    let mut client = Client::over(stream);
    client.send(b"question");
    client.finish_sending();
    bench.until_quiet();
    assert!(bench.io().write(token, b"answer"), "it waits for the answer");
    bench.io().settle(token);
    bench.until_end(&mut client);
    assert_eq!((client.end, client.received.as_slice()), (Some(Ok(())), &b"answer"[..]));
    bench.until("its end", |bench| bench.io().peer(token).is_none());
    bench.assert_idle();
}

#[test]
fn after_a_half_close_an_owed_reply_is_waited_for() {
    let mut bench = Bench::new();
    let address = bench.listen(|| {
        let answer = |me, event: &'static str, cx: &mut BenchCtx<'_>| {
            assert!(cx.io.write(me, event.as_bytes()));
            cx.io.settle(me);
        };
        let ask = |me, _: &[u8], cx: &mut BenchCtx<'_>| {
            for (seconds, answer) in [(5, "first\n"), (9, "second\n")] {
                assert!(cx.io.owe(me));
                cx.io.call_later(Duration::from_secs(seconds), me, answer);
            }
        };
        Script::new("server").on_data(ask).on_event(answer)
    });
    let mut client = Client::connect(address);
    client.send(b"two questions");
    client.finish_sending();
    bench.until_heard("server: read closed");
    for (seconds, received) in [(5, "first\n"), (4, "first\nsecond\n")] {
        bench.until_quiet();
        bench.assert_idle();
        client.pump();
        assert_eq!(client.end, None, "closed before it was settled");
        bench.later(Duration::from_secs(seconds));
        bench.until_received(&mut client, received.len());
        assert_eq!(client.received, received.as_bytes());
    }
    bench.until_end(&mut client);
    bench.until_heard("server: lost, closed in order");
    bench.assert_idle();
}

#[test]
fn settling_more_than_is_owed_does_no_harm() {
    let mut bench = Bench::new();
    let address = bench.listen(|| {
        Script::echo("server").on_made(|me, cx| {
            cx.io.settle(me);
            cx.io.settle(me);
        })
    });
    let mut client = Client::connect(address);
    client.send(b"hello");
    client.finish_sending();
    bench.until_end(&mut client);
    assert_eq!(client.received, b"hello");
}

#[test]
fn an_owed_reply_that_is_given_up_holds_the_end_back_no_longer() {
    let mut bench = Bench::new();
    let address = bench.listen(|| {
        Script::new("server").on_made(|me, cx| {
            cx.io.owe(me);
        })
    });
    let mut client = Client::connect(address);
    client.finish_sending();
    bench.until_heard("server: read closed");
    bench.until_quiet();
    let server = bench.app().token("server");
    bench.io().settle(server);
    bench.until_end(&mut client);
    assert_eq!(client.end, Some(Ok(())));
    bench.assert_idle();
}

#[test]
fn a_losing_connection_reads_what_a_pause_had_held_back() {
    // A client that reads only when it has sent everything would otherwise wait for ever.
    let mut bench = Bench::new();
    let address =
        bench.listen(|| Script::new("server").on_made(|me, cx| cx.io.pause_producing(me)));
    let mut client = Client::connect(address);
    let mut sent = client.send_some(pattern(MANY_BYTES));
    bench.until_heard("server: made");
    bench.until_quiet();
    let server = bench.app().token("server");
    bench.io().write(server, pattern(MANY_BYTES));
    bench.io().lose_connection(server);
    bench.until("the whole upload", |_| {
        sent += client.send_some(&pattern(MANY_BYTES)[sent..]);
        sent == MANY_BYTES
    });
    bench.until_end(&mut client);
    assert!(client.received == pattern(MANY_BYTES) && client.end == Some(Ok(())));
    assert_eq!(bench.app().bytes("server"), b"");
}

#[test]
fn after_lose_connection_only_what_was_owed_is_written() {
    let mut bench = Bench::new();
    let address = bench.listen(|| Script::new("server"));
    let mut client = Client::connect(address);
    bench.until_heard("server: made");
    let server = bench.app().token("server");
    let io = bench.io();
    assert!(io.owe(server));
    io.lose_connection(server);
    assert!(!io.owe(server), "nothing new is owed after the end was asked for");
    client.send(b"nobody hears this");
    bench.until_quiet();
    assert!(bench.io().write(server, b"owed"));
    bench.io().settle(server);
    assert!(!bench.io().write(server, b"not owed"));
    bench.until_end(&mut client);
    assert_eq!(client.received, b"owed");
    assert_eq!(bench.app().bytes("server"), b"");
    drop(client);
    bench.until_heard("server: lost, closed in order");
    bench.assert_idle();
}

#[test]
fn losing_sends_what_is_written_and_aborting_does_not() {
    for (lose, whole) in [(true, true), (false, false)] {
        let mut bench = Bench::new();
        let address = bench.listen(|| {
            Script::new("server").on_made(|me, cx| {
                cx.io.write(me, pattern(MANY_BYTES));
            })
        });
        let mut client = Client::connect(address);
        bench.until_heard("server: made");
        let server = bench.app().token("server");
        if lose {
            bench.io().lose_connection(server);
        } else {
            bench.io().abort_connection(server);
            bench.until_heard("server: lost, aborted by this server");
        }
        bench.until_end(&mut client);
        assert_eq!(client.received.len() == MANY_BYTES, whole);
        assert!(pattern(MANY_BYTES).starts_with(&client.received));
    }
}

#[test]
fn a_peer_that_is_still_sending_receives_the_whole_answer() {
    let mut bench = Bench::new();
    let answer = pattern(1 << 20);
    let address = bench.listen(|| {
        Script::new("server").on_data(|me, _, cx| {
            cx.io.write(me, pattern(1 << 20));
            cx.io.lose_connection(me);
        })
    });
    let mut client = Client::connect(address);
    client.send(b"POST");
    bench.until_heard("server: data POST");
    // More than fits between the two: unless it is read and thrown away, it stands unread in the
    // server's socket when that is closed, and a reset is the consequence.
    let mut sent = 0;
    bench.until("the whole upload", |_| {
        sent += client.send_some(&pattern(MANY_BYTES)[sent..]);
        sent == MANY_BYTES
    });
    bench.until_quiet();
    bench.until_end(&mut client);
    assert_eq!(client.end, Some(Ok(())));
    assert!(client.received == answer, "{} bytes", client.received.len());
    client.send(b"one more word");
    bench.until_quiet();
    assert_eq!(bench.app().bytes("server"), b"POST", "nothing is heard after lose_connection");
    client.finish_sending();
    bench.until_heard("server: lost, closed in order");
    bench.assert_idle();
}

#[test]
fn a_peer_that_never_finishes_is_lingered_for_only_so_long() {
    let mut bench = Bench::new();
    let address = bench.listen(|| {
        Script::new("server").on_made(|me, cx| {
            cx.io.write(me, b"bye");
            cx.io.lose_connection(me);
        })
    });
    let mut client = Client::connect(address);
    bench.until_end(&mut client);
    bench.until_quiet();
    bench.later(LINGER.saturating_sub(MOMENT));
    bench.turn();
    assert_eq!(bench.heard(), ["server: made"]);
    bench.later(MOMENT);
    bench.turn();
    assert_eq!(bench.heard(), ["server: lost, closed in order"]);
    assert_eq!((client.received.as_slice(), client.end), (&b"bye"[..], Some(Ok(()))));
    bench.assert_idle();
}

#[test]
fn a_peer_that_does_not_take_its_replies_is_waited_for_only_so_long() {
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
    bench.later(LOSE_TIMEOUT.saturating_sub(MOMENT));
    bench.turn();
    bench.assert_idle();
    assert_eq!(bench.heard(), ["server: made"]);
    bench.later(MOMENT);
    bench.turn();
    assert_eq!(bench.heard(), ["server: lost, the peer did not take its replies in time"]);
    bench.until_end(&mut client);
    assert!(client.received.len() < MANY_BYTES);
    bench.assert_idle();
}

#[test]
fn an_owed_reply_that_never_comes_is_waited_for_only_so_long() {
    let mut bench = Bench::new();
    let address = bench.listen(|| {
        Script::new("server").on_made(|me, cx| {
            cx.io.owe(me);
        })
    });
    let mut client = Client::connect(address);
    client.finish_sending();
    bench.until_heard("server: read closed");
    bench.until_quiet();
    bench.later(LOSE_TIMEOUT);
    bench.turn();
    bench.until_end(&mut client);
    assert_eq!(
        bench.heard().last().unwrap(),
        "server: lost, a reply that was owed to it did not come in time"
    );
    bench.assert_idle();
}

#[test]
fn a_protocol_may_go_on_speaking_after_the_peers_end() {
    let mut bench = Bench::new();
    let address = bench.listen(|| Script::new("server").on_read_closed(|_, _| {}));
    let mut client = Client::connect(address);
    client.finish_sending();
    bench.until_heard("server: read closed");
    let server = bench.app().token("server");
    for word in ["one ", "by ", "one"] {
        bench.assert_idle();
        assert!(bench.io().write(server, word.as_bytes()));
    }
    bench.until_received(&mut client, 10);
    bench.io().lose_connection(server);
    bench.until_end(&mut client);
    bench.until_heard("server: lost, closed in order");
    assert_eq!(bench.app().count("server: read closed"), 1);
    assert_eq!(client.received, b"one by one");
}
