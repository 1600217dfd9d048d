//! Tests of full stores: who goes, that order makes no difference, and how much a step may do.

use super::*;
use crate::herd::store::room::{SLACK_BYTES, SLACK_CLIENTS};

/// A store for so many clients, of a server whose clock is far past all records here.
fn store_for(clients: usize) -> Store {
    full_store(Capacity { clients, ..ROOMY })
}

fn full_store(capacity: Capacity) -> Store {
    let mut store = Store::new(capacity);
    store.set_clock(seconds(1_000_000));
    store
}

fn merge(store: &mut Store, line: &str) -> Merged {
    store.merge(record(line), None)
}

#[test]
fn the_client_unheard_for_the_longest_makes_room_and_does_not_come_back() {
    let mut store = store_for(2);
    for (client, second) in [(1, 30), (2, 10), (3, 20)] {
        assert_eq!(merge(&mut store, &heard_at(client, second)), Merged::New);
    }
    assert_eq!(held(&store), [heard_at(1, 30), heard_at(3, 20)]);
    assert_eq!(store.horizon(), Some(seconds(10)));
    assert_eq!(merge(&mut store, &heard_at(2, 10)), Merged::TooOld);
    assert_eq!(merge(&mut store, &heard_at(4, 9)), Merged::TooOld);
    // It is known again when it is heard again, and then somebody else goes.
    assert_eq!(merge(&mut store, &heard_at(2, 40)), Merged::New);
    assert_eq!(held(&store), [heard_at(1, 30), heard_at(2, 40)]);
    assert_eq!(store.fullness(), Fullness { evicted: 2, turned_away: 0 });
}

#[test]
fn one_that_is_older_than_all_that_are_held_raises_the_horizon_and_is_not_taken_in() {
    let mut store = store_for(2);
    for (client, second) in [(1, 30), (2, 20)] {
        merge(&mut store, &heard_at(client, second));
    }
    assert_eq!(merge(&mut store, &heard_at(3, 15)), Merged::Full);
    assert_eq!(store.horizon(), Some(seconds(15)), "as if it had come first");
    assert_eq!(store.fullness(), Fullness { evicted: 0, turned_away: 1 });
}

#[test]
fn an_update_needs_no_room_and_moves_its_client_to_the_end() {
    let mut store = store_for(3);
    for (client, second) in [(1, 10), (2, 11), (3, 12), (1, 13), (4, 14), (5, 15)] {
        merge(&mut store, &heard_at(client, second));
    }
    assert_eq!(held(&store), [heard_at(1, 13), heard_at(4, 14), heard_at(5, 15)]);
    assert_eq!(store.horizon(), Some(seconds(12)));
    // To an earlier server time: another order than by the clients' times.
    let earlier = "AT A -89.000000000 k5 +1+1 102";
    let mut store = store_for(3);
    for line in [heard_at(1, 20), heard_at(5, 21), earlier.to_owned(), heard_at(2, 22)] {
        merge(&mut store, &line);
    }
    merge(&mut store, &heard_at(3, 23));
    assert_eq!(store.get(b"k5"), None, "it was heard at 13");
}

#[test]
fn the_weight_of_all_clients_is_bounded_too() {
    let memory_bytes = 3 * weight_of(b"k1");
    let mut store = full_store(Capacity { memory_bytes, ..ROOMY });
    for client in 1..9 {
        assert_eq!(merge(&mut store, &heard_at(client, 10 + client)), Merged::New);
    }
    assert_eq!((store.len(), store.weight()), (3, memory_bytes));
    // One that is as heavy as all of them.
    let long = format!("k{}", "x".repeat(memory_bytes - CLIENT_WEIGHT_BYTES - 1));
    assert_eq!(merge(&mut store, &format!("AT A +0.000000000 {long} +1+1 30")), Merged::New);
    assert_eq!((store.len(), store.weight()), (1, memory_bytes));
    // And one that is heavier: nothing can be held with it, and so nothing is, up to its time.
    assert_eq!(merge(&mut store, &format!("AT A +0.000000000 {long}x +1+1 40")), Merged::Full);
    assert_eq!((store.len(), store.horizon()), (0, Some(seconds(40))));
}

#[test]
fn the_weight_is_no_less_than_what_a_client_takes() {
    use crate::wire::peer::{PEER_LINE_MAX_BYTES, SERVER_NAME_MAX_BYTES};
    let rest = "AT  +9999999999999.999999999  +090.000000000000000-180.000000000000000 \
                -999999999999.999999999";
    let longest_rest = rest.len() + SERVER_NAME_MAX_BYTES;
    let beside_the_line = size_of::<Kept>() + 16 + 8 * 3 + 16 * 8 / 3 + 4 + 2;
    assert!(longest_rest + beside_the_line <= CLIENT_WEIGHT_BYTES);
    assert!(PEER_LINE_MAX_BYTES >= longest_rest);
}

#[test]
fn the_horizon_never_passes_the_clock_and_falls_only_with_it() {
    let mut store = store_for(2);
    store.set_clock(seconds(15));
    for client in 1..=SLACK_CLIENTS + 2 {
        assert_eq!(merge(&mut store, &heard_at(client, 20 + client)), Merged::New, "{client}");
    }
    // All are from ahead of the clock: none can go, and no more are let in.
    assert_eq!(merge(&mut store, &heard_at(99, 99)), Merged::Full);
    assert_eq!((store.len(), store.horizon()), (SLACK_CLIENTS + 2, None));
    assert!(!store.make_room());
    store.set_clock(seconds(23));
    assert!(!store.make_room());
    assert_eq!((store.len(), store.horizon()), (SLACK_CLIENTS - 1, Some(seconds(23))));
    store.set_clock(seconds(200));
    assert!(!store.make_room());
    assert_eq!(store.len(), 2);
    let horizon = store.horizon().unwrap();
    assert_eq!(horizon, seconds(20 + 64));
    store.set_clock(horizon + 1);
    assert_eq!(store.horizon(), Some(horizon));
    store.set_clock(seconds(50));
    assert_eq!(store.horizon(), Some(seconds(50)));
}

#[test]
fn a_store_may_be_over_its_bytes_by_no_more_than_the_slack() {
    let memory_bytes = 40 << 20;
    let mut store = full_store(Capacity { memory_bytes, ..ROOMY });
    store.set_clock(seconds(15));
    for client in 0..10_000 {
        let long = format!("{client}{}", "x".repeat(16_000));
        merge(&mut store, &format!("AT A +0.000000000 {long} +1+1 30"));
    }
    let most = memory_bytes + memory_bytes / 64 + SLACK_BYTES;
    assert!(store.weight() > memory_bytes && store.weight() <= most, "{}", store.weight());
    store.set_clock(seconds(99));
    while store.make_room() {}
    assert!(store.weight() <= memory_bytes);
}

#[test]
fn a_report_that_the_clock_is_behind_the_horizon_for_is_not_taken_in_and_a_repeat_is_answered() {
    let mut store = store_for(2);
    for (client, second) in [(1, 30), (2, 40), (3, 50)] {
        assert_eq!(report(&mut store, record(&heard_at(client, second))), Merged::New);
    }
    assert_eq!(store.horizon(), Some(seconds(30)));
    // The clock was set back, but the horizon only as far as that.
    assert_eq!(report(&mut store, record(&heard_at(4, 30))), Merged::TooOld);
    assert_eq!(report(&mut store, record("AT A -30.000000000 k3 +1+1 60")), Merged::TooOld);
    assert_eq!(report(&mut store, record("AT A -20.000000000 k3 +1+1 50")), Merged::Kept);
    assert_eq!(store.fullness(), Fullness { evicted: 1, turned_away: 2 });
}

#[test]
fn a_client_that_moves_to_an_earlier_server_time_is_found_wherever_it_stands() {
    let mut store = store_for(100);
    for client in 0..100 {
        merge(&mut store, &heard_at(client, 50 + client));
    }
    assert_eq!(merge(&mut store, "AT A -190.000000000 k70 +1+1 200"), Merged::Changed);
    assert_eq!(merge(&mut store, &heard_at(100, 300)), Merged::New);
    assert_eq!((store.get(b"k70"), store.horizon()), (None, Some(seconds(10))));
    assert!(store.get(b"k0").is_some());
}

/// The client who reports at this second: all in turn, but not as they stand in memory.
fn reporting_at(second: usize, clients: usize) -> usize {
    second * 7_919 % clients
}

/// A crowd of clients that report in turn, so that each update leaves one bound too low.
fn crowd(clients: usize) -> (Store, usize) {
    let mut store = store_for(clients);
    for client in 0..clients {
        merge(&mut store, &heard_at(client, 0));
    }
    for second in 1..=clients {
        merge(&mut store, &heard_at(reporting_at(second, clients), second));
    }
    (store, clients + 1)
}

#[test]
fn however_many_have_reported_again_a_step_looks_at_few_of_them_and_turns_do_the_rest() {
    const CLIENTS: usize = 100_000;
    let (mut store, mut second) = crowd(CLIENTS);
    // What earlier changes pay for is paid for.
    store.make_room();
    for newcomer in 0..50 {
        assert_eq!(merge(&mut store, &heard_at(CLIENTS + newcomer, second)), Merged::New);
        second += 1;
    }
    assert_eq!(store.len(), CLIENTS + 50, "the steps of fifty newcomers are too few");
    let mut turns = 0;
    while store.make_room() {
        turns += 1;
    }
    assert!((3..CLIENTS / 16 / 256).contains(&turns), "{turns} turns");
    assert_eq!((store.len(), store.fullness().evicted), (CLIENTS, 50));
    assert_eq!(store.horizon(), Some(seconds(50)));
}

#[test]
fn updates_that_go_on_do_not_outrun_an_eviction() {
    const CLIENTS: usize = 150_000;
    let (mut store, mut second) = crowd(CLIENTS);
    store.make_room();
    merge(&mut store, &heard_at(CLIENTS, second));
    let mut turns = 0;
    while store.len() > CLIENTS {
        // Each turn brings the reports of those who are oldest now.
        for _ in 0..4_000 {
            second += 1;
            merge(&mut store, &heard_at(reporting_at(second, CLIENTS), second));
        }
        store.make_room();
        turns += 1;
        assert!(turns < 20, "no eviction in {turns} turns");
    }
}

/// Records of which each client's have the same order by both times, of many servers and clocks.
fn any_history() -> impl Strategy<Value = Vec<String>> {
    let reports = prop::collection::vec((0..30u8, 1..50u8, "[ABC]", 0..3usize), 1..120);
    reports.prop_map(|reports| {
        let mut second = 0;
        let lines = reports.into_iter().map(|(client, later, server, tail)| {
            // A few at the same moment.
            second += u64::from(later / 10);
            let (id, off) = ("x".repeat(usize::from(client % 4) * 100), client % 7);
            // Lines of one client differ in length.
            let tail = &".0000"[..[0, 2, 5][tail]];
            format!("AT {server} +{off}.000000000 k{client}{id} +1{tail}-1 {second}")
        });
        let mut lines: Vec<String> = lines.collect();
        lines.dedup();
        lines
    })
}

/// The least horizon past which all fits, and what is held then: from the rule, record by record.
fn expected(lines: &[String], capacity: Capacity) -> (Option<Nanos>, Vec<String>) {
    let mut winners: Vec<Record<'_>> = Vec::new();
    for line in lines {
        let record = record(line);
        match winners.iter_mut().find(|winner| winner.client() == record.client()) {
            Some(winner) if record.wins_over(winner) => *winner = record,
            Some(_) => {}
            None => winners.push(record),
        }
    }
    let times = winners.iter().map(|winner| Some(winner.server_time));
    let mut horizons: Vec<Option<Nanos>> = times.chain([None]).collect();
    horizons.sort_unstable();
    for horizon in horizons {
        let above = winners.iter().filter(|winner| Some(winner.server_time) > horizon);
        let weight: usize = above.clone().map(|winner| weight_of(winner.client())).sum();
        if above.clone().count() <= capacity.clients && weight <= capacity.memory_bytes {
            let text = |winner: &Record<'_>| String::from_utf8(winner.line.to_vec()).unwrap();
            let mut held: Vec<String> = above.map(text).collect();
            held.sort();
            return (horizon, held);
        }
    }
    unreachable!("nothing fits into anything")
}

/// What is held and not due.
fn living(store: &Store) -> Vec<String> {
    let changes = store.changes_after(0).filter_map(|(_, change)| change);
    let mut lines: Vec<String> =
        changes.map(|change| String::from_utf8(change.record.line.to_vec()).unwrap()).collect();
    lines.sort();
    lines
}

proptest! {
    #[test]
    fn in_whatever_order_records_come_a_full_store_holds_the_same_up_to_the_same_horizon(
        history in any_history(),
        orders in prop::collection::vec(any::<u64>(), 4),
        clients in 1..20usize,
        memory_bytes in 700..9_000usize,
    ) {
        let capacity = Capacity { clients, memory_bytes, when_full: WhenFull::Evict };
        let (horizon, lines) = expected(&history, capacity);
        for order in orders {
            let mut shuffled = history.clone();
            shuffled.sort_by_key(|line| RandomState::with_seeds(order, 0, 0, 0).hash_one(line));
            // And some of them twice.
            shuffled.extend(shuffled.clone().into_iter().take(usize::try_from(order % 5).unwrap()));
            let mut store = full_store(capacity);
            let mut before = None;
            for line in &shuffled {
                merge(&mut store, line);
                prop_assert!(store.len() <= clients && store.weight() <= memory_bytes);
                prop_assert!(store.horizon() >= before, "it never falls");
                before = store.horizon();
                prop_assert!(living(&store).iter().all(|line| Some(record(line).server_time) > before));
            }
            prop_assert_eq!(store.horizon(), horizon);
            prop_assert_eq!(living(&store), lines.clone());
        }
    }

    #[test]
    fn whatever_differs_ends_when_the_horizon_has_passed_it(
        // Here a client's times are in any order.
        history in prop::collection::vec((0..9u8, 0..40u8, 0..40u8), 1..60),
        orders in prop::collection::vec(any::<u64>(), 3),
    ) {
        let line = |(client, time, off): &(u8, u8, u8)| {
            format!("AT A +{off}.000000000 k{client} +1-1 {time}")
        };
        let ends: Vec<String> = (0..4).map(|client| heard_at(100 + client, 100 + client)).collect();
        for order in orders {
            let mut shuffled: Vec<String> = history.iter().map(line).collect();
            shuffled.sort_by_key(|line| RandomState::with_seeds(order, 0, 0, 0).hash_one(line));
            let mut store = store_for(4);
            shuffled.iter().chain(&ends).for_each(|line| {
                merge(&mut store, line);
            });
            prop_assert_eq!(living(&store), ends.clone());
        }
    }
}
