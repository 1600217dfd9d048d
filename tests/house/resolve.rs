//! From names to files: which file defines what a path names.
//!
//! A path is followed module by module; where a module hands a name on (`pub use`), on from there.
//! What ends in another library is passed over. Called by the tests of the house.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use super::read::{Names, names_of};

/// One file names something that another defines.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    pub from: String,
    pub to: String,
    /// The last name of the path.
    pub name: String,
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}: {}", self.from, self.to, self.name)
    }
}

/// The crates of this house, by the path of their first file.
const CRATES: &[&str] = &["src/lib.rs", "src/main.rs"];

/// All files and what they name.
pub struct House {
    pub edges: Vec<Edge>,
}

/// A module: `["src/lib.rs", "reactor", "token"]`, the crate's first file in front.
type Place = Vec<String>;

struct Module {
    file: String,
    names: Names,
}

type Modules = BTreeMap<Place, Module>;

impl House {
    /// Reads the library, the programs and the tests below `root`.
    pub fn read(root: &Path) -> House {
        let mut modules = Modules::new();
        let mut firsts: Vec<String> = CRATES.iter().map(ToString::to_string).collect();
        for folder in ["scripts", "tests", "src/examples", "src/ladder"] {
            firsts.extend(crates_in(root, folder));
        }
        for first in firsts {
            let place = vec![first.clone()];
            read_module(root, &first, true, place, &mut modules);
        }
        let mut edges = Vec::new();
        for (place, module) in &modules {
            let used = module.names.uses.iter().filter(|found| !found.handed_on);
            let used = used.map(|found| &found.path);
            for path in used.chain(&module.names.paths) {
                let Some(file) = resolve(&modules, place, path, 0) else { continue };
                if file != module.file {
                    let name = path.last().cloned().unwrap_or_default();
                    edges.push(Edge { from: module.file.clone(), to: file, name });
                }
            }
        }
        edges.sort();
        edges.dedup();
        House { edges }
    }
}

/// The first files of programs and tests: `main.rs` in a folder, or a file at the folder's top.
fn crates_in(root: &Path, folder: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(root.join(folder)) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    let first = |path: std::path::PathBuf| {
        let file = if path.is_dir() {
            [path.join("main.rs"), path.join("src/main.rs")].into_iter().find(|p| p.exists())?
        } else {
            path
        };
        let is_source = file.extension().is_some_and(|extension| extension == "rs");
        let name = file.strip_prefix(root).ok()?.to_str()?.to_owned();
        is_source.then_some(name)
    };
    paths.filter_map(first).collect()
}

fn read_module(root: &Path, file: &str, is_first: bool, place: Place, modules: &mut Modules) {
    let Ok(source) = fs::read_to_string(root.join(file)) else { return };
    let names = names_of(&source);
    let path = Path::new(file);
    let parent = path.parent().unwrap();
    let below = if is_first || path.ends_with("mod.rs") {
        parent.to_owned()
    } else {
        parent.join(path.file_stem().unwrap())
    };
    for (child, given) in &names.modules {
        let at = |name: String| below.join(name).to_str().unwrap().to_owned();
        let given = given.as_ref().map(|file| plain(&parent.join(file)));
        let usual = [at(format!("{child}.rs")), at(format!("{child}/mod.rs"))];
        let candidates: Vec<String> = given.into_iter().chain(usual).collect();
        let Some(found) = candidates.iter().find(|c| root.join(c).exists()) else { continue };
        let place = place.iter().chain([child]).cloned().collect();
        read_module(root, found, false, place, modules);
    }
    modules.insert(place, Module { file: file.to_owned(), names });
}

/// A path without its `..`.
fn plain(path: &Path) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.iter().map(|part| part.to_str().unwrap()) {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.join("/")
}

/// The file that defines what `path` names, seen from the module at `place`.
fn resolve(modules: &Modules, place: &[String], path: &[String], depth: usize) -> Option<String> {
    let (mut here, rest) = begin(modules, place, path)?;
    for (at, name) in rest.iter().enumerate() {
        let mut deeper = here.clone();
        deeper.push(name.clone());
        if modules.contains_key(&deeper) {
            here = deeper;
            continue;
        }
        let module = modules.get(&here)?;
        if module.names.items.contains(name) || depth > 8 {
            break;
        }
        let handed = module.names.uses.iter().filter(|u| u.name == *name || u.name == "*");
        for found in handed {
            let mut target = found.path.clone();
            if found.name == "*" {
                target.push(name.clone());
            }
            target.extend(rest[at + 1..].iter().cloned());
            if let Some(file) = resolve(modules, &here, &target, depth + 1) {
                return Some(file);
            }
        }
        break;
    }
    modules.get(&here).map(|module| module.file.clone())
}

/// Where a path begins, and what is left of it. `None`: in another library, or at a local name.
fn begin<'a>(
    modules: &Modules,
    place: &[String],
    path: &'a [String],
) -> Option<(Place, &'a [String])> {
    let (first, mut rest) = path.split_first()?;
    let mut here: Place = match first.as_str() {
        "crate" => vec![place[0].clone()],
        "self" => place.to_vec(),
        "super" => place[..place.len() - 1].to_vec(),
        "herd" => vec!["src/lib.rs".to_owned()],
        child => {
            let mut here = place.to_vec();
            here.push(child.to_owned());
            return modules.contains_key(&here).then_some((here, rest));
        }
    };
    while rest.first().is_some_and(|name| name == "super") {
        here.pop();
        rest = &rest[1..];
    }
    (!here.is_empty()).then_some((here, rest))
}
