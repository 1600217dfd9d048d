//! What becomes of lines when the file cannot be written or opened.

use std::fmt::Write as _;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::super::file::Place;
use super::*;

/// A file of a test, gone when the test is over.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("herd-log-{name}-{}", std::process::id())))
    }

    fn writer(&self) -> Writer {
        Writer::open(Destination::File(Place::at(self.0.clone()))).unwrap()
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.0).unwrap()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn a_full_disk_is_told_and_what_was_lost_is_said_when_it_is_over() {
    let full = Path::new("/dev/full");
    if !full.exists() {
        return;
    }
    let mut writer = Writer::open(Destination::File(Place::at(full.to_path_buf()))).unwrap();
    assert!(writer.write(b"one\ntwo\n", 0).unwrap_err().contains("No space left"));
    assert_eq!(writer.lost, 2);
    writer.write(b"three\n", 4).unwrap_err();
    assert_eq!(writer.lost, 7);
    let file = Temporary::new("full");
    writer.destination = Destination::File(Place::at(file.0.clone()));
    writer.reopen_before_batch(true);
    assert_eq!((writer.write(b"four\n", 0), writer.lost), (Ok(()), 0));
    let text = file.text();
    let (missing, four) = text.split_once('\n').unwrap();
    assert!(missing.ends_with("Z WARN  7 lines are missing here: the log was too slow or full"));
    assert_eq!(four, "four\n");
}

#[test]
fn lines_that_found_no_room_are_said_to_be_missing_after_those_that_did() {
    let file = Temporary::new("slow");
    let mut writer = file.writer();
    assert_eq!(writer.write(b"one\n", 3), Ok(()));
    assert_eq!(writer.write(b"five\n", 0), Ok(()));
    let text = file.text();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!((lines.len(), lines[0], lines[2]), (3, "one", "five"));
    assert!(lines[1].contains(" WARN  3 lines are missing here"), "{text}");
}

/// A writer onto a pipe that takes some pages and then nothing more, as a disk that fills up.
fn onto_pipe() -> (Writer, mio::unix::pipe::Receiver) {
    let (sender, receiver) = mio::unix::pipe::new().unwrap();
    let mut writer = Writer::open(Destination::Stderr).unwrap();
    writer.file = Some(LogFile::of_test(OwnedFd::from(sender)));
    (writer, receiver)
}

/// What is in the pipe.
fn drain(pipe: &mut mio::unix::pipe::Receiver) -> String {
    let mut bytes = Vec::new();
    assert_eq!(pipe.read_to_end(&mut bytes).unwrap_err().kind(), ErrorKind::WouldBlock);
    String::from_utf8(bytes).unwrap()
}

#[test]
fn no_half_line_stays_when_a_batch_is_cut_anywhere() {
    let line = "a line of 27 bytes, LF too\n";
    assert_eq!(line.len(), 27);
    let many = line.repeat(100_000);
    let (mut writer, mut pipe) = onto_pipe();
    assert!(writer.write(many.as_bytes(), 0).is_err());
    // Nothing goes, not even the rest of the line: it waits, and the whole batch is lost.
    let (lost, rest) = (writer.lost, writer.rest.clone());
    assert!(!rest.is_empty() && rest.len() < line.len(), "{rest:?}");
    assert!(writer.write(line.repeat(2).as_bytes(), 0).is_err());
    assert_eq!((writer.lost, &writer.rest), (lost + 2, &rest));

    let first = drain(&mut pipe);
    assert_eq!(writer.write(b"the next\n", 0), Ok(()));
    let text = first + &drain(&mut pipe);
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    let [whole @ .., missing, next] = lines.as_slice() else { panic!("{text}") };
    assert!(whole.iter().all(|whole| *whole == line));
    assert!(missing.contains(&format!(" {} lines are missing here", lost + 2)), "{missing}");
    assert_eq!(whole.len() as u64 + lost, 100_000);
    assert_eq!(*next, "the next\n");
}

#[test]
fn a_line_cut_in_the_old_file_is_not_continued_in_the_new_one() {
    let (mut writer, _pipe) = onto_pipe();
    assert!(writer.write("a line of 27 bytes, LF too\n".repeat(100_000).as_bytes(), 0).is_err());
    let (file, lost) = (Temporary::new("new"), writer.lost);
    writer.destination = Destination::File(Place::at(file.0.clone()));
    writer.reopen_before_batch(true);
    assert_eq!(writer.write(b"the next\n", 0), Ok(()));
    let text = file.text();
    assert!(text.contains(&format!(" {} lines are missing here", lost + 1)), "{text}");
    assert_eq!((text.lines().count(), text.lines().last()), (2, Some("the next")));
}

#[test]
fn a_line_that_a_crash_cut_is_ended_when_the_file_is_opened() {
    let file = Temporary::new("cut");
    for (before, after) in
        [("", "new\n"), ("whole\n", "whole\nnew\n"), ("whole\nhalf", "whole\nhalf\nnew\n")]
    {
        std::fs::write(&file.0, before).unwrap();
        assert_eq!(file.writer().write(b"new\n", 0), Ok(()));
        assert_eq!(file.text(), after);
    }
}

#[test]
fn a_file_that_cannot_be_opened_anew_is_tried_again_and_the_old_one_serves_meanwhile() {
    let (old, folder) = (Temporary::new("old"), Temporary::new("folder"));
    let new = folder.0.join("log");
    let mut writer = old.writer();
    writer.destination = Destination::File(Place::at(new.clone()));
    writer.reopen_before_batch(true);
    for _ in 0..2 {
        let told = writer.write(b"to the old one\n", 0).unwrap_err();
        assert!(told.contains("cannot open the log"), "{told}");
        assert_eq!(writer.lost, 0);
    }
    std::fs::create_dir(&folder.0).unwrap();
    assert_eq!(writer.write(b"to the new one\n", 0), Ok(()));
    let text = old.text();
    let (told, rest) = text.split_once('\n').unwrap();
    assert!(
        told.contains(" WARN  cannot open the log ") && told.ends_with("tried again each second")
    );
    assert_eq!(rest, "to the old one\n".repeat(2));
    assert_eq!(std::fs::read_to_string(&new).unwrap(), "to the new one\n");
    std::fs::remove_dir_all(&folder.0).unwrap();
}

#[test]
fn a_file_that_was_deleted_or_moved_is_missed_at_the_next_look_and_made_anew() {
    let file = Temporary::new("gone");
    let mut writer = file.writer();
    let moved = file.0.with_extension("moved");
    let leave: [&dyn Fn(); 2] = [&|| std::fs::remove_file(&file.0).unwrap(), &|| {
        std::fs::rename(&file.0, &moved).unwrap();
    }];
    for leave in leave {
        assert_eq!(writer.write(b"before\n", 0), Ok(()));
        leave();
        writer.looked -= LOG_LOOK_INTERVAL;
        // Nobody has to log anything for it.
        assert_eq!(writer.write(b"", 0), Ok(()));
        let text = file.text();
        assert_eq!(text.lines().count(), 1);
        assert!(text.ends_with(" WARN  the log was deleted or moved away; this is a new one\n"));
    }
    assert!(std::fs::read_to_string(&moved).unwrap().ends_with("\nbefore\n"));
    std::fs::remove_file(&moved).unwrap();
}

#[test]
fn two_files_never_take_more_than_they_may_and_end_with_the_newest_lines() {
    const MAX_BYTES: u64 = 20_000;
    let file = Temporary::new("bound");
    let place = Place { max_bytes: Some(MAX_BYTES), ..Place::at(file.0.clone()) };
    let old = place.old_path();
    let mut writer = Writer::open(Destination::File(place)).unwrap();
    let length = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
    let mut number = 0;
    for batch_bytes in [10, 9_999, 100, 50_000, 1, 10_001, 3_000_000, 20_000] {
        let mut batch = String::new();
        while batch.len() < batch_bytes {
            writeln!(batch, "line {number}").unwrap();
            number += 1;
        }
        assert_eq!(writer.write(batch.as_bytes(), 0), Ok(()));
        assert!(length(&file.0) + length(&old) <= MAX_BYTES);
    }
    // Whole lines, and none missing between the two.
    let text = std::fs::read_to_string(&old).unwrap() + &file.text();
    let first = text.lines().next().unwrap().strip_prefix("line ").unwrap().parse().unwrap();
    let expected: Vec<_> = (first..number).map(|number: i32| format!("line {number}")).collect();
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    assert!(text.len() as u64 > MAX_BYTES / 2, "{}", text.len());
    // A line that fits no file is counted like others that find no room.
    let long = "x".repeat(10_001) + "\nshort\n";
    assert_eq!(writer.write(long.as_bytes(), 0), Ok(()));
    assert!(file.text().contains(" 1 lines are missing here"));
    std::fs::remove_file(&old).unwrap();
}
