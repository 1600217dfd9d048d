//! `herd keys`, and herds whose servers have them: links that prove who is who, on ports that serve all.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use super::support::{
    ALFORD, ALONE, Client, HERD, Herd, PAIR, Process, control, eventually, herd as run, say,
};

const KIWI: &str = "IAMAT kiwi +34.068930-118.445127 1479413884.392014450";

#[test]
fn a_herd_with_keys_links_and_floods_and_catches_up() {
    let mut herd = Herd::new(ALFORD).with_keys();
    herd.start_all();
    let record = herd.say("Alford", KIWI);
    for name in ["Ball", "Hamilton", "Holiday", "Welsh"] {
        assert_eq!(herd.wait_until_known(name, "kiwi"), record.trim_end());
    }
    herd.kill("Welsh");
    herd.say("Holiday", "IAMAT plum +1-1 5");
    herd.start_one("Welsh");
    assert_eq!(herd.wait_until_known("Welsh", "kiwi"), record.trim_end());
    herd.wait_until_known("Welsh", "plum");
    herd.wait_until_linked("Welsh");
    herd.wait_for_log("Welsh", "links are TLS; clients may speak plain text or TLS");
}

#[test]
fn clients_speak_tls_or_plain_text_on_the_same_port() {
    let mut herd = Herd::new(PAIR).with_keys();
    herd.start_all();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut client = herd.tls_of(version, "Left", None);
        let reply = client.ask(KIWI).unwrap();
        assert!(reply.starts_with("AT Left +"), "{reply}");
        assert_eq!(client.ask("WHATSAT kiwi 1 1").unwrap(), herd.wait_until_known("Left", "kiwi"));
        assert!(client.line().unwrap().starts_with("{\"html_attributions\":[]"));
        assert_eq!(client.line().unwrap(), "");
        // A neighbour's certificate does not keep anybody from asking as clients do.
        let mut right = herd.tls_of(version, "Left", Some(&herd.certified("Right")));
        assert!(right.ask("WHATSAT kiwi 1 1").unwrap().starts_with("AT Left +"));
    }
    assert!(herd.say("Left", "WHATSAT kiwi 1 1").starts_with("AT Left +"));
    assert_eq!(herd.status("Left")["clients"], 0);
}

#[test]
fn replies_and_links_over_tls_wait_for_the_journal_and_then_come() {
    let mut herd = Herd::new(PAIR).with_keys();
    let arguments = herd.arguments.clone();
    for name in ["Left", "Right"] {
        let journal = herd.folder.path(&format!("journal-{name}")).to_str().unwrap().to_owned();
        herd.arguments.clone_from(&arguments);
        herd.arguments.extend(["--journal", &journal, "--sync", "always"].map(str::to_owned));
        herd.start_one(name);
    }
    herd.wait_until_linked("Left");
    let mut client = herd.tls("Left", None);
    for time in 1..20 {
        let reply = client.ask(&format!("IAMAT kiwi +1-1 {time}")).unwrap();
        assert!(reply.starts_with("AT Left +"), "{reply}");
        eventually("Right has it too", || {
            (herd.wait_until_known("Right", "kiwi") == reply).then_some(())
        });
    }
}

#[test]
fn openssl_s_client_is_served_like_anybody() {
    let mut herd = Herd::new(ALONE).with_keys();
    herd.start_all();
    let mut command = Command::new("openssl");
    command.args([
        "s_client",
        "-quiet",
        "-verify_return_error",
        "-verify_hostname",
        "Solo",
        "-CAfile",
    ]);
    command.arg(herd.folder.path("keys/authority.pem"));
    command.args(["-connect", &format!("127.0.0.1:{}", herd.port("Solo"))]);
    let spawned =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let Ok(mut openssl) = spawned else {
        return eprintln!("openssl is not installed: skipped");
    };
    let mut stdin = openssl.stdin.take().unwrap();
    stdin.write_all(format!("{KIWI}\nWHATSAT kiwi 1 1\nrubbish\n").as_bytes()).unwrap();
    // It has no time limit of its own; five lines are what is owed.
    herd.wait_for_log("Solo", "< ? rubbish");
    let out = BufReader::new(openssl.stdout.take().unwrap()).lines().take(5);
    let out = out.collect::<Result<Vec<_>, _>>().unwrap();
    openssl.kill().unwrap();
    openssl.wait().unwrap();
    let [at, again, json, empty, refused] = &out[..] else { panic!("{out:?}") };
    assert!(at.starts_with("AT Solo +") && at == again, "{out:?}");
    assert!(json.contains("UNKNOWN_ERROR") && empty.is_empty(), "{out:?}");
    assert_eq!(refused, "? rubbish");
}

#[test]
fn clients_tls_refuses_plain_text() {
    let mut herd = Herd::new(PAIR).with_keys();
    herd.arguments.extend(["--clients".to_owned(), "tls".to_owned()]);
    herd.start_one("Left");
    herd.start_one("Right");
    // The herd's own connections are TLS anyway.
    herd.wait_until_linked("Left");
    herd.wait_until_linked("Right");
    let mut plain = Client::connect(herd.port("Left"));
    plain.send(format!("{KIWI}\n"));
    let mut answer = Vec::new();
    let _ = std::io::Read::read_to_end(&mut plain.stream, &mut answer);
    assert_eq!(answer.first(), Some(&21), "an alert: {answer:?}");
    herd.wait_for_log("Left", "disconnected: TLS: what the peer speaks is no TLS");
    assert_eq!(herd.status("Left")["records"], 0);
    assert!(herd.tls("Left", None).ask(KIWI).unwrap().starts_with("AT Left +"));
    eventually("Right has heard", || (herd.status("Right")["records"] == 1).then_some(()));
}

#[test]
fn rubbish_after_the_first_byte_of_tls_is_closed_and_nothing_else_happens() {
    let mut herd = Herd::new(ALONE).with_keys();
    herd.start_all();
    for rubbish in
        [&b"\x16"[..], b"\x16\n", b"\x16IAMAT kiwi +1+1 1\n", b"\x16\x03\x01\xff\xff\0\0"]
    {
        let mut client = Client::connect(herd.port("Solo"));
        client.send(rubbish);
        client.finish();
        let mut answer = Vec::new();
        let _ = std::io::Read::read_to_end(&mut client.stream, &mut answer);
        assert!(answer.is_empty() || answer[0] == 21, "{answer:?}");
    }
    // Further in, it is a byte as any other.
    assert_eq!(say(herd.port("Solo"), b"a\x16\n"), "? a\x16\n");
    eventually("all are gone", || (herd.status("Solo")["clients"] == 0).then_some(()));
    assert_eq!(herd.status("Solo")["records"], 0);
}

/// It takes the ten seconds that a handshake may take.
#[test]
fn a_handshake_that_never_ends_is_closed() {
    let mut herd = Herd::new(ALONE).with_keys();
    herd.start_all();
    let idle = Client::connect(herd.port("Solo"));
    let mut client = Client::connect(herd.port("Solo"));
    client.send(b"\x16\x03\x01");
    let mut answer = Vec::new();
    std::io::Read::read_to_end(&mut client.stream, &mut answer).unwrap();
    herd.wait_for_log("Solo", "disconnected: TLS was not agreed in time");
    // Whoever has not begun one may stay.
    assert!(Client::over(idle.stream).ask(KIWI).starts_with("AT Solo +"));
}

#[test]
fn with_keys_a_server_may_be_reached_from_anywhere() {
    let herd = Herd::new(PAIR).with_keys();
    let topology = fs::read_to_string(herd.folder.path("topology.txt")).unwrap();
    // A neighbour that does not live on this machine.
    let far = topology.replace(&format!("127.0.0.1:{}", herd.port("Right")), "192.0.2.1:11550");
    let file = herd.folder.write("far.txt", far);
    let socket = herd.folder.path("far.sock");
    let mut command = Command::new(HERD);
    command.args([
        "serve",
        "Left",
        "--listen",
        &format!("0.0.0.0:{}", herd.port("Left")),
        "--topology",
    ]);
    command.arg(file).arg("--control").arg(&socket);
    // The folder that has gone to its machine.
    command.arg("--keys").arg(herd.folder.path("keys/Left"));
    let _left = Process::spawn("Left", command.stdout(Stdio::null()), &herd.folder);
    eventually("it answers", || control(&socket, "STATUS"));
}

/// What a server that cannot start says.
fn refused(herd: &Herd, name: &str, arguments: &[&str]) -> String {
    let topology = herd.folder.path("topology.txt");
    let mut all = vec!["serve", name, "--topology", topology.to_str().unwrap()];
    all.extend(arguments);
    let output = run(&all);
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn keys_that_do_not_do_are_told_at_the_start() {
    let herd = Herd::new(PAIR).with_keys();
    let keys = herd.folder.path("keys");
    let at = |name: &str| keys.join(name).to_str().unwrap().to_owned();
    let said = refused(&herd, "Left", &["--keys", &at("Right")]);
    assert!(said.contains("is another server's; Left needs its own"), "{said}");
    let said = refused(&herd, "Left", &["--keys", &at("nowhere")]);
    assert!(
        said.contains("nowhere/authority.pem") && said.contains("`herd keys DIR` makes"),
        "{said}"
    );
    let said = refused(&herd, "Left", &["--clients", "tls"]);
    assert!(said.contains("--clients tls: TLS needs a certificate"), "{said}");
    let said = refused(&herd, "Left", &["--clients", "some"]);
    assert!(said.contains("--clients \"some\": there are any and tls"), "{said}");
    fs::copy(keys.join("Right/key.pem"), keys.join("Left/key.pem")).unwrap();
    let said = refused(&herd, "Left", &["--keys", &at("")]);
    assert!(said.contains("our certificate is for another key"), "{said}");
}

#[test]
fn a_certificate_that_ends_soon_is_warned_of() {
    let mut herd = Herd::new(PAIR).with_keys();
    herd.start_one("Left");
    let topology = herd.folder.path("topology.txt").to_str().unwrap().to_owned();
    let dir = herd.folder.path("keys").to_str().unwrap().to_owned();
    let before = [herd.key_file("Left/certificate.pem"), herd.key_file("Left/key.pem")];
    let renewed = run(&["keys", "--topology", &topology, "--days", "29", "--renew", "Right", &dir]);
    let out = String::from_utf8(renewed.stdout).unwrap();
    let row = |name: &str| out.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(row("Right").ends_with("29  renewed") && row("Left").ends_with("730  kept"), "{out}");
    assert_eq!(before, [herd.key_file("Left/certificate.pem"), herd.key_file("Left/key.pem")]);
    herd.start_one("Right");
    herd.wait_until_linked("Right");
    herd.wait_for_log("Right", "keys/Right expires on ");
    herd.wait_for_log("Right", " days; `herd keys --renew Right DIR` makes a new one");
    let expires = herd.status("Right")["certificate_expires"].as_str().unwrap().to_owned();
    assert!(row("Right").contains(&expires), "{expires}: {out}");
    assert!(!herd.log("Left").contains("expires on"), "{}", herd.log("Left"));
}

#[test]
fn the_command_makes_what_is_missing_and_prints_when_it_ends() {
    let herd = Herd::new(ALFORD);
    let (topology, safe) = (herd.folder.path("topology.txt"), herd.folder.path("safe.pem"));
    let dir = herd.folder.path("keys");
    let keys = |arguments: &[&str]| {
        let mut all = vec!["keys", "--topology", topology.to_str().unwrap()];
        all.extend(arguments);
        all.push(dir.to_str().unwrap());
        let output = run(&all);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let elsewhere = ["--authority-key", safe.to_str().unwrap()];
    let (code, out, _) = keys(&elsewhere);
    assert_eq!(code, 0);
    assert_eq!(out.lines().filter(|line| line.ends_with("  made")).count(), 6, "{out}");
    assert!(out.contains("serve NAME --keys "), "{out}");
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&dir), mode(&dir.join("Ball")), mode(&safe)), (0o700, 0o700, 0o600));
    assert_eq!(mode(&dir.join("Ball/key.pem")), 0o600);
    // Nothing is missing, so the authority's key is not asked for.
    let (code, out, _) = keys(&[]);
    assert_eq!(
        (code, out.lines().filter(|line| line.ends_with("  kept")).count()),
        (0, 6),
        "{out}"
    );
    let (code, _, err) = keys(&["--renew", "Ball"]);
    assert!(code == 1 && err.contains("say with --authority-key FILE where it is kept"), "{err}");
    let (code, _, err) = keys(&["--renew", "Bell"]);
    assert!(code == 1 && err.contains("no server \"Bell\" in the topology"), "{err}");
    let (code, _, err) = keys(&["--days", "0"]);
    assert!(
        code == 2 && err.contains("--days \"0\": a whole number of days from 1 to 36500"),
        "{err}"
    );
    let (code, _, err) = keys(&["another"]);
    assert!(code == 2 && err.contains("one word too many"), "{err}");
    let output = run(&["keys"]);
    assert!(output.status.code() == Some(2) && output.stderr.starts_with(b"herd: where?"));
    let (code, out, _) = keys(&[&elsewhere[..], &["--renew", "Ball", "--renew", "Welsh"]].concat());
    assert_eq!(
        (code, out.lines().filter(|line| line.ends_with("renewed")).count()),
        (0, 2),
        "{out}"
    );
    let (code, out, _) = keys(&[&elsewhere[..], &["--renew", "all"]].concat());
    assert_eq!(
        (code, out.lines().filter(|line| line.ends_with("renewed")).count()),
        (0, 5),
        "{out}"
    );
}

#[test]
fn a_key_that_others_can_read_is_refused_with_the_command_that_mends_it() {
    let herd = Herd::new(PAIR).with_keys();
    let topology = herd.folder.path("topology.txt").display().to_string();
    let dir = herd.folder.path("keys").display().to_string();
    let refusal = |arguments: &[&str], file: &str| {
        let output = run(arguments);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains(&format!("{dir}/{file} is a secret")), "{error}");
        assert!(error.trim_end().ends_with(&format!(": chmod 600 {dir}/{file}")), "{error}");
    };
    let open = |file: &str| {
        let file = herd.folder.path("keys").join(file);
        fs::set_permissions(file, fs::Permissions::from_mode(0o640)).unwrap();
    };
    open("Left/key.pem");
    refusal(&["serve", "Left", "--topology", &topology, "--keys", &dir], "Left/key.pem");
    open("authority-key.pem");
    refusal(&["keys", "--topology", &topology, "--renew", "all", &dir], "authority-key.pem");
}
