//! Tests of what waits for the disk and what does not, turn by turn, on a real file.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::mpsc;
use std::time::SystemTime;

use super::file::TURN_BYTES_MAX;
use super::*;
use crate::reactor::{Application, ListenOptions, Now, Reactor};
use crate::server::alone;
use crate::server::client::Clients;

/// A server with a journal, and its clock.
struct Scene {
    reactor: Reactor<Server>,
    folder: PathBuf,
    port: u16,
    began: Instant,
    clock: Duration,
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Scene {
    fn new(name: &str, policy: SyncPolicy) -> Self {
        Self::in_folder(folder(name), policy)
    }

    fn in_folder(folder: PathBuf, policy: SyncPolicy) -> Self {
        let mut server = alone();
        server.journal = Some(Journal::open(&folder, policy, &mut server.herd).unwrap());
        let mut reactor = Reactor::new(server).unwrap();
        let any_port = (Ipv4Addr::LOCALHOST, 0).into();
        let options = ListenOptions::default();
        let listener = reactor.io().listen_tcp(any_port, options, Box::new(Clients)).unwrap();
        let port = reactor.io().local_address(listener).unwrap().port();
        Self { reactor, folder, port, began: Instant::now(), clock: Duration::ZERO }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// One turn of the loop, at the time that the clock shows.
    fn turn(&mut self) {
        self.reactor.sleep(Some(Duration::from_millis(1))).unwrap();
        let (monotonic, wall) = (self.began + self.clock, SystemTime::UNIX_EPOCH + self.clock);
        self.reactor.advance(Now { monotonic, wall });
    }

    fn turn_until(&mut self, what: &str, condition: impl Fn(&mut Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !condition(self) {
            assert!(Instant::now() < deadline, "it never happens: {what}");
            self.turn();
        }
    }

    fn status(&mut self) -> Value {
        let cx = self.reactor.context();
        cx.app.journal.as_ref().unwrap().status(&cx.app.herd, cx.io)
    }

    /// The turn in which a client's report is heard, and no more.
    fn hear(&mut self, client: &mut TcpStream, id: &str) {
        let known = self.reactor.app().herd.clients();
        client.write_all(format!("IAMAT {id} +1-1 7\n").as_bytes()).unwrap();
        self.turn_until("the report is heard", |scene| scene.reactor.app().herd.clients() > known);
    }

    fn file(&self) -> String {
        fs::read_to_string(self.folder.join("Solo.journal")).unwrap()
    }

    fn tell(&mut self, event: JournalEvent) {
        let cx = self.reactor.context();
        cx.app.event_received(event.into(), cx.io);
    }

    fn turn_until_synced(&mut self) {
        self.turn_until("all is synced", |scene| {
            scene.status()["unsynced"] == 0 && scene.status()["replies_waiting"] == 0
        });
    }
}

fn folder(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("journal-{}-{name}", std::process::id()))
}

/// What has come since it was asked last.
fn heard(mut client: &TcpStream) -> String {
    let mut buffer = [0; 256];
    match client.read(&mut buffer) {
        Ok(length) => String::from_utf8(buffer[..length].to_vec()).unwrap(),
        Err(e) if e.kind() == ErrorKind::WouldBlock => String::new(),
        Err(e) => panic!("{e}"),
    }
}

#[test]
fn a_second_server_with_the_same_journal_is_refused_while_the_first_lives() {
    let scene = Scene::new("twice", SyncPolicy::Never);
    let second = Journal::open(&scene.folder, SyncPolicy::Never, &mut alone().herd);
    let refused = second.err().unwrap();
    assert!(refused.contains("is in use by another server"), "{refused}");
    let folder = scene.folder.clone();
    drop(scene);
    assert!(Journal::open(&folder, SyncPolicy::Never, &mut alone().herd).is_ok());
    fs::remove_dir_all(&folder).unwrap();
}

/// A file whose every read fails: the first page of this process's memory, where nothing ever is.
#[cfg(target_os = "linux")]
#[test]
fn a_journal_that_cannot_be_read_is_put_aside_and_begun_anew() {
    let folder = folder("unread");
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("Solo.journal");
    std::os::unix::fs::symlink("/proc/self/mem", &path).unwrap();
    let mut server = alone();
    let mut journal = Journal::open(&folder, SyncPolicy::Never, &mut server.herd).unwrap();
    assert!(fs::symlink_metadata(&path).unwrap().is_file());
    let aside = fs::read_link(folder.join("Solo.journal.damaged")).unwrap();
    assert_eq!(aside, Path::new("/proc/self/mem"));
    journal.close(&server.herd);
    assert!(fs::read_to_string(&path).unwrap().starts_with("HERD-JOURNAL 1 #"));
    fs::remove_dir_all(&folder).unwrap();
}

/// Played by a link to nowhere, behind which no file can be made, and by a folder that stands where the
/// journal would be written anew.
#[test]
fn a_start_at_which_nothing_can_be_written_is_told_and_made_good() {
    let folder = folder("start");
    let path = folder.join("Solo.journal");
    fs::create_dir_all(new_path(&path)).unwrap();
    std::os::unix::fs::symlink("nowhere/Solo.journal", &path).unwrap();
    let mut scene = Scene::in_folder(folder, SyncPolicy::Always);
    let state = scene.status()["state"].as_str().unwrap().to_owned();
    assert!(state.contains("cannot write: No such file"), "{state}");
    // No reply waits for what cannot be.
    let mut client = scene.connect();
    scene.hear(&mut client, "kiwi");
    assert!(heard(&client).starts_with("AT Solo "));
    scene.clock = RETRY_INTERVAL;
    scene.turn_until("it is tried again", |scene| {
        scene.status()["state"].as_str().unwrap().contains("cannot make the new file")
    });
    scene.hear(&mut client, "plum");
    assert!(heard(&client).starts_with("AT Solo "));
    assert_eq!(scene.status()["unwritten"], 2);
    fs::remove_dir(new_path(&path)).unwrap();
    scene.clock = 2 * RETRY_INTERVAL;
    scene.turn_until("it recovers", |scene| scene.status()["state"] == "ok");
    scene.turn_until_synced();
    assert_eq!((scene.file().lines().count(), &scene.status()["unwritten"]), (3, &0.into()));
    // And replies wait again.
    scene.hear(&mut client, "pear");
    assert_eq!(heard(&client), "");
}

#[cfg(target_os = "linux")]
#[test]
fn a_journal_that_cannot_be_read_and_not_be_begun_anew_yet_is_so_later() {
    let folder = folder("unread-full");
    let path = folder.join("Solo.journal");
    fs::create_dir_all(new_path(&path)).unwrap();
    std::os::unix::fs::symlink("/proc/self/mem", &path).unwrap();
    let mut scene = Scene::in_folder(folder, SyncPolicy::EverySecond);
    assert_ne!(scene.status()["state"], "ok");
    let mut client = scene.connect();
    scene.hear(&mut client, "kiwi");
    fs::remove_dir(new_path(&path)).unwrap();
    scene.clock = RETRY_INTERVAL;
    scene.turn_until("it recovers", |scene| scene.status()["state"] == "ok");
    assert!(scene.file().contains(" kiwi +1-1 7 #"));
    assert!(fs::read_link(scene.folder.join("Solo.journal.damaged")).is_ok());
}

/// Where the lock could not be had at the start, it is taken before anything is written.
#[test]
fn what_another_server_has_taken_meanwhile_is_left_to_it() {
    let folder = folder("late");
    let path = folder.join("Solo.journal");
    fs::create_dir_all(&folder).unwrap();
    std::os::unix::fs::symlink("nowhere/Solo.journal", &path).unwrap();
    let mut scene = Scene::in_folder(folder, SyncPolicy::Never);
    let cx = scene.reactor.context();
    cx.app.journal.as_mut().unwrap().hold = None;
    let other = Hold::take(&path).unwrap().unwrap();
    let mut client = scene.connect();
    scene.hear(&mut client, "kiwi");
    scene.clock = RETRY_INTERVAL;
    scene.turn_until("it is refused", |scene| {
        scene.status()["state"].as_str().unwrap().contains("is in use by another server")
    });
    drop(other);
    scene.clock = 2 * RETRY_INTERVAL;
    scene.turn_until("it recovers", |scene| scene.status()["state"] == "ok");
    assert!(scene.file().contains(" kiwi +1-1 7 #"));
    assert!(Hold::take(&path).unwrap().is_none());
}

#[test]
fn with_sync_always_replies_wait_for_the_sync_and_the_loop_does_not() {
    let mut scene = Scene::new("always", SyncPolicy::Always);
    let (mut first, mut second) = (scene.connect(), scene.connect());
    // Nothing has changed yet, so there is nothing to wait for.
    second.write_all(b"hello\n").unwrap();
    scene.turn_until("who changes nothing is answered", |_| heard(&second) == "? hello\n");
    scene.hear(&mut first, "kiwi");
    // It is in the file; that it is on disk, the loop cannot have been told yet.
    assert!(scene.file().contains(" kiwi +1-1 7 #"));
    assert_eq!((heard(&first).as_str(), &scene.status()["unsynced"]), ("", &1.into()));
    assert_eq!(scene.status()["replies_waiting"], 1);
    scene.turn_until_synced();
    scene.turn();
    assert!(heard(&first).starts_with("AT Solo "));
    // What changes nothing waits too, if it says what is not safe yet.
    scene.hear(&mut first, "plum");
    scene.turn_until_synced();
    second.write_all(b"IAMAT plum +1-1 7\n").unwrap();
    scene.turn_until("a repeat is answered", |_| heard(&second).starts_with("AT Solo "));
}

#[test]
fn a_client_that_has_finished_sending_gets_the_reply_that_waited_before_the_end() {
    let mut scene = Scene::new("half-closed", SyncPolicy::Always);
    let mut client = scene.connect();
    client.write_all(b"IAMAT kiwi +1-1 7\nhello").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    scene.turn_until("the reply comes", |_| heard(&client).ends_with("? hello\n"));
    assert_eq!(scene.status()["unsynced"], 0);
    scene.turn_until("the connection ends", |scene| scene.reactor.app().clients == 0);
    assert_eq!((&client).read(&mut [0]).unwrap(), 0);
}

#[test]
fn otherwise_no_reply_waits_and_a_sync_comes_within_a_second() {
    let mut scene = Scene::new("second", SyncPolicy::EverySecond);
    let mut client = scene.connect();
    scene.hear(&mut client, "kiwi");
    assert!(heard(&client).starts_with("AT Solo "));
    for milliseconds in [500, 999] {
        scene.clock = Duration::from_millis(milliseconds);
        scene.turn();
        assert_eq!(scene.status()["unsynced"], 1);
    }
    scene.clock = SYNC_INTERVAL;
    scene.turn_until_synced();
    let mut scene = Scene::new("never", SyncPolicy::Never);
    let mut client = scene.connect();
    scene.hear(&mut client, "kiwi");
    scene.clock = 10 * SYNC_INTERVAL;
    scene.turn();
    assert_eq!((scene.status()["unsynced"].clone(), scene.file().lines().count()), (1.into(), 2));
}

#[test]
fn a_rewrite_syncs_too_and_takes_the_place_of_the_sync_that_was_due() {
    let mut scene = Scene::new("instead", SyncPolicy::EverySecond);
    let mut client = scene.connect();
    scene.hear(&mut client, "kiwi");
    let cx = scene.reactor.context();
    cx.app.journal.as_mut().unwrap().begin_rewrite(cx.io);
    scene.turn_until("it is over", |scene| scene.status()["rewriting"] == false);
    assert_eq!(scene.status()["unsynced"], 0);
    scene.clock = SYNC_INTERVAL / 2;
    scene.hear(&mut client, "plum");
    // Not when the first report would have had its sync, but a second after the one that lacks it.
    for is_due in [true, false] {
        scene.clock += SYNC_INTERVAL / 2;
        scene.turn();
        let syncing = scene.reactor.app().journal.as_ref().unwrap().syncing;
        assert_eq!(matches!(syncing, Syncing::Due(_)), is_due);
    }
    scene.turn_until_synced();
}

#[test]
fn after_a_sync_that_failed_no_reply_waits_until_all_is_written_anew() {
    let mut scene = Scene::new("failed", SyncPolicy::Always);
    let mut client = scene.connect();
    scene.hear(&mut client, "kiwi");
    scene.turn_until_synced();
    scene.turn();
    heard(&client);
    scene.hear(&mut client, "plum");
    let (extent, outcome) = (Extent::default(), Err("the disk is on fire".to_owned()));
    scene.tell(JournalEvent::Synced { extent, outcome });
    assert_eq!(scene.status()["state"], "cannot sync: the disk is on fire");
    // The reply that waited is let go, and the next does not wait.
    scene.turn();
    assert!(heard(&client).starts_with("AT Solo "));
    scene.hear(&mut client, "pear");
    assert!(heard(&client).starts_with("AT Solo "));
    assert_eq!(scene.file().lines().count(), 4);
    scene.clock = RETRY_INTERVAL;
    scene.turn_until("it recovers", |scene| scene.status()["state"] == "ok");
    scene.turn_until_synced();
    assert_eq!(scene.file().lines().count(), 4);
    scene.hear(&mut client, "fig");
    assert_eq!(heard(&client), "");
}

#[test]
fn what_piled_up_while_nothing_could_be_written_is_written_in_shares() {
    let mut scene = Scene::new("shares", SyncPolicy::Always);
    let mut client = scene.connect();
    let cx = scene.reactor.context();
    let trouble = Trouble::Write("the disk is full".to_owned());
    cx.app.journal.as_mut().unwrap().fail(trouble, cx.io);
    for number in 0..40 {
        scene.hear(&mut client, &format!("{number}{}", "k".repeat(16_000)));
        while heard(&client).is_empty() {
            scene.turn();
        }
        while !heard(&client).is_empty() {}
    }
    assert_eq!((&scene.status()["unwritten"], scene.file().len()), (&40.into(), 0));
    scene.clock = RETRY_INTERVAL;
    scene.turn();
    let written = scene.file().len();
    assert!((TURN_BYTES_MAX..TURN_BYTES_MAX + 17_000).contains(&written), "{written}");
    scene.turn_until_synced();
    assert_eq!(scene.file().lines().count(), 41);
}

#[test]
fn a_rewrite_that_fails_leaves_the_journal_as_it_is() {
    let mut scene = Scene::new("rewrite", SyncPolicy::EverySecond);
    let mut client = scene.connect();
    scene.hear(&mut client, "kiwi");
    let new = new_path(&scene.folder.join("Solo.journal"));
    // Where a folder stands, no file can be made.
    fs::create_dir(&new).unwrap();
    let cx = scene.reactor.context();
    cx.app.journal.as_mut().unwrap().begin_rewrite(cx.io);
    scene.turn_until("it is over", |scene| scene.status()["rewriting"] == false);
    assert_eq!(scene.status()["state"], "ok");
    scene.hear(&mut client, "plum");
    assert_eq!(scene.file().lines().count(), 3);
    fs::remove_dir(&new).unwrap();
    let cx = scene.reactor.context();
    cx.app.journal.as_mut().unwrap().begin_rewrite(cx.io);
    // The new file goes away from under the journal's thread, which cannot rename it then.
    let deadline = Instant::now() + Duration::from_secs(30);
    while fs::remove_file(&new).is_err() {
        assert!(Instant::now() < deadline, "the new file is never made");
    }
    scene.turn_until("it is over", |scene| scene.status()["rewriting"] == false);
    scene.hear(&mut client, "pear");
    assert_eq!(scene.file().lines().count(), 4);
}

#[test]
fn at_no_time_does_the_file_of_that_name_hold_less_than_it_did() {
    let mut scene = Scene::new("switch", SyncPolicy::Never);
    let mut client = scene.connect();
    for round in 0..40 {
        let cx = scene.reactor.context();
        cx.app.journal.as_mut().unwrap().begin_rewrite(cx.io);
        let mut heard_meanwhile = 0;
        while scene.status()["rewriting"] == true {
            heard_meanwhile += 1;
            scene.hear(&mut client, &format!("k{round}-{heard_meanwhile}"));
            heard(&client);
            // Whichever of the two files has the name at this moment, and whatever the loop knows of it.
            let text = scene.file();
            let found = text.lines().filter(|line| line.starts_with("AT ")).count();
            assert_eq!(found, scene.reactor.app().herd.clients(), "round {round}");
        }
    }
}

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
    // It is tried again each second, until there is room.
    let deadline = Instant::now() + Duration::from_secs(30);
    while scene.status()["unsynced"] != 0 {
        assert!(Instant::now() < deadline, "it never recovers");
        scene.clock += SYNC_INTERVAL;
        scene.turn();
    }
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
