//! Foreign bytes as a log shows them, so that nobody can forge a line or hide one.
//!
//! Owns the escaping and its bound. Pure; used wherever a log line holds what somebody else has sent.

use std::fmt;
use std::io::Write;

/// The longest part of a foreign text that is logged.
pub const LOGGED_TEXT_MAX_BYTES: usize = 512;

/// As many bytes as are looked at in one step: two registers of any x86-64 or ARM.
const STEP_BYTES: usize = 32;

/// Foreign bytes, on one line whatever they hold. Control characters, those that change the direction of
/// text, bytes that are no UTF-8 and the backslash are escaped; a long text is cut with its length.
pub struct Text<'a>(pub &'a [u8]);

impl Text<'_> {
    /// Appends what `Display` shows. Nearly every text is shown as it is, and then this is one look and
    /// one copy.
    #[inline]
    pub fn append_to(&self, out: &mut Vec<u8>) {
        if self.0.len() <= LOGGED_TEXT_MAX_BYTES && all_harmless(self.0) {
            out.extend_from_slice(self.0);
        } else {
            self.append_escaped_to(out);
        }
    }

    #[cold]
    fn append_escaped_to(&self, out: &mut Vec<u8>) {
        // Writing into memory cannot fail.
        let _ = write!(out, "{self}");
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.get(..LOGGED_TEXT_MAX_BYTES).unwrap_or(self.0);
        for chunk in shown.utf8_chunks() {
            write_escaped(f, chunk.valid())?;
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        if shown.len() < self.0.len() {
            write!(f, "... ({} bytes)", self.0.len())?;
        }
        Ok(())
    }
}

/// Whether these are printable ASCII other than the backslash.
fn all_harmless(bytes: &[u8]) -> bool {
    let Some(last) = bytes.last_chunk::<STEP_BYTES>() else {
        return !bytes.iter().copied().any(is_harmful);
    };
    // Without a branch, so that all of a step's bytes are looked at together.
    let has_harm =
        |step: &[u8; STEP_BYTES]| step.iter().fold(false, |found, byte| found | is_harmful(*byte));
    // What is left over after whole steps, and some of it twice, which does no harm.
    !has_harm(last) && !bytes.as_chunks().0.iter().any(has_harm)
}

/// Whether it is a control character, DEL, the backslash or beyond ASCII. One more than DEL and what is
/// beyond ASCII is negative or 0, so that one comparison sees all but the backslash.
fn is_harmful(byte: u8) -> bool {
    byte.wrapping_add(1).cast_signed() <= b' '.cast_signed() || byte == b'\\'
}

/// Writes `text` with escapes, and what stands between two of them in one piece.
fn write_escaped(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let mut rest = text;
    while let Some(at) = rest.find(needs_escape) {
        let (plain, from) = rest.split_at(at);
        f.write_str(plain)?;
        let mut after = from.chars();
        match after.next() {
            Some('\n') => f.write_str("\\n")?,
            Some('\r') => f.write_str("\\r")?,
            Some('\t') => f.write_str("\\t")?,
            Some('\\') => f.write_str("\\\\")?,
            Some(c) => write!(f, "\\u{{{:x}}}", u32::from(c))?,
            None => {}
        }
        rest = after.as_str();
    }
    f.write_str(rest)
}

fn needs_escape(character: char) -> bool {
    character == '\\' || character.is_control() || misleads(character)
}

/// Separators of lines, marks of direction and invisible characters (Unicode UAX #9, TR #36).
fn misleads(character: char) -> bool {
    matches!(character,
        '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `Display` shows it, and as it is appended, which is the same.
    fn shown(bytes: &[u8]) -> String {
        let mut appended = b"before ".to_vec();
        Text(bytes).append_to(&mut appended);
        let shown = Text(bytes).to_string();
        assert_eq!(appended, format!("before {shown}").into_bytes());
        shown
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
    fn a_harmful_byte_is_seen_at_every_place_of_every_length() {
        for length in 0..70 {
            let plain = vec![b'~'; length];
            assert_eq!(shown(&plain).into_bytes(), plain);
            for place in 0..length {
                for byte in 0..=255u8 {
                    let mut text = plain.clone();
                    text[place] = byte;
                    let harmless = (b' '..=b'~').contains(&byte) && byte != b'\\';
                    assert_eq!(all_harmless(&text), harmless, "{byte} at {place} of {length}");
                }
            }
        }
    }

    #[test]
    fn long_text_is_cut_with_its_length() {
        let text = shown(&[b'x'; 16_384]);
        assert!(text.ends_with("x... (16384 bytes)"), "{text}");
        assert_eq!(text.len(), LOGGED_TEXT_MAX_BYTES + "... (16384 bytes)".len());
        assert_eq!(shown(&[b'x'; LOGGED_TEXT_MAX_BYTES]).len(), LOGGED_TEXT_MAX_BYTES);
    }
}
