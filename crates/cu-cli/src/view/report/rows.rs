//! The table of jobs. Each cell of numbers and times carries what it is sorted by.

use std::fmt::Write;

use cu_core::{JobReport, JobState};

use super::html::escape;
use crate::select::{Key, Names, Value};
use crate::text::width::cut;
use crate::view::jobs::{cell, heading, usual_columns};

/// At most this many jobs are listed, failed ones first: more rows make a browser slow.
const MOST_ROWS: usize = 2000;
/// At most this many columns, of which settings and metrics can be many.
const MOST_COLUMNS: usize = 40;
/// Longer texts are cut.
const LONGEST: usize = 200;

/// The table of at most so many jobs.
pub fn table(jobs: &[JobReport]) -> String {
    let mut columns = usual_columns(&Names::of(jobs));
    columns.push(Key::Why);
    let all_columns = columns.len();
    columns.truncate(MOST_COLUMNS);
    let mut shown: Vec<_> = jobs.iter().collect();
    if jobs.len() > MOST_ROWS {
        shown.sort_by_key(|job| {
            (
                job.state != JobState::Failed,
                job.state.is_settled(),
                job.job,
            )
        });
        shown.truncate(MOST_ROWS);
    }
    let mut text = String::new();
    if shown.len() < jobs.len() || columns.len() < all_columns {
        // Writing to a String can't fail.
        let _ = writeln!(
            text,
            "<p>{} of {} jobs and {} of {all_columns} columns are listed, failed jobs first; \
             <code>cu jobs --csv</code> prints all.</p>",
            shown.len(),
            jobs.len(),
            columns.len()
        );
    }
    text.push_str("<div class=\"wide\"><table id=\"jobs\">\n<thead><tr>");
    for key in &columns {
        let name = heading(key, &columns);
        let _ = write!(
            text,
            "<th scope=\"col\"><button>{}</button></th>",
            escape(&name)
        );
    }
    text.push_str("</tr></thead>\n<tbody>\n");
    for job in shown {
        text.push_str("<tr>");
        for key in &columns {
            td(&mut text, key, &cell(key, job));
        }
        text.push_str("</tr>\n");
    }
    text.push_str("</tbody>\n</table></div>\n");
    text
}

fn td(text: &mut String, key: &Key, value: &Value) {
    let shown = value.shown();
    let whole = escape(&cut(&shown, LONGEST)).into_owned();
    let _ = match (key, value.number().filter(|number| number.is_finite())) {
        (Key::State, _) => write!(
            text,
            "<td><span class=\"state {whole}\">{whole}</span></td>"
        ),
        (_, Some(number)) => {
            let shown = match value {
                Value::Written(..) => short(number, &whole),
                _ => whole,
            };
            write!(
                text,
                "<td class=\"number\" data-by=\"{number}\">{shown}</td>"
            )
        }
        // It may be wider than its column.
        (Key::Why, _) => write!(text, "<td title=\"{whole}\">{whole}</td>"),
        _ => write!(text, "<td>{whole}</td>"),
    };
}

/// A number with six digits, if it was written with more.
pub fn short(number: f64, written: &str) -> String {
    const LONG: usize = 9;
    let rounded: Option<f64> = format!("{number:.5e}").parse().ok();
    let rounded = rounded.map(|rounded| rounded.to_string());
    let is_whole = number.fract() == 0.0;
    match rounded.filter(|rounded| !is_whole && rounded.len() < written.len()) {
        Some(rounded) if written.len() > LONG => rounded,
        _ => written.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn long_numbers_are_shown_with_six_digits() {
        for (written, shown) in [
            ("0.03321790209832116", "0.0332179"),
            ("-0.019815177565451144", "-0.0198152"),
            ("0.5", "0.5"),
            ("12345678901234567", "12345678901234567"),
            ("1.2345678901e-20", "1.2345678901e-20"),
        ] {
            let number = written.parse().expect("a number");
            assert_eq!(short(number, written), shown);
        }
    }
}
