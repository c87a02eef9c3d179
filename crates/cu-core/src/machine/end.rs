//! What an attempt's end means for its job: done, resumed, or failed. Budgets by cause.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use cu_protocol::{CheckpointId, OutputChange, Timestamp};

use super::job::{Active, Job, Outcome, Used, Wanted};
use super::reason::{Ended, Reason};
use super::schedule::back_off;
use crate::{AttemptEnd, Limit, Policy};

/// What follows for a job from the end of its attempt.
#[derive(Debug)]
pub(super) struct Conclusion<'a> {
    /// How many ends of each kind have cost a budget since the last progress.
    pub ends: BTreeMap<AttemptEnd, u32>,
    pub without_progress: u32,
    pub setbacks: u32,
    pub newest_checkpoint: Option<CheckpointId>,
    pub used: Used,
    pub avoid_hosts: Vec<String>,
    pub next: Next<'a>,
}

#[derive(Debug)]
pub(super) enum Next<'a> {
    Settle(Outcome, Reason<'a>),
    ResumeAfter(Duration),
}

/// Draws the conclusions from `ended`, the end of an attempt of `job`.
pub(super) fn conclude<'a>(
    job: &Job,
    ended: Ended<'a>,
    at: Timestamp,
    policy: &Policy,
) -> Conclusion<'a> {
    let Ended { active, end, .. } = ended;
    let left = newest_left(active);
    let progressed = left > job.newest_checkpoint || may_have_progressed(active);
    let mut conclusion = Conclusion {
        ends: counted(job, ended, progressed),
        without_progress: job.without_progress,
        setbacks: job.setbacks,
        newest_checkpoint: left.max(job.newest_checkpoint),
        used: used(job, ended, at, left > job.newest_checkpoint),
        avoid_hosts: avoid_hosts(job, ended),
        next: Next::ResumeAfter(Duration::ZERO),
    };
    if let Some((outcome, reason)) = settled(job, ended, &conclusion.ends, policy) {
        conclusion.next = Next::Settle(outcome, reason);
        return conclusion;
    }
    if let Some(limit) = used_up(conclusion.used, policy) {
        let reason = Reason::UsedUp { ended, limit };
        conclusion.next = Next::Settle(Outcome::Failed, reason);
        return conclusion;
    }
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

/// The hosts to keep the next attempt off: those on which the last ones in a row started nothing. An idle host
/// on which nothing starts would otherwise get the next attempt as well.
fn avoid_hosts(job: &Job, ended: Ended<'_>) -> Vec<String> {
    let Ended { active, end, .. } = ended;
    let has_started_nothing = match end {
        AttemptEnd::NotActivated => true,
        AttemptEnd::Lost => !active.was_started(),
        _ => false,
    };
    if !has_started_nothing {
        return Vec::new();
    }
    let mut hosts = job.avoid_hosts.clone();
    let record = active.evidence.record.as_ref();
    let host = record.map(|(_, record)| &record.host);
    let host = host.or(active.host.as_ref());
    hosts.extend(host.filter(|host| !job.avoid_hosts.contains(host)).cloned());
    hosts
}

/// A program that ends for another attempt after less than this, unasked, has hardly done anything.
pub(super) const BRIEF: Duration = Duration::from_secs(5);

/// What the attempts of `job` have used, this one included.
fn used(job: &Job, ended: Ended<'_>, at: Timestamp, has_newer_checkpoint: bool) -> Used {
    let Ended { active, end, .. } = ended;
    let record = active.evidence.record.as_ref().map(|(_, record)| record);
    let ended_at = record.map_or(at, |record| record.ended);
    let ran = active.started.map(|started| ended_at.since(started));
    let ran = ran.unwrap_or_default();
    let unasked = record.is_some_and(|record| record.stop.is_none());
    let shows_its_state = job.newest_checkpoint.is_some() || job.fraction.is_some();
    let is_resumed = matches!(end, AttemptEnd::ResumeRequested | AttemptEnd::TimeLimit);
    let has_moved = has_newer_checkpoint || active.advanced;
    // Nothing but its output shows how far it is.
    let has_repeated = !shows_its_state && record.is_some_and(|it| it.noticed.printed_the_same);
    let one_more = |count: u32, is_one: bool| if is_one { count.saturating_add(1) } else { 0 };
    let milliseconds = u64::try_from(ran.as_millis()).unwrap_or(u64::MAX);
    Used {
        attempts: job.used.attempts.saturating_add(1),
        run_milliseconds: job.used.run_milliseconds.saturating_add(milliseconds),
        brief: one_more(
            job.used.brief,
            unasked && end == AttemptEnd::ResumeRequested && ran < BRIEF,
        ),
        unmoved: one_more(
            job.used.unmoved,
            shows_its_state && is_resumed && !has_moved,
        ),
        repeated: one_more(job.used.repeated, is_resumed && has_repeated),
    }
}

/// The bound that keeps the job from one more attempt.
fn used_up(used: Used, policy: &Policy) -> Option<Limit> {
    let most = policy.max_attempts.map(NonZeroU32::get);
    let attempts = most.filter(|most| used.attempts >= *most);
    let ran = Duration::from_millis(used.run_milliseconds);
    let time = policy.max_time.filter(|most| ran >= *most);
    let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    let time = time.map(|time| Limit::MaxTime(seconds(time)));
    attempts.map(Limit::MaxAttempts).or(time)
}

/// How many ends of each kind have cost a budget since the last progress, this one included.
///
/// Progress makes an end free and begins all counts anew. A failure by itself and one for lack of memory
/// cost a retry all the same: a program that crashes has usually written something before, and would be
/// repeated for ever. An end without a record costs its budget although nobody could look for progress,
/// as otherwise nothing would bound a job that loses its supervisor each time; but a time limit bounds
/// itself.
fn counted(job: &Job, ended: Ended<'_>, progressed: bool) -> BTreeMap<AttemptEnd, u32> {
    let is_retry = |end: AttemptEnd| matches!(end, AttemptEnd::Failed | AttemptEnd::OutOfMemory);
    let Ended { active, end, .. } = ended;
    let is_unknown = end == AttemptEnd::TimeLimit && active.evidence.record.is_none();
    let mut ends = job.ends.clone();
    if progressed {
        ends.retain(|counted, _| is_retry(end) && is_retry(*counted));
    }
    if is_retry(end) || !(progressed || is_unknown) {
        *ends.entry(end).or_default() += 1;
    }
    ends
}

/// How the job is settled by this end, whatever progress there was.
fn settled<'a>(
    job: &Job,
    ended: Ended<'a>,
    ends: &BTreeMap<AttemptEnd, u32>,
    policy: &Policy,
) -> Option<(Outcome, Reason<'a>)> {
    if ended.end == AttemptEnd::Completed {
        let reason = match ended.active.superseded_by {
            Some(earlier) => Reason::LateResults(earlier),
            None => Reason::Ended(ended),
        };
        return Some((Outcome::Completed, reason));
    }
    if job.wanted.is_end() {
        return Some(ended_by(job, policy));
    }
    if ended.end == AttemptEnd::Cancelled {
        return Some((Outcome::Cancelled, Reason::CancelledOutside(ended)));
    }
    let limit = budget(policy, ended.end)?;
    let used = ends.get(&ended.end).copied().unwrap_or_default();
    // None at all means none, with progress or without.
    let is_exhausted = limit.value() == 0 || used > limit.value();
    let exhausted = Reason::Exhausted {
        ended,
        used,
        limit: Some(limit).filter(|limit| limit.value() > 0),
    };
    is_exhausted.then_some((Outcome::Failed, exhausted))
}

/// How a job is settled that is to end for good, and why.
pub(super) fn ended_by(job: &Job, policy: &Policy) -> (Outcome, Reason<'static>) {
    let reason = match (job.wanted, policy.max_failures) {
        (Wanted::EndEarly, _) => return (Outcome::Completed, Reason::EndedEarly),
        (Wanted::GiveUp, Some(most)) => Reason::TooManyFailures(Limit::MaxFailures(most.get())),
        _ => Reason::Stopped,
    };
    (Outcome::Cancelled, reason)
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

/// How many attempts in a row without progress may end this way; `None` if any number may.
fn budget(policy: &Policy, end: AttemptEnd) -> Option<Limit> {
    match end {
        AttemptEnd::TimeLimit => Some(Limit::TimeLimits(policy.time_limits)),
        AttemptEnd::Preempted => Some(Limit::Preemptions(policy.preemptions)),
        AttemptEnd::NodeFailure => Some(Limit::NodeFailures(policy.node_failures)),
        AttemptEnd::Removed => Some(Limit::Removals(policy.removals)),
        AttemptEnd::Lost => Some(Limit::Losses(policy.losses)),
        AttemptEnd::NotActivated => Some(Limit::ActivationRetries(policy.activation_retries)),
        AttemptEnd::OutOfMemory => Some(Limit::OutOfMemoryRetries(policy.out_of_memory_retries)),
        AttemptEnd::Failed => Some(Limit::FailureRetries(policy.failure_retries)),
        AttemptEnd::ResumeRequested | AttemptEnd::Completed | AttemptEnd::Cancelled => None,
    }
}
