//! What an attempt's end means for its job: done, resumed, or failed. Budgets by cause.

use std::time::Duration;

use cu_protocol::{CheckpointId, OutputChange};

use super::job::{Active, Job, Outcome, Wanted};
use super::reason::{Ended, Reason};
use super::schedule::back_off;
use crate::{AttemptEnd, Limit, Policy};

/// What follows for a job from the end of its attempt.
#[derive(Debug)]
pub(super) struct Conclusion<'a> {
    /// How many of its attempts have ended this way.
    pub such_ends: u32,
    pub without_progress: u32,
    pub setbacks: u32,
    pub newest_checkpoint: Option<CheckpointId>,
    pub next: Next<'a>,
}

#[derive(Debug)]
pub(super) enum Next<'a> {
    Settle(Outcome, Reason<'a>),
    ResumeAfter(Duration),
}

/// Draws the conclusions from the end of `active`, the attempt of `job`.
pub(super) fn conclude<'a>(
    job: &Job,
    active: &'a Active,
    end: AttemptEnd,
    policy: &Policy,
) -> Conclusion<'a> {
    let ended = Ended { active, end };
    let left = newest_left(active);
    let mut conclusion = Conclusion {
        such_ends: job.ends.get(&end).copied().unwrap_or_default() + 1,
        without_progress: job.without_progress,
        setbacks: job.setbacks,
        newest_checkpoint: left.max(job.newest_checkpoint),
        next: Next::ResumeAfter(Duration::ZERO),
    };
    if let Some((outcome, reason)) = settled(job, ended, conclusion.such_ends, policy) {
        conclusion.next = Next::Settle(outcome, reason);
        return conclusion;
    }
    let progressed = left > job.newest_checkpoint || may_have_progressed(active);
    // An operator's wish does not show that the program is stuck, nor does an outside cause. Nobody
    // looked for progress if the supervisor did not survive the end.
    let judged_by_progress = active.wish.is_none()
        && active.evidence.record.is_some()
        && matches!(
            end,
            AttemptEnd::ResumeRequested | AttemptEnd::TimeLimit | AttemptEnd::Removed
        );
    if progressed {
        conclusion.without_progress = 0;
        conclusion.setbacks = 0;
        return conclusion;
    }
    if judged_by_progress {
        conclusion.without_progress += 1;
        let most = policy.stuck_after.get();
        if conclusion.without_progress >= most {
            let limit = Limit::StuckAfter(most);
            let reason = Reason::Stuck { ended, limit };
            conclusion.next = Next::Settle(Outcome::Failed, reason);
            return conclusion;
        }
    }
    conclusion.setbacks = job.setbacks.saturating_add(1);
    // A first request to be resumed is served at once.
    if end != AttemptEnd::ResumeRequested || job.setbacks > 0 {
        conclusion.next = Next::ResumeAfter(back_off(job.setbacks, policy));
    }
    conclusion
}

/// How the job is settled by this end, whatever progress there was.
fn settled<'a>(
    job: &Job,
    ended: Ended<'a>,
    used: u32,
    policy: &Policy,
) -> Option<(Outcome, Reason<'a>)> {
    if ended.end == AttemptEnd::Completed {
        let reason = match ended.active.superseded_by {
            Some(earlier) => Reason::LateResults(earlier),
            None => Reason::Ended(ended),
        };
        return Some((Outcome::Completed, reason));
    }
    if job.wanted == Wanted::Cancel {
        return Some((Outcome::Cancelled, Reason::Stopped));
    }
    if ended.end == AttemptEnd::Cancelled {
        return Some((Outcome::Cancelled, Reason::CancelledOutside(ended)));
    }
    let limit = budget(policy, ended.end)?;
    let exhausted = Reason::Exhausted {
        ended,
        used,
        limit: Some(limit).filter(|limit| limit.value() > 0),
    };
    (used > limit.value()).then_some((Outcome::Failed, exhausted))
}

/// The newest checkpoint that the attempt mentions.
fn newest_left(active: &Active) -> Option<CheckpointId> {
    let record = active.evidence.record.as_ref().map(|(_, record)| record);
    let request = active.evidence.request.as_ref();
    record
        .and_then(|record| record.checkpoint)
        .max(request.and_then(|request| request.checkpoint))
}

/// Whether the attempt made progress besides a checkpoint, or may have: an output directory that could
/// not be looked through never counts as unchanged.
fn may_have_progressed(active: &Active) -> bool {
    let record = active.evidence.record.as_ref().map(|(_, record)| record);
    active.advanced || record.is_some_and(|record| record.output_changed != OutputChange::Unchanged)
}

/// How many attempts may end this way; `None` if any number may.
fn budget(policy: &Policy, end: AttemptEnd) -> Option<Limit> {
    match end {
        AttemptEnd::TimeLimit => Some(Limit::TimeLimits(policy.time_limits)),
        AttemptEnd::Preempted => Some(Limit::Preemptions(policy.preemptions)),
        AttemptEnd::NodeFailure => Some(Limit::NodeFailures(policy.node_failures)),
        AttemptEnd::Removed => Some(Limit::Removals(policy.removals)),
        AttemptEnd::Lost => Some(Limit::Losses(policy.losses)),
        AttemptEnd::OutOfMemory => Some(Limit::OutOfMemoryRetries(policy.out_of_memory_retries)),
        AttemptEnd::Failed => Some(Limit::FailureRetries(policy.failure_retries)),
        AttemptEnd::ResumeRequested | AttemptEnd::Completed | AttemptEnd::Cancelled => None,
    }
}
