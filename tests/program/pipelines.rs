//! Full pipelines: what a reply says is in the journal and at the neighbour before the reply leaves,
//! however much one turn of the loop brings.

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::journal::journal;
use super::support::{Client, Herd, PAIR, eventually};

const CONNECTIONS: usize = 8;
/// What each connection sends at once: as much as one turn reads of it.
const PIPELINE_BYTES: usize = 64 * 1024;

/// Reports of new clients with IDs of this length, as many as fit into a pipeline.
fn pipeline(connection: usize, id_bytes: usize) -> String {
    let line = |number: usize| {
        let id = format!("c{connection}-{number}-");
        format!("IAMAT {id:x<id_bytes$} +34.068930-118.445127 7\n")
    };
    (0..PIPELINE_BYTES / line(0).len()).map(line).collect()
}

/// Reads replies until the server is gone, and counts them. Gives the clients that were acknowledged.
fn acknowledged(stream: TcpStream, count: &AtomicUsize) -> Vec<String> {
    let (mut replies, mut reply) = (BufReader::new(stream), String::new());
    let mut clients = Vec::new();
    while matches!(replies.read_line(&mut reply), Ok(1..)) && reply.ends_with('\n') {
        assert!(reply.starts_with("AT Left "), "{reply}");
        clients.push(reply.split(' ').nth(3).unwrap().to_owned());
        count.fetch_add(1, Ordering::SeqCst);
        reply.clear();
    }
    clients
}

/// The clients of whom a journal has a record.
fn kept(herd: &Herd, name: &str) -> HashSet<String> {
    let text = fs::read(journal(herd, name)).unwrap();
    let text = String::from_utf8_lossy(&text);
    let records = text.lines().filter(|line| line.starts_with("AT ") && line.contains(" #"));
    records.map(|line| line.split(' ').nth(3).unwrap().to_owned()).collect()
}

/// Full pipelines arrive at Left at one moment, and it is killed when it has sent so many replies. All
/// of them must be in its journal, and at Right.
fn killed_after(mut herd: Herd, sync: &str, id_bytes: usize, replies: usize) {
    let folder = herd.folder.path("journal").display().to_string();
    let arguments = ["--journal", &folder, "--sync", sync, "--log-level", "warn"];
    herd.arguments.extend(arguments.map(str::to_owned));
    herd.start_all();
    let mut clients: Vec<Client> = (0..CONNECTIONS).map(|_| herd.connect("Left")).collect();
    herd.process("Left").signal("-STOP");
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(pipeline(number, id_bytes));
    }
    herd.process("Left").signal("-CONT");
    let count = AtomicUsize::new(0);
    let told: Vec<String> = std::thread::scope(|scope| {
        let streams = clients.into_iter().map(|client| client.stream);
        let readers: Vec<_> =
            streams.map(|stream| scope.spawn(|| acknowledged(stream, &count))).collect();
        eventually("the replies come", || (count.load(Ordering::SeqCst) >= replies).then_some(()));
        herd.kill("Left");
        readers.into_iter().flat_map(|reader| reader.join().unwrap()).collect()
    });
    assert!(told.len() >= replies);
    // All that was on its way to Right has arrived when Right knows that the link is gone.
    eventually("Right has read its link", || {
        (herd.status("Right")["links"][0]["heard_from"] == false).then_some(())
    });
    let (left, right) = (kept(&herd, "Left"), kept(&herd, "Right"));
    let lacks = |known: &HashSet<String>| told.iter().filter(|id| !known.contains(*id)).count();
    let lacking = (lacks(&left), lacks(&right));
    assert_eq!(lacking, (0, 0), "of {} replies, --sync {sync}: (journal, neighbour)", told.len());
}

#[test]
fn full_pipelines_are_in_the_journal_and_at_the_neighbour_before_the_first_reply() {
    for (sync, id_bytes, replies) in
        [("second", 60, 1), ("never", 60, 2_000), ("second", 300, 1), ("never", 300, 1_000)]
    {
        killed_after(Herd::new(PAIR), sync, id_bytes, replies);
    }
}

#[test]
fn full_pipelines_are_at_the_neighbour_before_the_first_reply_with_sync_always() {
    for (id_bytes, replies) in [(60, 1), (300, 500)] {
        killed_after(Herd::new(PAIR), "always", id_bytes, replies);
    }
}

#[test]
fn full_pipelines_are_at_the_neighbour_before_the_first_reply_over_tls() {
    for (id_bytes, replies) in [(60, 1), (300, 1_000)] {
        killed_after(Herd::new(PAIR).with_keys(), "second", id_bytes, replies);
    }
}
