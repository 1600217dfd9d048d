//! What a log line looks like, and what becomes of lines when the file cannot be written or opened.

use std::path::Path;

use super::*;

fn shown(bytes: &[u8]) -> String {
    Text(bytes).to_string()
}

#[test]
fn foreign_text_stays_on_its_line() {
    assert_eq!(shown(b"IAMAT kiwi"), "IAMAT kiwi");
    assert_eq!(
        shown(b"a\n2026-01-01 forged\r\x1b[2J\0"),
        "a\\n2026-01-01 forged\\r\\u{1b}[2J\\u{0}"
    );
    assert_eq!(
        shown("é\u{85}\u{61c}\u{202e}\u{2028}".as_bytes()),
        "é\\u{85}\\u{61c}\\u{202e}\\u{2028}"
    );
    assert_eq!(shown(b"\xff\xfe\\x41"), "\\xff\\xfe\\\\x41");
}

#[test]
fn long_text_is_cut_with_its_length() {
    let text = shown(&[b'x'; 16_384]);
    assert!(text.ends_with("x... (16384 bytes)"), "{text}");
    assert_eq!(text.len(), LOGGED_TEXT_MAX_BYTES + "... (16384 bytes)".len());
    assert_eq!(shown(&[b'x'; LOGGED_TEXT_MAX_BYTES]).len(), LOGGED_TEXT_MAX_BYTES);
}

#[test]
fn a_message_is_one_line_with_its_time_even_if_it_holds_two() {
    let mut batch = Batch::default();
    batch.push(&format_args!("INFO  one\nINFO  two"));
    let text = String::from_utf8(batch.text).unwrap();
    assert_eq!(text.lines().count(), 1);
    assert!(text.ends_with("Z INFO  one?INFO  two\n"), "{text}");
}

#[test]
fn lines_beyond_the_bound_are_counted_not_kept() {
    let mut batch = Batch::default();
    let long = "x".repeat(1 << 20);
    for _ in 0..10 {
        batch.push(&format_args!("{long}"));
    }
    assert!(batch.text.len() < LOG_WAITING_MAX_BYTES + (1 << 20) + 64);
    assert_eq!(batch.lost, 6);
}

#[test]
fn a_full_disk_is_told_and_what_was_lost_is_said_when_it_is_over() {
    let full = Path::new("/dev/full");
    if !full.exists() {
        return;
    }
    let opened = File::options().append(true).open(full).ok();
    let destination = Destination::File(full.to_path_buf());
    let mut sink = Sink { destination, file: opened, reopen: false };
    let first = sink.write(b"one\ntwo\n".to_vec(), 0);
    assert!(first.trouble.unwrap().contains("No space left"));
    assert_eq!(first.lost, 2);
    let second = sink.write(b"three\n".to_vec(), first.lost);
    assert_eq!(second.lost, 3);
    let path = temporary("full");
    sink.destination = Destination::File(path.clone());
    sink.reopen = true;
    let third = sink.write(b"four\n".to_vec(), second.lost);
    assert_eq!((third.lost, third.trouble), (0, None));
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(text.contains("four") && text.contains("3 lines are missing here"), "{text}");
}

#[test]
fn a_file_that_cannot_be_opened_anew_is_tried_again_and_the_old_one_serves_meanwhile() {
    let (old, folder) = (temporary("old"), temporary("folder"));
    let destination = Destination::File(old.clone());
    let opened = destination.open().unwrap();
    let new = folder.join("log");
    let mut sink = Sink { destination: Destination::File(new.clone()), file: opened, reopen: true };
    for _ in 0..2 {
        let written = sink.write(b"to the old one\n".to_vec(), 0);
        assert!(written.trouble.unwrap().contains("cannot open the log"));
        assert_eq!(written.lost, 0);
    }
    std::fs::create_dir(&folder).unwrap();
    assert_eq!(sink.write(b"to the new one\n".to_vec(), 0).trouble, None);
    assert_eq!(std::fs::read_to_string(&old).unwrap(), "to the old one\n".repeat(2));
    assert_eq!(std::fs::read_to_string(&new).unwrap(), "to the new one\n");
    std::fs::remove_file(&old).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
}

fn temporary(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("herd-log-{name}-{}", std::process::id()))
}
