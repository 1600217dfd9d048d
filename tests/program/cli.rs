//! The command line: help, words that are wrong, things that cannot be done, and what `check` says.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use super::support::{ALONE, Client, Folder, HERD, Herd, eventually, free_ports, herd, run_to_end};

/// Exit code, standard output, standard error.
fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = herd(arguments);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// That these words fail with `code`, and that the error says `why` first.
#[track_caller]
fn fails(arguments: &[&str], code: i32, why: &str) {
    let (actual, out, err) = run(arguments);
    assert_eq!((actual, out.as_str()), (code, ""), "{arguments:?}: {err}");
    assert!(err.starts_with(&format!("herd: {why}")), "{arguments:?}: {err}");
    assert!(err.ends_with('\n') && !err.contains("panicked"), "{err}");
}

/// A topology of one server that nothing is wrong with.
fn alone(folder: &Folder) -> String {
    let text = format!("Solo 127.0.0.1:{}\n", free_ports(1)[0]);
    folder.write("topology.txt", text).to_str().unwrap().to_owned()
}

#[test]
fn help_names_every_flag() {
    let serve = "--topology --listen --listen-links --log-dir --log-level --upstream --places --places-ca \
                 --places-key-file --places-timeout --places-rate --places-cache --catch-up \
                 --control --keys --clients SIGHUP SIGUSR1 \
                 --log-max --log-mode";
    for (command, names) in [
        ("", "serve places check keys load start stop restart status logs say kill demo --run"),
        ("serve", serve),
        ("places", "--listen --ca-out --log-dir --log-level --log-max --log-mode --control"),
        ("check", "TOPOLOGY topology.txt"),
        ("load", "ADDR --connections --depth --seconds --rate --whatsat --idle --updates --json"),
        ("keys", "DIR --topology --authority-key --renew --days NAME"),
    ] {
        for flag in ["--help", "-h"] {
            let words: Vec<_> = command.split_whitespace().chain([flag]).collect();
            let (code, out, err) = run(&words);
            assert_eq!((code, err.as_str()), (0, ""), "{words:?}");
            assert!(out.starts_with(format!("herd {command}").trim_end()), "{out}");
            for name in names.split_whitespace() {
                assert!(out.contains(name), "{words:?} does not tell of {name}");
            }
        }
    }
    let (code, out, _) = run(&["--version"]);
    assert_eq!((code, out), (0, format!("herd {}\n", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn wrong_words_are_refused_by_name_with_exit_code_2() {
    let folder = Folder::new();
    let topology = alone(&folder);
    let unknown = |flag: &str| format!("unknown or repeated flag {flag:?}");
    fails(&[], 2, "which command?");
    fails(&["sing"], 2, "unknown command \"sing\"; `herd help` lists the commands");
    fails(&["strt"], 2, r#"unknown command "strt" (did you mean "start"?)"#);
    fails(&["place"], 2, r#"unknown command "place" (did you mean "places"?)"#);
    fails(&["--verbose"], 2, &unknown("--verbose"));
    fails(&["serve"], 2, "which server?");
    fails(&["serve", "--verbose", "Solo"], 2, r#"unknown flag "--verbose""#);
    fails(&["serve", "Solo", "--verbose"], 2, &unknown("--verbose"));
    fails(&["serve", "Solo", "--listen=127.0.0.1:1"], 2, &unknown("--listen=127.0.0.1:1"));
    fails(&["serve", "Solo", "--control", "a", "--control", "b"], 2, &unknown("--control"));
    fails(&["serve", "Solo", "Ball"], 2, r#"one word too many: "Ball""#);
    fails(&["check", "--verbose"], 2, r#"unknown flag "--verbose""#);
    fails(&["check", "a", "b"], 2, r#"one word too many: "b""#);
    fails(&["places", "--verbose"], 2, &unknown("--verbose"));
    fails(&["places", "word"], 2, r#"one word too many: "word""#);
    let serve = ["serve", "Solo", "--topology", &topology];
    let with = |more: &[&'static str], why: &str| fails(&[&serve[..], more].concat(), 2, why);
    with(&["--listen"], "the '--listen' option doesn't have an associated value");
    with(&["--listen", "here:99999"], r#""here:99999" is no address to listen on"#);
    with(&["--listen", "127.0.0.1"], r#""127.0.0.1" is no address to listen on"#);
    with(&["--log-level", "loud"], r#"unknown log level "loud"; there are off, error, warn"#);
    with(&["--catch-up", "maybe"], r#"--catch-up "maybe": there are on and off"#);
    with(&["--upstream", "bing"], r#"unknown upstream "bing"; there are google"#);
    for seconds in ["0", "-1", "51", "nan", "inf", "soon", ""] {
        with(&["--places-timeout", seconds], &format!("--places-timeout {seconds:?}: a number"));
    }
    for rate in ["-1", "1.5", "many", "1000001", ""] {
        with(&["--places-rate", rate], &format!("--places-rate {rate:?}: a whole number from 0"));
    }
    for cache in ["-1", "3601", "nan", "inf", "long", ""] {
        with(&["--places-cache", cache], &format!("--places-cache {cache:?}: a number of seconds"));
    }
    for url in ["http://places.example", "places.example", "https://", "https://a:b@places.example"]
    {
        with(&["--places", url], "--places: ");
    }
    let there_are = r#"no server "Nobody" in the topology; there are Solo"#;
    fails(&["serve", "Nobody", "--topology", &topology], 2, there_are);
}

#[test]
fn what_cannot_be_done_has_exit_code_1_and_says_what_and_on_what() {
    let folder = Folder::new();
    let topology = alone(&folder);
    let path = |name: &str| folder.path(name).to_str().unwrap().to_owned();
    let (missing, file) = (path("missing"), path("topology.txt"));
    fails(&["check", &missing], 1, &format!("cannot read the topology {missing}: No such file"));
    fails(&["check", &path("")], 1, &format!("cannot read the topology {}", path("")));
    fails(&["serve", "Solo", "--topology", &missing], 1, "cannot read the topology");
    let latin = folder.write("latin", b"Solo 127.0.0.1:1 # caf\xe9\n");
    fails(
        &["check", latin.to_str().unwrap()],
        1,
        &format!("{}: byte 23 is not UTF-8", latin.display()),
    );

    let serve = ["serve", "Solo", "--topology", &topology];
    let with = |flag: &str, value: &str, why: &str| {
        fails(&[&serve[..], &[flag, value]].concat(), 1, why);
    };
    with("--places-ca", &missing, &format!("cannot read --places-ca {missing}: No such file"));
    with("--places-ca", &file, &format!("--places-ca {file}: "));
    with(
        "--places-key-file",
        &missing,
        &format!("cannot read --places-key-file {missing}: No such"),
    );
    with("--log-dir", &file, &format!("cannot make the log directory {file}: "));
    with("--control", &file, &format!("{file} exists and is no socket"));
    let deep = format!("{}/{}", path(""), "x".repeat(120));
    with("--control", &deep, &format!("cannot listen on the control socket {deep}: "));
    with("--control", &path("no/socket"), "cannot listen on the control socket ");
    assert!(fs::read_to_string(&file).unwrap().starts_with("Solo "), "the file is as it was");
}

#[test]
fn a_port_in_use_is_said() {
    let folder = Folder::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let topology = folder.write("topology.txt", format!("Solo {address}\n"));
    let words = ["serve", "Solo", "--topology", topology.to_str().unwrap()];
    fails(&words, 1, &format!("Solo cannot listen on {address}: Address already in use"));
    let ca = folder.path("ca.pem");
    let words = ["places", "--listen", &address, "--ca-out", ca.to_str().unwrap()];
    fails(&words, 1, &format!("cannot listen on {address}: Address already in use"));
}

#[test]
fn no_error_ever_shows_the_key() {
    let folder = Folder::new();
    let topology = alone(&folder);
    let long = "sesame".repeat(1_000);
    for key in
        [&b"sesame open"[..], b"sesame\nopen", b"sesame\xff", b"sesame\0", long.as_bytes(), b""]
    {
        let file = folder.write("key", key);
        let mut command = Command::new(HERD);
        command.args(["serve", "Solo", "--topology", &topology, "--places-key-file"]).arg(&file);
        let output = run_to_end(&mut command);
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{err}");
        assert!(err.starts_with(&format!("herd: --places-key-file {}: ", file.display())), "{err}");
        assert!(!err.contains("sesame"), "{err}");
    }
    let mut command = Command::new(HERD);
    let output = command
        .args(["serve", "Solo", "--topology", &topology])
        .env("PLACES_API_KEY", "sesame open")
        .output()
        .unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.starts_with("herd: the variable PLACES_API_KEY: byte 7 of the key"), "{err}");
    assert!(!err.contains("sesame"), "{err}");
}

#[test]
fn a_wrong_topology_is_refused_with_all_its_faults_each_with_its_place() {
    let folder = Folder::new();
    let text = "\
# A herd with much wrong in it.
Alford   127.0.0.1:11550  Hamilton Holliday
Alford   127.0.0.1:11551  Alford
Hamilton 127.0.0.1:11550
Holiday  127.0.0.1:65536
";
    let file = folder.write("topology.txt", text);
    let shown = file.display();
    let expected = format!(
        r#"herd: the topology is wrong
{shown}:2:36: unknown server "Holliday" (did you mean "Holiday"?)
Alford   127.0.0.1:11550  Hamilton Holliday
                                   ^
{shown}:3:1: name "Alford" already stands in line 2
Alford   127.0.0.1:11551  Alford
^
{shown}:3:27: server "Alford" is its own neighbour
Alford   127.0.0.1:11551  Alford
                          ^
{shown}:4:10: address "127.0.0.1:11550" is already that of line 2
Hamilton 127.0.0.1:11550
         ^
{shown}:5:20: bad port "65536": it is a number from 1 to 65535
Holiday  127.0.0.1:65536
                   ^
"#
    );
    let file = file.to_str().unwrap();
    assert_eq!(run(&["check", file]), (1, String::new(), expected.clone()));
    assert_eq!(run(&["serve", "Alford", "--topology", file]), (1, String::new(), expected));
    let empty = folder.write("empty.txt", "# nobody\n\n");
    fails(&["check", empty.to_str().unwrap()], 1, "the topology is wrong\n");
    let (_, _, err) = run(&["check", empty.to_str().unwrap()]);
    assert!(err.contains("empty.txt:1:1: no servers"), "{err}");
}

#[test]
fn check_prints_servers_neighbours_diameter_and_whom_a_loss_cuts_off() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let default = "\
name      address          talks with
Alford    127.0.0.1:11550  Hamilton, Welsh
Ball      127.0.0.1:11551  Holiday, Welsh
Hamilton  127.0.0.1:11552  Alford, Holiday
Holiday   127.0.0.1:11553  Ball, Hamilton
Welsh     127.0.0.1:11554  Alford, Ball

5 servers and 5 links. Diameter 2: an update reaches everybody over at most 2 links, as from Alford to Ball.

The loss of one server cuts off no other.
";
    let default = (0, default.to_owned(), String::new());
    assert_eq!(run(&["check", root.join("topology.txt").to_str().unwrap()]), default);
    let output = run_to_end(Command::new(HERD).arg("check").current_dir(root));
    assert_eq!(output.stdout, default.1.as_bytes(), "topology.txt is what it reads by itself");
    for (file, diameter, loss) in [
        (
            "bolden",
            "Diameter 3",
            "Without Parker, Hamilton is cut off from Alford, Bolden, Powell.",
        ),
        ("farmar", "Diameter 3", "Without Meeks, Hill is cut off from Farmar, Gasol, Young."),
    ] {
        let path = root.join(format!("tests/topologies/{file}.txt"));
        let (code, out, err) = run(&["check", path.to_str().unwrap()]);
        assert_eq!((code, err.as_str()), (0, ""));
        assert!(out.contains(diameter) && out.contains(loss), "{out}");
    }
}

#[test]
fn a_server_that_no_link_reaches_is_a_warning() {
    let folder = Folder::new();
    let file = folder.write("topology.txt", "A 127.0.0.1:1 B\nB 127.0.0.1:2\nLone [::1]:3\n");
    let (code, out, err) = run(&["check", file.to_str().unwrap()]);
    let warning = r#":3:1: warning: server "Lone" talks with nobody: no link reaches it"#;
    assert_eq!((code, err), (0, format!("{}{warning}\nLone [::1]:3\n^\n", file.display())));
    assert!(out.contains("Lone  [::1]:3      nobody\n"), "{out}");
    assert!(out.contains("No diameter"), "{out}");
}

#[test]
fn a_closed_or_full_standard_output_is_no_panic() {
    for words in [&["--help"][..], &["serve", "--help"], &["--version"], &["check"]] {
        let run = |stdout: Stdio| {
            let mut command = Command::new(HERD);
            command.args(words).current_dir(env!("CARGO_MANIFEST_DIR")).stdout(stdout);
            let output = command.output().unwrap();
            (output.status.code(), String::from_utf8(output.stderr).unwrap())
        };
        // A pipe whose reader has gone.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        assert_eq!(run(writer.into()), (Some(0), String::new()), "{words:?}");
        if let Ok(full) = fs::OpenOptions::new().write(true).open("/dev/full") {
            let (code, err) = run(full.into());
            assert_eq!(code, Some(1), "{words:?}: {err}");
            assert!(err.starts_with("herd: cannot write to standard output: No space"), "{err}");
        }
    }
}

#[test]
fn listen_takes_the_place_of_the_topologys_address() {
    let mut herd = Herd::new(ALONE);
    let port = free_ports(1)[0];
    herd.arguments.extend(["--listen".to_owned(), format!("localhost:{port}")]);
    herd.start_one("Solo");
    herd.wait_for_log("Solo", "Solo starts on ");
    let log = herd.log("Solo");
    let address = log.split("Solo starts on ").nth(1).unwrap().split(' ').next().unwrap();
    assert!(address.ends_with(&format!(":{port}")), "{address}");
    let mut client = Client::over(std::net::TcpStream::connect(address).unwrap());
    assert!(client.ask("IAMAT kiwi +1-1 5").starts_with("AT Solo "));
    eventually("nobody listens at the topology's", || {
        std::net::TcpStream::connect(("127.0.0.1", herd.port("Solo"))).err()
    });
}
