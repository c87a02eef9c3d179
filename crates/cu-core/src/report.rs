//! Snapshots of a run, for people and programs: the values behind `cu status`, `cu list` and `cu show`.
//! Plain data; the names are stable.

use std::path::PathBuf;
use std::time::Duration;

use cu_protocol::{Attempt, JobId, Metrics, Timestamp};
use serde::{Deserialize, Serialize};

use crate::Limit;

/// A run as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The run directory.
    pub run_dir: PathBuf,
    /// The run's name.
    pub name: String,
    /// The state of the run.
    pub state: RunState,
    /// The scheduler, as it names itself; empty before the first main process has started.
    pub backend: String,
    /// Its jobs, counted.
    pub jobs: Counts,
    /// How many attempts have been submitted.
    pub attempts: u64,
    /// How many of them were resumes: all but each job's first.
    pub resumes: u64,
    /// When the run was made.
    pub created: Timestamp,
    /// When the last job was settled, if all are.
    pub ended: Option<Timestamp>,
    /// The fraction of all work that is done, in thousandths: completed jobs count 1, the others the
    /// fraction that they announced last. 1000 only if all are completed.
    pub done_per_mille: u32,
    /// While jobs are queued and none runs: what the first of them waits for.
    pub waits_for: Option<JobWait>,
    /// While something holds the main process up, such as a scheduler that does not answer: since when,
    /// and with which words, in one line.
    pub held_up: Option<String>,
}

/// What a job waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobWait {
    /// Its number.
    pub job: JobId,
    /// One sentence, in one line.
    pub why: String,
    /// The limit that decides it, if one does.
    pub limit: Option<Limit>,
}

impl Status {
    /// The status of a run without jobs.
    #[must_use]
    pub fn new(run_dir: PathBuf, name: String, state: RunState, created: Timestamp) -> Self {
        Self {
            run_dir,
            name,
            state,
            backend: String::new(),
            jobs: Counts::default(),
            attempts: 0,
            resumes: 0,
            created,
            ended: None,
            done_per_mille: 0,
            waits_for: None,
            held_up: None,
        }
    }
}

impl JobWait {
    /// `job` waits, as the sentence `why` explains.
    #[must_use]
    pub fn new(job: JobId, why: String, limit: Option<Limit>) -> Self {
        Self { job, why, limit }
    }
}

/// The state of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// A main process works on it.
    Running,
    /// All jobs are completed.
    Completed,
    /// All jobs are settled, and at least one has failed.
    Failed,
    /// All jobs are settled, none has failed, at least one was cancelled.
    Stopped,
    /// Some jobs are not settled, and no main process works on it.
    Interrupted,
}

/// Jobs by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// All of them.
    pub total: u32,
    /// Waiting to be submitted: at first, between attempts, or paused.
    pub waiting: u32,
    /// Those of the waiting ones that are paused.
    #[serde(default)]
    pub paused: u32,
    /// Those of the waiting ones that are still to come: what they are depends on how others end.
    #[serde(default)]
    pub to_come: u32,
    /// Submitted, not running yet.
    pub queued: u32,
    /// Running.
    pub running: u32,
    /// Completed.
    pub completed: u32,
    /// Failed.
    pub failed: u32,
    /// Cancelled.
    pub cancelled: u32,
}

impl Counts {
    /// How many there are by now, without those to come.
    #[must_use]
    pub fn known(&self) -> u32 {
        self.total - self.to_come
    }

    /// How many are completed, failed or cancelled.
    #[must_use]
    pub fn settled(&self) -> u32 {
        self.completed + self.failed + self.cancelled
    }

    /// Counts one more job in `state`.
    pub fn add(&mut self, state: JobState) {
        self.total += 1;
        *self.of(state) += 1;
    }

    /// Counts one job less in `state`, one that was counted before.
    pub fn remove(&mut self, state: JobState) {
        self.total -= 1;
        *self.of(state) -= 1;
    }

    fn of(&mut self, state: JobState) -> &mut u32 {
        match state {
            JobState::Waiting => &mut self.waiting,
            JobState::Queued => &mut self.queued,
            JobState::Running => &mut self.running,
            JobState::Completed => &mut self.completed,
            JobState::Failed => &mut self.failed,
            JobState::Cancelled => &mut self.cancelled,
        }
    }
}

/// The state of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Waiting to be submitted: at first, between attempts, or paused.
    Waiting,
    /// Submitted, not running yet.
    Queued,
    /// Running.
    Running,
    /// Done: it ended with exit code 0, or delivered its results.
    Completed,
    /// It will not be submitted again.
    Failed,
    /// Ended by a person.
    Cancelled,
}

impl JobState {
    /// Whether nothing more happens to it.
    #[must_use]
    pub fn is_settled(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptEnd {
    /// It asked to be resumed.
    ResumeRequested,
    /// The job is done.
    Completed,
    /// It failed by itself.
    Failed,
    /// At its time limit.
    TimeLimit,
    /// The scheduler took its resources back.
    Preempted,
    /// Its node was lost.
    NodeFailure,
    /// It used more memory than it was given.
    OutOfMemory,
    /// A person cancelled it.
    Cancelled,
    /// The cluster removed it, by a rule of the place or its administrator.
    Removed,
    /// It is not known how, or it was kept from starting.
    Lost,
    /// Its environment could not be activated where it ran, so its program was not started.
    NotActivated,
}

/// One job with its chain.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct JobReport {
    /// Its number.
    pub job: JobId,
    /// Its state.
    pub state: JobState,
    /// Its output directory.
    pub output_dir: PathBuf,
    /// The settings in which it differs from the other jobs, by dotted name.
    pub parameters: serde_json::Map<String, serde_json::Value>,
    /// Its metrics: the results, or until then the early metrics.
    pub metrics: Metrics,
    /// How much of it is done, from 0 to 1, if it announced that.
    pub fraction: Option<f64>,
    /// One sentence, in one line: what it waits for and what happens then, or why it ended.
    pub why: String,
    /// The limit that decides it, if one does.
    pub limit: Option<Limit>,
    /// Whether it waits until an operator continues it.
    pub paused: bool,
    /// Its attempts, in order.
    pub attempts: Vec<AttemptReport>,
}

impl JobReport {
    /// A job of which only this is known.
    #[must_use]
    pub fn new(job: JobId, state: JobState) -> Self {
        Self {
            job,
            state,
            output_dir: PathBuf::new(),
            parameters: serde_json::Map::new(),
            metrics: Metrics::new(),
            fraction: None,
            why: String::new(),
            limit: None,
            paused: false,
            attempts: Vec::new(),
        }
    }
}

/// A job that runs now, for a display that is renewed often.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RunningJob {
    /// Its number.
    pub job: JobId,
    /// The attempt that runs.
    pub attempt: Attempt,
    /// Where it runs.
    pub host: Option<String>,
    /// When its program started.
    pub started: Option<Timestamp>,
    /// How long the attempt may run until it is asked to stop, or until its time limit; `None` if
    /// neither is known.
    pub longest: Option<Duration>,
    /// The settings in which it differs from the other jobs, by dotted name.
    pub parameters: serde_json::Map<String, serde_json::Value>,
    /// Its early metrics.
    pub metrics: Metrics,
    /// How much of it is done, from 0 to 1, if it announced that.
    pub fraction: Option<f64>,
}

impl RunningJob {
    /// A job of which only this is known.
    #[must_use]
    pub fn new(job: JobId, attempt: Attempt) -> Self {
        Self {
            job,
            attempt,
            host: None,
            started: None,
            longest: None,
            parameters: serde_json::Map::new(),
            metrics: Metrics::new(),
            fraction: None,
        }
    }
}

/// Whether a main process works on a run, as far as that can be seen from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MainProcessSeen {
    /// One holds the run.
    Alive {
        /// Its process and host, if it has written them already.
        holder: String,
    },
    /// None does.
    Absent,
    /// The last one ran on another host and did not give the run back. It was killed, or its lock can't
    /// be seen from here.
    Unclear {
        /// Its process and host.
        holder: String,
    },
}

/// One attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AttemptReport {
    /// Its number.
    pub attempt: Attempt,
    /// The scheduler's name for it, once it has one.
    pub cluster_job_id: Option<String>,
    /// Where it ran.
    pub host: Option<String>,
    /// When it was submitted.
    pub submitted: Timestamp,
    /// When its program started.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// How it ended.
    pub end: Option<AttemptEnd>,
    /// Its program's exit code, if it exited.
    pub exit_code: Option<i32>,
    /// The signal that killed its program, if one did.
    pub signal: Option<i32>,
    /// The evidence of its end, for people.
    pub detail: Option<String>,
}

impl AttemptReport {
    /// An attempt of which only this is known.
    #[must_use]
    pub fn new(attempt: Attempt, submitted: Timestamp) -> Self {
        Self {
            attempt,
            cluster_job_id: None,
            host: None,
            submitted,
            started: None,
            ended: None,
            end: None,
            exit_code: None,
            signal: None,
            detail: None,
        }
    }
}
