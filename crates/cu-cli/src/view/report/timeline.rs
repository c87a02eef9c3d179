//! When attempts waited in a queue and ran: a row for each job while they are few, else how many did at each moment.

use std::fmt::Write;

use cu_core::{AttemptReport, JobReport, RunDir};
use cu_protocol::Timestamp;

use super::html::escape;
use crate::text::moment::{local, rounded};
use crate::view::balance::{is_lost, stopping};
use crate::view::summary::attempt_end;

/// With more jobs or attempts there are no rows.
const MOST_JOBS: usize = 100;
const MOST_ATTEMPTS: usize = 2000;
/// The drawing is this wide, in its own units, besides the names of jobs.
const WIDTH: f64 = 1000.0;
const NAMES: f64 = 60.0;
const ROW: f64 = 16.0;
/// How many moments are counted in a large run.
const MOMENTS: usize = 250;
const HEIGHT: f64 = 160.0;

/// The drawing with its key.
pub fn timeline(run: &RunDir, jobs: &[JobReport], now: Timestamp) -> String {
    let attempts = || jobs.iter().flat_map(|job| &job.attempts);
    let Some(first) = attempts().map(|attempt| attempt.submitted).min() else {
        return "<p>Nothing was submitted yet.</p>\n".to_owned();
    };
    let last = attempts().map(|attempt| attempt.ended.unwrap_or(now)).max();
    let axis = Axis {
        first,
        last: last.unwrap_or(now).max(first),
        now,
    };
    let has_rows = jobs.len() <= MOST_JOBS && attempts().count() <= MOST_ATTEMPTS;
    let (drawn, more) = match has_rows {
        true => (rows(run, jobs, &axis), MORE),
        false => (counts(jobs, &axis), ""),
    };
    format!(
        "<figure>\n{drawn}<figcaption><span>{}</span> <span class=\"key queued\">in a queue</span> \
         <span class=\"key running\">running</span> {more}<span>{}</span></figcaption>\n</figure>\n",
        local(axis.first),
        local(axis.last)
    )
}

/// What only rows show.
const MORE: &str = "<span class=\"key saving\">saving, after a request to stop</span> \
                    <span class=\"key lost\">lost: repeated in part by the next attempt</span> ";

/// The meaning of the letters of [`line()`].
pub const KEY: &str = "· queue  █ running  ░ lost, repeated";

/// The attempts of a job as a line of text, if there are several.
pub fn line(job: &JobReport, now: Timestamp, width: usize) -> Option<String> {
    let (first, last) = (job.attempts.first()?, job.attempts.last()?);
    let (first, last) = (first.submitted, last.ended.unwrap_or(now));
    let whole = last.since(first).as_secs_f64();
    if job.attempts.len() < 2 || whole <= 0.0 || width == 0 {
        return None;
    }
    let mut letters = vec![' '; width];
    let place = |moment: Timestamp| {
        let part = moment.since(first).as_secs_f64() / whole;
        ((part * width as f64) as usize).min(width)
    };
    let count = job.attempts.len();
    for (number, attempt) in job.attempts.iter().enumerate() {
        let end = attempt.ended.unwrap_or(now);
        let begin = attempt.started.unwrap_or(end);
        let ran = if is_lost(attempt) && number + 1 < count {
            '░'
        } else {
            '█'
        };
        let (submitted, begin, end) = (place(attempt.submitted), place(begin), place(end));
        letters[submitted..begin.max(submitted)].fill('·');
        letters[begin..end.max(begin)].fill(ran);
    }
    Some(
        letters
            .into_iter()
            .collect::<String>()
            .trim_end()
            .to_owned(),
    )
}

struct Axis {
    first: Timestamp,
    last: Timestamp,
    now: Timestamp,
}

impl Axis {
    fn at(&self, moment: Timestamp) -> f64 {
        let whole = self.last.since(self.first).as_secs_f64().max(0.001);
        let part = moment.since(self.first).as_secs_f64();
        NAMES + (part / whole).min(1.0) * (WIDTH - NAMES)
    }
}

fn rows(run: &RunDir, jobs: &[JobReport], axis: &Axis) -> String {
    let height = ROW * jobs.len() as f64;
    let mut text = format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"When the attempts of each job waited and \
         ran\">\n"
    );
    for (row, job) in jobs.iter().enumerate() {
        let top = ROW * row as f64;
        // Writing to a String can't fail.
        let _ = writeln!(
            text,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            NAMES - 6.0,
            top + ROW - 4.0,
            job.job
        );
        for (place, attempt) in job.attempts.iter().enumerate() {
            let is_last = place + 1 == job.attempts.len();
            bars(&mut text, run, (job, attempt, is_last), axis, top);
        }
    }
    text.push_str("</svg>\n");
    text
}

fn bars(
    text: &mut String,
    run: &RunDir,
    (job, attempt, is_last): (&JobReport, &AttemptReport, bool),
    axis: &Axis,
    top: f64,
) {
    let end = attempt.ended.unwrap_or(axis.now);
    let begin = attempt.started.unwrap_or(end);
    let took = rounded(end.since(begin));
    let how = attempt.end.map_or("running", attempt_end);
    let host = attempt.host.as_deref().unwrap_or_default();
    let title = format!(
        "job {}, attempt {}: {took}, {how}, {host}",
        job.job, attempt.attempt
    );
    let mut bar = |class: &str, from: Timestamp, to: Timestamp| {
        let (left, right) = (axis.at(from), axis.at(to));
        if to > from {
            let _ = writeln!(
                text,
                "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{}\" width=\"{:.1}\" height=\"{}\"><title>{}</title></rect>",
                top + 2.0,
                (right - left).max(0.8),
                ROW - 4.0,
                escape(&title)
            );
        }
    };
    bar("queued", attempt.submitted, begin);
    let saving = stopping(run, job.job, attempt).unwrap_or_default();
    let asked = Timestamp::from_millis(
        end.millis()
            .saturating_sub(u64::try_from(saving.as_millis()).unwrap_or(0)),
    );
    let class = if is_lost(attempt) && !is_last {
        "lost"
    } else {
        "running"
    };
    bar(class, begin, asked.max(begin));
    bar("saving", asked.max(begin), end);
}

/// How many attempts waited and ran at each moment, one above the other.
fn counts(jobs: &[JobReport], axis: &Axis) -> String {
    // Each is how many more there are from this moment on.
    let mut changes = vec![[0_i64; 2]; MOMENTS + 1];
    let place = |moment: Timestamp| {
        let part = (axis.at(moment) - NAMES) / (WIDTH - NAMES);
        ((part * MOMENTS as f64) as usize).min(MOMENTS)
    };
    for attempt in jobs.iter().flat_map(|job| &job.attempts) {
        let end = attempt.ended.unwrap_or(axis.now);
        let begin = attempt.started.unwrap_or(end);
        for (kind, from, to) in [(0, attempt.submitted, begin), (1, begin, end)] {
            let (from, to) = (place(from), place(to));
            changes[from][kind] += 1;
            // What is shorter than a moment is seen in its own.
            changes[to.max((from + 1).min(MOMENTS))][kind] -= 1;
        }
    }
    let mut now = [0_i64; 2];
    let counted: Vec<[i64; 2]> = changes
        .iter()
        .take(MOMENTS)
        .map(|change| {
            now = [now[0] + change[0], now[1] + change[1]];
            now
        })
        .collect();
    let most = counted
        .iter()
        .map(|it| it[0] + it[1])
        .max()
        .unwrap_or(1)
        .max(1);
    let step = (WIDTH - NAMES) / MOMENTS as f64;
    let area = |upper: &dyn Fn(&[i64; 2]) -> i64| {
        let mut points = format!("{NAMES},{HEIGHT}");
        for (moment, counts) in counted.iter().enumerate() {
            let y = HEIGHT - HEIGHT * upper(counts) as f64 / most as f64;
            let left = NAMES + step * moment as f64;
            let _ = write!(points, " {left:.1},{y:.1} {:.1},{y:.1}", left + step);
        }
        let _ = write!(points, " {WIDTH},{HEIGHT}");
        points
    };
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"How many attempts waited and ran\">\n\
         <text x=\"{}\" y=\"12\" text-anchor=\"end\">{most}</text>\n\
         <polygon class=\"queued\" points=\"{}\"/>\n<polygon class=\"running\" points=\"{}\"/>\n</svg>\n",
        NAMES - 6.0,
        area(&|it| it[0] + it[1]),
        area(&|it| it[1])
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use cu_core::{AttemptEnd, JobState};
    use cu_protocol::{Attempt, JobId};

    #[test]
    fn a_line_shows_queues_runs_and_what_was_lost() {
        let at = |seconds: u64| Timestamp::from_millis(seconds * 1000);
        let attempt = |number, submitted, started, ended, end| {
            let mut attempt = AttemptReport::new(Attempt(number), at(submitted));
            attempt.started = Some(at(started));
            attempt.ended = Some(at(ended));
            attempt.end = Some(end);
            attempt
        };
        let mut job = JobReport::new(JobId(0), JobState::Completed);
        job.attempts = vec![attempt(0, 0, 2, 5, AttemptEnd::NodeFailure)];
        assert_eq!(line(&job, at(9), 10), None);
        job.attempts
            .push(attempt(1, 5, 6, 10, AttemptEnd::Completed));
        assert_eq!(line(&job, at(20), 10).as_deref(), Some("··░░░·████"));
        assert_eq!(line(&job, at(20), 0), None);
    }
}
