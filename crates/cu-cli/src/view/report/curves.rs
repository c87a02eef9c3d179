//! Metrics that jobs announced before their end, as curves: in the report, and in a line of a terminal.

use std::collections::BTreeMap;
use std::fmt::Write;

use cu_core::{JobReport, RunDir};
use cu_run_dir::read_early_results;

use super::html::escape;
use super::rows::short;

/// At most so many jobs and metrics are drawn.
const MOST_JOBS: usize = 40;
const MOST_METRICS: usize = 12;
/// A longer series is drawn by every n-th value.
const MOST_POINTS: usize = 300;
const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 160.0;
/// The levels of a line of text.
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The values of a job, by how many of this metric it had announced before.
type Series = Vec<f64>;

/// A drawing for each metric, with a curve for each job; empty if nothing was announced.
pub fn curves(run: &RunDir, jobs: &[JobReport]) -> String {
    let mut metrics: BTreeMap<String, Vec<(u32, Series)>> = BTreeMap::new();
    let with_series = jobs
        .iter()
        .filter(|job| run.early_results(job.job).is_file());
    let mut drawn = 0;
    for job in with_series.clone().take(MOST_JOBS) {
        drawn += 1;
        // A table that can't be read says nothing; the newest values are among the metrics.
        let announced = read_early_results(&run.early_results(job.job)).unwrap_or_default();
        let mut of_job: BTreeMap<String, Series> = BTreeMap::new();
        for (name, value) in announced.into_iter().flat_map(|it| it.metrics) {
            if let Some(value) = number(&value) {
                of_job.entry(name).or_default().push(value);
            }
        }
        for (name, series) in of_job {
            metrics.entry(name).or_default().push((job.job.0, series));
        }
    }
    let mut text = String::new();
    let with_series = with_series.count();
    if with_series > drawn {
        // Writing to a String can't fail.
        let _ = writeln!(
            text,
            "<p>The first {drawn} of {with_series} jobs that announced metrics.</p>"
        );
    }
    if metrics.len() > MOST_METRICS {
        let _ = writeln!(
            text,
            "<p>The first {MOST_METRICS} of {} metrics.</p>",
            metrics.len()
        );
    }
    if !metrics.is_empty() {
        text.push_str("<div class=\"curves\">\n");
        for (name, of_jobs) in metrics.iter().take(MOST_METRICS) {
            figure(&mut text, name, of_jobs);
        }
        text.push_str("</div>\n");
    }
    text
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

fn figure(text: &mut String, name: &str, of_jobs: &[(u32, Series)]) {
    let all = || {
        of_jobs
            .iter()
            .flat_map(|(_, series)| series.iter().copied())
    };
    let (low, high) = (
        all().fold(f64::MAX, f64::min),
        all().fold(f64::MIN, f64::max),
    );
    let longest = of_jobs
        .iter()
        .map(|(_, series)| series.len())
        .max()
        .unwrap_or(1);
    let y = |value: f64| match high > low {
        // Halves, since the difference of two large numbers may be infinite.
        true => {
            HEIGHT - 4.0 - (value / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0) * (HEIGHT - 8.0)
        }
        false => HEIGHT / 2.0,
    };
    let x = |place: usize| place as f64 / (longest.max(2) - 1) as f64 * WIDTH;
    let _ = write!(
        text,
        "<figure>\n<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{} over time\">\n",
        escape(name)
    );
    for (place, (job, series)) in of_jobs.iter().enumerate() {
        let hue = place * 137 % 360;
        let thinned = thinned(series);
        let title = format!(
            "job {job}: {} values, the last is {}",
            series.len(),
            series[series.len() - 1]
        );
        if let [(place, value)] = thinned[..] {
            let _ = writeln!(
                text,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"hsl({hue} 70% 50%)\"><title>{title}</title></circle>",
                x(place) + 3.0,
                y(value)
            );
            continue;
        }
        let points = thinned
            .iter()
            .map(|(place, value)| format!("{:.1},{:.1}", x(*place), y(*value)));
        let points: Vec<_> = points.collect();
        let _ = writeln!(
            text,
            "<polyline points=\"{}\" stroke=\"hsl({hue} 70% 50%)\"><title>{title}</title></polyline>",
            points.join(" ")
        );
    }
    let _ = writeln!(
        text,
        "</svg>\n<figcaption><b>{}</b> <span>from {} to {}, {}</span></figcaption>\n</figure>",
        escape(name),
        short(low, &low.to_string()),
        short(high, &high.to_string()),
        crate::text::plural(of_jobs.len() as u64, "job")
    );
}

/// At most so many of the values with their places, the last one always.
fn thinned(series: &[f64]) -> Vec<(usize, f64)> {
    let every = series.len().div_ceil(MOST_POINTS).max(1);
    let last = series.len().saturating_sub(1);
    let kept = series.iter().copied().enumerate();
    kept.filter(|(place, _)| place % every == 0 || *place == last)
        .collect()
}

/// The values as a line of text of at most `width` columns, if they are at least two numbers.
pub fn sparkline(values: &[&str], width: usize) -> Option<String> {
    let numbers: Vec<f64> = values.iter().filter_map(|value| number(value)).collect();
    if numbers.len() < 2 || width == 0 {
        return None;
    }
    let low = numbers.iter().copied().fold(f64::MAX, f64::min);
    let high = numbers.iter().copied().fold(f64::MIN, f64::max);
    let columns = width.min(numbers.len());
    let level = |column: usize| {
        // The last value of each column, so that the line ends with the newest.
        let value = numbers[((column + 1) * numbers.len()).div_ceil(columns) - 1];
        let part = match high > low {
            true => (value / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0),
            false => 0.5,
        };
        LEVELS[((part * 8.0) as usize).min(7)]
    };
    Some((0..columns).map(level).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_a_line_that_ends_with_the_newest() {
        assert_eq!(sparkline(&["1", "2", "3"], 10).as_deref(), Some("▁▅█"));
        assert_eq!(sparkline(&["3", "NaN", "3"], 10).as_deref(), Some("▅▅"));
        let falling: Vec<_> = (0..100).rev().map(|it| it.to_string()).collect();
        let falling: Vec<_> = falling.iter().map(String::as_str).collect();
        assert_eq!(sparkline(&falling, 8).as_deref(), Some("█▇▆▅▃▃▁▁"));
        assert_eq!(sparkline(&["-1e308", "1e308"], 8).as_deref(), Some("▁█"));
        assert_eq!(sparkline(&["text", "1"], 8), None);
    }

    #[test]
    fn a_long_series_is_thinned_and_keeps_its_end() {
        let series: Vec<_> = (0..10_001).map(f64::from).collect();
        let thinned = thinned(&series);
        assert!(thinned.len() <= MOST_POINTS + 1, "{}", thinned.len());
        assert_eq!(thinned.last(), Some(&(10_000, 10_000.0)));
    }
}
