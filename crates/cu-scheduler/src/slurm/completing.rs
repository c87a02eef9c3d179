//! Jobs that their nodes do not clear away. Slurm calls such a job `COMPLETING`, for days if its node hangs.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::job_id::JobId;
use super::row::Row;
use super::{Cluster, state};
use crate::{ClusterEnd, ClusterState, EndCause};

/// Slurm's own default for the time from SIGTERM to SIGKILL.
const KILL_WAIT: Duration = Duration::from_secs(30);
/// How long after that a job still counts as running. Its processes are gone by then, unless the node hangs.
const CLEARING: Duration = Duration::from_secs(60);

/// Since when jobs have been completing. Clocks of nodes have no say in it.
#[derive(Debug, Default)]
pub(super) struct Completing(Mutex<HashMap<JobId, Instant>>);

impl Completing {
    fn since(&self, job: JobId, row: Option<&Row>) -> Option<Instant> {
        let mut jobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if row.is_some_and(state::is_completing) {
            return Some(*jobs.entry(job).or_insert_with(Instant::now));
        }
        jobs.remove(&job);
        None
    }
}

impl Cluster {
    /// Whether a job has been completing for so long that no process of it can be waited for.
    pub(super) fn is_left_behind(&self, job: JobId, row: Option<&Row>) -> bool {
        let kill_wait = self.settings.get().config.seconds("KillWait");
        let patience = kill_wait.unwrap_or(KILL_WAIT).saturating_add(CLEARING);
        let since = self.completing.since(job, row);
        since.is_some_and(|since| since.elapsed() >= patience)
    }

    /// The end of such a job, whose end accounting may not know: then its node has failed it.
    pub(super) fn end_of_left_behind(&self, row: &Row, is_ours: bool) -> ClusterState {
        let node = row.host.as_deref().unwrap_or("its node");
        ClusterState::Ended(ClusterEnd {
            cause: match is_ours {
                true => EndCause::Cancelled,
                false => EndCause::NodeFailure,
            },
            at: row.ended,
            text: format!("still COMPLETING: {node} does not clear it away"),
        })
    }
}
