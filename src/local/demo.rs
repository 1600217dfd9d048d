//! `demo`: plays the scenarios of the original reports on a herd of its own, with real sockets.
//!
//! Prints what is sent (`>`), what comes back (`<`) and what that shows, and checks every answer. It
//! stops all that it started, also after a wrong answer or a Ctrl-C. The servers of `start` are not
//! touched: the ports are free ones, and the folder is its own.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::demo_checks::{at_line, places, same};
use super::local_herd::LocalHerd;
use super::options::{Options, TOPOLOGY};
use super::print::show;
use super::run_dir::RunDir;
use super::talk;
use super::{start, stop};

/// The default herd: who there is, and with whom each talks.
const HERD: [(&str, &str); 5] = [
    ("Alford", "Hamilton Welsh"),
    ("Ball", "Holiday Welsh"),
    ("Hamilton", "Holiday"),
    ("Holiday", ""),
    ("Welsh", ""),
];

/// Where the demo's ports are looked for. Asking the system for free ones would give those that it also
/// gives to outgoing connections, so a server's link could take the port of one not yet started.
const PORTS: Range<u16> = 20_000..30_000;

/// How long one reply may take; the stand-in is on this machine.
const REPLY_PATIENCE: Duration = Duration::from_secs(20);

/// How long an update may take to get about. It is a matter of milliseconds.
const SPREAD_PATIENCE: Duration = Duration::from_secs(10);

/// How often a server is asked anew whether it has heard.
const POLL: Duration = Duration::from_millis(20);

/// How much of a long reply is printed.
const REPLY_LINES_SHOWN: usize = 16;

/// The client of the reports, and what it says of itself: first, while one server is away, and in a
/// message that was on its way for too long.
const CLIENT: &str = "kiwi.cs.ucla.edu";
const FIRST: &str = "kiwi.cs.ucla.edu +34.068930-118.445127 1479413884.392014450";
const SECOND: &str = "kiwi.cs.ucla.edu +40.730610-73.935242 1479413944.392014450";
const LATE: &str = "kiwi.cs.ucla.edu +27.5916-099.4523 1479413914.392014450";

/// Plays everything; the error says which answer was wrong.
pub fn demo(root: &Path, run: &RunDir) -> Result<(), String> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))
            .map_err(|error| format!("cannot listen for signal {signal}: {error}"))?;
    }
    let folder = run.inner(&format!("demo-{}", std::process::id()))?;
    let logs = folder.shown(&folder.logs());
    let path = folder.path().to_owned();
    let mut options = Options::default();
    let topology = write_topology(&path)?;
    options.set(TOPOLOGY, &topology);
    let stage = Stage { herd: LocalHerd::open(root, folder, options, false)?, interrupted };

    let played = stage.play();
    stop::stop(&stage.herd.run, &[])?;
    let interrupted = stage.interrupted.load(Ordering::Relaxed);
    if let (Err(fault), false) = (&played, interrupted) {
        return Err(format!("{fault}\nThe demo is stopped. Its logs are in {logs}."));
    }
    std::fs::remove_dir_all(&path)
        .map_err(|error| format!("cannot remove {}: {error}", path.display()))?;
    played?;
    show(
        "\nEvery answer was as it should be. The demo's servers are stopped, its folder is removed.\n",
    );
    Ok(())
}

/// Writes the herd's topology with ports that are free now, and returns the file's whole path.
fn write_topology(folder: &Path) -> Result<String, String> {
    let fault = |error: std::io::Error| format!("cannot set the demo's stage: {error}");
    let mut text = String::new();
    for ((name, neighbours), port) in HERD.iter().zip(free_ports()) {
        _ = writeln!(text, "{name} 127.0.0.1:{port} {neighbours}");
    }
    let file = std::path::absolute(folder.join("topology.txt")).map_err(fault)?;
    std::fs::write(&file, text).map_err(fault)?;
    Ok(file.to_string_lossy().into_owned())
}

/// Ports on which nobody listens now, each once, starting at one that differs from run to run.
fn free_ports() -> impl Iterator<Item = u16> {
    let ports = PORTS.end - PORTS.start;
    let start = u16::try_from(std::process::id() % u32::from(ports)).unwrap_or(0);
    let candidates = (0..ports).map(move |step| PORTS.start + (start + step) % ports);
    candidates.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
}

/// The herd that the scenes are played on.
struct Stage {
    herd: LocalHerd,
    interrupted: Arc<AtomicBool>,
}

impl Stage {
    fn play(&self) -> Result<(), String> {
        scene("A herd of five on free ports, and a stand-in for Google Places");
        start::start(&self.herd, &[])?;
        show(start::table(&self.herd, &[])?);
        let first = self.a_client_says_where_it_is()?;
        self.another_server_knows(&first)?;
        let second = self.a_server_is_killed()?;
        self.it_comes_back(&second)?;
        self.a_late_update_is_refused(&second)?;
        self.invalid_commands()
    }

    fn a_client_says_where_it_is(&self) -> Result<String, String> {
        scene("IAMAT: a client tells Alford where it is");
        let at = self.report("Alford", FIRST)?;
        comment("The difference behind the name is the server's clock less the client's, exactly.");
        Ok(at)
    }

    fn another_server_knows(&self, first: &str) -> Result<(), String> {
        scene("WHATSAT: Ball is asked, two links away from Alford");
        self.ask_about("Ball", "10", 3, first)?;
        comment("Ball has the AT line that Alford wrote, and asks Places itself what is around.");
        self.ask_about("Holiday", "10", 0, first)?;
        comment("The bound holds: no more results than were asked for, which is none.");
        Ok(())
    }

    fn a_server_is_killed(&self) -> Result<String, String> {
        scene("Welsh is killed, through which the shortest way from Alford to Ball led");
        stop::kill(&self.herd.run, "Welsh")?;
        let at = self.report("Alford", SECOND)?;
        self.ask_about("Ball", "5", 2, &at)?;
        comment("The news went the long way round, by Hamilton and Holiday.");
        Ok(at)
    }

    fn it_comes_back(&self, second: &str) -> Result<(), String> {
        scene("Welsh comes back, with what its journal has kept and no more");
        start::start(&self.herd, &["Welsh".to_owned()])?;
        self.ask_about("Welsh", "5", 1, second)?;
        comment("Its neighbours told it what it had missed.");
        Ok(())
    }

    fn a_late_update_is_refused(&self, second: &str) -> Result<(), String> {
        scene("A message that was overtaken: its time is earlier than what the herd knows");
        self.report("Holiday", LATE)?;
        comment("It is answered as any other …");
        self.ask_about("Holiday", "5", 1, second)?;
        comment("… and changes nothing, not even where it was heard.");
        Ok(())
    }

    fn invalid_commands(&self) -> Result<(), String> {
        scene("Commands that are none");
        for (line, why) in [
            ("IAMAT kiwi.cs.ucla.edu here now", "Neither a location nor a time."),
            ("WHATSAT kiwi.cs.ucla.edu 51 5", "A radius is 50 km at most."),
            ("WHATSAT kiwi.cs.ucla.edu 10 21", "A bound is 20 at most."),
            ("WHATSAT nobody.example 10 5", "The herd has not heard from that client."),
            ("AT Welsh +0.1 kiwi.cs.ucla.edu +1-1 2000000000.0", "AT is for neighbours only."),
        ] {
            let reply = self.say("Hamilton", line)?;
            show_exchange("Hamilton", line, &reply);
            same(&reply, &format!("? {line}\n"))?;
            comment(why);
        }
        Ok(())
    }

    /// Sends an IAMAT, checks the reply, and returns the AT line.
    fn report(&self, server: &str, fields: &str) -> Result<String, String> {
        let line = format!("IAMAT {fields}");
        let before = std::time::SystemTime::now();
        let reply = self.say(server, &line)?;
        show_exchange(server, &line, &reply);
        at_line(&reply, server, fields, before, std::time::SystemTime::now())
    }

    /// Asks with WHATSAT until the server knows `expected`, an AT line, and checks the whole reply.
    fn ask_about(
        &self,
        server: &str,
        radius: &str,
        bound: usize,
        expected: &str,
    ) -> Result<(), String> {
        let line = format!("WHATSAT {CLIENT} {radius} {bound}");
        let deadline = Instant::now() + SPREAD_PATIENCE;
        let mut reply = self.say(server, &line)?;
        while !reply.starts_with(expected) && Instant::now() < deadline {
            std::thread::sleep(POLL);
            reply = self.say(server, &line)?;
        }
        show_exchange(server, &line, &reply);
        places(&reply, expected, bound)
    }

    fn say(&self, server: &str, line: &str) -> Result<String, String> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err("interrupted".to_owned());
        }
        let door = self.herd.door(self.herd.find(server)?);
        let reply = talk::say(&door, line.as_bytes(), REPLY_PATIENCE)?;
        String::from_utf8(reply).map_err(|_| format!("{server}'s reply is not UTF-8"))
    }
}

fn scene(title: &str) {
    show(format!("\n== {title}\n"));
}

fn comment(words: &str) {
    show(format!("   {words}\n"));
}

/// Prints a question and as much of the reply as one wants to read.
fn show_exchange(server: &str, line: &str, reply: &str) {
    let mut text = format!("{server}\n> {line}\n");
    for line in reply.lines().take(REPLY_LINES_SHOWN) {
        _ = writeln!(text, "{}", format!("< {line}").trim_end());
    }
    let rest = reply.lines().count().saturating_sub(REPLY_LINES_SHOWN);
    if rest > 0 {
        _ = writeln!(text, "< … and {rest} more lines");
    }
    show(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::herd::topology::Topology;

    #[test]
    fn the_stage_is_a_topology_without_faults_on_five_ports() {
        let folder = format!("target/local-tests/stage-{}", std::process::id());
        std::fs::create_dir_all(&folder).unwrap();
        let file = write_topology(Path::new(&folder)).unwrap();
        let text = std::fs::read_to_string(file).unwrap();
        let (topology, warnings) = Topology::parse("demo", &text).unwrap();
        assert_eq!((topology.len(), topology.link_count(), warnings.len()), (5, 5, 0));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
