//! Tests of merging, of the order of changes, and of forgetting. Those of full stores are in `room`.

mod room;

use proptest::prelude::*;

use super::*;
use crate::wire::peer::parse_at;
use crate::wire::time::NANOS_PER_SECOND;

const ROOMY: Capacity =
    Capacity { clients: usize::MAX, memory_bytes: usize::MAX, when_full: WhenFull::Evict };

fn record(line: &str) -> Record<'_> {
    Record::new(line.as_bytes(), &parse_at(line.as_bytes()).unwrap()).unwrap()
}

fn store(lines: &[String]) -> Store {
    let mut store = Store::new(ROOMY);
    for line in lines {
        store.merge(record(line), None);
    }
    store
}

fn report(store: &mut Store, record: Record<'_>) -> Merged {
    store.report(record.client(), record)
}

/// Every record held, sorted by line.
fn held(store: &Store) -> Vec<String> {
    let changes = store.changes_after(0).filter_map(|(_, change)| change);
    let mut lines: Vec<_> =
        changes.map(|change| String::from_utf8(change.record.line.to_vec()).unwrap()).collect();
    lines.sort();
    assert_eq!(lines.len(), store.len(), "each client stands in the log once");
    lines
}

/// Lines of few clients, times and servers, so that every kind of tie is met.
fn any_line() -> impl Strategy<Value = String> {
    (0..3u8, 0..3u8, "[AB]", 0..2u8, 0..2u8).prop_map(
        |(client, time, server, difference, place)| {
            format!("AT {server} +{difference}.000000000 k{client} +{place}+0 {time}")
        },
    )
}

#[test]
fn a_merge_tells_what_it_did() {
    let mut store = Store::new(ROOMY);
    assert!(store.is_empty());
    let (old, new) = ("AT A +0.000000000 k +1+1 7", "AT A +0.000000000 k +1+1 7.25");
    assert_eq!(store.merge(record(old), None), Merged::New);
    assert_eq!(store.merge(record(old), None), Merged::Kept);
    assert_eq!(store.last_change(), 1);
    assert_eq!(store.merge(record(new), None), Merged::Changed);
    assert_eq!(store.merge(record(old), None), Merged::Kept);
    assert_eq!((store.len(), store.last_change()), (1, 2));
    assert_eq!(store.get(b"k").unwrap().line, new.as_bytes());
    assert_eq!(store.get(b"K"), None);
    assert_eq!(store.get(b""), None);
}

#[test]
fn a_report_wins_only_by_a_later_client_time() {
    let mut store = Store::new(ROOMY);
    store.merge(record("AT B +5.000000000 k +1+1 7"), None);
    let earlier_server_time = record("AT A +1.000000000 k +1+1 7");
    assert!(earlier_server_time.wins_over(&store.get(b"k").unwrap()));
    assert_eq!(report(&mut store, earlier_server_time), Merged::Kept);
    assert_eq!(report(&mut store, record("AT A +9.000000000 k +1+1 7.000000001")), Merged::Changed);
}

#[test]
fn a_cursor_sees_each_client_once_and_in_the_order_of_changes() {
    let mut store = Store::new(ROOMY);
    for line in ["k1 +1+1 1", "k2 +1+1 1", "k3 +1+1 1", "k1 +1+1 2", "k3 +1+1 2"] {
        store.merge(record(&format!("AT A +0.000000000 {line}")), None);
    }
    let clients = |cursor| {
        let changes = store.changes_after(cursor).filter_map(|(_, change)| change);
        changes.map(|it| String::from_utf8_lossy(it.record.client()).into_owned()).collect()
    };
    let told: [Vec<String>; 4] = [0, 3, 4, 5].map(clients);
    assert_eq!(told, [vec!["k2", "k1", "k3"], vec!["k1", "k3"], vec!["k3"], vec![]]);
    assert_eq!([0, 3, 4, 5, 99].map(|cursor| store.count_after(cursor)), [3, 2, 1, 0, 0]);
}

#[test]
fn a_line_that_is_held_is_not_read_and_any_other_is() {
    let mut store = Store::new(ROOMY);
    let (old, new) = ("AT A +0.000000000 k +1+1 7", "AT A +0.000000000 k +1+1 8");
    let id = |it| Some(NeighbourId(it));
    let line = |line: &'static str| (line.as_bytes(), &b"k"[..]);
    assert_eq!(store.merge_line(line(old), id(1), || None), None);
    assert_eq!(store.merge_line(line(old), id(1), || Some(record(old))), Some(Merged::New));
    let again = store.merge_line(line(old), id(2), || unreachable!("it is held"));
    assert_eq!(again, Some(Merged::Kept));
    assert_eq!(store.changes_after(0).next().unwrap().1.unwrap().learned_from, id(1));
    assert_eq!(store.merge_line(line(new), id(2), || Some(record(new))), Some(Merged::Changed));
    // Older than what is held, and so not the line that is held.
    assert_eq!(store.merge_line(line(old), id(2), || Some(record(old))), Some(Merged::Kept));
    assert_eq!(store.merge_line(line(old), id(2), || None), None);
    forget_up_to(&mut store, 7);
    assert_eq!(store.merge_line(line(old), id(2), || Some(record(old))), Some(Merged::TooOld));
    assert_eq!((store.last_change(), store.get(b"k").unwrap().line), (2, new.as_bytes()));
}

/// A line of a client that server A heard at this second, with the same client time.
fn heard_at(client: usize, second: usize) -> String {
    format!("AT A +0.000000000 k{client} +1+1 {second}")
}

fn seconds(seconds: i64) -> Nanos {
    Nanos::from(seconds) * NANOS_PER_SECOND
}

/// The clock of the server has come so far, and this is forgotten.
fn forget_up_to(store: &mut Store, second: i64) {
    store.set_clock(seconds(1_000));
    store.forget_up_to(seconds(second));
}

#[test]
fn a_store_that_refuses_takes_in_no_client_beyond_the_limit_and_one_forgotten_makes_room() {
    let mut store = Store::new(Capacity { clients: 2, when_full: WhenFull::Refuse, ..ROOMY });
    assert_eq!(store.merge(record(&heard_at(1, 10)), None), Merged::New);
    assert_eq!(store.merge(record(&heard_at(2, 20)), None), Merged::New);
    assert_eq!(store.merge(record(&heard_at(3, 30)), None), Merged::Full);
    assert_eq!(report(&mut store, record(&heard_at(3, 30))), Merged::Full);
    assert_eq!(store.merge(record(&heard_at(1, 11)), None), Merged::Changed);
    assert_eq!((store.len(), store.last_change(), store.horizon()), (2, 3, None));
    forget_up_to(&mut store, 15);
    // Swept or not: what is forgotten takes no room.
    assert_eq!(store.merge(record(&heard_at(3, 30)), None), Merged::New);
    assert_eq!((store.len(), store.sweep(9)), (2, 0));
    assert_eq!(store.fullness(), Fullness { evicted: 0, turned_away: 2 });
}

#[test]
fn no_store_takes_in_more_clients_than_the_places_of_its_log_can_tell_apart() {
    let store = Store::new(ROOMY);
    assert_eq!(store.capacity().clients, SLOTS_MAX);
    assert!(SLOTS_MAX / 3 * 8 + 1_000_000 < u32::MAX as usize);
}

#[test]
fn what_is_due_is_forgotten_at_once_and_does_not_come_back() {
    let mut store = store(&[heard_at(1, 10), heard_at(2, 20), heard_at(3, 30)]);
    forget_up_to(&mut store, 19);
    // Not swept yet, and yet neither found nor told nor taken in again.
    assert_eq!(store.len(), 3);
    assert_eq!(store.get(b"k1"), None);
    assert_eq!(store.get(b"k2").unwrap().line, heard_at(2, 20).as_bytes());
    assert_eq!(store.changes_after(0).filter(|(_, change)| change.is_some()).count(), 2);
    // What was heard after that is not due, and the same again is no change.
    assert_eq!(store.merge(record(&heard_at(2, 20)), None), Merged::Kept);
    assert_eq!(report(&mut store, record(&heard_at(2, 20))), Merged::Kept);
    assert_eq!(store.last_change(), 3);
    for swept in [1, 0] {
        assert_eq!(store.merge(record(&heard_at(1, 10)), None), Merged::TooOld);
        assert_eq!(store.merge(record(&heard_at(1, 19)), None), Merged::TooOld);
        assert_eq!((store.sweep(99), store.len()), (swept, 2));
    }
    assert_eq!(store.merge(record(&heard_at(1, 20)), None), Merged::New);
}

#[test]
fn a_record_that_is_due_loses_to_any_that_is_not_swept_or_not() {
    for sweep in [false, true] {
        let mut store = store(&["AT A -90.000000000 k +1+1 100".to_owned()]);
        let lesser = record("AT A +0.000000000 k +1+1 50");
        assert_eq!(store.merge(lesser, None), Merged::Kept);
        forget_up_to(&mut store, 10);
        if sweep {
            assert_eq!(store.sweep(1), 1);
        }
        let merged = if sweep { Merged::New } else { Merged::Changed };
        assert_eq!(report(&mut store, lesser), merged);
        assert_eq!(store.get(b"k").unwrap().line, lesser.line);
    }
}

#[test]
fn a_sweep_is_bounded_and_goes_on_where_it_stopped() {
    let mut store = store(&(0..100).map(|i| heard_at(i, 10 + i % 2)).collect::<Vec<_>>());
    forget_up_to(&mut store, 10);
    let swept: Vec<usize> = (0..40).map(|_| store.sweep(7)).collect();
    assert!(swept.iter().all(|&count| count <= 7 + 32));
    assert_eq!(swept.iter().sum::<usize>(), 50);
    assert_eq!(swept[30..], [0; 10]);
    assert_eq!(store.len(), 50);
}

#[test]
fn memory_comes_back_when_clients_are_forgotten() {
    let mut store = store(&(0..50_000).map(|i| heard_at(i, 10)).collect::<Vec<_>>());
    for round in 11..14 {
        for i in 0..50_000 {
            store.merge(record(&heard_at(i, round)), None);
        }
    }
    assert!(store.log_entries() <= 3 * 50_000 + 2_000);
    store.merge(record(&heard_at(7, 99)), None);
    forget_up_to(&mut store, 20);
    while store.sweep(1_000) > 0 {}
    assert_eq!((store.len(), store.line_bytes()), (1, heard_at(7, 99).len()));
    assert!(store.kept.capacity() <= 4_096, "{}", store.kept.capacity());
    assert!(store.log_entries() < 2_000, "{}", store.log_entries());
    assert_eq!(held(&store), [heard_at(7, 99)]);
}

#[test]
fn looking_ahead_changes_nothing_whoever_is_asked_for() {
    let store = store(&(0..100).map(|i| heard_at(i, 10)).collect::<Vec<_>>());
    let before = (held(&store), store.last_change(), store.log_entries());
    let known = (0..3 * AHEAD_CLIENTS).map(|i| format!("k{i}").into_bytes());
    let unknown = [vec![], b"K".to_vec(), vec![b'k'; 70_000]];
    let clients: Vec<_> = known.chain(unknown).collect();
    for count in [0, 1, AHEAD_CLIENTS - 1, AHEAD_CLIENTS, AHEAD_CLIENTS + 1, clients.len()] {
        let mut asked = 0;
        store.look_ahead(clients.iter().take(count).inspect(|_| asked += 1).map(Vec::as_slice));
        assert_eq!(asked, count);
    }
    Store::new(ROOMY).look_ahead(clients.iter().map(Vec::as_slice));
    assert_eq!((held(&store), store.last_change(), store.log_entries()), before);
}

/// What a store is asked to do.
#[derive(Clone, Debug)]
enum Step {
    Merge(usize, usize),
    Forget(i64),
    Sweep(usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..12usize, 0..60usize).prop_map(|(client, second)| Step::Merge(client, second)),
        1 => (0..60i64).prop_map(Step::Forget),
        2 => (0..9usize).prop_map(Step::Sweep),
    ]
}

proptest! {
    #[test]
    fn forgetting_disturbs_no_cursor(
        steps in prop::collection::vec(any_step(), 0..300),
        cursor in 0..200u64,
    ) {
        let mut store = Store::new(ROOMY);
        // By client: the second of its record, and the number of the change that brought it.
        let mut model = [None::<(usize, u64)>; 12];
        let mut horizon = -1;
        let due = |second: usize, horizon| i64::try_from(second).unwrap() <= horizon;
        for step in steps {
            match step {
                Step::Merge(client, second) => {
                    let merged = store.merge(record(&heard_at(client, second)), None);
                    let expected: &[Merged] = match model[client] {
                        _ if due(second, horizon) => &[Merged::TooOld],
                        Some((held, _)) if second <= held => &[Merged::Kept],
                        Some(_) => &[Merged::Changed],
                        // It was never known, or is forgotten: swept, or not yet.
                        None => &[Merged::New, Merged::Changed],
                    };
                    prop_assert!(expected.contains(&merged), "{merged:?}, not {expected:?}");
                    if matches!(merged, Merged::New | Merged::Changed) {
                        model[client] = Some((second, store.last_change()));
                    }
                }
                Step::Forget(second) => {
                    horizon = horizon.max(second);
                    forget_up_to(&mut store, horizon);
                }
                Step::Sweep(budget) => drop(store.sweep(budget)),
            }
            let is_due = |known: &Option<(usize, u64)>| known.is_some_and(|(s, _)| due(s, horizon));
            model.iter_mut().filter(|known| is_due(known)).for_each(|known| *known = None);
        }
        let mut expected: Vec<_> =
            model.iter().enumerate().filter_map(|(i, known)| Some((known.as_ref()?.1, i))).collect();
        expected.retain(|&(number, _)| number > cursor);
        expected.sort_unstable();
        let told: Vec<_> = store
            .changes_after(cursor)
            .filter_map(|(number, change)| Some((number, change?.record.line.to_vec())))
            .collect();
        let line = |i: usize| heard_at(i, model[i].unwrap().0).into_bytes();
        prop_assert_eq!(told, expected.into_iter().map(|(n, i)| (n, line(i))).collect::<Vec<_>>());
        for (i, known) in model.iter().enumerate() {
            let found = store.get(format!("k{i}").as_bytes()).map(|record| record.line.to_vec());
            prop_assert_eq!(found, known.map(|_| line(i)));
        }
        let slots = (0..store.len()).filter_map(|slot| store.kept.get(slot));
        let all: usize = slots.map(|kept| kept.record().line.len()).sum();
        prop_assert_eq!(store.line_bytes(), all);
        let slots = (0..store.len()).filter_map(|slot| store.kept.get(slot));
        let weight: usize = slots.map(|kept| weight_of(kept.client())).sum();
        prop_assert_eq!(store.weight(), weight);
    }

    #[test]
    fn merging_is_commutative(lines in prop::collection::vec(any_line(), 0..12), turn in 0..12usize) {
        let mut turned = lines.clone();
        turned.rotate_left(turn.min(lines.len()));
        turned.reverse();
        prop_assert_eq!(held(&store(&lines)), held(&store(&turned)));
    }

    #[test]
    fn merging_is_associative(
        a in prop::collection::vec(any_line(), 0..6),
        b in prop::collection::vec(any_line(), 0..6),
        c in prop::collection::vec(any_line(), 0..6),
    ) {
        let left_first = [held(&store(&[a.clone(), b.clone()].concat())), c.clone()].concat();
        let right_first = [a, held(&store(&[b, c].concat()))].concat();
        prop_assert_eq!(held(&store(&left_first)), held(&store(&right_first)));
    }

    #[test]
    fn merging_is_idempotent(lines in prop::collection::vec(any_line(), 0..12)) {
        let mut store = store(&lines);
        let (before, last) = (held(&store), store.last_change());
        for line in &lines {
            prop_assert_eq!(store.merge(record(line), None), Merged::Kept);
        }
        prop_assert_eq!((held(&store), store.last_change()), (before, last));
    }

    #[test]
    fn the_record_held_is_the_greatest(lines in prop::collection::vec(any_line(), 1..12)) {
        let store = store(&lines);
        for line in &lines {
            let held = store.get(record(line).client()).unwrap();
            prop_assert!(!record(line).wins_over(&held));
            prop_assert!(lines.iter().any(|line| line.as_bytes() == held.line));
        }
    }
}
