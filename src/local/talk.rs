//! Talking to a server as its clients do: one line over TCP, or over its control socket.
//!
//! Blocking, each call with a deadline. Owns no state; `start`, `status`, `say` and `demo` call it.

use serde_json::Value;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use super::tls::Expected;

/// A server that runs answers its control socket within a turn of its loop; one that is stopped
/// (SIGSTOP) never does.
const CONTROL_PATIENCE: Duration = Duration::from_secs(1);

/// An answer to STATUS is a line of some hundred bytes for each link.
const STATUS_MAX_BYTES: u64 = 1 << 20;

/// A reply is an AT line and an upstream's answer, which servers bound far below this.
const REPLY_MAX_BYTES: usize = 64 << 20;

/// What a server says of itself over its control socket.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Status {
    /// Where it listens, when it says so.
    pub address: Option<String>,
    /// Open connections.
    pub connections: u64,
    /// Those of them that are clients.
    pub clients: u64,
    /// Clients' records that it holds.
    pub records: u64,
    /// Clients that had to make room for others.
    pub evicted: u64,
    /// Reports and records of new clients for which there was no room.
    pub refused: u64,
    /// The longest turn of its loop so far by the clock, in microseconds.
    pub longest_turn_us: u64,
    /// The most processor time that one turn used, in microseconds, of those that a single event did not bring.
    pub longest_turn_cpu_us: u64,
    /// Why its log is not written, while it is not.
    pub log_trouble: Option<String>,
    /// What is wrong with its journal, while something is.
    pub journal_trouble: Option<String>,
    /// Why its clock is doubted because of what it or a neighbour tells, while it is.
    pub clock_trouble: Option<String>,
    /// Look-ups of names that have no answer yet.
    pub look_ups: Vec<LookUp>,
    /// Its links, one for each neighbour.
    pub links: Vec<Link>,
}

/// One link of a server.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// The neighbour.
    pub name: String,
    /// `up`, or what it is instead.
    pub state: String,
    /// Records that the neighbour has yet to be told.
    pub backlog: u64,
    /// It has not taken all that it was sent, and replies do not wait for it.
    pub behind: bool,
    /// By how many seconds the neighbour's clock is ahead, if that is known.
    pub clock_ahead_s: Option<f64>,
}

/// One look-up that has no answer yet.
#[derive(Debug, Clone, PartialEq)]
pub struct LookUp {
    /// The name.
    pub name: String,
    /// Since when there is no answer, for people.
    pub since: String,
    /// The same in seconds.
    pub seconds: f64,
    /// Whether a thread is at it; if not, it waits for a free one.
    pub is_running: bool,
    /// How many connections wait for it.
    pub connections: u64,
}

/// Asks a server for its status.
pub fn status(socket: &Path) -> Result<Status, String> {
    parse_status(&control(socket, "STATUS")?)
}

/// Asks a process to stop.
pub fn stop(socket: &Path) -> Result<(), String> {
    control(socket, "STOP").map(drop)
}

/// Says one line to a control socket and returns the one line of the answer.
fn control(socket: &Path, line: &str) -> Result<String, String> {
    let fault = |error: std::io::Error| {
        let words = match error.kind() {
            ErrorKind::WouldBlock => "no answer in time".to_owned(),
            ErrorKind::NotFound => "there is no such socket yet".to_owned(),
            _ => error.to_string(),
        };
        format!("control socket {}: {words}", socket.display())
    };
    let mut stream = UnixStream::connect(socket).map_err(fault)?;
    stream.set_read_timeout(Some(CONTROL_PATIENCE)).map_err(fault)?;
    stream.set_write_timeout(Some(CONTROL_PATIENCE)).map_err(fault)?;
    stream.write_all(format!("{line}\n").as_bytes()).map_err(fault)?;
    let mut answer = String::new();
    BufReader::new(stream.take(STATUS_MAX_BYTES)).read_line(&mut answer).map_err(fault)?;
    if answer.ends_with('\n') {
        return Ok(answer);
    }
    Err(format!("control socket {}: closed before {line} was answered", socket.display()))
}

/// Reads the JSON of a status. Only the name is insisted on: the stand-in has neither links nor records.
fn parse_status(line: &str) -> Result<Status, String> {
    let fault = || format!("this is no status: {}", line.trim());
    let json: Value = serde_json::from_str(line).map_err(|_| fault())?;
    let number = |of: &Value, key: &str| of.get(key).and_then(Value::as_u64).unwrap_or(0);
    let text =
        |of: &Value, key: &str| of.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    json.get("name").and_then(Value::as_str).ok_or_else(fault)?;
    let list = |key: &str| json.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    Ok(Status {
        address: json.get("address").and_then(Value::as_str).map(str::to_owned),
        connections: number(&json, "connections"),
        clients: number(&json, "clients"),
        records: number(&json, "records"),
        evicted: json.pointer("/store/evicted").and_then(Value::as_u64).unwrap_or(0),
        refused: json.pointer("/store/refused").and_then(Value::as_u64).unwrap_or(0),
        longest_turn_us: number(&json, "longest_turn_us"),
        longest_turn_cpu_us: number(&json, "longest_turn_cpu_us"),
        log_trouble: json.get("log_trouble").and_then(Value::as_str).map(str::to_owned),
        clock_trouble: json
            .pointer("/clock/state")
            .and_then(Value::as_str)
            .filter(|state| state.starts_with("doubted") || state.starts_with("wrong"))
            .map(str::to_owned),
        journal_trouble: json
            .pointer("/journal/state")
            .and_then(Value::as_str)
            .filter(|state| *state != "ok")
            .map(str::to_owned),
        look_ups: list("look_ups")
            .iter()
            .map(|look_up| LookUp {
                name: text(look_up, "what"),
                since: text(look_up, "since"),
                seconds: look_up.get("seconds").and_then(Value::as_f64).unwrap_or(0.0),
                is_running: look_up.get("running").and_then(Value::as_bool).unwrap_or(false),
                connections: number(look_up, "connections"),
            })
            .collect(),
        links: list("links")
            .iter()
            .map(|link| Link {
                name: text(link, "name"),
                state: text(link, "state"),
                backlog: number(link, "backlog"),
                behind: link.get("behind").and_then(Value::as_bool).unwrap_or(false),
                clock_ahead_s: link.get("clock_ahead_s").and_then(Value::as_f64),
            })
            .collect(),
    })
}

/// Where a server's clients find it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Door {
    /// Host and port.
    pub address: String,
    /// Who has to answer, when TLS is spoken there.
    pub tls: Option<Expected>,
}

/// Says `line` to a server and closes the sending side, as `printf … | nc` does; returns
/// all that comes until the server closes too.
pub fn say(door: &Door, line: &[u8], patience: Duration) -> Result<Vec<u8>, String> {
    let address = &door.address;
    let deadline = Instant::now() + patience;
    let fault = |error: std::io::Error| match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            format!("{address} has not answered within {} s", patience.as_secs())
        }
        ErrorKind::ConnectionRefused => format!("nothing listens at {address}"),
        _ => format!("{address}: {error}"),
    };
    let mut stream = connect(address, patience).map_err(fault)?;
    stream.set_write_timeout(Some(patience)).map_err(fault)?;
    stream.set_read_timeout(Some(patience)).map_err(fault)?;
    let mut sent = line.to_vec();
    sent.push(b'\n');
    let same = stream.try_clone().map_err(fault)?;
    let mut from: Box<dyn Read> = if let Some(expected) = &door.tls {
        Box::new(expected.say(same, &sent).map_err(fault)?)
    } else {
        stream.write_all(&sent).map_err(fault)?;
        stream.shutdown(Shutdown::Write).map_err(fault)?;
        Box::new(same)
    };
    let mut reply = Vec::new();
    let mut piece = [0; 16 * 1024];
    while reply.len() < REPLY_MAX_BYTES {
        let left = deadline.saturating_duration_since(Instant::now());
        // A time-out of zero would mean none at all.
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1)))).map_err(fault)?;
        match from.read(&mut piece) {
            Ok(0) => return Ok(reply),
            Ok(length) => reply.extend_from_slice(piece.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(fault(error)),
        }
    }
    Err(format!("{address} does not stop talking"))
}

/// Connects to the first address that a host and port stand for and that answers.
fn connect(address: &str, patience: Duration) -> std::io::Result<TcpStream> {
    let mut last = std::io::Error::new(ErrorKind::NotFound, "the name stands for no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, patience) {
            // Where nobody listens, a socket may connect to itself (src/reactor/net/connect.rs).
            Ok(stream) if stream.local_addr()? == address => {
                last = ErrorKind::ConnectionRefused.into();
            }
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;
    use std::thread;

    const STATUS: &str = r#"{"name":"Alford","pid":1,"since":"2026-01-02T03:04:05Z","turns":9,"longest_turn_us":77,"longest_turn_cpu_us":55,"connections":5,"clients":3,"records":12,"links":[{"name":"Hamilton","state":"up","backlog":0,"heard_from":true},{"name":"Welsh","state":"dialling","backlog":4,"heard_from":false}],"upstream":"google"}"#;

    #[test]
    fn a_status_is_read() {
        let status = parse_status(STATUS).unwrap();
        assert_eq!((status.connections, status.clients, status.records), (5, 3, 12));
        assert_eq!((status.longest_turn_us, status.longest_turn_cpu_us), (77, 55));
        let links: Vec<_> =
            status.links.iter().map(|l| (l.name.as_str(), l.state.as_str(), l.backlog)).collect();
        assert_eq!(links, [("Hamilton", "up", 0), ("Welsh", "dialling", 4)]);
    }

    #[test]
    fn what_waits_is_read() {
        let line = r#"{"name":"A","journal":{"state":"a sync has not come back for 6.1 s"},"look_ups":[
            {"what":"places.test","since":"2026-01-02T03:04:05Z","seconds":7.5,"running":true,"connections":3}]}"#;
        let status = parse_status(line).unwrap();
        let slow = Some("a sync has not come back for 6.1 s");
        assert_eq!(status.journal_trouble.as_deref(), slow);
        let (name, since) = ("places.test".to_owned(), "2026-01-02T03:04:05Z".to_owned());
        let look_up = LookUp { name, since, seconds: 7.5, is_running: true, connections: 3 };
        assert_eq!(status.look_ups, [look_up]);
    }

    #[test]
    fn the_stand_in_says_where_it_listens_and_has_no_links() {
        let status = parse_status(r#"{"name":"places","address":"127.0.0.1:7"}"#).unwrap();
        assert_eq!((status.address.as_deref(), status.links.len()), (Some("127.0.0.1:7"), 0));
    }

    #[test]
    fn what_is_no_status_is_refused() {
        for line in ["", "hello\n", "{}", "[1]", r#"{"name":3}"#] {
            assert!(parse_status(line).unwrap_err().starts_with("this is no status"), "{line}");
        }
    }

    /// A control socket that reads one line and answers with `answer`.
    fn fake_control(name: &str, answer: &'static str) -> std::path::PathBuf {
        // From the working directory: a whole path could be too long for a socket's name.
        let folder = Path::new("target/local-tests");
        std::fs::create_dir_all(folder).unwrap();
        let path = folder.join(format!("{name}-{}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = String::new();
            BufReader::new(&stream).read_line(&mut asked).unwrap();
            assert_eq!(asked, "STATUS\n");
            stream.write_all(answer.as_bytes()).unwrap();
            stream
        });
        path
    }

    #[test]
    fn a_status_is_asked_for_over_the_control_socket() {
        let line: &'static str = Box::leak(format!("{STATUS}\n").into_boxed_str());
        let path = fake_control("answers", line);
        assert_eq!(status(&path).unwrap().records, 12);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn an_answer_cut_short_and_a_missing_socket_are_told_apart() {
        let path = fake_control("cut", "{\"links\"");
        assert!(status(&path).unwrap_err().contains("closed before STATUS was answered"));
        std::fs::remove_file(&path).unwrap();
        assert!(status(&path).unwrap_err().contains("no such socket yet"));
    }

    fn plain(address: &str) -> Door {
        Door { address: address.to_owned(), tls: None }
    }

    /// A server that reads to the end of the input and then does as `answer` says.
    fn fake_server(answer: impl FnOnce(TcpStream, Vec<u8>) + Send + 'static) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard).unwrap();
            answer(stream, heard);
        });
        address
    }

    #[test]
    fn a_line_is_said_and_the_reply_read_to_its_end() {
        let address = fake_server(|mut stream, heard| {
            stream.write_all(b"? ").unwrap();
            stream.write_all(&heard).unwrap();
        });
        let reply = say(&plain(&address), b"hi \xff", Duration::from_secs(10)).unwrap();
        assert_eq!(reply, b"? hi \xff\n");
    }

    #[test]
    fn a_server_that_is_silent_or_absent_is_named() {
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let address = fake_server(move |_stream, _| {
            let _ = wait.recv();
        });
        let fault = say(&plain(&address), b"hi", Duration::from_millis(50)).unwrap_err();
        assert!(fault.contains(&address) && fault.contains("not answered within"), "{fault}");
        drop(done);
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let fault = say(&plain(&free), b"hi", Duration::from_secs(10)).unwrap_err();
        assert_eq!(fault, format!("nothing listens at {free}"));
    }
}
