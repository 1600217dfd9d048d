//! A disk that takes nothing more, for the journal and for the log, on one server of a herd that works.
//!
//! Played by a limit of the size of files, which needs no rights: lowered and raised while the server
//! runs, from outside. What a full disk does to a server alone is shown with the program's other tests.

use std::fs;
use std::process::Command;

use super::scene::{ROW, Scene};
use super::support::{Herd, eventually};

/// Sets how long files of a process may get.
fn limit_files(scene: &Scene, name: &str, bytes: &str) -> bool {
    let pid = scene.pid(name).to_string();
    let limit = format!("--fsize={bytes}:unlimited");
    let output = Command::new("prlimit").args(["--pid", &pid, &limit]).output();
    output.is_ok_and(|output| output.status.success())
}

fn state(herd: &Herd, name: &str) -> String {
    herd.status(name)["journal"]["state"].as_str().unwrap().to_owned()
}

#[test]
fn a_full_disk_at_one_server_is_told_and_the_herd_goes_on_and_nothing_is_lost() {
    let mut herd = Scene::keeping("info");
    herd.start_all();
    let mut scene = Scene::of(herd);
    let longest = ["journal/Middle.journal", "logs/Middle.log"]
        .map(|name| fs::metadata(scene.herd.folder.path(name)).unwrap().len());
    let full = longest.into_iter().max().unwrap() + 1024;
    if !limit_files(&scene, "Middle", &full.to_string()) {
        return eprintln!("SKIPPED: there is no prlimit here that could fill the disk");
    }

    let mut client = scene.herd.connect("Middle");
    let mut reports = 0;
    let mut report = || {
        reports += 1;
        let line = format!("IAMAT storm{reports} +1-1 5");
        let reply = client.ask(&line);
        // With `--sync always` a report that is not on disk in time is refused, and known all the same.
        assert!(reply.starts_with("AT Middle +") || reply == format!("? {line}"), "{reply}");
        format!("storm{reports}")
    };
    eventually("the disk is full for both", || {
        report();
        let trouble = scene.herd.status("Middle")["log_trouble"].clone();
        (state(&scene.herd, "Middle") != "ok" && !trouble.is_null()).then_some(())
    });
    let told = state(&scene.herd, "Middle");
    assert!(told.contains("cannot write: File too large"), "{told}");
    // Service goes on, and so do the others and their journals.
    let id = report();
    for name in ["Left", "Right"] {
        assert!(scene.herd.wait_until_known(name, &id).starts_with("AT Middle +"));
    }
    assert_eq!(["Left", "Right"].map(|name| state(&scene.herd, name)), ["ok", "ok"]);

    assert!(limit_files(&scene, "Middle", "unlimited"));
    eventually("both recover", || {
        report();
        let status = scene.herd.status("Middle");
        (status["journal"]["state"] == "ok" && status["log_trouble"].is_null()).then_some(())
    });
    scene.herd.wait_for_log("Middle", " lines are missing here: the log was too slow or full\n");
    drop(client);
    eventually("all is on disk", || {
        (scene.herd.status("Middle")["journal"]["unsynced"] == 0).then_some(())
    });
    scene.is_at_peace();
    // Alone, so that nobody tells it what it has missed.
    for (name, _) in ROW {
        scene.herd.kill(name);
    }
    scene.herd.start_one("Middle");
    for number in 1..=reports {
        assert!(scene.herd.knows("Middle", &format!("storm{number}")), "{number} is lost");
    }
    assert!(!scene.herd.log("Middle").contains("damaged lines"));
    scene.herd.start_all();
    scene.answers();
}
