//! `logs`: the ends of the log files as one text in order of time, and on request what comes after.
//!
//! Reads the files and nothing else, so it works on a herd that is down. Follows by looking again.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::print::show;
use super::run_dir::RunDir;

/// How many lines of each log come first.
const LINES_SHOWN: usize = 20;

/// How often the files are looked at: at that pace lines seem to appear as they are written.
const POLL: Duration = Duration::from_millis(100);

/// How much is read of one log before the others have their turn.
const READ_MAX_BYTES: u64 = 1 << 20;

/// How many lines of a log explain a failure.
const LOG_LINES_SHOWN: usize = 10;

/// How much of a log's end is looked at for them.
const LOG_TAIL_BYTES: u64 = 64 * 1024;

/// Shows the logs of these names, or of all servers; with `follow` until nobody reads any more.
pub fn logs(run: &RunDir, names: &[String], follow: bool) -> Result<(), String> {
    let names = chosen(run, names)?;
    let width = names.iter().map(String::len).max().unwrap_or(0);
    // One log needs no names in front.
    let width = if names.len() > 1 { Some(width) } else { None };
    let mut followers: Vec<Follower> =
        names.iter().map(|name| Follower::at_the_end(name, run.log(name))).collect();
    let mut lines = Vec::new();
    for follower in &followers {
        let last = last_lines(&follower.path, LINES_SHOWN);
        lines.extend(last.into_iter().map(|line| (line, follower.name.clone())));
    }
    let mut wanted = show(merged(lines, width));
    while follow && wanted {
        std::thread::sleep(POLL);
        let mut lines = Vec::new();
        for follower in &mut followers {
            let new = follower.new_lines();
            lines.extend(new.into_iter().map(|line| (line, follower.name.clone())));
        }
        wanted = show(merged(lines, width));
    }
    Ok(())
}

/// Lines of several logs in order of time, which each line begins with; each behind its log's name
/// when there is a width for that. The lines of one turn have one time, and keep the order of their log.
fn merged(mut lines: Vec<(String, String)>, width: Option<usize>) -> String {
    lines.sort_by(|(line, _), (other, _)| time_of(line).cmp(time_of(other)));
    let mut text = String::new();
    for (line, name) in lines {
        if let Some(width) = width {
            _ = write!(text, "{name:width$} | ");
        }
        text.push_str(&line);
        text.push('\n');
    }
    text
}

fn time_of(line: &str) -> &str {
    line.split_once(' ').map_or(line, |(time, _)| time)
}

/// The names that have a log, all of them when none is asked for.
fn chosen(run: &RunDir, names: &[String]) -> Result<Vec<String>, String> {
    let mut known = Vec::new();
    let folder = run.logs();
    let fault = |error: std::io::Error| format!("cannot list {}: {error}", folder.display());
    for entry in fs::read_dir(&folder).map_err(fault)? {
        let path = entry.map_err(fault)?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            known.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
        }
    }
    known.sort();
    if known.is_empty() {
        return Err(format!("there are no logs in {} yet", folder.display()));
    }
    match names.iter().find(|name| !known.contains(name)) {
        Some(name) => {
            Err(format!("there is no log of {name:?}; there are those of {}", known.join(", ")))
        }
        None if names.is_empty() => Ok(known),
        None => Ok(names.to_vec()),
    }
}

/// One log that is being followed.
struct Follower {
    name: String,
    path: PathBuf,
    /// Which file it is: a log that was moved away and begun anew is another.
    inode: u64,
    position: u64,
    /// A line whose end is not there yet.
    begun: Vec<u8>,
}

impl Follower {
    fn at_the_end(name: &str, path: PathBuf) -> Self {
        let (inode, position) =
            fs::metadata(&path).map_or((0, 0), |found| (found.ino(), found.len()));
        Self { name: name.to_owned(), path, inode, position, begun: Vec::new() }
    }

    /// The lines that were finished since the last look. A file that is away for a moment, or shorter
    /// than it was, starts from its beginning when it is back.
    fn new_lines(&mut self) -> Vec<String> {
        let Ok(mut file) = File::open(&self.path) else { return Vec::new() };
        let Ok(found) = file.metadata() else { return Vec::new() };
        if found.ino() != self.inode || found.len() < self.position {
            (self.inode, self.position) = (found.ino(), 0);
            self.begun.clear();
        }
        let mut bytes = Vec::new();
        if file.seek(SeekFrom::Start(self.position)).is_err()
            || file.take(READ_MAX_BYTES).read_to_end(&mut bytes).is_err()
        {
            return Vec::new();
        }
        self.position += bytes.len() as u64;
        self.begun.append(&mut bytes);
        let Some(end) = self.begun.iter().rposition(|&byte| byte == b'\n') else {
            return Vec::new();
        };
        let rest = self.begun.split_off(end + 1);
        let whole = std::mem::replace(&mut self.begun, rest);
        String::from_utf8_lossy(&whole).lines().map(str::to_owned).collect()
    }
}

/// The last lines that a process printed, and those of its log.
pub fn last_words(run: &RunDir, name: &str) -> String {
    let mut text = String::new();
    for file in [run.output(name), run.log(name)] {
        let lines = last_lines(&file, LOG_LINES_SHOWN);
        if !lines.is_empty() {
            _ = writeln!(text, "The end of {}:", run.shown(&file));
            for line in lines {
                _ = writeln!(text, "  {line}");
            }
        }
    }
    text
}

/// The last lines of a file; none when it cannot be read.
fn last_lines(file: &Path, count: usize) -> Vec<String> {
    let Ok(mut file) = fs::File::open(file) else { return Vec::new() };
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let skipped = length.saturating_sub(LOG_TAIL_BYTES);
    let mut bytes = Vec::new();
    if file.seek(SeekFrom::Start(skipped)).and_then(|_| file.read_to_end(&mut bytes)).is_err() {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(&bytes);
    // What the cut left of a line is not shown as one.
    let mut lines: Vec<&str> = text.lines().skip(usize::from(skipped > 0)).collect();
    lines.drain(..lines.len().saturating_sub(count));
    lines.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn lines_of_several_logs_stand_in_order_of_time() {
        let line = |line: &str, name: &str| (line.to_owned(), name.to_owned());
        let lines = vec![line("02 b", "Welsh"), line("01 a", "Ball"), line("03 c", "Ball")];
        assert_eq!(merged(lines.clone(), Some(5)), "Ball  | 01 a\nWelsh | 02 b\nBall  | 03 c\n");
        assert_eq!(merged(lines, None), "01 a\n02 b\n03 c\n");
    }

    #[test]
    fn lines_of_one_time_keep_the_order_of_their_log() {
        let line = |line: &str| (line.to_owned(), "Ball".to_owned());
        let lines = vec![line("01 > question"), line("01 < reply"), line("00 before")];
        assert_eq!(merged(lines, None), "00 before\n01 > question\n01 < reply\n");
    }

    #[test]
    fn a_log_is_followed_over_half_lines_truncation_and_rotation() {
        let folder = PathBuf::from(format!("target/local-tests/follow-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("x.log");
        let append = |text: &str| {
            let mut file = File::options().append(true).create(true).open(&path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        };
        append("old\n");
        let mut follower = Follower::at_the_end("x", path.clone());
        assert!(follower.new_lines().is_empty());
        append("one\ntw");
        assert_eq!(follower.new_lines(), ["one"]);
        append("o\nthree\n");
        assert_eq!(follower.new_lines(), ["two", "three"]);
        fs::write(&path, "x\n").unwrap();
        assert_eq!(follower.new_lines(), ["x"]);
        fs::rename(&path, folder.join("x.log.1")).unwrap();
        assert!(follower.new_lines().is_empty());
        append("a new and longer file\n");
        assert_eq!(follower.new_lines(), ["a new and longer file"]);
        fs::remove_dir_all(folder).unwrap();
    }
}
