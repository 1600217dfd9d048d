//! What a load run has found, for people and for programs.
//!
//! Pure: figures in, text out. Made by `app.rs` when a run has ended, printed by the command line.

use std::fmt::Write as _;

use super::figures::{Figures, duration, grouped, ratio};
use super::measurement::Measurement;

/// What idle connections cost the server.
#[derive(Clone, Copy, Debug)]
pub struct Idle {
    /// How many.
    pub connections: usize,
    /// The server's memory without them, where the system tells.
    pub resident_before_kb: Option<u64>,
    /// And with them.
    pub resident_after_kb: Option<u64>,
}

impl Idle {
    /// The memory of each.
    pub fn bytes_each(self) -> Option<f64> {
        let grown = self.resident_after_kb?.saturating_sub(self.resident_before_kb?);
        Some(ratio(grown * 1024, self.connections as u64))
    }
}

/// The figures of a run.
pub struct Summary {
    /// What was sent: `iamat`, `whatsat`, `echo`, `redis` or `memcached`.
    pub kind: &'static str,
    /// Connections that asked.
    pub connections: usize,
    /// Requests that each kept in flight, in a closed loop.
    pub depth: usize,
    /// Requests a second, in an open loop.
    pub rate: Option<u32>,
    /// What was counted between warm-up and end.
    pub measured: Measurement,
    /// Requests without a reply at the end.
    pub unanswered: u64,
    /// Requests of an open loop that were due and could not be sent.
    pub unsent: u64,
    /// How long it took to make the connections.
    pub connect_nanos: u64,
    /// With idle connections.
    pub idle: Option<Idle>,
}

impl Summary {
    fn replies_per_second(&self) -> f64 {
        ratio(self.measured.replies, self.measured.nanos) * 1e9
    }

    /// Why the run is no success although every reply was right.
    pub fn trouble(&self) -> Option<String> {
        let mut trouble = Vec::new();
        if self.measured.replies == 0 {
            let seconds = ratio(self.measured.nanos, 1) / 1e9;
            trouble.push(format!(
                "no reply came in the {seconds:.3} s that count, so these figures say nothing; try again \
                 with more --seconds"
            ));
        }
        if self.unanswered + self.unsent > 0 {
            trouble.push(format!(
                "{} requests were not answered, and {} more were due and could not be sent; the \
                 latencies do not have them",
                self.unanswered, self.unsent
            ));
        }
        (!trouble.is_empty()).then(|| trouble.join("; "))
    }

    /// One JSON object on one line.
    pub fn json(&self) -> String {
        let mut figures = Figures::default();
        figures.text("kind", self.kind);
        figures.count("connections", self.connections as u64);
        figures.count("depth", self.depth as u64);
        if let Some(rate) = self.rate {
            figures.count("rate", u64::from(rate));
        }
        figures.decimal("seconds", ratio(self.measured.nanos, 1) / 1e9, 6);
        figures.count("replies", self.measured.replies);
        figures.decimal("replies_per_second", self.replies_per_second(), 1);
        for (key, per_mille) in
            [("p50_us", 500), ("p90_us", 900), ("p99_us", 990), ("p99_9_us", 999)]
        {
            figures.micros(key, self.measured.histogram.per_mille(per_mille));
        }
        figures.micros("max_us", self.measured.histogram.longest());
        figures.count("bytes_in", self.measured.bytes_in);
        figures.count("bytes_out", self.measured.bytes_out);
        figures.count("errors", self.measured.faults);
        figures.count("unanswered", self.unanswered);
        figures.count("unsent", self.unsent);
        figures.decimal("connect_seconds", ratio(self.connect_nanos, 1) / 1e9, 6);
        if let Some(load) = self.measured.load {
            figures.decimal("load_cpu_ns_per_reply", load.nanos_per_reply(), 1);
            figures.decimal("load_busy", load.busy(), 3);
            figures.decimal("load_wait", load.wait(), 3);
        }
        if let Some(server) = self.measured.server {
            figures.decimal("server_cpu_ns_per_reply", server.nanos_per_reply(), 1);
            figures.decimal("server_busy", server.busy(), 3);
            figures.decimal("server_wait", server.wait(), 3);
        }
        if let Some(idle) = self.idle {
            figures.count("idle", idle.connections as u64);
            if let (Some(before), Some(after), Some(each)) =
                (idle.resident_before_kb, idle.resident_after_kb, idle.bytes_each())
            {
                figures.count("rss_before_kb", before);
                figures.count("rss_after_kb", after);
                figures.decimal("bytes_per_connection", each, 1);
            }
        }
        figures.json()
    }

    /// A few lines to read.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let shape = match self.rate {
            None => format!("{} in flight on each", grouped(self.depth as u64)),
            Some(rate) => format!("{} requests due a second", grouped(u64::from(rate))),
        };
        let (connections, seconds) =
            (grouped(self.connections as u64), ratio(self.measured.nanos, 1) / 1e9);
        let _ = writeln!(text, "{}: {connections} connections, {shape}, {seconds:.2} s", self.kind);
        let _ = writeln!(
            text,
            "  replies    {:.0} a second, {} in all; {} errors, {} unanswered",
            self.replies_per_second(),
            grouped(self.measured.replies),
            grouped(self.measured.faults),
            grouped(self.unanswered)
        );
        let [p50, p99, p99_9] =
            [500, 990, 999].map(|per_mille| duration(self.measured.histogram.per_mille(per_mille)));
        let longest = duration(self.measured.histogram.longest());
        let _ = writeln!(text, "  latency    p50 {p50}, p99 {p99}, p99.9 {p99_9}, max {longest}");
        let (bytes_in, bytes_out) =
            (grouped(self.measured.bytes_in), grouped(self.measured.bytes_out));
        let connect = duration(self.connect_nanos);
        let _ =
            writeln!(text, "  bytes      {bytes_in} in, {bytes_out} out; connected in {connect}");
        for (name, usage) in [("this load", self.measured.load), ("server", self.measured.server)] {
            let Some(usage) = usage else { continue };
            let (nanos, busy, wait) = (usage.nanos_per_reply(), usage.busy(), usage.wait());
            let _ = writeln!(
                text,
                "  {name:9}  {nanos:.0} ns of processor time a reply; busy {busy:.2}, waiting {wait:.2}"
            );
        }
        if let Some(idle) = self.idle {
            let each = idle.bytes_each().map_or("not known without --pid".to_owned(), |bytes| {
                format!("{bytes:.0} bytes of the server's memory each")
            });
            let _ = writeln!(text, "  idle       {}: {each}", grouped(idle.connections as u64));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::super::histogram::Histogram;
    use super::super::measurement::Usage;
    use super::super::process::Cpu;
    use super::*;

    fn summary() -> Summary {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|micros| histogram.record(micros * 1000));
        let cpu = Cpu { ran: 500_000_000, waited: 20_000_000 };
        let measured = Measurement {
            nanos: 2_000_000_000,
            replies: 1000,
            bytes_in: 88_000,
            bytes_out: 73_000,
            histogram,
            load: Some(Usage { cpu, nanos: 2_000_000_000, replies: 1000 }),
            ..Default::default()
        };
        Summary {
            kind: "iamat",
            connections: 64,
            depth: 1,
            rate: None,
            unanswered: 0,
            unsent: 0,
            connect_nanos: 1_500_000,
            measured,
            idle: None,
        }
    }

    fn parsed(summary: &Summary) -> serde_json::Value {
        serde_json::from_str(&summary.json()).unwrap()
    }

    #[test]
    fn a_run_is_told_in_json_and_in_words() {
        let json = parsed(&summary());
        assert_eq!((json["kind"].as_str(), json["replies"].as_u64()), (Some("iamat"), Some(1000)));
        assert_eq!(json["replies_per_second"].as_f64(), Some(500.0));
        assert_eq!(json["load_cpu_ns_per_reply"].as_f64(), Some(500_000.0));
        assert_eq!(
            (json["load_busy"].as_f64(), json["load_wait"].as_f64()),
            (Some(0.25), Some(0.01))
        );
        assert_eq!(json["max_us"].as_f64(), Some(1000.0));
        let p99 = json["p99_us"].as_f64().unwrap();
        assert!((980.0..=1000.0).contains(&p99), "{p99}");
        assert!(json.get("server_busy").is_none() && json.get("idle").is_none());
        let text = summary().text();
        for part in
            ["500 a second", "1,000 in all", "64 connections", "max 1,000.0 µs", "88,000 in"]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn idle_connections_are_told_with_their_cost_where_it_is_known() {
        let mut idle = Idle {
            connections: 1024,
            resident_before_kb: Some(8000),
            resident_after_kb: Some(8200),
        };
        let mut summary = Summary { idle: Some(idle), ..summary() };
        assert_eq!(parsed(&summary)["bytes_per_connection"].as_f64(), Some(200.0));
        assert!(summary.text().contains("200 bytes of the server's memory each"));
        idle.resident_after_kb = None;
        summary.idle = Some(idle);
        assert!(parsed(&summary).get("bytes_per_connection").is_none());
    }

    #[test]
    fn what_was_not_answered_is_trouble() {
        assert_eq!(summary().trouble(), None);
        let words = Summary { unanswered: 3, unsent: 4, ..summary() }.trouble().unwrap();
        assert!(words.contains("3 requests were not answered, and 4 more"), "{words}");
    }

    #[test]
    fn a_window_without_a_reply_is_trouble_however_well_the_rest_went() {
        let measured = Measurement { nanos: 400_000_000, ..Default::default() };
        let words = Summary { measured, ..summary() }.trouble().unwrap();
        assert!(words.starts_with("no reply came in the 0.400 s that count"), "{words}");
    }
}
