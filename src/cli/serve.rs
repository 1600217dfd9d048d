//! `herd serve`: one server of the herd, from flags to a running loop.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use pico_args::Arguments;

use super::kept::KeptOptions;
use super::options::{LogOptions, TOPOLOGY, address, nothing_left, path, topology};
use super::trust::TrustOptions;
use super::{Failure, bounds, show};
use crate::herd::Herd;
use crate::reactor::{Limits, ListenOptions, Reactor, Target, TlsClient, descriptors};
use crate::server::bounds::Bounds;
use crate::server::client::Clients;
use crate::server::clock::Seldom;
use crate::server::journal::Journal;
use crate::server::link::Links;
use crate::server::places::upstream::{KEY_ENVIRONMENT, Secret, Upstream};
use crate::server::places::{self, Places, QUESTION_TIMEOUT};
use crate::server::{Event, Server, control, random, unix_nanos};
use crate::wire::http::request::Url;

const HELP: &str = "\
herd serve NAME [options]

Runs the server NAME of a topology. It answers IAMAT and WHATSAT, tells its neighbours what it
hears, and asks Google Places what is near. SIGTERM and Ctrl-C stop it in order; SIGHUP opens
its log anew.

  --topology FILE         who talks with whom (default topology.txt)
  --keys DIR              the keys of this server, or of all (`herd keys DIR` makes them): links are
                          TLS, and neighbours prove who they are; without it links are plain text
                          and must stay on this machine
  --clients any|tls       whether clients may speak plain text too (default any; tls needs --keys)
  --listen ADDR           listen here instead of at the address that the topology gives
  --log-dir DIR           log to DIR/NAME.log instead of standard error
  --log-level LEVEL       off, error, warn, info (default), debug, trace
  --upstream NAME         google (default), google-new, overpass or tweets
  --places URL            ask this server instead of the upstream's own, as https://host:port
  --places-ca FILE        trust the certificates in FILE (PEM) instead of those of the web
  --places-key-file FILE  the upstream's key; else it is read from the variable PLACES_API_KEY
  --places-timeout SECS   all the time that a question to the upstream has (default 10)
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

/// What the command line asks for, checked word by word but not yet against the world.
struct Options {
    name: String,
    topology: PathBuf,
    trust: TrustOptions,
    listen: Option<String>,
    upstream: Upstream,
    url: Option<String>,
    ca: Option<PathBuf>,
    key_file: Option<PathBuf>,
    question_timeout: Duration,
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
        let topology = path(&mut arguments, "--topology")?;
        let trust = TrustOptions::take(&mut arguments)?;
        let listen = arguments.opt_value_from_str("--listen")?;
        let upstream = arguments.opt_value_from_fn("--upstream", Upstream::parse)?;
        let url = arguments.opt_value_from_str("--places")?;
        let ca = path(&mut arguments, "--places-ca")?;
        let key_file = path(&mut arguments, "--places-key-file")?;
        let timeout = arguments.opt_value_from_fn("--places-timeout", seconds)?;
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
            trust,
            topology: topology.unwrap_or_else(|| PathBuf::from(TOPOLOGY)),
            listen,
            upstream: upstream.unwrap_or(Upstream::Google),
            url,
            ca,
            key_file,
            question_timeout: timeout.unwrap_or(QUESTION_TIMEOUT),
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
    let topology = topology(&options.topology)?;
    let me = topology.by_name(options.name.as_bytes()).ok_or_else(|| {
        let names: Vec<&str> = topology.ids().map(|id| topology.name(id)).collect();
        Failure::Usage(format!(
            "no server {:?} in the topology; there are {}",
            options.name,
            names.join(", ")
        ))
    })?;
    let listen = match (&options.listen, topology.server(me)) {
        (Some(text), _) => address(text).map_err(Failure::Usage)?,
        (None, Some(entry)) => address(&entry.address())?,
        (None, None) => return Err(Failure::Failed("the topology has no such server".to_owned())),
    };
    let believed = options.trust.read(&topology, me, listen)?;
    let places = places_config(&options)?;
    let without_key = options.upstream.needs_key() && places.key.is_none();
    let question = (places.upstream, places.url.host_field());
    let log = options.log.start(&options.name)?;

    let max_connections = options.limits.connections;
    let name = options.name;
    let herd = Herd::new(topology, me, random().max(1), options.kept.settings());
    let neighbours = herd.neighbours().count();
    let app = Server {
        links: Links::new(&herd, believed.trust),
        herd,
        places: Places::new(places),
        journal: None,
        log,
        started: 0,
        clients: 0,
        bounds: options.bounds,
        answers: Vec::new(),
        held_bytes: 0,
        expiry: believed.expiry,
        clock_origin: Instant::now(),
        refused_from_ahead: Seldom::default(),
        jumped: Seldom::default(),
        clock: 0,
        next_stamp: 0,
        fullness_is_logged: false,
    };
    let mut reactor = Reactor::with_limits(app, options.limits)
        .map_err(|e| format!("the event loop cannot start: {e}"))?;
    reactor.app().started = unix_nanos(reactor.io().wall_clock());
    let speech = ListenOptions { speech: believed.speech };
    let listener = reactor.io().listen_tcp(listen, speech, Box::new(Clients));
    let listener = listener.map_err(|e| {
        format!(
            "{name} cannot listen on {listen}: {e} (is it running already? see scripts/herd status)"
        )
    })?;
    if let Some(path) = &options.control {
        control::listen(&mut reactor, path)?;
    }
    reactor.io().catch_signals().map_err(|e| format!("cannot catch signals: {e}"))?;
    let address = reactor.io().local_address(listener).unwrap_or(listen);
    let (upstream, host) = question;
    log::info!(
        "{name} starts on {address} with {neighbours} neighbours; places: {upstream} at {host}"
    );
    log::info!("{}", options.trust.words());
    if without_key {
        log::warn!(
            "places: no key is given ({KEY_ENVIRONMENT} or --places-key-file); {upstream} may refuse"
        );
    }
    recall(&mut reactor, &options.kept)?;
    tell_of_room(&mut reactor, max_connections);
    let cx = reactor.context();
    cx.app.look_at_expiry(cx.io);
    for id in cx.app.herd.neighbours() {
        cx.app.links.dial(&cx.app.herd, id, cx.io);
    }
    Ok(reactor)
}

/// Accepting is to pause before the process is out of descriptors. Everything that stays open is open.
fn tell_of_room(reactor: &mut Reactor<Server>, max_connections: usize) {
    let room = reactor.io().fit_to_descriptors();
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
    })
}

/// From the file, or else from the environment; never from the command line, which others can read.
fn read_key(options: &Options) -> Result<Option<Secret>, Failure> {
    if let Some(path) = &options.key_file {
        let shown = path.display();
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
