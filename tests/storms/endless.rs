//! A hundred megabytes without an end of the line, over every kind of connection that there is.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;

use super::scene::Scene;
use super::support::{Client, DEADLINE, eventually};
use super::tls::Tls;

const BYTES: usize = 100 << 20;
static PIECE: [u8; 64 * 1024] = [b'x'; 64 * 1024];

/// All that a server may hold meanwhile, whoever it is that says it: one read, one line, what TLS puts
/// together, and the answer.
const HELD_KIB_MAX: u64 = 2 * 1024;

/// Says it all, or as much as is taken before the connection is cut.
fn pour(mut send: impl FnMut(&[u8]) -> io::Result<()>) {
    for _ in 0..BYTES / PIECE.len() {
        if let Err(e) = send(&PIECE) {
            let cut = [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe];
            return assert!(cut.contains(&e.kind()), "{e}");
        }
    }
}

fn ends_well(scene: &Scene) {
    let peak = scene.peak_kib();
    assert!(peak < HELD_KIB_MAX, "{peak} KiB");
    scene.is_at_peace();
}

/// What the start of a line that is too long is answered with, before the rest of it is poured out.
fn cut_off() -> String {
    format!("? {}...", "x".repeat(64))
}

#[test]
fn a_line_without_an_end_is_cut_off() {
    let scene = Scene::start();
    let mut client = scene.herd.connect("Middle");
    client.send(&PIECE[..20_000]);
    assert_eq!(client.text_line(), cut_off());
    pour(|piece| client.stream.write_all(piece));
    scene.herd.wait_for_log("Middle", "is closed: its line is too long; it began xxx");
    ends_well(&scene);
}

#[test]
fn a_telnet_negotiation_without_an_end_is_cut_off() {
    let scene = Scene::start();
    let mut client = scene.herd.connect("Middle");
    client.send(b"\xff\xfa\x18");
    client.send(&PIECE[..20_000]);
    assert!(client.text_line().starts_with("? "));
    pour(|piece| client.stream.write_all(piece));
    ends_well(&scene);
}

fn pour_over_tls(mut tls: Tls) {
    let piece = std::str::from_utf8(&PIECE).unwrap();
    pour(|_| tls.send(piece));
}

#[test]
fn a_line_without_an_end_over_tls_is_cut_off() {
    let scene = Scene::start();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut client = scene.herd.tls_of(version, "Middle", None);
        client.send(std::str::from_utf8(&PIECE[..20_000]).unwrap()).unwrap();
        assert_eq!(client.line().unwrap(), cut_off());
        pour_over_tls(client);
    }
    ends_well(&scene);
}

#[test]
fn a_neighbour_whose_line_has_no_end_is_cut_off_and_then_links_again() {
    let mut scene = Scene::start();
    // Of two that call themselves Right, the first would stay.
    scene.herd.kill("Right");
    let right = eventually("the next start of Right is let in", || {
        let mut right = scene.herd.tls("Middle", Some(&scene.herd.certified("Right")));
        let hello = right.ask("HELLO 1 Right 00000000000000aa").ok()?;
        hello.starts_with("HELLO 1 Middle ").then_some(right)
    });
    pour_over_tls(right);
    scene.herd.wait_for_log("Middle", "link with Right is cut: its line is too long");
    scene.herd.start_one("Right");
    ends_well(&scene);
}

#[test]
fn a_handshake_without_an_end_is_cut_off() {
    let scene = Scene::start();
    // A record that is too long, and a message of 16 MiB in records that are not.
    let record = [&b"\x16\x03\x01\x40\x00"[..], &[0; 16 * 1024]].concat();
    let message = [b"\x16\x03\x01\x40\x00\x01\xff\xff\xff", &record[9..]].concat();
    for (first, then) in [(&b"\x16\x03\x01\xff\xff"[..], &PIECE[..]), (&message, &record)] {
        let mut client = scene.herd.connect("Middle");
        client.send(first);
        pour(|_| client.stream.write_all(then));
        client.until_gone();
    }
    ends_well(&scene);
}

#[test]
fn a_line_without_an_end_on_the_control_socket_is_cut_off() {
    let scene = Scene::start();
    let mut stream = UnixStream::connect(scene.herd.folder.path("Middle.sock")).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    pour(|piece| stream.write_all(piece));
    ends_well(&scene);
}

impl Client {
    /// Waits until the server has ended the connection, whatever it says before.
    fn until_gone(&mut self) {
        let _ = io::copy(&mut self.stream, &mut io::sink());
    }
}
