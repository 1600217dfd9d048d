//! Journals on disks that fail, in the middle of being written anew, and the bounds on what is kept.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use herd::herd::journal::REWRITE_SLACK_BYTES;

use super::journal::{journal, keeping, report, update_until_written_anew};
use super::support::{ALONE, Herd, PAIR, eventually, herd};

/// What is soon full.
const DISK_BYTES: u64 = 64 << 10;

/// A file system with little room, where this may be made; unmounted when dropped.
pub struct SmallDisk(pub PathBuf);

impl SmallDisk {
    pub fn mount(herd: &Herd, bytes: u64) -> Option<Self> {
        let path = herd.folder.path("journal");
        fs::create_dir_all(&path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "none"])
            .arg(&path)
            .output()
            .is_ok_and(|output| output.status.success());
        if !mounted {
            eprintln!("SKIPPED: this user may mount no file system to fill up");
        }
        mounted.then_some(Self(path))
    }

    fn fill(&self) {
        // Until it is full, so the error is what is wanted.
        assert!(fs::write(self.0.join("filler"), vec![b'x'; 1 << 20]).is_err());
    }

    /// `ro` or `rw`, when no server has a file there open for writing.
    fn remount(&self, mode: &str) {
        let options = format!("remount,{mode}");
        let status = Command::new("mount").args(["-o", &options]).arg(&self.0).status();
        assert!(status.unwrap().success());
    }

    fn make_room(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn a_full_disk_is_said_and_survived(sync: &str) {
    let mut herd = Herd::new(ALONE);
    let Some(disk) = SmallDisk::mount(&herd, DISK_BYTES) else { return };
    let folder = herd.folder.path("journal").display().to_string();
    herd.arguments.extend(["--journal", &folder, "--sync", sync].map(str::to_owned));
    herd.start_all();
    let mut client = herd.connect("Solo");
    report(&mut client, "before", 7);
    disk.fill();
    // Until the page that the journal had begun is full too.
    let state = |herd: &Herd| herd.status("Solo")["journal"]["state"].as_str().unwrap().to_owned();
    let mut reported = 0;
    while state(&herd) == "ok" {
        report(&mut client, &format!("during{reported}"), 7);
        reported += 1;
        assert!(reported < 1000, "the disk is never full");
    }
    assert!(state(&herd).contains("cannot write: No space left on device"), "{}", state(&herd));
    // Service goes on, and it is said once.
    report(&mut client, "later", 7);
    herd.wait_for_log("Solo", "this server goes on without it");
    disk.make_room();
    eventually("the journal recovers", || (state(&herd) == "ok").then_some(()));
    report(&mut client, "after", 7);
    herd.wait_for_log("Solo", "it is written again");
    assert_eq!(herd.log("Solo").matches("this server goes on without it").count(), 1);
    eventually("all is on disk", || {
        (herd.status("Solo")["journal"]["unsynced"] == 0).then_some(())
    });
    herd.kill("Solo");
    herd.start_one("Solo");
    for id in ["before", "during0", "later", "after", &format!("during{}", reported - 1)] {
        assert!(herd.knows("Solo", id), "{id} is lost");
    }
    assert!(!herd.log("Solo").contains("damaged lines"));
    herd.kill("Solo");
}

#[test]
fn a_full_disk_is_said_service_goes_on_and_all_is_written_when_there_is_room() {
    a_full_disk_is_said_and_survived("second");
}

#[test]
fn a_full_disk_keeps_no_reply_back_with_sync_always() {
    a_full_disk_is_said_and_survived("always");
}

#[test]
fn a_server_starts_on_a_read_only_disk_and_recovers_with_it() {
    let mut herd = Herd::new(ALONE);
    let Some(disk) = SmallDisk::mount(&herd, DISK_BYTES) else { return };
    let folder = herd.folder.path("journal").display().to_string();
    herd.arguments.extend(["--journal", &folder, "--sync", "always"].map(str::to_owned));
    let state = |herd: &Herd| herd.status("Solo")["journal"]["state"].as_str().unwrap().to_owned();
    // At first there is nothing at all; then a journal with damage in it.
    for id in ["kiwi", "plum"] {
        disk.remount("ro");
        herd.start_one("Solo");
        assert!(state(&herd).contains("Read-only file system"), "{}", state(&herd));
        herd.wait_for_log("Solo", "this server goes on without it; replies do not wait for it");
        assert_eq!(herd.knows("Solo", "kiwi"), id == "plum");
        report(&mut herd.connect("Solo"), id, 7);
        disk.remount("rw");
        eventually("the journal recovers", || (state(&herd) == "ok").then_some(()));
        herd.wait_for_log("Solo", "what is written is on disk again");
        report(&mut herd.connect("Solo"), &format!("{id}-later"), 7);
        herd.kill("Solo");
        let text = fs::read_to_string(journal(&herd, "Solo")).unwrap();
        assert!(text.contains(&format!(" {id} +1-1 ")) && text.contains("-later +1-1 "), "{text}");
        fs::write(journal(&herd, "Solo"), text.replace("-later +1", "-later +2")).unwrap();
    }
    assert_eq!(herd.log("Solo").matches("this server goes on without it").count(), 2);
    let copy = fs::read_to_string(herd.folder.path("journal/Solo.journal.damaged")).unwrap();
    assert!(copy.contains("kiwi-later +2"), "{copy}");
    herd.start_one("Solo");
    assert_eq!(
        ["kiwi", "plum", "kiwi-later"].map(|id| herd.knows("Solo", id)),
        [true, true, false]
    );
    herd.kill("Solo");
}

#[test]
fn sigkill_while_the_journal_is_written_anew_loses_nothing() {
    let mut herd = keeping(ALONE, &["--sync", "always", "--log-level", "warn"]);
    let id = "k".repeat(16_000);
    // From the shortest file to one that is twice as long as it must be and longer than that.
    let reports = REWRITE_SLACK_BYTES / id.len() as u64 + 4;
    let mut time = 0;
    for round in 0..4 {
        let mut client = herd.connect("Solo");
        report(&mut client, &format!("round{round}"), 7);
        // A rewrite begins at one of these, and the kill comes at some moment of it.
        let mut longest = 0;
        let is_rewritten = (0..reports).any(|_| {
            time += 1;
            report(&mut client, &id, time);
            let status = herd.status("Solo")["journal"].clone();
            let before = longest;
            longest = status["bytes"].as_u64().unwrap();
            // On a disk that syncs at once it may be over by now.
            status["rewriting"] == true || longest < before
        });
        assert!(is_rewritten, "round {round}: it is not written anew");
        herd.kill("Solo");
        herd.start_one("Solo");
        let known = herd.wait_until_known("Solo", &id);
        assert!(known.ends_with(&format!(" +1-1 {time}")), "{}", &known[16_000..]);
        (0..=round).for_each(|round| assert!(herd.knows("Solo", &format!("round{round}"))));
        assert!(!herd.log("Solo").contains("damaged lines"));
    }
}

#[test]
fn a_journal_leaves_room_for_the_file_that_takes_its_place() {
    let mut herd = Herd::new(ALONE);
    let Some(_disk) = SmallDisk::mount(&herd, REWRITE_SLACK_BYTES / 8) else { return };
    let folder = herd.folder.path("journal").display().to_string();
    herd.arguments.extend(["--journal", &folder, "--log-level", "info"].map(str::to_owned));
    herd.start_all();
    report(&mut herd.connect("Solo"), "kiwi", 7);
    let (id, time) = update_until_written_anew(&herd, 2);
    assert!(!herd.log("Solo").contains("cannot write"));
    herd.kill("Solo");
    herd.start_one("Solo");
    let known = herd.wait_until_known("Solo", &id);
    assert!(known.ends_with(&format!(" +1-1 {time}")), "{}", &known[16_000..]);
    assert!(herd.knows("Solo", "kiwi"));
    herd.kill("Solo");
}

#[test]
fn a_journal_that_may_not_grow_to_its_slack_is_written_anew_and_goes_on() {
    const FILE_BYTES: u64 = REWRITE_SLACK_BYTES / 8;
    let mut herd = keeping(ALONE, &["--log-level", "info"]);
    let pid = herd.process("Solo").child.id().to_string();
    let limit = format!("--fsize={FILE_BYTES}");
    let output = Command::new("prlimit").args(["--pid", &pid, &limit]).output();
    if !output.is_ok_and(|output| output.status.success()) {
        return eprintln!("SKIPPED: there is no prlimit here that could fill the disk");
    }
    report(&mut herd.connect("Solo"), "kiwi", 7);
    let (id, time) = update_until_written_anew(&herd, 2);
    report(&mut herd.connect("Solo"), "plum", 7);
    eventually("all is on disk", || {
        let journal = herd.status("Solo")["journal"].clone();
        (journal["state"] == "ok" && journal["unsynced"] == 0).then_some(())
    });
    assert!(herd.log("Solo").contains("cannot write: File too large"));
    herd.kill("Solo");
    herd.start_one("Solo");
    let known = herd.wait_until_known("Solo", &id);
    assert!(known.ends_with(&format!(" +1-1 {time}")), "{}", &known[16_000..]);
    assert!(herd.knows("Solo", "kiwi") && herd.knows("Solo", "plum"));
    assert!(!herd.log("Solo").contains("damaged lines"));
}

#[test]
fn the_journal_is_readable_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let mut herd = keeping(ALONE, &[]);
    let file = journal(&herd, "Solo");
    let mode = || fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o600);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    herd.kill("Solo");
    herd.start_one("Solo");
    assert_eq!(mode(), 0o600);
}

#[test]
fn a_journal_that_is_deleted_or_moved_while_it_is_written_is_missed_and_written_anew_whole() {
    let mut herd = keeping(ALONE, &["--sync", "always"]);
    let file = journal(&herd, "Solo");
    let folder = file.parent().unwrap().to_owned();
    let leave = |how: usize| match how {
        0 => fs::remove_file(&file).unwrap(),
        1 => fs::rename(&file, file.with_extension("moved")).unwrap(),
        2 => fs::remove_dir_all(&folder).unwrap(),
        _ => {
            fs::remove_file(&file).unwrap();
            fs::write(&file, "a note of somebody's").unwrap();
        }
    };
    for how in 0..4 {
        report(&mut herd.connect("Solo"), &format!("before-{how}"), 7);
        leave(how);
        // Nothing has to be written for it.
        eventually("the journal is there again", || {
            let text = fs::read_to_string(&file).ok()?;
            text.contains(&format!("before-{how} ")).then_some(())
        });
        eventually("all is well again", || {
            (herd.status("Solo")["journal"]["state"] == "ok").then_some(())
        });
        let words = "its file was deleted or moved away; all is written to a new one";
        eventually("each is told of once", || {
            (herd.log("Solo").matches(words).count() == how + 1).then_some(())
        });
        report(&mut herd.connect("Solo"), &format!("after-{how}"), 7);
    }
    let kept = fs::read_to_string(file.with_extension("journal.found")).unwrap();
    assert_eq!(kept, "a note of somebody's");
    herd.kill("Solo");
    herd.start_one("Solo");
    for how in 0..4 {
        for when in ["before", "after"] {
            assert!(herd.knows("Solo", &format!("{when}-{how}")), "{when}-{how}");
        }
    }
}

#[test]
fn clients_not_heard_for_long_are_forgotten_by_all_and_come_back_from_nowhere() {
    let mut herd = keeping(PAIR, &["--forget-after", "2"]);
    let mut client = herd.connect("Left");
    report(&mut client, "kiwi", 7);
    herd.wait_until_known("Right", "kiwi");
    for name in ["Left", "Right"] {
        eventually("it is forgotten", || (!herd.knows(name, "kiwi")).then_some(()));
        eventually("its memory is freed", || (herd.status(name)["records"] == 0).then_some(()));
    }
    herd.kill("Right");
    herd.start_one("Right");
    herd.wait_until_linked("Right");
    assert!(!herd.knows("Right", "kiwi") && !herd.knows("Left", "kiwi"));
    // Its own clock does not matter: it is heard now.
    report(&mut client, "kiwi", 8);
    herd.wait_until_known("Right", "kiwi");
}

#[test]
fn a_report_from_too_far_ahead_is_refused_unless_that_is_turned_off() {
    let herd = Herd::start(ALONE);
    let mut client = herd.connect("Solo");
    let line = "IAMAT kiwi +1-1 99999999999";
    assert_eq!(client.ask(line), format!("? {line}"));
    report(&mut client, "kiwi", 7);
    let herd = Herd::start_with(ALONE, &["--max-ahead", "0"]);
    assert!(herd.connect("Solo").ask(line).starts_with("AT Solo -"));
}

#[test]
fn what_the_flags_do_not_understand_is_named() {
    for (words, named) in [
        (&["--sync", "always"][..], "--sync says nothing without --journal DIR"),
        (&["--journal", "j", "--sync", "often"], "--sync \"often\""),
        (&["--max-clients", "0"], "--max-clients \"0\""),
        (&["--max-ahead", "-1"], "--max-ahead \"-1\""),
        (&["--forget-after", "0"], "--forget-after \"0\""),
    ] {
        let said = herd(&[&["serve", "Solo"], words].concat());
        let text = String::from_utf8(said.stderr).unwrap();
        assert!(said.status.code() == Some(2) && text.contains(named), "{words:?}: {text}");
    }
}
