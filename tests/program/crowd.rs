//! Neighbours against a crowd: strangers that take all the room there is keep no neighbour out.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::support::{ALONE, Herd, PAIR, eventually};

/// Strangers that connect to a port, say nothing, and come again when they are closed.
struct Crowd {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Crowd {
    fn at(ports: &[u16], strangers: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = |port: &u16| {
            let (stop, port) = (Arc::clone(&stop), *port);
            thread::spawn(move || crowd(port, strangers, &stop))
        };
        let threads = ports.iter().map(thread).collect();
        Self { stop, threads }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn crowd(port: u16, strangers: usize, stop: &AtomicBool) {
    let mut inside: Vec<TcpStream> = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        inside.retain(|stream| {
            let mut byte = [0];
            !matches!(stream.peek(&mut byte), Ok(0))
                && stream.take_error().is_ok_and(|error| error.is_none())
        });
        while inside.len() < strangers {
            let address = ([127, 0, 0, 1], port).into();
            let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) else {
                break;
            };
            stream.set_nonblocking(true).unwrap();
            inside.push(stream);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Both servers come up, and come up again, while the crowd is there.
fn links_come_up_in_a_crowd(mut herd: Herd, full: &str) {
    herd.start_all();
    let ports = [herd.port("Left"), herd.port("Right")];
    let crowd = Crowd::at(&ports, 60);
    for name in ["Left", "Right"] {
        herd.wait_for_log(name, full);
    }
    for round in 0..3 {
        herd.kill("Right");
        eventually("it is noticed", || {
            (herd.status("Left")["links"][0]["heard_from"] == false).then_some(())
        });
        herd.start_one("Right");
        herd.wait_until_linked("Left");
        herd.wait_until_linked("Right");
        // A report of before, as no client gets in now.
        assert_eq!(herd.status("Right")["records"], herd.status("Left")["records"], "{round}");
    }
    drop(crowd);
    eventually("there is room for others", || {
        let mut stream = TcpStream::connect(("127.0.0.1", herd.port("Left"))).ok()?;
        stream.write_all(b"IAMAT kiwi +1-1 5\n").ok()?;
        stream.shutdown(Shutdown::Write).ok()?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).ok()?;
        reply.starts_with("AT Left ").then_some(())
    });
    herd.wait_until_known("Right", "kiwi");
    // However many came, they have not filled the log.
    let log = herd.log("Left");
    assert!(log.lines().filter(|line| line.contains("WARN  127.0.0.1:")).count() < 3, "{log}");
}

#[test]
fn a_neighbour_gets_in_past_the_limit_of_connections() {
    let mut herd = Herd::new(PAIR).with_keys();
    herd.arguments.extend(["--max-connections", "20"].map(str::to_owned));
    links_come_up_in_a_crowd(herd, "accepting pauses: the limit of connections is reached");
}

#[test]
fn a_neighbour_gets_in_past_the_limit_of_its_address() {
    let mut herd = Herd::new(PAIR).with_keys();
    herd.arguments.extend(["--max-connections-per-address", "20"].map(str::to_owned));
    links_come_up_in_a_crowd(herd, "127.0.0.1 has 20 connections, as many as one address may");
}

#[test]
fn a_neighbour_gets_in_where_descriptors_are_few() {
    let mut herd = Herd::new(PAIR).with_keys();
    herd.first = "ulimit -n 72";
    links_come_up_in_a_crowd(herd, "accepting pauses: the limit of connections is reached");
}

#[test]
fn a_neighbour_without_keys_gets_in_too() {
    let mut herd = Herd::new(PAIR);
    let limits = ["--max-connections", "20", "--max-connections-per-address", "20"];
    herd.arguments.extend(limits.map(str::to_owned));
    links_come_up_in_a_crowd(herd, "accepting pauses: the limit of connections is reached");
}

#[test]
fn strangers_past_the_limit_are_answered_when_others_have_gone() {
    let mut herd = Herd::new(PAIR);
    herd.arguments.extend(["--max-connections", "3"].map(str::to_owned));
    // Its neighbour is missing, so more are let in to find it.
    herd.start_one("Left");
    let mut inside: Vec<_> = (0..3).map(|_| herd.connect("Left")).collect();
    for client in &mut inside {
        assert_eq!(client.ask("one"), "? one");
    }
    let mut waiting = herd.connect("Left");
    waiting.send("IAMAT kiwi +1-1 5\nHELLO 1 Nobody 00000000000000aa\ntwo\n");
    waiting.finish();
    let mut liar = herd.connect("Left");
    liar.send("HELLO 1 Nobody 00000000000000aa\n");
    assert_eq!(liar.text_line(), "? HELLO 1 Nobody 00000000000000aa");
    liar.send("three\n");
    herd.wait_for_log("Left", "is not let in as a neighbour");
    assert_eq!(inside[0].ask("one"), "? one");
    assert!(!herd.log("Left").contains("> two"), "nothing is answered past the limit");
    inside.pop();
    assert!(waiting.text_line().starts_with("AT Left "));
    assert_eq!(waiting.rest(), "? HELLO 1 Nobody 00000000000000aa\n? two\n");
    drop(waiting);
    assert_eq!(liar.text_line(), "? three");
    drop((inside, liar));
    eventually("all have gone", || (herd.status("Left")["clients"] == 0).then_some(()));
}

#[test]
fn a_server_without_neighbours_lets_nobody_in_past_the_limit() {
    let herd = Herd::start_with(ALONE, &["--max-connections", "1"]);
    let mut inside = herd.connect("Solo");
    assert_eq!(inside.ask("one"), "? one");
    let mut waiting = herd.connect("Solo");
    waiting.send("two\n");
    herd.wait_for_log("Solo", "accepting pauses: the limit of connections is reached");
    assert_eq!(herd.status("Solo")["clients"], 1);
    drop(inside);
    assert_eq!(waiting.text_line(), "? two");
}
