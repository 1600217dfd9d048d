//! Heads of HTTP messages, read slowly: the lines up to the first empty one.
//!
//! Which odd heads are let through is httparse's business, so it is told apart what is plain, and has to
//! be read by anybody, from what may be refused. Called by the targets of answers and of requests.

use herd::wire::http::{HEAD_MAX_BYTES, HEADERS_MAX};

/// A head by its lines.
pub struct Head {
    /// Status line or request line.
    pub first: String,
    /// Names in lower case, and values.
    fields: Vec<(String, String)>,
    /// Nobody may refuse how it is written; what it says is another matter.
    pub plain: bool,
}

impl Head {
    /// The head that begins at `start`, and where it ends; `None` when it does not end, or too late.
    pub fn read(input: &[u8], start: usize) -> Option<(Self, usize)> {
        let mut end = start;
        let mut lines = Vec::new();
        for line in input[start..].split_inclusive(|byte| *byte == b'\n') {
            end += line.len();
            if end - start > HEAD_MAX_BYTES || !line.ends_with(b"\n") {
                return None;
            }
            // The first line counts as none, even where it is empty.
            if !lines.is_empty() && (line == b"\r\n" || line == b"\n") {
                return Some((Self::of(&lines), end));
            }
            lines.push(line);
        }
        None
    }

    fn of(lines: &[&[u8]]) -> Self {
        let ended_well = lines.iter().all(|line| line.ends_with(b"\r\n"));
        let mut lines = lines.iter().map(|line| {
            let line = String::from_utf8_lossy(line);
            let line = line.trim_end_matches('\n');
            line.strip_suffix('\r').unwrap_or(line).to_owned()
        });
        let first = lines.next().unwrap_or_default();
        let (lines, folded) = unfold(lines);
        let few = lines.len() <= HEADERS_MAX && !folded;
        let plain =
            ended_well && few && is_plain(&first) && lines.iter().all(|l| is_plain_field(l));
        let fields = lines.iter().filter_map(|line| line.split_once(':'));
        let fields = fields.map(|(name, value)| {
            (name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned())
        });
        Self { first, fields: fields.collect(), plain }
    }

    /// The values of a field, by its name in lower case.
    pub fn values(&self, wanted: &str) -> Vec<&str> {
        let fields = self.fields.iter().filter(|(name, _)| name == wanted);
        fields.map(|(_, value)| value.as_str()).collect()
    }

    /// The one `Content-Length` there is, if there is one; an error for more, or for one that is none.
    pub fn length(&self) -> Result<Option<usize>, ()> {
        match *self.values("content-length").as_slice() {
            [] => Ok(None),
            [one] if one.bytes().all(|byte| byte.is_ascii_digit()) => {
                one.parse().map(Some).map_err(|_| ())
            }
            _ => Err(()),
        }
    }
}

/// Lines that begin with white space belong to the one before (RFC 9112, section 5.2), and whether there were any.
fn unfold(lines: impl Iterator<Item = String>) -> (Vec<String>, bool) {
    let (mut unfolded, mut folded) = (Vec::<String>::new(), false);
    for line in lines {
        match unfolded.last_mut().filter(|_| line.starts_with([' ', '\t'])) {
            Some(before) => {
                *before += &line;
                folded = true;
            }
            None => unfolded.push(line),
        }
    }
    (unfolded, folded)
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
}

fn is_plain_field(line: &str) -> bool {
    let Some((name, value)) = line.split_once(": ") else { return false };
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-';
    !name.is_empty() && name.chars().all(is_name) && !value.is_empty() && is_plain(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_at_its_empty_line() {
        let (head, end) =
            Head::read(b"__GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n\r\nbody", 2).unwrap();
        assert_eq!(
            (head.first.as_str(), head.values("host"), end),
            ("GET / HTTP/1.1", vec!["x"], 35)
        );
        assert!(head.plain && head.length() == Ok(None));
        assert!(Head::read(b"GET / HTTP/1.1\r\nHost: x\r\n", 0).is_none());
        let (head, _) = Head::read(b"a\r\nX: y\r\nLength:\r\n 5\r\n\tz\r\n\r\n", 0).unwrap();
        assert!(!head.plain && head.values("length") == ["5\tz"]);
        let (head, _) = Head::read(b"a\nContent-Length:+5\n\n", 0).unwrap();
        assert!(!head.plain && head.length() == Err(()));
    }
}
