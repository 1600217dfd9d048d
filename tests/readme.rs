//! The README names tests as its witnesses: each of them must exist. And what it says of a flag's default
//! is what the program's own help says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The rows of the tables in a section of the README, as cells.
fn rows(section: &str) -> Vec<Vec<String>> {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let (_, rest) = readme.split_once(&format!("\n## {section}\n")).expect("no such section");
    let text = rest.split("\n## ").next().unwrap();
    let cells =
        |row: &str| row.trim_matches('|').split(" | ").map(|c| c.trim().to_owned()).collect();
    text.lines().filter(|line| line.starts_with("| ")).skip(1).map(cells).collect()
}

/// What stands between backquotes.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

fn sources(folder: PathBuf, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The names of all tests of the project.
fn tests() -> BTreeSet<String> {
    let mut files = Vec::new();
    for folder in ["src", "tests"] {
        sources(root().join(folder), &mut files);
    }
    let mut names = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(file).unwrap();
        // The name follows the attribute, perhaps after other attributes.
        for test in text.split("#[test]").skip(1) {
            let (_, after) = test.split_once("fn ").expect("an attribute without a function");
            names.insert(after.split('(').next().unwrap().to_owned());
        }
    }
    names
}

#[test]
fn every_test_that_the_readme_calls_on_exists() {
    let known = tests();
    for section in ["What it promises", "Bounds"] {
        let rows = rows(section);
        assert!(rows.len() > 10, "{section} has {} rows", rows.len());
        for row in rows {
            let named: Vec<&str> = quoted(row.last().unwrap()).collect();
            assert!(!named.is_empty(), "no test is named for {:?}", row[0]);
            for name in named {
                assert!(known.contains(name), "{section} calls on {name}, which is no test");
            }
        }
    }
}

#[test]
fn every_flag_that_bounds_clients_has_its_row_with_its_default() {
    let rows = rows("Bounds");
    let help = Command::new(env!("CARGO_BIN_EXE_herd")).args(["serve", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let (_, bounds) = help.split_once("What clients may take.").unwrap();
    // Each flag with its text, up to the next flag.
    for flag in bounds.split("\n  --").skip(1) {
        let name = format!("--{}", flag.split(' ').next().unwrap());
        let (_, default) = flag.split_once("default ").expect("a flag without a default");
        let default: String = default.chars().take_while(char::is_ascii_digit).collect();
        let row =
            rows.iter().find(|row| quoted(&row[0]).any(|it| it.starts_with(&format!("{name} "))));
        let row = row.unwrap_or_else(|| panic!("{name} has no row"));
        let told: String = row[1].chars().take_while(char::is_ascii_digit).collect();
        assert_eq!(told, default, "the default of {name}");
    }
}
