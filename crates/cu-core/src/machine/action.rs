//! The closed list of actions. Each action's outcome is an event again.

use std::sync::Arc;

use cu_protocol::{Attempt, JobId, Metrics, Wish};
use cu_scheduler::ClusterJobId;

use crate::{Level, Limit};

/// An action, to be taken once the events that led to it are recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Submit this attempt.
    Submit {
        /// The job.
        job: JobId,
        /// The attempt.
        attempt: Attempt,
        /// The cluster job of the attempt before.
        previous: Option<ClusterJobId>,
        /// The hosts to keep it off.
        avoid_hosts: Vec<String>,
        /// The metrics of the job so far.
        metrics: Arc<Metrics>,
    },
    /// Ask the scheduler whether it has this attempt.
    Find {
        /// The job.
        job: JobId,
        /// The attempt.
        attempt: Attempt,
    },
    /// Read what the attempt left in files: the scheduler reports that it is over.
    ReadRecords {
        /// The job.
        job: JobId,
        /// The attempt.
        attempt: Attempt,
    },
    /// Read what these given-up attempts left in files: the job is settled.
    ReadLate {
        /// The job.
        job: JobId,
        /// The attempt.
        attempts: Vec<Attempt>,
    },
    /// Ask the scheduler soon about the attempt: it is over, and the scheduler may know why.
    Observe {
        /// The job.
        job: JobId,
        /// The attempt.
        attempt: Attempt,
    },
    /// Mark the attempt as cancelled, so that its program is not started any more: the scheduler may
    /// have it without our knowing, or may not be able to end it.
    Withdraw {
        /// The job.
        job: JobId,
        /// The attempt.
        attempt: Attempt,
    },
    /// Have the scheduler end this cluster job.
    Cancel {
        /// The cluster job.
        cluster_job: ClusterJobId,
    },
    /// Pass a wish to a running attempt.
    Tell {
        /// The job.
        job: JobId,
        /// The attempt.
        attempt: Attempt,
        /// The wish.
        wish: Wish,
    },
    /// Have people read something.
    Notify {
        /// The job that it is about.
        job: JobId,
        /// How much it matters.
        level: Level,
        /// A sentence.
        text: String,
        /// The limit that decided it, if one did.
        limit: Option<Limit>,
    },
}
