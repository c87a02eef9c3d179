//! Runs and jobs as JSON. The names are stable; more may be added.

use std::path::{Path, PathBuf};

use cu_core::{
    AttemptEnd, AttemptReport, Change, Counts, JobReport, JobState, Reader, RunDir, RunState,
    Status,
};
use cu_protocol::{Attempt, JobId, Metrics, Pushed, StopCause, Timestamp};
use cu_run_dir::{RefusedMessages, SentSignal, SignalReason};
use serde::Serialize;
use serde_json::{Map, Value};

use super::Files;
use super::{limit, refused};
use crate::backend::allocation_of;
use crate::error::Result;
use crate::git::Record;
use crate::optimize::best::{self, Best};
use crate::text::moment::iso;

/// The version of these forms.
const VERSION: u32 = 1;

/// A run of `cu list --json`, and most of `cu status --json`.
#[derive(Debug, Serialize)]
pub struct RunJson<'a> {
    version: u32,
    run_dir: &'a Path,
    name: &'a str,
    state: RunState,
    backend: &'a str,
    jobs: Counts,
    attempts: u64,
    resumes: u64,
    created: String,
    ended: Option<String>,
    /// The part of the work that is done, from 0 to 1.
    done: f64,
    /// What holds the main process up, such as a scheduler that does not answer.
    held_up: Option<&'a str>,
    /// The commit that its programs come from, if they come from a git repository.
    git: Option<Record>,
}

impl<'a> From<&'a Status> for RunJson<'a> {
    fn from(status: &'a Status) -> Self {
        Self {
            version: VERSION,
            run_dir: &status.run_dir,
            name: &status.name,
            state: status.state,
            backend: &status.backend,
            jobs: status.jobs,
            attempts: status.attempts,
            resumes: status.resumes,
            created: iso(status.created),
            ended: status.ended.map(iso),
            done: f64::from(status.done_per_mille) / 1000.0,
            held_up: status.held_up.as_deref(),
            git: Record::read(&RunDir::new(&status.run_dir)),
        }
    }
}

/// `cu status --json`, and what `cu run --json` ends with.
#[derive(Debug, Serialize)]
pub struct StatusJson<'a> {
    #[serde(flatten)]
    run: RunJson<'a>,
    /// How many messages for cluster_utils were refused in all jobs.
    refused_messages: u64,
    /// In a run with `[optimize]`, the best job so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    best: Option<Best>,
}

impl<'a> StatusJson<'a> {
    /// The state of `run`, which is `status`.
    ///
    /// # Errors
    /// If the run can't be read.
    pub fn of(run: &RunDir, status: &'a Status) -> Result<Self> {
        let reader = Reader::open(run)?;
        let refused = refused::of_run(run, &reader)?;
        Ok(Self {
            run: RunJson::from(status),
            refused_messages: refused.iter().map(|(_, count)| count).sum(),
            best: best::of_run(run, &reader)?,
        })
    }
}

/// `cu show JOB --json`.
#[derive(Debug, Serialize)]
pub struct JobJson<'a> {
    version: u32,
    job: JobId,
    state: JobState,
    output_dir: &'a Path,
    parameters: &'a Map<String, Value>,
    metrics: &'a Metrics,
    /// The table of all that the job announced before its end, if it announced anything.
    early_results: Option<PathBuf>,
    refused_messages: RefusedJson,
    fraction: Option<f64>,
    why: String,
    /// Whether it waits until `cu continue`.
    paused: bool,
    /// The commit that its program comes from, if it comes from a git repository.
    git: Option<Record>,
    attempts: Vec<AttemptJson<'a>>,
    /// What `cu update` has changed for it, the oldest first.
    updates: Vec<UpdateJson>,
}

/// `at` is null while the update waits for a main process.
#[derive(Debug, Serialize)]
struct UpdateJson {
    at: Option<String>,
    changes: Vec<Change>,
}

impl<'a> JobJson<'a> {
    /// The job of `run` in `report`, with its updates.
    pub fn new(
        run: &RunDir,
        report: &'a JobReport,
        updates: Vec<(Option<Timestamp>, Vec<Change>)>,
    ) -> Self {
        let updates = updates.into_iter().map(|(at, changes)| UpdateJson {
            at: at.map(iso),
            changes,
        });
        let attempts = report.attempts.iter();
        Self {
            version: VERSION,
            job: report.job,
            state: report.state,
            output_dir: &report.output_dir,
            parameters: &report.parameters,
            metrics: &report.metrics,
            early_results: Some(run.early_results(report.job)).filter(|path| path.is_file()),
            refused_messages: RefusedJson::new(run, report.job),
            fraction: report.fraction,
            why: limit::written_why(report),
            paused: report.paused,
            git: Record::read(run),
            attempts: attempts
                .map(|attempt| AttemptJson::new(run, report.job, attempt))
                .collect(),
            updates: updates.collect(),
        }
    }
}

/// The messages for cluster_utils that were refused, and the first reasons.
#[derive(Debug, Serialize)]
struct RefusedJson {
    count: u64,
    reasons: Vec<String>,
}

impl RefusedJson {
    fn new(run: &RunDir, job: JobId) -> Self {
        let refused = RefusedMessages::read(&run.refused_messages(job)).unwrap_or_default();
        Self {
            count: refused.count,
            reasons: refused.reasons,
        }
    }
}

#[derive(Debug, Serialize)]
struct AttemptJson<'a> {
    attempt: Attempt,
    cluster_job_id: Option<&'a str>,
    /// The cluster job that it shares with other attempts, once that has taken it.
    allocation: Option<String>,
    host: Option<&'a str>,
    submitted: String,
    started: Option<String>,
    ended: Option<String>,
    end: Option<AttemptEnd>,
    exit_code: Option<i32>,
    signal: Option<i32>,
    /// The most memory that a process of it used.
    peak_memory_bytes: Option<u64>,
    detail: Option<&'a str>,
    /// Why and how its program was stopped, if it was.
    stopped: Option<StoppedJson>,
    /// The signals that the supervisor sent to its processes.
    signals: Vec<SignalJson>,
    /// The file that the supervisor made to ask its program to stop (`stop.create`).
    stop_file: Option<PathBuf>,
    /// The directory of its output, and of its submission file.
    directory: PathBuf,
}

impl<'a> AttemptJson<'a> {
    fn new(run: &RunDir, job: JobId, attempt: &'a AttemptReport) -> Self {
        let files = Files::read(run, job, attempt.attempt);
        let id = attempt.cluster_job_id.as_deref();
        let allocation = id.and_then(|id| allocation_of(run, id));
        Self {
            attempt: attempt.attempt,
            cluster_job_id: attempt.cluster_job_id.as_deref(),
            allocation: allocation.filter(|it| !it.is_empty()),
            host: attempt.host.as_deref(),
            submitted: iso(attempt.submitted),
            started: attempt.started.map(iso),
            ended: attempt.ended.map(iso),
            end: attempt.end,
            exit_code: attempt.exit_code,
            signal: attempt.signal,
            peak_memory_bytes: files.peak_memory_bytes(),
            detail: attempt.detail.as_deref(),
            stopped: StoppedJson::new(&files),
            signals: files
                .signals
                .sent
                .into_iter()
                .map(SignalJson::from)
                .collect(),
            stop_file: files.signals.made,
            directory: run.attempt(job, attempt.attempt),
        }
    }
}

#[derive(Debug, Serialize)]
struct StoppedJson {
    /// Such as `time_budget`.
    cause: StopCause,
    /// The keys of the config that decided it, with their values; empty if none did.
    by: String,
    /// How long the program had run by then.
    after_milliseconds: Option<u64>,
    /// What was sent to whom.
    sent: Vec<Pushed>,
    /// Whether the supervisor killed the program, which had not ended in time.
    killed: bool,
}

impl StoppedJson {
    fn new(files: &Files) -> Option<Self> {
        let stopped = files.signals.stopped.as_ref();
        Some(Self {
            cause: files.stop()?,
            by: stopped.map(limit::of_stop).unwrap_or_default(),
            after_milliseconds: stopped.map(|stopped| stopped.after_milliseconds),
            sent: stopped
                .map(|stopped| stopped.pushes.clone())
                .unwrap_or_default(),
            killed: stopped.is_some_and(|stopped| stopped.kill().is_some()),
        })
    }
}

#[derive(Debug, Serialize)]
struct SignalJson {
    at: String,
    signal: String,
    pid: u32,
    process: String,
    reason: SignalReason,
}

impl From<SentSignal> for SignalJson {
    fn from(sent: SentSignal) -> Self {
        Self {
            at: iso(sent.at),
            signal: sent.signal,
            pid: sent.pid,
            process: sent.name,
            reason: sent.reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cu_protocol::MetricValue;
    use serde_json::json;

    #[test]
    fn the_names_of_a_run_in_json_stay() {
        let status = crate::view::estimate::tests::status(250);
        let value = serde_json::to_value(RunJson::from(&status)).expect("JSON");
        let expected = json!({
            "version": 1,
            "run_dir": "/results/digits",
            "name": "digits",
            "state": "running",
            "backend": "this machine (8 CPUs)",
            "jobs": {"total": 10, "waiting": 4, "paused": 0, "to_come": 0, "queued": 0, "running": 2, "completed": 3,
                     "failed": 1, "cancelled": 0},
            "attempts": 12,
            "resumes": 6,
            "created": "2026-11-24T16:48:32.120Z",
            "ended": null,
            "done": 0.25,
            "held_up": null,
            "git": null,
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn the_names_of_a_job_in_json_stay() {
        let mut first = AttemptReport::new(Attempt(0), Timestamp::from_millis(0));
        first.cluster_job_id = Some("local-17".to_owned());
        first.host = Some("node1".to_owned());
        first.started = Some(Timestamp::from_millis(1));
        first.ended = Some(Timestamp::from_millis(1000));
        first.end = Some(AttemptEnd::ResumeRequested);
        first.exit_code = Some(3);
        let second = AttemptReport::new(Attempt(1), Timestamp::from_millis(2000));
        let mut report = JobReport::new(JobId(7), JobState::Completed);
        report.output_dir = "/results/digits/working_directories/7".into();
        report.parameters = Map::from_iter([("learning_rate".to_owned(), json!(0.1))]);
        report.metrics = Metrics::from([("test_accuracy".to_owned(), MetricValue::Float(0.923))]);
        report.fraction = Some(1.0);
        report.why = "The program ended with exit code 0.".to_owned();
        report.attempts = vec![first, second];
        let run = RunDir::new("/results/digits");
        let change = Change {
            key: "resources.memory".to_owned(),
            old: "none".to_owned(),
            new: "8.0 GiB".to_owned(),
        };
        let value = serde_json::to_value(JobJson::new(&run, &report, vec![(None, vec![change])]))
            .expect("JSON");
        let expected = json!({
            "version": 1,
            "job": 7,
            "state": "completed",
            "output_dir": "/results/digits/working_directories/7",
            "parameters": {"learning_rate": 0.1},
            "metrics": {"test_accuracy": 0.923},
            "early_results": null,
            "refused_messages": {"count": 0, "reasons": []},
            "fraction": 1.0,
            "why": "The program ended with exit code 0.",
            "paused": false,
            "git": null,
            "attempts": [
                {"attempt": 0, "cluster_job_id": "local-17", "allocation": null, "host": "node1",
                 "submitted": "1970-01-01T00:00:00.000Z", "started": "1970-01-01T00:00:00.001Z",
                 "ended": "1970-01-01T00:00:01.000Z", "end": "resume_requested", "exit_code": 3,
                 "signal": null, "peak_memory_bytes": null, "detail": null, "stopped": null,
                 "signals": [], "stop_file": null, "directory": "/results/digits/attempts/7/0"},
                {"attempt": 1, "cluster_job_id": null, "allocation": null, "host": null,
                 "submitted": "1970-01-01T00:00:02.000Z", "started": null, "ended": null,
                 "end": null, "exit_code": null, "signal": null, "peak_memory_bytes": null,
                 "detail": null, "stopped": null, "signals": [], "stop_file": null,
                 "directory": "/results/digits/attempts/7/1"},
            ],
            "updates": [{"at": null, "changes": [
                {"key": "resources.memory", "old": "none", "new": "8.0 GiB"},
            ]}],
        });
        assert_eq!(value, expected);
    }
}
