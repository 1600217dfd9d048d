//! Reads Rust source as far as names go: modules, definitions, `use` trees, and paths.
//!
//! Not a parser of the language: comments and what is compiled for tests only are dropped, and
//! of what is left each path of two names or more is kept. Called by the resolver, once a file.

/// One word or sign of the source.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    Name(String),
    /// `::`
    Sep,
    /// What stands between quotation marks.
    Text(String),
    Sign(char),
}

/// A path as it stands: `["super", "limits", "HIGH_WATER_BYTES"]`.
pub type Path = Vec<String>;

/// What one file says of names.
#[derive(Debug, Default)]
pub struct Names {
    /// `mod name;`, and the file that a `path` attribute gives it.
    pub modules: Vec<(String, Option<String>)>,
    /// What is defined at the file's top.
    pub items: Vec<String>,
    /// `use` declarations: the name here, the path, whether it is handed on (`pub use`).
    pub uses: Vec<Use>,
    /// All other paths.
    pub paths: Vec<Path>,
}

#[derive(Debug)]
pub struct Use {
    /// The name here; `*` for everything.
    pub name: String,
    pub path: Path,
    pub handed_on: bool,
}

/// Reads one file.
pub fn names_of(source: &str) -> Names {
    let pieces = without_tests(&pieces_of(source));
    let mut names = Names::default();
    let (mut at, mut depth) = (0, 0usize);
    let mut public = false;
    while at < pieces.len() {
        match &pieces[at] {
            Piece::Name(word) if word == "use" && pieces.get(at + 1) != Some(&Piece::Sign('<')) => {
                let length = pieces[at..].iter().position(|piece| *piece == Piece::Sign(';'));
                let end = at + length.expect("a `use` ends with a semicolon");
                read_use(&pieces[at + 1..end], &[], public && depth == 0, &mut names.uses);
                at = end;
                public = false;
            }
            Piece::Name(word) if word == "pub" => {
                public = true;
                if pieces.get(at + 1) == Some(&Piece::Sign('(')) {
                    at += pieces[at..].iter().position(|p| *p == Piece::Sign(')')).unwrap();
                }
            }
            Piece::Name(word) => {
                if depth == 0
                    && let Some(Piece::Name(name)) = pieces.get(at + 1)
                {
                    match word.as_str() {
                        "mod" => names.modules.push((name.clone(), path_of(&pieces, at))),
                        "fn" | "struct" | "enum" | "trait" | "type" | "const" | "static" => {
                            names.items.push(name.clone());
                        }
                        _ => {}
                    }
                }
                if word != "const" && word != "unsafe" && word != "async" {
                    public = false;
                }
                let begins = at == 0 || pieces[at - 1] != Piece::Sep;
                let path = path_at(&pieces, at);
                if begins && path.len() > 1 {
                    at += 2 * (path.len() - 1);
                    names.paths.push(path);
                }
            }
            Piece::Sign('{') => depth += 1,
            Piece::Sign('}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    names
}

/// The file in the `path` attribute before a `mod` at this place.
fn path_of(pieces: &[Piece], mod_at: usize) -> Option<String> {
    match pieces.get(mod_at.checked_sub(3)?..mod_at)? {
        [Piece::Sign('='), Piece::Text(file), Piece::Sign(']')] => Some(file.clone()),
        _ => None,
    }
}

fn path_at(pieces: &[Piece], mut at: usize) -> Path {
    let mut path = Vec::new();
    while let Some(Piece::Name(name)) = pieces.get(at) {
        path.push(name.clone());
        if pieces.get(at + 1) != Some(&Piece::Sep) {
            break;
        }
        at += 2;
    }
    path
}

/// Reads a `use` tree, whose part so far is `before`.
fn read_use(pieces: &[Piece], before: &[String], handed_on: bool, uses: &mut Vec<Use>) {
    let mut path = before.to_vec();
    let mut at = 0;
    while at < pieces.len() {
        match &pieces[at] {
            Piece::Name(word) if word == "as" => {
                let Some(Piece::Name(name)) = pieces.get(at + 1) else { return };
                uses.push(Use { name: name.clone(), path, handed_on });
                return;
            }
            Piece::Name(word) => path.push(word.clone()),
            Piece::Sign('*') => {
                uses.push(Use { name: "*".to_owned(), path, handed_on });
                return;
            }
            Piece::Sign('{') => {
                for part in parts(&pieces[at + 1..pieces.len() - 1]) {
                    read_use(part, &path, handed_on, uses);
                }
                return;
            }
            _ => {}
        }
        at += 1;
    }
    if path.last().is_some_and(|last| last == "self") {
        path.pop();
    }
    if let Some(name) = path.last().cloned().filter(|_| pieces.iter().any(is_name)) {
        uses.push(Use { name, path, handed_on });
    }
}

fn is_name(piece: &Piece) -> bool {
    matches!(piece, Piece::Name(_))
}

/// Cuts at the commas that stand in no inner braces.
fn parts(pieces: &[Piece]) -> Vec<&[Piece]> {
    let (mut found, mut start, mut depth) = (Vec::new(), 0, 0);
    for (at, piece) in pieces.iter().enumerate() {
        match piece {
            Piece::Sign('{') => depth += 1,
            Piece::Sign('}') => depth -= 1,
            Piece::Sign(',') if depth == 0 => {
                found.push(&pieces[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    found.push(&pieces[start..]);
    found
}

/// Drops each item under `#[cfg(test)]`.
fn without_tests(pieces: &[Piece]) -> Vec<Piece> {
    let mark: Vec<Piece> = pieces_of("#[cfg(test)]");
    let (mut kept, mut at) = (Vec::new(), 0);
    while at < pieces.len() {
        if pieces[at..].starts_with(&mark) {
            at = item_end(pieces, at + mark.len());
        } else {
            kept.push(pieces[at].clone());
            at += 1;
        }
    }
    kept
}

/// Where the item that begins here has ended: after its braces, or its semicolon.
fn item_end(pieces: &[Piece], mut at: usize) -> usize {
    let mut depth = 0;
    while at < pieces.len() {
        match pieces[at] {
            Piece::Sign('{' | '[' | '(') => depth += 1,
            Piece::Sign('}') if depth == 1 => return at + 1,
            Piece::Sign('}' | ']' | ')') => depth -= 1,
            Piece::Sign(';' | ',') if depth == 0 => return at + 1,
            _ => {}
        }
        at += 1;
    }
    at
}

/// Cuts the source into pieces, without its comments.
fn pieces_of(source: &str) -> Vec<Piece> {
    let chars: Vec<char> = source.chars().collect();
    let (mut pieces, mut at) = (Vec::new(), 0);
    while at < chars.len() {
        let (here, next) = (chars[at], chars.get(at + 1).copied().unwrap_or(' '));
        if here == '/' && next == '/' {
            at += chars[at..].iter().position(|c| *c == '\n').unwrap_or(chars.len() - at);
        } else if here == '"' {
            let end = text_end(&chars, at + 1);
            pieces.push(Piece::Text(chars[at + 1..end.min(chars.len()) - 1].iter().collect()));
            at = end;
        } else if here == 'r' && (next == '"' || next == '#') && raw_text(&chars, at).is_some() {
            at = raw_text(&chars, at).unwrap();
        } else if here == '\'' {
            at = quote_end(&chars, at);
        } else if here == ':' && next == ':' {
            pieces.push(Piece::Sep);
            at += 2;
        } else if here.is_alphanumeric() || here == '_' {
            let length = chars[at..].iter().take_while(|c| c.is_alphanumeric() || **c == '_');
            let word: String = length.collect();
            at += word.chars().count();
            // The `b` or `r` of a text is part of it.
            let is_prefix = chars.get(at) == Some(&'"') && matches!(word.as_str(), "b" | "c");
            if !is_prefix {
                pieces.push(Piece::Name(word));
            }
        } else {
            if !here.is_whitespace() {
                pieces.push(Piece::Sign(here));
            }
            at += 1;
        }
    }
    pieces
}

/// After the closing quotation mark of a text whose first character stands here.
fn text_end(chars: &[char], mut at: usize) -> usize {
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// After a raw text that begins here, if one does.
fn raw_text(chars: &[char], at: usize) -> Option<usize> {
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    let start = at + 1 + hashes;
    (chars.get(start) == Some(&'"')).then_some(())?;
    let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let found = chars[start + 1..].windows(end.len()).position(|w| *w == end[..]);
    Some(found.map_or(chars.len(), |found| start + 1 + found + end.len()))
}

/// After a character in quotes; a lifetime's mark alone.
fn quote_end(chars: &[char], at: usize) -> usize {
    match chars.get(at + 1) {
        Some('\\') => at + 3 + chars[at + 3..].iter().position(|c| *c == '\'').unwrap_or(0),
        _ if chars.get(at + 2) == Some(&'\'') => at + 3,
        _ => at + 1,
    }
}
