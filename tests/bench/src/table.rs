//! The table: what was measured, beside its goal and the peers, and whether the goal is met.
//!
//! Pure text. A figure is judged by [`Check`]s, all of which must hold. Called by the rows and by `bench`.

use std::ops::RangeInclusive;

use serde_json::{Value, json};

/// Whether a goal is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// By every check.
    Met,
    /// Not by all.
    NotMet,
    /// There is no goal, or nobody to compare with.
    Open,
    /// It could not be measured.
    Failed,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Met => "yes",
            Self::NotMet => "**no**",
            Self::Open => "-",
            Self::Failed => "failed",
        }
    }
}

/// One condition of a goal.
pub struct Check<'a> {
    /// What the value is told as, as in `× Redis`; nothing when the row has the figure already.
    pub what: &'a str,
    /// The figure; none where the peer is missing.
    pub value: Option<f64>,
    /// Where it has to be.
    pub within: RangeInclusive<f64>,
}

impl<'a> Check<'a> {
    /// A figure that must not be above `most`, and that the row has already.
    pub fn at_most(value: f64, most: f64) -> Self {
        Self { what: "", value: Some(value), within: f64::NEG_INFINITY..=most }
    }

    /// The herd's figure as a multiple of a peer's, if there is one: at most so much.
    pub fn ratio(what: &'a str, herd: f64, peer: Option<f64>, most: f64) -> Self {
        let value = peer.filter(|peer| *peer > 0.0).map(|peer| herd / peer);
        Self { what, value, within: f64::NEG_INFINITY..=most }
    }

    /// A figure, if there is one: at least so much.
    pub fn at_least(what: &'a str, value: Option<f64>, least: f64) -> Self {
        Self { what, value, within: least..=f64::INFINITY }
    }

    /// Whether it holds, where it is known.
    fn holds(&self) -> Option<bool> {
        self.value.map(|value| self.within.contains(&value))
    }
}

/// One line of the table.
#[derive(Debug, Clone)]
pub struct Row {
    work: String,
    goal: String,
    herd: String,
    peers: String,
    ratio: String,
    verdict: Verdict,
}

impl Row {
    /// Work with its goal and the herd's figure. More is said with the methods below.
    pub fn new(work: &str, goal: &str, herd: String) -> Self {
        let [work, goal] = [work, goal].map(str::to_owned);
        Self {
            work,
            goal,
            herd,
            peers: String::new(),
            ratio: String::new(),
            verdict: Verdict::Open,
        }
    }

    /// Work that could not be measured.
    pub fn failed(work: &str, why: &str) -> Self {
        let first = why.lines().next().unwrap_or_default();
        Self { verdict: Verdict::Failed, ..Self::new(work, "", first.to_owned()) }
    }

    /// With the figures of the peers.
    pub fn peers(self, peers: String) -> Self {
        Self { peers, ..self }
    }

    /// Judged by these.
    pub fn judged(self, checks: &[Check<'_>]) -> Self {
        let told = checks.iter().filter(|check| !check.what.is_empty()).filter_map(|check| {
            let value = check.value?;
            Some(format!("{} {}", short(value), check.what))
        });
        let ratio = told.collect::<Vec<_>>().join(", ");
        let verdict = if checks.iter().any(|check| check.holds() == Some(false)) {
            Verdict::NotMet
        } else if checks.iter().all(|check| check.holds() == Some(true)) {
            Verdict::Met
        } else {
            Verdict::Open
        };
        Self { ratio, verdict, ..self }
    }

    /// Without a verdict: what was measured is too little to judge.
    pub fn unjudged(self) -> Self {
        let verdict = if self.verdict == Verdict::Failed { Verdict::Failed } else { Verdict::Open };
        Self { verdict, ..self }
    }

    /// Marked, when the machine was never calm while it was measured.
    pub fn marked(mut self, disturbed: bool) -> Self {
        if disturbed {
            self.herd.push_str(" ~");
        }
        self
    }

    /// As in `results.json`.
    pub fn json(&self) -> Value {
        json!({
            "work": self.work,
            "goal": self.goal,
            "herd": self.herd,
            "peers": self.peers,
            "ratio": self.ratio,
            "met": self.verdict.word().trim_matches('*'),
        })
    }
}

/// What stands under a table with a marked row.
const MARK: &str = "~ other work on the machine took CPU in every sample of this row; where servers or threads \
                    of one share theirs, from the generator alone.";

/// The rows as a table in Markdown.
pub fn markdown(rows: &[Row]) -> String {
    let mut lines = vec![
        "| work | goal | herd | peers | ratio | met |".to_owned(),
        "|---|---|---|---|---|---|".to_owned(),
    ];
    for row in rows {
        let cells = [&row.work, &row.goal, &row.herd, &row.peers, &row.ratio];
        let cells = cells.map(|cell| cell.replace('|', "\\|")).join(" | ");
        lines.push(format!("| {cells} | {} |", row.verdict.word()));
    }
    if rows.iter().any(|row| row.herd.ends_with('~')) {
        lines.push(String::new());
        lines.push(MARK.to_owned());
    }
    lines.push(String::new());
    lines.join("\n")
}

/// A figure with three digits, all of them before the point, and commas between thousands: `0.482`, `6.55`,
/// `612`, `1,486,008`. A whole one is told as such: `7`.
pub fn short(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 99.5 || size.fract() == 0.0 => 0,
        size if size >= 9.95 => 1,
        size if size >= 0.995 => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    let (whole, fraction) = text.split_once('.').map_or((&*text, None), |(a, b)| (a, Some(b)));
    let digits = whole.trim_start_matches('-');
    let mut grouped = String::from(if whole.starts_with('-') { "-" } else { "" });
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if let Some(fraction) = fraction {
        grouped.push('.');
        grouped.push_str(fraction);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short_and_readable() {
        let cases = [
            (0.0, "0"),
            (7.0, "7"),
            (0.4824, "0.482"),
            (6.552, "6.55"),
            (12.34, "12.3"),
            (99.96, "100"),
            (612.4, "612"),
            (999.7, "1,000"),
            (1_486_008.2, "1,486,008"),
            (-1234.0, "-1,234"),
        ];
        for (value, text) in cases {
            assert_eq!(short(value), text);
        }
    }

    fn verdict(checks: &[Check<'_>]) -> Verdict {
        Row::new("w", "g", "h".to_owned()).judged(checks).verdict
    }

    #[test]
    fn a_goal_is_met_when_every_check_holds() {
        let redis = || Check::ratio("× Redis", 250.0, Some(600.0), 0.5);
        let tokio = |peer| Check::ratio("× tokio", 250.0, peer, 0.5);
        assert_eq!(verdict(&[redis(), tokio(Some(500.0))]), Verdict::Met);
        assert_eq!(verdict(&[tokio(Some(499.0))]), Verdict::NotMet);
        assert_eq!(verdict(&[tokio(None)]), Verdict::Open);
        let failing = Check::at_most(300.0, 256.0);
        assert_eq!(verdict(&[tokio(None), failing]), Verdict::NotMet);
        assert_eq!(verdict(&[Check::at_least("×", Some(4.9), 5.0)]), Verdict::NotMet);
        assert_eq!(verdict(&[Check::at_least("×", Some(5.0), 5.0), redis()]), Verdict::Met);
    }

    #[test]
    fn rows_become_a_table() {
        let row = Row::new("1 × 1 | p50", "≤ 1.05 × echo", "111 µs".to_owned())
            .peers("echo 110".to_owned())
            .judged(&[Check::ratio("× echo", 111.0, Some(110.0), 1.05)])
            .marked(true);
        let table = markdown(&[row, Row::failed("idle", "no room\nat all")]);
        assert!(table.contains(
            "| 1 × 1 \\| p50 | ≤ 1.05 × echo | 111 µs ~ | echo 110 | 1.01 × echo | yes |\n"
        ));
        assert!(table.contains("| idle |  | no room |  |  | failed |\n"), "{table}");
        assert!(table.contains("\n~ other work"));
    }
}
