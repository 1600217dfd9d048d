//! What a load with updates has found, for people and for programs.
//!
//! Pure: figures in, text out. Made by `updates.rs` when all servers have everything, printed by the
//! command line.

use std::fmt::Write as _;

use super::figures::{Figures, duration, grouped, ratio};
use super::histogram::Histogram;
use super::process::Cpu;

/// How fast updates spread.
pub struct Spread {
    /// Servers of the herd that were told or asked.
    pub servers: usize,
    /// Updates sent.
    pub updates: u64,
    /// Clients that they were about.
    pub clients: usize,
    /// Updates in flight.
    pub depth: usize,
    /// From the first update's sending until all servers had the last.
    pub nanos: u64,
    /// Processor time of the watched processes meanwhile.
    pub cpu: Option<Cpu>,
    /// Processor time of this load meanwhile.
    pub load: Option<Cpu>,
    /// Of updates one at a time: from its sending until the last server had it.
    pub histogram: Histogram,
}

impl Spread {
    fn per_second(&self) -> f64 {
        ratio(self.updates, self.nanos) * 1e9
    }

    /// One JSON object on one line.
    pub fn json(&self) -> String {
        let mut figures = Figures::default();
        figures.text("kind", "updates");
        figures.count("servers", self.servers as u64);
        figures.count("updates", self.updates);
        figures.count("clients", self.clients as u64);
        figures.count("depth", self.depth as u64);
        figures.decimal("seconds", ratio(self.nanos, 1) / 1e9, 6);
        figures.decimal("updates_per_second", self.per_second(), 1);
        if self.histogram.total() > 0 {
            for (key, per_mille) in [("update_p50_us", 500), ("update_p99_us", 990)] {
                figures.micros(key, self.histogram.per_mille(per_mille));
            }
            figures.micros("update_max_us", self.histogram.longest());
        }
        if let Some(load) = self.load {
            figures.decimal("load_wait", ratio(load.waited, self.nanos), 3);
        }
        if let Some(cpu) = self.cpu {
            figures.decimal("server_cpu_ns_per_update", ratio(cpu.ran, self.updates), 1);
            figures.decimal("server_busy", ratio(cpu.ran, self.nanos), 3);
            figures.decimal("server_wait", ratio(cpu.waited, self.nanos), 3);
        }
        figures.json()
    }

    /// A few lines to read.
    pub fn text(&self) -> String {
        let mut text = format!(
            "updates: {} of {} clients to {} servers, {} in flight: {:.0} a second\n",
            grouped(self.updates),
            grouped(self.clients as u64),
            self.servers,
            grouped(self.depth as u64),
            self.per_second()
        );
        if self.histogram.total() > 0 {
            let [p50, p99] = [500, 990].map(|p| duration(self.histogram.per_mille(p)));
            let longest = duration(self.histogram.longest());
            let _ = writeln!(
                text,
                "  until the last server has it: p50 {p50}, p99 {p99}, max {longest}"
            );
        }
        if let Some(cpu) = self.cpu {
            let each = ratio(cpu.ran, self.updates);
            let _ = writeln!(
                text,
                "  {each:.0} ns of processor time an update, all watched servers together"
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_are_told_in_json_and_in_words() {
        let mut histogram = Histogram::default();
        (1..=100).for_each(|micros| histogram.record(micros * 1000));
        let cpu = Some(Cpu { ran: 200_000, waited: 0 });
        let spread = Spread {
            servers: 5,
            updates: 100,
            clients: 7,
            depth: 1,
            nanos: 50_000_000,
            cpu,
            load: Some(Cpu { ran: 0, waited: 1_000_000 }),
            histogram,
        };
        let json: serde_json::Value = serde_json::from_str(&spread.json()).unwrap();
        assert_eq!(json["updates_per_second"].as_f64(), Some(2000.0));
        assert_eq!(json["server_cpu_ns_per_update"].as_f64(), Some(2000.0));
        assert_eq!(json["load_wait"].as_f64(), Some(0.02));
        let [p50, p99] = ["update_p50_us", "update_p99_us"].map(|key| json[key].as_f64().unwrap());
        assert!((49.0..51.0).contains(&p50) && (97.0..100.0).contains(&p99), "{p50} {p99}");
        let text = spread.text();
        for part in ["100 of 7 clients to 5 servers", "2000 a second", "max 100.0 µs", "2000 ns of"]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
        let many = Spread { depth: 64, histogram: Histogram::default(), cpu: None, ..spread };
        assert!(!many.json().contains("p50") && !many.json().contains("cpu"), "{}", many.json());
        assert!(!many.text().contains("p50") && !many.text().contains("processor"));
    }
}
