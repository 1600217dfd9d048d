//! Who is not to be closed although he looks as if he were: links, and those who waited for us.

use super::*;
use crate::reactor::bounds::limits::{LOSE_TIMEOUT, UNREAD_TIMEOUT};

const IDLE_LIMIT: Duration = Duration::from_secs(10);

/// A server that writes more than the kernel takes to a client that does not read.
fn standing_still(
    limits: Limits,
    at_first: impl Fn(Token, &mut BenchCtx<'_>) + Copy + 'static,
) -> (Bench, Client<TcpStream>) {
    let mut bench = Bench::with_limits(limits);
    let address = bench.listen(move || {
        Script::new("server").on_made(move |me, cx| {
            at_first(me, cx);
            cx.io.write(me, pattern(MANY_BYTES));
        })
    });
    let client = Client::connect(address);
    bench.until_heard("server: made");
    bench.until_quiet();
    (bench, client)
}

#[test]
fn urgent_connections_may_have_much_unread() {
    let limits = Limits { unread_bytes: Some(1000), ..Limits::default() };
    let (mut bench, mut client) = standing_still(limits, |me, cx| cx.io.set_urgent(me));
    assert_eq!(bench.heard(), ["server: made"]);
    bench.until_received(&mut client, MANY_BYTES);
}

#[test]
fn urgent_connections_may_read_nothing_for_a_long_time() {
    let limits = Limits { unread_bytes: None, ..Limits::default() };
    let (mut bench, mut client) = standing_still(limits, |me, cx| cx.io.set_urgent(me));
    bench.later(3 * UNREAD_TIMEOUT);
    bench.until_quiet();
    assert_eq!(bench.heard(), ["server: made"]);
    bench.until_received(&mut client, MANY_BYTES);
}

#[test]
fn one_that_becomes_urgent_while_its_output_is_timed_is_left_alone_too() {
    let limits = Limits { unread_bytes: None, ..Limits::default() };
    let (mut bench, mut client) = standing_still(limits, |_, _| {});
    let server = bench.app().token("server");
    bench.io().set_urgent(server);
    bench.later(UNREAD_TIMEOUT);
    bench.until_quiet();
    assert_eq!(bench.heard(), ["server: made"]);
    assert_eq!(bench.io().timers.next_due(), None);
    bench.until_received(&mut client, MANY_BYTES);
}

#[test]
fn urgent_connections_that_close_have_only_so_long_for_it() {
    let limits = Limits { unread_bytes: None, ..Limits::default() };
    let (mut bench, _client) = standing_still(limits, |me, cx| cx.io.set_urgent(me));
    let server = bench.app().token("server");
    bench.io().lose_connection(server);
    bench.until_quiet();
    bench.later(LOSE_TIMEOUT);
    bench.turn();
    assert_eq!(bench.app().count("server: lost, the peer did not take its replies in time"), 1);
}

/// The server is asked something, `answer` gives the answer just before the silence would have been too
/// long, and from then on the client has the whole time again.
fn the_clock_starts_with(script: fn() -> Script, answer: fn(&mut Io<Notes>, Token)) {
    let limits = Limits { idle_timeout: Some(IDLE_LIMIT), ..Limits::default() };
    let mut bench = Bench::with_limits(limits);
    let address = bench.listen(script);
    let mut client = Client::connect(address);
    client.send(b"question");
    bench.until_heard("server: made");
    bench.until_quiet();
    bench.later(IDLE_LIMIT.saturating_sub(MOMENT));
    bench.turn();
    let server = bench.app().token("server");
    answer(bench.io(), server);
    bench.until_quiet();
    bench.heard();
    the_whole_time_begins_again(&mut bench);
}

fn the_whole_time_begins_again(bench: &mut Bench) {
    for later in [MOMENT, IDLE_LIMIT.saturating_sub(2 * MOMENT)] {
        bench.later(later);
        bench.turn();
        assert_eq!(bench.heard(), [""; 0]);
    }
    bench.later(MOMENT);
    bench.turn();
    assert_eq!(bench.heard(), ["server: lost, closed: nothing was heard from it for 10 s"]);
}

#[test]
fn silence_is_measured_from_the_last_reply_that_was_owed() {
    let script = || {
        Script::new("server").on_data(|me, _, cx| {
            cx.io.owe(me);
        })
    };
    the_clock_starts_with(script, |io, server| {
        io.write(server, b"answer");
        io.settle(server);
    });
    // Also when there is nothing to say.
    the_clock_starts_with(script, Io::settle);
}

#[test]
fn silence_is_measured_from_when_all_output_had_left() {
    let limits = Limits { idle_timeout: Some(IDLE_LIMIT), unread_bytes: None, ..Limits::default() };
    let (mut bench, mut client) = standing_still(limits, |_, _| {});
    bench.later(IDLE_LIMIT.saturating_sub(MOMENT));
    bench.until_received(&mut client, MANY_BYTES);
    bench.until_quiet();
    bench.heard();
    the_whole_time_begins_again(&mut bench);
}

#[test]
fn silence_is_measured_from_the_end_of_a_pause() {
    let script = || Script::new("server").on_data(|me, _, cx| cx.io.pause_producing(me));
    the_clock_starts_with(script, Io::resume_producing);
}

#[test]
fn who_is_to_go_has_the_time_for_that_and_not_an_older_one() {
    let day = Duration::from_secs(24 * 3600);
    let limits = Limits { unread_bytes: None, unread_timeout: Some(day), ..Limits::default() };
    let (mut bench, mut client) = standing_still(limits, |_, _| {});
    let server = bench.app().token("server");
    bench.later(LOSE_TIMEOUT);
    bench.io().lose_connection(server);
    bench.until_quiet();
    bench.later(LOSE_TIMEOUT.saturating_sub(MOMENT));
    bench.until_quiet();
    assert_eq!(bench.heard(), ["server: made"]);
    bench.later(MOMENT);
    bench.turn();
    assert_eq!(bench.heard(), ["server: lost, the peer did not take its replies in time"]);
    bench.until_end(&mut client);
}
