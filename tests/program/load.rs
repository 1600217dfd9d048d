//! `herd load`: against the real server, and against servers in the test that lie, stop, or go away.

use std::net::{SocketAddr, TcpListener};
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::Value;

use super::protocol::Staged;
use super::support::{ALFORD, ALONE, Herd, answering, free_ports, herd};

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn load(address: SocketAddr, words: &str) -> Output {
    let address = address.to_string();
    let mut arguments = vec!["load", &address];
    arguments.extend(words.split(' ').filter(|word| !word.is_empty()));
    herd(&arguments)
}

/// The figures of a load that went well.
#[track_caller]
fn figures(address: SocketAddr, words: &str) -> Value {
    let output = load(address, &format!("{words} --json"));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let json = text(&output.stdout);
    assert_eq!(json.lines().count(), 1, "{json}");
    serde_json::from_str(&json).unwrap()
}

/// What a load that failed said.
#[track_caller]
fn failure(address: SocketAddr, words: &str) -> String {
    let output = load(address, words);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{out}{err}");
    assert!(err.starts_with("herd: ") && !err.contains("panicked"), "{err}");
    err
}

#[track_caller]
fn has_keys(figures: &Value, keys: &str) {
    for key in keys.split_whitespace() {
        assert!(figures.get(key).is_some(), "{key} is missing in {figures}");
    }
}

fn address(herd: &Herd, name: &str) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], herd.port(name)))
}

/// The right reply.
fn at(line: &str) -> String {
    format!("AT Truth +0.000000001 {}\n", line.strip_prefix("IAMAT ").unwrap())
}

#[test]
fn a_run_against_the_real_server_has_all_its_figures() {
    let mut herd = Herd::start(ALONE);
    let pid = herd.process("Solo").child.id();
    let words =
        format!("--connections 5 --depth 7 --clients 35 --seconds 1 --warmup 0 --pid {pid}");
    let figures = figures(address(&herd, "Solo"), &words);
    has_keys(
        &figures,
        "kind connections depth seconds replies replies_per_second p50_us p90_us p99_us p99_9_us max_us \
         bytes_in bytes_out errors unanswered connect_seconds",
    );
    if cfg!(target_os = "linux") {
        has_keys(&figures, "load_cpu_ns_per_reply load_busy load_wait");
        has_keys(&figures, "server_cpu_ns_per_reply server_busy server_wait");
    }
    assert_eq!((&figures["kind"], &figures["connections"]), (&"iamat".into(), &5.into()));
    assert_eq!((&figures["unanswered"], &figures["errors"]), (&0.into(), &0.into()));
    assert!(figures["replies"].as_u64().unwrap() > 0, "{figures}");
    assert_eq!(herd.status("Solo")["records"], 35, "all that are spoken of at once");
}

#[test]
fn a_run_is_told_in_words_and_its_progress_when_asked() {
    let herd = Herd::start(ALONE);
    let output =
        load(address(&herd, "Solo"), "--connections 2 --seconds 1.2 --warmup 0 --progress");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(
        out.starts_with("iamat: 2 connections, 1 in flight on each") && out.contains("p99.9"),
        "{out}"
    );
    assert!(err.contains("replies in this second"), "{err}");
}

#[test]
fn so_many_requests_are_sent_as_replies_are_asked_for() {
    for (connections, rate) in [("3", ""), ("64", ""), ("7", "--rate 20000")] {
        let count = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&count);
        let echo = answering(move |_, line| {
            counter.fetch_add(1, Ordering::SeqCst);
            Some(format!("{line}\n"))
        });
        let words =
            format!("--kind echo --requests 1234 --depth 16 --connections {connections} {rate}");
        let figures = figures(echo, &words);
        assert_eq!((&figures["replies"], &figures["unanswered"]), (&1234.into(), &0.into()));
        assert_eq!(count.load(Ordering::SeqCst), 1234);
    }
}

#[test]
fn no_two_connections_speak_of_one_client_and_times_rise() {
    let last = std::sync::Mutex::new(
        std::collections::HashMap::<String, (String, thread::ThreadId)>::new(),
    );
    let truth = answering(move |_, line| {
        let fields: Vec<&str> = line.split(' ').collect();
        let mut last = last.lock().unwrap();
        let now = (fields[3].to_owned(), thread::current().id());
        let before = last.insert(fields[1].to_owned(), now.clone());
        let right = before.is_none_or(|(time, owner)| time < now.0 && owner == now.1);
        right.then(|| at(line))
    });
    // Fewer clients than connections, and a number that the connections do not divide.
    for clients in ["1", "17"] {
        figures(truth, &format!("--connections 5 --depth 4 --clients {clients} --requests 2000"));
    }
}

#[test]
fn questions_are_asked_of_places_and_checked() {
    let stage = Staged::start(ALONE);
    let figures = figures(
        address(&stage.herd, "Solo"),
        "--whatsat 10,5 --connections 3 --depth 2 --clients 10 --requests 60",
    );
    assert_eq!((&figures["kind"], &figures["replies"]), (&"whatsat".into(), &60.into()));
    assert_eq!(figures["errors"], 0);
}

#[test]
fn a_fault_of_places_is_counted_and_no_wrong_reply() {
    let herd = Herd::start(ALONE);
    let words = "--whatsat 50,20 --connections 2 --clients 4 --requests 8";
    let figures = figures(address(&herd, "Solo"), words);
    assert_eq!((&figures["replies"], &figures["errors"]), (&8.into(), &8.into()));
}

/// Makes a wrong reply of a right one.
type Lie = fn(String) -> String;

#[test]
fn the_first_lie_ends_the_run_with_what_was_expected_and_what_came() {
    let lie = |number: usize, reply: String, lie: &dyn Fn(String) -> String| {
        Some(if number == 20 { lie(reply) } else { reply })
    };
    let lies: [(Lie, &str); 5] = [
        (|reply| reply.replace(" +", " -"), "a wrong reply"),
        (|reply| reply.replace("Truth", "Other"), "expected: AT Truth"),
        (|reply| reply.replace("AT ", "? "), "came:     ? Truth"),
        (|reply| format!("{reply}{reply}"), "a reply too many"),
        (|_| "AT Truth +0.000000001 somebody +1+1 1\n".to_owned(), "somebody +1+1 1"),
    ];
    for (change, words) in lies {
        let liar = answering(move |number, line| lie(number, at(line), &change));
        let said = failure(liar, "--connections 1 --seconds 20");
        assert!(said.contains(words) && said.contains("connection 1 of 1"), "{words}: {said}");
        assert!(said.contains("expected: ") && said.contains("came:     "), "{said}");
    }
}

#[test]
fn replies_in_another_order_are_found_out() {
    let kept = std::sync::Mutex::new(String::new());
    let liar = answering(move |number, line| {
        let reply = at(line);
        let mut kept = kept.lock().unwrap();
        match number {
            10 => kept.push_str(&reply),
            11 => return Some(format!("{reply}{kept}")),
            _ => return Some(reply),
        }
        Some(String::new())
    });
    let said = failure(liar, "--connections 1 --depth 4 --seconds 20");
    assert!(said.contains("a wrong reply"), "{said}");
}

#[test]
fn a_server_that_says_nothing_more_is_given_up() {
    let silent = answering(|number, line| Some(if number < 9 { at(line) } else { String::new() }));
    let said = failure(silent, "--connections 1 --seconds 60 --patience 0.2");
    assert!(said.contains("no reply for 0.2 s (--patience), 9 replies"), "{said}");
}

#[test]
fn a_server_that_goes_away_is_told_with_what_it_owes() {
    let leaver = answering(|number, line| (number < 9).then(|| at(line)));
    let said = failure(leaver, "--connections 1 --depth 3 --seconds 60");
    assert!(said.contains("connection 1 of 1") && said.contains("unanswered"), "{said}");
    assert!(said.contains("whether"), "it says what to look at: {said}");
}

#[test]
fn where_nobody_listens_it_says_what_to_start() {
    let nobody = SocketAddr::from(([127, 0, 0, 1], free_ports(1)[0]));
    let said = failure(nobody, "");
    assert!(said.contains(&format!("cannot connect to {nobody}: connection refused")), "{said}");
    assert!(said.contains("herd serve NAME"), "{said}");
}

#[test]
fn requests_leave_when_they_are_due_though_the_server_has_stopped_reading() {
    // It accepts and never reads; the kernel's buffers take some hundred kilobytes each.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let deaf = thread::spawn(move || [(); 2].map(|()| listener.accept().unwrap()));
    let words = "--rate 1000000 --connections 2 --seconds 1 --warmup 0 --patience 0.2 --json";
    let output = load(address, words);
    drop(deaf.join().unwrap());
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{out}{err}");
    assert!(err.contains("requests were not answered, and"), "{err}");
    assert!(err.contains("no reply came in the "), "{err}");
    let figures: Value = serde_json::from_str(&out).unwrap();
    let (unanswered, unsent) = (&figures["unanswered"], &figures["unsent"]);
    let together = unanswered.as_u64().unwrap() + unsent.as_u64().unwrap();
    assert!(together >= 1_000_000, "all that was due is accounted for: {together}");
    assert!(unsent.as_u64().unwrap() > 0, "what cannot leave waits without memory: {figures}");
    assert_eq!(figures["replies"], 0);
}

#[test]
fn in_an_open_loop_a_pause_of_the_server_costs_all_that_fell_due_in_it() {
    // Of 600 requests 250 fall due in the pause and wait 125 ms on average. A closed loop would have made
    // one of them wait.
    let slow = answering(|number, line| {
        if number == 300 {
            thread::sleep(std::time::Duration::from_millis(250));
        }
        Some(format!("{line}\n"))
    });
    let figures = figures(slow, "--kind echo --rate 1000 --connections 1 --requests 600");
    let p90 = figures["p90_us"].as_f64().unwrap();
    assert!(p90 > 100_000.0, "{figures}");
}

#[test]
fn other_kinds_of_servers_are_spoken_to_in_their_words() {
    let redis = answering(|number, line| {
        let right = match number % 7 {
            0 => line == "*3",
            2 => line == "SET",
            _ => true,
        };
        right.then(|| if number % 7 == 6 { "+OK\r\n" } else { "" }.to_owned())
    });
    let memcached = answering(|number, line| {
        let right = number % 2 == 1 || (line.starts_with("set ") && line.ends_with(" 0 0 42"));
        right.then(|| if number % 2 == 1 { "STORED\r\n" } else { "" }.to_owned())
    });
    for (kind, address) in [("redis", redis), ("memcached", memcached)] {
        let words = format!("--kind {kind} --connections 3 --depth 5 --requests 500");
        let figures = figures(address, &words);
        assert_eq!((&figures["kind"], &figures["replies"]), (&kind.into(), &500.into()));
    }
}

#[test]
fn idle_connections_stay_beside_the_load_and_their_memory_is_told() {
    let mut herd = Herd::start(ALONE);
    let pid = herd.process("Solo").child.id();
    let solo = address(&herd, "Solo");
    let words = format!("--idle 200 --to {solo} --connections 1 --requests 50 --pid {pid}");
    let figures = figures(solo, &words);
    assert_eq!((&figures["idle"], &figures["replies"]), (&200.into(), &50.into()));
    if cfg!(target_os = "linux") {
        has_keys(&figures, "rss_before_kb rss_after_kb bytes_per_connection");
    }
}

#[test]
fn updates_are_timed_until_the_last_server_has_them() {
    let mut herd = Herd::start(ALFORD);
    let pid = |herd: &mut Herd, name: &str| herd.process(name).child.id();
    let pids = format!("{},{}", pid(&mut herd, "Alford"), pid(&mut herd, "Ball"));
    let others =
        ["Ball", "Hamilton", "Holiday", "Welsh"].map(|name| address(&herd, name).to_string());
    let words = format!("--to {} --pid {pids}", others.join(","));
    let alford = address(&herd, "Alford");
    let one = figures(alford, &format!("--updates 20 --clients 5 {words}"));
    assert_eq!(
        (&one["kind"], &one["updates"], &one["servers"]),
        (&"updates".into(), &20.into(), &5.into())
    );
    has_keys(&one, "update_p50_us update_p99_us updates_per_second");
    if cfg!(target_os = "linux") {
        has_keys(&one, "server_cpu_ns_per_update");
    }
    let many = figures(alford, &format!("--updates 2000 --clients 300 --depth 64 {words}"));
    assert!(many.get("update_p50_us").is_none(), "many at a time have no time of each: {many}");
    assert_eq!((&many["updates"], &many["clients"]), (&2000.into(), &300.into()));
    for name in ["Alford", "Welsh"] {
        assert!(herd.status(name)["records"].as_u64().unwrap() >= 300, "{name} has them all");
    }
}

#[test]
fn a_server_that_updates_do_not_reach_fails_the_run() {
    let herd = Herd::start(ALONE);
    let stranger = Herd::start(ALONE);
    let words = format!("--updates 5 --patience 0.2 --to {}", address(&stranger, "Solo"));
    let said = failure(address(&herd, "Solo"), &words);
    assert!(said.contains("1 updates are answered, and 1 servers do not have the last"), "{said}");
}

#[test]
fn a_server_that_holds_another_record_fails_the_run() {
    let herd = Herd::start(ALONE);
    let other = answering(|_, line| {
        let id = line.split(' ').nth(1).unwrap();
        Some(format!("AT Solo +0.000000001 {id}x +1+1 1\n{{}}\n\n"))
    });
    let said = failure(address(&herd, "Solo"), &format!("--updates 5 --to {other}"));
    assert!(said.contains("a wrong reply") && said.contains("x +1+1 1"), "{said}");
}

#[test]
fn words_that_are_wrong_or_do_not_go_together_are_refused() {
    for (words, why) in [
        ("load", "which server?"),
        ("load nowhere", "\"nowhere\" is no address of a server"),
        (
            "load 127.0.0.1:1 --connections 0",
            "--connections \"0\": a whole number from 1 to 100000",
        ),
        ("load 127.0.0.1:1 --connections 100001", "--connections \"100001\""),
        ("load 127.0.0.1:1 --depth 10001", "--depth \"10001\""),
        ("load 127.0.0.1:1 --clients 1000001", "--clients \"1000001\""),
        ("load 127.0.0.1:1 --idle 100001", "--idle \"100001\""),
        ("load 127.0.0.1:1 --rate 10000001", "--rate \"10000001\""),
        ("load 127.0.0.1:1 --requests 100000000001", "--requests \"100000000001\""),
        ("load 127.0.0.1:1 --updates 100000000001", "--updates \"100000000001\""),
        ("load 127.0.0.1:1 --seconds 86401", "--seconds \"86401\""),
        ("load 127.0.0.1:1 --whatsat 51,5", "--whatsat \"51,5\""),
        (
            "load 127.0.0.1:1 --kind http",
            "--kind \"http\": there are iamat, echo, redis, memcached",
        ),
        ("load 127.0.0.1:1 --pid x", "--pid \"x\""),
        ("load 127.0.0.1:1 --whatsat 1,1 --kind echo", "--whatsat is a question to herd serve"),
        ("load 127.0.0.1:1 --updates 5", "--updates needs --to"),
        (
            "load 127.0.0.1:1 --updates 5 --to 127.0.0.1:2 --rate 5",
            "--updates is a load of its own",
        ),
        ("load 127.0.0.1:1 --to 127.0.0.1:2", "--to goes with --updates or --idle"),
        ("load 127.0.0.1:1 --speed 5", "unknown or repeated flag \"--speed\""),
    ] {
        let output = herd(&words.split(' ').collect::<Vec<_>>());
        let err = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{words}: {err}");
        assert!(err.contains(why), "{words}: {err}");
    }
    let pids = vec!["1"; 1001].join(",");
    let output = herd(&["load", "127.0.0.1:1", "--pid", &pids]);
    assert!(text(&output.stderr).contains("at most 1000 process numbers"));
    let many = vec!["127.0.0.1:2"; 1001].join(",");
    let output = herd(&["load", "127.0.0.1:1", "--idle", "5", "--to", &many]);
    assert!(text(&output.stderr).contains("--to: at most 1000 addresses"));
}
