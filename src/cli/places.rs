//! `herd places`: the stand-in for Google Places.

use std::io::Write;
use std::path::PathBuf;

use pico_args::Arguments;

use super::options::{LogOptions, addresses, nothing_left, path};
use super::outcome::{Failure, show};
use crate::server::control;
use crate::server::stand_in::https::StandIn;

const HELP: &str = "\
herd places [options]

A stand-in for Google Places Nearby Search: HTTPS on the same event loop, with towns of the world
from GeoNames built in. Any key is taken. Point servers at it with
  herd serve NAME --places https://localhost:PORT --places-ca FILE

  --listen ADDR      address and port (default 127.0.0.1:11549; port 0: the system chooses)
  --ca-out FILE      where the certificate goes that it makes at start (default places-ca.pem)
  --log-dir DIR      log to DIR/places.log instead of standard error
  --log-level LEVEL  off, error, warn, info (default), debug, trace
  --log-max BYTES    the log and the one before it together (default 67108864; 0: others rotate it)
  --log-mode OCTAL   the mode of that file (default 600)
  --control SOCKET   a Unix socket that answers STATUS and STOP
";

const LISTEN: &str = "127.0.0.1:11549";
const CA_OUT: &str = "places-ca.pem";

/// Runs the command with what is left of the command line, until it is stopped.
pub fn run(mut arguments: Arguments) -> Result<(), Failure> {
    if arguments.contains(["-h", "--help"]) {
        return show(HELP);
    }
    let listen: Option<String> = arguments.opt_value_from_str("--listen")?;
    let listen = addresses(listen.as_deref().unwrap_or(LISTEN)).map_err(Failure::Usage)?;
    let ca_out = path(&mut arguments, "--ca-out")?.unwrap_or_else(|| PathBuf::from(CA_OUT));
    let log = LogOptions::take(&mut arguments)?;
    let control = path(&mut arguments, "--control")?;
    nothing_left(arguments, "herd places")?;

    let mut reactor = StandIn::reactor(&listen, &ca_out, log.start("places")?)?;
    if let Some(path) = &control {
        control::listen(&mut reactor, path)?;
    }
    reactor.io().catch_signals().map_err(|e| format!("cannot catch signals: {e}"))?;
    let (address, (towns, countries)) = (reactor.app().address(), reactor.app().extent());
    let ca = ca_out.display();
    log::info!("places, a stand-in for Google Places, starts on {address}");
    // The first line is for programs that started this one with port 0. A closed pipe is their choice.
    let _ = writeln!(
        std::io::stdout(),
        "listening on {address}: a stand-in for Google Places, not Google, with {towns} towns of \
         {countries} countries from GeoNames (CC BY 4.0)\n\
         try: herd serve NAME --places https://localhost:{} --places-ca {ca}",
        address.port(),
    );
    let outcome = reactor.run();
    log::info!("places has stopped");
    reactor.app().log().last_words();
    if let Some(path) = &control {
        let _ = std::fs::remove_file(path);
    }
    Ok(outcome.map_err(|e| format!("the event loop cannot go on: {e}"))?)
}
