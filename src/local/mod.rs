//! A herd on one machine: starts its servers, watches them, talks to them and stops them.
//!
//! Plain blocking code: waiting for five processes needs no event loop. This file owns the commands and
//! their exit codes; each command has a file of its own. The run folder (`run_dir`) records what runs,
//! so that one command finds what another started. Called by the command line.

mod demo;
mod demo_checks;
mod keys;
mod leftovers;
mod local_herd;
mod logs;
mod options;
mod print;
mod process;
mod ready;
mod run_dir;
mod stand_in;
mod start;
mod status;
mod stop;
mod talk;
mod tls;

use pico_args::Arguments;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use local_herd::LocalHerd;
use options::Options;
use print::show;

pub use print::program;
use run_dir::RunDir;

/// The commands of this module, as the help lists them.
pub const HELP: &str = "\
  start [NAME…]     start the servers of the topology, or some; return when they answer and are linked
  stop [NAME…]      stop them
  restart [NAME…]   stop them and start them again, with the same options
  status            how each one is; exit code 3 when something is down
  logs [-f] [NAME…] the ends of their logs in order of time; -f goes on with what comes
  say NAME 'LINE'   send one line, print the reply
  kill NAME         end one without a warning, for experiments; start NAME brings it back
  demo              a herd of its own, with the scenarios of the original reports played on it

start and restart take, and hand on to every server:
  --topology FILE         who there is (default: topology.txt at the top of the repository)
  --keys DIR              the servers' keys (default: those that are made in the run folder)
  --clients any|tls       whether clients may speak plain text too (default any)
  --upstream NAME         google, google-new, overpass or tweets
  --places-key-file FILE  the file with the API key; or set PLACES_API_KEY
  --places URL            another server with the same interface
  --places-ca FILE        the certificate that it is believed by
  --catch-up off          a server that comes back gets only what is new
  --sync WHEN             the journals, in run/journal, are on disk always, each second or never
  --forget-after SECONDS  forget clients that nobody has heard for so long
  --max-clients N         know so many clients
  --max-memory BYTES      and let them weigh so much
  --when-full WHAT        evict (default) those unheard for the longest, or refuse new ones
  --max-ahead SECONDS     refuse reports from further ahead of the servers' clocks
  --log-level LEVEL       error, warn, info (default), debug or trace
  --log-max BYTES         the room of each log (default 67108864; 0: others see to that)
  --log-mode OCTAL        who may read the logs (default 600)
  --max-connections N     and every other bound that `herd serve --help` tells of
Without a key and without --upstream or --places a stand-in for Google Places is started too.

Everywhere: --run DIR (or HERD_RUN) keeps process files, sockets, logs and journals there and not in run/.
";

/// The exit code of `status` when something is down.
const EXIT_DOWN: u8 = 3;

/// WHATSAT waits for its upstream, which servers give up on after some seconds.
const SAY_PATIENCE: Duration = Duration::from_secs(60);

/// The example of the protocol.
const LINE_TO_TRY: &str = "IAMAT kiwi.cs.ucla.edu +34.068930-118.445127 1479413884.392014450";

/// Why a command failed.
pub enum Failure {
    /// The command line is wrong.
    Usage(String),
    /// The command line is right, and it did not work.
    Other(String),
}

impl From<String> for Failure {
    fn from(words: String) -> Self {
        Self::Other(words)
    }
}

/// The commands that [`run`] knows.
pub const COMMANDS: [&str; 8] =
    ["start", "stop", "restart", "status", "logs", "say", "kill", "demo"];

/// Runs one of [`COMMANDS`] with what is left of the command line. Gives the exit code.
pub fn run(command: &str, mut arguments: Arguments) -> Result<ExitCode, Failure> {
    if arguments.contains(["-h", "--help"]) {
        show(HELP);
        return Ok(ExitCode::SUCCESS);
    }
    let usage = |error: pico_args::Error| Failure::Usage(error.to_string());
    let folder: Option<PathBuf> = arguments.opt_value_from_str("--run").map_err(usage)?;
    let given = Options::take(&mut arguments).map_err(Failure::Usage)?;
    let follow = command == "logs" && arguments.contains(["-f", "--follow"]);
    let words = arguments.finish();

    let root = std::env::var_os("HERD_ROOT").map_or_else(|| PathBuf::from("."), PathBuf::from);
    let root = std::path::absolute(root).map_err(|error| error.to_string())?;
    let folder = folder
        .or_else(|| std::env::var_os("HERD_RUN").map(PathBuf::from))
        .unwrap_or_else(|| root.join("run"));
    let run = RunDir::enter(&folder)?;
    let place = Place { root, run, given };

    match command {
        "start" => place.start(&names(&words)?),
        "restart" => place.restart(&names(&words)?),
        "stop" => done(stop::stop(&place.run, &names(&words)?)),
        "kill" => match names(&words)?.as_slice() {
            [name] => done(stop::kill(&place.run, name)),
            _ => Err(Failure::Usage("kill wants one NAME".to_owned())),
        },
        "status" => place.status(&words),
        "logs" => {
            logs::logs(&place.run, &names(&words)?, follow)?;
            Ok(ExitCode::SUCCESS)
        }
        "say" => place.say(&words),
        "demo" => place.demo(&words),
        _ => Err(Failure::Usage(format!("there is no command {command:?}"))),
    }
}

/// Where a command works, and with what options it was given.
struct Place {
    root: PathBuf,
    run: RunDir,
    given: Options,
}

impl Place {
    /// The herd with the options that were given, and for the rest those that it was started with.
    fn herd(self) -> Result<LocalHerd, String> {
        let noted = Options::noted(&self.run.options())?;
        open(&self.root, self.run, self.given.or(noted))
    }

    fn start(self, names: &[String]) -> Result<ExitCode, Failure> {
        // What an earlier herd was started with counts only while some of it still runs.
        let herd = if stop::anything_runs(&self.run)? {
            self.herd()?
        } else {
            open(&self.root, self.run, self.given)?
        };
        start(&herd, names)
    }

    fn restart(self, names: &[String]) -> Result<ExitCode, Failure> {
        // The herd is read before anything is stopped: a faulty topology must not stop the old one.
        let herd = self.herd()?;
        herd.choose(names)?;
        let running = stop::known(&herd.run)?;
        let stopped: Vec<String> =
            names.iter().filter(|name| running.contains(name)).cloned().collect();
        if names.is_empty() || !stopped.is_empty() {
            show(stop::stop(&herd.run, &stopped)?);
        }
        start(&herd, names)
    }

    fn status(self, words: &[OsString]) -> Result<ExitCode, Failure> {
        nothing_more(words)?;
        let (text, all_well) = status::status(&self.herd()?)?;
        show(text);
        Ok(if all_well { ExitCode::SUCCESS } else { ExitCode::from(EXIT_DOWN) })
    }

    fn say(self, words: &[OsString]) -> Result<ExitCode, Failure> {
        let [name, line] = words else {
            return Err(Failure::Usage("say wants NAME and 'LINE', the line in quotes".to_owned()));
        };
        let herd = self.herd()?;
        let id = herd.find(&name.to_string_lossy())?;
        show(talk::say(&herd.door(id), line.as_bytes(), SAY_PATIENCE)?);
        Ok(ExitCode::SUCCESS)
    }

    fn demo(self, words: &[OsString]) -> Result<ExitCode, Failure> {
        nothing_more(words)?;
        demo::demo(&self.root, &self.run)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn open(root: &Path, run: RunDir, options: Options) -> Result<LocalHerd, String> {
    let key_in_environment = std::env::var_os("PLACES_API_KEY").is_some_and(|key| !key.is_empty());
    LocalHerd::open(root, run, options, key_in_environment)
}

/// Starts servers, and shows what runs and a line to try on it.
fn start(herd: &LocalHerd, names: &[String]) -> Result<ExitCode, Failure> {
    start::start(herd, names)?;
    show(start::table(herd, names)?);
    let name = names.first().map_or_else(|| herd.first_name(), String::as_str);
    show(format!("\nTry: {} say {name} '{LINE_TO_TRY}'\n", program()));
    Ok(ExitCode::SUCCESS)
}

/// Shows what a command has to say.
fn done(said: Result<String, String>) -> Result<ExitCode, Failure> {
    show(said?);
    Ok(ExitCode::SUCCESS)
}

/// The words that are left as names of servers.
fn names(words: &[OsString]) -> Result<Vec<String>, Failure> {
    words
        .iter()
        .map(|word| match word.to_str() {
            Some(name) if !name.starts_with('-') => Ok(name.to_owned()),
            _ => Err(Failure::Usage(format!("there is no option \"{}\" here", word.display()))),
        })
        .collect()
}

fn nothing_more(words: &[OsString]) -> Result<(), Failure> {
    words
        .first()
        .map_or(Ok(()), |word| Err(Failure::Usage(format!("what is \"{}\" for?", word.display()))))
}
