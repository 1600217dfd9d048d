//! What is kept: a server that is started again knows what it knew, however it ended.

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use herd::herd::journal::REWRITE_SLACK_BYTES;

use super::support::{ALFORD, ALONE, Client, DEADLINE, Herd, PAIR, Shape, eventually, herd};

/// A herd whose servers keep journals.
pub fn keeping(shape: Shape, arguments: &[&str]) -> Herd {
    let mut herd = Herd::new(shape);
    let folder = herd.folder.path("journal").display().to_string();
    herd.arguments.extend(["--journal".to_owned(), folder]);
    herd.arguments.extend(arguments.iter().map(|&a| a.to_owned()));
    herd.start_all();
    herd
}

pub fn journal(herd: &Herd, name: &str) -> PathBuf {
    herd.folder.path("journal").join(format!("{name}.journal"))
}

/// A report of that client's own making; what comes back is the acknowledgement.
pub fn report(client: &mut Client, id: &str, time: u32) {
    let reply = client.ask(&format!("IAMAT {id} +1-1 {time}"));
    assert!(reply.starts_with("AT ") && reply.ends_with(&format!(" {id} +1-1 {time}")), "{reply}");
}

/// Reports one new client after another until the server dies. Counts those that were acknowledged.
fn load(mut client: Client, prefix: &str, acknowledged: &AtomicU32) {
    use std::io::{BufRead, BufReader, Write};
    let mut replies = BufReader::new(client.stream.try_clone().unwrap());
    for number in 0.. {
        let line = format!("IAMAT {prefix}{number} +1-1 7\n");
        let mut reply = String::new();
        if client.stream.write_all(line.as_bytes()).is_err() {
            return;
        }
        if !matches!(replies.read_line(&mut reply), Ok(1..)) || !reply.ends_with('\n') {
            return;
        }
        assert!(reply.starts_with("AT "), "{reply}");
        acknowledged.store(number + 1, Ordering::SeqCst);
    }
    client.finish();
}

/// Kills servers while clients of theirs report, once each client has this many acknowledgements. Gives
/// how many each had in the end.
fn kill_under_load(herd: &mut Herd, names: &[&str], enough: u32) -> Vec<u32> {
    let clients: Vec<Client> = names.iter().map(|name| herd.connect(name)).collect();
    let counts: Vec<AtomicU32> = names.iter().map(|_| AtomicU32::new(0)).collect();
    std::thread::scope(|scope| {
        for ((client, name), count) in clients.into_iter().zip(names).zip(&counts) {
            scope.spawn(move || load(client, name, count));
        }
        eventually("the clients are acknowledged", || {
            counts.iter().all(|count| count.load(Ordering::SeqCst) >= enough).then_some(())
        });
        for name in names {
            herd.kill(name);
        }
    });
    counts.iter().map(|count| count.load(Ordering::SeqCst)).collect()
}

fn records(herd: &Herd, name: &str) -> u64 {
    herd.status(name)["records"].as_u64().unwrap()
}

#[test]
fn what_sync_always_has_acknowledged_outlives_sigkill_at_any_moment() {
    let mut herd = keeping(ALONE, &["--sync", "always", "--log-level", "warn"]);
    for round in 1..=3 {
        let acknowledged = kill_under_load(&mut herd, &["Solo"], 40 * round)[0];
        herd.start_one("Solo");
        for number in 0..acknowledged {
            assert!(herd.knows("Solo", &format!("Solo{number}")), "{number} of {acknowledged}");
        }
    }
}

/// What is in the file when the reply can be read is what SIGKILL leaves of it.
#[test]
fn whatever_sync_says_a_record_is_in_the_file_before_its_reply_leaves() {
    for sync in ["second", "never"] {
        let mut herd = keeping(ALONE, &["--sync", sync, "--log-level", "warn"]);
        let mut file = fs::File::open(journal(&herd, "Solo")).unwrap();
        let mut client = herd.connect("Solo");
        for number in 0..200 {
            report(&mut client, &format!("kiwi{number}"), 7);
            let mut news = String::new();
            file.read_to_string(&mut news).unwrap();
            assert!(news.contains(&format!(" kiwi{number} +1-1 7 #")), "{sync}: {number}: {news}");
        }
        for round in 0..5 {
            report(&mut herd.connect("Solo"), &format!("plum{round}"), 7);
            herd.kill("Solo");
            let text = fs::read_to_string(journal(&herd, "Solo")).unwrap();
            assert!(text.contains(&format!(" plum{round} +1-1 7 #")), "{sync}: {round}");
            herd.start_one("Solo");
        }
    }
}

#[test]
fn a_herd_that_is_killed_whole_has_all_that_was_acknowledged_everywhere() {
    let names: Vec<&str> = ALFORD.iter().map(|(name, _)| *name).collect();
    let mut herd = keeping(ALFORD, &["--sync", "always", "--log-level", "warn"]);
    let acknowledged = kill_under_load(&mut herd, &names, 20);
    herd.start_all();
    for (name, acknowledged) in names.iter().zip(acknowledged) {
        let newest = format!("{name}{}", acknowledged - 1);
        for asked in &names {
            herd.wait_until_known(asked, &newest);
        }
        for number in 0..acknowledged {
            assert!(herd.knows(name, &format!("{name}{number}")), "{name} has lost {number}");
        }
    }
    let count = |name| records(&herd, name);
    eventually("all hold the same", || {
        names.windows(2).all(|pair| count(pair[0]) == count(pair[1])).then_some(())
    });
}

#[test]
fn a_herd_that_stops_whole_and_starts_again_has_forgotten_nothing() {
    let names: Vec<&str> = ALFORD.iter().map(|(name, _)| *name).collect();
    let mut herd = keeping(ALFORD, &[]);
    report(&mut herd.connect("Alford"), "kiwi", 1_479_413_884);
    let at_line = herd.wait_until_known("Ball", "kiwi");
    for name in &names {
        herd.wait_until_known(name, "kiwi");
    }
    for name in &names {
        herd.stop(name);
    }
    herd.start_all();
    for name in &names {
        assert_eq!(herd.wait_until_known(name, "kiwi"), at_line);
        herd.wait_for_log(name, "1 clients known from 1 records");
    }
}

#[test]
fn without_the_flag_there_is_no_journal() {
    let mut herd = Herd::start(ALONE);
    report(&mut herd.connect("Solo"), "kiwi", 7);
    assert!(herd.status("Solo")["journal"].is_null());
    herd.stop("Solo");
    herd.start_one("Solo");
    assert!(!herd.knows("Solo", "kiwi"));
}

#[test]
fn a_server_that_comes_back_is_sent_only_what_it_missed() {
    let mut herd = keeping(PAIR, &[]);
    let mut client = herd.connect("Left");
    (0..20).for_each(|number| report(&mut client, &format!("before{number}"), 7));
    herd.wait_until_known("Right", "before19");
    // A mark that covers them follows within the time of a heartbeat.
    eventually("Right keeps how far Left has told", || {
        let text = fs::read_to_string(journal(&herd, "Right")).unwrap();
        let mut marks = text.lines().filter(|line| line.starts_with("TAKEN Left "));
        marks.any(|line| line.split(' ').nth(3) == Some("20")).then_some(())
    });
    herd.kill("Right");
    (0..3).for_each(|number| report(&mut client, &format!("during{number}"), 7));
    herd.start_one("Right");
    herd.wait_until_known("Right", "during2");
    assert!(herd.knows("Right", "before0"));
    // Where it resumes depends on which mark was the last to be kept; what counts is what is sent.
    herd.wait_for_log("Left", "link to Right is up, resuming: it has all up to change ");
    eventually("Left says how many it has sent", || {
        let log = herd.log("Left");
        let mut sent = log.lines().filter(|line| line.contains("Right has caught up: "));
        sent.next_back()?.contains("Right has caught up: 3 records were sent").then_some(())
    });
}

#[test]
fn a_line_that_was_torn_is_cut_off_and_said() {
    let mut herd = keeping(ALONE, &[]);
    report(&mut herd.connect("Solo"), "kiwi", 7);
    herd.stop("Solo");
    let whole = fs::read_to_string(journal(&herd, "Solo")).unwrap();
    fs::write(journal(&herd, "Solo"), format!("{whole}AT Solo +0.0000")).unwrap();
    herd.start_one("Solo");
    assert!(herd.knows("Solo", "kiwi"));
    herd.wait_for_log("Solo", "its last line was never ended; its 15 bytes are cut off");
    report(&mut herd.connect("Solo"), "plum", 7);
    herd.stop("Solo");
    let text = fs::read_to_string(journal(&herd, "Solo")).unwrap();
    assert!(
        text.starts_with(&whole) && text.lines().count() == whole.lines().count() + 1,
        "{text}"
    );
}

#[test]
fn a_damaged_line_is_passed_over_and_said_and_the_file_is_written_anew() {
    let mut herd = keeping(ALONE, &[]);
    let mut client = herd.connect("Solo");
    for id in ["kiwi", "plum", "pear"] {
        report(&mut client, id, 7);
    }
    drop(client);
    herd.stop("Solo");
    let text = fs::read_to_string(journal(&herd, "Solo")).unwrap();
    fs::write(journal(&herd, "Solo"), text.replace("plum +1", "plum +2")).unwrap();
    herd.start_one("Solo");
    herd.wait_for_log("Solo", "1 damaged lines are passed over, the first of them line 3");
    assert_eq!(["kiwi", "plum", "pear"].map(|id| herd.knows("Solo", id)), [true, false, true]);
    herd.wait_for_log("Solo", "written anew");
    let anew = fs::read_to_string(journal(&herd, "Solo")).unwrap();
    assert!(anew.contains(" pear ") && !anew.contains(" plum "), "{anew}");
    let copy = herd.folder.path("journal").join("Solo.journal.damaged");
    assert!(fs::read_to_string(copy).unwrap().contains("plum +2"));
}

#[test]
fn a_file_of_rubbish_keeps_no_server_from_starting() {
    let mut herd = keeping(ALONE, &[]);
    herd.stop("Solo");
    let rubbish: Vec<u8> =
        (0..300_000_u32).map(|number| (number * 7 / 3).to_le_bytes()[0]).collect();
    fs::write(journal(&herd, "Solo"), rubbish).unwrap();
    herd.start_one("Solo");
    report(&mut herd.connect("Solo"), "kiwi", 7);
    herd.wait_for_log("Solo", "written anew");
    herd.kill("Solo");
    herd.start_one("Solo");
    assert!(herd.knows("Solo", "kiwi"));
}

#[test]
fn a_journal_that_cannot_be_had_is_an_error_in_words() {
    let stage = Herd::new(ALONE);
    let topology = stage.folder.path("topology.txt").display().to_string();
    let file = stage.folder.write("file", "").display().to_string();
    let said = herd(&["serve", "Solo", "--topology", &topology, "--journal", &file]);
    let words = String::from_utf8(said.stderr).unwrap();
    assert_eq!(said.status.code(), Some(1));
    assert!(words.contains("cannot make the journal's folder"), "{words}");
    fs::create_dir_all(stage.folder.path("journal/Solo.journal")).unwrap();
    let folder = stage.folder.path("journal").display().to_string();
    let said = herd(&["serve", "Solo", "--topology", &topology, "--journal", &folder]);
    let words = String::from_utf8(said.stderr).unwrap();
    assert!(words.contains("cannot use the journal"), "{words}");
}

#[test]
fn one_server_to_a_journal_however_long_its_path_and_however_the_last_one_ended() {
    let mut first = Herd::new(ALONE);
    let folder = first.folder.path("journal").join("k".repeat(200)).display().to_string();
    first.arguments.extend(["--journal".to_owned(), folder.clone()]);
    first.start_all();
    report(&mut first.connect("Solo"), "kiwi", 7);
    // The same name at another port.
    let mut second = Herd::new(ALONE);
    let topology = second.folder.path("topology.txt").display().to_string();
    let said = herd(&["serve", "Solo", "--topology", &topology, "--journal", &folder]);
    let words = String::from_utf8(said.stderr).unwrap();
    assert!(said.status.code() == Some(1) && words.contains("is in use by another"), "{words}");
    first.kill("Solo");
    second.arguments.extend(["--journal".to_owned(), folder]);
    second.start_all();
    assert!(second.knows("Solo", "kiwi"));
}

/// Updates one client whose line is long until its journal has been written anew so many times. Gives the
/// client, and the time of its last report.
pub fn update_until_written_anew(herd: &Herd, times: usize) -> (String, u32) {
    let id = "k".repeat(16_000);
    let mut client = herd.connect("Solo");
    let deadline = std::time::Instant::now() + DEADLINE;
    let mut time = 0;
    while herd.log("Solo").matches("written anew; it had").count() < times {
        assert!(std::time::Instant::now() < deadline, "it is never written anew");
        for _ in 0..10 {
            time += 1;
            report(&mut client, &id, time);
        }
    }
    (id, time)
}

#[test]
fn a_journal_that_has_grown_is_written_anew_and_nothing_is_lost() {
    let mut herd = keeping(ALONE, &["--log-level", "info"]);
    report(&mut herd.connect("Solo"), "kiwi", 7);
    let (id, time) = update_until_written_anew(&herd, 2);
    let bytes = fs::metadata(journal(&herd, "Solo")).unwrap().len();
    // Twice more than the slack has gone, and only that is certain: the log tells late.
    let reported = u64::from(time) * 16_000;
    assert!(bytes + REWRITE_SLACK_BYTES < reported, "{bytes} of {reported}");
    herd.kill("Solo");
    herd.start_one("Solo");
    let known = herd.wait_until_known("Solo", &id);
    assert!(known.ends_with(&format!(" +1-1 {time}")), "{}", &known[16_000..]);
    assert!(herd.knows("Solo", "kiwi"));
}
