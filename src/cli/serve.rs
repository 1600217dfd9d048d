//! `herd serve`: one server of the herd, from flags to a running loop.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use pico_args::Arguments;

use super::bounds;
use super::files::FileOptions;
use super::kept::KeptOptions;
use super::options::{LogOptions, nothing_left, path};
use super::outcome::{Failure, show};
use crate::herd::Herd;
use crate::keys::refuse_shared_key;
use crate::reactor::bounds::descriptors;
use crate::reactor::{Limits, Reactor, Target, TlsClient};
use crate::server::bounds::Bounds;
use crate::server::clock::Seldom;
use crate::server::doors::{Doors, Purpose};
use crate::server::journal::Journal;
use crate::server::link::Links;
use crate::server::places::upstream::{KEY_ENVIRONMENT, Secret, Upstream};
use crate::server::places::{self, CACHE_LIFETIME, CALLS_PER_SECOND, Places, QUESTION_TIMEOUT};
use crate::server::reload::{Reload, room_apart};
use crate::server::trust::Trust;
use crate::server::{Event, Server, control, random, unix_nanos};
use crate::wire::http::request::Url;

const HELP: &str = "\
herd serve NAME [options]

Runs the server NAME of a topology. It answers IAMAT and WHATSAT, tells its neighbours what it
hears, and asks Google Places what is near. SIGTERM and Ctrl-C stop it in order; SIGHUP reads
the topology and the keys anew; SIGUSR1 and SIGHUP open its log anew.

  --topology FILE         who talks with whom (default topology.txt)
  --keys DIR              the keys of this server, or of all (`herd keys DIR` makes them): links are
                          TLS, and neighbours prove who they are; without it links are plain text
                          and must stay on this machine
  --clients any|tls       whether clients may speak plain text too (default any; tls needs --keys)
  --listen ADDR           listen here instead of at the address that the topology gives
  --listen-links ADDR     listen here for links instead of at the address behind links= in the topology
  --log-dir DIR           log to DIR/NAME.log instead of standard error
  --log-level LEVEL       off, error, warn, info (default), debug, trace
  --log-mode OCTAL        the mode of that file (default 600: it holds everybody's places)
  --upstream NAME         google (default), google-new, overpass or tweets
  --places URL            ask this server instead of the upstream's own, as https://host:port; a path
                          stands before the upstream's own, unless it ends with that already
  --places-ca FILE        trust the certificates in FILE (PEM) instead of those of the web
  --places-key-file FILE  the upstream's key; else it is read from the variable PLACES_API_KEY
  --places-timeout SECS   all the time that a question to the upstream has (default 10)
  --places-rate N         calls a second to the upstream (default 50, and twice as many at once); what is
                          beyond it waits, and is OVER_QUERY_LIMIT when its time is over (0: off)
  --places-cache SECS     so long an answer serves whoever asks for the same place and radius again
                          (default 5; 0: off)
  --catch-up off          a neighbour that comes back gets only what is new from then on
  --journal DIR           keep what is known in DIR/NAME.journal, and begin with it at the next start
  --sync WHEN             always (clients are told when it is on disk), second (default) or never
  --forget-after SECONDS  forget clients that nobody has heard for so long (default: never)
  --max-clients N         know so many clients (default 1000000)
  --max-memory BYTES      and let them weigh so much: each 384 bytes and its ID (default 1073741824)
  --when-full WHAT        evict (default): the clients unheard for the longest make room for new
                          ones; refuse: the reports of new ones are refused
  --max-ahead SECONDS     refuse reports from further ahead of this clock (default 86400, a day; 0: none)
  --control SOCKET        a Unix socket that answers STATUS and STOP
";

/// The longest `--places-timeout`.
const QUESTION_TIMEOUT_MAX: Duration = Duration::from_secs(50);

/// The greatest `--places-rate`.
const CALLS_PER_SECOND_MAX: u32 = 1_000_000;

/// The longest `--places-cache`.
const CACHE_LIFETIME_MAX: Duration = Duration::from_secs(3600);

/// What the command line asks for, checked word by word but not yet against the world.
struct Options {
    name: String,
    files: FileOptions,
    upstream: Upstream,
    url: Option<String>,
    ca: Option<PathBuf>,
    key_file: Option<PathBuf>,
    question_timeout: Duration,
    calls_per_second: u32,
    cache: Duration,
    kept: KeptOptions,
    limits: Limits,
    bounds: Bounds,
    control: Option<PathBuf>,
    log: LogOptions,
}

/// Runs the command with what is left of the command line, until it is stopped.
pub fn run(mut arguments: Arguments) -> Result<(), Failure> {
    if arguments.contains(["-h", "--help"]) {
        return show(&[HELP, bounds::HELP].concat());
    }
    let options = Options::read(arguments)?;
    let control = options.control.clone();
    let mut reactor = build(options)?;
    let outcome = reactor.run();
    let cx = reactor.context();
    if let Some(journal) = &mut cx.app.journal {
        journal.close(&cx.app.herd);
    }
    log::info!("{} has stopped", reactor.app().herd.name());
    reactor.app().log.last_words();
    if let Some(path) = &control {
        let _ = std::fs::remove_file(path);
    }
    Ok(outcome.map_err(|e| format!("the event loop cannot go on: {e}"))?)
}

impl Options {
    fn read(mut arguments: Arguments) -> Result<Self, Failure> {
        let files = FileOptions::take(&mut arguments)?;
        let upstream = arguments.opt_value_from_fn("--upstream", Upstream::parse)?;
        let url = arguments.opt_value_from_str("--places")?;
        let ca = path(&mut arguments, "--places-ca")?;
        let key_file = path(&mut arguments, "--places-key-file")?;
        let timeout = arguments.opt_value_from_fn("--places-timeout", seconds)?;
        let rate = arguments.opt_value_from_fn("--places-rate", calls_per_second)?;
        let cache = arguments.opt_value_from_fn("--places-cache", cache_lifetime)?;
        let kept = KeptOptions::take(&mut arguments)?;
        let (limits, bounds) = bounds::take(&mut arguments)?;
        let control = path(&mut arguments, "--control")?;
        let log = LogOptions::take(&mut arguments)?;
        let name: Option<String> = arguments.opt_free_from_fn(|word| {
            if word.starts_with('-') {
                Err(format!("unknown flag {word:?}"))
            } else {
                Ok(word.to_owned())
            }
        })?;
        nothing_left(arguments, "herd serve")?;
        let Some(name) = name else {
            return Err(Failure::Usage(
                "which server? herd serve NAME, with a NAME of the topology".to_owned(),
            ));
        };
        Ok(Self {
            name,
            files,
            upstream: upstream.unwrap_or(Upstream::Google),
            url,
            ca,
            key_file,
            question_timeout: timeout.unwrap_or(QUESTION_TIMEOUT),
            calls_per_second: rate.unwrap_or(CALLS_PER_SECOND),
            cache: cache.unwrap_or(CACHE_LIFETIME),
            kept,
            limits,
            bounds,
            control,
            log,
        })
    }
}

fn build(options: Options) -> Result<Reactor<Server>, Failure> {
    descriptors::prepare(options.limits.connections);
    let name = options.name.clone();
    let mut files = options.files.read(&name)?;
    for warning in &files.warnings {
        // Where this cannot be written, the work still can be done.
        let _ = writeln!(io::stderr(), "{warning}");
    }
    let places = places_config(&options)?;
    let without_key = options.upstream.needs_key() && places.key.is_none();
    let question = (places.upstream, places.url.host_field());
    let log = options.log.start(&name)?;

    let max_connections = options.limits.connections;
    let trust = std::mem::replace(&mut files.believed.trust, Trust::Addresses(BTreeMap::new()));
    let settings = options.kept.settings();
    let herd = Herd::new(files.topology.clone(), files.me, random().max(1), settings);
    let neighbours = herd.neighbours().count();
    let app = Server {
        links: Links::new(&herd, trust),
        herd,
        places: Places::new(places),
        journal: None,
        log,
        started: 0,
        clients: 0,
        bounds: options.bounds,
        answers: Vec::new(),
        held_bytes: 0,
        expiry: files.believed.expiry.take(),
        clock_origin: Instant::now(),
        refused_from_ahead: Seldom::default(),
        jumped: Seldom::default(),
        clock: 0,
        next_stamp: 0,
        fullness_is_logged: false,
        reload: None,
    };
    let mut reactor = Reactor::with_limits(app, options.limits)
        .map_err(|e| format!("the event loop cannot start: {e}"))?;
    reactor.app().started = unix_nanos(reactor.io().wall_clock());
    let mut doors = Doors::default();
    doors
        .change(&files.doors(), reactor.io())
        .map_err(|why| format!("{name} {why} (is it running already? see scripts/herd status)"))?;
    if let Some(path) = &options.control {
        control::listen(&mut reactor, path)?;
    }
    reactor.io().catch_signals().map_err(|e| format!("cannot catch signals: {e}"))?;
    let [address, links] =
        [Purpose::Clients, Purpose::Links].map(|purpose| doors.in_words(purpose, reactor.io()));
    let links = if links.is_empty() { links } else { format!(" (links on {links})") };
    reactor.app().reload = Some(Reload::new(options.files.reader(&name), doors));
    let (upstream, host) = question;
    log::info!(
        "{name} starts on {address}{links} with {neighbours} neighbours; places: {upstream} at {host}"
    );
    log::info!("{}", options.files.words());
    if without_key {
        log::warn!(
            "places: no key is given ({KEY_ENVIRONMENT} or --places-key-file); {upstream} may refuse"
        );
    }
    recall(&mut reactor, &options.kept)?;
    tell_of_room(&mut reactor, max_connections);
    let cx = reactor.context();
    cx.app.look_at_expiry(cx.io);
    cx.app.links.expect_missing(&cx.app.herd, cx.io);
    for id in cx.app.herd.neighbours() {
        cx.app.links.dial(&cx.app.herd, id, cx.io);
    }
    Ok(reactor)
}

/// Accepting is to pause before the process is out of descriptors. Everything that stays open is open.
fn tell_of_room(reactor: &mut Reactor<Server>, max_connections: usize) {
    let apart = room_apart(&reactor.app().herd);
    let room = reactor.io().fit_to_descriptors(apart);
    if room < max_connections {
        log::info!(
            "there is room for {room} connections and not for --max-connections {max_connections}: this \
             process may have too few descriptors (ulimit -n)"
        );
    }
}

/// Takes in what an earlier start has left. Only when the port is this server's, so that a second one
/// that was started by mistake never touches the journal of the first.
fn recall(reactor: &mut Reactor<Server>, kept: &KeptOptions) -> Result<(), Failure> {
    let cx = reactor.context();
    cx.app.look_at_clock(cx.io);
    if kept.forgets() {
        cx.app.forget(cx.io);
    }
    if let Some(folder) = &kept.journal {
        cx.app.journal = Some(Journal::open(folder, kept.sync, &mut cx.app.herd)?);
        cx.app.warn_of_strangers();
        // The first turn comes at once and finishes the opening: what was torn is cut off.
        cx.io.post(Target::Application, Event::PumpAgain);
    }
    Ok(())
}

fn places_config(options: &Options) -> Result<places::Config, Failure> {
    let url = match &options.url {
        Some(text) => Url::parse(text).map_err(|e| Failure::Usage(format!("--places: {e}")))?,
        None => Url::parse(&format!("https://{}", options.upstream.default_host()))?,
    };
    let tls = match &options.ca {
        None => TlsClient::web()?,
        Some(path) => {
            let shown = path.display();
            let pem =
                std::fs::read(path).map_err(|e| format!("cannot read --places-ca {shown}: {e}"))?;
            TlsClient::from_pem(&pem).map_err(|e| format!("--places-ca {shown}: {e}"))?
        }
    };
    let key = read_key(options)?;
    Ok(places::Config {
        upstream: options.upstream,
        url,
        tls,
        key,
        question_timeout: options.question_timeout,
        calls_per_second: options.calls_per_second,
        cache: options.cache,
    })
}

/// From the file, or else from the environment; never from the command line, which others can read.
fn read_key(options: &Options) -> Result<Option<Secret>, Failure> {
    if let Some(path) = &options.key_file {
        let shown = path.display();
        refuse_shared_key(path).map_err(|e| format!("--places-key-file {e}"))?;
        let bytes = std::fs::read(path)
            .map_err(|e| format!("cannot read --places-key-file {shown}: {e}"))?;
        let key = Secret::parse(&bytes).map_err(|e| format!("--places-key-file {shown}: {e}"))?;
        return Ok(Some(key));
    }
    match std::env::var_os(KEY_ENVIRONMENT) {
        None => Ok(None),
        Some(value) if value.is_empty() => Ok(None),
        Some(value) => {
            let key = Secret::parse(value.as_encoded_bytes());
            Ok(Some(key.map_err(|e| format!("the variable {KEY_ENVIRONMENT}: {e}"))?))
        }
    }
}

fn calls_per_second(word: &str) -> Result<u32, String> {
    let number = word.parse().ok().filter(|number| *number <= CALLS_PER_SECOND_MAX);
    number.ok_or_else(|| {
        format!(
            "--places-rate {word:?}: a whole number from 0 (off) to {CALLS_PER_SECOND_MAX} is needed"
        )
    })
}

fn cache_lifetime(word: &str) -> Result<Duration, String> {
    let max = CACHE_LIFETIME_MAX.as_secs();
    let seconds = word.parse::<f64>().ok().filter(|s| *s >= 0.0);
    let duration = seconds.and_then(|s| Duration::try_from_secs_f64(s).ok());
    duration.filter(|d| *d <= CACHE_LIFETIME_MAX).ok_or_else(|| {
        format!("--places-cache {word:?}: a number of seconds from 0 (off) to {max} is needed")
    })
}

fn seconds(word: &str) -> Result<Duration, String> {
    let seconds = word.parse::<f64>().ok().filter(|s| *s > 0.0);
    let duration = seconds.and_then(|s| Duration::try_from_secs_f64(s).ok());
    duration.filter(|d| *d <= QUESTION_TIMEOUT_MAX).ok_or_else(|| {
        format!(
            "--places-timeout {word:?}: a number of seconds above 0 and up to {} is needed",
            QUESTION_TIMEOUT_MAX.as_secs()
        )
    })
}
