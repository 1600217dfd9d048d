//! What may stand in a log's place, and what becomes of a file that is there already.

use std::os::unix::net::UnixListener;

use rustix::fs::{CWD, FileType as NodeType, Mode, mknodat};

use super::*;

/// A folder of a test, gone when the test is over.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("herd-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn place(&self) -> Place {
        Place::at(self.0.join("log"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn what_is_no_file_is_refused_by_name_at_once() {
    let folder = Folder::new("in-the-way");
    let make = |what: &str, path: &Path| match what {
        "a FIFO" => mknodat(CWD, path, NodeType::Fifo, Mode::RWXU, 0).unwrap(),
        "a socket" => drop(UnixListener::bind(path).unwrap()),
        _ => fs::create_dir(path).unwrap(),
    };
    for what in ["a FIFO", "a socket", "a folder"] {
        let place = Place::at(folder.0.join(what));
        make(what, &place.path);
        let why = LogFile::open(&place).err().unwrap();
        let shown = place.path.display();
        assert_eq!(
            why,
            format!("cannot open the log {shown}: it is {what}, and a log is a file; move it away")
        );
    }
    // A device is written as it is.
    LogFile::open(&Place::at("/dev/null".into())).map(drop).unwrap();
}

#[test]
fn a_log_and_the_one_before_are_their_owners_alone_whatever_they_were() {
    let folder = Folder::new("modes");
    let place = folder.place();
    let group = Place { mode: 0o640, ..place.clone() };
    for (place, expected) in [(&place, 0o600), (&group, 0o640), (&place, 0o600)] {
        LogFile::open(place).map(drop).unwrap();
        assert_eq!(mode(&place.path), expected);
        fs::set_permissions(&place.path, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(place.old_path(), "before\n").unwrap();
        LogFile::open(place).map(drop).unwrap();
        assert_eq!((mode(&place.path), mode(&place.old_path())), (expected, expected));
        fs::remove_file(&place.path).unwrap();
    }
}

#[test]
fn files_that_are_too_long_already_are_cut_to_their_ends() {
    let folder = Folder::new("ends");
    let place = Place { max_bytes: Some(6_000_000), ..folder.place() };
    let lines: Vec<_> = (0..1_000_000).map(|number| format!("line {number}\n")).collect();
    let text = lines.concat();
    fs::write(&place.path, &text).unwrap();
    fs::write(place.old_path(), "older\n").unwrap();
    LogFile::open(&place).map(drop).unwrap();
    let kept = fs::read_to_string(place.old_path()).unwrap();
    assert!(kept.len() <= 3_000_000 && kept.len() > 2_999_000, "{}", kept.len());
    assert!(kept.starts_with("line ") && text.ends_with(&kept));
    assert_eq!(fs::read_to_string(&place.path).unwrap(), "");
    // Where others rotate, nothing is touched.
    fs::write(&place.path, &text).unwrap();
    LogFile::open(&Place { max_bytes: None, ..place.clone() }).map(drop).unwrap();
    assert_eq!(fs::metadata(&place.path).unwrap().len(), text.len() as u64);
}

#[test]
fn a_folder_that_may_not_be_changed_has_its_log_emptied() {
    let folder = Folder::new("fixed");
    let place = Place { max_bytes: Some(20_000), ..folder.place() };
    let mut log = LogFile::open(&place).unwrap_or_else(|why| panic!("{why}"));
    // Nothing can be moved onto a folder with something in it, not even by root.
    fs::create_dir_all(place.old_path().join("something")).unwrap();
    log.write_all(&[b'x'; 9_999]).unwrap();
    assert!(matches!(log.make_room(100), Ok(10_000)));
    assert_eq!(fs::metadata(&place.path).unwrap().len(), 0);
}
