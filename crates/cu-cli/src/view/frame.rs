//! The lines of the display of a run, for a terminal of any size.

use std::time::Duration;

use cu_core::{RunningJob, Status};
use cu_protocol::Timestamp;
use owo_colors::OwoColorize;

use super::canvas::Line;
use super::table::{Column, Table};
use crate::select::Value;
use crate::text::moment::{in_local_time, rounded};
use crate::text::width::{columns, cut, one_line};

/// A display has at most this many lines.
pub const MOST_LINES: usize = 12;
/// The narrowest bar that shows anything.
const NARROWEST_BAR: usize = 8;
const DOT: &str = " · ";

/// A running job, and the last line of its output.
pub struct Shown {
    /// The job.
    pub job: RunningJob,
    /// Empty if there is none.
    pub last_line: String,
}

/// All that a display shows.
pub struct Picture<'a> {
    /// The run.
    pub status: &'a Status,
    /// The first of the running jobs.
    pub running: &'a [Shown],
    /// The time of this moment.
    pub now: Timestamp,
    /// The estimated time left, if there is an estimate.
    pub left: Option<Duration>,
    /// The size of the terminal.
    pub width: usize,
    /// In lines.
    pub height: usize,
}

impl Picture<'_> {
    /// Its lines. Each fits the width; together they leave the terminal a line.
    pub fn lines(&self) -> Vec<Line> {
        let room = MOST_LINES.min(self.height.saturating_sub(1)).max(1);
        let mut lines = self.counts();
        lines.push(self.bar());
        if let Some(held_up) = &self.status.held_up {
            let held_up = in_local_time(&one_line(held_up));
            let text = cut(&held_up, self.width).into_owned();
            lines.push(Line {
                colored: text.yellow().to_string(),
                plain: text,
            });
        }
        let left = room.saturating_sub(lines.len());
        lines.extend(self.jobs(left));
        lines.truncate(room);
        lines
    }

    /// The name, the jobs by state, and the times: in one line, or in as many as that takes.
    fn counts(&self) -> Vec<Line> {
        let jobs = &self.status.jobs;
        let name = cut(&one_line(&self.status.name), (self.width / 3).max(8)).into_owned();
        let mut parts = vec![
            Part::bold(name),
            Part::plain(format!("{} of {} done", jobs.completed, jobs.total)),
        ];
        for (count, state) in [
            (jobs.running, "running"),
            (jobs.queued, "queued"),
            (jobs.waiting, "waiting"),
        ] {
            if count > 0 {
                parts.push(Part::plain(format!("{count} {state}")));
            }
        }
        if jobs.failed > 0 {
            parts.push(Part::red(format!("{} failed", jobs.failed)));
        }
        if jobs.cancelled > 0 {
            parts.push(Part::plain(format!("{} cancelled", jobs.cancelled)));
        }
        if self.status.resumes > 0 {
            parts.push(Part::plain(crate::text::plural(
                self.status.resumes,
                "resume",
            )));
        }
        let mut times = rounded(self.now.since(self.status.created));
        if let Some(left) = self.left.filter(|left| left.as_secs() > 0) {
            times.push_str(&format!(", ~{} left", about(left)));
        }
        let mut line = joined(&parts);
        let gap = self
            .width
            .checked_sub(columns(&line.plain) + columns(&times));
        if let Some(gap) = gap.filter(|gap| *gap >= 2) {
            let rest = " ".repeat(gap) + &times;
            line.plain.push_str(&rest);
            line.colored.push_str(&rest);
            return vec![line];
        }
        parts.push(Part::plain(times));
        wrapped(&parts, self.width)
    }

    fn bar(&self) -> Line {
        let per_mille = self.status.done_per_mille.min(1000);
        let percent = format!(" {:>3} %", per_mille / 10);
        let brackets = 2;
        let Some(inner) = self
            .width
            .checked_sub(columns(&percent) + brackets)
            .filter(|inner| *inner >= NARROWEST_BAR)
        else {
            return Line::plain(cut(percent.trim(), self.width));
        };
        let full = inner * per_mille as usize / 1000;
        let head = if full < inner { ">" } else { "" };
        let done = "#".repeat(full) + head;
        let rest = "-".repeat(inner - columns(&done));
        Line {
            plain: format!("[{done}{rest}]{percent}"),
            colored: format!("[{}{}]{percent}", done.green(), rest.dimmed()),
        }
    }

    /// The running jobs under a header, in at most `room` lines.
    fn jobs(&self, room: usize) -> Vec<Line> {
        if room < 2 || self.running.is_empty() {
            return Vec::new();
        }
        let running = (self.status.jobs.running as usize).max(self.running.len());
        let is_full = running > room - 1;
        let few = self
            .running
            .len()
            .min(if is_full { room - 2 } else { room - 1 });
        let shown = &self.running[..few];
        if shown.is_empty() {
            return Vec::new();
        }
        let drawn = self.table(shown).draw(Some(self.width));
        let mut lines = drawn.lines;
        if running > few {
            let more = format!("… and {} more running", running - few);
            lines.push(Line::plain(cut(&more, self.width)));
        }
        lines
    }

    fn table(&self, shown: &[Shown]) -> Table {
        let names = |of: fn(&RunningJob) -> Vec<&String>, most: usize| {
            let mut names: Vec<_> = shown.iter().flat_map(|shown| of(&shown.job)).collect();
            names.sort();
            names.dedup();
            names.truncate(most);
            names
        };
        let settings = names(|job| job.parameters.keys().collect(), self.width / 40);
        let metrics = names(|job| job.metrics.keys().collect(), self.width / 60);
        let has_fractions = shown.iter().any(|shown| shown.job.fraction.is_some());
        let has_words = shown.iter().any(|shown| !shown.last_line.is_empty());
        let mut columns = vec![Column::number("job")];
        columns.extend(settings.iter().map(|name| Column::new(*name).at_least(6)));
        columns.extend([Column::number("attempt"), Column::number("in it")]);
        columns.extend(has_fractions.then(|| Column::number("done")));
        columns.extend(metrics.iter().map(|name| Column::new(*name).at_least(6)));
        columns.extend(has_words.then(|| Column::new("last line").at_least(8)));
        let mut table = Table::new(columns);
        for Shown { job, last_line } in shown {
            let setting = |name: &&String| job.parameters.get(*name).map(Value::of_setting);
            let metric = |name: &&String| job.metrics.get(*name).map(Value::of_metric);
            let text = |value: Option<Value>| value.map(|value| value.shown()).unwrap_or_default();
            let mut cells = vec![job.job.to_string()];
            cells.extend(settings.iter().map(|name| text(setting(name))));
            cells.extend([format!("#{}", job.attempt), self.time_in(job)]);
            if has_fractions {
                cells.push(text(job.fraction.map(Value::Fraction)));
            }
            cells.extend(metrics.iter().map(|name| text(metric(name))));
            if has_words {
                cells.push(last_line.clone());
            }
            table.add_row(cells);
        }
        table
    }

    /// `3m 2s of 50m`
    fn time_in(&self, job: &RunningJob) -> String {
        let Some(started) = job.started else {
            return String::new();
        };
        let ran = self.now.since(started).as_secs();
        let ran = rounded(Duration::from_secs(ran));
        match job.longest {
            Some(longest) => format!("{ran} of {}", rounded(longest)),
            None => ran,
        }
    }
}

/// A time that is only estimated: not to the second.
fn about(time: Duration) -> String {
    let seconds = time.as_secs();
    rounded(Duration::from_secs(match seconds {
        0..60 => seconds.div_ceil(5) * 5,
        60..86400 => seconds.div_ceil(60) * 60,
        _ => seconds,
    }))
}

/// A piece of a line that is never torn.
struct Part {
    plain: String,
    colored: String,
}

impl Part {
    fn plain(text: String) -> Self {
        Self {
            colored: text.clone(),
            plain: text,
        }
    }

    fn bold(text: String) -> Self {
        Self {
            colored: text.bold().to_string(),
            plain: text,
        }
    }

    fn red(text: String) -> Self {
        Self {
            colored: text.red().to_string(),
            plain: text,
        }
    }
}

fn joined(parts: &[Part]) -> Line {
    let plain: Vec<_> = parts.iter().map(|part| part.plain.as_str()).collect();
    let colored: Vec<_> = parts.iter().map(|part| part.colored.as_str()).collect();
    Line {
        plain: plain.join(DOT),
        colored: colored.join(DOT),
    }
}

/// The parts in lines of at most `width` columns.
fn wrapped(mut parts: &[Part], width: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    while !parts.is_empty() {
        let fits = |count: &usize| columns(&joined(&parts[..*count]).plain) <= width;
        let count = (2..=parts.len()).take_while(fits).last().unwrap_or(1);
        let line = joined(&parts[..count]);
        lines.push(match columns(&line.plain) <= width {
            true => line,
            false => Line::plain(cut(&line.plain, width)),
        });
        parts = &parts[count..];
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::estimate::tests::status;
    use cu_protocol::{Attempt, JobId, MetricValue};
    use serde_json::json;

    fn shown(number: u32) -> Shown {
        let mut job = RunningJob::new(JobId(number), Attempt(6));
        job.started = Some(Timestamp::from_millis(1_795_538_912_120));
        job.longest = Some(Duration::from_secs(3000));
        job.fraction = Some(0.61);
        job.parameters.insert("lr".to_owned(), json!(0.01));
        let loss = MetricValue::Float(0.021);
        job.metrics.insert("loss".to_owned(), loss);
        Shown {
            job,
            last_line: format!("epoch {number} loss 0.0213\x1b[2J"),
        }
    }

    fn lines(status: &Status, running: &[Shown], (width, height): (usize, usize)) -> Vec<Line> {
        Picture {
            status,
            running,
            now: Timestamp::from_millis(1_795_538_912_120 + 4_330_000),
            left: Some(Duration::from_secs(2400)),
            width,
            height,
        }
        .lines()
    }

    #[test]
    fn a_run_on_80_columns() {
        let running: Vec<_> = (3..5).map(shown).collect();
        let lines = lines(&status(470), &running, (80, 24));
        let plain: Vec<_> = lines.iter().map(|line| line.plain.as_str()).collect();
        let expected = [
            "digits · 3 of 10 done · 2 running · 4 waiting · 1 failed · 6 resumes",
            "1 h 12 min, ~40 min left",
            "[#################################>--------------------------------------]  47 %",
            "job  lr    attempt                 in it  done  loss   last line",
            "  3  0.01       #6  1 h 12 min of 50 min  61 %  0.021  epoch 3 loss 0.0213\\x1b[…",
            "  4  0.01       #6  1 h 12 min of 50 min  61 %  0.021  epoch 4 loss 0.0213\\x1b[…",
        ];
        assert_eq!(plain, expected);
        assert!(
            lines[0].colored.contains("\u{1b}[31m1 failed"),
            "{:?}",
            lines[0]
        );
    }

    #[test]
    fn any_terminal_is_wide_enough() {
        let mut busy = status(470);
        busy.jobs.total = 2000;
        busy.jobs.running = 500;
        busy.held_up = Some("the scheduler has not answered for 2 min: slurm_load_jobs".to_owned());
        let running: Vec<_> = (0..12).map(shown).collect();
        for width in 1..250 {
            for height in [1, 2, 5, 15, 24, 60] {
                let lines = lines(&busy, &running, (width, height));
                assert!(lines.len() <= MOST_LINES, "{width}x{height}");
                assert!(lines.len() < height.max(2), "{width}x{height}");
                for line in lines {
                    let shown = anstream::adapter::strip_str(&line.colored).to_string();
                    assert_eq!(shown, line.plain);
                    assert!(columns(&line.plain) <= width, "{width}: {}", line.plain);
                }
            }
        }
        let lines = lines(&busy, &running, (80, 24));
        let last = &lines.last().expect("a line").plain;
        assert!(last.starts_with("… and 49"), "{last}");
    }
}
