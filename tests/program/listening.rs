//! What a server sends to a neighbour: the test plays the neighbour that listens, by hand. And where a
//! server refuses to have neighbours at all.

use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

use super::support::{
    Client, Folder, HERD, Herd, PAIR, Process, control, eventually, free_ports, herd,
};

/// Left, and the place where it dials Right.
fn left() -> (Herd, TcpListener) {
    let mut herd = Herd::new(PAIR);
    let listener = TcpListener::bind(("127.0.0.1", herd.port("Right"))).unwrap();
    herd.start_one("Left");
    (herd, listener)
}

/// Left's next connection to Right, and the identity in its HELLO.
fn accept(listener: &TcpListener) -> (Client, String) {
    let mut dialled = Client::over(listener.accept().unwrap().0);
    let hello = dialled.text_line();
    let identity = hello.strip_prefix("HELLO 1 Left ").unwrap().split(' ').next();
    (dialled, identity.unwrap().to_owned())
}

const HELLO: &str = "HELLO 1 Right 00000000000000aa\n";

/// Lets Left know that Right is there, so that it dials at once.
fn knock(herd: &Herd) -> Client {
    let mut right = herd.connect("Left");
    assert!(right.ask(HELLO.trim_end()).starts_with("HELLO 1 Left "));
    right.text_line();
    right
}

/// The next lines up to a mark that ends records, which are returned as the clients in them.
fn told(dialled: &mut Client, mark: &str) -> Vec<String> {
    let mut clients = Vec::new();
    loop {
        let line = dialled.text_line();
        match line.split(' ').nth(3) {
            Some(client) => clients.push(client.to_owned()),
            None if line == mark => return clients,
            None => assert!(line.starts_with("MARK "), "{line}"),
        }
    }
}

#[test]
fn a_link_resumes_after_the_mark_that_the_neighbour_names() {
    let (herd, listener) = left();
    for client in ["a", "b", "c", "d", "b"] {
        let time = if herd.knows("Left", client) { 6 } else { 5 };
        herd.say("Left", &format!("IAMAT {client} +1-1 {time}"));
    }
    let (dialled, own) = accept(&listener);
    drop(dialled);
    let nobody = "0000000000000000";
    for (identity, mark, expected, words) in [
        (own.as_str(), 3, vec!["d", "b"], "it has all up to change 3, 2 to look at"),
        (own.as_str(), 4, vec!["b"], "it has all up to change 4, 1 to look at"),
        // A mark of another start, one that was never given, and none: everything, each client once.
        ("00000000000000bb", 3, vec!["a", "c", "d", "b"], "it starts from nothing, 4 to look at"),
        (own.as_str(), 9, vec!["a", "c", "d", "b"], "it starts from nothing, 4 to look at"),
        (nobody, 0, vec!["a", "c", "d", "b"], "it starts from nothing, 4 to look at"),
    ] {
        let _knocked = knock(&herd);
        let (mut dialled, identity_again) = accept(&listener);
        assert_eq!(identity_again, own);
        dialled.send(format!("{HELLO}RESUME {identity} {mark}\n"));
        assert_eq!(told(&mut dialled, "MARK 5"), expected, "RESUME {identity} {mark}");
        herd.wait_for_log("Left", &format!("link to Right is up, resuming: {words}"));
        herd.wait_for_log("Left", &format!("Right has caught up: {} records", expected.len()));
    }
    let _knocked = knock(&herd);
    let (mut dialled, _) = accept(&listener);
    dialled.send(format!("{HELLO}RESUME {own} 5\n"));
    eventually("the link is up", || {
        (herd.status("Left")["links"][0]["state"] == "up").then_some(())
    });
    herd.say("Left", "IAMAT e +1-1 5");
    assert_eq!(told(&mut dialled, "MARK 6"), ["e"]);
}

#[test]
fn nothing_is_sent_to_whoever_is_not_the_neighbour_that_was_dialled() {
    let (herd, listener) = left();
    herd.say("Left", "IAMAT kiwi +1-1 5");
    let resume = "RESUME 0000000000000000 0\n";
    let long = "x".repeat(17_000);
    for (answer, why) in [
        (HELLO.replace("Right", "Wrong"), r#""Wrong" answers where Right should be"#),
        (HELLO.replace(" 1 ", " 2 "), "it speaks version 2 of the link, and this is 1"),
        (resume.to_owned(), "a line of this kind does not belong here"),
        ("? HELLO 1 Left 00000000000000aa\n".to_owned(), "it is no line of a link"),
        ("HTTP/1.1 400 Bad Request\r\n".to_owned(), "it is no line of a link"),
        (format!("{HELLO}{HELLO}"), "a line of this kind does not belong here"),
        (format!("{HELLO}HERE 0\n"), "a line of this kind does not belong here"),
        (long, "its line is too long"),
    ] {
        let _knocked = knock(&herd);
        let (mut dialled, _) = accept(&listener);
        dialled.send(&answer);
        assert_eq!(dialled.until_cut(), "", "{answer}");
        herd.wait_for_log("Left", why);
    }
    // Once it is up: what it has taken in can be no more than it was told, and it tells nothing itself.
    let record = "AT Right +0.000000000 banana +1-1 5";
    for (nonsense, why) in [
        ("HERE 2", "it has taken in mark 2, but was sent no mark above 1"),
        (record, "a line of this kind does not belong here"),
        ("RESUME 0000000000000000 0", "a line of this kind does not belong here"),
    ] {
        let _knocked = knock(&herd);
        let (mut dialled, _) = accept(&listener);
        dialled.send(format!("{HELLO}{resume}"));
        assert_eq!(told(&mut dialled, "MARK 1"), ["kiwi"]);
        dialled.send(format!("HERE 1\n{nonsense}\n"));
        dialled.until_cut();
        herd.wait_for_log("Left", &format!("link to Right is cut: {why}: {nonsense}\n"));
    }
    assert!(!herd.knows("Left", "banana"));
}

/// The listener answers nothing, so that the link stays as it is: what it must not be is still waiting.
#[test]
fn a_neighbour_that_dials_in_is_dialled_at_once() {
    let mut herd = Herd::new(PAIR);
    herd.start_one("Left");
    for _ in 0..5 {
        let state = || herd.status("Left")["links"][0]["state"].clone();
        eventually("Left waits before it dials again", || (state() == "down").then_some(()));
        let listener = TcpListener::bind(("127.0.0.1", herd.port("Right"))).unwrap();
        let _knocked = knock(&herd);
        assert_eq!(state(), "dialling");
        drop(accept(&listener));
    }
}

#[test]
fn a_neighbour_that_is_away_is_dialled_again_for_as_long_as_it_takes() {
    let mut herd = Herd::new(PAIR);
    herd.start_one("Left");
    eventually("some attempts", || {
        (herd.log("Left").matches("Right cannot be reached: ").count() >= 4).then_some(())
    });
    let listener = TcpListener::bind(("127.0.0.1", herd.port("Right"))).unwrap();
    let (mut dialled, _) = accept(&listener);
    dialled.send(format!("{HELLO}RESUME 0000000000000000 0\n"));
    herd.wait_for_log("Left", "link to Right is up");
    for line in herd.log("Left").lines().filter(|line| line.contains("cannot be reached")) {
        assert!(line.contains("onnection refused"), "{line}");
        let wait =
            line.split("dialling again in ").nth(1).and_then(|rest| rest.strip_suffix(" ms"));
        assert!((100..=2_000).contains(&wait.unwrap().parse::<u32>().unwrap()), "{line}");
    }
}

#[test]
fn a_neighbour_that_does_not_read_costs_no_memory_and_gets_the_newest() {
    const CLIENTS: usize = 10;
    const ROUNDS: usize = 2_000;
    let (herd, listener) = left();
    let (mut dialled, _) = accept(&listener);
    dialled.send(format!("{HELLO}RESUME 0000000000000000 0\n"));
    herd.wait_for_log("Left", "link to Right is up");
    let name = |number: usize| format!("{number}-{}", "x".repeat(1_000));
    let mut client = herd.connect("Left");
    for round in 1..=ROUNDS {
        let said = |number: usize| format!("IAMAT {} +1-1 {round}\n", name(number));
        client.send((0..CLIENTS).map(said).collect::<String>());
        (0..CLIENTS).for_each(|_| drop(client.line()));
        // It lives, it only does not read.
        dialled.send("HERE 0\n");
    }
    let backlog = herd.status("Left")["links"][0]["backlog"].as_u64().unwrap();
    assert!(0 < backlog && backlog < 2 * CLIENTS as u64 + 2_000, "{backlog}");

    let last = format!("MARK {}", CLIENTS * ROUNDS);
    let (mut lines, mut newest) = (0, vec![String::new(); CLIENTS]);
    loop {
        let line = dialled.text_line();
        if line == last {
            break;
        }
        if let Some((_, record)) = line.split_once(" +1-1 ") {
            let number = line.split(' ').nth(3).unwrap().split('-').next().unwrap();
            newest[number.parse::<usize>().unwrap()] = record.to_owned();
            lines += 1;
            dialled.send("HERE 0\n");
        }
    }
    assert_eq!(newest, vec![ROUNDS.to_string(); CLIENTS]);
    assert!(lines < CLIENTS * ROUNDS, "all {lines} updates were queued");
}

fn refused(topology: &str, arguments: &[&str]) -> String {
    let folder = Folder::new();
    let file = folder.write("topology.txt", topology);
    let mut all = vec!["serve", "Left", "--topology", file.to_str().unwrap()];
    all.extend(arguments);
    let Output { status, stderr, .. } = herd(&all);
    assert_eq!(status.code(), Some(1), "{topology}");
    String::from_utf8(stderr).unwrap()
}

#[test]
fn a_server_refuses_plain_links_that_leave_the_machine() {
    let port = free_ports(1)[0];
    let near = format!("127.0.0.1:{port}");
    for far in ["192.0.2.1", "[2001:db8::1]", "[::ffff:192.0.2.1]"] {
        let words = refused(&format!("Left {near} Right\nRight {far}:11551\n"), &[]);
        assert!(words.starts_with("herd: the link to Right ("), "{words}");
        assert!(words.contains("would leave this machine in plain text"), "{words}");
        assert!(words.contains("give it a loopback address"), "{words}");
    }
    for listen in ["0.0.0.0", "[::]"] {
        let topology = format!("Left {near} Right\nRight 127.0.0.1:1\n");
        let words = refused(&topology, &["--listen", &format!("{listen}:{port}")]);
        assert!(words.contains("can be reached from other machines"), "{words}");
        assert!(words.contains("listen on a loopback address"), "{words}");
        // As an address that Right would have to dial it is a fault, whatever there is of keys.
        let words = refused(&format!("Left {listen}:{port} Right\nRight 127.0.0.1:1\n"), &[]);
        assert!(words.contains(":1:6: "), "{words}");
        assert!(words.contains("is no address that a neighbour can dial"), "{words}");
    }
}

/// Without links there is nothing to forge: such a server may be reached from anywhere. Nor does it
/// matter where those live that this server never talks to.
#[test]
fn a_server_without_links_to_the_outside_runs() {
    for (topology, arguments) in [
        ("Left 127.0.0.1:PORT\n", vec!["--listen", "0.0.0.0:PORT"]),
        ("Left 127.0.0.1:PORT Right\nRight 127.0.0.1:1 Far\nFar 192.0.2.1:11550\n", vec![]),
        ("Left 192.0.2.1:11550 Right\nRight localhost:1\n", vec!["--listen", "127.0.0.1:PORT"]),
    ] {
        let folder = Folder::new();
        let port = free_ports(1)[0].to_string();
        let file = folder.write("topology.txt", topology.replace("PORT", &port));
        let socket = folder.path("socket");
        let mut command = Command::new(HERD);
        command.args(["serve", "Left", "--topology"]).arg(file).arg("--control").arg(&socket);
        command.args(arguments.iter().map(|word| word.replace("PORT", &port)));
        let _process = Process::spawn("Left", command.stdout(Stdio::null()), &folder);
        eventually("it answers", || control(&socket, "STATUS"));
    }
}

#[test]
fn a_herd_lives_on_ipv6_as_well() {
    if TcpListener::bind("[::1]:0").is_err() {
        return eprintln!("no IPv6 here: skipped");
    }
    let mut herd = Herd::new(PAIR);
    let topology = std::fs::read_to_string(herd.folder.path("topology.txt")).unwrap();
    herd.folder.write("topology.txt", topology.replace("127.0.0.1", "[::1]"));
    herd.start_all();
    for (name, records) in [("Left", 1), ("Right", 2)] {
        let stream = std::net::TcpStream::connect(("::1", herd.port(name))).unwrap();
        let reply = Client::over(stream).ask(&format!("IAMAT {name} +1-1 5"));
        assert!(reply.starts_with(&format!("AT {name} ")), "{reply}");
        for server in ["Left", "Right"] {
            eventually("both have it", || {
                (herd.status(server)["records"] == records).then_some(())
            });
        }
    }
}

#[test]
fn a_name_that_means_several_addresses_is_listened_for_at_all_of_them() {
    let herd = Herd::new(super::support::ALONE);
    let port = herd.port("Solo");
    herd.folder.write("topology.txt", format!("Solo localhost:{port}\n"));
    let mut herd = herd;
    herd.start_one("Solo");
    let means = std::net::ToSocketAddrs::to_socket_addrs(&("localhost", port)).unwrap();
    let has_ipv6 = TcpListener::bind("[::1]:0").is_ok();
    for address in means.filter(|address| address.is_ipv4() || has_ipv6) {
        let mut client = Client::over(std::net::TcpStream::connect(address).unwrap());
        assert_eq!(client.ask("WHO"), "? WHO", "at {address}");
    }
}
