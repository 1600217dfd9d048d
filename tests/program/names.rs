//! Names: a name server that is silent, names with a dead address, a disk that is slow meanwhile. Nothing
//! waits behind what it has nothing to do with.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use serde_json::Value;

use super::journal::report;
use super::support::{ALONE, Client, Herd, PAIR, Shape, eventually};
use super::upstream::{PLACE, Scene, THREE, Upstream, fault, has_heard};

/// What a shell does to become a server that has these files in place of the system's, and nobody else does.
const OWN_NAMES: &str = r#"exec unshare -m sh -c '
    mount --bind "$OWN_RESOLV" /etc/resolv.conf && mount --bind "$OWN_HOSTS" /etc/hosts && exec "$0" "$@"' "$0" "$@""#;

/// Whether this user may do that. Otherwise the test says that it was skipped.
fn may_have_own_names() -> bool {
    let script = "mount --bind /dev/null /etc/resolv.conf && mount --bind /dev/null /etc/hosts";
    let tried = Command::new("unshare").args(["-m", "sh", "-c", script]).output();
    let may = tried.is_ok_and(|output| output.status.success());
    if !may {
        eprintln!("SKIPPED: this user may not give a process names of its own");
    }
    may
}

/// An address of this machine that no other test has.
fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [_, _, third, fourth] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 0x40 | third & 0x3f, fourth, NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A name server that takes questions and never answers.
struct SilentNameServer(UdpSocket);

impl SilentNameServer {
    fn start() -> Option<Self> {
        let bound = UdpSocket::bind((own_address(), 53));
        if bound.is_err() {
            eprintln!("SKIPPED: this user may not listen at the name service's port");
        }
        bound.ok().map(Self)
    }

    fn address(&self) -> String {
        self.0.local_addr().unwrap().ip().to_string()
    }
}

/// From now on this herd's servers ask that name server, and know these names by themselves.
fn with_names(herd: &mut Herd, name_server: &str, hosts: &str) {
    let resolv = herd.folder.write("resolv.conf", format!("nameserver {name_server}\n"));
    let hosts = herd.folder.write("hosts", hosts);
    for (variable, path) in [("OWN_RESOLV", resolv), ("OWN_HOSTS", hosts)] {
        herd.environment.push((variable.to_owned(), path.display().to_string()));
    }
    herd.first = OWN_NAMES;
}

fn keep_a_journal(herd: &mut Herd, sync: &str) {
    let folder = herd.folder.path("journal").display().to_string();
    herd.arguments.extend(["--journal", &folder, "--sync", sync].map(str::to_owned));
}

fn look_ups(herd: &Herd, server: &str) -> Vec<Value> {
    herd.status(server)["look_ups"].as_array().unwrap().clone()
}

/// The threads of a server that do look-ups.
fn look_up_threads(herd: &mut Herd, server: &str) -> usize {
    let tasks = format!("/proc/{}/task", herd.process(server).child.id());
    let names = fs::read_dir(tasks)
        .unwrap()
        .map(|task| fs::read_to_string(task.unwrap().path().join("comm")).unwrap_or_default());
    names.filter(|name| name.starts_with("look-up")).count()
}

#[test]
fn a_silent_name_server_holds_up_nobody_but_who_needs_it() {
    let Some(silent) = SilentNameServer::start().filter(|_| may_have_own_names()) else { return };
    let mut herd = Herd::new(ALONE);
    herd.arguments = vec!["--places".to_owned(), "https://places.test".to_owned()];
    herd.environment.push(("PLACES_API_KEY".to_owned(), "any".to_owned()));
    keep_a_journal(&mut herd, "always");
    with_names(&mut herd, &silent.address(), "");
    herd.start_one("Solo");
    let (mut asker, mut other) = (herd.connect("Solo"), herd.connect("Solo"));
    report(&mut asker, "kiwi", 1);
    // As many different questions as one connection may have waiting, more than there are connections.
    for radius in 1..=16 {
        asker.send(format!("WHATSAT kiwi {radius} 1\n"));
    }
    let waiting = eventually("connections wait for one look-up", || {
        let waiting = look_ups(&herd, "Solo");
        waiting.first().is_some_and(|l| l["connections"] == 8).then_some(waiting)
    });
    assert_eq!(waiting.len(), 1);
    assert_eq!(
        (&waiting[0]["what"], &waiting[0]["running"]),
        (&"places.test".into(), &true.into())
    );
    // Others are answered, from the disk too, before any of those is.
    for time in 2..20 {
        report(&mut other, "plum", time);
    }
    assert!(!has_heard(&asker), "the name server has not answered");
    assert_eq!(herd.status("Solo")["journal"]["state"], "ok");
    let (_, json) = asker.places_reply();
    assert!(json.contains("no answer to the look-up of the name in "), "{json}");
    // The asker goes, and leaves nothing behind but the one thread.
    drop(asker);
    eventually("nobody waits", || {
        let left = look_ups(&herd, "Solo");
        left.iter().all(|look_up| look_up["connections"] == 0).then_some(())
    });
    report(&mut other, "plum", 20);
    assert!(look_ups(&herd, "Solo").len() <= 1);
    assert_eq!(look_up_threads(&mut herd, "Solo"), 1);
    herd.stop("Solo");
}

#[test]
fn a_known_address_is_used_while_the_name_server_is_silent() {
    let Some(silent) = SilentNameServer::start().filter(|_| may_have_own_names()) else { return };
    let upstream = Upstream::start_at(LIVING, "places.test", |talk| {
        talk.request();
        talk.answer(THREE);
    });
    let url = format!("https://places.test:{}", upstream.port);
    let mut scene = Scene::unstarted(upstream, &[]);
    scene.herd.arguments[1] = url;
    with_names(&mut scene.herd, &silent.address(), &format!("{LIVING} places.test\n"));
    scene.herd.start_one("Solo");
    assert_eq!(scene.places("1 20"), THREE);
    // From now on only the name server could know.
    scene.herd.folder.write("hosts", "");
    for radius in 2..6 {
        assert_eq!(scene.places(&format!("{radius} 20")), THREE);
    }
    let hung = look_ups(&scene.herd, "Solo");
    assert_eq!((hung.len(), &hung[0]["connections"]), (1, &0.into()), "{hung:?}");
}

/// Six neighbours.
const STAR: Shape =
    &[("Solo", "A B C D E F"), ("A", ""), ("B", ""), ("C", ""), ("D", ""), ("E", ""), ("F", "")];

/// The same herd, whose servers but the first are at names of their own.
fn by_name(shape: Shape) -> Herd {
    let herd = Herd::new(shape);
    let text = fs::read_to_string(herd.folder.path("topology.txt")).unwrap();
    let line = |line: &str| match line.split_once(' ') {
        Some((name, rest)) if name != shape[0].0 => {
            format!("{name} {}", rest.replace("127.0.0.1", &format!("{name}.test").to_lowercase()))
        }
        _ => line.to_owned(),
    };
    let text: Vec<String> = text.lines().map(line).collect();
    herd.folder.write("topology.txt", text.join("\n"));
    herd.with_keys()
}

#[test]
fn neighbours_whose_names_are_not_answered_take_four_threads_and_hold_up_no_client() {
    let Some(silent) = SilentNameServer::start().filter(|_| may_have_own_names()) else { return };
    let mut herd = by_name(STAR);
    keep_a_journal(&mut herd, "always");
    with_names(&mut herd, &silent.address(), "");
    herd.start_one("Solo");
    let mut client = herd.connect("Solo");
    report(&mut client, "kiwi", 1);
    let is_running = |look_up: &&Value| look_up["running"] == true;
    let waiting = look_ups(&herd, "Solo");
    assert_eq!(waiting.iter().filter(is_running).count(), 4, "{waiting:?}");
    assert_eq!(waiting.len(), 6);
    // Those for whom no thread is free are told the truth, and are dialled again.
    herd.wait_for_log("Solo", "no thread was free to look the name up: 4 other look-ups are hung");
    for time in 2..20 {
        report(&mut client, "kiwi", time);
    }
    assert_eq!(look_up_threads(&mut herd, "Solo"), 4);
    herd.stop("Solo");
}

/// An address at which nobody ever answers: its backlog is full, and the kernel drops what comes.
struct BlackHole {
    _listener: TcpListener,
    _backlog: Vec<TcpStream>,
}

impl BlackHole {
    fn at(ip: Ipv4Addr, port: u16) -> Self {
        let listener = TcpListener::bind((ip, port)).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let patience = std::time::Duration::from_millis(100);
        let address = listener.local_addr().unwrap();
        let backlog = (0..3).map_while(|_| TcpStream::connect_timeout(&address, patience).ok());
        Self { _backlog: backlog.collect(), _listener: listener }
    }
}

/// The system sorts addresses as it likes, so one dead address is on either side of the living one.
const DEAD: [Ipv4Addr; 2] = [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 99)];
const LIVING: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

fn hosts(name: &str) -> String {
    let addresses = [DEAD[1], LIVING, DEAD[0]];
    addresses.map(|address| format!("{address} {name}\n")).concat()
}

#[test]
fn a_dead_address_of_the_upstream_costs_a_question_little_of_its_time_and_the_next_nothing() {
    if !may_have_own_names() {
        return;
    }
    let upstream = Upstream::start_at(LIVING, "places.test", |talk| {
        talk.request();
        talk.answer(THREE);
    });
    let _holes = DEAD.map(|ip| BlackHole::at(ip, upstream.port));
    let url = format!("https://places.test:{}", upstream.port);
    // One address after the other would take three seconds for each of the dead ones.
    let arguments = ["--places-timeout", "2.9"];
    let mut scene = Scene::unstarted(upstream, &arguments);
    scene.herd.arguments[1] = url;
    with_names(&mut scene.herd, "127.0.0.1", &hosts("places.test"));
    scene.herd.start_one("Solo");
    assert_eq!(scene.places("1 20"), THREE);
    // Each answer ends with its connection, so the next question needs another one.
    let start = Instant::now();
    for radius in 2..12 {
        assert_eq!(scene.places(&format!("{radius} 20")), THREE);
    }
    let took = start.elapsed();
    // Ten times the 250 ms that each dead address would cost.
    assert!(took.as_millis() < 2500, "{took:?}");
    assert_eq!(scene.upstream.accepted(), 11);
}

#[test]
fn a_link_is_dialled_past_a_dead_address_like_any_connection() {
    if !may_have_own_names() {
        return;
    }
    let mut herd = by_name(PAIR);
    let port = herd.port("Right");
    let _holes = DEAD.map(|ip| BlackHole::at(ip, port));
    with_names(&mut herd, "127.0.0.1", &hosts("right.test"));
    herd.arguments.extend(["--listen".to_owned(), format!("{LIVING}:{port}")]);
    herd.start_one("Right");
    herd.arguments.truncate(herd.arguments.len() - 2);
    herd.start_one("Left");
    let start = Instant::now();
    eventually("the link is up", || {
        (herd.status("Left")["links"][0]["state"] == "up").then_some(())
    });
    let took = start.elapsed();
    // One address after the other, three seconds each.
    assert!(took.as_millis() < 2900, "{took:?}");
}

/// A disk whose every sync takes half a minute; the server stays the child of the test, so that its end is
/// the end of all.
const SLOW_DISK: &str = "exec strace -D -f --seccomp-bpf -o /dev/null -e trace=fdatasync \
                         -e inject=fdatasync:delay_enter=30s \"$0\" \"$@\"";

#[test]
fn a_slow_disk_holds_up_no_look_up_and_is_told_of() {
    let is_there = Command::new("strace").args(["-D", "-f", "-o", "/dev/null", "true"]).output();
    if !is_there.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: strace, which makes a disk slow, cannot be used here");
        return;
    }
    let upstream = Upstream::start(|talk| {
        talk.request();
        talk.answer(THREE);
    });
    let mut scene = Scene::unstarted(upstream, &[]);
    keep_a_journal(&mut scene.herd, "second");
    scene.herd.first = SLOW_DISK;
    scene.herd.start_one("Solo");
    let mut client = scene.client();
    let journal = |scene: &Scene| scene.herd.status("Solo")["journal"].clone();
    let since = eventually("a sync is under way", || {
        let job = journal(&scene)["job"].clone();
        (job["what"] == "a sync").then(|| job["since"].clone())
    });
    for radius in 1..4 {
        client.send(format!("WHATSAT kiwi {radius} 20\n"));
        assert_eq!(client.places_reply().1, THREE);
    }
    let plum = client.ask(&format!("IAMAT plum {PLACE} 1"));
    assert!(plum.starts_with("AT Solo "), "{plum}");
    assert_eq!(journal(&scene)["job"]["since"], since, "the same sync is still under way");
    eventually("the sync is late", || {
        let state = journal(&scene)["state"].as_str().unwrap().to_owned();
        state.starts_with("a sync has not come back for ").then_some(())
    });
    // The process cannot be waited for before whoever traces it lets go.
    let status = format!("/proc/{}/status", scene.herd.process("Solo").child.id());
    let status = fs::read_to_string(status).unwrap();
    let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:\t")).unwrap();
    assert!(Command::new("kill").args(["-KILL", tracer]).status().unwrap().success());
    scene.herd.kill("Solo");
}

#[test]
fn a_name_that_nobody_knows_is_told_as_such() {
    if !may_have_own_names() {
        return;
    }
    let mut herd = Herd::new(ALONE);
    herd.arguments = vec!["--places".to_owned(), "https://places.test".to_owned()];
    herd.environment.push(("PLACES_API_KEY".to_owned(), "any".to_owned()));
    // Nobody listens there: the system knows at once that there is no answer.
    with_names(&mut herd, &own_address().to_string(), "");
    herd.start_one("Solo");
    let mut client: Client = herd.connect("Solo");
    report(&mut client, "kiwi", 1);
    client.send("WHATSAT kiwi 1 1\n");
    let (_, json) = client.places_reply();
    let words = json.split("places: ").nth(1).unwrap().split('"').next().unwrap();
    assert!(words.starts_with("the name cannot be looked up: "), "{json}");
    assert_eq!(json, fault(words));
}
