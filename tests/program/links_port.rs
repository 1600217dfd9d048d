//! Links on a port of their own: `links=` in the topology, and `--listen-links`.

use std::collections::BTreeSet;
use std::fs;
use std::time::Instant;

use super::support::{
    ALFORD, Client, Herd, PAIR, control, eventually, free_ports, herd as run, say,
};

/// The herd's topology with a port for links at each server. Gives those ports, in order.
fn with_links(herd: &Herd) -> Vec<u16> {
    let text = fs::read_to_string(herd.folder.path("topology.txt")).unwrap();
    let ports = free_ports(herd.servers.len());
    let row = |(line, port): (&str, &u16)| {
        let mut fields = line.split(' ');
        let (name, address) = (fields.next().unwrap(), fields.next().unwrap());
        let rest = fields.collect::<Vec<_>>().join(" ");
        format!("{name} {address} links=127.0.0.1:{port} {rest}\n")
    };
    let text: String = text.lines().zip(&ports).map(row).collect();
    herd.folder.write("topology.txt", text);
    ports
}

/// The ports at either end of all TCP sockets of a process, as lsof finds them.
fn ports_of(pid: u32) -> BTreeSet<u16> {
    let mut inodes = BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
        let target = fs::read_link(entry.path()).unwrap_or_default();
        let inode = target.to_string_lossy().strip_prefix("socket:[").map(str::to_owned);
        inodes.extend(inode.and_then(|inode| inode.strip_suffix(']').map(str::to_owned)));
    }
    let mut ports = BTreeSet::new();
    for line in fs::read_to_string("/proc/net/tcp").unwrap().lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if inodes.contains(fields[9]) {
            let port = |address: &str| {
                u16::from_str_radix(address.split(':').nth(1).unwrap(), 16).unwrap()
            };
            ports.extend([port(fields[1]), port(fields[2])]);
        }
    }
    ports
}

/// What a well-known grading script of the original course does: it ends whoever has a socket with the port
/// of one server, at either end.
#[test]
fn who_has_a_socket_with_a_servers_port_is_that_server_alone() {
    for keys in [false, true] {
        let mut herd = Herd::new(ALFORD);
        with_links(&herd);
        if keys {
            herd = herd.with_keys();
        }
        herd.arguments.extend(["--catch-up", "off"].map(str::to_owned));
        herd.start_all();
        let names: Vec<String> = herd.servers.iter().map(|(name, ..)| name.clone()).collect();
        herd.say("Alford", "IAMAT kiwi +1-1 5");
        for name in &names {
            herd.wait_until_known(name, "kiwi");
        }
        for victim in &names {
            let port = herd.port(victim);
            let is_hit = |name: &&String| {
                let pid = herd.servers.iter().find(|(of, ..)| of == *name).unwrap();
                ports_of(pid.2.as_ref().unwrap().child.id()).contains(&port)
            };
            let hit: Vec<_> = names.iter().filter(is_hit).cloned().collect();
            assert_eq!(hit, std::slice::from_ref(victim));
            herd.kill(victim);
            // The ring without one is a line: all others still know of each other.
            let others: Vec<_> = names.iter().filter(|name| *name != victim).collect();
            let client = format!("without-{victim}");
            herd.say(others[0], &format!("IAMAT {client} +1-1 5"));
            for other in others {
                herd.wait_until_known(other, &client);
            }
            herd.start_one(victim);
            for name in &names {
                herd.wait_until_linked(name);
            }
        }
    }
}

#[test]
fn the_port_for_links_is_for_neighbours_alone() {
    for keys in [false, true] {
        let mut herd = Herd::new(PAIR);
        let ports = with_links(&herd);
        if keys {
            herd = herd.with_keys();
        }
        herd.start_all();
        herd.wait_for_log("Left", &format!(" (links on 127.0.0.1:{}) with 1 neighbours", ports[0]));
        let mut client = herd.connect("Left");
        assert!(client.ask("IAMAT kiwi +1-1 5").starts_with("AT Left "));
        if keys {
            let mut plain = Client::connect(ports[0]);
            plain.send("IAMAT plum +1-1 5\n");
            // An alert, and no answer.
            let mut answer = Vec::new();
            let _ = std::io::Read::read_to_end(&mut plain.stream, &mut answer);
            assert_eq!(answer.first(), Some(&21), "{answer:?}");
        } else {
            for line in
                ["IAMAT plum +1-1 5", "WHATSAT kiwi 1 1", "", "HELLO 1 Nobody 00000000000000aa"]
            {
                let all = format!("{line}\r\nIAMAT plum +1-1 6\n");
                let answer = say(ports[0], all.as_bytes());
                assert_eq!(answer.lines().next(), Some(format!("? {line}").as_str()));
            }
            let long = "x".repeat(20_000);
            assert_eq!(say(ports[0], long.as_bytes()).len(), 2 + 512 + 1);
        }
        assert!(!herd.knows("Left", "plum"));
        // Who says nothing is closed, long before a client would be.
        let began = Instant::now();
        assert_eq!(Client::connect(ports[0]).until_cut(), "");
        assert!(began.elapsed().as_secs() < 30);
        herd.wait_for_log("Left", "disconnected: closed: it has not proven itself");
        let is_loud = |line: &str| line.contains("WARN ") && line.contains("disconnected");
        assert_eq!(
            herd.log("Left").lines().filter(|line| is_loud(line)).count(),
            usize::from(keys)
        );
        herd.wait_until_linked("Left");
        assert_eq!(herd.log("Left").matches("is down").count(), 0);
    }
}

#[test]
fn a_neighbour_with_a_file_without_the_port_comes_to_the_clients_port() {
    for keys in [false, true] {
        let mut herd = Herd::new(PAIR);
        let old = fs::read_to_string(herd.folder.path("topology.txt")).unwrap();
        with_links(&herd);
        let new = fs::read_to_string(herd.folder.path("topology.txt")).unwrap();
        if keys {
            herd = herd.with_keys();
        }
        herd.give_topology("Left", &new);
        herd.give_topology("Right", &old);
        herd.start_one("Left");
        herd.start_one("Right");
        // Left dials a port at which Right does not listen yet.
        eventually("Right's own link is up", || {
            (herd.status("Right")["links"][0]["state"] == "up").then_some(())
        });
        herd.say("Right", "IAMAT kiwi +1-1 5");
        herd.wait_until_known("Left", "kiwi");
        // The new file opens the port while the server runs.
        herd.give_topology("Right", &new);
        herd.reload("Right");
        herd.wait_for_log("Right", ", for links on 127.0.0.1:");
        herd.wait_until_linked("Left");
        herd.wait_until_linked("Right");
        herd.say("Left", "IAMAT plum +1-1 5");
        herd.wait_until_known("Right", "plum");
    }
}

#[test]
fn listen_links_says_where_to_listen_in_spite_of_the_topology() {
    let mut herd = Herd::new(PAIR);
    with_links(&herd);
    let socket = herd.folder.path("left.sock");
    let topology = herd.folder.path("topology.txt");
    let port = free_ports(1)[0];
    let mut command = std::process::Command::new(super::support::HERD);
    command.args(["serve", "Left", "--listen-links", &format!("127.0.0.1:{port}"), "--topology"]);
    command.arg(&topology).arg("--control").arg(&socket);
    let process = super::support::Process::spawn("Left", &mut command, &herd.folder);
    eventually("it answers", || control(&socket, "STATUS"));
    eventually("it listens there", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    drop(process);
    // Clients and links cannot have one port.
    let shared = format!("127.0.0.1:{port}");
    let words = ["serve", "Left", "--listen", &shared, "--listen-links", &shared, "--topology"];
    let refused = run(&[&words[..], &[topology.to_str().unwrap()]].concat());
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("is for clients and for links"), "{said}");
    // Plain links must not leave the machine, whichever port they come to.
    let words = ["serve", "Left", "--listen-links", "0.0.0.0:1", "--topology"];
    let refused = run(&[&words[..], &[topology.to_str().unwrap()]].concat());
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("0.0.0.0:1 can be reached from other machines"), "{said}");
    herd.servers.clear();
}
