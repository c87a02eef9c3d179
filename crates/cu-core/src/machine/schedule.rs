//! When something happens to a job by itself.

use std::time::Duration;

use cu_protocol::Timestamp;

use super::job::{Job, Phase, Stage, Wanted};
use super::witnesses::{Verdict, judge};
use crate::Policy;

pub(super) const HOUR: Duration = Duration::from_secs(3600);

/// When something happens to `job` by itself, if nothing else does.
pub(super) fn next_deadline(job: &Job, policy: &Policy) -> Option<Timestamp> {
    match &job.phase {
        Phase::Waiting { until, .. } if job.wanted == Wanted::Run => {
            Some((*until).max(cap_ends(job, policy)))
        }
        Phase::Active(active) if active.stage == Stage::Submitting => None,
        Phase::Active(active) => {
            let verdict = judge(
                active,
                &job.exit_rules,
                policy.record_grace,
                Timestamp::from_millis(0),
            );
            let better = match verdict {
                Verdict::Unread(due) | Verdict::Until(due) => Some(due),
                Verdict::Undecided | Verdict::Ended(_) => None,
            };
            [better, active.cancel_again].into_iter().flatten().min()
        }
        _ => None,
    }
}

/// When the cap of submissions per hour lets the next one through.
pub(super) fn cap_ends(job: &Job, policy: &Policy) -> Timestamp {
    if job.window.submissions >= policy.submissions_per_hour.get() {
        job.window.since.after(HOUR)
    } else {
        Timestamp::from_millis(0)
    }
}

/// How long to wait after one more of `setbacks` in a row.
pub(super) fn back_off(setbacks: u32, policy: &Policy) -> Duration {
    let doublings = setbacks.min(20);
    let backoff = policy.backoff.saturating_mul(1 << doublings);
    backoff.min(policy.backoff_max)
}
