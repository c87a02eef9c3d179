//! The closed list of what can be done about a job. Each action's outcome is an event again.

use std::sync::Arc;

use cu_protocol::{Attempt, JobId, Metrics, Wish};
use cu_scheduler::ClusterJobId;

use crate::{Level, Limit};

/// What is to be done, once the events that led to it are recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Submit this attempt.
    Submit {
        /// Whose.
        job: JobId,
        /// Which.
        attempt: Attempt,
        /// The cluster job of the attempt before.
        previous: Option<ClusterJobId>,
        /// What the job has measured so far.
        metrics: Arc<Metrics>,
    },
    /// Ask the scheduler whether it has this attempt.
    Find {
        /// Whose.
        job: JobId,
        /// Which.
        attempt: Attempt,
    },
    /// Read what the attempt left in files: the scheduler says that it is over.
    ReadRecords {
        /// Whose.
        job: JobId,
        /// Which.
        attempt: Attempt,
    },
    /// Read what these attempts left in files, which had been given up: the job is settled.
    ReadLate {
        /// Whose.
        job: JobId,
        /// Which.
        attempts: Vec<Attempt>,
    },
    /// Ask the scheduler soon what has become of the attempt: it is over, and the scheduler may know
    /// better why.
    Observe {
        /// Whose.
        job: JobId,
        /// Which.
        attempt: Attempt,
    },
    /// Have the scheduler end this cluster job.
    Cancel {
        /// Which.
        cluster_job: ClusterJobId,
    },
    /// Tell a running attempt what is wished of it.
    Tell {
        /// Whose.
        job: JobId,
        /// Which.
        attempt: Attempt,
        /// What.
        wish: Wish,
    },
    /// Tell people.
    Notify {
        /// Of which job.
        job: JobId,
        /// How much it matters.
        level: Level,
        /// In a sentence.
        text: String,
        /// The limit that decided it, if one did.
        limit: Option<Limit>,
    },
}
