//! Tests of the journal's thread: jobs that hang, that it does not take, and that panic.

use std::sync::mpsc;

use super::*;

/// Keeps the journal's thread busy, as a disk does whose sync takes long, until the sender is dropped.
fn slow_disk(scene: &mut Scene) -> mpsc::Sender<()> {
    let (release, held) = mpsc::channel::<()>();
    let wait = move || held.recv();
    let io = scene.reactor.io();
    io.defer_to_thread(JOURNAL_THREAD, Target::Application, wait, |_| Event::PumpAgain).unwrap();
    release
}

#[test]
fn a_sync_that_does_not_come_back_is_told_with_its_time_and_never_called_ok() {
    for policy in [SyncPolicy::Always, SyncPolicy::EverySecond] {
        let mut scene = Scene::new(&format!("hangs-{policy:?}"), policy);
        let mut client = scene.connect();
        let release = slow_disk(&mut scene);
        scene.hear(&mut client, "kiwi");
        scene.clock += SYNC_INTERVAL;
        scene.turn_until("a sync is under way", |scene| scene.status()["job"]["what"] == "a sync");
        assert_eq!(scene.status()["state"], "ok", "it has its time");
        let begun = scene.status()["job"]["since"].clone();
        scene.clock += SYNC_TIME_MAX;
        scene.turn();
        let status = scene.status();
        let seconds = status["job"]["seconds"].as_f64().unwrap();
        assert_eq!(status["state"], format!("a sync has not come back for {seconds:.1} s"));
        assert_eq!(status["job"]["since"], begun);
        assert!(seconds >= SYNC_TIME_MAX.as_secs_f64());
        drop(release);
        scene.turn_until("it has come back", |scene| scene.status()["job"].is_null());
        assert_eq!(scene.status()["state"], "ok");
        scene.turn_until_synced();
    }
}

#[test]
fn a_job_that_the_thread_does_not_take_is_told_with_the_reason_and_leaves_nothing_under_way() {
    let mut scene = Scene::new("refused", SyncPolicy::Always);
    let mut client = scene.connect();
    let release = slow_disk(&mut scene);
    let io = scene.reactor.io();
    let event = |_| Event::PumpAgain;
    while io.defer_to_thread(JOURNAL_THREAD, Target::Application, || (), event).is_ok() {}
    scene.hear(&mut client, "kiwi");
    let words = "cannot sync: 1024 jobs wait for the thread \"journal\" already";
    assert_eq!((&scene.status()["state"], &scene.status()["job"]), (&words.into(), &Value::Null));
    // The reply waits, for it would promise what is not so.
    assert_eq!((heard(&client).as_str(), &scene.status()["replies_waiting"]), ("", &1.into()));
    // Nor is a rewrite begun, which would need the thread too.
    let cx = scene.reactor.context();
    cx.app.journal.as_mut().unwrap().begin_rewrite(cx.io);
    assert_eq!(scene.status()["rewriting"], false);
    drop(release);
    // It is tried again each second, until there is room. No reply waits for more than ten.
    for _ in 0..9 {
        scene.clock += SYNC_INTERVAL;
        let deadline = Instant::now() + Duration::from_secs(2);
        while scene.status()["unsynced"] != 0 && Instant::now() < deadline {
            scene.turn();
        }
    }
    assert_eq!(scene.status()["unsynced"], 0, "it never recovers");
    scene.turn_until("the reply comes", |_| heard(&client).starts_with("AT Solo "));
    assert_eq!(scene.status()["state"], "ok");
}

#[test]
fn a_job_that_panics_leaves_nothing_under_way_and_all_is_written_anew() {
    let mut scene = Scene::new("panics", SyncPolicy::Always);
    let mut client = scene.connect();
    scene.hear(&mut client, "kiwi");
    scene.turn_until_synced();
    let panicked = || "it panicked: index out of bounds".to_owned();
    // A new file cannot be made.
    let cx = scene.reactor.context();
    cx.app.journal.as_mut().unwrap().rewrite = Some(Rewrite::Opening(cx.io.now()));
    assert_eq!(scene.status()["job"]["what"], "making a new file");
    scene.tell(JournalEvent::Opened(Err(panicked())));
    assert_eq!(scene.status()["rewriting"], false);
    // It may have the journal's name, or not: neither file is to be believed.
    scene.tell(JournalEvent::Rewritten {
        extent: Extent::default(),
        finished: Finished::InDoubt(panicked()),
    });
    assert_eq!(scene.status()["state"], "it panicked: index out of bounds");
    assert_eq!(
        (&scene.status()["rewriting"], &scene.status()["job"]),
        (&false.into(), &Value::Null)
    );
    scene.clock += RETRY_INTERVAL;
    scene.turn_until("it recovers", |scene| scene.status()["state"] == "ok");
    scene.hear(&mut client, "plum");
    scene.turn_until_synced();
    assert_eq!(scene.file().lines().count(), 3);
}
