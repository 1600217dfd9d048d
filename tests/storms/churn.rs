//! Those who come and go: thousands of short connections, and resets in the middle of a reply.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

use super::scene::Scene;
use super::support::{Client, DEADLINE, eventually};

/// Connections that one storm makes, from this many clients at a time.
const CONNECTIONS: usize = 4_000;
const CLIENTS: usize = 4;

/// Lets clients do this again and again, all at the same time.
fn again_and_again(scene: &Scene, connections: usize, visit: impl Fn(TcpStream, usize) + Sync) {
    let port = scene.herd.port("Middle");
    let visit = &visit;
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            scope.spawn(move || {
                for number in (client..connections).step_by(CLIENTS) {
                    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
                    stream.set_read_timeout(Some(DEADLINE)).unwrap();
                    visit(stream, number);
                }
            });
        }
    });
}

#[test]
fn thousands_connect_and_some_say_something_and_all_go_again() {
    let scene = Scene::start();
    let mut stays = Client::connect(scene.herd.port("Middle"));
    again_and_again(&scene, CONNECTIONS, |mut stream, number| match number % 4 {
        0 => {}
        // Gone before the answer is there.
        1 => stream.write_all(b"IAMAT passing +1-1 5\n").unwrap(),
        // Gone in the middle of a line.
        2 => stream.write_all(b"IAMAT passing").unwrap(),
        _ => {
            let mut client = Client::over(stream);
            assert_eq!(client.ask(&format!("passing {number}")), format!("? passing {number}"));
        }
    });
    assert_eq!(stays.ask("still here"), "? still here");
    drop(stays);
    scene.is_at_peace();
}

#[test]
fn resets_in_the_middle_of_replies_cost_nothing() {
    let scene = Scene::start();
    let mut stays = Client::connect(scene.herd.port("Middle"));
    assert!(stays.ask("IAMAT kiwi +1-1 5").starts_with("AT Middle +"));
    let questions = "WHATSAT kiwi 1 20\nIAMAT kiwi +1-1 4\nnonsense\n".repeat(20);
    again_and_again(&scene, 600, |mut stream, number| {
        stream.write_all(questions.as_bytes()).unwrap();
        // The rest of the replies finds that it is gone: what was not read makes this a reset.
        let mut some = vec![0; 1 + number % 50];
        stream.read_exact(&mut some).unwrap();
        assert!(some.starts_with(b"A"));
    });
    eventually("all have gone", || (scene.herd.status("Middle")["clients"] == 1).then_some(()));
    assert_eq!(stays.ask("still here"), "? still here");
    drop(stays);
    scene.is_at_peace();
}
