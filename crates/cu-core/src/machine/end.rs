//! What an attempt's end means for its job: done, resumed, or failed. Budgets by cause.

use cu_protocol::{OutputChange, ProgramEnd, Timestamp};

use super::action::Level;
use super::job::{Active, Job, Late, LateWord, Outcome, Phase, Wanted};
use super::step::{CANCELLED, OUTPUT_REMADE, Step, late_results, left_behind};
use crate::{AttemptEnd, Policy};

/// Draws the conclusions from the end of `active`.
pub(super) fn conclude(step: &mut Step<'_>, active: &Active, end: AttemptEnd) {
    let whole = describe(active, end, |text| text.trim_end().to_owned());
    let report = active.report(Some((end, step.at, whole)));
    step.effects.ended.push((step.job.id, report));
    let progressed = note_progress(step, active);
    *step.job.ends.entry(end).or_default() += 1;
    step.job.previous = active.cluster_job().cloned();
    let attempt = active.attempt;
    let detail = describe(active, end, |text| last_line(text).to_owned());
    if active.evidence.record.is_none() {
        step.job.lose_sight_of(attempt);
    }
    if end == AttemptEnd::Completed {
        let why = match active.needless {
            Some(earlier) => late_results(earlier),
            None => format!("attempt {attempt} {detail}"),
        };
        return step.settle(Outcome::Completed, why);
    }
    if step.job.wanted == Wanted::Cancel {
        return step.settle(Outcome::Cancelled, CANCELLED.to_owned());
    }
    if end == AttemptEnd::Cancelled {
        return step.settle(
            Outcome::Cancelled,
            format!("attempt {attempt} was cancelled by a person or the scheduler: {detail}"),
        );
    }
    if let Some(budget) = budget(step.policy, end) {
        let used = step.job.ends[&end];
        if used > budget.allowed {
            return step.settle(
                Outcome::Failed,
                format!(
                    "attempt {attempt} {detail}{}",
                    exhausted(used, budget.allowed, budget.key)
                ),
            );
        }
    }
    // An operator's wish is no attempt to get on, and an outside cause not the program's fault. At an
    // end that the supervisor did not survive, nobody has looked for progress.
    let judged_by_progress = active.wish.is_none()
        && active.evidence.record.is_some()
        && matches!(end, AttemptEnd::ResumeRequested | AttemptEnd::TimeLimit);
    if progressed {
        step.job.without_progress = 0;
    } else if judged_by_progress {
        step.job.without_progress += 1;
        let stuck = step.policy.stuck_after.get();
        if step.job.without_progress >= stuck {
            return step.settle(
                Outcome::Failed,
                format!(
                    "attempt {attempt} {detail}, {stuck} in a row without any progress: no newer \
                     checkpoint, no changed file in the output directory, no larger fraction \
                     announced (resume.stuck_after = {stuck})"
                ),
            );
        }
    }
    let until = step.at.after(wait(step, end, progressed));
    if end != AttemptEnd::ResumeRequested {
        step.notify(
            Level::Warning,
            format!("attempt {attempt} {detail}; it will be resumed"),
        );
    }
    step.job.phase = Phase::Waiting {
        until,
        reason: format!("attempt {attempt} {detail}"),
    };
}

/// Takes down what the attempt leaves, and tells whether that is, or may be, more than there was: what
/// could not be looked at is never taken for nothing.
fn note_progress(step: &mut Step<'_>, active: &Active) -> bool {
    let record = active.evidence.record.as_ref().map(|(_, record)| record);
    let requested = active.evidence.request.as_ref();
    let left = record
        .and_then(|record| record.checkpoint)
        .max(requested.and_then(|request| request.checkpoint));
    let newer = left > step.job.newest_checkpoint;
    step.job.newest_checkpoint = left.max(step.job.newest_checkpoint);
    newer
        || active.advanced
        || record.is_some_and(|record| record.output_changed != OutputChange::Unchanged)
}

fn wait(step: &mut Step<'_>, end: AttemptEnd, progressed: bool) -> std::time::Duration {
    if progressed {
        step.job.setbacks = 0;
        return std::time::Duration::ZERO;
    }
    let backoff = back_off(step.job, step.policy);
    match end {
        AttemptEnd::ResumeRequested if step.job.setbacks == 1 => std::time::Duration::ZERO,
        _ => backoff,
    }
}

/// Notes one more setback, and tells how long to wait after it.
pub(super) fn back_off(job: &mut Job, policy: &Policy) -> std::time::Duration {
    let doublings = job.setbacks.min(20);
    job.setbacks = job.setbacks.saturating_add(1);
    let backoff = policy.backoff.saturating_mul(1 << doublings);
    backoff.min(policy.backoff_max)
}

struct Budget {
    allowed: u32,
    key: &'static str,
}

fn budget(policy: &Policy, end: AttemptEnd) -> Option<Budget> {
    let (allowed, key) = match end {
        AttemptEnd::TimeLimit => (policy.time_limits, "time_limits"),
        AttemptEnd::Preempted => (policy.preemptions, "preemptions"),
        AttemptEnd::NodeFailure => (policy.node_failures, "node_failures"),
        AttemptEnd::Lost => (policy.losses, "losses"),
        AttemptEnd::OutOfMemory => (policy.out_of_memory_retries, "out_of_memory_retries"),
        AttemptEnd::Failed => (policy.failure_retries, "failure_retries"),
        AttemptEnd::ResumeRequested | AttemptEnd::Completed | AttemptEnd::Cancelled => {
            return None;
        }
    };
    Some(Budget { allowed, key })
}

fn exhausted(used: u32, allowed: u32, key: &str) -> String {
    match allowed {
        0 => String::new(),
        _ => format!(", {used} such ends (resume.{key} = {allowed})"),
    }
}

/// The last line of a text of several, such as a traceback, that says something.
fn last_line(text: &str) -> &str {
    let mut lines = text.lines().map(str::trim);
    lines.rfind(|line| !line.is_empty()).unwrap_or_default()
}

/// The evidence in half a sentence, to follow "attempt 3 ". `said` is what is told of a text that the
/// program gave for its failure.
fn describe(active: &Active, end: AttemptEnd, said: fn(&str) -> String) -> String {
    let record = active.evidence.record.as_ref().map(|(_, record)| record);
    let program = record.map(|record| match &record.end {
        ProgramEnd::Exited(code) => format!("its program exited with code {code}"),
        ProgramEnd::Signaled(signal) => format!("its program was killed by signal {signal}"),
        ProgramEnd::NotStarted(text) => format!("its program could not be started: {text}"),
        ProgramEnd::Fenced(text) if record.started.is_some() => {
            format!("how its program ended is not known: {text}")
        }
        ProgramEnd::Fenced(text) => format!("its program was not started: {text}"),
    });
    let unseen = record.and_then(|record| match &record.output_changed {
        OutputChange::Unknown(reason) => Some(reason),
        OutputChange::Unchanged | OutputChange::Changed => None,
    });
    let scheduler = match &active.evidence.cluster {
        Some((_, cu_scheduler::ClusterState::Ended(end))) => {
            Some(format!("the scheduler says: {}", end.text))
        }
        Some((_, cu_scheduler::ClusterState::Gone)) => {
            Some("the scheduler has it no longer".to_owned())
        }
        _ => None,
    };
    let seen = match (&program, &scheduler) {
        (Some(program), _) => program.clone(),
        (None, Some(scheduler)) if !active.was_started() => {
            format!("nothing shows that its program was started; {scheduler}")
        }
        (None, Some(scheduler)) => format!("no record of its end was found; {scheduler}"),
        (None, None) => "no record of its end was found".to_owned(),
    };
    let seen = match unseen {
        Some(reason) => {
            format!("{seen}; could not tell whether its output directory changed: {reason}")
        }
        None => seen,
    };
    let seen = match &active.evidence.last_words {
        Some(text) => format!("{seen}; its standard error ends with: {text}"),
        None => seen,
    };
    let seen = match active.output_remade {
        true => format!("{seen}; {OUTPUT_REMADE} before it"),
        false => seen,
    };
    let seen = match &active.evidence.failure {
        Some(text) => format!("{seen}, after it said: {}", said(text)),
        None => seen,
    };
    let seen = match &active.left_behind {
        Some(left) => format!("{seen}; it {}", left_behind(left)),
        None => seen,
    };
    if let (AttemptEnd::Completed, Some(earlier)) = (end, active.needless) {
        let cause = late_results(earlier);
        return format!("was needed no longer, since {cause} ({seen})");
    }
    match end {
        AttemptEnd::Completed if active.evidence.results => {
            format!("delivered its results ({seen})")
        }
        AttemptEnd::Completed => format!("completed the job ({seen})"),
        AttemptEnd::ResumeRequested => format!("asked to be resumed ({seen})"),
        AttemptEnd::Failed => format!("failed ({seen})"),
        AttemptEnd::TimeLimit => format!("reached its time limit ({seen})"),
        AttemptEnd::Preempted => format!("was preempted ({seen})"),
        AttemptEnd::NodeFailure => format!("lost its node ({seen})"),
        AttemptEnd::OutOfMemory => format!("ran out of memory ({seen})"),
        AttemptEnd::Cancelled => format!("was cancelled ({seen})"),
        AttemptEnd::Lost => format!("was lost ({seen})"),
    }
}

/// What is waited for and what happens then, or why it ended: one sentence. What others have said in
/// several lines, a scheduler's complaint for example, is one.
pub(crate) fn why(job: &Job, policy: &Policy) -> String {
    let sentence = one_line(&sentence(job, policy));
    match job.late {
        Some(late) => format!("{sentence}; {}", too_late(late)),
        None => sentence,
    }
}

/// What an attempt has said that had been given up: half a sentence.
pub(super) fn too_late(late: Late) -> String {
    let said = match late.said {
        LateWord::EarlyMetrics => "early metrics",
        LateWord::Results => "its results",
        LateWord::ResumeRequest => "a request to be resumed",
        LateWord::Failure => "why it failed",
    };
    format!(
        "attempt {}, which had been given up, has said something since, at last {said}: that is \
         recorded, and the job stays as it is",
        late.attempt
    )
}

/// A text of several lines as one.
pub(crate) fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim);
    let lines: Vec<_> = lines.filter(|line| !line.is_empty()).collect();
    lines.join(" / ")
}

fn sentence(job: &Job, policy: &Policy) -> String {
    match &job.phase {
        Phase::Settled { why, .. } => why.clone(),
        Phase::Waiting { reason, .. } if job.wanted == Wanted::Pause => {
            format!("{reason}; it is paused until an operator continues it")
        }
        Phase::Waiting { until, reason } => {
            let capped = super::step::cap_ends(job, policy);
            let attempt = job.next_attempt;
            if capped > *until {
                let cap = policy.submissions_per_hour;
                return format!(
                    "{reason}; attempt {attempt} is submitted at {}, since {cap} attempts have been \
                     submitted within an hour (resume.submissions_per_hour)",
                    moment(capped)
                );
            }
            let room = match policy.max_submitted {
                Some(most) => format!(
                    ", as soon as there is room: {most} may be queued or running at a time \
                     (backend.max_submitted)"
                ),
                None => String::new(),
            };
            match until.0 {
                0 => format!("{reason}; attempt {attempt} is submitted next{room}"),
                _ => format!(
                    "{reason}; attempt {attempt} is submitted after {}{room}",
                    moment(*until)
                ),
            }
        }
        Phase::Active(active) => super::why_active::sentence(job, active, policy),
    }
}

/// To the second, or a moment beyond which the format does not go, when all is over anyway.
pub(super) fn moment(at: Timestamp) -> String {
    const LAST: Timestamp = Timestamp(253_402_300_799_000);
    humantime::format_rfc3339_seconds(at.min(LAST).into()).to_string()
}
