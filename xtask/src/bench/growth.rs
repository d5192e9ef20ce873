//! How time and memory of a build grow with the number of nodes: by what power, and drawn.
//!
//! In: builds of ten nodes to ten thousand, on XFS. Out: rows, and an SVG.
//!
//! Linear growth is `a + b·n`; `a` is the first image. What remains without it has a slope of 1 where
//! both axes are logarithmic. The fit is by least squares of relative errors, as many nodes would
//! outweigh few otherwise.
//!
//! Source: any textbook's weighted linear regression.
//!
//! Not here: where the drawing goes (`report`).

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};

use super::fleet;
use super::{Bench, DISK, FileSystem, Mounted, Row, clear, mib};

/// How many nodes are built.
const NODES: [u32; 7] = [10, 30, 100, 300, 1000, 3000, 10_000];
/// The power of n that still counts as linear: a logarithm more, as sorting has, would be 1.1.
const LINEAR: f64 = 1.1;

/// What was measured.
#[derive(Clone, Debug)]
pub(super) struct Curve {
    points: Vec<Point>,
}

/// One build.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Point {
    nodes: f64,
    seconds: f64,
    mib: f64,
}

/// `a + b·n`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Line {
    a: f64,
    b: f64,
}

impl Line {
    fn at(self, n: f64) -> f64 {
        self.a + self.b * n
    }

    /// The line with the least squares of relative errors. Nothing where the points have one place.
    fn fit(points: &[(f64, f64)]) -> Option<Self> {
        let sum = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
            points.iter().map(|&(x, y)| f(x, y) / (y * y)).sum()
        };
        let (w, x, y) = (sum(&|_, _| 1.0), sum(&|x, _| x), sum(&|_, y| y));
        let (xx, xy) = (sum(&|x, _| x * x), sum(&|x, y| x * y));
        let determinant = w * xx - x * x;
        let b = (w * xy - x * y) / determinant;
        let line = Self { a: (y - b * x) / w, b };
        (determinant > 0.0 && line.a.is_finite() && line.b.is_finite()).then_some(line)
    }
}

/// Builds so many nodes, each number into an empty folder.
pub(super) fn measure(bench: &Bench) -> Result<Curve> {
    let disk = Mounted::new(&bench.folder, FileSystem::Xfs, DISK)?;
    let home = disk.folder.join("site");
    fleet::home(&home, &bench.assets)?;
    let points = NODES.map(|number| {
        let nodes = bench.nodes(number);
        let site = fleet::site(&home, nodes, "metal-iso")?;
        let (time, memory) = bench.build_anew(&site, &home.join("out"))?;
        Ok(Point { nodes: f64::from(nodes), seconds: time.as_secs_f64(), mib: mib(memory) })
    });
    let points = points.into_iter().collect::<Result<Vec<_>>>()?;
    clear(&home.join("out"))?;
    Ok(Curve { points })
}

impl Curve {
    fn of(&self, value: fn(&Point) -> f64) -> Vec<(f64, f64)> {
        self.points.iter().map(|point| (point.nodes, value(point))).collect()
    }

    /// What the growth is, beside what it may be.
    pub(super) fn rows(&self) -> Result<Vec<Row>> {
        let (seconds, memory) = (self.of(|point| point.seconds), self.of(|point| point.mib));
        let time = Line::fit(&seconds).context("times have a line")?;
        let room = Line::fit(&memory).context("memory has a line")?;
        let (Some(first), Some(last)) = (self.points.first(), self.points.last()) else {
            anyhow::bail!("there are no points")
        };
        let (in_time, in_room) = (power(&seconds, time.a)?, power(&memory, room.a)?);
        let far = seconds.iter().map(|&(n, y)| (time.at(n) / y - 1.0).abs()).fold(0.0, f64::max);
        let mut rows = vec![
            Row::new("the power of n with which time grows", in_time, "").at_most(LINEAR),
            Row::new("  each node, by the line", time.b * 1e3, "ms"),
            Row::new("  the most that a time is off the line", far * 100.0, "%"),
            Row::new(format!("time of {} nodes", first.nodes), first.seconds, "s"),
            Row::new(format!("time of {} nodes", last.nodes), last.seconds, "s"),
            Row::new("the power of n with which memory grows", in_room, "").at_most(LINEAR),
            Row::new("  each node, by the line", room.b * 1024.0, "KiB"),
        ];
        let each = (last.mib - first.mib) * 1024.0 / (last.nodes - first.nodes);
        rows.push(Row::new("  each node, from the least to the most", each, "KiB"));
        rows.push(Row::new(format!("memory of {} nodes", last.nodes), last.mib, "MiB"));
        Ok(rows)
    }

    /// Both curves, on logarithmic axes.
    pub(super) fn svg(&self) -> String {
        let (seconds, memory) = (self.of(|point| point.seconds), self.of(|point| point.mib));
        let mut svg = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 920 380\" \
                       font-family=\"sans-serif\" font-size=\"13\">\n\
                       <rect width=\"920\" height=\"380\" fill=\"#ffffff\"/>\n"
            .to_owned();
        svg += &panel(0.0, "time of a build, seconds", &seconds);
        svg += &panel(460.0, "peak memory, MiB", &memory);
        svg + "</svg>\n"
    }
}

/// The slope of what is left without `a`, both axes being logarithmic: from the first point on where
/// that is most of the value, for before it is noise.
fn power(points: &[(f64, f64)], a: f64) -> Result<f64> {
    let far = points.iter().filter(|(_, y)| y - a > y / 2.0);
    let logs: Vec<_> = far.map(|(x, y)| (x.ln(), (y - a).ln())).collect();
    ensure!(logs.len() > 1, "the first image outweighs all nodes: there is no growth to see");
    let len = f64::from(u32::try_from(logs.len())?);
    let mean = |f: fn(&(f64, f64)) -> f64| logs.iter().map(f).sum::<f64>() / len;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let (over, under) = logs.iter().fold((0.0, 0.0), |(over, under), point| {
        let away = point.0 - x;
        (over + away * (point.1 - y), under + away * away)
    });
    Ok(over / under)
}

/// The range of an axis: whole powers of ten.
#[derive(Clone, Copy, Debug)]
struct Axis {
    low: i32,
    high: i32,
}

impl Axis {
    /// The least range with all values, which are more than 0.
    fn around(values: impl Iterator<Item = f64> + Clone) -> Self {
        let least = values.clone().fold(f64::INFINITY, f64::min);
        let most = values.fold(0.0, f64::max);
        let is_below = |power: i32, value: f64| 10f64.powi(power) <= value;
        let low = (-9..9).rev().find(|&power| is_below(power, least)).unwrap_or(-9);
        let high = (low + 1..12).find(|&power| 10f64.powi(power) >= most).unwrap_or(12);
        Self { low, high }
    }

    /// Where a value lies, from 0 to 1.
    fn place(self, value: f64) -> f64 {
        (value.log10() - f64::from(self.low)) / f64::from(self.high - self.low)
    }

    fn ticks(self) -> impl Iterator<Item = (f64, String)> {
        (self.low..=self.high).map(|power| {
            let value = 10f64.powi(power);
            (value, value.to_string())
        })
    }
}

/// One drawing: axes, the line, the points.
fn panel(left: f64, title: &str, points: &[(f64, f64)]) -> String {
    let (x, y) = (left + 60.0, 40.0);
    let (width, height) = (370.0, 280.0);
    let across = Axis::around(points.iter().map(|point| point.0));
    let up = Axis::around(points.iter().map(|point| point.1));
    let at =
        |n: f64, value: f64| (x + across.place(n) * width, y + (1.0 - up.place(value)) * height);
    let mut svg = format!("<g>\n<text x=\"{x}\" y=\"24\" font-weight=\"bold\">{title}</text>\n");
    let grid = "stroke=\"#d0d0d0\" stroke-width=\"1\"";
    for (value, label) in across.ticks() {
        let at = x + across.place(value) * width;
        let (foot, under) = (y + height, y + height + 20.0);
        let _ =
            writeln!(svg, "<line x1=\"{at:.1}\" y1=\"{y}\" x2=\"{at:.1}\" y2=\"{foot}\" {grid}/>");
        let _ = writeln!(
            svg,
            "<text x=\"{at:.1}\" y=\"{under}\" text-anchor=\"middle\">{label}</text>"
        );
    }
    for (value, label) in up.ticks() {
        let at = y + (1.0 - up.place(value)) * height;
        let (end, beside, base) = (x + width, x - 8.0, at + 4.0);
        let _ =
            writeln!(svg, "<line x1=\"{x}\" y1=\"{at:.1}\" x2=\"{end}\" y2=\"{at:.1}\" {grid}/>");
        let _ = writeln!(
            svg,
            "<text x=\"{beside}\" y=\"{base:.1}\" text-anchor=\"end\">{label}</text>"
        );
    }
    let (middle, foot) = (x + width / 2.0, y + height + 42.0);
    let _ = writeln!(svg, "<text x=\"{middle}\" y=\"{foot}\" text-anchor=\"middle\">nodes</text>");
    if let Some(line) = Line::fit(points) {
        let (low, high) = (f64::from(across.low), f64::from(across.high));
        let curve = (0..=60).map(|step| 10f64.powf(low + (high - low) * f64::from(step) / 60.0));
        // Where the line leaves the drawing it ends.
        let inside = curve.filter(|&n| (0.0..=1.0).contains(&up.place(line.at(n))));
        let places = inside.map(|n| {
            let (x, y) = at(n, line.at(n));
            format!("{x:.1},{y:.1}")
        });
        let places = places.collect::<Vec<_>>().join(" ");
        let style = "fill=\"none\" stroke=\"#1f6feb\" stroke-width=\"2\"";
        let _ = writeln!(svg, "<polyline points=\"{places}\" {style}/>");
        let (beside, top) = (x + 12.0, y + 20.0);
        let Line { a, b } = line;
        let _ = writeln!(
            svg,
            "<text x=\"{beside}\" y=\"{top}\" fill=\"#1f6feb\">{a:.3} + {b:.5} · n</text>"
        );
    }
    for &(n, value) in points {
        let (x, y) = at(n, value);
        let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"#d1242f\"/>");
    }
    svg + "</g>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Points with times of `a + b·n^power`, and memory of 20 MiB and 32 KiB for each of n nodes.
    fn curve(a: f64, b: f64, power: f64) -> Curve {
        let point = |&nodes: &u32| {
            let nodes = f64::from(nodes);
            Point { nodes, seconds: a + b * nodes.powf(power), mib: 20.0 + nodes / 32.0 }
        };
        Curve { points: NODES.iter().map(point).collect() }
    }

    fn verdicts(curve: &Curve) -> Vec<bool> {
        let rows = curve.rows().unwrap();
        rows.iter().filter_map(|row| Some(row.verdict()?.1)).collect()
    }

    #[test]
    fn a_line_is_found_again() {
        let line = Line::fit(&curve(0.3, 0.001, 1.0).of(|point| point.seconds)).unwrap();
        assert!((line.a - 0.3).abs() < 1e-9 && (line.b - 0.001).abs() < 1e-9, "{line:?}");
        assert_eq!(Line::fit(&[(1.0, 2.0), (1.0, 3.0)]), None);
        assert_eq!(Line::fit(&[]), None);
    }

    #[test]
    fn growth_that_is_linear_passes_and_other_growth_does_not() {
        assert_eq!(verdicts(&curve(0.3, 0.001, 1.0)), [true, true]);
        assert_eq!(verdicts(&curve(0.3, 0.000_1, 1.5)), [false, true]);
        assert_eq!(verdicts(&curve(0.01, 0.000_001, 2.0)), [false, true]);
        let mut large = curve(0.3, 0.001, 1.0);
        for point in &mut large.points {
            point.mib = 20.0 + point.nodes.powf(1.5) / 1000.0;
        }
        assert_eq!(verdicts(&large), [true, false]);
    }

    #[test]
    fn an_axis_has_all_values() {
        for values in [[0.02, 7.0], [10.0, 10_000.0], [3.0, 3.0], [1.0, 1.0]] {
            let axis = Axis::around(values.into_iter());
            for value in values {
                assert!((0.0..=1.0).contains(&axis.place(value)), "{values:?}: {axis:?}");
            }
        }
    }

    #[test]
    fn the_drawing_has_each_point_in_it() {
        let svg = curve(0.3, 0.001, 1.0).svg();
        assert_eq!(svg.matches("<circle").count(), 2 * NODES.len());
        assert_eq!(svg.matches("<polyline").count(), 2);
        for number in ["NaN", "inf"] {
            assert!(!svg.contains(number), "{svg}");
        }
        let numbers = svg.split("cx=\"").skip(1).filter_map(|rest| rest.split('"').next());
        for number in numbers {
            assert!((0.0..=920.0).contains(&number.parse::<f64>().unwrap()), "{number}");
        }
    }
}
