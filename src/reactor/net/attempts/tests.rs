//! Tests of the order of attempts, in a time of their own.

use crate::reactor::net::attempts::*;

const TIMEOUT: Duration = Duration::from_secs(3);
const MOMENT: Duration = Duration::from_millis(1);

fn v4(last: u8) -> SocketAddr {
    SocketAddr::new([192, 0, 2, last].into(), 80)
}

fn v6(last: u16) -> SocketAddr {
    SocketAddr::new([0x2001, 0xdb8, 0, 0, 0, 0, 0, last].into(), 80)
}

fn in_plain_order(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    in_order(addresses, None, |_| false)
}

/// A dial at a moment of the test's own.
struct Race {
    attempts: Attempts,
    now: Instant,
    next_slot: usize,
}

impl Race {
    fn new(addresses: &[SocketAddr]) -> Self {
        Self { attempts: Attempts::new(addresses, TIMEOUT), now: Instant::now(), next_slot: 0 }
    }

    fn looking_up(known: &[SocketAddr]) -> Self {
        let mut race = Self::new(known);
        race.attempts.look_up_begun(race.now, Duration::from_secs(5));
        race
    }

    fn step(&mut self) -> Step {
        self.attempts.step(self.now)
    }

    /// Begins with the address that is due now.
    fn begins(&mut self, address: SocketAddr) -> Token {
        assert_eq!(self.step(), Step::Begin(address));
        let token = Token::of_test(self.next_slot);
        self.next_slot += 1;
        self.attempts.begun(address, token, self.now);
        token
    }

    /// Nothing is to be done before so much time has passed, and then something is.
    fn sleeps(&mut self, time: Duration) {
        assert_eq!(self.step(), Step::WaitUntil(self.now + time));
        self.now += time.checked_sub(MOMENT).unwrap();
        assert_eq!(self.step(), Step::WaitUntil(self.now + MOMENT), "a moment before");
        self.now += MOMENT;
    }
}

#[test]
fn the_families_take_turns_and_the_order_within_each_stays() {
    let sorted = [v6(1), v6(2), v6(3), v4(1), v4(2)];
    assert_eq!(in_plain_order(&sorted), [v6(1), v4(1), v6(2), v4(2), v6(3)]);
    assert_eq!(in_plain_order(&[v4(1), v4(2), v6(1)]), [v4(1), v6(1), v4(2)]);
    assert_eq!(in_plain_order(&[v4(2), v4(1)]), [v4(2), v4(1)]);
    assert_eq!(in_plain_order(&[]), []);
}

#[test]
fn what_worked_comes_first_and_what_broke_comes_last() {
    let sorted = [v6(1), v6(2), v4(1), v4(2)];
    let good_first = in_order(&sorted, Some(v4(2)), |_| false);
    assert_eq!(good_first, [v4(2), v6(1), v4(1), v6(2)]);
    let bad_last = in_order(&sorted, Some(v4(2)), |a| *a == v6(1));
    assert_eq!(bad_last, [v4(2), v6(2), v4(1), v6(1)]);
}

#[test]
fn no_address_comes_twice_and_there_are_not_more_than_may_be() {
    assert_eq!(in_plain_order(&[v4(1), v4(1), v4(2), v4(1)]), [v4(1), v4(2)]);
    let many: Vec<_> = (0..100).map(v6).chain((0..100).map(v4)).collect();
    let ordered = in_plain_order(&many);
    assert_eq!(ordered.len(), ADDRESSES_MAX);
    assert_eq!(ordered[..4], [v6(0), v4(0), v6(1), v4(1)], "no family is cut off");
}

#[test]
fn the_next_address_begins_after_250_ms_while_the_first_goes_on() {
    let mut race = Race::new(&[v4(1), v4(2), v4(3)]);
    let first = race.begins(v4(1));
    race.sleeps(Duration::from_millis(250));
    let second = race.begins(v4(2));
    race.sleeps(Duration::from_millis(250));
    race.begins(v4(3));
    assert_eq!(race.attempts.in_flight().take(2).collect::<Vec<_>>(), [first, second]);
    // Each has its own time, from its own beginning.
    race.sleeps(TIMEOUT.checked_sub(Duration::from_millis(500)).unwrap());
    assert_eq!(race.step(), Step::GiveUp(first));
    race.sleeps(Duration::from_millis(250));
    assert_eq!(race.step(), Step::GiveUp(second));
}

#[test]
fn an_address_that_fails_lets_the_next_begin_at_once() {
    let mut race = Race::new(&[v4(1), v4(2), v4(3), v4(4)]);
    let first = race.begins(v4(1));
    race.attempts.failed(first, "connection refused".to_owned());
    race.begins(v4(2));
    race.now += MOMENT;
    assert_eq!(race.step(), Step::WaitUntil(race.now + ATTEMPT_DELAY.checked_sub(MOMENT).unwrap()));
    // One with which the system does not even begin costs no time either.
    race.now += ATTEMPT_DELAY;
    assert_eq!(race.step(), Step::Begin(v4(3)));
    race.attempts.refused(v4(3), "network is unreachable".to_owned());
    race.begins(v4(4));
}

#[test]
fn when_all_have_failed_the_words_say_why_each() {
    let mut race = Race::new(&[v4(1), v4(2)]);
    let first = race.begins(v4(1));
    race.attempts.failed(first, "connection refused".to_owned());
    let second = race.begins(v4(2));
    race.attempts.failed(second, "connection refused".to_owned());
    // Late news of an attempt that is over change nothing.
    race.attempts.failed(first, "what is this".to_owned());
    assert_eq!(race.step(), Step::Over);
    assert_eq!(race.attempts.in_words(), "connection refused");

    let mut race = Race::new(&[v4(1), v4(2)]);
    let first = race.begins(v4(1));
    race.attempts.failed(first, "connection refused".to_owned());
    let second = race.begins(v4(2));
    race.now += TIMEOUT;
    assert_eq!(race.step(), Step::GiveUp(second));
    assert_eq!(race.step(), Step::Over);
    let both = "192.0.2.1:80: connection refused; 192.0.2.2:80: no answer in time";
    assert_eq!(race.attempts.in_words(), both);
    assert_eq!(Attempts::new(&[], TIMEOUT).in_words(), "the name has no address");
}

#[test]
fn only_so_many_are_in_flight_at_once() {
    let addresses: Vec<_> = (1..=10).map(v4).collect();
    let mut race = Race::new(&addresses);
    let tokens: Vec<_> = (0..ATTEMPTS_MAX)
        .map(|n| {
            race.now += ATTEMPT_DELAY * u32::from(n > 0);
            race.begins(addresses[n])
        })
        .collect();
    assert_eq!(ATTEMPTS_MAX, 8);
    // The ninth waits until the first is over.
    race.sleeps(TIMEOUT.checked_sub(ATTEMPT_DELAY * 7).unwrap());
    assert_eq!(race.step(), Step::GiveUp(tokens[0]));
    race.begins(addresses[8]);
}

#[test]
fn remembered_addresses_are_tried_while_the_look_up_goes_on() {
    let mut race = Race::looking_up(&[v4(1), v4(2), v4(3)]);
    race.begins(v4(1));
    // The answer does not have the second any more, and has another one.
    race.attempts.look_up_answered(&[v4(4), v4(1), v4(3)]);
    race.sleeps(ATTEMPT_DELAY);
    race.begins(v4(4));
    race.sleeps(ATTEMPT_DELAY);
    race.begins(v4(3));
    let timeout = TIMEOUT.checked_sub(ATTEMPT_DELAY * 2).unwrap();
    assert_eq!(race.step(), Step::WaitUntil(race.now + timeout), "none is tried twice");
}

#[test]
fn a_look_up_that_fails_or_hangs_leaves_what_is_remembered() {
    let mut race = Race::looking_up(&[v4(1), v4(2)]);
    let first = race.begins(v4(1));
    race.attempts.failed(first, "connection refused".to_owned());
    race.attempts.look_up_failed("the name cannot be looked up: nobody knows".to_owned());
    let second = race.begins(v4(2));
    race.attempts.failed(second, "connection refused".to_owned());
    assert_eq!(race.step(), Step::Over);
    let words = "connection refused; and the name cannot be looked up: nobody knows";
    assert_eq!(race.attempts.in_words(), words);

    // There may be another address in the answer, so the end waits for it, but not for ever.
    let mut race = Race::looking_up(&[v4(1)]);
    let first = race.begins(v4(1));
    race.attempts.failed(first, "connection refused".to_owned());
    race.sleeps(Duration::from_secs(5));
    assert_eq!(race.step(), Step::LookUpOver);
    race.attempts.look_up_failed("no answer".to_owned());
    assert_eq!(race.step(), Step::Over);
    assert_eq!(race.attempts.in_words(), "connection refused; and no answer");
}

#[test]
fn times_without_an_end_are_no_panic() {
    let mut attempts = Attempts::new(&[v4(1)], Duration::MAX);
    let now = Instant::now();
    attempts.look_up_begun(now, Duration::MAX);
    assert_eq!(attempts.step(now), Step::Begin(v4(1)));
    attempts.begun(v4(1), Token::of_test(1), now);
    assert_eq!(attempts.step(now), Step::WaitUntil(now + DELAY_MAX));
}
