//! Everything that an upstream can do wrong. The asker is told which in Places' own shape, after the AT
//! line, while other clients are served as if nothing were the matter.

use std::io::{Read, Write};

use super::support::{ALONE, Client, Herd, free_ports};
use super::upstream::{
    Gate, Identity, PLACE, Scene, THREE, Talk, Upstream, Wire, fault, has_heard,
};

/// Another client is answered, and the asker has not been yet: order of events, not of clocks.
fn others_are_served(scene: &Scene, asker: &mut Client) {
    let mut other = scene.herd.connect("Solo");
    for time in 1..4 {
        let reply = other.ask(&format!("IAMAT other +1+1 {time}"));
        assert!(reply.starts_with("AT Solo +") && reply.ends_with(&time.to_string()), "{reply}");
    }
    assert!(!has_heard(asker), "the fault was faster than it can be");
}

/// Asks; sees others served while the upstream holds the connection; opens the gate; and has the fault.
fn told(scene: &Scene, gate: &Gate) -> String {
    let mut asker = scene.client();
    asker.send("WHATSAT kiwi 10 5\n");
    scene.upstream.wait_for_connections(1);
    others_are_served(scene, &mut asker);
    gate.open();
    let json = told_to(&mut asker);
    // Whoever reads the log is told the same.
    let error: serde_json::Value = serde_json::from_str(&json).unwrap();
    if let Some(words) = error["error_message"].as_str() {
        scene.herd.wait_for_log("Solo", words.strip_prefix("places: ").unwrap());
    }
    json
}

/// The JSON of the next reply, which must have the AT line before it.
fn told_to(asker: &mut Client) -> String {
    let (at_line, json) = asker.places_reply();
    assert!(at_line.starts_with("AT Solo +"), "{at_line}");
    assert!(at_line.ends_with(" kiwi +34.068930-118.445127 1479413884.392014450"), "{at_line}");
    // The connection goes on.
    assert!(asker.ask("nonsense").starts_with("? nonsense"));
    json
}

/// What is told when the upstream does this with the first request.
fn told_after(script: impl Fn(&mut Talk) + Send + Sync + 'static) -> String {
    told_within(&[], script)
}

fn told_within(arguments: &[&str], script: impl Fn(&mut Talk) + Send + Sync + 'static) -> String {
    let gate = Gate::default();
    let shut = gate.clone();
    let scene = Scene::new(arguments, move |talk| {
        if talk.request().is_some() {
            shut.wait();
            script(talk);
        }
    });
    told(&scene, &gate)
}

/// The same for an upstream that does not get as far as TLS.
fn told_without_tls(script: impl Fn(Wire) + Send + Sync + 'static) -> String {
    let gate = Gate::default();
    let shut = gate.clone();
    let mut upstream = Upstream::start_raw(move |wire| {
        shut.wait();
        script(wire);
    });
    upstream.pem = Identity::new("localhost").pem;
    told(&Scene::on(upstream, &[]), &gate)
}

/// What is told when there is nobody at a port of this host.
fn told_at(host: &str) -> String {
    let mut herd = Herd::new(ALONE);
    let port = free_ports(1)[0];
    herd.arguments = vec!["--places".to_owned(), format!("https://{host}:{port}")];
    herd.start_one("Solo");
    let (mut asker, mut other) = (herd.connect("Solo"), herd.connect("Solo"));
    assert!(asker.ask(&format!("IAMAT kiwi {PLACE} 1479413884.392014450")).starts_with("AT Solo"));
    asker.send("WHATSAT kiwi 10 5\n");
    assert!(other.ask("IAMAT other +1+1 1").starts_with("AT Solo +"));
    told_to(&mut asker)
}

/// What is told after an answer that is sent whole.
fn told_of(answer: impl Into<Vec<u8>>) -> String {
    let answer = answer.into();
    told_after(move |talk| {
        talk.send(&answer);
        talk.wait_for_end();
    })
}

#[test]
fn refused() {
    assert_eq!(told_at("127.0.0.1"), fault("connection refused"));
}

#[test]
fn an_untrusted_certificate() {
    let other = Identity::new("localhost");
    let json =
        told_without_tls(move |wire| wire.speak(&other, &|talk: &mut Talk| talk.serve(THREE)));
    assert_eq!(json, fault("the server's certificate is not signed by a trusted authority"));
}

#[test]
fn a_certificate_that_the_web_does_not_trust() {
    let gate = Gate::default();
    let (shut, identity) = (gate.clone(), Identity::new("localhost"));
    let upstream = Upstream::start_raw(move |wire| {
        shut.wait();
        wire.speak(&identity, &|talk: &mut Talk| talk.serve(THREE));
    });
    let json = told(&Scene::on(upstream, &[]), &gate);
    assert_eq!(json, fault("the server's certificate is not signed by a trusted authority"));
}

#[test]
fn an_authoritys_own_certificate() {
    let authority = Identity::of_authority("localhost");
    let pem = authority.pem.clone();
    let gate = Gate::default();
    let shut = gate.clone();
    let mut upstream = Upstream::start_raw(move |wire| {
        shut.wait();
        wire.speak(&authority, &|talk: &mut Talk| talk.serve(THREE));
    });
    upstream.pem = pem;
    let json = told(&Scene::on(upstream, &[]), &gate);
    let words = "is an authority's own, which may sign but not speak for a server";
    assert_eq!(json, fault(&format!("the server's certificate {words}")));
}

#[test]
fn a_certificate_for_another_name() {
    let gate = Gate::default();
    let (shut, other) = (gate.clone(), Identity::new("maps.googleapis.com"));
    let pem = other.pem.clone();
    let mut upstream = Upstream::start_raw(move |wire| {
        shut.wait();
        wire.speak(&other, &|talk: &mut Talk| talk.serve(THREE));
    });
    upstream.pem = pem;
    let json = told(&Scene::on(upstream, &[]), &gate);
    assert_eq!(json, fault("the server's certificate is for another name"));
}

#[test]
fn a_name_that_has_no_address() {
    let json = told_at("no-such-host.invalid");
    let start = fault("the name cannot be looked up: ");
    assert!(json.starts_with(start.strip_suffix("\"}\n").unwrap()), "{json}");
}

#[test]
fn silence_before_tls() {
    let json =
        told_without_tls(|mut wire| while wire.stream.read(&mut [0; 999]).is_ok_and(|n| n > 0) {});
    assert_eq!(json, fault("TLS was not agreed in time"));
}

#[test]
fn silence_after_tls() {
    assert_eq!(told_after(Talk::wait_for_end), fault("no answer within 5 s"));
}

#[test]
fn one_byte_at_a_time_for_ever() {
    let drip = |talk: &mut Talk| {
        talk.send("HTTP/1.1 200 OK\r\n\r\n");
        while talk.send(" ") {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    };
    let json = told_within(&["--places-timeout", "2.5"], drip);
    assert_eq!(json, fault("no complete answer within 2.5 s"));
}

#[test]
fn a_connection_that_dies_in_the_middle_of_the_body() {
    let json = told_after(|talk| {
        talk.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"results\":[");
    });
    assert_eq!(json, fault("closed after 12 of the 100 bytes of the answer"));
}

#[test]
fn a_cut_chunk() {
    let json = told_after(|talk| {
        talk.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"res\r\n");
    });
    assert_eq!(json, fault("closed after 5 bytes of the answer, before its last chunk"));
}

/// What is told of an answer whose end only the connection's end shows, without TLS's `close_notify`.
fn told_of_cut(answer: String) -> String {
    told_after(move |talk| {
        talk.send(&answer);
        talk.cut();
        talk.wait_for_end();
    })
}

#[test]
fn a_cut_that_could_pass_for_the_end() {
    // Whatever the cut leaves, it is never taken for an answer.
    let words = "the peer hung up without TLS's close_notify";
    for cut in ["", "{", "{\"results\":[1]", "{\"results\":[1],\"status\":\"OK\""] {
        assert_eq!(told_of_cut(format!("HTTP/1.1 200 OK\r\n\r\n{cut}")), fault(words), "{cut:?}");
    }
}

#[test]
fn an_end_without_close_notify_is_the_end_of_a_whole_answer() {
    assert_eq!(told_of_cut(format!("HTTP/1.1 200 OK\r\n\r\n{THREE}")), THREE);
    assert_eq!(told_of_cut(format!("HTTP/1.0 200 OK\r\nConnection: close\r\n\r\n{THREE}")), THREE);
    // Of a refusal the status says enough.
    assert_eq!(told_of_cut("HTTP/1.1 500 Oh\r\n\r\n<html".to_owned()), fault("answered 500"));
}

#[test]
fn an_end_before_the_answer() {
    assert_eq!(told_after(|_| ()), fault("closed before any byte of the answer"));
    let json = told_after(|talk| _ = talk.send("HTTP/1.1 200 OK\r\nContent-"));
    assert_eq!(json, fault("closed in the middle of the answer's head"));
}

#[test]
fn an_answer_that_says_it_is_too_large() {
    let json = told_of(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", (1 << 20) + 1));
    assert_eq!(json, fault("the answer is longer than 1048576 bytes"));
}

#[test]
fn an_answer_that_turns_out_too_large() {
    for head in ["", "Transfer-Encoding: chunked\r\n"] {
        let json = told_after(move |talk| {
            talk.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n"));
            let (text, chunk) =
                (" ".repeat(1 << 16), format!("10000\r\n{}\r\n", " ".repeat(1 << 16)));
            while talk.send(if head.is_empty() { &text } else { &chunk }) {}
        });
        assert_eq!(json, fault("the answer is longer than 1048576 bytes"), "{head}");
    }
}

#[test]
fn no_json() {
    let page = "<!DOCTYPE html><title>Welcome to the hotel's network</title>";
    let json = told_of(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{page}", page.len()));
    assert_eq!(json, fault("the answer is not JSON (line 1, column 1)"));
}

#[test]
fn json_that_is_not_what_was_promised() {
    let json = told_of("HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{\"results\":{}}");
    assert_eq!(json, fault("the answer's \\\"results\\\" is not a list"));
}

#[test]
fn a_status_other_than_200() {
    let secret = "Content-Length: 6\r\n\r\nsecret";
    for (status, words) in [
        ("500 Internal Server Error", "answered 500"),
        ("403 Forbidden", "answered 403 (the key may not use this service)"),
        ("429 Too Many Requests", "answered 429 (too many requests)"),
        ("204 No Content", "answered 204"),
    ] {
        assert_eq!(told_of(format!("HTTP/1.1 {status}\r\n{secret}")), fault(words), "{status}");
    }
}

#[test]
fn a_redirect_is_not_followed_and_only_its_host_is_named() {
    let elsewhere = Upstream::start_raw(drop);
    let target = format!("https://localhost:{}/?key=sesame", elsewhere.port);
    let head = format!("HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n");
    let host = format!("localhost:{}", elsewhere.port);
    let words = format!("answered 302, a redirect to host \\\"{host}\\\", which is not followed");
    assert_eq!(told_of(head), fault(&words));
    assert_eq!(elsewhere.accepted(), 0);
}

#[test]
fn garbage_instead_of_tls() {
    let json = told_without_tls(|mut wire| {
        let _ = wire.stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\nThis is plain HTTP.\r\n");
        while wire.stream.read(&mut [0; 999]).is_ok_and(|length| length > 0) {}
    });
    assert!(json.contains("\"error_message\":\"places: TLS: "), "{json}");
}

#[test]
fn an_end_instead_of_tls() {
    let json = told_without_tls(|mut wire| drop(wire.stream.read(&mut [0; 9999])));
    assert_eq!(json, fault("the peer hung up during the TLS handshake"));
    // Closing with unread input is a reset.
    assert_eq!(told_without_tls(drop), fault("connection reset by peer"));
}

#[test]
fn garbage_instead_of_http() {
    assert_eq!(told_of("SSH-2.0-OpenSSH_9.6\r\n"), fault("the answer is not HTTP/1"));
    let json = told_of("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}");
    assert_eq!(json, fault("the answer has more than one Content-Length"));
}

#[test]
fn a_compressed_answer() {
    let json =
        told_of("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\n\x1f");
    assert_eq!(json, fault("the answer is compressed, which was not asked for"));
}

#[test]
fn a_coding_that_is_none() {
    let told = |coding: &str| {
        let length = THREE.len();
        let head = format!("Content-Encoding: {coding}\r\nContent-Length: {length}\r\n\r\n");
        told_of(format!("HTTP/1.1 200 OK\r\n{head}{THREE}"))
    };
    let words = "the answer's Content-Encoding names no coding that HTTP has";
    assert_eq!(told("utf-8"), fault(words));
    assert_eq!(told(""), THREE);
    assert_eq!(told("identity"), THREE);
}

#[test]
fn a_folded_field_is_no_fault() {
    let length = THREE.len();
    let fields = "X: a\r\n  b;\r\n\tc\r\nContent-Length:\r\n ";
    assert_eq!(told_of(format!("HTTP/1.1 200 OK\r\n{fields}{length}\r\n\r\n{THREE}")), THREE);
}

#[test]
fn a_switch_to_another_protocol() {
    let json = told_of("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n");
    assert_eq!(json, fault("the answer switches to another protocol, which was not asked for"));
}

#[test]
fn the_next_question_after_a_fault_is_answered() {
    let scene = Scene::new(&[], |talk| {
        if talk.number == 1 {
            talk.request();
            talk.send("garbage");
            talk.wait_for_end();
        }
        talk.serve(THREE);
    });
    assert_eq!(scene.places("10 20"), fault("the answer is not HTTP/1"));
    assert_eq!(scene.places("10 20"), THREE);
}
