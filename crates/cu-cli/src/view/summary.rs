//! Runs and jobs in words, for people: the end of `cu run`, and the output of `cu status`, `list` and
//! `show`.

use std::fmt::Write;
use std::path::Path;

use comfy_table::{ContentArrangement, Table, presets};
use cu_core::{AttemptEnd, AttemptReport, JobReport, JobState, RunDir, RunState, Status};
use cu_protocol::{Attempt, JobId, MetricValue, Metrics};
use cu_run_dir::{JobSpec, SentSignal, SignalReason, SignalsFile};
use cu_system::causes::in_one_line;
use cu_system::tail::last_lines;
use cu_system::users;

use super::limit;
use super::lines::counts;
use super::peak_memory_bytes;
use crate::backend::Kind;
use crate::runs::Listed;
use crate::shell_word::shell_word;
use crate::text::moment::{iso, rounded};
use crate::text::{plural, size};

/// At most this many jobs are listed one by one; more are only counted.
const FEW: usize = 20;
/// At most this many attempts of a job are shown: the newest.
const MANY: usize = 50;
/// At most this much of the last line is shown: its end.
const LAST_BYTES: u64 = 2048;

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
pub fn job_is(state: JobState) -> &'static str {
    match state {
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
    }
}

/// The end of `cu run`: the jobs, if they are few, and the run.
pub fn end_of_run(status: &Status, jobs: &[JobReport]) -> String {
    let mut text = String::new();
    let is_listed = |job: &&JobReport| jobs.len() <= FEW || job.state == JobState::Failed;
    let listed: Vec<_> = jobs.iter().filter(is_listed).collect();
    for job in listed.iter().take(FEW) {
        // Writing to a String can't fail.
        let _ = writeln!(text, "{}", job_line(job));
    }
    if listed.len() > FEW {
        let _ = writeln!(text, "… and {} more that failed", listed.len() - FEW);
    }
    let _ = write!(
        text,
        "{}: {}, {}; {}",
        status.name,
        run_state(status.state),
        counts(status),
        status.run_dir.display()
    );
    text
}

/// `job 0: completed after 6 attempts (5 resumes): test_accuracy = 0.923`
fn job_line(job: &JobReport) -> String {
    let attempts = job.attempts.len() as u64;
    let mut text = format!("job {}: {}", job.job, job_state(job.state));
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

/// `accuracy = 0.9, loss = 0.1`
fn metrics(metrics: &Metrics) -> String {
    let texts = metrics.iter().map(|(name, value)| match value {
        MetricValue::Null => format!("{name} = none"),
        value => format!("{name} = {value}"),
    });
    texts.collect::<Vec<_>>().join(", ")
}

/// The output of `cu status`: the run, and its jobs that are not completed.
pub fn status(status: &Status, jobs: &[JobReport]) -> String {
    let mut text = format!(
        "{} {}: {}",
        status.name,
        run_is(status.state),
        counts(status)
    );
    let _ = write!(
        text,
        "\n{} done, {}",
        percent(f64::from(status.done_per_mille) / 1000.0),
        plural(status.attempts, "attempt")
    );
    if !status.backend.is_empty() {
        let _ = write!(text, ", on {}", status.backend);
    }
    let _ = write!(text, "\ncreated {}", iso(status.created));
    if let Some(ended) = status.ended {
        let took = rounded(ended.since(status.created));
        let _ = write!(text, ", ended {} after {took}", iso(ended));
    }
    let _ = write!(text, "\n{}", status.run_dir.display());
    let open: Vec<_> = jobs
        .iter()
        .filter(|job| job.state != JobState::Completed)
        .collect();
    if !open.is_empty() {
        let mut table = table(&["job", "state", "attempts", "done", "why"]);
        for job in open.iter().take(FEW) {
            table.add_row([
                job.job.to_string(),
                job_state(job.state).to_owned(),
                job.attempts.len().to_string(),
                job.fraction.map(percent).unwrap_or_default(),
                limit::why(job),
            ]);
        }
        let _ = write!(text, "\n\n{table}");
        if open.len() > FEW {
            let _ = write!(text, "\n… and {} more", open.len() - FEW);
        }
    }
    if status.state == RunState::Interrupted {
        let _ = write!(text, "\n\n{}", no_main_process(&status.run_dir));
    }
    text
}

/// `30 %`, and 100 % only for what is done.
fn percent(fraction: f64) -> String {
    let most = if fraction < 1.0 { 99.0 } else { 100.0 };
    format!("{:.0} %", (fraction * 100.0).round().min(most))
}

/// The output of `cu list`.
pub fn list(runs: &[Listed]) -> String {
    let mut table = table(&[
        "name",
        "state",
        "jobs",
        "resumes",
        "created",
        "run directory",
    ]);
    let mut problems = Vec::new();
    for listed in runs {
        let path = listed.run.path();
        let [name, mut state, jobs, resumes, made] = match &listed.status {
            Ok(status) => [
                status.name.clone(),
                run_state(status.state).to_owned(),
                format!("{}/{}", status.jobs.completed, status.jobs.total),
                status.resumes.to_string(),
                iso(status.created),
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
        table.add_row([name, state, jobs, resumes, made, path.display().to_string()]);
    }
    let mut text = table.to_string();
    if !problems.is_empty() {
        text.push('\n');
    }
    for problem in problems {
        let lines: Vec<_> = problem.lines().map(str::trim).collect();
        let _ = write!(text, "\n{UNREADABLE}: {}", lines.join(" / "));
    }
    text
}

/// The output of `cu show`.
pub fn job(run: &RunDir, job: &JobReport) -> String {
    let mut text = format!("job {} {}: {}", job.job, job_is(job.state), limit::why(job));
    for (name, value) in &job.parameters {
        let _ = write!(text, "\n  {name} = {value}");
    }
    if let Some(fraction) = job.fraction {
        let _ = write!(text, "\n{} done", percent(fraction));
    }
    if !job.metrics.is_empty() {
        let _ = write!(text, "\nmetrics: {}", metrics(&job.metrics));
    }
    let _ = write!(text, "\noutput directory: {}", job.output_dir.display());
    if !job.attempts.is_empty() {
        let mut table = table(&[
            "attempt",
            "cluster job",
            "host",
            "started",
            "took",
            "peak memory",
            "end",
            "detail",
        ]);
        let earlier = job.attempts.len().saturating_sub(MANY);
        for attempt in &job.attempts[earlier..] {
            let peak = peak_memory_bytes(run, job.job, attempt.attempt);
            table.add_row(attempt_row(attempt, peak));
        }
        text.push_str("\n\n");
        if earlier > 0 {
            let _ = writeln!(
                text,
                "{earlier} earlier attempts are left out; --json has them"
            );
        }
        let _ = write!(text, "{table}");
    }
    if let Some(last) = job.attempts.last() {
        let directory = run.attempt(job.job, last.attempt);
        let _ = write!(
            text,
            "\n\nfiles of attempt {}: {}\n  {}",
            last.attempt,
            directory.display(),
            files(&directory).join("  ")
        );
        let sent_in = |attempt: &AttemptReport| {
            let sent = SignalsFile::read(&run.signals(job.job, attempt.attempt))
                .unwrap_or_default()
                .sent;
            Some((attempt.attempt, sent)).filter(|(_, sent)| !sent.is_empty())
        };
        let newest = job.attempts.iter().rev().take(MANY).find_map(sent_in);
        let (attempt, sent) = newest.unwrap_or((last.attempt, Vec::new()));
        if !sent.is_empty() {
            let _ = write!(text, "\nsignals that cu sent in attempt {attempt}:");
        }
        for signal in sent.iter().take(FEW) {
            let _ = write!(text, "\n  {}", signal_line(signal));
        }
        if sent.len() > FEW {
            let more = sent.len() - FEW;
            let _ = write!(text, "\n  … and {more} more; --json has them all");
        }
        // This includes errors before the program, such as a module that could not be loaded.
        if matches!(last.end, Some(AttemptEnd::Failed | AttemptEnd::Lost))
            && let Ok(lines) = last_lines(&directory.join("stderr"), FEW, LAST_BYTES)
            && let Some(line) = last_words(&lines)
        {
            let _ = write!(text, "\nlast line of its stderr: {}", line.trim());
            let place = Some((job.job, last.attempt)).filter(|_| misses_a_file(line));
            if let Some(directory) = place.and_then(|names| working_directory(run, names)) {
                let _ = write!(text, "\nit ran in {directory}");
            }
        }
    }
    let kept = |kind: &Kind| Some(run.backend(kind.name())).filter(|path| path.is_dir());
    for directory in Kind::CLUSTERS.iter().filter_map(kept) {
        let _ = write!(text, "\nsubmission files: {}", directory.display());
    }
    text
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
    let output_dir = run.output_dir(job);
    Some(match spec.working_directory {
        Some(directory) => directory.fill(&output_dir, job, attempt),
        None => output_dir.display().to_string(),
    })
}

/// `2026-11-24T16:48:32.120Z SIGTERM to python3 (4711): asked to stop`
fn signal_line(sent: &SentSignal) -> String {
    let reason = match sent.reason {
        SignalReason::Asked => "asked to stop",
        SignalReason::Ended => "ended: no process could be asked, or it did not stop in time",
        SignalReason::LeftBehind => "ended: the program left it behind",
    };
    let (at, signal, name) = (iso(sent.at), &sent.signal, &sent.name);
    format!("{at} SIG{signal} to {name} ({}): {reason}", sent.pid)
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

/// The last of `lines` that the program wrote itself: the supervisor may have cleared up after it. If it
/// wrote none, the supervisor's last one.
fn last_words(lines: &[String]) -> Option<&String> {
    let own = lines.iter().rfind(|line| !line.starts_with("cu exec: "));
    own.or(lines.last())
}

fn attempt_row(attempt: &AttemptReport, peak_memory_bytes: Option<u64>) -> [String; 8] {
    let took = attempt.started.zip(attempt.ended);
    let mut end = match (attempt.end, attempt.started) {
        (Some(end), _) => attempt_end(end).to_owned(),
        (None, Some(_)) => "running".to_owned(),
        (None, None) => "not started yet".to_owned(),
    };
    match (attempt.exit_code, attempt.signal) {
        (Some(code), _) => end.push_str(&format!(" (exit code {code})")),
        (None, Some(signal)) => end.push_str(&format!(" (signal {signal})")),
        (None, None) => {}
    }
    [
        attempt.attempt.to_string(),
        attempt.cluster_job_id.clone().unwrap_or_default(),
        attempt.host.clone().unwrap_or_default(),
        attempt.started.map(iso).unwrap_or_default(),
        took.map(|(started, ended)| rounded(ended.since(started)))
            .unwrap_or_default(),
        peak_memory_bytes.map(size).unwrap_or_default(),
        end,
        attempt.detail.clone().unwrap_or_default(),
    ]
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header.to_vec());
    table
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::view::estimate::tests;
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
job 1: failed after 1 attempt: Attempt 0 ended with exit code 1.
digits: failed, 3 of 10 jobs completed, 4 waiting, 2 running, 1 failed, 6 resumes; /results/digits";
        assert_eq!(end_of_run(&status, &jobs), expected);
    }

    #[test]
    fn failed_jobs_are_listed_among_many() {
        let mut jobs: Vec<_> = (0..100)
            .map(|job| report(job, JobState::Completed, 1))
            .collect();
        jobs[42].state = JobState::Failed;
        let text = end_of_run(&tests::status(1000), &jobs);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.starts_with("job 42: failed"), "{text}");
        jobs.iter_mut().for_each(|job| job.state = JobState::Failed);
        let text = end_of_run(&tests::status(1000), &jobs);
        assert_eq!(text.lines().count(), 22, "{text}");
        assert!(text.contains("\n… and 80 more that failed\n"), "{text}");
    }

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
        let text = job(&run, &report(0, JobState::Failed, 2));
        let words = [
            "job 0 has failed: Attempt 0 ended",
            "local-1",
            "1m 1s",
            "2.5 GiB",
            "(exit code 3)",
            directory.to_str().expect("UTF-8"),
            "submit.sh",
            "/backend/slurm",
        ];
        for word in words {
            assert!(text.contains(word), "{word} in {text}");
        }
    }

    #[test]
    fn a_long_chain_shows_its_newest_attempts() {
        let text = job(&RunDir::new("/none"), &report(0, JobState::Running, 1000));
        assert!(text.contains("950 earlier attempts are left out"), "{text}");
        assert!(text.contains("local-999 "), "{text}");
        assert!(!text.contains("local-949 "), "{text}");
    }

    #[test]
    fn an_interrupted_run_names_the_command_to_continue() {
        let mut status = tests::status(300);
        status.state = RunState::Interrupted;
        let text = super::status(&status, &[report(4, JobState::Waiting, 1)]);
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
        let text = super::status(&tests::status(996), &[]);
        assert!(text.contains("\n99 % done"), "{text}");
        let text = super::status(&tests::status(1000), &[]);
        assert!(text.contains("\n100 % done"), "{text}");
        let mut report = report(0, JobState::Running, 1);
        report.fraction = Some(0.996);
        let text = job(&RunDir::new("/none"), &report);
        assert!(text.contains("\n99 % done"), "{text}");
        report.fraction = Some(0.286);
        let text = job(&RunDir::new("/none"), &report);
        assert!(text.contains("\n29 % done"), "{text}");
    }
}
