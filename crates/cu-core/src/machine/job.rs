//! What a job can be. Everything here is stored; what follows from it is computed.

use std::collections::BTreeMap;
use std::sync::Arc;

use cu_protocol::{
    Attempt, CheckpointId, ExitRecord, Fraction, JobId, LeftBehind, Metrics, ProgramEnd,
    ResumeRequest, Sequence, Timestamp, Waiting, Wish,
};
use cu_scheduler::{ClusterJobId, ClusterState};
use serde::{Deserialize, Deserializer, Serialize};

use super::reason::Reason;
use crate::{AttemptEnd, AttemptReport, JobState, Limit};

/// A job at a moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Which.
    pub id: JobId,
    /// The exit code that by itself is a resume request.
    pub resume_exit_code: i32,
    /// Where it is in its life.
    pub phase: Phase,
    /// What the operator wants of it.
    pub wanted: Wanted,
    /// The number of the next attempt.
    pub next_attempt: Attempt,
    /// The cluster job of the attempt before.
    pub previous: Option<ClusterJobId>,
    /// The earlier attempts that ended without a record of their own, the newest
    /// [`MOST_WITHOUT_RECORD`]: one may live on without a connection, and still report something.
    #[serde(default, rename = "unheard")]
    pub ended_without_record: Vec<Attempt>,
    /// The newest report of such an attempt that changed nothing.
    #[serde(default)]
    pub late: Option<Late>,
    /// How its attempts have ended, counted by cause.
    pub ends: BTreeMap<AttemptEnd, u32>,
    /// How many attempts in a row that are judged by their progress have made none.
    pub without_progress: u32,
    /// How many times in a row an attempt has ended in a way nobody asked for, or was not submitted.
    pub setbacks: u32,
    /// The newest checkpoint that an ended attempt left.
    pub newest_checkpoint: Option<CheckpointId>,
    /// The largest fraction announced.
    pub fraction: Option<Fraction>,
    /// Early metrics, then results. Stored by themselves, so that an announcement costs as much as it
    /// says, not as much as the job has; stores of format 1 have them here. Shared, so that a job can be
    /// copied at no cost.
    #[serde(default, skip_serializing, deserialize_with = "shared")]
    pub metrics: Arc<Metrics>,
    /// The submissions of the last hour.
    pub window: Window,
}

/// What an attempt that had been given up has said since. It is recorded, and changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Late {
    /// Which.
    pub attempt: Attempt,
    /// What the last of it was.
    pub said: LateWord,
}

/// Something that an attempt says too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LateWord {
    /// Metrics before the end.
    EarlyMetrics,
    /// The results, when the job was settled already.
    Results,
    /// That it wants to be resumed.
    ResumeRequest,
    /// Why it fails.
    Failure,
}

/// Where a job is in its life.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// No attempt of it is with the scheduler.
    Waiting {
        /// When the next one may be submitted.
        until: Timestamp,
        /// Why not before: half a sentence.
        reason: String,
    },
    /// An attempt is, or may be, with the scheduler.
    Active(Box<Active>),
    /// Nothing more happens by itself.
    Settled {
        /// Completed, failed or cancelled.
        outcome: Outcome,
        /// Why: one sentence.
        why: String,
        /// The limit that decided it, if one did. Before there was this field, `why` named it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<Limit>,
    },
}

/// How a job is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Done.
    Completed,
    /// Not done, and not submitted again.
    Failed,
    /// Ended by a person.
    Cancelled,
}

/// What the operator wants of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// That it runs to its end.
    Run,
    /// That it waits.
    Pause,
    /// That it ends.
    Cancel,
}

/// Submissions counted from a moment on, for the cap of an hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// When the hour began.
    pub since: Timestamp,
    /// How many attempts have been submitted since.
    pub submissions: u32,
}

/// An attempt between the intent to submit it and the certainty that it is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Active {
    /// Its number.
    pub attempt: Attempt,
    /// When the intent was recorded.
    pub intended: Timestamp,
    /// What is known of its submission.
    pub stage: Stage,
    /// What came instead of the scheduler's answer to its submission, if that was not clear.
    #[serde(default)]
    pub unclear: Option<String>,
    /// Where it runs.
    pub host: Option<String>,
    /// When its program started.
    pub started: Option<Timestamp>,
    /// What its supervisor waits for before it starts the program.
    #[serde(default)]
    pub waiting: Option<Waiting>,
    /// The number of the last message that counted.
    pub last_sequence: Sequence,
    /// What has been heard of its end.
    pub evidence: Evidence,
    /// What of it lives on, and can't be killed.
    #[serde(default)]
    pub left_behind: Option<LeftBehind>,
    /// Why the scheduler can't tell its state, if that was its last word. What it said before still
    /// stands.
    #[serde(default)]
    pub unknown: Option<String>,
    /// Whether the output directory was missing before it, and was made anew.
    #[serde(default)]
    pub output_remade: bool,
    /// Whether it announced a larger fraction than any attempt before.
    pub advanced: bool,
    /// What was wished of it.
    pub wish: Option<Wish>,
    /// When the scheduler is asked to cancel it again, if it was asked.
    pub cancel_again: Option<Timestamp>,
    /// The earlier attempt that had been given up and has delivered the results, so that this one
    /// is no longer needed.
    #[serde(default, rename = "needless")]
    pub superseded_by: Option<Attempt>,
}

/// What is known of a submission.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The intent is recorded; the scheduler has not answered.
    Submitting,
    /// It may or may not be with the scheduler, who is being asked.
    Uncertain,
    /// The scheduler has it.
    Submitted(ClusterJobId),
}

/// All that has been heard of an attempt's end, from the best witness to the worst.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// It has delivered its results.
    pub results: bool,
    /// It has asked to be resumed.
    pub request: Option<ResumeRequest>,
    /// It has said why it fails.
    pub failure: Option<String>,
    /// The supervisor's record of the end, and when it came to us.
    pub record: Option<(Timestamp, ExitRecord)>,
    /// The scheduler's last word, and since when it says so.
    pub cluster: Option<(Timestamp, ClusterState)>,
    /// What it wrote last to its standard error, if it ended without a sign that its program was
    /// started.
    #[serde(default)]
    pub last_words: Option<String>,
    /// What has become of the last look for the record in its files.
    #[serde(default)]
    pub reading: Option<Reading>,
    /// The scheduler has taken it off its node and kept it, to start it anew by itself. Its program
    /// is started only once, so that is its end, whatever the scheduler does.
    #[serde(default)]
    pub requeued: bool,
}

/// The last look for the record of an attempt that is over, once the grace for it has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading {
    /// It began then.
    Begun(Timestamp),
    /// There is no record, and nothing shows that the program was started.
    #[serde(rename = "vain")]
    NoRecord,
    /// There is no record, though the program was started, or was about to be: `started.json` is there.
    Started,
}

fn shared<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<Metrics>, D::Error> {
    Metrics::deserialize(deserializer).map(Arc::new)
}

/// How many attempts that ended without a record are known. What they leave is looked at when the job
/// is settled, and whenever a main process opens or ends the run.
pub const MOST_WITHOUT_RECORD: usize = 1000;
/// How many of them, the newest, are looked at now and then as long as the job goes on.
const MOST_IN_SIGHT: usize = 8;

impl Job {
    /// A job that nothing has happened to yet.
    #[must_use]
    pub fn new(id: JobId, resume_exit_code: i32) -> Self {
        Self {
            id,
            resume_exit_code,
            phase: Phase::Waiting {
                until: Timestamp(0),
                reason: Reason::New.to_string(),
            },
            wanted: Wanted::Run,
            next_attempt: Attempt(0),
            previous: None,
            ended_without_record: Vec::new(),
            late: None,
            ends: BTreeMap::new(),
            without_progress: 0,
            setbacks: 0,
            newest_checkpoint: None,
            fraction: None,
            metrics: Arc::default(),
            window: Window::default(),
        }
    }

    /// Its state in one word.
    #[must_use]
    pub fn state(&self) -> JobState {
        match &self.phase {
            Phase::Waiting { .. } => JobState::Waiting,
            Phase::Active(active) if active.is_running() => JobState::Running,
            Phase::Active(_) => JobState::Queued,
            Phase::Settled { outcome, .. } => match outcome {
                Outcome::Completed => JobState::Completed,
                Outcome::Failed => JobState::Failed,
                Outcome::Cancelled => JobState::Cancelled,
            },
        }
    }

    /// The attempt that is, or may be, with the scheduler.
    #[must_use]
    pub fn active(&self) -> Option<&Active> {
        match &self.phase {
            Phase::Active(active) => Some(active),
            _ => None,
        }
    }

    /// The attempts whose files are to be read now and then.
    pub fn to_be_read(&self) -> impl Iterator<Item = Attempt> {
        let active = self.active().filter(|active| active.may_have_run());
        let hidden = self
            .ended_without_record
            .len()
            .saturating_sub(MOST_IN_SIGHT);
        let all = self.ended_without_record[hidden..].iter().copied();
        let all = all.chain(active.map(|active| active.attempt));
        all.filter(|_| !self.state().is_settled())
    }

    /// Takes down that `attempt` ended without a record.
    pub(super) fn mark_lost(&mut self, attempt: Attempt) {
        self.ended_without_record.push(attempt);
        if self.ended_without_record.len() > MOST_WITHOUT_RECORD {
            self.ended_without_record.remove(0);
        }
    }

    /// Whether its attempt is to be ended by the scheduler, and none is to follow.
    #[must_use]
    pub fn is_being_cancelled(&self) -> bool {
        self.active().is_some_and(Active::is_being_cancelled)
    }

    /// Whether an operator may give it a new chance.
    #[must_use]
    pub fn can_be_retried(&self) -> bool {
        matches!(self.state(), JobState::Failed | JobState::Cancelled)
    }

    /// How much of it is done, from 0 to 1: 1 when completed, else what was announced.
    #[must_use]
    pub fn done(&self) -> f64 {
        match self.state() {
            JobState::Completed => 1.0,
            _ => self.fraction.map_or(0.0, Fraction::get),
        }
    }
}

impl Active {
    /// An attempt whose intent is being recorded.
    #[must_use]
    pub fn intended(attempt: Attempt, at: Timestamp) -> Self {
        Self {
            attempt,
            intended: at,
            stage: Stage::Submitting,
            unclear: None,
            host: None,
            started: None,
            waiting: None,
            last_sequence: Sequence(0),
            evidence: Evidence::default(),
            left_behind: None,
            unknown: None,
            output_remade: false,
            advanced: false,
            wish: None,
            cancel_again: None,
            superseded_by: None,
        }
    }

    /// Whether the scheduler is to end it: an operator stopped the job, or it was superseded.
    #[must_use]
    pub fn is_being_cancelled(&self) -> bool {
        self.wish == Some(Wish::Cancel)
    }

    /// Whether it is known to have started, and not to have been put back into the queue.
    #[must_use]
    pub fn is_running(&self) -> bool {
        match self.evidence.cluster {
            Some((_, ClusterState::Running { .. })) => true,
            Some((_, ClusterState::Queued { .. } | ClusterState::Held { .. })) => {
                self.started.is_some() && !self.evidence.requeued
            }
            _ => self.started.is_some(),
        }
    }

    /// Whether it may run, or have run: unless it is being submitted, or in the queue as far as the
    /// scheduler has told.
    #[must_use]
    pub fn may_have_run(&self) -> bool {
        let is_before_its_start = match &self.evidence.cluster {
            None => self.stage == Stage::Submitting,
            Some((_, state)) => matches!(
                state,
                ClusterState::Queued { .. } | ClusterState::Held { .. }
            ),
        };
        !is_before_its_start || self.was_heard() || self.evidence.requeued
    }

    /// Whether its program was started, or was about to be: it has told so, or its files do. What a
    /// supervisor says before that is its record alone.
    #[must_use]
    pub fn was_started(&self) -> bool {
        self.started.is_some()
            || self.last_sequence > Sequence(0)
            || self.evidence.reading == Some(Reading::Started)
    }

    /// Whether something has been heard from itself, once it had begun.
    #[must_use]
    pub fn has_spoken(&self) -> bool {
        self.last_sequence > Sequence(0) || self.evidence.record.is_some()
    }

    /// Whether anything has been heard from itself, which proves that it was submitted.
    #[must_use]
    pub fn was_heard(&self) -> bool {
        self.has_spoken() || self.waiting.is_some()
    }

    /// The scheduler's name for it, if it has one.
    #[must_use]
    pub fn cluster_job(&self) -> Option<&ClusterJobId> {
        match &self.stage {
            Stage::Submitted(cluster_job) => Some(cluster_job),
            Stage::Submitting | Stage::Uncertain => None,
        }
    }

    /// What is known of it, for the history. `end` is how it ended, when, and the evidence.
    #[must_use]
    pub fn report(&self, end: Option<(AttemptEnd, Timestamp, String)>) -> AttemptReport {
        let record = self.evidence.record.as_ref().map(|(_, record)| record);
        let ended = record.map(|record| record.ended);
        AttemptReport {
            attempt: self.attempt,
            cluster_job_id: self.cluster_job().map(ToString::to_string),
            host: self.host.clone(),
            submitted: self.intended,
            started: self.started,
            ended: ended.or(end.as_ref().map(|(_, at, _)| *at)),
            end: end.as_ref().map(|(end, ..)| *end),
            exit_code: record.and_then(|record| match record.end {
                ProgramEnd::Exited(code) => Some(code),
                _ => None,
            }),
            signal: record.and_then(|record| match record.end {
                ProgramEnd::Signaled(signal) => Some(signal),
                _ => None,
            }),
            detail: end.map(|(_, _, detail)| detail),
        }
    }
}
