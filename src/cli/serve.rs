//! `herd serve`: one server of the herd, from flags to a running loop.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pico_args::Arguments;

use super::options::{LogOptions, TOPOLOGY, address, nothing_left, path, topology};
use super::{Failure, show};
use crate::herd::topology::{ServerEntry, ServerId, Topology};
use crate::herd::{CatchUp, Herd, Settings};
use crate::keys::ServerKeys;
use crate::reactor::{ListenOptions, Reactor, Speech, TlsClient};
use crate::server::client::Clients;
use crate::server::expiry::Expiry;
use crate::server::link::Links;
use crate::server::places::upstream::{KEY_ENVIRONMENT, Secret, Upstream};
use crate::server::places::{self, Places, QUESTION_TIMEOUT};
use crate::server::trust::Trust;
use crate::server::{Server, control, random, unix_nanos};
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
  --control SOCKET        a Unix socket that answers STATUS and STOP
";

/// The longest `--places-timeout`.
const QUESTION_TIMEOUT_MAX: Duration = Duration::from_secs(50);

/// What the command line asks for, checked word by word but not yet against the world.
struct Options {
    name: String,
    topology: PathBuf,
    keys: Option<PathBuf>,
    clients: Clientele,
    listen: Option<String>,
    upstream: Upstream,
    url: Option<String>,
    ca: Option<PathBuf>,
    key_file: Option<PathBuf>,
    question_timeout: Duration,
    catch_up: CatchUp,
    control: Option<PathBuf>,
    log: LogOptions,
}

/// What clients may speak.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Clientele {
    Any,
    Tls,
}

/// Runs the command with what is left of the command line, until it is stopped.
pub fn run(mut arguments: Arguments) -> Result<(), Failure> {
    if arguments.contains(["-h", "--help"]) {
        return show(HELP);
    }
    let options = Options::read(arguments)?;
    let control = options.control.clone();
    let mut reactor = build(options)?;
    let outcome = reactor.run();
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
        let keys = path(&mut arguments, "--keys")?;
        let clients = arguments.opt_value_from_fn("--clients", clientele)?;
        let listen = arguments.opt_value_from_str("--listen")?;
        let upstream = arguments.opt_value_from_fn("--upstream", Upstream::parse)?;
        let url = arguments.opt_value_from_str("--places")?;
        let ca = path(&mut arguments, "--places-ca")?;
        let key_file = path(&mut arguments, "--places-key-file")?;
        let timeout = arguments.opt_value_from_fn("--places-timeout", seconds)?;
        let catch_up = arguments.opt_value_from_fn("--catch-up", on_or_off)?;
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
        let clients = clients.unwrap_or(Clientele::Any);
        if clients == Clientele::Tls && keys.is_none() {
            return Err(Failure::Usage(
                "--clients tls: TLS needs a certificate; give one with --keys DIR (`herd keys DIR` \
                 makes it)"
                    .to_owned(),
            ));
        }
        Ok(Self {
            name,
            keys,
            clients,
            topology: topology.unwrap_or_else(|| PathBuf::from(TOPOLOGY)),
            listen,
            upstream: upstream.unwrap_or(Upstream::Google),
            url,
            ca,
            key_file,
            question_timeout: timeout.unwrap_or(QUESTION_TIMEOUT),
            catch_up: catch_up.unwrap_or_default(),
            control,
            log,
        })
    }
}

fn build(options: Options) -> Result<Reactor<Server>, Failure> {
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
    let (trust, speech, expiry) = if let Some(dir) = &options.keys {
        read_keys(dir, &options)?
    } else {
        let addresses = neighbour_addresses(&topology, me, listen)?;
        (Trust::Addresses(addresses), Speech::Plain, None)
    };
    let places = places_config(&options)?;
    let without_key = options.upstream.needs_key() && places.key.is_none();
    let question = (places.upstream, places.url.host_field());
    let log = options.log.start(&options.name)?;

    let name = options.name;
    let settings = Settings { catch_up: options.catch_up, max_ahead: None, ..Settings::default() };
    let herd = Herd::new(topology, me, random().max(1), settings);
    let neighbours = herd.neighbours().count();
    let app = Server {
        links: Links::new(&herd, trust),
        herd,
        places: Places::new(places),
        log,
        started: 0,
        clients: 0,
        expiry,
    };
    let mut reactor = Reactor::new(app).map_err(|e| format!("the event loop cannot start: {e}"))?;
    reactor.app().started = unix_nanos(reactor.io().wall_clock());
    let listener = reactor.io().listen_tcp(listen, ListenOptions { speech }, Box::new(Clients));
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
    match (&options.keys, options.clients) {
        (None, _) => log::info!("no keys: links are plain text on this machine"),
        (Some(_), Clientele::Any) => {
            log::info!("links are TLS; clients may speak plain text or TLS");
        }
        (Some(_), Clientele::Tls) => log::info!("links are TLS; clients must speak TLS"),
    }
    if without_key {
        log::warn!(
            "places: no key is given ({KEY_ENVIRONMENT} or --places-key-file); {upstream} may refuse"
        );
    }
    let cx = reactor.context();
    cx.app.look_at_expiry(cx.io);
    for id in cx.app.herd.neighbours() {
        cx.app.links.dial(&cx.app.herd, id, cx.io);
    }
    Ok(reactor)
}

/// With keys: by what neighbours are known, what is spoken on the port, and when that ends.
fn read_keys(dir: &Path, options: &Options) -> Result<(Trust, Speech, Option<Expiry>), Failure> {
    let ServerKeys { folder, credentials, validity } = ServerKeys::read(dir, &options.name)?;
    let wrong = |e| format!("the keys in {} are not right: {e}", folder.display());
    let trust = Trust::Certificates(credentials.client().map_err(wrong)?);
    let tls = credentials.server().map_err(wrong)?;
    let speech = match options.clients {
        Clientele::Any => Speech::Either(tls),
        Clientele::Tls => Speech::Tls(tls),
    };
    Ok((trust, speech, Some(Expiry { folder, validity, looks: 0 })))
}

/// The addresses that each neighbour may come from. Links are plain text and believe an address, so
/// every one of them has to be on this machine.
fn neighbour_addresses(
    topology: &Topology,
    me: ServerId,
    listen: SocketAddr,
) -> Result<Vec<Vec<IpAddr>>, Failure> {
    let mut all = Vec::new();
    for entry in topology.neighbours(me).iter().filter_map(|&id| topology.server(id)) {
        let addresses = addresses_of(entry)?;
        if let Some(far) = addresses.iter().find(|ip| !ip.is_loopback()) {
            return Err(Failure::Failed(format!(
                "the link to {} ({far}) would leave this machine in plain text, where anybody could read \
                 and forge it; make keys for the herd (`herd keys DIR`, then --keys DIR), or give it a \
                 loopback address such as 127.0.0.1 in the topology",
                entry.name
            )));
        }
        all.push(addresses);
    }
    if !all.is_empty() && !listen.ip().to_canonical().is_loopback() {
        return Err(Failure::Failed(format!(
            "{listen} can be reached from other machines, and neighbours would be believed by their \
             address; make keys for the herd (`herd keys DIR`, then --keys DIR), or listen on a loopback \
             address such as 127.0.0.1"
        )));
    }
    Ok(all)
}

fn addresses_of(entry: &ServerEntry) -> Result<Vec<IpAddr>, Failure> {
    let found = (entry.host.as_str(), entry.port).to_socket_addrs().map_err(|e| {
        format!("cannot look up {}, the address of {} in the topology: {e}", entry.host, entry.name)
    })?;
    Ok(found.map(|address| address.ip().to_canonical()).collect())
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

fn clientele(word: &str) -> Result<Clientele, String> {
    match word {
        "any" => Ok(Clientele::Any),
        "tls" => Ok(Clientele::Tls),
        _ => Err(format!("--clients {word:?}: there are any and tls")),
    }
}

fn on_or_off(word: &str) -> Result<CatchUp, String> {
    match word {
        "on" => Ok(CatchUp::On),
        "off" => Ok(CatchUp::Off),
        _ => Err(format!("--catch-up {word:?}: there are on and off")),
    }
}
