//! Tests of what is kept of look-ups, without a thread or a name server.

use crate::reactor::net::look_up::*;

fn asker(number: usize) -> Token {
    Token::of_test(number)
}

fn address(last: u8) -> SocketAddr {
    SocketAddr::new([192, 0, 2, last].into(), 0)
}

fn at(last: u8, port: u16) -> SocketAddr {
    SocketAddr::new([192, 0, 2, last].into(), port)
}

/// A name whose look-up has brought these addresses.
fn answered(look_ups: &mut LookUps, host: &str, answer: &Answer) {
    let now = Instant::now();
    look_ups.ask(host, asker(0), now).unwrap();
    let (thread, begun) = look_ups.begin_next(now).unwrap();
    assert_eq!(begun, host);
    assert_eq!(look_ups.answered(thread, answer), Some((host.to_owned(), vec![asker(0)])));
}

fn running(look_ups: &LookUps) -> Vec<String> {
    look_ups.under_way().filter(|l| l.is_running).map(|l| l.host).collect()
}

#[test]
fn all_who_ask_for_a_name_share_one_look_up() {
    let (mut look_ups, now) = (LookUps::default(), Instant::now());
    for number in 0..3 {
        look_ups.ask("a.example", asker(number), now).unwrap();
        let begun = look_ups.begin_next(now);
        assert_eq!(begun.is_some(), number == 0, "asker {number}");
    }
    let (host, askers) = look_ups.answered(0, &Ok(vec![address(1)])).unwrap();
    assert_eq!((host.as_str(), askers), ("a.example", vec![asker(0), asker(1), asker(2)]));
    assert_eq!(look_ups.under_way().count(), 0);
    assert_eq!(look_ups.answered(0, &Ok(vec![address(1)])), None, "nothing runs there any more");
}

#[test]
fn the_answer_is_remembered_and_a_failure_takes_nothing_away() {
    let mut look_ups = LookUps::default();
    assert_eq!(look_ups.remembered("a.example", 443), []);
    answered(&mut look_ups, "a.example", &Ok(vec![address(1), address(2)]));
    assert_eq!(look_ups.remembered("a.example", 443), [at(1, 443), at(2, 443)]);
    answered(&mut look_ups, "a.example", &Err("the name server is on fire".to_owned()));
    assert_eq!(look_ups.remembered("a.example", 443), [at(1, 443), at(2, 443)]);
    answered(&mut look_ups, "a.example", &Ok(vec![address(3)]));
    assert_eq!(look_ups.remembered("a.example", 443), [at(3, 443)]);
}

#[test]
fn what_worked_last_is_first_for_its_port_as_long_as_the_name_has_it() {
    let mut look_ups = LookUps::default();
    let all = Ok(vec![address(1), address(2), address(3)]);
    answered(&mut look_ups, "a.example", &all);
    look_ups.worked(at(2, 443));
    look_ups.worked(at(3, 80));
    look_ups.worked(at(9, 443));
    assert_eq!(look_ups.remembered("a.example", 443), [at(2, 443), at(1, 443), at(3, 443)]);
    assert_eq!(look_ups.remembered("a.example", 80), [at(3, 80), at(1, 80), at(2, 80)]);
    look_ups.worked(at(3, 443));
    assert_eq!(look_ups.remembered("a.example", 443)[0], at(3, 443));
    // A new answer in another order does not change what has worked; one without it does.
    answered(&mut look_ups, "a.example", &all);
    assert_eq!(look_ups.remembered("a.example", 443)[0], at(3, 443));
    answered(&mut look_ups, "a.example", &Ok(vec![address(1), address(2)]));
    answered(&mut look_ups, "a.example", &all);
    assert_eq!(look_ups.remembered("a.example", 443)[0], at(1, 443));
}

#[test]
fn what_broke_is_last_until_it_works() {
    let mut look_ups = LookUps::default();
    answered(&mut look_ups, "a.example", &Ok(vec![address(1), address(2), address(3)]));
    look_ups.worked(at(1, 443));
    look_ups.broke(at(1, 443));
    look_ups.broke(at(2, 443));
    assert_eq!(look_ups.remembered("a.example", 443), [at(3, 443), at(1, 443), at(2, 443)]);
    look_ups.worked(at(1, 443));
    assert_eq!(look_ups.remembered("a.example", 443), [at(1, 443), at(3, 443), at(2, 443)]);
}

#[test]
fn a_look_up_that_nobody_waits_for_leaves_nothing_but_its_thread() {
    let (mut look_ups, now) = (LookUps::default(), Instant::now());
    look_ups.ask("a.example", asker(1), now).unwrap();
    look_ups.begin_next(now).unwrap();
    look_ups.leave("a.example", asker(1));
    look_ups.leave("a.example", asker(1));
    look_ups.leave("never.example", asker(1));
    let left: Vec<_> = look_ups.under_way().collect();
    let since = now;
    let given_up = LookUp { host: "a.example".to_owned(), is_running: true, since, connections: 0 };
    assert_eq!(left, [given_up]);
    // Whoever asks again waits for the one that runs.
    look_ups.ask("a.example", asker(2), now).unwrap();
    assert_eq!(look_ups.begin_next(now), None);
    let (_, askers) = look_ups.answered(0, &Ok(vec![address(1)])).unwrap();
    assert_eq!(askers, [asker(2)]);
}

#[test]
fn a_fifth_name_waits_for_a_thread_and_is_told_what_it_waits_for() {
    let (mut look_ups, start) = (LookUps::default(), Instant::now());
    let at = |seconds| start + Duration::from_secs(seconds);
    for number in 0..LOOK_UP_THREADS_MAX {
        look_ups.ask(&format!("{number}.example"), asker(number), at(number as u64)).unwrap();
        assert_eq!(look_ups.begin_next(at(number as u64)).unwrap().0, number);
    }
    for name in ["fifth", "sixth", "seventh"] {
        look_ups.ask(name, asker(9), at(4)).unwrap();
        assert_eq!(look_ups.begin_next(at(4)), None);
    }
    let words = look_ups.why_no_answer("fifth", at(9));
    assert_eq!(
        words,
        "no thread was free to look the name up: 4 other look-ups are hung, the oldest since 9.0 s"
    );
    let words = look_ups.why_no_answer("3.example", at(9));
    assert_eq!(words, "no answer to the look-up of the name in 6.0 s");
    // The fifth gives up: it is not looked up when a thread is free, and the sixth is.
    look_ups.leave("fifth", asker(9));
    assert_eq!(look_ups.under_way().count(), LOOK_UP_THREADS_MAX + 2);
    look_ups.answered(2, &Err("no".to_owned()));
    assert_eq!(look_ups.begin_next(at(10)), Some((2, "sixth".to_owned())));
    assert_eq!(look_ups.begin_next(at(10)), None);
    assert_eq!(running(&look_ups), ["0.example", "1.example", "3.example", "sixth"]);
}

#[test]
fn only_so_many_names_are_remembered_and_the_oldest_makes_room() {
    let mut look_ups = LookUps::default();
    for number in 0..LOOK_UP_NAMES_MAX {
        answered(&mut look_ups, &number.to_string(), &Ok(vec![address(1)]));
    }
    answered(&mut look_ups, "0", &Ok(vec![address(1)]));
    answered(&mut look_ups, "one more", &Ok(vec![address(1)]));
    assert_eq!(look_ups.names.len(), LOOK_UP_NAMES_MAX);
    assert_eq!(look_ups.remembered("1", 80), []);
    assert_eq!(look_ups.remembered("0", 80), [at(1, 80)]);
}

#[test]
fn only_so_many_names_and_askers_wait() {
    let (mut look_ups, now) = (LookUps::default(), Instant::now());
    for number in 0..LOOK_UP_NAMES_MAX {
        look_ups.ask(&number.to_string(), asker(number), now).unwrap();
    }
    let refused = look_ups.ask("one more", asker(0), now).unwrap_err();
    assert_eq!(refused, "256 names are looked up already");
    for number in LOOK_UP_NAMES_MAX..LOOK_UP_ASKERS_MAX {
        look_ups.ask("0", asker(number), now).unwrap();
    }
    let refused = look_ups.ask("0", asker(0), now).unwrap_err();
    assert_eq!(refused, "1024 connections wait for look-ups already");
}

#[test]
fn what_has_worked_is_not_cut_off_where_a_name_has_too_many_addresses() {
    let mut look_ups = LookUps::default();
    let many: Vec<_> = (1..=200).map(address).collect();
    answered(&mut look_ups, "a.example", &Ok(many.clone()));
    let first = look_ups.remembered("a.example", 80);
    assert_eq!(first, (1..=16).map(|n| at(n, 80)).collect::<Vec<_>>());
    look_ups.worked(at(16, 80));
    let mut reversed = many;
    reversed.reverse();
    answered(&mut look_ups, "a.example", &Ok(reversed));
    let second = look_ups.remembered("a.example", 80);
    assert_eq!((second.len(), second[0], second[1]), (16, at(16, 80), at(200, 80)));
}

#[test]
fn verdicts_are_bounded() {
    let mut look_ups = LookUps::default();
    answered(&mut look_ups, "a.example", &Ok(vec![address(1)]));
    for port in 1..1000 {
        look_ups.broke(at(1, port));
        look_ups.worked(at(1, port));
    }
    assert_eq!(look_ups.names["a.example"].verdicts.len(), VERDICTS_MAX);
}
