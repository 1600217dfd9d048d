//! Random bytes, from everybody to everywhere.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;

use super::random::Random;
use super::scene::{Scene, chance};
use super::support::{DEADLINE, eventually};

/// Noisy connections of each kind.
const CONNECTIONS: usize = 60;
const BYTES_MAX: usize = 8 * 1024;

const HELLO: &str = "HELLO 1 Right 00000000000000aa\n";

/// As many bytes as chance will have, after a beginning that is none.
fn noise(random: &mut Random, begin: &[u8]) -> Vec<u8> {
    let mut bytes = begin.to_vec();
    let length = random.index(BYTES_MAX);
    while bytes.len() < length {
        bytes.extend(random.next().to_le_bytes());
    }
    bytes
}

/// Says it in pieces of any size and, in half of all cases, waits for the end of the connection, which
/// has to come by itself once there is nothing more to hear. The others leave with their answers unread.
fn say(mut stream: TcpStream, bytes: &[u8], random: &mut Random) {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut left = bytes;
    while !left.is_empty() {
        let (piece, rest) = left.split_at(random.index(left.len().min(2_000)) + 1);
        if stream.write_all(piece).is_err() {
            // Cut in mid-noise, as it may be.
            return;
        }
        left = rest;
    }
    if random.one_in(2) && stream.shutdown(Shutdown::Write).is_ok() {
        ends(&mut stream);
    }
}

/// The connection ends, in order or with a reset, and is not left waiting.
fn ends(stream: &mut impl Read) {
    if let Err(e) = io::copy(stream, &mut io::sink()) {
        assert!(
            !matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
            "it never ends"
        );
    }
}

#[test]
fn noise_from_clients_and_would_be_neighbours_is_refused() {
    let mut random = chance("noise_from_clients");
    let scene = Scene::start();
    let port = scene.herd.port("Middle");
    let beginnings: [&[u8]; 6] = [
        b"",
        b"\x16",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        HELLO.as_bytes(),
        b"\xff\xfa",
        b"IAMAT ",
    ];
    thread::scope(|scope| {
        for begin in beginnings {
            let mut random = Random::new(random.next());
            scope.spawn(move || {
                for _ in 0..CONNECTIONS {
                    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
                    say(stream, &noise(&mut random, begin), &mut random);
                }
            });
        }
    });
    scene.is_at_peace();
}

#[test]
fn noise_over_tls_and_from_proven_neighbours_is_refused() {
    let mut random = chance("noise_over_tls");
    let mut scene = Scene::start();
    let right = scene.herd.certified("Right");
    // Of two that call themselves Right, the first would stay.
    scene.herd.kill("Right");
    eventually("the next start of Right is let in", || {
        let hello = scene.herd.tls("Middle", Some(&right)).ask(HELLO.trim_end()).ok()?;
        hello.starts_with("HELLO 1 Middle ").then_some(())
    });
    for number in 0..CONNECTIONS {
        let shown = (number % 2 == 0).then_some(&right);
        let mut tls = scene.herd.tls("Middle", shown);
        // It is cut off at the first line that is nonsense, and so may not hear the rest.
        let _ = tls.send_bytes(&noise(&mut random, HELLO.as_bytes()));
        if shown.is_some() {
            let _ = tls.send("\nAT Right +0.000000000 smuggled +1-1 5\n");
            tls.until_cut();
        }
    }
    assert!(!scene.herd.knows("Middle", "smuggled"), "what follows nonsense is not believed");
    scene.herd.wait_for_log("Middle", "link from Right is cut: ");
    scene.herd.start_one("Right");
    scene.is_at_peace();
}

#[test]
fn noise_on_the_control_socket_is_refused() {
    let mut random = chance("noise_on_the_control");
    let scene = Scene::start();
    for _ in 0..CONNECTIONS {
        let mut stream = UnixStream::connect(scene.herd.folder.path("Middle.sock")).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        if stream.write_all(&noise(&mut random, b"")).is_ok() && random.one_in(2) {
            let _ = stream.shutdown(Shutdown::Write);
            ends(&mut stream);
        }
    }
    scene.is_at_peace();
}
