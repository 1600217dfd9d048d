//! What a person at a terminal sees: text on standard output, remarks on standard error, tables.
//!
//! Knows nothing of what the texts say. Writing never fails here: who closes the terminal or the pipe
//! does not want the rest, and what was asked for must be done all the same.

use std::io::Write;

/// What a person types to run these commands: `scripts/herd` in a clone, which sets `HERD_ROOT`, and
/// `herd` where it is installed.
pub fn program() -> &'static str {
    if std::env::var_os("HERD_ROOT").is_some() { "scripts/herd" } else { "herd" }
}

/// Writes what was asked for; returns whether there is still somebody who reads it.
pub fn show(text: impl AsRef<[u8]>) -> bool {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_ref()).and_then(|()| out.flush()).is_ok()
}

/// Writes a remark beside it, as a line.
pub fn remark(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Columns as wide as their widest cell, two spaces apart, no spaces at a line's end.
pub fn layout(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let cells: Vec<String> =
            cells.zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    let mut text = line(&mut head.iter().copied());
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["Alford".into(), "1".into()], vec!["B".into(), String::new()]];
        assert_eq!(layout(&["name", "n"], &rows), "name    n\nAlford  1\nB\n");
        assert_eq!(layout(&["é", "x"], &[vec!["ab".into(), "y".into()]]), "é   x\nab  y\n");
    }
}
