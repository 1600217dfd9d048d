//! Steps that have no time: each does a little, and leaves the rest, in order, to the turns after it.

use super::tls::TlsPeer;
use super::*;
use crate::reactor::bounds::limits::TURN_READ_BUDGETS;
use crate::reactor::tls::session::tests::identity;

/// So much is done before the clock is looked at, one small thing at a time.
const AT_ONCE: usize = 4;

/// More than several turns have time for.
const CROWD: usize = 30;

impl Bench {
    /// A bench on which a step's time is over when it is first looked at.
    fn in_a_hurry() -> Self {
        let mut bench = Self::new();
        bench.reactor.pace.step_max = Some(Duration::ZERO);
        bench
    }

    /// Turns until there are so many notes that hold these words; no turn may bring more than `most`.
    fn until_some_at_a_time(&mut self, words: &str, all: usize, most: usize) {
        let (mut seen, mut turns) = (self.count_like(words), 0);
        let deadline = Instant::now() + PATIENCE;
        while seen < all {
            assert!(Instant::now() < deadline, "{seen} of {words:?}");
            self.reactor.sleep(Some(IDLE)).unwrap();
            self.advance();
            let now = self.count_like(words);
            assert!(now - seen <= most, "{} of {words:?} in one turn", now - seen);
            (seen, turns) = (now, turns + 1);
        }
        assert!(turns > 1, "this test is about several turns");
    }

    fn count_like(&mut self, words: &str) -> usize {
        self.app().heard.iter().filter(|note| note.contains(words)).count()
    }

    /// A crowd of echoes, all accepted, and the loop at rest.
    fn crowd(&mut self) -> Vec<Client<TcpStream>> {
        let address = self.listen(|| Script::echo("crowd"));
        let crowd = (0..CROWD).map(|_| Client::connect(address)).collect();
        self.until_some_at_a_time("made", CROWD, AT_ONCE);
        self.until_quiet();
        crowd
    }

    fn crowd_tokens(&mut self) -> Vec<Token> {
        let io = &self.reactor.io;
        let named = |(slot, socket): (usize, &crate::reactor::io::sockets::Socket)| {
            let token = Token::new(slot, socket.generation);
            io.connection(token).map(|_| token)
        };
        io.sockets.iter().filter_map(named).collect()
    }
}

#[test]
fn a_crowd_is_accepted_read_answered_and_closed_a_few_at_a_time() {
    let mut bench = Bench::in_a_hurry();
    let mut crowd = bench.crowd();
    for client in &mut crowd {
        client.send(b"hello");
    }
    bench.until_some_at_a_time("data", CROWD, AT_ONCE);
    for client in &mut crowd {
        bench.until_received(client, 5);
    }
    drop(crowd);
    bench.until_some_at_a_time("lost", CROWD, AT_ONCE);
    assert_eq!(bench.io().stats().accepted, 0);
    bench.assert_idle();
}

#[test]
fn what_is_written_at_once_goes_out_over_several_turns_and_links_need_not_wait() {
    let mut bench = Bench::in_a_hurry();
    let mut crowd = bench.crowd();
    let tokens = bench.crowd_tokens();
    let link = tokens[CROWD - 1];
    bench.io().set_urgent(link);
    for token in &tokens {
        bench.io().write(*token, b"news");
    }
    bench.turn();
    assert_eq!(bench.io().backlog(link), 0);
    let waiting = tokens.iter().filter(|token| bench.reactor.io.backlog(**token) > 0).count();
    assert_eq!(waiting, CROWD - 1 - AT_ONCE);
    for client in &mut crowd {
        bench.until_received(client, 4);
    }
    bench.assert_idle();
}

#[test]
fn connections_that_all_end_at_once_are_closed_over_several_turns() {
    let mut bench = Bench::in_a_hurry();
    let _crowd = bench.crowd();
    for token in bench.crowd_tokens() {
        bench.io().abort_connection(token);
    }
    bench.until_some_at_a_time("lost", CROWD, AT_ONCE);
    bench.assert_idle();
}

#[test]
fn many_delayed_calls_and_events_are_delivered_in_order_over_several_turns() {
    let mut bench = Bench::in_a_hurry();
    for _ in 0..CROWD {
        bench.io().call_later(MOMENT, Target::Application, "delayed");
        bench.io().post(Target::Application, "posted");
    }
    bench.until_some_at_a_time("posted", CROWD, 1);
    assert_eq!(bench.count_like("delayed"), 0);
    bench.later(MOMENT);
    bench.until_some_at_a_time("delayed", CROWD, AT_ONCE);
    bench.assert_idle();
}

#[test]
fn a_crowd_that_shakes_hands_is_served_a_few_in_each_turn() {
    let (server, client) = identity();
    let mut bench = Bench::new();
    let options = ListenOptions { speech: Speech::Tls(server), ..ListenOptions::default() };
    let address = bench.listen_with(options, || Script::new("crowd"));
    let mut crowd: Vec<_> = (0..CROWD).map(|_| TlsPeer::connect(address, &client)).collect();
    bench.until("all", |bench| bench.io().stats().accepted == CROWD);
    bench.until_quiet();
    crowd.iter_mut().for_each(TlsPeer::pump_out);
    for turn in 1..=3 {
        bench.turn();
        assert_eq!(bench.io().ready.len(), CROWD - turn * TURN_READ_BUDGETS);
    }
    bench.until("all handshakes", |bench| {
        crowd.iter_mut().for_each(TlsPeer::pump);
        bench.app().count("crowd: made") == CROWD
    });
}

#[test]
fn input_that_nobody_hears_any_more_is_read_within_the_budget_too() {
    const INPUT: usize = 1000;
    let limits = Limits { input_bytes: INPUT, ..Limits::default() };
    let mut bench = Bench::with_limits(limits);
    let address = bench.listen(|| {
        Script::new("crowd").on_made(|me, cx| {
            cx.io.owe(me);
            cx.io.lose_connection(me);
        })
    });
    let mut crowd: Vec<_> = (0..CROWD).map(|_| Client::connect(address)).collect();
    bench.until("all", |bench| bench.app().count("crowd: made") == CROWD);
    bench.until_quiet();
    // One byte short, so that each is read once and the kernel has no more of it.
    let noise = [b'x'; INPUT - 1];
    for client in &mut crowd {
        client.send(&noise);
    }
    bench.turn();
    let read = TURN_READ_BUDGETS * INPUT / noise.len() + 1;
    assert_eq!(bench.io().ready.len(), CROWD - read);
}
