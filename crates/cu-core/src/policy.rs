//! The numbers that govern a run: budgets by cause, waits, limits.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Budgets, waits and limits of a run.
///
/// Budgets count attempts of one job. A resume that a program asks for is free as long as there is
/// progress: a newer checkpoint, a changed file in the output directory, a larger fraction.
///
/// ```
/// use cu_core::Policy;
///
/// let policy = Policy::default().with(|policy| policy.failure_retries = 2);
/// assert_eq!(policy.failure_retries, 2);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Policy {
    /// The job fails after this many attempts in a row that made no progress and asked to be resumed,
    /// were asked to stop, reached their time limit, or were removed. An attempt whose record is lost at
    /// the time limit does not count.
    pub stuck_after: NonZeroU32,
    /// How many attempts in a row without progress may end at the time limit. This and the budgets that
    /// follow cost nothing if there is progress, which also begins them anew; 0 allows none at all.
    pub time_limits: u32,
    /// How many attempts may be preempted.
    pub preemptions: u32,
    /// How many attempts may be lost with their node.
    pub node_failures: u32,
    /// How many attempts may be removed by the cluster: by a rule of the place, or by its administrator.
    pub removals: u32,
    /// How many attempts may end in an unknown way, or be kept from starting.
    pub losses: u32,
    /// How often in a row an attempt is repeated whose environment could not be activated.
    pub activation_retries: u32,
    /// How often an attempt that ran out of memory is repeated.
    pub out_of_memory_retries: u32,
    /// How often an attempt that failed by itself is repeated.
    pub failure_retries: u32,
    /// The most attempts of one job, whatever their progress; any number if `None`.
    pub max_attempts: Option<NonZeroU32>,
    /// A job is not resumed once its attempts have run for this time together, whatever their progress.
    pub max_time: Option<Duration>,
    /// Once this many jobs have failed, the others are cancelled; any number may if `None`.
    pub max_failures: Option<NonZeroU32>,
    /// The most attempts of one job that are submitted in an hour. More wait.
    pub submissions_per_hour: NonZeroU32,
    /// The most attempts that are queued or running at a time; any number if `None`.
    pub max_submitted: Option<NonZeroU32>,
    /// The wait before the first repetition after a loss or failure, be it of an attempt or of its
    /// submission. It doubles up to `backoff_max` while there is no progress.
    pub backoff: Duration,
    /// The longest such wait.
    pub backoff_max: Duration,
    /// How long an attempt's own record may still arrive after the scheduler has reported its end. Then
    /// its files are read once more, and only without a record the scheduler's report decides. A
    /// supervisor writes the record before it ends, so seconds suffice on file systems where a machine
    /// that opens a directory finds every file that another has closed: local ones, NFS as mounted by
    /// default, Lustre, GPFS, BeeGFS. If a mount gives this up (`nocto` of NFS), the grace must be longer
    /// than directory attributes are cached (`acdirmax`, 60 s by default).
    pub record_grace: Duration,
    /// How long a scheduler may be unreachable before the main process ends with a message.
    pub scheduler_patience: Duration,
}

impl Policy {
    /// The same policy with these changes.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            stuck_after: NonZeroU32::new(3).expect("3 is not 0"),
            time_limits: 20,
            preemptions: 1000,
            node_failures: 20,
            removals: 20,
            losses: 20,
            activation_retries: 3,
            out_of_memory_retries: 0,
            failure_retries: 0,
            max_attempts: None,
            max_time: None,
            max_failures: None,
            submissions_per_hour: NonZeroU32::new(1000).expect("1000 is not 0"),
            max_submitted: None,
            backoff: Duration::from_secs(1),
            backoff_max: Duration::from_secs(300),
            record_grace: Duration::from_secs(5),
            scheduler_patience: Duration::from_secs(24 * 3600),
        }
    }
}

/// A limit of a [`Policy`] that has decided something, with its value.
///
/// Exhaustive on purpose: a program that shows a limit must name the setting behind each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// [`Policy::stuck_after`].
    StuckAfter(u32),
    /// [`Policy::time_limits`].
    TimeLimits(u32),
    /// [`Policy::preemptions`].
    Preemptions(u32),
    /// [`Policy::node_failures`].
    NodeFailures(u32),
    /// [`Policy::removals`].
    Removals(u32),
    /// [`Policy::losses`].
    Losses(u32),
    /// [`Policy::activation_retries`].
    ActivationRetries(u32),
    /// [`Policy::out_of_memory_retries`].
    OutOfMemoryRetries(u32),
    /// [`Policy::failure_retries`].
    FailureRetries(u32),
    /// [`Policy::max_attempts`].
    MaxAttempts(u32),
    /// [`Policy::max_time`], in whole seconds.
    MaxTime(u32),
    /// [`Policy::max_failures`].
    MaxFailures(u32),
    /// [`Policy::submissions_per_hour`].
    SubmissionsPerHour(u32),
    /// [`Policy::max_submitted`].
    MaxSubmitted(u32),
}

impl Limit {
    /// Its value.
    #[must_use]
    pub fn value(self) -> u32 {
        match self {
            Self::StuckAfter(value)
            | Self::TimeLimits(value)
            | Self::Preemptions(value)
            | Self::NodeFailures(value)
            | Self::Removals(value)
            | Self::Losses(value)
            | Self::ActivationRetries(value)
            | Self::OutOfMemoryRetries(value)
            | Self::FailureRetries(value)
            | Self::MaxAttempts(value)
            | Self::MaxTime(value)
            | Self::MaxFailures(value)
            | Self::SubmissionsPerHour(value)
            | Self::MaxSubmitted(value) => value,
        }
    }
}
