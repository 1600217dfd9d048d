//! The command line of `scripts/bench`, and how much each of its modes measures.
//!
//! Owns the words and the sizes. Nothing is started here. Called by `main`.

use std::path::PathBuf;
use std::time::Duration;

use pico_args::Arguments;

const USAGE: &str = "\
scripts/bench [OPTIONS]

Builds the release, measures each row of the table against the peers that are installed, and prints
the table in Markdown.

  --install     get the peers (Python, tokio, C) into target/bench-peers, and end; the others
                (node, redis-server, memcached) come from your system's packages
  --quick       fewer and shorter samples, a tenth of the clients: about five minutes, all about ten
  --smoke       half a minute, without any peer: whether all of it works, not how fast
  --only A,B    these rows only, of:
";

const MORE_USAGE: &str = "
  --rounds N    how often each is measured, in turn
  --build       how long the release takes to build from nothing, too
  --out DIR     results.json, table.md and the pictures go here (default: target/bench)
";

/// More rounds tell nothing more.
const ROUNDS_MAX: u32 = 100;

/// What `--help` prints.
pub fn usage(names: &[&str]) -> String {
    let lines: Vec<String> =
        names.chunks(6).map(|some| format!("                  {}", some.join(", "))).collect();
    format!("{USAGE}{}{MORE_USAGE}", lines.join(",\n"))
}

/// What was asked for.
pub struct Options {
    /// How much is measured.
    pub sizes: Sizes,
    /// Where the results go; in the target folder when it is not said.
    pub out: Option<PathBuf>,
    /// Whether the release is built from nothing, too.
    pub build: bool,
    only: Vec<String>,
}

impl Options {
    /// Reads the command line. The error says what is wrong with it.
    /// `rows` are the names that `--only` may take.
    pub fn take(mut arguments: Arguments, rows: &[&str]) -> Result<Self, String> {
        let smoke = arguments.contains("--smoke");
        let quick = arguments.contains("--quick");
        let build = arguments.contains("--build");
        let mut options = || -> Result<_, pico_args::Error> {
            let only: Option<String> = arguments.opt_value_from_str("--only")?;
            let rounds: Option<u32> = arguments.opt_value_from_str("--rounds")?;
            let out: Option<PathBuf> = arguments.opt_value_from_str("--out")?;
            Ok((only, rounds, out))
        };
        let (only, rounds, out) = options().map_err(|error| error.to_string())?;
        let mut sizes = match (smoke, quick) {
            (true, true) => return Err("--smoke or --quick, not both".to_owned()),
            (true, false) => Sizes::smoke(),
            (false, true) => Sizes::quick(),
            (false, false) => Sizes::full(),
        };
        if let Some(rounds) = rounds {
            if !(1..=ROUNDS_MAX).contains(&rounds) {
                return Err(format!("--rounds {rounds}: 1 to {ROUNDS_MAX} are possible"));
            }
            sizes.rounds = rounds;
        }
        let only: Vec<String> =
            only.iter().flat_map(|names| names.split(',')).map(str::to_owned).collect();
        if let Some(name) = only.iter().find(|name| !rows.contains(&name.as_str())) {
            return Err(format!("there is no row {name:?}"));
        }
        if let Some(word) = arguments.finish().first() {
            return Err(format!("what is {:?} for?", word.display().to_string()));
        }
        Ok(Self { sizes, out, build, only })
    }

    /// Whether a row is to be measured.
    pub fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|wanted| wanted == name)
    }
}

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// The option that asks for them.
    pub mode: &'static str,
    /// Samples of each candidate, taken in turn.
    pub rounds: u32,
    /// The time of one sample.
    pub sample: Duration,
    /// The time before it that does not count.
    pub warmup: Duration,
    /// How many more those have that were disturbed in all of them.
    pub more_rounds: u32,
    /// Connections, and requests in flight on each, of "64 × 64".
    pub full: (u32, u32),
    /// Idle connections.
    pub idle: u32,
    /// Updates that are followed one by one over the ring.
    pub followed: u32,
    /// Updates that are sent over the ring as fast as they come.
    pub flood: u32,
    /// Clients known, at the most.
    pub clients: u32,
    /// For how many connections the growth of the cost is measured.
    pub connections: &'static [u32],
    /// Whether there is anybody to compare with, and any goal to judge.
    pub peers: bool,
}

impl Sizes {
    /// The times of one sample, as `herd load` wants them.
    pub fn times(&self) -> String {
        let [sample, warmup] = [self.sample, self.warmup].map(|time| time.as_secs_f64());
        format!("--seconds {sample} --warmup {warmup}")
    }

    fn full() -> Self {
        Self {
            mode: "",
            rounds: 5,
            sample: Duration::from_millis(800),
            warmup: Duration::from_millis(200),
            more_rounds: 3,
            full: (64, 64),
            idle: 10_000,
            followed: 300,
            flood: 20_000,
            clients: 1_000_000,
            connections: &[1, 10, 100, 1_000, 10_000],
            peers: true,
        }
    }

    fn quick() -> Self {
        Self {
            mode: " --quick",
            rounds: 2,
            sample: Duration::from_millis(400),
            warmup: Duration::from_millis(200),
            more_rounds: 1,
            followed: 100,
            clients: 100_000,
            ..Self::full()
        }
    }

    fn smoke() -> Self {
        Self {
            mode: " --smoke",
            rounds: 1,
            // Something must be answered meanwhile, on a busy machine too.
            sample: Duration::from_millis(500),
            warmup: Duration::from_millis(100),
            more_rounds: 0,
            full: (4, 4),
            idle: 50,
            followed: 5,
            flood: 200,
            clients: 1_000,
            connections: &[1, 10],
            peers: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    const ROWS: &[&str] = &["idle", "ring", "journal"];

    fn take(words: &[&str]) -> Result<Options, String> {
        let words = words.iter().map(OsString::from).collect();
        Options::take(Arguments::from_vec(words), ROWS)
    }

    #[test]
    fn the_modes_and_rows_are_told_apart() {
        let options = take(&["--quick", "--rounds", "7", "--only", "idle,ring"]).unwrap();
        assert_eq!(options.sizes.rounds, 7);
        assert!(options.wants("idle") && options.wants("ring") && !options.wants("journal"));
        assert!(take(&[]).unwrap().wants("journal"));
        assert!(!take(&["--smoke"]).unwrap().sizes.peers);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (words, fault) in [
            (&["--only", "idel"][..], "there is no row \"idel\""),
            (&["--smoke", "--quick"], "not both"),
            (&["--rounds", "0"], "1 to 100"),
            (&["--fast"], "what is \"--fast\" for?"),
        ] {
            let said = take(words).err().unwrap();
            assert!(said.contains(fault), "{said}");
        }
    }

    #[test]
    fn the_help_names_every_row() {
        let help = usage(ROWS);
        assert!(ROWS.iter().all(|name| help.contains(name)), "{help}");
    }
}
