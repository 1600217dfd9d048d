//! Signals, and the orderly stop.

use std::io::{BufRead, BufReader};
use std::process::Command;

use super::*;
use crate::reactor::bounds::limits::{LINGER, STOP_TIMEOUT};

/// Turns until the loop would end.
fn until_stopped(bench: &mut Bench) {
    bench.until("the end of the loop", |bench| bench.reactor.has_stopped());
}

#[test]
fn a_loop_with_nothing_to_do_stops_at_once() {
    let mut bench = Bench::new();
    assert!(!bench.reactor.has_stopped());
    bench.listen(|| Script::new("server"));
    bench.io().stop();
    bench.io().stop();
    assert!(bench.io().is_stopping() && !bench.reactor.has_stopped());
    bench.reactor.run().unwrap();
    assert!(bench.io().stats().turns <= 2);
}

#[test]
fn a_stop_closes_listeners_and_sends_what_is_owed_before_the_loop_ends() {
    let mut bench = Bench::new();
    let address = bench.listen(|| {
        let answer = |me, event: &'static str, cx: &mut BenchCtx<'_>| {
            cx.io.write(me, event.as_bytes());
            cx.io.settle(me);
        };
        let ask = |me, _: &[u8], cx: &mut BenchCtx<'_>| {
            cx.io.owe(me);
            cx.io.call_later(Duration::from_secs(1), me, "the answer");
        };
        Script::new("server").on_data(ask).on_event(answer)
    });
    let mut asking = Client::connect(address);
    asking.send(b"question");
    let mut idle = Client::connect(address);
    bench.until_heard("server: data question");
    bench.until("both", |bench| bench.io().stats().accepted == 2);
    bench.io().stop();
    bench.until_end(&mut idle);
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    bench.until_quiet();
    asking.pump();
    assert!(!bench.reactor.has_stopped() && asking.end.is_none());
    bench.later(Duration::from_secs(1));
    bench.until_end(&mut asking);
    assert_eq!(asking.received, b"the answer");
    drop((asking, idle));
    until_stopped(&mut bench);
    assert_eq!(bench.app().count("server: lost, closed in order"), 2);
}

#[test]
fn connections_that_we_made_are_lost_after_those_that_we_accepted() {
    // An answer that is still owed may have to come from a server that we asked.
    let mut bench = Bench::new();
    let address = bench.listen(|| Script::new("server"));
    let outside = std::net::TcpListener::bind(any_port()).unwrap();
    let made = bench.dial(outside.local_addr().unwrap(), Script::new("made"));
    bench.until_heard("made: made");
    let (peer, _) = outside.accept().unwrap();
    let client = Client::connect(address);
    bench.until_heard("server: made");
    let server = bench.app().token("server");
    bench.io().owe(server);
    bench.io().stop();
    bench.until_quiet();
    assert!(bench.io().may_produce(made), "still open");
    bench.io().settle(server);
    drop(client);
    bench.until_heard("server: lost, closed in order");
    bench.until_quiet();
    assert!(!bench.io().may_produce(made), "now its turn has come");
    drop(peer);
    until_stopped(&mut bench);
    assert_eq!(bench.heard().last().unwrap(), "made: lost, closed in order");
}

#[test]
fn what_has_not_ended_by_the_deadline_of_a_stop_is_aborted() {
    let mut bench = Bench::new();
    let address = bench.listen(|| {
        Script::new("server").on_made(|me, cx| {
            cx.io.owe(me);
        })
    });
    let _client = Client::connect(address);
    bench.until_heard("server: made");
    bench.io().stop();
    bench.until_quiet();
    bench.later(STOP_TIMEOUT.saturating_sub(MOMENT));
    bench.turn();
    assert!(!bench.reactor.has_stopped());
    bench.later(MOMENT);
    bench.turn();
    assert!(bench.reactor.has_stopped());
    assert_eq!(bench.heard(), ["server: made", "server: lost, aborted by this server"]);
}

#[test]
fn clients_that_stay_silent_do_not_use_the_deadline_up() {
    let mut bench = Bench::new();
    let address = bench.listen(|| Script::new("server"));
    let _client = Client::connect(address);
    bench.until_heard("server: made");
    bench.io().stop();
    bench.until_quiet();
    assert!(LINGER < STOP_TIMEOUT);
    bench.later(LINGER);
    bench.turn();
    assert!(bench.reactor.has_stopped());
    assert_eq!(bench.heard(), ["server: made", "server: lost, closed in order"]);
}

#[test]
fn nothing_new_begins_while_stopping() {
    let mut bench = Bench::new();
    let address = bench.listen(|| Script::new("server"));
    let _client = Client::connect(address);
    bench.until_heard("server: made");
    bench.io().stop();
    bench.dial(address, Script::new("client"));
    let factory = Box::new(Scripts(|| Some(Script::new("late"))));
    let refused = bench.io().listen_tcp(any_port(), ListenOptions::default(), factory);
    assert!(refused.unwrap_err().to_string().contains("stopping"));
    let factory = Box::new(Scripts(|| Some(Script::new("late"))));
    let refused = bench.io().listen_unix(std::path::Path::new("never made"), factory);
    assert!(refused.unwrap_err().to_string().contains("stopping"));
    bench.later(STOP_TIMEOUT);
    bench.turn();
    bench.later(STOP_TIMEOUT);
    bench.turn();
    until_stopped(&mut bench);
    let words = format!("client: lost, cannot connect to {address}: this server is stopping");
    assert_eq!(bench.app().count(&words), 1, "{:?}", bench.heard());
}

/// The signals of a process belong to all of it, so each of these is a process of its own.
fn in_a_child(test: &str, signals: &[(&str, &str)]) {
    let mut child = spawn_child(&format!("reactor::tests::stopping::{test}"), "true");
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut seen = Vec::new();
    let mut wait_for = |mark: &str| {
        for line in output.by_ref() {
            seen.push(line.unwrap());
            if seen.last().unwrap().contains(mark) {
                return;
            }
        }
        panic!("no {mark:?} in {seen:#?}");
    };
    wait_for("ready");
    for (signal, answer) in signals {
        let pid = child.id().to_string();
        let kill = format!("kill -{signal} \"$1\"");
        let status = Command::new("sh").args(["-c", &kill, "sh", &pid]).status();
        assert!(status.unwrap().success());
        wait_for(answer);
    }
    wait_for("1 passed");
    assert!(child.wait().unwrap().success());
}

#[derive(Default)]
struct Signalled(bool);

impl Application for Signalled {
    type Event = ();

    fn signal_received(&mut self, signal: Signal, io: &mut Io<Self>) {
        println!("heard {signal:?}");
        self.0 = true;
        if matches!(signal, Signal::Terminate | Signal::Interrupt) {
            io.stop();
        }
    }
}

fn run_until_signalled() {
    let mut reactor = Reactor::new(Signalled::default()).unwrap();
    reactor.io().catch_signals().unwrap();
    println!("ready");
    reactor.run().unwrap();
    assert!(reactor.app().0);
}

#[test]
fn sigterm_stops_the_loop_after_any_number_of_other_signals() {
    if is_child() {
        return run_until_signalled();
    }
    in_a_child(
        "sigterm_stops_the_loop_after_any_number_of_other_signals",
        &[
            ("HUP", "heard Hangup"),
            ("USR1", "heard User1"),
            ("HUP", "heard Hangup"),
            ("TERM", "heard Terminate"),
        ],
    );
}

#[test]
fn sigint_stops_the_loop() {
    if is_child() {
        return run_until_signalled();
    }
    in_a_child("sigint_stops_the_loop", &[("INT", "heard Interrupt")]);
}

#[test]
fn by_default_sigterm_stops_in_order_and_sighup_does_not() {
    if is_child() {
        let mut bench = Bench::new();
        bench.io().catch_signals().unwrap();
        println!("ready");
        bench.app().at_turn_end = Some(|_, _| println!("a turn"));
        return bench.reactor.run().unwrap();
    }
    in_a_child(
        "by_default_sigterm_stops_in_order_and_sighup_does_not",
        &[("HUP", "a turn"), ("TERM", "a turn")],
    );
}
