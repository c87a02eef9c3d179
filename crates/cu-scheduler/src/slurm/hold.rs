//! Ends held jobs whose hold counts as an end, as the option `hold_end` says.
//!
//! The job is cancelled first, so that it does not stay in the queue for ever, nor start beside its successor
//! when somebody releases it. What is about to be cancelled is in the journal: a process that is started
//! later does not take it for a cancel by a person.

use std::collections::BTreeMap;

use cu_system::causes::in_one_line;

use super::Cluster;
use super::job_id::JobId;
use super::known::Line;
use super::row::Row;
use crate::{ClusterEnd, ClusterState, EndCause};

impl Cluster {
    /// Whether a hold for this reason counts as an end.
    fn is_an_end(&self, reason: &str) -> bool {
        let ends = &self.options.hold_end;
        ends.iter().any(|words| reason.contains(words.as_str()))
    }

    /// The jobs of ours among these rows whose hold counts as an end, with the reason of the hold.
    pub(super) fn held_for_good<'a>(
        &self,
        rows: impl Iterator<Item = (JobId, &'a Row)>,
    ) -> BTreeMap<JobId, String> {
        let held = rows.filter_map(|(job, row)| match super::state::of(row) {
            ClusterState::Held { reason } if self.is_an_end(&reason) => Some((job, reason)),
            _ => None,
        });
        held.collect()
    }

    /// Cancels these jobs. If that fails, they stay held, and are cancelled when the queue is next read.
    pub(super) async fn end_held(&self, held: &BTreeMap<JobId, String>) -> Result<(), String> {
        if held.is_empty() {
            return Ok(());
        }
        let noted = self.journal.with(|journal| {
            for (job, reason) in held {
                journal.intend(Line::EndHold {
                    job: job.to_cluster().0,
                    reason: reason.clone(),
                })?;
            }
            Ok(())
        });
        noted.map_err(|error| in_one_line(&error))?;
        let jobs: Vec<JobId> = held.keys().copied().collect();
        let cancelled = self.scancel(&[], &jobs).await;
        cancelled.map_err(|error| in_one_line(&error))
    }

    /// The end of a job that was cancelled because of its hold; `None` for any other.
    pub(super) fn end_by_hold(&self, job: JobId) -> Option<ClusterState> {
        let reason = self.journal.with(|journal| {
            let reason = journal.known().ended_hold(job);
            Ok(reason.map(str::to_owned))
        });
        let reason = reason.ok().flatten()?;
        Some(ClusterState::Ended(ClusterEnd {
            cause: EndCause::NotStarted,
            at: None,
            text: format!("held: {reason}; cancelled, because this hold is in `hold_end`"),
        }))
    }
}
