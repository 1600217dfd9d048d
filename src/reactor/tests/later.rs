//! What happens later or elsewhere: delayed calls, posted events, threads.

use std::sync::mpsc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::super::Refused;
use super::*;
use crate::reactor::bounds::limits::WORKER_QUEUE_MAX;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn delayed_calls_come_at_their_time_unless_cancelled_or_moved() {
    let mut bench = Bench::new();
    let io = bench.io();
    let kept = io.call_later(2 * SECOND, Target::Application, "kept");
    let cancelled = io.call_later(SECOND, Target::Application, "cancelled");
    let moved = io.call_later(SECOND, Target::Application, "moved");
    assert!(io.cancel(cancelled) && !io.cancel(cancelled));
    assert!(io.reset(moved, 3 * SECOND));
    bench.turn();
    bench.assert_idle();
    bench.later(2 * SECOND);
    bench.turn();
    assert_eq!(bench.heard(), ["app: kept"]);
    assert!(!bench.io().cancel(kept) && !bench.io().reset(kept, SECOND));
    bench.later(SECOND);
    bench.turn();
    assert_eq!(bench.heard(), ["app: moved"]);
    bench.later(100 * SECOND);
    bench.turn();
    assert_eq!(bench.heard(), [""; 0]);
    bench.assert_idle();
}

#[test]
fn a_call_that_makes_another_due_at_once_starves_nobody() {
    let mut bench = Bench::new();
    let address = bench.listen(|| Script::echo("server"));
    bench.app().at_event = Some(|_, event, io| {
        io.call_later(Duration::ZERO, Target::Application, event);
    });
    bench.io().call_later(Duration::ZERO, Target::Application, "again");
    let mut client = Client::connect(address);
    client.send(b"hello");
    bench.until_received(&mut client, 5);
    let turns = bench.io().stats().turns;
    assert_eq!(bench.app().count("app: again") as u64, turns, "one a turn");
}

#[test]
fn events_that_are_posted_for_ever_starve_nobody() {
    let mut bench = Bench::new();
    let address = bench.listen(|| Script::echo("server"));
    bench.app().at_event = Some(|_, event, io| io.post(Target::Application, event));
    bench.io().post(Target::Application, "again");
    let mut client = Client::connect(address);
    client.send(b"hello");
    bench.until_received(&mut client, 5);
    assert_eq!(bench.app().count("app: again") as u64, bench.io().stats().turns, "one a turn");
}

#[test]
fn a_delay_without_end_is_no_panic() {
    let mut bench = Bench::new();
    let address = bench.listen(|| Script::echo("server"));
    let never = bench.io().call_later(Duration::MAX, Target::Application, "never");
    assert!(bench.io().reset(never, Duration::MAX));
    let endless = ConnectOptions {
        lookup_timeout: Duration::MAX,
        connect_timeout: Duration::MAX,
        ..ConnectOptions::default()
    };
    bench.dial_with(address, endless, Script::new("client"));
    bench.until_heard("client: made");
    bench.later(1_000_000 * SECOND);
    bench.turn();
    assert_eq!(bench.app().count("app: never"), 0);
    bench.assert_idle();
}

#[test]
fn an_event_reaches_its_connection_or_nobody() {
    let mut bench = Bench::new();
    let address = bench.listen(|| {
        Script::new("server").on_event(|me, event, cx| {
            cx.io.write(me, event.as_bytes());
        })
    });
    let mut client = Client::connect(address);
    bench.until_heard("server: made");
    let server = bench.app().token("server");
    bench.io().post(server, "posted ");
    bench.io().call_later(SECOND, server, "called");
    bench.until_received(&mut client, 7);
    bench.later(SECOND);
    bench.until_received(&mut client, 13);
    assert_eq!(client.received, b"posted called");
    bench.io().post(server, "too late");
    bench.io().abort_connection(server);
    bench.turn();
    bench.turn();
    assert_eq!(bench.app().count("server: too late"), 0);
    bench.assert_idle();
}

/// A job for the thread "a" that says this, to the application.
fn say(bench: &mut Bench, what: &'static str) -> Result<(), Refused> {
    bench.io().defer_to_thread("a", Target::Application, move || what, |said| said.unwrap())
}

/// Keeps a thread busy until the sender is used or dropped.
fn occupy(bench: &mut Bench, thread: &'static str) -> mpsc::Sender<()> {
    let (release, held) = mpsc::channel::<()>();
    let wait = move || held.recv();
    bench.io().defer_to_thread(thread, Target::Application, wait, |_| "released").unwrap();
    release
}

#[test]
fn what_a_job_on_a_thread_returns_comes_back_as_an_event() {
    let mut bench = Bench::new();
    let address = bench.listen(|| Script::new("server"));
    let _client = Client::connect(address);
    bench.until_heard("server: made");
    let server = bench.app().token("server");
    say(&mut bench, "for the application").unwrap();
    let for_server = || "for a connection";
    bench.io().defer_to_thread("a", server, for_server, Result::unwrap).unwrap();
    bench.until_heard("app: for the application");
    bench.until_heard("server: for a connection");
    bench.assert_idle();

    let (release, held) = mpsc::channel::<()>();
    let wait = move || held.recv();
    bench.io().defer_to_thread("a", server, wait, |_| "for one who is gone").unwrap();
    bench.io().abort_connection(server);
    bench.turn();
    release.send(()).unwrap();
    say(&mut bench, "after that").unwrap();
    bench.until_heard("app: after that");
    assert_eq!(bench.app().count("server: for one who is gone"), 0);
    bench.assert_idle();
}

#[test]
fn a_job_that_blocks_blocks_no_turn_and_only_so_many_wait_behind_it() {
    let mut bench = Bench::new();
    let address = bench.listen(|| Script::echo("server"));
    let release = occupy(&mut bench, "a");
    let accepted = (0..2 * WORKER_QUEUE_MAX).filter(|_| say(&mut bench, "quick").is_ok()).count();
    assert_eq!(accepted, WORKER_QUEUE_MAX - 1, "the slow one counts too");
    let refused = say(&mut bench, "one too many").unwrap_err();
    assert_eq!(refused.to_string(), "1024 jobs wait for the thread \"a\" already");
    let mut client = Client::connect(address);
    client.send(b"hello");
    bench.until_received(&mut client, 5);
    assert_eq!(bench.app().count("app: released"), 0);
    release.send(()).unwrap();
    bench.until("all of them", |bench| bench.app().count("app: quick") == accepted);
    say(&mut bench, "one more").unwrap();
    bench.until_heard("app: one more");
    bench.assert_idle();
}

#[test]
fn no_thread_waits_for_the_jobs_of_another() {
    let mut bench = Bench::new();
    let release = occupy(&mut bench, "b");
    say(&mut bench, "from a").unwrap();
    bench.until_heard("app: from a");
    assert_eq!(bench.app().count("app: released"), 0);
    drop(release);
    bench.until_heard("app: released");
    bench.assert_idle();
}

#[test]
fn a_job_that_panics_is_answered_with_its_words_and_the_thread_goes_on() {
    let mut bench = Bench::new();
    let leak = |words: Result<&'static str, String>| -> &'static str {
        words.unwrap_or_else(|words| Box::leak(words.into_boxed_str()))
    };
    let io = bench.io();
    let fixed = || -> &'static str { panic!("the disk is on fire") };
    io.defer_to_thread("a", Target::Application, fixed, leak).unwrap();
    let made = || -> &'static str { panic!("{} disks are on fire", 2) };
    io.defer_to_thread("a", Target::Application, made, leak).unwrap();
    let wordless = || -> &'static str { std::panic::panic_any(7) };
    io.defer_to_thread("a", Target::Application, wordless, leak).unwrap();
    say(&mut bench, "the next").unwrap();
    bench.until_heard("app: the next");
    let heard = [
        "app: it panicked: the disk is on fire",
        "app: it panicked: 2 disks are on fire",
        "app: it panicked: without words",
        "app: the next",
    ];
    assert_eq!(bench.heard(), heard);
    assert_eq!(bench.io().threads.under_way(), 0);
    bench.assert_idle();
}

#[cfg(target_os = "linux")]
#[test]
fn a_thread_that_cannot_be_started_is_told_with_the_reason_and_tried_again() {
    if is_child() {
        return ask_without_memory();
    }
    let mut child = spawn_child(
        "reactor::tests::later::a_thread_that_cannot_be_started_is_told_with_the_reason_and_tried_again",
        ":",
    );
    let mut output = String::new();
    child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    assert!(child.wait().unwrap().success(), "{output}");
    assert!(output.contains("1 passed"), "{output}");
}

#[cfg(target_os = "linux")]
/// In the child, which has no memory for another thread's stack.
fn ask_without_memory() {
    let mut bench = Bench::new();
    let limit = getrlimit(Resource::As);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let present = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
    let present: u64 = present.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024;
    setrlimit(Resource::As, Rlimit { current: Some(present + (256 << 10)), ..limit }).unwrap();
    let refused = say(&mut bench, "too early").unwrap_err();
    let script = Box::new(Script::new("client"));
    bench.io().connect_tcp("localhost", 9, ConnectOptions::default(), script);
    bench.turn();
    let heard = bench.heard();
    setrlimit(Resource::As, limit).unwrap();
    let words = "cannot start the thread \"a\": Resource temporarily unavailable";
    assert!(refused.to_string().starts_with(words), "{refused}");
    let words = "client: lost, cannot connect to localhost:9: the name cannot be looked up: \
                 cannot start the thread \"look-up 1\": Resource temporarily unavailable";
    assert!(heard.len() == 1 && heard[0].starts_with(words), "{heard:?}");
    assert!(bench.io().look_ups().is_empty() && bench.io().threads.under_way() == 0);
    say(&mut bench, "there is memory again").unwrap();
    bench.until_heard("app: there is memory again");
    bench.assert_idle();
}

#[test]
fn jobs_that_beget_jobs_starve_nobody() {
    let mut bench = Bench::new();
    let address = bench.listen(|| Script::echo("server"));
    bench.app().at_event = Some(|_, event, io| {
        // Long enough for the thread to have the next result before this callback returns.
        io.defer_to_thread("a", Target::Application, move || event, |said| said.unwrap()).unwrap();
        std::thread::sleep(Duration::from_millis(1));
    });
    say(&mut bench, "again").unwrap();
    let mut client = Client::connect(address);
    client.send(b"hello");
    bench.until_received(&mut client, 5);
    bench.until("some results", |bench| bench.app().count("app: again") >= 20);
    let (count, turns) = (bench.app().count("app: again"), bench.io().stats().turns);
    assert!(count as u64 <= turns, "{count} results in {turns} turns");
}
