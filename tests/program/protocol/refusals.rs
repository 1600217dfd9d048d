//! Everything that is no command: the copy of the line, what only a neighbour may say, and browsers.

use super::{assert_none_is_a_command, exchange, solo};
use crate::support::{ALFORD, Herd};

#[test]
fn the_answer_to_an_invalid_command_is_a_copy_of_its_bytes() {
    let herd = solo();
    for line in [
        &b"WHO kiwi"[..],
        b"  IAMAT \t kiwi  ",
        b"\ttabs\tand\x0b\x0c",
        b"a carriage return \r within",
        b"\0\x01\x1b[2J\x7f",
        b"\x80\xc3\x28\xfe\xff",
        "h\u{e9}rde \u{202e}".as_bytes(),
        b"? x",
        b" ",
        b"IAMAT kiwi.cs. .edu 10 5",
    ] {
        let copy = [b"? ", line, b"\n"].concat();
        assert_eq!(exchange(&herd, [line, b"\n"].concat()), copy);
        assert_eq!(exchange(&herd, [line, b"\r\n"].concat()), copy, "with CRLF");
    }
    assert_eq!(exchange(&herd, b"one CR goes with the LF\r\r\n"), b"? one CR goes with the LF\r\n");
}

#[test]
fn an_empty_line_is_an_invalid_command() {
    assert_eq!(exchange(&solo(), "\n\r\n\n"), b"? \n? \n? \n");
}

/// Alford of the default herd, alone: its neighbours are not running, and live at the address that all
/// tests come from.
fn alford() -> Herd {
    let mut herd = Herd::new(ALFORD);
    herd.start_one("Alford");
    herd
}

#[test]
fn what_only_neighbours_say_is_invalid_from_anybody_else() {
    let herd = alford();
    let said = [
        "AT Hamilton +0.000000000 kiwi +1+1 1",
        "AT Alford +0.000000000 kiwi +1+1 1",
        "MARK 43",
        "HERE 43",
        "RESUME 00c0ffee00c0ffee 42",
        "WHATSAT kiwi 1 1",
    ]
    .map(str::to_owned);
    assert_none_is_a_command(&herd, &said);
    // As a connection's first line too.
    for line in said {
        assert_none_is_a_command(&herd, &[line]);
    }
    assert_eq!(herd.status("Alford")["records"], 0);
}

#[test]
fn a_hello_that_proves_nothing_opens_nothing() {
    let herd = alford();
    let at = "AT Hamilton +0.000000000 kiwi +1+1 1".to_owned();
    for hello in [
        "HELLO 1 Ball 00c0ffee00c0ffee",
        "HELLO 1 Alford 00c0ffee00c0ffee",
        "HELLO 1 Nobody 00c0ffee00c0ffee",
        "HELLO 9 Hamilton 00c0ffee00c0ffee",
        "HELLO 1 Hamilton",
        "HELLO",
    ] {
        assert_none_is_a_command(&herd, &[hello.to_owned(), at.clone()]);
    }
    // A neighbour says who it is in its first line or not at all.
    let late = "HELLO 1 Hamilton 00c0ffee00c0ffee".to_owned();
    assert_none_is_a_command(&herd, &["x".to_owned(), late, at]);
    assert_eq!(herd.status("Alford")["records"], 0);
}

#[test]
fn a_browser_gets_one_line_and_is_closed() {
    let herd = solo();
    for first in [
        "GET / HTTP/1.1",
        "POST /a?b=c HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "CONNECT 127.0.0.1:443 HTTP/1.1",
        "PRI * HTTP/2.0",
        "GET / HTTP/1.0",
        "Host: localhost:11550",
        "host:localhost",
        "User-Agent: Mozilla/5.0",
        "Sec-Fetch-Mode: no-cors",
        "Origin: http://example.org",
    ] {
        let body = "IAMAT kiwi +1+1 1\r\nIAMAT kiwi +1+1 1\n";
        let request = format!("{first}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        assert_eq!(exchange(&herd, request), format!("? {first}\n").as_bytes());
        // Closed by the server, whatever the browser waits for.
        let mut client = herd.connect("Solo");
        client.send(format!("{first}\r\n"));
        assert_eq!(client.rest(), format!("? {first}\n"));
    }
    assert_eq!(herd.status("Solo")["records"], 0);
}

#[test]
fn only_a_first_line_makes_a_browser() {
    let herd = solo();
    let said = "hello there\nGET / HTTP/1.1\nHost: localhost\nIAMAT kiwi +1+1 1\n";
    let replies = String::from_utf8(exchange(&herd, said)).unwrap();
    let lines: Vec<&str> = replies.lines().collect();
    assert_eq!(lines[..3], ["? hello there", "? GET / HTTP/1.1", "? Host: localhost"]);
    assert!(lines[3].ends_with(" kiwi +1+1 1"), "{replies}");
}

#[test]
fn nor_does_a_line_behind_a_report() {
    let herd = solo();
    let said = "IAMAT kiwi +1+1 1\nGET / HTTP/1.1\nIAMAT kiwi +1+1 2\n";
    let replies = String::from_utf8(exchange(&herd, said)).unwrap();
    let lines: Vec<&str> = replies.lines().collect();
    assert_eq!((lines.len(), lines[1]), (3, "? GET / HTTP/1.1"), "{replies}");
    assert!(lines[0].ends_with(" kiwi +1+1 1") && lines[2].ends_with(" kiwi +1+1 2"), "{replies}");
}

#[test]
fn a_client_that_is_refused_may_go_on() {
    let herd = solo();
    let mut client = herd.connect("Solo");
    for _ in 0..100 {
        assert_eq!(client.ask("WHO"), "? WHO");
    }
    assert!(client.ask("IAMAT kiwi +1+1 1").starts_with("AT Solo +"));
}
