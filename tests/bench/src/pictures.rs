//! The pictures of a run: throughput against connections, and percentiles of the latency.
//!
//! Owns what is drawn; how is in [`crate::plot`]. Filled by the rows.

use crate::plot::{Axis, Chart, Line};

/// What has been measured for them.
#[derive(Debug, Default)]
pub struct Pictures {
    /// For each server its replies a second by the number of connections.
    pub throughput: Vec<(String, Vec<(f64, f64)>)>,
    /// The names of the percentiles.
    pub percentiles: Vec<String>,
    /// For each server a latency in microseconds for each percentile.
    pub latencies: Vec<(String, Vec<f64>)>,
}

impl Pictures {
    /// Adds one point of a server's throughput.
    pub fn add(&mut self, title: &str, connections: f64, replies_per_second: f64) {
        let point = (connections, replies_per_second);
        match self.throughput.iter_mut().find(|(found, _)| found == title) {
            Some((_, points)) => points.push(point),
            None => self.throughput.push((title.to_owned(), vec![point])),
        }
    }

    /// Draws those for which something was measured: each a file name and its SVG.
    pub fn draw(&self, machine: &str) -> Vec<(&'static str, String)> {
        let mut drawn = Vec::new();
        if !self.throughput.is_empty() {
            drawn.push(("throughput.svg", self.draw_throughput(machine)));
        }
        if !self.latencies.is_empty() {
            drawn.push(("latency.svg", self.draw_latency(machine)));
        }
        drawn
    }

    fn draw_throughput(&self, machine: &str) -> String {
        let lines = self.throughput.iter().map(|(title, points)| line(title, points.clone()));
        Chart {
            title: "Replies a second, one request in flight on each connection",
            note: machine,
            x: Axis::Powers("connections"),
            y: Axis::Powers("replies/s"),
            lines: lines.collect(),
        }
        .svg()
    }

    fn draw_latency(&self, machine: &str) -> String {
        let lines = self.latencies.iter().map(|(title, latencies)| {
            let places = (0_u32..).map(f64::from);
            line(title, places.zip(latencies.iter().copied()).collect())
        });
        Chart {
            title: "Latency at 64 connections, one request in flight on each",
            note: machine,
            x: Axis::Named(&self.percentiles),
            y: Axis::Powers("µs"),
            lines: lines.collect(),
        }
        .svg()
    }
}

fn line(title: &str, points: Vec<(f64, f64)>) -> Line<'_> {
    Line { title, strong: title == "herd", points }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_measured_is_drawn() {
        let mut pictures = Pictures::default();
        assert!(pictures.draw("m").is_empty());
        pictures.add("herd", 1.0, 9_000.0);
        pictures.add("herd", 10.0, 90_000.0);
        let drawn = pictures.draw("m");
        let [(name, svg)] = drawn.as_slice() else { panic!("{drawn:?}") };
        assert_eq!(*name, "throughput.svg");
        assert!(svg.contains(">herd</text>"));
        assert_eq!(pictures.throughput.len(), 1);
    }
}
