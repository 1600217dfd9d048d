//! Lines: what separates fields, what ends a line, how long it may be, and in how many pieces it may
//! come.

use std::io::Write;
use std::net::Shutdown;

use super::{exchange, has_heard_nothing, solo};
use crate::support::{Herd, eventually};

/// The longest line, without its LF.
const LINE_MAX_BYTES: usize = 16_384;

/// What comes back for a line of `x` that is too long.
fn cut_off() -> Vec<u8> {
    [&b"? "[..], &[b'x'; 64], b"...\n"].concat()
}

#[test]
fn fields_are_apart_by_any_white_space_and_both_ends_are_trimmed() {
    let herd = solo();
    let mut client = herd.connect("Solo");
    for white in [" ", "\t", "\r", "\x0b", "\x0c", "  ", " \t\r\x0b\x0c ", "\r\0"] {
        let line = ["", "IAMAT", "kiwi", "+1+1", "1", ""].join(white);
        let reply = client.ask(&line);
        assert!(reply.starts_with("AT Solo +") && reply.ends_with(" kiwi +1+1 1"), "{line:?}");
    }
    for ordinary in ["\0", "\x1c", "\u{a0}", "\u{2003}", "_"] {
        let line = ["IAMAT", "kiwi", "+1+1", "1"].join(ordinary);
        assert_eq!(client.ask(&line), format!("? {line}"));
    }
}

#[test]
fn crlf_ends_a_line_as_lf_does() {
    let herd = solo();
    let mut client = herd.connect("Solo");
    let reply = client.ask("IAMAT kiwi +1+1 1\r");
    assert!(reply.ends_with(" kiwi +1+1 1"), "{reply:?}");
    assert_eq!(client.ask("WHO kiwi\r"), "? WHO kiwi");
    assert_eq!(client.ask("\r"), "? ");
}

#[test]
fn command_words_are_upper_case() {
    let herd = solo();
    let mut client = herd.connect("Solo");
    client.ask("IAMAT kiwi +1+1 1");
    for line in ["iamat kiwi +1+1 2", "Iamat kiwi +1+1 2", "whatsat kiwi 1 1", "WhatIsAt kiwi 1 1"]
    {
        assert_eq!(client.ask(line), format!("? {line}"));
    }
}

#[test]
fn nothing_but_replies_is_ever_sent() {
    let herd = solo();
    assert_eq!(exchange(&herd, b""), b"");
    let mut silent = herd.connect("Solo");
    // The server has accepted it and had every turn it needs to say something.
    let clients = || herd.status("Solo")["clients"].as_u64();
    eventually("the server has seen the client", || (clients() == Some(1)).then_some(()));
    assert!(has_heard_nothing(&silent));
    assert_eq!(silent.ask("x"), "? x");
    assert_eq!(exchange(&herd, b"a\nb\n"), b"? a\n? b\n");
}

#[test]
fn any_number_of_commands_may_come_in_one_segment() {
    let commands = |i| format!("IAMAT k{i} +1+1 {i}\nno {i}\n");
    let sent: String = (0..1000).map(commands).collect();
    let replies = String::from_utf8(exchange(&solo(), sent)).unwrap();
    let replies: Vec<&str> = replies.lines().collect();
    assert_eq!(replies.len(), 2000);
    for (i, pair) in replies.chunks(2).enumerate() {
        assert!(pair[0].starts_with("AT Solo +"), "{pair:?}");
        assert!(pair[0].ends_with(&format!(" k{i} +1+1 {i}")), "{pair:?}");
        assert_eq!(pair[1], format!("? no {i}"));
    }
}

#[test]
fn one_command_may_come_in_any_number_of_segments() {
    let herd = solo();
    let mut client = herd.connect("Solo");
    let command = "IAMAT kiwi +1+1 1\r\n";
    for byte in command.bytes() {
        client.send([byte]);
    }
    assert!(client.text_line().ends_with(" kiwi +1+1 1"));
    for cut in 1..command.len() {
        let (first, second) = command.split_at(cut);
        client.send(first);
        // When STATUS is answered, what was sent before it was asked has been read.
        herd.status("Solo");
        client.send(second);
        assert!(client.text_line().ends_with(" kiwi +1+1 1"), "cut at {cut}");
    }
}

#[test]
fn a_last_line_without_lf_counts() {
    let herd = solo();
    assert_eq!(exchange(&herd, "one\ntwo"), b"? one\n? two\n");
    let reply = String::from_utf8(exchange(&herd, "IAMAT kiwi +1+1 1")).unwrap();
    assert!(reply.starts_with("AT Solo +") && reply.ends_with(" kiwi +1+1 1\n"), "{reply}");
    assert!(herd.wait_until_known("Solo", "kiwi").ends_with(" kiwi +1+1 1"));
}

#[test]
fn replies_that_fit_no_buffer_all_arrive_after_a_half_close() {
    const COUNT: usize = 20_000;
    let herd = solo();
    let mut client = herd.connect("Solo");
    let mut sender = client.stream.try_clone().unwrap();
    let padding = "x".repeat(500);
    let line = move |i: usize| format!("{i} {padding}");
    let lines = line.clone();
    // Ten megabytes: the server must stop reading until the client reads, and then go on.
    let sending = std::thread::spawn(move || {
        for i in 0..COUNT {
            sender.write_all(format!("{}\n", lines(i)).as_bytes()).unwrap();
        }
        sender.shutdown(Shutdown::Write).unwrap();
    });
    for i in 0..COUNT {
        assert_eq!(client.text_line(), format!("? {}", line(i)));
    }
    sending.join().unwrap();
    assert_eq!(client.rest(), "");
}

#[test]
fn a_line_of_16384_bytes_is_a_line() {
    let herd = solo();
    let rest = " +1+1 1";
    let id = "k".repeat(LINE_MAX_BYTES - "IAMAT ".len() - rest.len());
    let line = format!("IAMAT {id}{rest}");
    assert_eq!(line.len(), LINE_MAX_BYTES);
    let mut client = herd.connect("Solo");
    assert!(client.ask(&line).ends_with(&format!(" {id}{rest}")));
    let known = client.ask(&format!("WHATSAT {id} 1 1"));
    assert!(known.ends_with(&format!(" {id}{rest}")));
    let line = "x".repeat(LINE_MAX_BYTES);
    assert_eq!(
        exchange(&herd, format!("{line}\nnext\n")),
        format!("? {line}\n? next\n").as_bytes()
    );
    assert_eq!(exchange(&herd, &line), format!("? {line}\n").as_bytes());
}

#[test]
fn a_longer_line_is_cut_off_and_the_connection_closed() {
    let herd = solo();
    let line = "x".repeat(LINE_MAX_BYTES + 1);
    assert_eq!(
        exchange(&herd, format!("one\n{line}\nnext\n")),
        [b"? one\n", &cut_off()[..]].concat()
    );
    // The byte too many decides, whether an LF comes or not, and without a half-close.
    let mut client = herd.connect("Solo");
    client.send(&line);
    assert_eq!(client.rest().as_bytes(), cut_off());
}

#[test]
fn the_reply_to_a_line_that_is_cut_off_survives_a_client_that_goes_on_sending() {
    let herd = solo();
    let mut client = herd.connect("Solo");
    let chunk = vec![b'x'; 64 * 1024];
    client.send(&chunk);
    // The reply is here. A server that closed now without listening on would answer what still
    // comes with a reset.
    client.stream.peek(&mut [0]).unwrap();
    for _ in 0..16 {
        client.send(&chunk);
    }
    assert_eq!(client.rest().as_bytes(), cut_off());
}

#[test]
fn an_endless_line_is_never_held_in_memory() {
    const GROWTH_MAX_KIB: u64 = 4 * 1024;
    let chunk = vec![b'x'; 64 * 1024];
    let mut herd = solo();
    // Whatever the first commands make the server allocate is not what is measured.
    exchange(&herd, "x".repeat(LINE_MAX_BYTES).repeat(2) + "\n");
    let before = memory_peak_kib(&mut herd);
    let mut client = herd.connect("Solo");
    let mut sender = client.stream.try_clone().unwrap();
    client.send(&chunk);
    // Long before the end that never comes.
    assert_eq!(client.rest().as_bytes(), cut_off());
    for _ in 0..50 * 16 {
        // The server need not listen to all of it.
        if sender.write_all(&chunk).is_err() {
            break;
        }
    }
    herd.status("Solo");
    let Some((before, after)) = before.zip(memory_peak_kib(&mut herd)) else { return };
    assert!(after < before + GROWTH_MAX_KIB, "from {before} to {after} KiB");
}

/// The most memory that the server has had at a time, where the system tells.
fn memory_peak_kib(herd: &mut Herd) -> Option<u64> {
    let pid = herd.process("Solo").child.id();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    peak.trim().strip_suffix(" kB")?.parse().ok()
}

#[test]
fn a_client_id_is_kept_compared_and_echoed_byte_for_byte() {
    let ids: [&[u8]; 13] = [
        b"kiwi",
        b"Kiwi",
        "h\u{e9}rde".as_bytes(),
        "he\u{301}rde".as_bytes(),
        b"\x80",
        b"\x81",
        b"\xc3\x28",
        b"\0",
        b"a\0b",
        b"\xff\x01\xfe",
        b"\xff\xfd\x01",
        b"?",
        b"\x1b[2J\x85",
    ];
    let shape = &[("Left", "Right"), ("Right", "")];
    let herd = Herd::start(shape);
    for (i, id) in ids.iter().enumerate() {
        let line = [b"IAMAT ", &for_telnet(id)[..], format!(" +1+1 {i}\n").as_bytes()].concat();
        let reply = exchange(&herd, line);
        let copy = [b" ", *id, format!(" +1+1 {i}\n").as_bytes()].concat();
        assert!(reply.starts_with(b"AT Left +") && reply.ends_with(&copy), "{reply:?}");
    }
    // No two were taken for one, here or after the way over a link.
    for server in ["Left", "Right"] {
        for (i, id) in ids.iter().enumerate() {
            let question = [b"WHATSAT ", &for_telnet(id)[..], b" 0 0\n"].concat();
            let copy = [b" ", *id, format!(" +1+1 {i}").as_bytes()].concat();
            eventually("the client is known", || {
                let mut client = herd.connect(server);
                client.send(&question);
                let line = client.line();
                line.starts_with(b"AT Left +").then(|| assert!(line.ends_with(&copy), "{line:?}"))
            });
        }
    }
}

/// Bytes with each 255 doubled, as a client sends what is not to be a Telnet command.
fn for_telnet(bytes: &[u8]) -> Vec<u8> {
    let doubled = |byte: &u8| std::iter::repeat_n(*byte, if *byte == 255 { 2 } else { 1 });
    bytes.iter().flat_map(doubled).collect()
}
