//! A line chart as SVG: axes with ticks, lines, and their names at their ends.
//!
//! Pure: numbers in, text out, no dependency. The names stand to the right in the order of the lines' ends
//! and are moved apart where they would overlap, so the chart needs no legend. It brings its own
//! background, light or dark as the reader's system is set, so it is readable on any page. Called by
//! [`crate::pictures`].

use std::fmt::Write as _;

use crate::table::short;

/// The whole picture, in its own units.
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 440.0;
/// The area of the lines within it.
const LEFT: f64 = 78.0;
const RIGHT: f64 = 640.0;
const TOP: f64 = 64.0;
const BOTTOM: f64 = 384.0;
/// Between the names of two lines.
const NAME_GAP: f64 = 17.0;
/// Between the end of a line and its name.
const LEADER: f64 = 18.0;
/// From a point's middle to that of its text, so that it stands at the same height.
const TEXT_DROP: f64 = 4.0;

/// Where a logarithmic axis may begin, end and have its ticks, times a power of ten.
const STEPS: [f64; 3] = [1.0, 2.0, 5.0];
/// The powers of ten that it knows; whatever is measured here is far within.
const POWERS: std::ops::RangeInclusive<i32> = -12..=15;
/// An axis of more powers of ten than these has ticks at whole ones only.
const WIDE_POWERS: f64 = 2.5;
/// What two logarithms of the same number may differ by.
const ROUNDING: f64 = 1e-9;

/// Colours that stand out on light and on dark; the first is for strong lines only.
const STRONG: &str = "#e5484d";
const COLOURS: [&str; 8] =
    ["#3b82d0", "#2f9e62", "#b7791f", "#8b5cf6", "#0e9aa7", "#c2559d", "#7c8a3a", "#8a8f98"];

const STYLE: &str = "\
<style>
.panel { fill: #ffffff; stroke: #d8dbe0 }
text { font: 13px system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif; fill: #3a3f47 }
.title { font-size: 16px; font-weight: 600 }
.note { font-size: 12px; opacity: .75 }
.strong { font-weight: 700 }
.grid { stroke: #e4e7eb }
@media (prefers-color-scheme: dark) {
.panel { fill: #15181d; stroke: #343a43 }
text { fill: #ccd2da }
.grid { stroke: #2a2f37 }
}
</style>
";

/// What an axis shows.
#[derive(Clone, Copy)]
pub enum Axis<'a> {
    /// Positive numbers of this unit, in powers of ten.
    Powers(&'a str),
    /// Places 0, 1, 2 … with names.
    Named(&'a [String]),
}

/// One line of the chart.
pub struct Line<'a> {
    /// Its name.
    pub title: &'a str,
    /// Whether it stands out.
    pub strong: bool,
    /// Its points from left to right.
    pub points: Vec<(f64, f64)>,
}

/// See the module's documentation.
pub struct Chart<'a> {
    /// What is seen.
    pub title: &'a str,
    /// In small type below.
    pub note: &'a str,
    /// From left to right.
    pub x: Axis<'a>,
    /// From bottom to top.
    pub y: Axis<'a>,
    /// At least one.
    pub lines: Vec<Line<'a>>,
}

impl Chart<'_> {
    /// Draws it.
    pub fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let x = Scale::new(self.x, points().map(|(x, _)| *x), (LEFT, RIGHT));
        let y = Scale::new(self.y, points().map(|(_, y)| *y), (BOTTOM, TOP));
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n\
             <title>{title}</title>\n{STYLE}\
             <rect class=\"panel\" x=\".5\" y=\".5\" width=\"{}\" height=\"{}\" rx=\"8\"/>\n",
            WIDTH - 1.0,
            HEIGHT - 1.0,
            title = escaped(self.title),
        );
        text(&mut svg, ("title", "start"), (24.0, 32.0), self.title);
        text(&mut svg, ("note", "end"), (WIDTH - 16.0, HEIGHT - 14.0), self.note);
        self.axes(&mut svg, &x, &y);
        let ends =
            self.lines.iter().filter_map(|line| line.points.last()).map(|(_, end)| y.at(*end));
        let heights = apart(&ends.collect::<Vec<_>>());
        let mut colours = COLOURS.iter().cycle();
        for (line, height) in self.lines.iter().zip(heights) {
            let colour = if line.strong { STRONG } else { colours.next().unwrap_or(&STRONG) };
            line.draw(&mut svg, (&x, &y), colour, height);
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn axes(&self, svg: &mut String, x: &Scale, y: &Scale) {
        for (value, name) in x.ticks(self.x) {
            let at = x.at(value);
            grid(svg, (at, TOP), (at, BOTTOM));
            text(svg, ("", "middle"), (at, BOTTOM + 20.0), &name);
        }
        for (value, name) in y.ticks(self.y) {
            let at = y.at(value);
            grid(svg, (LEFT, at), (RIGHT, at));
            text(svg, ("", "end"), (LEFT - 8.0, at + TEXT_DROP), &name);
        }
        if let Axis::Powers(unit) = self.x {
            text(svg, ("", "middle"), (f64::midpoint(LEFT, RIGHT), BOTTOM + 42.0), unit);
        }
        if let Axis::Powers(unit) = self.y {
            text(svg, ("", "end"), (LEFT - 8.0, TOP - 14.0), unit);
        }
    }
}

impl Line<'_> {
    fn draw(&self, svg: &mut String, (x, y): (&Scale, &Scale), colour: &str, name_height: f64) {
        let at: Vec<(f64, f64)> = self.points.iter().map(|(a, b)| (x.at(*a), y.at(*b))).collect();
        let width = if self.strong { 3.0 } else { 1.7 };
        let path: Vec<String> = at.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(
            svg,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\" \
             stroke-linejoin=\"round\" points=\"{}\"/>",
            path.join(" ")
        );
        for (x, y) in &at {
            let _ = writeln!(
                svg,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{width}\" fill=\"{colour}\"/>"
            );
        }
        let Some((end_x, end_y)) = at.last() else { return };
        let name_x = RIGHT + LEADER;
        let _ = writeln!(
            svg,
            "<path d=\"M{:.1} {end_y:.1} L{name_x:.1} {name_height:.1}\" stroke=\"{colour}\" opacity=\".6\"/>\n\
             <circle cx=\"{name_x:.1}\" cy=\"{name_height:.1}\" r=\"4\" fill=\"{colour}\"/>",
            end_x + 3.0,
        );
        let class = if self.strong { "strong" } else { "" };
        text(svg, (class, "start"), (name_x + 9.0, name_height + TEXT_DROP), self.title);
    }
}

/// From values to places in the picture.
struct Scale {
    logarithmic: bool,
    /// The least and the greatest value, as logarithms where it is logarithmic.
    values: (f64, f64),
    /// Where they are.
    places: (f64, f64),
}

impl Scale {
    fn new(axis: Axis<'_>, values: impl Iterator<Item = f64>, places: (f64, f64)) -> Self {
        let logarithmic = matches!(axis, Axis::Powers(_));
        let values = values.filter(|value| !logarithmic || *value > 0.0);
        let (low, high) = values
            .map(|value| if logarithmic { value.log10() } else { value })
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
                (low.min(value), high.max(value))
            });
        let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
        let values = if logarithmic { stepped(low, high) } else { (low, high.max(low + 1.0)) };
        Self { logarithmic, values, places }
    }

    fn at(&self, value: f64) -> f64 {
        let (low, high) = self.values;
        let value = if self.logarithmic { value.max(f64::MIN_POSITIVE).log10() } else { value };
        let (from, to) = self.places;
        from + (value.clamp(low, high) - low) / (high - low) * (to - from)
    }

    /// The values that are marked, with their names.
    fn ticks(&self, axis: Axis<'_>) -> Vec<(f64, String)> {
        match axis {
            Axis::Named(names) => (0_u32..).map(f64::from).zip(names.iter().cloned()).collect(),
            Axis::Powers(_) => {
                let (low, high) = self.values;
                let kept =
                    |value: &f64| (low - ROUNDING..=high + ROUNDING).contains(&value.log10());
                let steps = if high - low > WIDE_POWERS { &[1.0][..] } else { &STEPS };
                let powers = POWERS.map(|power| 10_f64.powi(power));
                let values = powers.flat_map(|power| steps.iter().map(move |step| step * power));
                values.filter(kept).map(|value| (value, short(value))).collect()
            }
        }
    }
}

/// The bounds of a logarithmic axis, as logarithms: the next step of [`STEPS`] on either side.
fn stepped(low: f64, high: f64) -> (f64, f64) {
    let steps = || POWERS.flat_map(|power| STEPS.map(|step| f64::from(power) + step.log10()));
    let below = steps().filter(|step| *step <= low + ROUNDING).fold(f64::NEG_INFINITY, f64::max);
    let above = steps().filter(|step| *step >= high - ROUNDING).fold(f64::INFINITY, f64::min);
    (below, if above > below + ROUNDING { above } else { below + 1.0 })
}

/// Moves heights apart until no two are closer than [`NAME_GAP`]; they stay in their order and in the picture.
fn apart(heights: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..heights.len()).collect();
    let height = |index: &usize| heights.get(*index).copied().unwrap_or_default();
    order.sort_by(|a, b| height(a).total_cmp(&height(b)));
    let mut placed: Vec<f64> = Vec::new();
    for index in &order {
        let least = placed.last().map_or(f64::NEG_INFINITY, |last| last + NAME_GAP);
        placed.push(height(index).max(least));
    }
    // What was pushed below the picture pushes the others back up.
    let mut most = BOTTOM;
    for place in placed.iter_mut().rev() {
        *place = place.min(most);
        most = *place - NAME_GAP;
    }
    let mut result = vec![0.0; heights.len()];
    for (index, place) in order.into_iter().zip(placed) {
        if let Some(slot) = result.get_mut(index) {
            *slot = place;
        }
    }
    result
}

fn grid(svg: &mut String, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
    let _ = writeln!(svg, "<path class=\"grid\" d=\"M{x1:.1} {y1:.1} L{x2:.1} {y2:.1}\"/>");
}

fn text(svg: &mut String, (class, anchor): (&str, &str), (x, y): (f64, f64), words: &str) {
    let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
    let words = escaped(words);
    let _ = writeln!(
        svg,
        "<text{class} x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>"
    );
}

/// Words that stand for themselves in XML.
fn escaped(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, f64)>) -> String {
        let lines = vec![
            Line { title: "herd", strong: true, points: points.clone() },
            Line { title: "a < b", strong: false, points },
        ];
        let (x, y) = (Axis::Powers("connections"), Axis::Powers("replies/s"));
        Chart { title: "T & U", note: "n", x, y, lines }.svg()
    }

    /// The names of all ticks, and other words that stand at an end or in the middle.
    fn words(svg: &str) -> Vec<&str> {
        let texts =
            svg.lines().filter(|line| line.starts_with("<text x") && !line.contains("start"));
        texts.filter_map(|line| line.split(['<', '>']).nth(2)).collect()
    }

    #[test]
    fn axes_end_at_round_numbers_and_name_them() {
        let svg = chart(vec![(1.0, 9_000.0), (1_000.0, 150_000.0)]);
        let x = ["1", "10", "100", "1,000"];
        let y = ["5,000", "10,000", "20,000", "50,000", "100,000", "200,000"];
        let units = ["connections", "replies/s"];
        assert_eq!(words(&svg), [&x[..], &y[..], &units[..]].concat());
    }

    #[test]
    fn lines_go_where_their_values_are() {
        let svg = chart(vec![(1.0, 10.0), (10.0, 100.0), (100.0, 1_000.0)]);
        let middle = format!("{:.1},{:.1}", f64::midpoint(LEFT, RIGHT), f64::midpoint(TOP, BOTTOM));
        assert!(
            svg.contains(&format!("points=\"{LEFT:.1},{BOTTOM:.1} {middle} {RIGHT:.1},{TOP:.1}\""))
        );
    }

    #[test]
    fn words_are_escaped() {
        let svg = chart(vec![(1.0, 1.0)]);
        assert!(svg.contains("<title>T &amp; U</title>") && svg.contains(">a &lt; b</text>"));
    }

    #[test]
    fn odd_values_draw_something_finite() {
        for points in [vec![], vec![(1.0, 0.0)], vec![(5.0, 5.0)]] {
            let svg = chart(points);
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }

    #[test]
    fn names_are_moved_apart_and_stay_in_order_and_in_the_picture() {
        let ends = [BOTTOM, BOTTOM - 1.0, TOP, TOP + 1.0, BOTTOM - 2.0];
        let placed = apart(&ends);
        for (a, &one) in placed.iter().enumerate() {
            assert!((TOP..=BOTTOM).contains(&one), "{placed:?}");
            for (b, &other) in placed.iter().enumerate().filter(|(b, _)| *b != a) {
                assert!((one - other).abs() >= NAME_GAP - 1e-9, "{placed:?}");
                assert_eq!(one < other, ends[a] < ends[b], "{placed:?}");
            }
        }
    }

    #[test]
    fn percentiles_stand_at_even_distances() {
        let names = ["p50", "p90", "p99"].map(str::to_owned);
        let points = vec![(0.0, 10.0), (1.0, 20.0), (2.0, 40.0)];
        let lines = vec![Line { title: "herd", strong: true, points }];
        let chart =
            Chart { title: "t", note: "", x: Axis::Named(&names), y: Axis::Powers("µs"), lines };
        let svg = chart.svg();
        let middle = format!("x=\"{:.1}\"", f64::midpoint(LEFT, RIGHT));
        assert!(
            svg.contains(&format!(
                "{middle} y=\"{:.1}\" text-anchor=\"middle\">p90<",
                BOTTOM + 20.0
            ))
        );
    }
}
