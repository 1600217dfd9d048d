//! `herd keys`: the authority of a herd, and a certificate for each of its servers.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use pico_args::Arguments;

use super::options::{TOPOLOGY, nothing_left, path, topology};
use super::outcome::{Failure, show};
use crate::keys::{
    DAYS_MAX, Outcome, Renew, Row, SECONDS_PER_DAY, SERVER_DAYS, Wanted, date, make, unix_seconds,
};

const HELP: &str = "\
herd keys [options] DIR

Makes the keys by which the servers of a topology know each other: an authority, and for each
server a key with a certificate of that authority. What is there already stays as it is. Each
server's machine needs the folder DIR/NAME and nothing else:
  herd serve NAME --keys DIR    (or the folder itself)

  --topology FILE       which servers there are (default topology.txt)
  --authority-key FILE  where the authority's key is kept (default DIR/authority-key.pem). Only
                        this command ever needs it, so keep it where no server runs
  --renew NAME          a new key and certificate for this server (again for another one)
  --renew all           for every server
  --days DAYS           how long new certificates of servers are valid (default 730)
";

/// The word in place of a name.
const ALL: &str = "all";

/// Runs the command with what is left of the command line.
pub fn run(mut arguments: Arguments) -> Result<(), Failure> {
    if arguments.contains(["-h", "--help"]) {
        return show(HELP);
    }
    let topology_file =
        path(&mut arguments, "--topology")?.unwrap_or_else(|| PathBuf::from(TOPOLOGY));
    let authority_key = path(&mut arguments, "--authority-key")?;
    let renew: Vec<String> = arguments.values_from_str("--renew")?;
    let days = arguments.opt_value_from_fn("--days", days)?.unwrap_or(SERVER_DAYS);
    let dir = arguments.opt_free_from_os_str(|word| {
        let shown = word.to_string_lossy();
        let flag = shown.starts_with('-');
        if flag { Err(format!("unknown flag {shown:?}")) } else { Ok(PathBuf::from(word)) }
    })?;
    nothing_left(arguments, "herd keys")?;
    let Some(dir) = dir else {
        return Err(Failure::Usage("where? herd keys DIR, as in herd keys run/keys".to_owned()));
    };

    let topology = topology(&topology_file)?;
    let names: Vec<&str> = topology.ids().map(|id| topology.name(id)).collect();
    let renew = match renew.as_slice() {
        [] => Renew::Nobody,
        words if words.iter().any(|word| word == ALL) => Renew::All,
        _ => Renew::Named(renew),
    };
    let now = unix_seconds(SystemTime::now());
    let authority_key = authority_key.as_deref();
    let rows = make(&dir, &Wanted { names: &names, authority_key, renew, days, now })?;
    show(&describe(&rows, &dir, now))
}

/// Each certificate with its days, and what to do with it.
fn describe(rows: &[Row], dir: &Path, now: i64) -> String {
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
    let mut text = format!("{:width$}  valid from  expires     days left\n", "name");
    for row in rows {
        let (from, to) = (date(row.validity.not_before), date(row.validity.not_after));
        let left = (row.validity.not_after - now).div_euclid(SECONDS_PER_DAY);
        let outcome = match row.outcome {
            Outcome::Made => "made",
            Outcome::Renewed => "renewed",
            Outcome::Kept if left < 0 => "kept, expired",
            Outcome::Kept => "kept",
        };
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(text, "{:width$}  {from}  {to}  {left:>9}  {outcome}", row.name);
    }
    let shown = dir.display();
    if rows.iter().any(|row| row.outcome == Outcome::Renewed) {
        text.push_str("\nA server takes its new certificate on SIGHUP or at its next start.\n");
    }
    let _ = write!(
        text,
        "\nThe machine of NAME needs {shown}/NAME and nothing else: herd serve NAME --keys {shown}\n"
    );
    text
}

fn days(word: &str) -> Result<u32, String> {
    word.parse().ok().filter(|days| (1..=DAYS_MAX).contains(days)).ok_or_else(|| {
        format!("--days {word:?}: a whole number of days from 1 to {DAYS_MAX} is needed")
    })
}
