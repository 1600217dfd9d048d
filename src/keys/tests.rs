//! Keys on a real disk, each test in a folder of its own.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::atomic::{AtomicU32, Ordering};

use super::authority::{Authority, name_fault};
use super::files::{SECRET, write_whole};
use super::*;

const HERD: [&str; 3] = ["Alford", "Ball", "Hamilton"];

/// 2026-01-01.
const NOW: i64 = 1_767_225_600;

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("herd-keys-{}-{count}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn keys(&self) -> PathBuf {
        self.0.join("keys")
    }

    fn make(&self, names: &[&str], renew: Renew) -> Result<Vec<Row>, String> {
        self.make_with(names, renew, SERVER_DAYS, NOW)
    }

    fn make_with(
        &self,
        names: &[&str],
        renew: Renew,
        days: u32,
        now: i64,
    ) -> Result<Vec<Row>, String> {
        make(&self.keys(), &Wanted { names, authority_key: None, renew, days, now })
    }

    /// Every file below with its bytes.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut folders = vec![self.0.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.strip_prefix(&self.0).unwrap().to_owned();
                    files.insert(name, fs::read(path).unwrap());
                }
            }
        }
        files
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn outcomes(rows: &[Row]) -> Vec<(&str, Outcome)> {
    rows.iter().map(|row| (row.name.as_str(), row.outcome)).collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn each_server_gets_a_folder_that_is_all_it_needs() {
    let folder = Folder::new();
    let rows = folder.make(&HERD, Renew::Nobody).unwrap();
    let made = [("(authority)", Outcome::Made), ("Alford", Outcome::Made)];
    assert_eq!(outcomes(&rows)[..2], made);
    assert_eq!(rows.len(), 4);
    assert_eq!(rows[0].validity.not_after, NOW + i64::from(AUTHORITY_DAYS) * SECONDS_PER_DAY);
    assert_eq!(rows[1].validity.not_after, NOW + i64::from(SERVER_DAYS) * SECONDS_PER_DAY);
    assert_eq!(rows[1].validity.not_before, NOW - CLOCKS_APART_SECONDS);
    // On the machine of Ball there is nothing but its folder.
    let machine = folder.0.join("etc");
    fs::rename(folder.keys().join("Ball"), &machine).unwrap();
    let keys = ServerKeys::read(&machine, "Ball").unwrap();
    assert_eq!((keys.folder, keys.validity), (machine, rows[2].validity));
    keys.credentials.server().map(drop).unwrap();
    keys.credentials.client().map(drop).unwrap();
    let files = fs::read_dir(folder.keys().join("Alford")).unwrap();
    let mut files: Vec<_> = files.map(|entry| entry.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["authority.pem", "certificate.pem", "key.pem"]);
}

#[test]
fn keys_are_for_their_owner_alone() {
    let folder = Folder::new();
    folder.make(&HERD, Renew::Nobody).unwrap();
    let keys = folder.keys();
    assert_eq!((mode(&keys), mode(&keys.join("Ball"))), (0o700, 0o700));
    assert_eq!(mode(&keys.join("authority-key.pem")), 0o600);
    assert_eq!(mode(&keys.join("Ball/key.pem")), 0o600);
    // What an interrupted run left for everybody to read does not lend its mode to the key.
    fs::write(keys.join("Ball/key.new"), "half a k").unwrap();
    fs::set_permissions(keys.join("Ball/key.new"), fs::Permissions::from_mode(0o666)).unwrap();
    folder.make(&HERD, Renew::All).unwrap();
    assert_eq!(mode(&keys.join("Ball/key.pem")), 0o600);
    assert!(!keys.join("Ball/key.new").exists());
}

#[test]
fn what_is_there_stays_byte_for_byte() {
    let folder = Folder::new();
    folder.make(&HERD[..2], Renew::Nobody).unwrap();
    let before = folder.files();
    let rows = folder.make(&HERD, Renew::Nobody).unwrap();
    let kept = [("(authority)", Outcome::Kept), ("Alford", Outcome::Kept), ("Ball", Outcome::Kept)];
    assert_eq!(outcomes(&rows)[..3], kept);
    assert_eq!(outcomes(&rows)[3], ("Hamilton", Outcome::Made));
    let after = folder.files();
    assert!(before.iter().all(|(path, bytes)| after[path] == *bytes));
    assert_eq!(after.len(), before.len() + 3);
}

#[test]
fn renewing_one_leaves_the_others_alone() {
    let folder = Folder::new();
    folder.make(&HERD, Renew::Nobody).unwrap();
    let before = folder.files();
    let rows = folder
        .make_with(&HERD, Renew::Named(vec!["Ball".to_owned()]), 10, NOW + SECONDS_PER_DAY)
        .unwrap();
    assert_eq!(rows[2].outcome, Outcome::Renewed);
    assert_eq!(rows[2].validity.not_after, NOW + 11 * SECONDS_PER_DAY);
    let changed =
        |(path, bytes): (&PathBuf, &Vec<u8>)| (before[path] != *bytes).then(|| path.clone());
    let changed: Vec<PathBuf> = folder.files().iter().filter_map(changed).collect();
    assert_eq!(changed, ["keys/Ball/certificate.pem", "keys/Ball/key.pem"].map(PathBuf::from));
    assert_eq!(ServerKeys::read(&folder.keys(), "Ball").unwrap().validity, rows[2].validity);
    folder.make(&HERD, Renew::All).unwrap();
    let same = |path: &PathBuf| folder.files()[path] == before[path];
    assert!(
        same(&PathBuf::from("keys/authority.pem")) && !same(&PathBuf::from("keys/Alford/key.pem"))
    );
}

#[test]
fn those_that_expire_soon_are_renewed_when_that_is_asked_for() {
    let folder = Folder::new();
    folder.make_with(&HERD[..1], Renew::Nobody, 29, NOW).unwrap();
    folder.make_with(&HERD[..2], Renew::Nobody, 30, NOW).unwrap();
    let rows = folder.make(&HERD[..2], Renew::Expiring).unwrap();
    assert_eq!((rows[1].outcome, rows[2].outcome), (Outcome::Renewed, Outcome::Kept));
}

#[test]
fn the_authoritys_key_can_be_kept_elsewhere() {
    let folder = Folder::new();
    let (safe, other) = (folder.0.join("safe.pem"), folder.0.join("other.pem"));
    let make = |names: &[&str], key: Option<&Path>| {
        let renew = Renew::Nobody;
        make(&folder.keys(), &Wanted { names, authority_key: key, renew, days: 5, now: NOW })
    };
    make(&HERD[..1], Some(&safe)).unwrap();
    assert_eq!(mode(&safe), 0o600);
    assert!(!folder.keys().join("authority-key.pem").exists());
    // Nothing to sign: nobody asks for the key.
    assert_eq!(make(&HERD[..1], None).unwrap()[1].outcome, Outcome::Kept);
    let before = folder.files();
    let error = make(&HERD, None).unwrap_err();
    assert!(error.contains("keys/authority-key.pem; say with --authority-key FILE"), "{error}");
    write_whole(&other, &Authority::generate().unwrap().key(), SECRET).unwrap();
    let error = make(&HERD, Some(&other)).unwrap_err();
    assert!(error.contains("other.pem is not the key of"), "{error}");
    fs::remove_file(&other).unwrap();
    assert_eq!(folder.files(), before, "what cannot be done changes nothing");
    assert_eq!(make(&HERD, Some(&safe)).unwrap()[3].outcome, Outcome::Made);
}

#[test]
fn an_interrupted_run_is_made_whole_by_the_next() {
    let folder = Folder::new();
    folder.make(&HERD, Renew::Nobody).unwrap();
    let whole = folder.files();
    // A server's certificate is written last.
    fs::remove_file(folder.keys().join("Ball/certificate.pem")).unwrap();
    let rows = folder.make(&HERD, Renew::Nobody).unwrap();
    assert_eq!((rows[1].outcome, rows[2].outcome), (Outcome::Kept, Outcome::Made));
    ServerKeys::read(&folder.keys(), "Ball").unwrap().credentials.server().map(drop).unwrap();
    // The authority's too, and its key is not made anew.
    fs::remove_dir_all(folder.keys()).unwrap();
    fs::create_dir(folder.keys()).unwrap();
    let key = PathBuf::from("keys/authority-key.pem");
    write_whole(&folder.0.join(&key), std::str::from_utf8(&whole[&key]).unwrap(), SECRET).unwrap();
    folder.make(&HERD, Renew::Nobody).unwrap();
    assert_eq!(folder.files()[&key], whole[&key]);
    // A key without its certificate, or the other way round.
    fs::write(folder.keys().join("Ball/key.pem"), Authority::generate().unwrap().key()).unwrap();
    let error = folder.make(&HERD, Renew::Nobody).unwrap_err();
    assert!(error.contains("for another key; make Ball's keys anew with --renew Ball"), "{error}");
    folder.make(&HERD, Renew::Named(vec!["Ball".to_owned()])).unwrap();
}

#[test]
fn what_does_not_fit_together_is_refused_before_anything_is_written() {
    let folder = Folder::new();
    folder.make(&HERD, Renew::Nobody).unwrap();
    fs::remove_file(folder.keys().join("authority.pem")).unwrap();
    fs::remove_file(folder.keys().join("authority-key.pem")).unwrap();
    let before = folder.files();
    let refused = |names: &[&str], renew, words: &str| {
        let error = folder.make(names, renew).unwrap_err();
        assert!(error.contains(words), "{error}");
        assert_eq!(folder.files(), before);
    };
    refused(&HERD, Renew::Nobody, "keys/Alford is not of the authority ");
    refused(&["Alford", "7"], Renew::All, "the server \"7\": a number is no name");
    refused(&["a-", "Alford"], Renew::All, "the server \"a-\": a name with a hyphen at its end");
    let stranger = || Renew::Named(vec!["Bell".to_owned()]);
    refused(&HERD, stranger(), "no server \"Bell\" in the topology");
    folder.make(&HERD, Renew::All).unwrap();
    fs::write(folder.keys().join("Ball/certificate.pem"), "rubbish").unwrap();
    let error = folder.make(&HERD, Renew::Nobody).unwrap_err();
    assert!(error.contains("keys/Ball/certificate.pem: no certificate in it"), "{error}");
    folder.make(&HERD, Renew::All).unwrap();
}

#[test]
fn nothing_outlives_its_authority() {
    let folder = Folder::new();
    let end = folder.make(&HERD[..1], Renew::Nobody).unwrap()[0].validity.not_after;
    let rows = folder.make_with(&HERD, Renew::Nobody, 1000, end - SECONDS_PER_DAY).unwrap();
    assert_eq!((rows[3].outcome, rows[3].validity.not_after), (Outcome::Made, end));
    let error = folder.make_with(&HERD, Renew::All, 1000, end).unwrap_err();
    assert!(error.contains("authority.pem has expired on 2035-12-30"), "{error}");
    // There is nothing to sign, so it is no matter.
    folder.make_with(&HERD, Renew::Nobody, 1000, end).unwrap();
}

#[test]
fn the_folder_of_all_keys_is_as_good_as_a_servers_own() {
    let folder = Folder::new();
    folder.make(&HERD, Renew::Nobody).unwrap();
    let own = folder.keys().join("Alford");
    assert_eq!(ServerKeys::read(&folder.keys(), "Alford").unwrap().folder, own);
    assert_eq!(ServerKeys::read(&own, "Alford").unwrap().folder, own);
    let read = |dir: &Path| ServerKeys::read(dir, "Ball").map(drop).unwrap_err();
    assert!(read(&own).contains("is another server's; Ball needs its own"), "{}", read(&own));
    assert!(read(&folder.0).contains("cannot read "), "{}", read(&folder.0));
    fs::write(own.join("key.pem"), "rubbish").unwrap();
    let error = ServerKeys::read(&own, "Alford").map(drop).unwrap_err();
    assert!(error.contains("are not right: the key: "), "{error}");
}

#[test]
fn a_certificate_bears_every_name_that_is_not_refused() {
    let authority = Authority::generate().unwrap();
    let validity = Validity { not_before: NOW, not_after: NOW + 1 };
    let pem = authority.certificate(validity).unwrap();
    let long = "x".repeat(63);
    for name in ["Alford", "a_b", "1a", "a1", "A-1", "a--b", "0x10", &long] {
        let made = authority.certify(name, validity).unwrap();
        let texts = [pem.as_str(), &made.certificate, &made.key].map(str::as_bytes);
        let credentials = Credentials::from_pem(texts[0], texts[1], texts[2]).unwrap();
        assert_eq!(name_fault(name), None);
        assert!(credentials.is_for(name) && credentials.is_for(&name.to_uppercase()), "{name}");
        assert!(
            !credentials.is_for("herd authority") && !credentials.is_for(&name[..name.len() - 1])
        );
        assert_eq!(super::validity(credentials.certificate()), Some(validity));
    }
}

#[test]
fn openssl_agrees_with_what_a_certificate_says() {
    let folder = Folder::new();
    folder.make(&HERD, Renew::Nobody).unwrap();
    let openssl = |arguments: &[&str]| {
        let mut run = std::process::Command::new("openssl");
        run.args(arguments).current_dir(folder.keys());
        let output = run.output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let Some(authority) = openssl(&["x509", "-noout", "-text", "-in", "authority.pem"]) else {
        return eprintln!("openssl is not installed: nothing was compared");
    };
    for words in
        ["CA:TRUE, pathlen:0", "Certificate Sign\n", "Not After : Dec 30 00:00:00 2035 GMT"]
    {
        assert!(authority.contains(words), "{authority}");
    }
    assert!(!authority.contains("CRL Sign") && !authority.contains("Digital Signature"));
    let certificate = openssl(&["x509", "-noout", "-text", "-in", "Ball/certificate.pem"]).unwrap();
    for words in [
        "DNS:Ball\n",
        "CA:FALSE",
        "TLS Web Server Authentication, TLS Web Client Authentication",
        "Not After : Jan  1 00:00:00 2028 GMT",
    ] {
        assert!(certificate.contains(words), "{certificate}");
    }
    for purpose in ["sslserver", "sslclient"] {
        let moment = NOW.to_string();
        let verified = openssl(&[
            "verify",
            "-purpose",
            purpose,
            "-attime",
            &moment,
            "-x509_strict",
            "-CAfile",
            "authority.pem",
            "Ball/certificate.pem",
        ]);
        assert_eq!(verified.as_deref(), Some("Ball/certificate.pem: OK\n"));
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let folder = Folder::new();
    fs::write(folder.keys(), "a file").unwrap();
    let error = folder.make(&HERD, Renew::Nobody).unwrap_err();
    assert!(error.contains(&folder.keys().display().to_string()), "{error}");
    assert_eq!(fs::metadata(folder.keys()).unwrap().size(), 6);
}
