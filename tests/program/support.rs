//! What the tests of the whole program share: folders, ports, processes, clients, waiting.
//!
//! Nothing sleeps for luck: [`eventually`] waits for a condition with a deadline. Every process is
//! killed when its value is dropped, so a failing test leaves none behind.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Far more than anything takes on a busy machine; it only bounds how long a failure takes.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// The program under test.
pub const HERD: &str = env!("CARGO_BIN_EXE_herd");

/// Waits until `condition` gives something, or fails with `what`.
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A folder of the test's own, removed when dropped.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // Short, because the paths of Unix sockets are bounded.
        let path = std::env::temp_dir().join(format!("herd-{}-{count}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Ports on which nobody listens, below those that the system gives to outgoing connections, which other
/// tests make meanwhile. No two tests get the same.
pub fn free_ports(count: usize) -> Vec<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id() % 10_000;
    let port = || 20_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
    let ports = std::iter::repeat_with(|| u16::try_from(port()).unwrap());
    ports.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).take(count).collect()
}

/// Runs `herd` with arguments to its end.
pub fn herd(arguments: &[&str]) -> Output {
    run_to_end(Command::new(HERD).args(arguments))
}

/// One running process, with its standard error in a file.
pub struct Process {
    pub child: Child,
    pub name: String,
    errors: PathBuf,
}

impl Process {
    pub fn spawn(name: &str, command: &mut Command, folder: &Folder) -> Self {
        let errors = folder.path(&format!("{name}.err"));
        let child = command
            .stdin(Stdio::null())
            .stderr(fs::File::create(&errors).unwrap())
            .spawn()
            .unwrap();
        Self { child, name: name.to_owned(), errors }
    }

    pub fn errors(&self) -> String {
        fs::read_to_string(&self.errors).unwrap_or_default()
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- standard error of {} ---\n{}", self.name, self.errors());
        }
    }
}

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

/// A herd of real processes on ports of its own.
pub struct Herd {
    // Before the folder, which has to outlive the processes that write into it.
    pub servers: Vec<(String, u16, Option<Process>)>,
    pub folder: Folder,
    /// Added to each server's command line.
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
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
        Self { folder, servers, arguments, environment: Vec::new() }
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

    /// Starts one server and waits until it answers on its control socket.
    pub fn start_one(&mut self, name: &str) {
        let mut command = Command::new(HERD);
        command
            .args(["serve", name, "--topology"])
            .arg(self.folder.path("topology.txt"))
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
        eventually(&format!("{name} answers STATUS"), || self.try_status(name));
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
}

/// One question over a control socket.
pub fn control(path: &Path, line: &str) -> Option<String> {
    let mut stream = UnixStream::connect(path).ok()?;
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(format!("{line}\n").as_bytes()).ok()?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).ok()?;
    Some(answer)
}

/// Sends bytes, half-closes, and returns all that comes back: what `printf … | nc -N` does.
pub fn say(port: u16, bytes: &[u8]) -> String {
    let mut client = Client::connect(port);
    client.send(bytes);
    client.finish();
    client.rest()
}

/// A client's connection.
pub struct Client {
    pub stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Client {
    pub fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Self { stream, reader }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Half-close: no more to say, but still listening.
    pub fn finish(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// The next line, without its LF.
    pub fn line(&mut self) -> Vec<u8> {
        let mut line = Vec::new();
        self.reader.read_until(b'\n', &mut line).unwrap();
        assert_eq!(line.pop(), Some(b'\n'), "the connection ended within a line: {line:?}");
        line
    }

    pub fn text_line(&mut self) -> String {
        String::from_utf8(self.line()).unwrap()
    }

    /// Sends a line and returns the next line that comes back.
    pub fn ask(&mut self, line: &str) -> String {
        self.send(format!("{line}\n"));
        self.text_line()
    }

    /// A WHATSAT's reply: the AT line, and the JSON up to the empty line.
    pub fn places_reply(&mut self) -> (String, String) {
        let at_line = self.text_line();
        let mut json = String::new();
        loop {
            let line = self.text_line();
            if line.is_empty() {
                return (at_line, json);
            }
            json += &line;
            json.push('\n');
        }
    }

    /// Everything until the server closes.
    pub fn rest(&mut self) -> String {
        let mut text = Vec::new();
        self.reader.read_to_end(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    }
}

/// Two servers, one link: where a test plays one of them by hand.
pub const PAIR: Shape = &[("Left", "Right"), ("Right", "")];

impl Client {
    /// A connection that was accepted, or made in another way.
    pub fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Self { stream, reader }
    }

    /// Everything until the connection ends, in order or by a reset.
    pub fn until_cut(&mut self) -> String {
        let mut text = Vec::new();
        if let Err(e) = self.reader.read_to_end(&mut text) {
            assert_eq!(e.kind(), std::io::ErrorKind::ConnectionReset, "{e}");
        }
        String::from_utf8(text).unwrap()
    }
}

impl Herd {
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

impl Process {
    /// Waits for its end. `None`: by a signal.
    pub fn exit_code(&mut self) -> Option<i32> {
        let child = &mut self.child;
        eventually("the process ends", || child.try_wait().unwrap()).code()
    }
}

/// Runs a command to its end, which has to come by itself.
pub fn run_to_end(command: &mut Command) -> Output {
    command.env_remove("PLACES_API_KEY").stdin(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + DEADLINE;
    while child.try_wait().unwrap().is_none() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    let _ = child.kill();
    child.wait_with_output().unwrap()
}
