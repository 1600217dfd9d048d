//! The upstream's key: where it comes from, and that it goes nowhere but into the request.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::support::{ALONE, Herd, herd};
use super::upstream::{Scene, THREE, Talk, Upstream, fault};

const KEY: &str = "AIzaSesame_0123456789";

/// A server with these arguments and this variable; with `@key` for a file that holds [`KEY`].
fn scene(
    arguments: &[&str],
    variable: Option<&str>,
    script: impl Fn(&mut Talk) + Send + Sync + 'static,
) -> Scene {
    let mut scene = Scene::unstarted(Upstream::start(script), arguments);
    let file = scene.herd.folder.write("key", format!(" {KEY}\r\n")).display().to_string();
    for argument in scene.herd.arguments.iter_mut().filter(|argument| *argument == "@key") {
        argument.clone_from(&file);
    }
    let variable = variable.map(|value| ("PLACES_API_KEY".to_owned(), value.to_owned()));
    scene.herd.environment.extend(variable);
    scene.herd.start_one("Solo");
    scene
}

/// What stands after the radius in the request.
fn sent(arguments: &[&str], variable: Option<&str>) -> String {
    let scene = scene(arguments, variable, |talk| talk.serve(THREE));
    assert_eq!(scene.places("10 20"), THREE);
    let request = scene.upstream.requests(1).remove(0);
    request.line().split_once("&radius=10000").unwrap().1.to_owned()
}

#[test]
fn it_comes_from_the_environment_or_a_file_and_the_file_wins() {
    let from_file = format!("&key={KEY} HTTP/1.1");
    assert_eq!(sent(&[], Some("from+env")), "&key=from%2Benv HTTP/1.1");
    assert_eq!(sent(&["--places-key-file", "@key"], None), from_file);
    assert_eq!(sent(&["--places-key-file", "@key"], Some("from+env")), from_file);
    assert_eq!(sent(&[], None), " HTTP/1.1");
    assert_eq!(sent(&[], Some("")), " HTTP/1.1");
}

#[test]
fn it_is_not_taken_from_the_command_line() {
    let output = herd(&["serve", "Solo", "--places-key", KEY]);
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("--places-key") && !error.contains(KEY), "{error}");
}

#[test]
fn one_that_cannot_be_used_is_refused_without_being_shown() {
    let here = Herd::new(ALONE);
    let topology = here.folder.path("topology.txt").display().to_string();
    for (text, words) in [
        (format!("{KEY}\r\nX-Evil: 1"), "byte 22 of the key is white space"),
        (String::new(), "the key is empty"),
        (KEY.repeat(200), "the key is longer than 4096 bytes"),
    ] {
        let file = here.folder.write("key", text).display().to_string();
        let output = herd(&["serve", "Solo", "--topology", &topology, "--places-key-file", &file]);
        assert_eq!(output.status.code(), Some(1));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(words) && error.contains(&file), "{error}");
        assert!(!error.contains("Sesame"), "{error}");
    }
}

#[test]
fn a_file_that_others_can_read_is_refused_with_the_command_that_mends_it() {
    let here = Herd::new(ALONE);
    let topology = here.folder.path("topology.txt").display().to_string();
    let file = here.folder.write("key", KEY);
    let shown = file.display().to_string();
    for mode in [0o644, 0o640, 0o604, 0o602] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let output = herd(&["serve", "Solo", "--topology", &topology, "--places-key-file", &shown]);
        assert_eq!(output.status.code(), Some(1));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(
            error.starts_with("herd: --places-key-file ") && !error.contains("Sesame"),
            "{error}"
        );
        assert!(error.ends_with(&format!("(mode {mode:03o}): chmod 600 {shown}\n")), "{error}");
    }
}

/// An upstream that says what it was asked wherever it can, except in the JSON itself.
fn telltale(talk: &mut Talk) {
    let redirect = format!("https://u:{KEY}@elsewhere.test/{KEY}?key={KEY}");
    let page = format!("<html>{KEY}</html>");
    let length = format!("Content-Length: {}", page.len());
    let answers = [
        format!("HTTP/1.1 302 Found\r\nLocation: {redirect}\r\n{length}\r\n\r\n{page}"),
        format!("HTTP/1.1 307 Over There\r\nLocation: /{KEY}\r\n{length}\r\n\r\n{page}"),
        format!("HTTP/1.1 500 No {KEY}\r\nX-Key: {KEY}\r\n{length}\r\n\r\n{page}"),
        format!("HTTP/1.1 200 OK\r\n{length}\r\n\r\n{page}"),
        format!("HTTP/1.1 200 OK\r\nContent-Length: {KEY}\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{KEY}\r\n"),
        format!("HTTP/1.1 200 OK\r\n{KEY}: {KEY}: \0\r\n\r\n"),
        format!("{KEY} 400 Bad Request\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{KEY}"),
    ];
    while let Some(request) = talk.request() {
        assert!(request.line().contains(KEY));
        let radius = request.line().split_once("radius=").unwrap().1.split_once('&').unwrap().0;
        let number: usize = radius.parse().unwrap();
        let Some(answer) = answers.get(number / 1000) else { return talk.close() };
        talk.send(answer);
        if number >= 4000 {
            return;
        }
    }
}

#[test]
fn it_is_in_no_reply_no_log_no_status_and_no_list_of_processes() {
    for (arguments, variable) in
        [(&["--places-key-file", "@key"] as &[&str], None), (&[], Some(KEY))]
    {
        let mut scene = scene(&[arguments, &["--log-level", "trace"]].concat(), variable, telltale);
        let mut seen = String::new();
        for radius in 0..=9 {
            let json = scene.places(&format!("{radius} 20"));
            assert!(json.contains("\"status\":\"UNKNOWN_ERROR\""), "{json}");
            seen += &json;
        }
        assert!(seen.contains("a redirect to host \\\"elsewhere.test\\\", which"), "{seen}");
        assert!(seen.contains("a redirect to the same host, which"), "{seen}");
        assert!(seen.ends_with(&fault("closed before any byte of the answer")), "{seen}");
        seen += &scene.herd.status("Solo").to_string();
        let process = scene.herd.process("Solo");
        seen += &fs::read_to_string(format!("/proc/{}/cmdline", process.child.id())).unwrap();
        process.signal("-TERM");
        assert_eq!(process.child.wait().unwrap().code(), Some(0));
        seen += &process.errors();
        let log = scene.herd.log("Solo");
        assert!(
            log.contains("places: google answered 302") && log.contains("has stopped"),
            "{log}"
        );
        seen += &log;
        assert!(!seen.contains("Sesame"), "{seen}");
    }
}
