//! Named figures, as one JSON object on one line.
//!
//! Pure. Keys and texts are this program's own and the names of servers' kinds, so nothing in them needs
//! escaping but what `serde_json` does. In the order in which they were put, which is the order in which
//! a reader wants them; a map of `serde_json` would sort them. Filled by the summaries.

use std::fmt::Write as _;

/// Figures with their names.
#[derive(Default)]
pub struct Figures(String);

impl Figures {
    /// A text.
    pub fn text(&mut self, key: &str, value: &str) {
        self.put(key, &serde_json::Value::from(value).to_string());
    }

    /// A whole number.
    pub fn count(&mut self, key: &str, value: u64) {
        self.put(key, &value.to_string());
    }

    /// A number with so many decimals. What is no number (nothing divided by nothing) is `null`.
    pub fn decimal(&mut self, key: &str, value: f64, decimals: usize) {
        if value.is_finite() {
            self.put(key, &format!("{value:.decimals$}"));
        } else {
            self.put(key, "null");
        }
    }

    /// Nanoseconds, told as microseconds.
    pub fn micros(&mut self, key: &str, nanos: u64) {
        self.put(key, &format!("{}.{:02}", nanos / 1000, nanos % 1000 / 10));
    }

    /// All of them.
    pub fn json(&self) -> String {
        format!("{{{}}}\n", self.0)
    }

    fn put(&mut self, key: &str, value: &str) {
        let comma = if self.0.is_empty() { "" } else { "," };
        let _ = write!(self.0, "{comma}\"{key}\":{value}");
    }
}

/// One number by another, for people: a rate or a share. Not exact beyond 2⁵³, which no count reaches.
#[expect(clippy::cast_precision_loss, reason = "counts and times of one run are far below 2^53")]
pub fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

/// A whole number for people, its thousands apart.
pub fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Nanoseconds for people.
pub fn duration(nanos: u64) -> String {
    match nanos {
        0..100_000_000 => format!("{}.{} µs", grouped(nanos / 1000), nanos % 1000 / 100),
        _ => format!("{} ms", grouped(nanos / 1_000_000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_one_json_object_in_their_order() {
        let mut figures = Figures::default();
        figures.text("kind", "ia\"mat");
        figures.count("replies", u64::MAX);
        figures.decimal("share", 0.5, 3);
        figures.decimal("of_nothing", ratio(0, 0), 3);
        figures.micros("p50_us", 12_340);
        let json = figures.json();
        let order = r#"{"kind":"ia\"mat","replies":18446744073709551615,"share":0.500,"of_nothing":null,"p50_us":12.34}"#;
        assert_eq!(json, format!("{order}\n"));
        assert!(serde_json::from_str::<serde_json::Value>(&json).unwrap().is_object());
        assert_eq!(Figures::default().json(), "{}\n");
    }

    #[test]
    fn numbers_are_grouped_and_times_have_their_unit() {
        for (value, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(value), text);
        }
        assert_eq!(duration(78_149), "78.1 µs");
        assert_eq!(duration(12_345_678), "12,345.6 µs");
        assert_eq!(duration(1_234_000_000), "1,234 ms");
    }
}
