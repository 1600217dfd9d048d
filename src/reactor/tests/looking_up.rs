//! Names: who is asked, who waits for the answer, and what becomes of those who do not get one.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, mpsc};

use super::racing::{addresses, resolve_to};
use super::*;
use crate::reactor::net::look_up::Answer;

/// A name server that the test plays: it tells who was asked for, and answers when it is told to.
struct Names {
    asked: mpsc::Receiver<String>,
    answers: mpsc::Sender<Answer>,
}

impl Names {
    fn new(bench: &mut Bench) -> Self {
        let (asks, asked) = mpsc::channel();
        let (answers, to_give) = mpsc::channel();
        let to_give = Mutex::new(to_give);
        bench.io().resolver = Arc::new(move |host: &str| {
            asks.send(host.to_owned()).unwrap();
            to_give.lock().unwrap().recv().unwrap()
        });
        Self { asked, answers }
    }

    fn was_asked(&self) -> String {
        self.asked.recv_timeout(PATIENCE).unwrap()
    }

    fn answer(&self, with: &[IpAddr]) {
        self.answers.send(Ok(with.iter().map(|ip| SocketAddr::new(*ip, 0)).collect())).unwrap();
    }
}

fn look_up(bench: &mut Bench, name: &str, port: u16, script: &'static str) -> Token {
    bench.io().connect_tcp(name, port, ConnectOptions::default(), Box::new(Script::new(script)))
}

const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

#[test]
fn a_name_that_is_not_found_is_lost_with_words() {
    let mut bench = Bench::new();
    look_up(&mut bench, "no such\0name", 80, "client");
    bench.until("its end", |bench| !bench.app().heard.is_empty());
    bench.until_quiet();
    let heard = bench.heard();
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert!(heard[0].contains(":80: the name cannot be looked up: "), "{heard:?}");
    assert!(bench.io().sockets.is_empty());
    bench.assert_idle();
}

#[test]
fn a_name_is_looked_up_on_a_thread_and_blocks_no_turn() {
    let mut bench = Bench::new();
    let address = bench.listen(|| Script::echo("server"));
    let names = Names::new(&mut bench);
    let script = Script::new("client").on_made(|me, cx| {
        assert!(matches!(cx.io.peer(me), Some(Peer::Tcp(_))));
        cx.io.write(me, b", and more");
    });
    let options = ConnectOptions::default();
    let token = bench.io().connect_tcp("herd.example", address.port(), options, Box::new(script));
    assert_eq!(bench.io().peer(token), Some(Peer::Unknown));
    assert!(bench.io().write(token, b"written before"));
    let mut other = Client::connect(address);
    other.send(b"hello");
    bench.until_received(&mut other, 5);
    assert_eq!(bench.app().count("client: made"), 0);
    bench.assert_idle();
    assert_eq!(names.was_asked(), "herd.example");
    names.answer(&[LOOPBACK]);
    bench.until("the echo", |bench| bench.app().bytes("client") == b"written before, and more");
    bench.assert_idle();
}

#[test]
fn all_who_wait_for_a_name_share_one_look_up_and_each_gets_its_own_port() {
    let mut bench = Bench::new();
    let first = bench.listen(|| Script::new("server"));
    let second = bench.listen(|| Script::new("server"));
    let names = Names::new(&mut bench);
    for port in [first.port(), second.port(), first.port()] {
        look_up(&mut bench, "herd.example", port, "client");
    }
    names.was_asked();
    names.answer(&[LOOPBACK]);
    bench.until("all are made", |bench| bench.app().count("client: made") == 3);
    let made: Vec<Token> = bench.app().made.iter().map(|(_, token)| *token).collect();
    let count = |bench: &mut Bench, port: u16| {
        let to = Some(Peer::Tcp(SocketAddr::new(LOOPBACK, port)));
        made.iter().filter(|token| bench.io().peer(**token) == to).count()
    };
    assert_eq!((count(&mut bench, first.port()), count(&mut bench, second.port())), (2, 1));
    assert!(names.asked.try_recv().is_err(), "it was asked for once");
}

#[test]
fn a_name_whose_addresses_do_not_come_in_time_is_given_up_and_leaves_only_its_thread() {
    let mut bench = Bench::new();
    let address = bench.listen(|| Script::new("server"));
    let names = Names::new(&mut bench);
    look_up(&mut bench, "herd.example", address.port(), "client");
    bench.turn();
    names.was_asked();
    bench.later(ConnectOptions::default().lookup_timeout);
    bench.turn();
    let to = format!("herd.example:{}", address.port());
    let words = format!("cannot connect to {to}: no answer to the look-up of the name in 5.0 s");
    assert_eq!(bench.heard(), [format!("client: lost, {words}")]);
    assert_eq!(bench.io().sockets.len(), 1, "the listener");
    let left = bench.io().look_ups();
    assert_eq!((left.len(), left[0].connections, left[0].is_running), (1, 0, true));
    // Whoever asks now waits for the same look-up, and gets its answer when it comes after all.
    look_up(&mut bench, "herd.example", address.port(), "second");
    bench.turn();
    assert_eq!(bench.io().look_ups()[0].connections, 1);
    names.answer(&[LOOPBACK]);
    bench.until_heard("second: made");
    assert!(names.asked.try_recv().is_err() && bench.io().look_ups().is_empty());
    bench.assert_idle();
}

#[test]
fn four_hung_look_ups_hold_up_a_fifth_that_says_so_and_nobody_else() {
    let mut bench = Bench::new();
    let address = bench.listen(|| Script::echo("server"));
    let names = Names::new(&mut bench);
    for name in ["a", "b", "c", "d"] {
        look_up(&mut bench, name, 9, "hung");
        names.was_asked();
    }
    bench.later(Duration::from_secs(2));
    bench.turn();
    look_up(&mut bench, "e", address.port(), "fifth");
    bench.later(Duration::from_secs(5));
    bench.turn();
    let words =
        "no thread was free to look the name up: 4 other look-ups are hung, the oldest since 7.0 s";
    let lost = format!("fifth: lost, cannot connect to e:{}: {words}", address.port());
    assert_eq!(bench.app().count(&lost), 1, "{:?}", bench.app().heard);
    let hung: Vec<_> = bench.io().look_ups().into_iter().map(|l| l.host).collect();
    assert_eq!(hung, ["a", "b", "c", "d"], "the fifth has left nothing");
    // An address needs no look-up, and a job of the application no thread of the pool.
    bench.dial(address, Script::new("by address"));
    bench.until_heard("by address: made");
    // When one of them comes back there is a thread for the fifth, too.
    look_up(&mut bench, "e", address.port(), "again");
    names.answers.send(Err("no such name".to_owned())).unwrap();
    bench.until("the fifth is looked up", |_| names.asked.try_recv().is_ok_and(|name| name == "e"));
    // Whichever of the four threads takes which answer.
    for _ in 0..4 {
        names.answer(&[LOOPBACK]);
    }
    bench.until_heard("again: made");
    // The other threads' answers still come, each with a wake-up of its own.
    bench.until_quiet();
    bench.assert_idle();
    assert!(bench.io().look_ups().is_empty());
}

#[test]
fn a_look_up_that_panics_is_answered_and_its_thread_goes_on() {
    let mut bench = Bench::new();
    let address = bench.listen(|| Script::new("server"));
    bench.io().resolver = Arc::new(|_: &str| panic!("a bug in the resolver"));
    look_up(&mut bench, "herd.example", address.port(), "client");
    bench.until("its end", |bench| !bench.app().heard.is_empty());
    let to = format!("herd.example:{}", address.port());
    let why = "the name cannot be looked up: it panicked: a bug in the resolver";
    assert_eq!(bench.heard(), [format!("client: lost, cannot connect to {to}: {why}")]);
    assert!(bench.io().look_ups().is_empty(), "nothing is under way");
    resolve_to(&mut bench, &[1]);
    look_up(&mut bench, "herd.example", address.port(), "client");
    bench.until_heard("client: made");
    bench.assert_idle();
}

#[test]
fn too_many_who_wait_for_look_ups_are_refused_with_words() {
    let mut bench = Bench::new();
    let names = Names::new(&mut bench);
    let waiting: Vec<_> = (0..crate::reactor::bounds::limits::LOOK_UP_ASKERS_MAX)
        .map(|_| look_up(&mut bench, "a", 9, "waiting"))
        .collect();
    look_up(&mut bench, "a", 9, "client");
    bench.turn();
    let why = "the name cannot be looked up: 1024 connections wait for look-ups already";
    assert_eq!(bench.heard(), [format!("client: lost, cannot connect to a:9: {why}")]);
    bench.io().abort_connection(waiting[0]);
    bench.turn();
    look_up(&mut bench, "a", 9, "client");
    bench.turn();
    assert!(bench.app().heard.iter().all(|note| !note.starts_with("client:")));
    names.answers.send(Err("no such name".to_owned())).unwrap();
    bench.until("all are told", |bench| bench.io().sockets.is_empty());
}

#[test]
fn who_is_lost_before_it_is_made_is_told_so_at_any_step() {
    let mut bench = Bench::new();
    let address = bench.listen(|| Script::new("server"));
    let names = Names::new(&mut bench);
    let looking_up = look_up(&mut bench, "a", address.port(), "looking up");
    let connecting = bench.dial(address, Script::new("connecting"));
    bench.io().lose_connection(looking_up);
    bench.io().lose_connection(connecting);
    bench.turn();
    for name in ["looking up", "connecting"] {
        assert_eq!(bench.app().count(&format!("{name}: lost, aborted by this server")), 1);
        assert_eq!(bench.app().count(&format!("{name}: made")), 0);
    }
    // An answer to the look-up that comes late wakes nobody from the dead.
    names.answer(&[LOOPBACK]);
    bench.until("the look-up is over", |bench| bench.io().look_ups().is_empty());
    bench.until_quiet();
    assert_eq!(bench.io().sockets.len(), 1, "the listener");
}

#[test]
fn while_a_new_look_up_hangs_or_fails_the_remembered_addresses_are_used_at_once() {
    let mut bench = Bench::new();
    let address = bench.listen(|| Script::new("server"));
    resolve_to(&mut bench, &[1]);
    look_up(&mut bench, "herd.example", address.port(), "first");
    bench.until_heard("first: made");
    let names = Names::new(&mut bench);
    // The clock stands still: nothing waits for a time limit.
    look_up(&mut bench, "herd.example", address.port(), "while it hangs");
    bench.until_heard("while it hangs: made");
    assert_eq!(bench.io().look_ups()[0].connections, 0);
    names.answers.send(Err("the name server is on fire".to_owned())).unwrap();
    bench.until("the look-up is over", |bench| bench.io().look_ups().is_empty());
    look_up(&mut bench, "herd.example", address.port(), "after it failed");
    bench.until_heard("after it failed: made");
    names.answers.send(Ok(addresses(&[1]))).unwrap();
    bench.until_quiet();
}
