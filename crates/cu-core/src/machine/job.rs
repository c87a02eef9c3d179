//! The state of a job. Everything here is stored; whatever follows from it is computed.

use std::collections::BTreeMap;
use std::sync::Arc;

use cu_protocol::{
    Attempt, CheckpointId, Condition, ExitRecord, Fraction, JobId, LeftBehind, Metrics, Noticed,
    ProgramEnd, ResumeRequest, Sequence, Stopped, Timestamp, Waiting, Wish,
};
use cu_scheduler::{ClusterJobId, ClusterState};
use serde::{Deserialize, Deserializer, Serialize};

use crate::{AttemptEnd, AttemptReport, ExitRules, JobState, Limit};

/// A job at a moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its number.
    pub id: JobId,
    /// What the exit codes of its program mean.
    #[serde(flatten)]
    pub exit_rules: ExitRules,
    /// The phase of its life.
    pub phase: Phase,
    /// The operator's wish.
    pub wanted: Wanted,
    /// The number of the next attempt.
    pub next_attempt: Attempt,
    /// The cluster job of the attempt before.
    pub previous: Option<ClusterJobId>,
    /// The hosts on which the last attempts started nothing, so that the next one is kept off them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub avoid_hosts: Vec<String>,
    /// The earlier attempts that ended without a record of their own, the newest
    /// [`MOST_WITHOUT_RECORD`]: one may live on without a connection, and still report something.
    #[serde(default, rename = "unheard")]
    pub ended_without_record: Vec<Attempt>,
    /// The newest report of such an attempt that changed nothing.
    #[serde(default)]
    pub late: Option<Late>,
    /// How many ends of each cause have cost a budget since the last end with progress.
    pub ends: BTreeMap<AttemptEnd, u32>,
    /// How many attempts in a row that are judged by their progress have made none.
    pub without_progress: u32,
    /// How many times in a row an attempt ended without progress and unasked, or was not submitted.
    pub setbacks: u32,
    /// Since when the scheduler has refused each submission, if it took an attempt of the job before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_since: Option<Timestamp>,
    /// The newest checkpoint that an ended attempt left.
    pub newest_checkpoint: Option<CheckpointId>,
    /// The largest fraction announced.
    pub fraction: Option<Fraction>,
    /// Early metrics, then results. They are stored in a table of their own, so that the cost of an
    /// announcement depends on its own size; stores of format 1 have them here. Shared, so that copying a
    /// job costs nothing.
    #[serde(default, skip_serializing, deserialize_with = "shared")]
    pub metrics: Arc<Metrics>,
    /// The submissions of the last hour.
    pub window: Window,
    /// What its attempts have used.
    #[serde(default)]
    pub used: Used,
}

/// What the attempts of a job have used since it was made, or retried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// How many have ended.
    pub attempts: u32,
    /// How long their programs have run.
    pub run_milliseconds: u64,
    /// How many in a row asked to be resumed soon after their start.
    pub brief: u32,
    /// How many in a row changed files, but left neither a newer checkpoint nor a larger fraction, though
    /// the job has one of these.
    pub unmoved: u32,
    /// How many in a row printed the same as the one before, and left nothing that shows how far the job is.
    #[serde(default)]
    pub repeated: u32,
}

/// A report of an attempt that had been given up. It is recorded, and changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Late {
    /// The attempt.
    pub attempt: Attempt,
    /// The kind of its last message.
    pub said: LateWord,
}

/// A message that comes too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LateWord {
    /// Metrics before the end.
    EarlyMetrics,
    /// The results, when the job was settled already.
    Results,
    /// A resume request.
    ResumeRequest,
    /// The reason for a failure.
    Failure,
}

/// The phase of a job's life.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The scheduler has no attempt of it.
    Waiting {
        /// When the next one may be submitted.
        until: Timestamp,
        /// Why not before: half a sentence; empty if nothing has happened to the job yet.
        reason: String,
    },
    /// The scheduler has an attempt of it, or may have.
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

/// An operator's wish for a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// Run to its end.
    Run,
    /// Wait.
    Pause,
    /// End.
    Cancel,
    /// End, since too many jobs of the run have failed.
    GiveUp,
    /// End as completed, with what it has announced.
    EndEarly,
}

impl Wanted {
    /// Whether it is to end for good.
    #[must_use]
    pub fn is_end(self) -> bool {
        matches!(self, Self::Cancel | Self::GiveUp | Self::EndEarly)
    }
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
    /// How far its submission is.
    pub stage: Stage,
    /// What came in place of the scheduler's answer to its submission, if the answer was not clear.
    #[serde(default)]
    pub unclear: Option<String>,
    /// Where it runs.
    pub host: Option<String>,
    /// When its program started.
    pub started: Option<Timestamp>,
    /// Why its supervisor has not started the program yet, if it reported that.
    #[serde(default)]
    pub waiting: Option<Waiting>,
    /// The number of the last message that counted.
    pub last_sequence: Sequence,
    /// The evidence of its end.
    pub evidence: Evidence,
    /// Processes of it that live on and can't be killed.
    #[serde(default)]
    pub left_behind: Option<LeftBehind>,
    /// Why the scheduler can't tell its state, if that was its last report. The report before it still
    /// counts.
    #[serde(default)]
    pub unknown: Option<String>,
    /// Whether the output directory was missing before it, and was made anew.
    #[serde(default)]
    pub output_remade: bool,
    /// Whether it announced a larger fraction than any attempt before.
    pub advanced: bool,
    /// What it was asked to do.
    pub wish: Option<Wish>,
    /// When the scheduler is asked to cancel it again, if it was asked.
    pub cancel_again: Option<Timestamp>,
    /// The earlier attempt that had been given up and has delivered the results, so that this one
    /// is no longer needed.
    #[serde(default, rename = "needless")]
    pub superseded_by: Option<Attempt>,
}

/// How far a submission is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The intent is recorded; the scheduler has not answered.
    Submitting,
    /// The scheduler may have it, and is being asked.
    Uncertain,
    /// The scheduler has it.
    Submitted(ClusterJobId),
}

/// The evidence of an attempt's end, from the best witness to the worst.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// It has delivered its results.
    pub results: bool,
    /// It has asked to be resumed.
    pub request: Option<ResumeRequest>,
    /// It has reported why it fails.
    pub failure: Option<String>,
    /// The supervisor's record of the end, and when it came to us.
    pub record: Option<(Timestamp, ExitRecord)>,
    /// What became of the user's condition for "done", as the supervisor told it ahead of its record. It is
    /// part of the record then.
    #[serde(default)]
    pub condition: Option<Condition>,
    /// What else the supervisor noticed, as it told it ahead of its record. It is part of the record then.
    #[serde(default)]
    pub noticed: Noticed,
    /// What the supervisor did to stop the program.
    #[serde(default)]
    pub stopped: Option<Stopped>,
    /// The scheduler's last report, and when that state was first reported.
    pub cluster: Option<(Timestamp, ClusterState)>,
    /// The last lines of its standard error, if nothing shows that its program was started.
    #[serde(default)]
    pub last_words: Option<String>,
    /// The state of the last reading of its files for the record.
    #[serde(default)]
    pub reading: Option<Reading>,
    /// The scheduler has taken it off its node and will start it again by itself. A program is started
    /// only once per attempt, so this is its end, whatever the scheduler does.
    #[serde(default)]
    pub requeued: bool,
}

/// The last look for the record of an attempt that is over, once the grace for it has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading {
    /// It began at this time.
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

/// At most this many attempts that ended without a record are remembered. Their files are read when the
/// job is settled, and whenever a main process opens or ends the run.
pub const MOST_WITHOUT_RECORD: usize = 1000;
/// The files of this many of them, the newest, are read periodically as long as the job goes on.
const MOST_IN_SIGHT: usize = 8;

impl Job {
    /// A job that nothing has happened to yet.
    #[must_use]
    pub fn new(id: JobId, exit_rules: ExitRules) -> Self {
        Self {
            id,
            exit_rules,
            phase: Phase::Waiting {
                until: Timestamp::from_millis(0),
                reason: String::new(),
            },
            wanted: Wanted::Run,
            next_attempt: Attempt(0),
            previous: None,
            avoid_hosts: Vec::new(),
            ended_without_record: Vec::new(),
            late: None,
            ends: BTreeMap::new(),
            without_progress: 0,
            setbacks: 0,
            refused_since: None,
            newest_checkpoint: None,
            fraction: None,
            metrics: Arc::default(),
            window: Window::default(),
            used: Used::default(),
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

    /// The attempt that the scheduler has, or may have.
    #[must_use]
    pub fn active(&self) -> Option<&Active> {
        match &self.phase {
            Phase::Active(active) => Some(active),
            _ => None,
        }
    }

    /// The attempts whose files are to be read periodically.
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

    /// Notes that `attempt` ended without a record.
    pub(super) fn mark_lost(&mut self, attempt: Attempt) {
        self.ended_without_record.push(attempt);
        if self.ended_without_record.len() > MOST_WITHOUT_RECORD {
            self.ended_without_record.remove(0);
        }
    }

    /// Whether the scheduler is to end its attempt, and none is to follow.
    #[must_use]
    pub fn is_being_cancelled(&self) -> bool {
        self.active().is_some_and(Active::is_being_cancelled)
    }

    /// Whether the scheduler has its attempt, and has not started it.
    pub(super) fn is_in_queue(&self) -> bool {
        let is_taken = |active: &Active| matches!(active.stage, Stage::Submitted(_));
        self.state() == JobState::Queued && self.active().is_some_and(is_taken)
    }

    /// Whether it waits until an operator continues it.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.wanted == Wanted::Pause && self.state() == JobState::Waiting
    }

    /// Whether an operator may retry it.
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
            Some((_, ClusterState::Running { .. } | ClusterState::Suspended)) => true,
            Some((_, ClusterState::Queued { .. })) => {
                self.started.is_some() && !self.evidence.requeued
            }
            // The news of its start and its end may come after that of the hold.
            Some((_, ClusterState::Held { .. })) => {
                let is_over = self.evidence.record.is_some();
                self.started.is_some() && !self.evidence.requeued && !is_over
            }
            _ => self.started.is_some(),
        }
    }

    /// Whether it may run, or have run: not while it is being submitted, or queued by the scheduler's last
    /// report.
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

    /// Whether its program was started, or was about to be, as its messages or its files show. The only
    /// message that a supervisor sends before that is its record.
    #[must_use]
    pub fn was_started(&self) -> bool {
        self.started.is_some()
            || self.last_sequence > Sequence(0)
            || self.evidence.reading == Some(Reading::Started)
    }

    /// Whether the attempt itself has sent a numbered message or left its record.
    #[must_use]
    pub fn has_spoken(&self) -> bool {
        self.last_sequence > Sequence(0) || self.evidence.record.is_some()
    }

    /// Whether any message of the attempt itself has arrived, which proves that it was submitted.
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

    /// Its entry in the history. `end` is how it ended, when, and the evidence.
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
