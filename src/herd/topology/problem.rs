//! How a fault of a topology file is said: file, line, column, a sentence, the line, a caret.
//!
//! It owns the layout that errors and warnings share, and the bound on how many are kept. What is a
//! fault is decided in `parse`, the only caller.

use std::fmt;

/// The most problems that are kept of one file; the rest is only counted.
///
/// Each is printed with its line, so this times [`LINE_MAX_BYTES`](super::LINE_MAX_BYTES) bounds what
/// a file of rubbish can make us print. Far more than a person reads at once.
pub const PROBLEMS_MAX: usize = 200;

/// A place in a topology file and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, as the caller named it.
    pub file_name: String,
    /// The line, counted from 1.
    pub line: usize,
    /// The column in characters, counted from 1; a tab is one character.
    pub column: usize,
    /// What is wrong, as a sentence without a full stop.
    pub message: String,
    /// The line itself, without its line end.
    pub text: String,
}

impl Problem {
    /// `file:line:column: [label]message`, then the line, then a caret under the column.
    fn write(&self, f: &mut fmt::Formatter<'_>, label: &str) -> fmt::Result {
        let Problem { file_name, line, column, message, text } = self;
        // A file may come from anywhere: its control characters must not reach a terminal. Each gets
        // one character in its place, so that the caret still stands where it should.
        let shown: String = text
            .chars()
            .map(|c| if c.is_control() && c != '\t' { '\u{FFFD}' } else { c })
            .collect();
        // Tabs stay tabs in the caret's line: however wide the terminal draws them, both lines agree.
        let margin: String =
            shown.chars().take(column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        writeln!(f, "{file_name}:{line}:{column}: {label}{message}")?;
        writeln!(f, "{shown}")?;
        write!(f, "{margin}^")
    }
}

/// Something in a topology file that is probably not meant, and does not keep it from being used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning(pub Problem);

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write(f, "warning: ")
    }
}

/// Why a topology file is refused: every fault in it, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopologyErrors {
    /// At least one and at most [`PROBLEMS_MAX`].
    pub problems: Vec<Problem>,
    /// How many more there were.
    pub omitted: usize,
}

impl fmt::Display for TopologyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            problem.write(f, "")?;
        }
        match self.omitted {
            0 => Ok(()),
            more => write!(f, "\n... and {more} more"),
        }
    }
}

impl std::error::Error for TopologyErrors {}
