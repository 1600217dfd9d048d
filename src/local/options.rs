//! The options of a herd: what `start` takes, hands on to the servers, and remembers for later commands.
//!
//! `kill Alford` and then `start Alford` must bring back the same server, so the options lie in
//! the run folder while the herd runs. The API key itself is never among them: it stays in the
//! environment, or in the file that `--places-key-file` names.

use pico_args::Arguments;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// What kind of value a flag takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    /// A file, from the working directory of whoever typed it; kept as a path from the root.
    File,
}

/// The flag that names the topology file.
pub const TOPOLOGY: &str = "--topology";

/// The flag that names the folder of the servers' keys.
pub const KEYS: &str = "--keys";

/// The flag that says what clients may speak.
pub const CLIENTS: &str = "--clients";

/// The flag that bounds the calls to the upstream.
pub const PLACES_RATE: &str = "--places-rate";

/// The flags that say where answers come from: with any of them the stand-in is not wanted.
const UPSTREAM: [&str; 3] = ["--places", "--places-key-file", "--upstream"];

/// The flags, which are those of `herd serve`.
const FLAGS: &[(&str, Kind)] = &[
    (TOPOLOGY, Kind::File),
    (KEYS, Kind::File),
    (CLIENTS, Kind::Text),
    ("--places", Kind::Text),
    ("--places-ca", Kind::File),
    ("--places-key-file", Kind::File),
    ("--upstream", Kind::Text),
    (PLACES_RATE, Kind::Text),
    ("--places-cache", Kind::Text),
    ("--catch-up", Kind::Text),
    ("--sync", Kind::Text),
    ("--forget-after", Kind::Text),
    ("--max-clients", Kind::Text),
    ("--max-memory", Kind::Text),
    ("--when-full", Kind::Text),
    ("--max-ahead", Kind::Text),
    ("--log-level", Kind::Text),
    ("--log-max", Kind::Text),
    ("--log-mode", Kind::Text),
    ("--max-connections", Kind::Text),
    ("--max-connections-per-address", Kind::Text),
    ("--max-line", Kind::Text),
    ("--max-input", Kind::Text),
    ("--max-output", Kind::Text),
    ("--max-unread", Kind::Text),
    ("--unread-timeout", Kind::Text),
    ("--idle-timeout", Kind::Text),
    ("--keepalive", Kind::Text),
    ("--handshake-timeout", Kind::Text),
    ("--max-lines", Kind::Text),
    ("--max-waiting", Kind::Text),
    ("--max-waiting-in-all", Kind::Text),
    ("--max-held-in-all", Kind::Text),
];

/// Flags with their values, each flag at most once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    values: Vec<(String, String)>,
}

impl Options {
    /// Takes the known flags out of the command line.
    pub fn take(arguments: &mut Arguments) -> Result<Self, String> {
        let mut options = Self::default();
        for &(flag, kind) in FLAGS {
            let value: Option<String> =
                arguments.opt_value_from_str(flag).map_err(|error| error.to_string())?;
            let Some(value) = value else { continue };
            if kind == Kind::File {
                let path = std::path::absolute(&value)
                    .map_err(|error| format!("{flag} {value}: {error}"))?;
                options.set(flag, &path.to_string_lossy());
            } else {
                options.set(flag, &value);
            }
        }
        Ok(options)
    }

    /// Gives a flag a value.
    pub fn set(&mut self, flag: &str, value: &str) {
        self.values.retain(|(known, _)| known != flag);
        self.values.push((flag.to_owned(), value.to_owned()));
    }

    /// The value of a flag.
    pub fn get(&self, flag: &str) -> Option<&str> {
        self.values.iter().find(|(known, _)| known == flag).map(|(_, value)| value.as_str())
    }

    /// These options, and for the flags that they lack those of `others`.
    pub fn or(mut self, others: Self) -> Self {
        for (flag, value) in others.values {
            if self.get(&flag).is_none() {
                self.values.push((flag, value));
            }
        }
        self
    }

    /// Whether the stand-in must play Google's part.
    pub fn want_stand_in(&self, key_in_environment: bool) -> bool {
        !key_in_environment && UPSTREAM.iter().all(|flag| self.get(flag).is_none())
    }

    /// The flags and values as they go to each server.
    pub fn arguments(&self) -> impl Iterator<Item = &str> {
        self.values.iter().flat_map(|(flag, value)| [flag.as_str(), value.as_str()])
    }

    /// Writes them down, a line each.
    pub fn note(&self, file: &Path) -> Result<(), String> {
        let lines: Vec<String> =
            self.values.iter().map(|(flag, value)| format!("{flag} {value}\n")).collect();
        fs::write(file, lines.concat())
            .map_err(|error| format!("cannot write {}: {error}", file.display()))
    }

    /// Reads what was written down; nothing when there is no such file. What is no flag of ours any
    /// more is passed over.
    pub fn noted(file: &Path) -> Result<Self, String> {
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(format!("cannot read {}: {error}", file.display())),
        };
        let mut options = Self::default();
        for (flag, value) in text.lines().filter_map(|line| line.split_once(' ')) {
            if FLAGS.iter().any(|(known, _)| *known == flag) {
                options.set(flag, value);
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(words: &[&str]) -> Options {
        let words = words.iter().map(Into::into).collect();
        Options::take(&mut Arguments::from_vec(words)).unwrap()
    }

    #[test]
    fn flags_are_taken_and_files_named_from_the_root() {
        let options = taken(&["--topology", "my.txt", "--upstream", "overpass", "Alford"]);
        let here = std::env::current_dir().unwrap().join("my.txt");
        assert_eq!(options.get(TOPOLOGY), here.to_str());
        let words: Vec<&str> = options.arguments().collect();
        assert_eq!(words, [TOPOLOGY, here.to_str().unwrap(), "--upstream", "overpass"]);
    }

    #[test]
    fn every_bound_of_the_servers_is_handed_on() {
        let help = crate::cli::bounds::HELP.lines();
        let flags: Vec<&str> = help
            .filter_map(|line| line.split_whitespace().next())
            .filter(|word| word.starts_with("--"))
            .collect();
        assert!(flags.contains(&"--max-connections"), "{flags:?}");
        for flag in flags {
            let options = taken(&["Alford", flag, "5"]);
            assert_eq!(options.arguments().collect::<Vec<_>>(), [flag, "5"]);
        }
    }

    #[test]
    fn the_stand_in_is_wanted_when_nothing_says_where_answers_come_from() {
        assert!(taken(&["--catch-up", "off"]).want_stand_in(false));
        assert!(!taken(&[]).want_stand_in(true));
        for flag in UPSTREAM {
            assert!(!taken(&[flag, "x"]).want_stand_in(false), "{flag}");
        }
    }

    #[test]
    fn what_is_given_wins_over_what_is_noted() {
        std::fs::create_dir_all("target/local-tests").unwrap();
        let name = format!("target/local-tests/options-{}", std::process::id());
        let file = Path::new(&name);
        assert_eq!(Options::noted(file), Ok(Options::default()));
        taken(&["--topology", "/with a space.txt", "--log-level", "warn"]).note(file).unwrap();
        let merged = taken(&["--log-level", "debug"]).or(Options::noted(file).unwrap());
        assert_eq!(merged.get(TOPOLOGY), Some("/with a space.txt"));
        assert_eq!(merged.get("--log-level"), Some("debug"));
        std::fs::write(file, "--other x\nrubbish\n").unwrap();
        assert_eq!(Options::noted(file), Ok(Options::default()));
        std::fs::remove_file(file).unwrap();
    }
}
