//! What one client may take of a server, each bound with a client that goes past it.

use std::fmt::Write as _;
use std::net::Shutdown;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::*;
use crate::reactor::{Speech, TlsServer};
use crate::server::bounds::Bounds;

/// Fewer than a test's lines, so that it takes many turns.
const FEW: Bounds = Bounds {
    line_max_bytes: 100,
    lines_per_turn: 4,
    waiting_max: 2,
    waiting_in_all_max: 3,
    held_in_all_max_bytes: 1_000_000,
};

/// So many different lines, and the answers to them.
fn lines(count: usize) -> (String, String) {
    let (mut lines, mut answers) = (String::new(), String::new());
    for number in 0..count {
        writeln!(lines, "{number}").unwrap();
        writeln!(answers, "? {number}").unwrap();
    }
    (lines, answers)
}

/// What comes until the server closes, and how much of it had come when `other` heard something.
fn hears_all(scene: &mut Scene, other: &mut TcpStream) -> (String, usize) {
    let (mut text, mut before) = (String::new(), None);
    loop {
        scene.turn();
        let (more, closed) = scene.hears();
        text += &more;
        if before.is_none() && matches!(other.read(&mut [0; 64]), Ok(1..)) {
            before = Some(text.len());
        }
        if closed {
            return (text, before.expect("the other one is answered too"));
        }
    }
}

#[test]
fn a_report_may_be_as_long_as_any_line_and_no_longer() {
    let mut scene = Scene::with(FEW, Speech::Plain);
    let report =
        |bytes: usize| format!("IAMAT {} +1+1 1", "k".repeat(bytes - "IAMAT  +1+1 1".len()));
    let longest = report(FEW.line_max_bytes);
    scene.says(&format!("{longest}\n"));
    let fields = longest.strip_prefix("IAMAT").unwrap();
    scene.assert_hears(&format!("AT Solo -1.000000000{fields}\n"), false);
    let too_long = report(FEW.line_max_bytes + 1);
    scene.says(&format!("{too_long}\n"));
    scene.assert_hears(&format!("? {}...\n", &too_long[..64]), true);
}

#[test]
fn a_client_with_many_lines_is_answered_in_order_and_others_between_them() {
    let mut scene = Scene::with(FEW, Speech::Plain);
    scene.settle();
    let mut other = connect(scene.port);
    let (lines, answers) = lines(400);
    scene.client.write_all(lines.as_bytes()).unwrap();
    // The end lies right behind them, and the last of them has no LF.
    scene.client.write_all(b"last").unwrap();
    scene.client.shutdown(Shutdown::Write).unwrap();
    other.write_all(b"me\n").unwrap();
    let (heard, before) = hears_all(&mut scene, &mut other);
    assert_eq!(heard, answers + "? last\n");
    assert!(before < heard.len() / 2, "the other one had to wait for {before} bytes");
}

#[test]
fn a_turn_answers_so_many_lines_and_no_more() {
    let mut scene = Scene::with(FEW, Speech::Plain);
    scene.settle();
    let (lines, answers) = lines(40);
    scene.client.write_all(lines.as_bytes()).unwrap();
    let mut turns = 0;
    let mut text = String::new();
    while text != answers {
        scene.turn();
        let (more, _) = scene.hears();
        assert!(more.lines().count() <= FEW.lines_per_turn, "{more:?}");
        turns += usize::from(!more.is_empty());
        text += &more;
    }
    assert!(turns >= 10, "{turns}");
}

/// However many answers come for which a connection has waited, each of which lets it go on.
#[test]
fn a_turn_answers_no_more_lines_because_answers_have_come() {
    let few = Bounds { waiting_max: 32, waiting_in_all_max: 32, ..FEW };
    let mut scene = Scene::with(few, Speech::Plain);
    scene.says("IAMAT k +1+1 1\n");
    scene.hears();
    let (lines, answers) = lines(4000);
    scene.client.write_all(b"WHATSAT k 1 1\n".repeat(12).as_slice()).unwrap();
    scene.client.write_all(lines.as_bytes()).unwrap();
    let mut text = String::new();
    let mut counts = Vec::new();
    while !text.ends_with(&answers) {
        scene.turn();
        let (more, _) = scene.hears();
        counts.push(more.lines().filter(|line| line.starts_with("? ")).count());
        text += &more;
    }
    // The first of them bring all that stood behind the questions.
    counts.retain(|count| *count > 0);
    let most = counts.iter().skip(1).max().unwrap();
    assert!(counts.len() > 100 && *most <= few.lines_per_turn, "{most} of {}", counts.len());
}

#[test]
fn answers_that_nobody_takes_keep_the_rest_waiting_and_none_is_lost() {
    let mut scene = Scene::with(Bounds { lines_per_turn: 16, ..Bounds::default() }, Speech::Plain);
    scene.settle();
    let lines: Vec<String> = (0..10_000).map(|number| format!("{number:0>999}\n")).collect();
    let lines = lines.concat();
    let mut unsent = lines.as_bytes();
    let mut stuck = 0;
    while stuck < 100 {
        match scene.client.write(unsent) {
            Ok(length) => (unsent, stuck) = (&unsent[length..], 0),
            Err(_) => stuck += 1,
        }
        scene.turn();
    }
    assert!(!unsent.is_empty(), "there is no end to what the server takes");
    let mut text = String::new();
    while text.len() < lines.len() + 2 * 10_000 {
        if let Ok(length) = scene.client.write(unsent) {
            unsent = &unsent[length..];
        }
        scene.turn();
        text += &scene.hears().0;
    }
    let answers = lines.lines().map(|line| format!("? {line}\n"));
    assert!(text == answers.collect::<String>(), "something is lost or out of order");
}

#[test]
fn over_tls_the_end_is_obeyed_only_when_all_is_answered() {
    answered_over_tls(&lines(400).0, |session| session.send_close_notify());
}

/// As many TLS clients end their input. What stands behind the last LF may have been cut off.
#[test]
fn over_tls_a_bare_fin_is_obeyed_when_all_complete_lines_are_answered() {
    answered_over_tls(&(lines(400).0 + "IAMAT cut +1+1 1"), |_| {});
}

/// Says this and then the end in a way of its own, and after that the FIN. Checks the 400 answers.
fn answered_over_tls(said: &str, end: impl Fn(&mut ClientConnection)) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let tls = TlsServer::new(vec![made.cert.der().to_vec()], made.signing_key.serialize_der());
    let mut scene = Scene::with(FEW, Speech::Either(tls.unwrap()));
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let mut session = ClientConnection::new(Arc::new(config), name).unwrap();
    let (_, answers) = lines(400);
    let (mut said_all, mut finished) = (false, false);
    let mut text = Vec::new();
    loop {
        scene.turn();
        if session.wants_read() {
            match session.read_tls(&mut scene.client) {
                Ok(_) => drop(session.process_new_packets().unwrap()),
                Err(e) => assert_eq!(e.kind(), ErrorKind::WouldBlock),
            }
        }
        if !session.is_handshaking() && !said_all {
            said_all = true;
            session.writer().write_all(said.as_bytes()).unwrap();
            end(&mut session);
        }
        while session.wants_write() {
            session.write_tls(&mut scene.client).unwrap();
        }
        if said_all && !finished {
            finished = true;
            scene.client.shutdown(Shutdown::Write).unwrap();
        }
        // `Ok` is the end by TLS's own word; an end without it would be an error of another kind.
        match session.reader().read_to_end(&mut text) {
            Ok(_) => break,
            Err(e) => assert_eq!(e.kind(), ErrorKind::WouldBlock),
        }
    }
    assert_eq!(String::from_utf8(text).unwrap(), answers);
}

#[test]
fn a_connection_that_is_lost_takes_what_it_had_not_been_answered_with_it() {
    let mut scene = Scene::with(FEW, Speech::Plain);
    scene.settle();
    let mut lost = connect(scene.port);
    lost.write_all(lines(400).0.as_bytes()).unwrap();
    scene.turn();
    // Closing with unread input resets the connection.
    while scene.reactor.app().clients < 2 || lost.peek(&mut [0; 1]).is_err() {
        scene.turn();
    }
    drop(lost);
    while scene.reactor.app().clients > 1 {
        scene.turn();
    }
    scene.says("still here\n");
    scene.assert_hears("? still here\n", false);
}

#[test]
fn a_line_that_waits_behind_others_is_not_late() {
    let mut scene = Scene::with(FEW, Speech::Plain);
    scene.settle();
    let (lines, answers) = lines(40);
    scene.client.write_all(format!("{lines}begun").as_bytes()).unwrap();
    // It begins when its turn has come, which is what a minute is counted from.
    scene.at(50_000);
    let mut text = String::new();
    while text != answers {
        scene.turn();
        text += &scene.hears().0;
    }
    scene.at(109_000);
    scene.says(" in time\n");
    scene.assert_hears("? begun in time\n", false);
}

#[test]
fn a_line_that_begins_where_a_turns_share_ends_has_a_minute_of_its_own() {
    let mut scene = Scene::with(FEW, Speech::Plain);
    scene.says("begun");
    scene.at(59_000);
    // As many lines as a turn answers, and the beginning of one more.
    scene.says(" and ended\n\n\n\nbegun later");
    scene.assert_hears("? begun and ended\n? \n? \n? \n", false);
    scene.at(118_999);
    scene.assert_hears("", false);
    scene.at(119_000);
    scene.assert_hears("? begun later...\n", true);
}

#[test]
fn a_line_may_be_as_long_as_the_bounds_say() {
    let mut scene = Scene::with(FEW, Speech::Plain);
    let line = "x".repeat(FEW.line_max_bytes);
    scene.says(&format!("{line}\n"));
    scene.assert_hears(&format!("? {line}\n"), false);
    scene.says(&format!("{line}y\nnot heard\n"));
    scene.assert_hears(&format!("? {}...\n", "x".repeat(64)), true);
}

/// The upstream cannot be reached, which takes some turns to be found out.
#[test]
fn so_many_questions_of_a_connection_wait_and_so_many_in_all() {
    let mut scene = Scene::with(FEW, Speech::Plain);
    scene.says("IAMAT k +1+1 1\n");
    let (at, _) = scene.hears();
    let mut other = connect(scene.port);
    scene.settle();
    scene.client.write_all(b"WHATSAT k 1 1\n".repeat(3).as_slice()).unwrap();
    other.write_all(b"WHATSAT k 1 1\n".repeat(3).as_slice()).unwrap();
    scene.settle();
    let mut text = scene.hears().0;
    let mut others = String::new();
    while text.matches("OVER").count() + others.matches("OVER").count() < 3 {
        scene.turn();
        text += &scene.hears().0;
        let mut buffer = [0; 4096];
        if let Ok(length) = other.read(&mut buffer) {
            others += std::str::from_utf8(&buffer[..length]).unwrap();
        }
    }
    let of = |text: &str| -> Vec<bool> {
        let parts = text.split_terminator("\n\n").map(|part| part.strip_prefix(&at).unwrap());
        parts.map(|json| json.contains("OVER_QUERY_LIMIT")).collect()
    };
    // The newest of the connection that has most gives way to one that has fewer.
    assert!(text.contains("this server has too many questions waiting"));
    assert!(others.contains("too many questions of this connection are waiting"));
    assert_eq!((of(&text), of(&others)), (vec![false, true, true], vec![false, false, true]));
}

/// It is sent with the answer to the line before it.
#[test]
fn that_the_upstream_refuses_is_told_in_the_turn_in_which_it_is_asked() {
    let mut scene = Scene::with(FEW, Speech::Plain);
    scene.says("IAMAT k +1+1 1\n");
    let (at, _) = scene.hears();
    scene.client.write_all(b"WHATSAT k 1 1\n").unwrap();
    let mut first = String::new();
    while !first.ends_with("\n\n") {
        scene.turn();
        first += &scene.hears().0;
    }
    assert!(first.starts_with(&at) && first.contains("refused"), "{first}");
    // More of them than may wait, as none does.
    scene.client.write_all(b"one\nWHATSAT k 1 1\nWHATSAT k 2 1\nWHATSAT k 3 1\n").unwrap();
    let mut told = String::new();
    while told.is_empty() {
        scene.turn();
        told = scene.hears().0;
    }
    assert_eq!(told, format!("? one\n{first}{first}{first}"));
}

/// With the reactor's part of it, and the allocator's own words, an idle connection is to stay below 256
/// bytes: one more word here is 16 of them, for the allocator deals in sixteens.
#[test]
fn an_idle_client_is_forty_bytes() {
    assert_eq!(size_of::<Client>(), 40);
}
