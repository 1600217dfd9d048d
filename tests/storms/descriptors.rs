//! A server whose descriptors are all taken: those who are in are served, the log, the journal and the links
//! go on, and it recovers by itself.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use super::scene::Scene;
use super::support::{Client, DEADLINE, eventually};

/// The limit of the server that is struck.
const LIMIT: usize = 128;

/// Those who come, more than there is room for, and few enough to wait in the shortest of kernel queues.
const CROWD: usize = 180;

/// Only the middle server has few descriptors.
fn start() -> Scene {
    let mut herd = Scene::keeping("info");
    for name in ["Left", "Right"] {
        herd.start_one(name);
    }
    herd.first = "ulimit -n 128";
    herd.start_one("Middle");
    herd.first = ":";
    herd.wait_until_linked("Middle");
    Scene::of(herd)
}

#[test]
fn out_of_descriptors_all_goes_on_but_accepting_and_then_that_too() {
    let mut scene = start();
    let mut inside = scene.herd.connect("Middle");
    assert_eq!(inside.ask("first"), "? first");
    let port = scene.herd.port("Middle");
    let crowd: Vec<_> =
        (0..CROWD).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    scene.herd.wait_for_log("Middle", "accepting pauses: ");
    let open = fs::read_dir(format!("/proc/{}/fd", scene.pid("Middle"))).unwrap().count();
    assert!(open < LIMIT, "nothing is left in reserve");

    a_lost_link_is_dialled(&mut scene, &mut inside);
    let old = the_log_is_opened_anew(&mut scene);
    the_journal_is_written_anew(&scene, &mut inside);

    // It has said once that it pauses, and was never short of what it kept back.
    let all = old + &scene.herd.log("Middle");
    assert_eq!(all.matches("accepting pauses: ").count(), 1);
    assert!(!all.contains("Too many open files"), "{all}");
    those_who_wait_are_let_in(crowd, port);
    drop(inside);
    scene.is_at_peace();
}

/// Who is in is served, and what he says goes to a neighbour that has to be dialled for it.
fn a_lost_link_is_dialled(scene: &mut Scene, inside: &mut Client) {
    let reply = inside.ask("IAMAT inside +1-1 5");
    assert_eq!(scene.herd.wait_until_known("Right", "inside"), reply);
    scene.herd.kill("Right");
    scene.herd.wait_for_log("Middle", "link to Right is down: ");
    let reply = inside.ask("IAMAT inside +1-1 6");
    scene.herd.start_one("Right");
    eventually("Right is told again", || {
        (scene.herd.wait_until_known("Right", "inside") == reply).then_some(())
    });
}

/// Gives what was in the old one.
fn the_log_is_opened_anew(scene: &mut Scene) -> String {
    let file = scene.herd.folder.path("logs/Middle.log");
    let old = scene.herd.folder.path("logs/Middle.log.1");
    fs::rename(&file, &old).unwrap();
    scene.herd.process("Middle").signal("-HUP");
    scene.herd.wait_for_log("Middle", "the log is opened anew, as SIGHUP asks");
    fs::read_to_string(old).unwrap()
}

fn the_journal_is_written_anew(scene: &Scene, inside: &mut Client) {
    let id = "k".repeat(16_000);
    for time in 1.. {
        let reply = inside.ask(&format!("IAMAT {id} +1-1 {time}"));
        assert!(reply.starts_with("AT Middle +"), "{reply:.100}");
        if scene.herd.log("Middle").contains("written anew; it had") {
            return;
        }
        assert!(time < 2_000, "the journal is never written anew");
    }
}

/// Each is let in once enough others have left, without anybody's doing. While a neighbour was missing some
/// were closed, so that it could be found behind them: those come again.
fn those_who_wait_are_let_in(crowd: Vec<TcpStream>, port: u16) {
    for mut stream in crowd {
        eventually("an answer", || {
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            let mut answer = [0; 10];
            let asked =
                stream.write_all(b"at last\n").and_then(|()| stream.read_exact(&mut answer));
            if asked.is_err() {
                stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
                return None;
            }
            assert_eq!(&answer, b"? at last\n");
            Some(())
        });
    }
}
