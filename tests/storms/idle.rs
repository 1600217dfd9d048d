//! Ten thousand who connect and say nothing, and one beside them who has something to say.

use std::io::Write;
use std::net::TcpStream;

use super::scene::{KEPT_KIB_MAX, Scene};
use super::support::{Client, DEADLINE, eventually};

const IDLE: usize = 10_000;

/// What the other storms need meanwhile, which may run in this process at the same time.
const OTHERS: usize = 3_000;

/// Those who connect at once. Fewer than wait in the kernel for being accepted, or it would let some try
/// again a second later.
const AT_ONCE: usize = 100;

/// What one idle connection may cost its server.
const EACH_BYTES_MAX: u64 = 1024;

/// What stays when all have left: the tables of sockets and handlers stay as long as they have been.
const TABLES_KIB_MAX: u64 = IDLE as u64 * EACH_BYTES_MAX / 1024;

/// Whether this process, and so those that it starts, may have as many descriptors.
fn may_open(descriptors: usize) -> bool {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    match line.split_whitespace().nth(3).unwrap() {
        "unlimited" => true,
        limit => limit.parse::<usize>().unwrap() >= descriptors,
    }
}

fn crowd(scene: &Scene) -> Vec<TcpStream> {
    let port = scene.herd.port("Middle");
    let mut crowd = Vec::new();
    while crowd.len() < IDLE {
        crowd.extend((0..AT_ONCE).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()));
        eventually("all are let in", || (scene.connections() > crowd.len()).then_some(()));
    }
    crowd
}

/// Closing with unread input makes the kernel send a reset, so each is brought an answer first.
fn reset(mut crowd: Vec<TcpStream>) {
    for one in &mut crowd {
        one.write_all(b"x\n").unwrap();
    }
    for one in &crowd {
        one.set_read_timeout(Some(DEADLINE)).unwrap();
        assert_eq!(one.peek(&mut [0]).unwrap(), 1);
    }
}

#[test]
fn ten_thousand_idle_connections_disturb_nobody_and_all_may_leave_at_once() {
    if !may_open(IDLE + OTHERS) {
        return eprintln!(
            "SKIPPED: ten thousand connections need a limit of {} descriptors",
            IDLE + OTHERS
        );
    }
    let scene = Scene::start();
    for leave in [drop, reset] {
        let crowd = crowd(&scene);
        let mut active = Client::connect(scene.herd.port("Middle"));
        for time in 1..20 {
            let reply = active.ask(&format!("IAMAT active +1-1 {time}"));
            assert!(
                reply.starts_with("AT Middle +") && reply.ends_with(&time.to_string()),
                "{reply}"
            );
            assert_eq!(scene.herd.say("Right", "elsewhere"), "? elsewhere\n");
        }
        leave(crowd);
        assert_eq!(active.ask("still here"), "? still here");
        drop(active);
        scene.is_at_peace_with(TABLES_KIB_MAX);
    }
    let peak = scene.peak_kib();
    assert!(peak < TABLES_KIB_MAX + KEPT_KIB_MAX, "{peak} KiB");
}
