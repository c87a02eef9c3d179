//! What a cluster says of a submission, and how sure it is.

use std::time::SystemTime;

use crate::{ClusterJobId, SubmissionName};

/// What the cluster says of one cluster job at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Observation {
    /// Of which.
    pub job: ClusterJobId,
    /// Which submission has this id, where the cluster tells. It may not be the one that was meant:
    /// a scheduler whose state was lost may give an id a second time. Compare it before anything
    /// follows from the state. Not serialized.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub name: Option<SubmissionName>,
    /// What it is.
    pub state: ClusterState,
    /// Where it runs or ran, if known.
    pub host: Option<String>,
    /// How many times the cluster started it anew under the same id, behind our back or at our
    /// wish; `None` where it does not tell.
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
    /// It runs, or is suspended with its processes in memory.
    Running {
        /// Since when, if the scheduler tells.
        since: Option<SystemTime>,
    },
    /// It is over, and none of its processes that the scheduler knows of is alive.
    Ended(ClusterEnd),
    /// The scheduler answered, and has no such job: it is neither queued nor running. How it ended
    /// is not to be learned here.
    Gone,
    /// The scheduler can't tell now, or said something we don't know. Nothing follows from it.
    Unknown {
        /// What it said.
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

/// How a cluster job ended, as the scheduler tells it. Weaker than what the command itself left.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ClusterEnd {
    /// Why.
    pub cause: EndCause,
    /// When, if the scheduler tells.
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
    /// Killed by this signal, for reasons the scheduler does not tell.
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
    /// What the cluster says of it, with its cluster job id.
    pub observation: Observation,
}
