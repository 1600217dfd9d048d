//! SIGKILL at any moment under load, with journals: whatever a server has acknowledged, it has.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::scene::{ROW, Scene, chance};
use super::support::{DEADLINE, Herd, eventually};

/// How often some of the servers are killed before all of them are.
const ROUNDS: usize = 6;

/// Questions on one connection before the answers are read.
const ASKED_AT_ONCE: usize = 30;

/// Who has been acknowledged by one server.
#[derive(Default)]
struct Acknowledged(Mutex<Vec<String>>);

/// Ends the load also when the test fails, which would wait for it otherwise.
struct EndsWith<'a>(&'a AtomicBool);

impl Drop for EndsWith<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Reports one new client after another, over one connection after another: as long as the server lives.
fn report(port: u16, name: &str, over: &AtomicBool, acknowledged: &Acknowledged) {
    let mut number = 0;
    while !over.load(Ordering::SeqCst) {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else {
            // It is dead just now.
            thread::sleep(Duration::from_millis(2));
            continue;
        };
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut replies = BufReader::new(stream.try_clone().unwrap());
        while !over.load(Ordering::SeqCst) {
            number += 1;
            let id = format!("{name}{number}");
            let mut reply = String::new();
            if stream.write_all(format!("IAMAT {id} +1-1 7\n").as_bytes()).is_err()
                || !matches!(replies.read_line(&mut reply), Ok(1..))
                || !reply.ends_with('\n')
            {
                break;
            }
            assert!(reply.starts_with(&format!("AT {name} +")), "{reply}");
            acknowledged.0.lock().unwrap().push(id);
        }
    }
}

/// Those that a server does not know.
fn unknown<'a>(herd: &Herd, asked: &str, ids: &'a [String]) -> Vec<&'a String> {
    let mut client = herd.connect(asked);
    let mut unknown = Vec::new();
    for part in ids.chunks(ASKED_AT_ONCE) {
        let questions: Vec<String> = part.iter().map(|id| format!("WHATSAT {id} 1 0\n")).collect();
        client.send(questions.concat());
        for id in part {
            if client.text_line().starts_with("? ") {
                unknown.push(id);
                continue;
            }
            while !client.line().is_empty() {}
        }
    }
    unknown
}

#[test]
fn servers_killed_at_any_moment_come_back_with_all_that_they_acknowledged() {
    let mut random = chance("servers_killed");
    let mut herd = Scene::keeping("warn");
    herd.start_all();
    let mut scene = Scene::of(herd);
    let names: Vec<&str> = ROW.iter().map(|(name, _)| *name).collect();
    let acknowledged: [Acknowledged; 3] = Default::default();
    let count = || acknowledged.iter().map(|ids| ids.0.lock().unwrap().len()).sum::<usize>();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _ends = EndsWith(&over);
        for (name, ids) in names.iter().zip(&acknowledged) {
            let (port, over) = (scene.herd.port(name), &over);
            scope.spawn(move || report(port, name, over, ids));
        }
        for round in 0..=ROUNDS {
            let enough = count() + random.index(60) + 1;
            eventually("the clients are acknowledged", || (count() >= enough).then_some(()));
            let struck = |_: &&&str| round == ROUNDS || random.one_in(2);
            let victims: Vec<&&str> = names.iter().filter(struck).collect();
            for name in &victims {
                scene.herd.kill(name);
            }
            for name in victims.iter().filter(|_| round < ROUNDS) {
                scene.herd.start_one(name);
            }
        }
    });
    let acknowledged = acknowledged.map(|ids| ids.0.into_inner().unwrap());
    // Alone, so that nobody can have told it.
    for (name, ids) in names.iter().zip(&acknowledged) {
        scene.herd.start_one(name);
        assert_eq!(
            unknown(&scene.herd, name, ids),
            [""; 0],
            "{name} has lost some of {}",
            ids.len()
        );
        scene.herd.kill(name);
    }
    scene.herd.start_all();
    let all = acknowledged.concat();
    for name in names {
        eventually("it has caught up", || {
            unknown(&scene.herd, name, &all).is_empty().then_some(())
        });
    }
    scene.is_at_peace();
}
