//! A small plot: one line a series over the last minutes, its scale and newest value in words.

use std::fmt::Write;

/// One line: values oldest first.
pub(in crate::web) struct Series {
    pub(in crate::web) name: String,
    pub(in crate::web) values: Vec<f64>,
}

const WIDTH: f64 = 280.0;
const HEIGHT: f64 = 72.0;
const POINTS: f64 = 59.0;

/// The plot of some series under one scale; `show` says a value in words.
pub(in crate::web) fn plot(title: &str, series: &[Series], show: fn(f64) -> String) -> String {
    let most = series.iter().flat_map(|series| &series.values).copied().fold(0.0, f64::max);
    let total = totals(series);
    let (latest, peak) = (total.first().copied().unwrap_or_default(), total.iter().copied().fold(0.0, f64::max));
    let label = format!("{title}: {} now, {} at most, over the last minutes", show(latest), show(peak));
    let label = crate::web::escape::html(&label);
    let mut svg = format!(
        "<svg class=\"plot\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{label}\">\
         <title>{label}</title><line class=\"base\" x1=\"0\" y1=\"71.5\" x2=\"{WIDTH}\" y2=\"71.5\"/>"
    );
    for (i, series) in series.iter().enumerate() {
        line(&mut svg, i % 4, series, if most > 0.0 { most } else { 1.0 });
    }
    svg + "</svg>"
}

/// What all series come to together, newest first: only then can "now" not be more than "at most".
fn totals(series: &[Series]) -> Vec<f64> {
    let longest = series.iter().map(|series| series.values.len()).max().unwrap_or_default();
    let at = |behind: usize| series.iter().filter_map(|series| series.values.iter().rev().nth(behind)).sum();
    (0..longest).map(at).collect()
}

fn line(svg: &mut String, class: usize, series: &Series, most: f64) {
    let count = series.values.len();
    let points: Vec<String> = series
        .values
        .iter()
        .enumerate()
        .map(|(i, value)| {
            // The newest point stands at the right edge.
            let behind = f64::from(u32::try_from(count - 1 - i).unwrap_or(u32::MAX));
            let (x, y) = (WIDTH - behind * WIDTH / POINTS, HEIGHT - 4.0 - value / most * (HEIGHT - 10.0));
            format!("{x:.1},{y:.1}")
        })
        .collect();
    let name = crate::web::escape::html(&series.name);
    if let [(first, last)] = points.first().zip(points.last()).as_slice() {
        let (from, to) = (first.split(',').next().unwrap_or("0"), last.split(',').next().unwrap_or("0"));
        let _ = write!(svg, "<polygon class=\"area s{class}\" points=\"{from},72 {} {to},72\"/>", points.join(" "));
    }
    let _ = write!(
        svg,
        "<polyline class=\"line s{class}\" points=\"{}\"><title>{name}</title></polyline>",
        points.join(" ")
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_instances_are_never_more_now_than_at_most() {
        let series = |values: &[f64]| Series { name: "i".to_owned(), values: values.to_vec() };
        let all = [series(&[20.0, 30.0, 20.0]), series(&[25.0, 20.0])];
        let svg = plot("memory", &all, |value| format!("{value} MiB"));
        assert!(svg.contains("memory: 40 MiB now, 55 MiB at most"), "{svg}");
    }
}
