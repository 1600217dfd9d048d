//! The control socket: what `STATUS` tells, who may ask, and how a server stops in order, by `STOP` and
//! by signals.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::support::{
    ALONE, Client, DEADLINE, HERD, Herd, PAIR, Process, control, eventually, run_to_end,
};

/// Sends bytes to a control socket, half-closes, and returns the lines that come back.
fn tell(socket: &Path, bytes: &[u8]) -> Vec<Value> {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(bytes).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "{text}");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn socket(herd: &Herd, name: &str) -> std::path::PathBuf {
    herd.folder.path(&format!("{name}.sock"))
}

/// The stand-in for Places, and a herd of one that asks it.
fn with_places() -> (Herd, Process) {
    let mut herd = Herd::new(ALONE);
    let ca = herd.folder.path("ca.pem");
    let mut command = Command::new(HERD);
    command.args(["places", "--listen", "127.0.0.1:0", "--ca-out"]).arg(&ca);
    command.arg("--control").arg(socket(&herd, "places")).stdout(Stdio::piped());
    let mut places = Process::spawn("places", &mut command, &herd.folder);
    let mut line = String::new();
    let mut stdout = BufReader::new(places.child.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    let address = line.strip_prefix("listening on 127.0.0.1:").unwrap();
    let port = address.split(':').next().unwrap();
    herd.arguments = ["--places", &format!("https://localhost:{port}"), "--places-ca"]
        .into_iter()
        .chain([ca.to_str().unwrap()])
        .map(str::to_owned)
        .collect();
    herd.environment.push(("PLACES_API_KEY".to_owned(), "any".to_owned()));
    herd.start_one("Solo");
    (herd, places)
}

#[test]
fn status_is_one_line_of_json_that_tells_all() {
    let mut herd = Herd::start(PAIR);
    let mut client = herd.connect("Left");
    assert!(client.ask("IAMAT kiwi +1-1 5").starts_with("AT Left "));
    let pid = herd.process("Left").child.id();
    let status = herd.status("Left");
    let mut fields: Vec<_> = status.as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    let expected = "certificate_expires clients clock connections journal links log_trouble \
                    longest_turn_cpu_us longest_turn_us look_ups name now pid questions records since store turns upstream upstream_connections";
    assert_eq!(fields.join(" "), expected);
    assert_eq!((&status["name"], &status["pid"]), (&"Left".into(), &pid.into()));
    assert_eq!((&status["records"], &status["clients"]), (&1.into(), &1.into()), "{status}");
    eventually("only the client, the neighbour and whoever asks are connected", || {
        (herd.status("Left")["connections"] == 3).then_some(())
    });
    assert_eq!((&status["questions"], &status["log_trouble"]), (&0.into(), &Value::Null));
    assert_eq!(status["look_ups"], serde_json::json!([]), "nothing waits");
    assert!(status["upstream"].as_str().unwrap().contains("google"), "{status}");
    for field in ["since", "now"] {
        let moment = status[field].as_str().unwrap();
        assert!(
            moment.len() == 27 && moment.starts_with("20") && moment.ends_with('Z'),
            "{moment}"
        );
    }
    assert!(status["since"].as_str() < status["now"].as_str(), "{status}");
    let link = serde_json::json!([
        {"name": "Right", "state": "up", "backlog": 0, "behind": false, "times_behind": 0, "heard_from": true}
    ]);
    let mut links = status["links"].clone();
    let ahead = links[0].as_object_mut().unwrap().remove("clock_ahead_s").unwrap();
    assert_eq!(links, link);
    assert!(ahead.as_f64().unwrap().abs() < 60.0, "both have the clock of this machine: {ahead}");

    let later = herd.status("Left");
    assert!(later["turns"].as_u64() > status["turns"].as_u64());
    assert!(later["longest_turn_us"].as_u64() >= status["longest_turn_us"].as_u64());
    assert!(later["longest_turn_us"].as_u64().unwrap() > 0);
    drop(client);
    eventually("the client is gone", || (herd.status("Left")["clients"] == 0).then_some(()));
    herd.kill("Right");
    eventually("the link is down, with everything before it", || {
        let link = herd.status("Left")["links"][0].clone();
        let gone = link["state"] == "down" && link["heard_from"] == false;
        (gone && link["backlog"] == 1).then_some(())
    });
}

#[test]
fn the_socket_is_its_owners_only_and_goes_with_the_server() {
    let mut herd = Herd::new(ALONE);
    let path = socket(&herd, "Solo");
    let topology = herd.folder.path("topology.txt");
    let mut command = Command::new("sh");
    // Whatever the umask is.
    command.args(["-c", r#"umask 0; exec "$0" serve Solo --topology "$1" --control "$2""#, HERD]);
    command.args([&topology, &path]).stdout(Stdio::null());
    let mut process = Process::spawn("Solo", &mut command, &herd.folder);
    eventually("it answers", || control(&path, "STATUS"));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    process.signal("-TERM");
    assert_eq!(process.exit_code(), Some(0));
    assert!(!path.exists());

    // One that a dead process has left is replaced; and one that a live server answers at is its own.
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    herd.start_one("Solo");
    let pid = herd.status("Solo")["pid"].clone();
    let mut second = Command::new(HERD);
    second.args(["serve", "Solo", "--listen", "127.0.0.1:0", "--topology"]);
    let Output { status, stderr, .. } =
        run_to_end(second.args([&topology, Path::new("--control"), &path]));
    assert_eq!(status.code(), Some(1));
    let err = String::from_utf8(stderr).unwrap();
    assert!(err.contains(&format!("herd: somebody answers at {}", path.display())), "{err}");
    assert_eq!(herd.status("Solo")["pid"], pid);
}

#[test]
fn a_control_line_has_the_habits_of_any_other_line() {
    let herd = Herd::start(ALONE);
    let path = socket(&herd, "Solo");
    // Several in one segment, a CR, and a last one without LF.
    let answers = tell(&path, b"STATUS\r\nSTATUS\nSTATUS");
    assert_eq!(answers.iter().filter(|answer| answer["name"] == "Solo").count(), 3);
    let unknown = |line: &str| format!("unknown command \"{line}\"; there are STATUS and STOP");
    for (line, shown) in [
        (&b""[..], ""),
        (b"status", "status"),
        (b"STOP now", "STOP now"),
        (b"IAMAT kiwi +1-1 5", "IAMAT kiwi +1-1 5"),
        (b"\x1b[2J\xff\"\\", "\\u{1b}[2J\\xff\"\\\\"),
    ] {
        assert_eq!(tell(&path, &[line, b"\n"].concat())[0]["error"], unknown(shown));
    }
    let longest = "x".repeat(256);
    assert_eq!(tell(&path, longest.as_bytes())[0]["error"], unknown(&longest));
    let mut long = UnixStream::connect(&path).unwrap();
    long.write_all(format!("STATUS\n{longest}x").as_bytes()).unwrap();
    let mut text = String::new();
    long.read_to_string(&mut text).unwrap();
    assert_eq!(text.lines().nth(1), Some(r#"{"error":"a line has at most 256 bytes"}"#), "{text}");
    assert_eq!(text.lines().count(), 2, "{text}");
    assert_eq!(herd.status("Solo")["records"], 0);
}

/// A question to Places is under way when the server is told to stop; its answer still goes out, after
/// the replies before it and before those behind it.
#[test]
fn whoever_is_owed_a_reply_gets_it_before_the_server_stops() {
    for how in ["STOP", "-TERM", "-INT"] {
        let (mut herd, places) = with_places();
        let mut client = herd.connect("Solo");
        let record = client.ask("IAMAT kiwi +34.068930-118.445127 5");
        places.signal("-STOP");
        client.send("WHATSAT kiwi 10 1\nIAMAT last +1-1 5\n");
        eventually("the question is under way", || {
            (herd.status("Solo")["questions"] == 1).then_some(())
        });
        if how == "STOP" {
            let answer = control(&socket(&herd, "Solo"), "STOP").unwrap();
            assert_eq!(answer, "{\"stopping\":true}\n");
        } else {
            herd.process("Solo").signal(how);
        }
        // Nobody new is let in.
        let port = herd.port("Solo");
        eventually("it listens no longer", || TcpStream::connect(("127.0.0.1", port)).err());
        places.signal("-CONT");
        let (at_line, json) = client.places_reply();
        assert_eq!(at_line, record, "{how}");
        assert!(json.contains("\"status\" : \"OK\""), "{how}: {json}");
        let rest = client.rest();
        assert!(rest.starts_with("AT Solo ") && rest.ends_with(" last +1-1 5\n"), "{how}: {rest}");
        drop(client);
        assert_eq!(herd.process("Solo").exit_code(), Some(0), "{how}");
        let log = herd.log("Solo");
        let words =
            if how == "STOP" { "stopping: asked to over the control socket" } else { "stopping: " };
        assert!(log.contains(words) && log.ends_with("INFO  Solo has stopped\n"), "{how}: {log}");
        assert!(!socket(&herd, "Solo").exists());
    }
}

/// Takes the three seconds that an orderly stop may take.
#[test]
fn a_stop_does_not_wait_for_ever() {
    let mut herd = Herd::new(PAIR);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    herd.arguments =
        vec!["--places".to_owned(), format!("https://{}", silent.local_addr().unwrap())];
    herd.start_all();
    // An upstream that says nothing, a neighbour that is frozen, a client that neither reads nor goes.
    let mut client = herd.connect("Left");
    client.ask("IAMAT kiwi +1-1 5");
    client.send("WHATSAT kiwi 10 1\n");
    eventually("the question is under way", || {
        (herd.status("Left")["questions"] == 1).then_some(())
    });
    herd.process("Right").signal("-STOP");
    control(&socket(&herd, "Left"), "STOP").unwrap();
    assert_eq!(herd.process("Left").exit_code(), Some(0));
    assert!(herd.log("Left").ends_with("Left has stopped\n"));
    client.until_cut();
}

#[test]
fn what_a_server_has_heard_before_it_stops_reaches_its_neighbours() {
    let mut herd = Herd::start(PAIR);
    let said: Vec<_> = (0..500).map(|n| format!("IAMAT client-{n} +1-1 5\n")).collect();
    let mut client = herd.connect("Left");
    client.send(said.concat());
    client.line();
    herd.stop("Left");
    let replies = 1 + client.rest().lines().count();
    // Whoever has been answered has been passed on.
    herd.wait_until_known("Right", &format!("client-{}", replies - 1));
}

#[test]
fn the_stand_in_has_a_control_socket_too() {
    let (herd, mut places) = with_places();
    let path = socket(&herd, "places");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let status: Value = serde_json::from_str(&control(&path, "STATUS").unwrap()).unwrap();
    assert_eq!((&status["name"], &status["pid"]), (&"places".into(), &places.child.id().into()));
    assert_eq!(control(&path, "STOP").unwrap(), "{\"stopping\":true}\n");
    assert_eq!(places.exit_code(), Some(0));
    assert!(!path.exists());
}

#[test]
fn clients_of_a_stopping_server_see_an_orderly_end() {
    let mut herd = Herd::start(ALONE);
    let mut clients: Vec<Client> = (0..20).map(|_| herd.connect("Solo")).collect();
    for client in &mut clients {
        client.send("IAMAT kiwi +1-1 5\nWHATSAT kiwi 1 1\nnonsense\n");
        assert!(client.text_line().starts_with("AT Solo "));
    }
    herd.process("Solo").signal("-TERM");
    for mut client in clients {
        let rest = client.rest();
        assert!(rest.starts_with("AT Solo ") && rest.ends_with("\n\n? nonsense\n"), "{rest}");
    }
    assert_eq!(herd.process("Solo").exit_code(), Some(0));
}
