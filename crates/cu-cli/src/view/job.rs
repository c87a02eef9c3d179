//! The output of `cu show`: a job, its attempts with the cause of each end, and where its files are.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use cu_core::{AttemptEnd, AttemptReport, JobReport, JobState, RunDir};
use cu_protocol::{Attempt, JobId, signal_name};
use cu_run_dir::{JobSpec, RefusedMessages, SentSignal, SignalReason, read_early_results};

use super::report::{sparkline, timeline};
use super::summary::{self, FEW, attempt_end, job_is, metrics, percent};
use super::table::{Column, Table};
use super::{Files, hints, limit};
use crate::backend::{Kind, shown_cluster_job};
use crate::git::Record;
use crate::runs::disk::DiskUse;
use crate::text::moment::{ago, in_local_time, local, now, rounded};
use crate::text::visible::printable;
use crate::text::{last_line, size, wrap};

/// At most this many attempts of a job are shown: the newest.
const MANY: usize = 50;

/// A job of `run` as [`job`] shows it, its state with a colour.
pub fn painted(run: &RunDir, report: &JobReport, width: usize) -> String {
    let text = job(run, report, width);
    let text = printable(&text);
    let (is, begin) = (job_is(report), format!("job {} ", report.job));
    match text
        .strip_prefix(&begin)
        .and_then(|rest| rest.strip_prefix(is))
    {
        Some(rest) => {
            let is = summary::painted(is, summary::job_state(report.state));
            format!("{begin}{is}{rest}")
        }
        None => text.into_owned(),
    }
}

/// A job of `run`, of which the attempts are shown in `width` columns.
pub fn job(run: &RunDir, job: &JobReport, width: usize) -> String {
    let for_long = running_for(job).map(|time| format!(", for {time}"));
    let mut text = format!(
        "job {} {}{}: {}",
        job.job,
        job_is(job),
        for_long.unwrap_or_default(),
        limit::why(job)
    );
    for (name, value) in &job.parameters {
        let _ = write!(text, "\n  {name} = {value}");
    }
    let ended = job.attempts.last().and_then(|last| last.ended);
    if let Some(ended) = ended.filter(|_| job.state.is_settled()) {
        let _ = write!(text, "\nended {} ({})", local(ended), ago(ended, now()));
    }
    if let Some(fraction) = job.fraction {
        let _ = write!(text, "\n{} done", percent(fraction));
    }
    if !job.metrics.is_empty() {
        let _ = write!(text, "\nmetrics: {}", metrics(&job.metrics));
    }
    series(&mut text, run, job.job, width);
    refused(&mut text, run, job.job);
    let _ = write!(text, "\noutput directory: {}", job.output_dir.display());
    if let Some(room) = DiskUse::of_at_most(&job.output_dir, COUNTED) {
        let _ = write!(text, " ({})", room.in_words());
    }
    if let Some(record) = Record::read(run) {
        let _ = write!(text, "\ncode: {}", record.in_words());
    }
    let earlier = job.attempts.len().saturating_sub(MANY);
    let shown = &job.attempts[earlier..];
    let read = |attempt: &AttemptReport| Files::read(run, job.job, attempt.attempt);
    let files: Vec<_> = shown.iter().map(read).collect();
    if !shown.is_empty() {
        text.push_str("\n\n");
        if earlier > 0 {
            let _ = writeln!(
                text,
                "{earlier} earlier attempts are left out; --json has them"
            );
        }
        text.push_str(&attempts(run, shown, &files, width));
    }
    if let Some(line) = timeline::line(job, now(), width.saturating_sub(2).min(CURVE)) {
        let _ = write!(text, "\n\n  {line}\n  {}", timeline::KEY);
    }
    if let Some((last, its_files)) = shown.last().zip(files.last()) {
        newest(&mut text, run, job, last, its_files, width);
        let was_asked =
            |files: &Files| !files.signals.sent.is_empty() || files.signals.made.is_some();
        let newest = shown.iter().zip(&files).rev();
        let mut newest = newest.filter(|(_, files)| was_asked(files));
        if let Some((attempt, files)) = newest.next() {
            if let Some(made) = &files.signals.made {
                let _ = write!(
                    text,
                    "\nfile that cu made to ask attempt {} to stop{}: {}",
                    attempt.attempt,
                    match made.symlink_metadata() {
                        Ok(_) => "",
                        Err(_) => " (gone since)",
                    },
                    made.display()
                );
            }
            signals(&mut text, attempt, &files.signals.sent);
        }
    }
    let kept = |kind: &Kind| Some(run.backend(kind.name())).filter(|path| path.is_dir());
    for directory in Kind::CLUSTERS.iter().filter_map(kept) {
        let _ = write!(text, "\nsubmission files: {}", directory.display());
    }
    text
}

/// The files of more than so many in an output directory are not counted: that would take long.
const COUNTED: u64 = 2000;

/// How long its attempt has run, if it runs.
fn running_for(job: &JobReport) -> Option<String> {
    let last = job
        .attempts
        .last()
        .filter(|_| job.state == JobState::Running)?;
    let started = last.started.filter(|_| last.ended.is_none())?;
    Some(rounded(now().since(started)))
}

/// The width of the curve of a metric, and of the line of attempts.
const CURVE: usize = 50;
/// How many values of a metric are shown: the last ones.
const LAST: usize = 8;

/// What the job announced before its end, metric by metric.
fn series(text: &mut String, run: &RunDir, job: JobId, width: usize) {
    let path = run.early_results(job);
    // A table that can't be read says nothing; the newest values are among the metrics.
    let announced = read_early_results(&path).unwrap_or_default();
    if announced.is_empty() {
        return;
    }
    let times = match announced.len() {
        1 => "once".to_owned(),
        count => format!("{count} times"),
    };
    let _ = write!(
        text,
        "\nannounced early results {times}: {}",
        path.display()
    );
    let mut of: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, value) in announced.iter().flat_map(|it| &it.metrics) {
        of.entry(name).or_default().push(value);
    }
    for (name, values) in of.iter().take(FEW) {
        let _ = write!(
            text,
            "\n  {name}: {}",
            newest_of(values, width.saturating_sub(name.len() + 4))
        );
        if let Some(curve) = sparkline(values, width.saturating_sub(4).min(CURVE)) {
            let _ = write!(text, "\n    {curve}");
        }
    }
    if of.len() > FEW {
        let _ = write!(text, "\n  … and {} more metrics", of.len() - FEW);
    }
}

/// The newest values that fit, at most so many.
fn newest_of(values: &[&str], width: usize) -> String {
    const LEFT_OUT: &str = "…, ";
    let mut shown = String::new();
    for (count, value) in values.iter().rev().enumerate() {
        let value = cut(value);
        let longer = match count {
            0 => value,
            _ => format!("{value}, {shown}"),
        };
        let is_last = count + 1 == values.len();
        let room = if is_last { 0 } else { LEFT_OUT.chars().count() };
        if count > 0 && (count == LAST || longer.chars().count() + room > width) {
            return format!("{LEFT_OUT}{shown}");
        }
        shown = longer;
    }
    shown
}

/// The messages for cluster_utils that were refused, and why.
fn refused(text: &mut String, run: &RunDir, job: JobId) {
    let refused = RefusedMessages::read(&run.refused_messages(job)).unwrap_or_default();
    if refused.count == 0 {
        return;
    }
    let are = match refused.count {
        1 => "1 message for cluster_utils was refused:".to_owned(),
        count => format!("{count} messages for cluster_utils were refused:"),
    };
    let _ = write!(text, "\n{are}");
    for reason in &refused.reasons {
        let _ = write!(text, "\n  {reason}");
    }
}

/// A value of a series, which may be a long text.
fn cut(value: &str) -> String {
    const LONGEST: usize = 30;
    match value.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}

/// A row for each attempt, and below it why it ended, unless that is as for the one before.
fn attempts(run: &RunDir, attempts: &[AttemptReport], files: &[Files], width: usize) -> String {
    let cells = attempts.iter().zip(files);
    let cells: Vec<_> = cells
        .map(|(attempt, files)| attempt_row(run, attempt, files))
        .collect();
    let mut rows = rows(&cells, width).into_iter();
    let mut text = rows.next().unwrap_or_default();
    let mut before = None;
    for ((attempt, files), row) in attempts.iter().zip(files).zip(rows) {
        let _ = write!(text, "\n{row}");
        let cause = cause(attempt, files);
        if cause.is_some() && cause != before {
            for line in wrap(
                cause.as_deref().unwrap_or_default(),
                width.saturating_sub(10),
            ) {
                let _ = write!(text, "\n          {line}");
            }
        }
        before = cause;
    }
    text
}

const COLUMNS: [&str; 7] = [
    "attempt",
    "cluster job",
    "host",
    "started",
    "took",
    "memory",
    "end",
];
/// The columns that are left out if there is no room, the last of these first; `--json` has them.
const LESS: [&str; 4] = ["started", "host", "memory", "cluster job"];

/// The table of attempts with as many columns as fit.
fn rows(cells: &[[String; 7]], width: usize) -> Vec<String> {
    let column = |name: &&str| {
        let rank = LESS.iter().position(|less| less == name);
        Column::new(*name).less(rank.map_or(0, |rank| rank + 1))
    };
    let mut table = Table::new(COLUMNS.iter().map(column).collect());
    for row in cells {
        table.add_row(row.iter().cloned());
    }
    let drawn = table.draw(Some(width));
    drawn.lines.into_iter().map(|line| line.plain).collect()
}

/// Why it ended, with the keys behind that.
fn cause(attempt: &AttemptReport, files: &Files) -> Option<String> {
    let detail = in_local_time(attempt.detail.as_deref()?);
    let keys = files.signals.stopped.as_ref().map(limit::of_stop);
    Some(match keys.filter(|keys| !keys.is_empty()) {
        Some(keys) => format!("{detail} ({keys})"),
        None => detail,
    })
}

fn attempt_row(run: &RunDir, attempt: &AttemptReport, files: &Files) -> [String; 7] {
    let took = attempt.started.zip(attempt.ended);
    let end = match (attempt.end, attempt.exit_code, attempt.signal) {
        (Some(_), Some(code), _) => format!("exit code {code}"),
        (Some(_), None, Some(signal)) => signal_name(signal),
        (Some(end), None, None) => attempt_end(end).to_owned(),
        (None, ..) if attempt.started.is_some() => "running".to_owned(),
        (None, ..) => "not started yet".to_owned(),
    };
    [
        attempt.attempt.to_string(),
        shown_cluster_job(run, attempt.cluster_job_id.as_deref().unwrap_or_default()),
        attempt.host.clone().unwrap_or_default(),
        attempt.started.map(local).unwrap_or_default(),
        took.map(|(started, ended)| rounded(ended.since(started)))
            .unwrap_or_default(),
        files.peak_memory_bytes().map(size).unwrap_or_default(),
        end,
    ]
}

/// The files of the newest attempt, its last line and what to do about its end.
fn newest(
    text: &mut String,
    run: &RunDir,
    job: &JobReport,
    attempt: &AttemptReport,
    attempt_files: &Files,
    width: usize,
) {
    let directory = run.attempt(job.job, attempt.attempt);
    // This includes errors before the program, such as a module that could not be loaded.
    if matches!(
        attempt.end,
        Some(AttemptEnd::Failed | AttemptEnd::Lost | AttemptEnd::NotActivated)
    ) {
        let lines = last_line::of_attempt(&directory, 1);
        if let Some(line) = lines.last() {
            let _ = write!(text, "\n\nlast line of its stderr: {}", line.trim());
            let names = (job.job, attempt.attempt);
            let place = Some(names).filter(|_| misses_a_file(line));
            if let Some(directory) = place.and_then(|names| working_directory(run, names)) {
                let _ = write!(text, "\nit ran in {directory}");
            }
        }
    }
    if let Some(hint) = hints::hint(run, job, attempt, attempt_files) {
        for (number, line) in wrap(&format!("hint: {hint}"), width).iter().enumerate() {
            let indented = if number == 0 { "" } else { "  " };
            let _ = write!(text, "\n{indented}{line}");
        }
    }
    let _ = write!(
        text,
        "\n\nfiles of attempt {}: {}\n  {}",
        attempt.attempt,
        directory.display(),
        files(&directory).join("  ")
    );
}

/// Whether a program complains of a file that it does not find: it may look in another directory than its
/// user thinks.
fn misses_a_file(line: &str) -> bool {
    let complaints = ["No such file", "not found", "does not exist", "cannot find"];
    complaints.iter().any(|complaint| line.contains(complaint))
}

/// Where the program of an attempt starts.
fn working_directory(run: &RunDir, (job, attempt): (JobId, Attempt)) -> Option<String> {
    let spec = JobSpec::read(&run.job_spec(job)).ok()?;
    Some(spec.start_directory(run, attempt).display().to_string())
}

fn signals(text: &mut String, attempt: &AttemptReport, sent: &[SentSignal]) {
    if sent.is_empty() {
        return;
    }
    let _ = write!(
        text,
        "\nsignals that cu sent in attempt {}:",
        attempt.attempt
    );
    for signal in sent.iter().take(FEW) {
        let _ = write!(text, "\n  {}", signal_line(signal));
    }
    if sent.len() > FEW {
        let more = sent.len() - FEW;
        let _ = write!(text, "\n  … and {more} more; --json has them all");
    }
}

/// `2026-11-24T16:48:32.120Z SIGTERM to python3 (4711), asked to stop`
fn signal_line(sent: &SentSignal) -> String {
    let reason = match sent.reason {
        SignalReason::Asked => "asked to stop",
        SignalReason::Ended => "to end it",
        SignalReason::LeftBehind => "to end what was left",
    };
    let (at, signal, name) = (local(sent.at), &sent.signal, &sent.name);
    format!("{at} SIG{signal} to {name} ({}), {reason}", sent.pid)
}

/// The names of the files in `directory`, from an attempt and from its backend.
fn files(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::summary::tests::report;
    use cu_protocol::{Attempt, JobId, Metrics};
    use cu_run_dir::EarlyResults;

    #[test]
    fn a_job_shows_its_chain() {
        let results = tempfile::tempdir().expect("a directory");
        let run = RunDir::new(results.path());
        let directory = run.attempt(JobId(0), Attempt(1));
        std::fs::create_dir_all(&directory).expect("a directory");
        std::fs::write(directory.join("submit.sh"), "").expect("a file");
        let record = r#"{"version":1,"end":{"exited":3},"stop":null,"host":"node1","started":0,
            "ended":61000,"peak_memory_bytes":2684354560,"checkpoint":null,"output_changed":true}"#;
        std::fs::write(directory.join("exit.json"), record).expect("a file");
        std::fs::create_dir_all(run.backend("slurm")).expect("a directory");
        let text = job(&run, &report(0, JobState::Failed, 2), 80);
        let words = [
            "job 0 has failed: Attempt 0 ended",
            "1 min 1 s",
            "2.5 GiB",
            "exit code 3",
            directory.to_str().expect("UTF-8"),
            "submit.sh",
            "/backend/slurm",
        ];
        for word in words {
            assert!(text.contains(word), "{word} in {text}");
        }
    }

    #[test]
    fn a_series_shows_its_newest_values() {
        let results = tempfile::tempdir().expect("a directory");
        let run = RunDir::new(results.path());
        std::fs::create_dir_all(run.attempts(JobId(0))).expect("a directory");
        let mut series = EarlyResults::new(run.early_results(JobId(0)), Attempt(0));
        for step in 0..10 {
            let loss = Metrics::from([("loss".to_owned(), f64::from(10 - step).into())]);
            assert!(series.append(&loss).expect("a file"));
        }
        let text = job(&run, &report(0, JobState::Running, 1), 80);
        let words = [
            "\nannounced early results 10 times: ",
            "/attempts/0/early_results.csv\n",
            "\n  loss: …, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0\n",
        ];
        for word in words {
            assert!(text.contains(word), "{word} in {text}");
        }
    }

    #[test]
    fn a_long_chain_shows_its_newest_attempts() {
        let text = job(
            &RunDir::new("/none"),
            &report(0, JobState::Running, 1000),
            80,
        );
        assert!(text.contains("950 earlier attempts are left out"), "{text}");
        assert!(text.contains("\n999 "), "{text}");
        assert!(!text.contains("\n949 "), "{text}");
    }

    #[test]
    fn unfinished_jobs_are_never_100_percent() {
        let mut report = report(0, JobState::Running, 1);
        report.fraction = Some(0.996);
        let text = job(&RunDir::new("/none"), &report, 80);
        assert!(text.contains("\n99 % done"), "{text}");
        report.fraction = Some(0.286);
        let text = job(&RunDir::new("/none"), &report, 80);
        assert!(text.contains("\n29 % done"), "{text}");
    }
}
