//! Runs and jobs in words, for people: the end of `cu run`, and the output of `cu status`, `list` and
//! `show`.

use std::fmt::Write;
use std::path::Path;

use cu_core::{AttemptEnd, JobReport, JobState, RunState, Status};
use cu_protocol::{JobId, MetricValue, Metrics};
use cu_system::causes::in_one_line;
use cu_system::users;
use owo_colors::OwoColorize;

use super::failures::failures;
use super::limit;
use super::lines::counts;
use super::table::{Column, Table, color};
use crate::runs::Listed;
use crate::shell_word::shell_word;
use crate::text::moment::{ago, local, now, rounded};
use crate::text::visible::printable;
use crate::text::{plural, size};

/// At most this many jobs are listed one by one; more are only counted.
pub const FEW: usize = 20;

/// Shown in the place of the state of a run that can't be read.
pub const UNREADABLE: &str = "unreadable";

/// The name of a run's state, as programs read it too.
pub fn run_state(state: RunState) -> &'static str {
    match state {
        RunState::Running => "running",
        RunState::Completed => "completed",
        RunState::Failed => "failed",
        RunState::Stopped => "stopped",
        RunState::Interrupted => "interrupted",
    }
}

/// The name of a job's state, as programs read it too.
pub fn job_state(state: JobState) -> &'static str {
    match state {
        JobState::Waiting => "waiting",
        JobState::Queued => "queued",
        JobState::Running => "running",
        JobState::Completed => "completed",
        JobState::Failed => "failed",
        JobState::Cancelled => "cancelled",
    }
}

/// The state of a job for people, who know of pausing.
pub fn shown_state(job: &JobReport) -> &'static str {
    match job.paused {
        true => "paused",
        false => job_state(job.state),
    }
}

/// The state of a run as the end of a sentence.
fn run_is(state: RunState) -> &'static str {
    match state {
        RunState::Running => "is running",
        RunState::Completed => "is completed",
        RunState::Failed => "has failed",
        RunState::Stopped => "was stopped",
        RunState::Interrupted => "is interrupted",
    }
}

/// The state of a job as the end of a sentence.
pub fn job_is(job: &JobReport) -> &'static str {
    match job.state {
        JobState::Waiting if job.paused => "is paused",
        JobState::Waiting => "is waiting",
        JobState::Queued => "is queued",
        JobState::Running => "is running",
        JobState::Completed => "is completed",
        JobState::Failed => "has failed",
        JobState::Cancelled => "was cancelled",
    }
}

/// The advice about a run without a main process.
pub fn no_main_process(run_dir: &Path) -> String {
    let run = shell_word(run_dir);
    format!("no main process works on this run; `cu resume {run}` continues it")
}

/// How an attempt ended, in words.
pub fn attempt_end(end: AttemptEnd) -> &'static str {
    match end {
        AttemptEnd::ResumeRequested => "stopped to be resumed",
        AttemptEnd::Completed => "completed",
        AttemptEnd::Failed => "failed",
        AttemptEnd::TimeLimit => "reached its time limit",
        AttemptEnd::Preempted => "was preempted",
        AttemptEnd::NodeFailure => "was lost with its node",
        AttemptEnd::OutOfMemory => "ran out of memory",
        AttemptEnd::Cancelled => "was cancelled",
        AttemptEnd::Removed => "was removed",
        AttemptEnd::Lost => "was lost",
        AttemptEnd::NotActivated => "could not activate its environment",
    }
}

/// The end of `cu run`: the jobs, if they are few, how jobs failed, and the run. `jobs` are at least those.
pub fn end_of_run(status: &Status, jobs: &[JobReport]) -> String {
    let mut text = String::new();
    if status.jobs.total as usize <= FEW {
        let listed = jobs.iter().filter(|job| job.state != JobState::Failed);
        for job in listed {
            // Writing to a String can't fail.
            let _ = writeln!(text, "{}", job_line(job));
        }
    }
    text.push_str(&failures(status, jobs));
    text + &run_line(status)
}

/// `digits: completed, 1 of 1 jobs completed; /results/digits`
pub fn run_line(status: &Status) -> String {
    format!(
        "{}: {}, {}; {}",
        status.name,
        run_state(status.state),
        counts(status),
        status.run_dir.display()
    )
}

/// `job 0: completed after 6 attempts (5 resumes): test_accuracy = 0.923`
fn job_line(job: &JobReport) -> String {
    let attempts = job.attempts.len() as u64;
    let mut text = format!("job {}: {}", job.job, shown_state(job));
    if attempts > 0 {
        let _ = write!(text, " after {}", plural(attempts, "attempt"));
    }
    if attempts > 1 {
        let _ = write!(text, " ({})", plural(attempts - 1, "resume"));
    }
    let more = match job.state {
        JobState::Completed => metrics(&job.metrics),
        _ => limit::why(job),
    };
    if !more.is_empty() {
        let _ = write!(text, ": {more}");
    }
    text
}

/// `accuracy = 0.9, loss = 0.1`, in one line whatever a text holds.
pub fn metrics(metrics: &Metrics) -> String {
    let texts = metrics.iter().map(|(name, value)| match value {
        MetricValue::Null => format!("{name} = none"),
        value => format!("{name} = {value}"),
    });
    let texts = texts.collect::<Vec<_>>().join(", ");
    texts.replace('\n', "\\n")
}

/// A line on messages for cluster_utils that were refused, by job.
pub fn refused(jobs: &[(JobId, u64)]) -> String {
    let Some((first, _)) = jobs.first() else {
        return String::new();
    };
    let count: u64 = jobs.iter().map(|(_, count)| count).sum();
    let messages = plural(count, "message");
    let of = plural(jobs.len() as u64, "job");
    format!(
        "\n\nrefused {messages} for cluster_utils in {of}; `cu show {first}` shows the reasons for job {first}"
    )
}

/// The output of `cu status`, with colours: the run, and the first of its jobs that are not completed, each with
/// the number of its attempts.
pub fn status(status: &Status, open: &[(JobReport, u64)], width: Option<usize>) -> String {
    let mut text = format!(": {}", counts(status));
    let _ = write!(
        text,
        "\n{} done, {}",
        percent(f64::from(status.done_per_mille) / 1000.0),
        plural(status.attempts, "attempt")
    );
    if !status.backend.is_empty() {
        let _ = write!(text, ", on {}", status.backend);
    }
    let _ = write!(text, "\ncreated {}", local(status.created));
    match status.ended {
        Some(ended) => {
            let took = rounded(ended.since(status.created));
            let (ended, ago) = (local(ended), ago(ended, now()));
            let _ = write!(text, ", ended {ended} after {took} ({ago})");
        }
        None => {
            let _ = write!(text, " ({})", ago(status.created, now()));
        }
    }
    let _ = write!(text, "\n{}", status.run_dir.display());
    let name = printable(&status.name);
    let is = painted(run_is(status.state), run_state(status.state));
    let mut text = format!("{name} {is}{}", printable(&text));
    if !open.is_empty() {
        let mut table = Table::new(vec![
            Column::number("job"),
            Column::state("state"),
            Column::number("attempts").less(2),
            Column::number("done").less(1),
            Column::new("why").at_least(20),
        ]);
        for (job, attempts) in open {
            table.add_row([
                job.job.to_string(),
                shown_state(job).to_owned(),
                attempts.to_string(),
                job.fraction.map(percent).unwrap_or_default(),
                limit::why(job),
            ]);
        }
        let _ = write!(text, "\n\n{}", table.text(width));
        // Read after the counts: a job may have been completed in between.
        let left = (status.jobs.total - status.jobs.completed) as usize;
        if left > open.len() && open.len() >= FEW {
            let _ = write!(text, "\n… and {} more", left - open.len());
        }
    }
    if status.state == RunState::Interrupted {
        let advice = no_main_process(&status.run_dir);
        let _ = write!(text, "\n\n{}", printable(&advice));
    }
    text
}

/// `words` in the colour of `state`.
pub fn painted(words: &str, state: &str) -> String {
    match color(state) {
        Some(color) => words.color(color).to_string(),
        None => words.to_owned(),
    }
}

/// `30 %`, and 100 % only for what is done.
pub fn percent(fraction: f64) -> String {
    let most = if fraction < 1.0 { 99.0 } else { 100.0 };
    format!("{:.0} %", (fraction * 100.0).round().min(most))
}

/// The output of `cu list`, with colours.
pub fn list(runs: &[Listed], width: Option<usize>) -> String {
    let has_sizes = runs.iter().any(|run| run.disk.is_some());
    let mut columns = vec![
        Column::new("name").at_least(12),
        Column::state("state"),
        Column::number("jobs"),
    ];
    if has_sizes {
        columns.extend([Column::number("size"), Column::number("files").less(3)]);
    }
    columns.extend([
        Column::number("resumes").less(2),
        Column::new("created"),
        Column::new("run directory").at_least(20).less(1),
    ]);
    let mut table = Table::new(columns);
    let mut problems = Vec::new();
    for listed in runs {
        let path = listed.run.path();
        let [name, mut state, jobs, resumes, made] = match &listed.status {
            Ok(status) => [
                status.name.clone(),
                run_state(status.state).to_owned(),
                format!("{}/{}", status.jobs.completed, status.jobs.total),
                status.resumes.to_string(),
                match width {
                    Some(_) => ago(status.created, now()),
                    // What a pipe gets may be read much later.
                    None => local(status.created),
                },
            ],
            Err(error) => {
                problems.push(in_one_line(error));
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let none = String::new;
                [
                    name.into_owned(),
                    UNREADABLE.to_owned(),
                    none(),
                    none(),
                    none(),
                ]
            }
        };
        if let Some(owner) = listed.owner {
            let _ = write!(state, ", of {}", users::describe(owner));
        }
        let mut row = vec![name, state, jobs];
        if let Some(disk) = listed.disk {
            row.extend([size(disk.bytes), disk.files.to_string()]);
        }
        row.extend([resumes, made, path.display().to_string()]);
        table.add_row(row);
    }
    let mut text = table.text(width);
    if !problems.is_empty() {
        text.push('\n');
    }
    for problem in problems {
        let lines: Vec<_> = problem.lines().map(str::trim).collect();
        let _ = write!(text, "\n{UNREADABLE}: {}", printable(&lines.join(" / ")));
    }
    text
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::view::estimate::tests;
    use cu_core::AttemptReport;
    use cu_protocol::{Attempt, JobId, Timestamp};

    /// A job whose attempts, all but the last, asked to be resumed.
    pub fn report(job: u32, state: JobState, attempts: u32) -> JobReport {
        let attempt = |number| {
            let mut attempt = AttemptReport::new(Attempt(number), Timestamp::from_millis(0));
            attempt.cluster_job_id = Some(format!("local-{number}"));
            attempt.host = Some("node1".to_owned());
            attempt.started = Some(Timestamp::from_millis(0));
            attempt.ended = Some(Timestamp::from_millis(61_000));
            attempt.end = Some(AttemptEnd::ResumeRequested);
            attempt.exit_code = Some(3);
            attempt
        };
        let mut report = JobReport::new(JobId(job), state);
        report.output_dir = "/results/digits/working_directories/0".into();
        report.metrics = Metrics::from([("test_accuracy".to_owned(), MetricValue::Float(0.923))]);
        report.why = "Attempt 0 ended with exit code 1.".to_owned();
        report.attempts = (0..attempts).map(attempt).collect();
        report
    }

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn a_run_ends_with_its_jobs_and_their_metrics() {
        let jobs = [
            report(0, JobState::Completed, 6),
            report(1, JobState::Failed, 1),
        ];
        let mut status = tests::status(1000);
        status.state = RunState::Failed;
        let expected = "\
job 0: completed after 6 attempts (5 resumes): test_accuracy = 0.923
job 1 failed: Attempt 0 ended with exit code 1.
  see `cu logs 1 /results/digits`
digits: failed, 3 of 10 jobs completed, 4 waiting, 2 running, 1 failed, 6 resumes; /results/digits";
        assert_eq!(end_of_run(&status, &jobs), expected);
    }

    #[test]
    fn failed_jobs_are_listed_among_many() {
        let mut jobs: Vec<_> = (0..100)
            .map(|job| report(job, JobState::Completed, 1))
            .collect();
        jobs[42].state = JobState::Failed;
        let mut status = tests::status(1000);
        status.jobs.total = 100;
        let text = end_of_run(&status, &jobs);
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.starts_with("job 42 failed"), "{text}");
        jobs.iter_mut().for_each(|job| job.state = JobState::Failed);
        let text = end_of_run(&status, &jobs);
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(text.starts_with("100 jobs failed"), "{text}");
        assert!(text.contains("\n  jobs 0-99\n"), "{text}");
    }

    #[test]
    fn an_interrupted_run_names_the_command_to_continue() {
        let mut status = tests::status(300);
        status.state = RunState::Interrupted;
        let text = plain(&super::status(
            &status,
            &[(report(4, JobState::Waiting, 1), 1)],
            Some(80),
        ));
        assert!(
            text.ends_with(
                "no main process works on this run; `cu resume /results/digits` continues it"
            ),
            "{text}"
        );
        assert!(text.contains("30 % done"), "{text}");
    }

    #[test]
    fn unfinished_work_is_never_100_percent() {
        let text = plain(&super::status(&tests::status(996), &[], Some(80)));
        assert!(text.contains("\n99 % done"), "{text}");
        let text = plain(&super::status(&tests::status(1000), &[], Some(80)));
        assert!(text.contains("\n100 % done"), "{text}");
    }
}
