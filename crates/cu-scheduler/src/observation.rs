//! The state of a cluster job as the cluster reports it, with how certain that is.

use std::time::SystemTime;

use crate::{ClusterJobId, SubmissionName};

/// One cluster job as the cluster reports it at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Observation {
    /// The job.
    pub job: ClusterJobId,
    /// The submission that has this id, where the cluster reports it. Compare it with the one that you
    /// mean before you use the state: a scheduler that lost its own state may give an id a second time.
    /// Not serialized.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub name: Option<SubmissionName>,
    /// Its state.
    pub state: ClusterState,
    /// The machine on which it runs or ran, if known.
    pub host: Option<String>,
    /// How many times the cluster started it again under the same id, whether we asked for that or
    /// not; `None` where the cluster does not count.
    pub restarts: Option<u32>,
}

impl Observation {
    /// A job and its state; nothing else is known.
    #[must_use]
    pub fn new(job: ClusterJobId, state: ClusterState) -> Self {
        Self {
            job,
            name: None,
            state,
            host: None,
            restarts: None,
        }
    }
}

/// The state of a cluster job.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum ClusterState {
    /// It waits for its turn.
    Queued {
        /// The scheduler's reason for the wait, in its own words.
        reason: Option<String>,
    },
    /// It waits for a person: nothing happens by itself.
    Held {
        /// The scheduler's reason, in its own words.
        reason: String,
    },
    /// It runs.
    Running {
        /// Since when, if the scheduler reports it.
        since: Option<SystemTime>,
    },
    /// It has started, and its processes stand still in memory until the scheduler, or a person, lets them
    /// go on.
    Suspended,
    /// It is over, and the scheduler knows of no living process of it.
    Ended(ClusterEnd),
    /// The scheduler answered, and has no such job: it is neither queued nor running. Nothing more is
    /// known of its end.
    Gone,
    /// The scheduler doesn't know now, or said something that we don't understand. Nothing follows from
    /// it.
    Unknown {
        /// Its words.
        reason: String,
    },
}

impl ClusterState {
    /// Whether the job is neither queued nor running any more: it ended, or the scheduler has no such
    /// job.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Ended(_) | Self::Gone)
    }
}

/// How a cluster job ended, as the scheduler reports it. What the command itself recorded counts for
/// more.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ClusterEnd {
    /// The cause.
    pub cause: EndCause,
    /// When, if the scheduler reports it.
    pub at: Option<SystemTime>,
    /// In the scheduler's own words, for people.
    pub text: String,
}

/// Why a cluster job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum EndCause {
    /// By itself, with this exit code.
    Exited(i32),
    /// Killed by this signal; the scheduler does not say why.
    Signaled(i32),
    /// It ran into its time limit.
    TimeLimit,
    /// It had to give way to another job.
    Preempted,
    /// Its node was lost.
    NodeFailure,
    /// It used more memory than it had asked for.
    OutOfMemory,
    /// A person or a program cancelled it.
    Cancelled,
    /// The cluster removed it: a rule of the place, its administrator, or the cluster itself.
    Removed,
    /// It could not be started.
    NotStarted,
    /// It is over; the scheduler does not say how.
    Unknown,
}

/// A submission that was found by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The name that was asked for.
    pub name: SubmissionName,
    /// Its state, with its cluster job id.
    pub observation: Observation,
}
