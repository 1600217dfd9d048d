//! Holding back: pauses, water marks, short writes.

use super::*;
use crate::reactor::bounds::limits::{HIGH_WATER_BYTES, READ_BUDGET_BYTES};
use std::io::{BufRead, BufReader};

#[test]
fn what_came_during_a_pause_is_heard_after_it() {
    let mut bench = Bench::new();
    let address =
        bench.listen(|| Script::new("server").on_made(|me, cx| cx.io.pause_producing(me)));
    let mut client = Client::connect(address);
    bench.until_heard("server: made");
    let server = bench.app().token("server");
    client.send(b"during the pause");
    bench.until_quiet();
    client.send(b", all of it");
    client.finish_sending();
    bench.until_quiet();
    bench.assert_idle();
    assert_eq!(bench.heard(), ["server: made"]);
    assert!(bench.io().is_held_back(server));
    // Nothing more comes from the client, so no edge either.
    bench.io().resume_producing(server);
    bench.until_heard("server: lost, closed in order");
    assert_eq!(bench.app().bytes("server"), b"during the pause, all of it");
    assert_eq!(bench.app().count("server: read closed"), 1);
    bench.assert_idle();
}

#[test]
fn a_pause_in_the_middle_of_much_input_holds_the_rest_back() {
    let mut bench = Bench::new();
    let address =
        bench.listen(|| Script::new("server").on_data(|me, _, cx| cx.io.pause_producing(me)));
    let mut client = Client::connect(address);
    let data = pattern(1 << 20);
    let sent = client.send_some(data);
    let mut pieces = 0;
    bench.until("the whole input", |bench| {
        let length = bench.app().bytes("server").len();
        if length < sent && bench.app().made.len() == 1 {
            let notes = bench.heard().len();
            assert!(notes <= 2, "data came during a pause");
            let server = bench.app().token("server");
            bench.io().resume_producing(server);
            pieces += 1;
        }
        length == sent
    });
    assert!(pieces >= sent / READ_BUDGET_BYTES);
    assert_eq!(bench.app().bytes("server"), &data[..sent]);
    bench.assert_idle();
}

#[test]
fn a_pause_before_the_connection_is_made_holds_too() {
    let mut bench = Bench::new();
    let address = bench.listen(|| {
        Script::new("server").on_made(|me, cx| {
            cx.io.write(me, b"banner");
        })
    });
    let client = bench.dial(address, Script::new("client"));
    bench.io().pause_producing(client);
    bench.until_heard("client: made");
    bench.until_quiet();
    assert_eq!(bench.app().bytes("client"), b"");
    bench.io().resume_producing(client);
    bench.until_heard("client: data banner");
}

#[test]
fn who_does_not_read_answers_is_not_read_until_they_are_drained() {
    const TIMES: usize = 16;
    let mut bench = Bench::new();
    let address = bench.listen(|| {
        Script::new("server").on_data(|me, data, cx| {
            cx.io.write(me, &data.repeat(TIMES));
        })
    });
    let mut client = Client::connect(address);
    bench.until_heard("server: made");
    let server = bench.app().token("server");
    let data = pattern(MANY_BYTES / TIMES);
    let mut sent = 0;
    bench.until("the server to hold back", |bench| {
        sent += client.send_some(&data[sent..]);
        let backlog = bench.io().backlog(server);
        assert!(backlog < HIGH_WATER_BYTES + TIMES * READ_BUDGET_BYTES, "{backlog} bytes");
        backlog >= HIGH_WATER_BYTES
    });
    bench.until_quiet();
    let read = bench.app().bytes("server").len();
    assert!(read < sent, "all of it was read");
    assert!(!bench.io().may_produce(server) && bench.io().is_held_back(server));
    assert!(!bench.io().connection(server).unwrap().writable, "no write is tried in vain");
    // More input does not make it read.
    sent += client.send_some(&data[sent..]);
    bench.until_quiet();
    assert_eq!(bench.app().bytes("server").len(), read);
    bench.assert_idle();
    // A client that reads again gets everything, and everything of its own is read.
    bench.until("all answers", |_| {
        sent += client.send_some(&data[sent..]);
        client.pump();
        client.received.len() == TIMES * data.len()
    });
    assert_eq!(bench.app().bytes("server"), data);
    assert!(bench.io().may_produce(server) && !bench.io().is_held_back(server));
    bench.assert_idle();
}

#[test]
fn the_end_that_a_held_back_peer_announced_is_heard_when_it_has_drained() {
    let mut bench = Bench::new();
    let address = bench.listen(|| {
        Script::new("server").on_made(|me, cx| {
            cx.io.write(me, pattern(MANY_BYTES));
        })
    });
    let mut client = Client::connect(address);
    client.send(b"last words");
    client.finish_sending();
    bench.until_heard("server: made");
    bench.until_quiet();
    bench.assert_idle();
    assert_eq!(bench.heard(), ["server: made"], "above the high-water mark nothing is read");
    bench.until_end(&mut client);
    assert!(client.received == pattern(MANY_BYTES));
    assert_eq!(client.end, Some(Ok(())));
    bench.until_heard("server: lost, closed in order");
    assert_eq!(
        bench.heard(),
        [
            "server: resume",
            "server: data last words",
            "server: read closed",
            "server: lost, closed in order"
        ]
    );
    bench.assert_idle();
}

#[test]
fn a_producer_is_read_all_the_time_and_told_once_to_go_on() {
    let mut bench = Bench::new();
    let address = bench.listen(|| {
        Script::new("server").on_made(|me, cx| {
            cx.io.register_producer(me);
            cx.io.write(me, pattern(MANY_BYTES));
        })
    });
    let mut client = Client::connect(address);
    bench.until_heard("server: made");
    let server = bench.app().token("server");
    bench.until_quiet();
    assert!(!bench.io().may_produce(server));
    client.send(b"heard all the same");
    bench.until_heard("server: data heard all the same");
    bench.assert_idle();
    assert_eq!(bench.app().count("server: resume"), 0);
    bench.until_received(&mut client, MANY_BYTES);
    bench.until_quiet();
    assert_eq!(bench.app().count("server: resume"), 1);
    assert!(bench.io().may_produce(server));
    assert_eq!(client.received, pattern(MANY_BYTES));
    bench.assert_idle();
}

#[test]
fn a_producer_that_fills_up_to_the_mark_is_told_each_time_that_it_drained() {
    const CHUNK: usize = 256 * 1024;
    fn produce(me: Token, cx: &mut BenchCtx<'_>) {
        let mut done = cx.app.bytes.get("sent").map_or(0, Vec::len);
        while done < MANY_BYTES && cx.io.may_produce(me) {
            let chunk = &pattern(MANY_BYTES)[done..(done + CHUNK).min(MANY_BYTES)];
            cx.io.write(me, chunk);
            cx.app.bytes.entry("sent").or_default().extend_from_slice(chunk);
            done += chunk.len();
        }
    }
    let mut bench = Bench::new();
    let address = bench.listen(|| {
        let made = |me, cx: &mut BenchCtx<'_>| {
            cx.io.register_producer(me);
            produce(me, cx);
        };
        Script::new("server").on_made(made).on_resume(produce)
    });
    let mut client = Client::connect(address);
    bench.until_heard("server: made");
    let server = bench.app().token("server");
    bench.until("everything", |bench| {
        client.pump();
        let backlog = bench.io().backlog(server);
        assert!(backlog < HIGH_WATER_BYTES + CHUNK, "{backlog} bytes");
        client.received.len() == MANY_BYTES
    });
    assert_eq!(client.received, pattern(MANY_BYTES));
    bench.assert_idle();
}

#[test]
fn many_megabytes_in_short_writes_arrive_whole_and_in_order() {
    let mut bench = Bench::new();
    let data = pattern(MANY_BYTES);
    let address = bench.listen(|| {
        Script::new("server").on_made(|me, cx| {
            cx.io.write(me, pattern(MANY_BYTES));
            cx.io.lose_connection(me);
        })
    });
    let mut client = Client::connect(address);
    // Odd pieces, a few at a time, so that the kernel's buffer is full most of the time.
    bench.until("the end", |_| {
        for _ in 0..40 {
            client.pump_once(40_009);
        }
        client.end.is_some()
    });
    assert_eq!(client.received.len(), data.len());
    assert!(client.received == data, "out of order");
    assert_eq!(client.end, Some(Ok(())));
    drop(client);
    bench.until_heard("server: lost, closed in order");
    bench.assert_idle();
}

/// Sends urgent data, which the standard library cannot, and says so when all of it is on its way.
const URGENT: &str = "
import socket, sys
s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
s.send(b'before')
s.send(b'!', socket.MSG_OOB)
s.send(b'after')
print('sent', flush=True)
s.recv(1)
";

#[test]
fn what_comes_behind_urgent_data_is_read_though_the_read_before_it_was_short() {
    let mut bench = Bench::new();
    let address = bench.listen(|| Script::new("server"));
    let port = address.port().to_string();
    let python = Command::new("python3").args(["-c", URGENT, &port]).stdout(Stdio::piped()).spawn();
    let Ok(mut python) = python else {
        eprintln!("not tested: no python3 here to send urgent data");
        return;
    };
    let mut said = String::new();
    BufReader::new(python.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "sent\n");
    bench.until("all of it", |bench| bench.app().bytes("server") == b"before!after");
    bench.assert_idle();
    drop(bench);
    python.wait().unwrap();
}
