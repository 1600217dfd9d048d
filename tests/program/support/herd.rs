//! A herd of real processes on ports of its own, of any shape.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::{Client, Folder, HERD, Process, control, eventually, free_ports, say};

/// The links of a herd by name, as in a topology file's third column.
pub type Shape = &'static [(&'static str, &'static str)];

pub const ALFORD: Shape = &[
    ("Alford", "Hamilton Welsh"),
    ("Ball", "Holiday Welsh"),
    ("Hamilton", "Holiday"),
    ("Holiday", ""),
    ("Welsh", ""),
];
pub const BOLDEN: Shape = &[
    ("Alford", "Parker Powell"),
    ("Bolden", "Parker Powell"),
    ("Hamilton", "Parker"),
    ("Parker", ""),
    ("Powell", ""),
];
pub const FARMAR: Shape = &[
    ("Farmar", "Meeks Young"),
    ("Gasol", "Meeks Young"),
    ("Hill", "Meeks"),
    ("Meeks", ""),
    ("Young", ""),
];
pub const ALONE: Shape = &[("Solo", "")];
/// Two servers, one link: where a test plays one of them by hand.
pub const PAIR: Shape = &[("Left", "Right"), ("Right", "")];

/// A herd of real processes on ports of its own.
pub struct Herd {
    // Before the folder, which has to outlive the processes that write into it.
    pub servers: Vec<(String, u16, Option<Process>)>,
    pub folder: Folder,
    /// Added to each server's command line.
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
    /// What a shell does before it becomes the server, such as lowering a limit.
    pub first: &'static str,
}

impl Herd {
    /// Writes a topology for `shape` but starts nothing.
    pub fn new(shape: Shape) -> Self {
        let folder = Folder::new();
        let ports = free_ports(shape.len());
        let lines = shape.iter().zip(&ports);
        let rows = lines.map(|((name, links), port)| format!("{name} 127.0.0.1:{port} {links}"));
        let text = rows.collect::<Vec<_>>().join("\n");
        folder.write("topology.txt", text);
        let servers = shape
            .iter()
            .zip(ports)
            .map(|((name, _), port)| ((*name).to_owned(), port, None))
            .collect();
        // Nobody answers there, so no test ever asks a real upstream by mistake.
        let nowhere = format!("https://127.0.0.1:{}", free_ports(1)[0]);
        let arguments = vec!["--places".to_owned(), nowhere];
        Self { folder, servers, arguments, environment: Vec::new(), first: ":" }
    }

    /// All servers of `shape`, answering and linked.
    pub fn start(shape: Shape) -> Self {
        Self::start_with(shape, &[])
    }

    pub fn start_with(shape: Shape, arguments: &[&str]) -> Self {
        let mut herd = Self::new(shape);
        herd.arguments.extend(arguments.iter().map(|&a| a.to_owned()));
        herd.start_all();
        herd
    }

    pub fn start_all(&mut self) {
        let names: Vec<String> = self.servers.iter().map(|(name, ..)| name.clone()).collect();
        for name in &names {
            self.start_one(name);
        }
        for name in &names {
            self.wait_until_linked(name);
        }
    }

    /// The topology file of one server: the herd's, unless the test has given it another one.
    fn topology_of(&self, name: &str) -> PathBuf {
        let own = self.folder.path(&format!("{name}.txt"));
        if own.exists() { own } else { self.folder.path("topology.txt") }
    }

    /// Gives each server a file of its own, so that they can differ.
    pub fn with_own_topologies(self) -> Self {
        let text = fs::read_to_string(self.folder.path("topology.txt")).unwrap();
        self.servers.iter().for_each(|(name, ..)| self.give_topology(name, &text));
        self
    }

    /// Gives one server a topology file of its own. It reads it at its next start, or on SIGHUP.
    pub fn give_topology(&self, name: &str, text: &str) {
        self.folder.write(&format!("{name}.txt"), text);
    }

    /// Has a running server read its files anew, and waits until it has said what came of it.
    pub fn reload(&mut self, name: &str) {
        const OUTCOMES: [&str; 2] = [" taken anew; ", " stay as they were:"];
        let outcomes = |log: &str| OUTCOMES.iter().map(|it| log.matches(it).count()).sum::<usize>();
        let before = outcomes(&self.log(name));
        self.process(name).signal("-HUP");
        eventually(&format!("{name} has read its files anew"), || {
            (outcomes(&self.log(name)) > before).then_some(())
        });
    }

    /// Starts one server and waits until it answers on its control socket.
    pub fn start_one(&mut self, name: &str) {
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("{}; exec \"$0\" \"$@\"", self.first), HERD])
            .args(["serve", name, "--topology"])
            .arg(self.topology_of(name))
            .arg("--log-dir")
            .arg(self.folder.path("logs"))
            .arg("--control")
            .arg(self.folder.path(&format!("{name}.sock")))
            .args(&self.arguments)
            .env_remove("PLACES_API_KEY")
            .envs(self.environment.iter().map(|(key, value)| (key, value)))
            .stdout(Stdio::null());
        let process = Process::spawn(name, &mut command, &self.folder);
        self.servers.iter_mut().find(|(n, ..)| n == name).unwrap().2 = Some(process);
        eventually(&format!("{name} answers STATUS"), || {
            let ended = self.process(name).child.try_wait().unwrap();
            assert!(ended.is_none(), "{name} has ended: {}", self.process(name).errors());
            self.try_status(name)
        });
    }

    pub fn process(&mut self, name: &str) -> &mut Process {
        self.servers.iter_mut().find(|(n, ..)| n == name).unwrap().2.as_mut().unwrap()
    }

    pub fn port(&self, name: &str) -> u16 {
        self.servers.iter().find(|(n, ..)| n == name).unwrap().1
    }

    pub fn is_running(&self, name: &str) -> bool {
        self.servers.iter().any(|(n, _, process)| n == name && process.is_some())
    }

    /// SIGKILL.
    pub fn kill(&mut self, name: &str) {
        let server = self.servers.iter_mut().find(|(n, ..)| n == name).unwrap();
        server.2 = None;
        let _ = fs::remove_file(self.folder.path(&format!("{name}.sock")));
    }

    pub fn try_status(&self, name: &str) -> Option<serde_json::Value> {
        let answer = control(&self.folder.path(&format!("{name}.sock")), "STATUS")?;
        serde_json::from_str(&answer).ok()
    }

    pub fn status(&self, name: &str) -> serde_json::Value {
        self.try_status(name).expect("STATUS is answered")
    }

    /// Waits until the links to and from all running neighbours are up.
    pub fn wait_until_linked(&self, name: &str) {
        eventually(&format!("{name}'s links are up"), || {
            let status = self.try_status(name)?;
            let links = status["links"].as_array()?.clone();
            let running = |link: &&serde_json::Value| {
                self.is_running(link["name"].as_str().unwrap_or_default())
            };
            let up = |link: &serde_json::Value| link["state"] == "up" && link["heard_from"] == true;
            links.iter().filter(running).all(up).then_some(())
        });
    }

    pub fn connect(&self, name: &str) -> Client {
        Client::connect(self.port(name))
    }

    /// Sends one line on a connection of its own, half-closes, and returns all that comes back.
    pub fn say(&self, name: &str, line: &str) -> String {
        say(self.port(name), format!("{line}\n").as_bytes())
    }

    /// Waits until this server knows of the client, and returns the AT line.
    pub fn wait_until_known(&self, name: &str, client: &str) -> String {
        eventually(&format!("{name} knows {client}"), || {
            let reply = self.say(name, &format!("WHATSAT {client} 1 1"));
            reply.starts_with("AT ").then(|| reply.lines().next().unwrap().to_owned())
        })
    }

    pub fn log(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path("logs").join(format!("{name}.log"))).unwrap_or_default()
    }

    /// Waits until the log has a line with this in it.
    pub fn wait_for_log(&self, name: &str, text: &str) {
        eventually(&format!("{name}'s log says {text:?}"), || {
            self.log(name).contains(text).then_some(())
        });
    }

    /// Whether this server knows of the client now.
    pub fn knows(&self, name: &str, client: &str) -> bool {
        self.say(name, &format!("WHATSAT {client} 1 1")).starts_with("AT ")
    }

    /// Stops one server in order and waits for its end.
    pub fn stop(&mut self, name: &str) {
        let process = self.process(name);
        process.signal("-TERM");
        assert_eq!(process.exit_code(), Some(0), "{name} stops in order");
        self.kill(name);
    }
}
