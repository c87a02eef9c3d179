//! The sentences that people read about jobs and attempts, made from typed reasons in this one place.
//! No other file of the machine has words for people, and none here decides anything.

mod chains;
mod stops;

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use cu_protocol::{
    Attempt, Condition, ExitRecord, LeftBehind, OutputChange, ProgramEnd, StopCause, Timestamp,
    Waiting, Wish, signal_name,
};
use cu_scheduler::{ClusterState, EndCause};
use cu_system::durations::shown;

use super::end::ended_by;
use super::job::{Active, Job, Late, LateWord, Phase, Reading, Stage, Wanted};
use super::reason::{Ended, Reason};
use super::schedule::cap_ends;
use super::witnesses::{Verdict, judge};
use crate::{AttemptEnd, Limit, Policy};
pub(super) use chains::{all_brief, all_brief_not_done, all_repeated, all_unmoved, left_its_work};
pub(crate) use stops::was_asked;
use stops::{asked, asked_itself, killed_by_cu, pushes, stop_cause, stopped, stopped_by_a_rule};

/// A text of several lines as one.
pub(crate) fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim);
    let lines: Vec<_> = lines.filter(|line| !line.is_empty()).collect();
    lines.join(" / ")
}

/// A moment to the second, in UTC.
pub(crate) fn moment(at: Timestamp) -> String {
    let text = at.to_string();
    match text.rsplit_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => text,
    }
}

/// Why a job is as it is, in one sentence, and the limit that decides it, if one does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// One line.
    pub sentence: String,
    /// For example the budget that is exhausted.
    pub limit: Option<Limit>,
}

/// What the job waits for and what happens then, or why it ended. Several lines that others wrote, such
/// as a scheduler's complaint, become one.
#[must_use]
pub fn why(job: &Job, policy: &Policy) -> Why {
    let (sentence, limit) = match &job.phase {
        Phase::Settled { why, limit, .. } => (why.clone(), *limit),
        Phase::Waiting { until, reason } if reason.is_empty() => {
            waiting(job, *until, &Reason::New.to_string(), policy)
        }
        Phase::Waiting { until, reason } => waiting(job, *until, reason, policy),
        Phase::Active(active) => (with_the_scheduler(job, active, policy), None),
    };
    let sentence = one_line(&sentence);
    let sentence = match job.late {
        Some(late) => format!("{sentence}; {}", too_late(late)),
        None => sentence,
    };
    Why { sentence, limit }
}

fn waiting(job: &Job, until: Timestamp, reason: &str, policy: &Policy) -> (String, Option<Limit>) {
    if job.wanted == Wanted::Pause {
        let paused = format!("{reason}; it is paused until `cu continue`");
        return (paused, None);
    }
    let attempt = job.next_attempt;
    let capped = cap_ends(job, policy);
    if capped > until {
        let most = policy.submissions_per_hour.get();
        let sentence = format!(
            "{reason}; attempt {attempt} is submitted at {}: {most} attempts of the job were submitted \
             within an hour, which is the most allowed",
            moment(capped)
        );
        return (sentence, Some(Limit::SubmissionsPerHour(most)));
    }
    let when = match until.millis() {
        0 => "next".to_owned(),
        _ => format!("after {}", moment(until)),
    };
    let submitted = format!("{reason}; attempt {attempt} is submitted {when}");
    match policy.max_submitted {
        None => (submitted, None),
        Some(most) => (
            format!(
                "{submitted}, as soon as there is room: at most {most} may be queued or running at a time"
            ),
            Some(Limit::MaxSubmitted(most.get())),
        ),
    }
}

fn with_the_scheduler(job: &Job, active: &Active, policy: &Policy) -> String {
    let attempt = active.attempt;
    if active.is_being_cancelled() {
        return being_cancelled(job, active, policy);
    }
    let now = Timestamp::from_millis(0);
    let verdict = judge(active, &job.exit_rules, policy.record_grace, now);
    if let Some(sentence) = over(active, verdict) {
        return sentence;
    }
    match &active.stage {
        Stage::Submitting => {
            return format!(
                "attempt {attempt} is being submitted; the scheduler has not answered yet"
            );
        }
        Stage::Uncertain => {
            let reason = in_parentheses(active.unclear.as_deref());
            return format!(
                "it is not known whether attempt {attempt} was submitted{reason}; the scheduler is asked \
                 for it by name, and it is submitted again if the scheduler does not have it"
            );
        }
        Stage::Submitted(_) => {}
    }
    if let Some(reason) = &active.unknown {
        if let Some((_, record)) = &active.evidence.record {
            let end = program_end(&record.end, record.started.is_some());
            return format!(
                "attempt {attempt} is over ({end}), and the scheduler can't tell why ({reason}); it is asked \
                 again until it can, or until it no longer has the attempt"
            );
        }
        return format!(
            "the scheduler can't tell the state of attempt {attempt} ({reason}); it is asked again until it \
             can, until it no longer has the attempt, or until the attempt reports its end"
        );
    }
    if let Some(waiting) = active.waiting.as_ref().filter(|_| active.started.is_none()) {
        return waits(attempt, waiting);
    }
    queued_or_running(active)
}

fn being_cancelled(job: &Job, active: &Active, policy: &Policy) -> String {
    let attempt = active.attempt;
    let cause = match active.superseded_by {
        Some(earlier) => Reason::LateResults(earlier),
        None => ended_by(job, policy).1,
    };
    match active.stage {
        Stage::Submitted(_) => format!(
            "{cause}; the scheduler was asked to end attempt {attempt}, and is asked again every minute"
        ),
        Stage::Submitting | Stage::Uncertain => format!(
            "{cause}; it is not known yet whether the scheduler has attempt {attempt}; if it does, it is \
             asked to end it"
        ),
    }
}

/// What is awaited of an attempt that is over.
fn over(active: &Active, verdict: Verdict) -> Option<String> {
    let attempt = active.attempt;
    let awaited = match verdict {
        Verdict::Undecided | Verdict::Ended(_) => return None,
        Verdict::Unread(due) => format!(
            "its own record of its end may arrive until {}; then its files are read, and without a \
             record the scheduler's report decides",
            moment(due)
        ),
        Verdict::Until(until) if matches!(active.evidence.reading, Some(Reading::Begun(_))) => {
            format!(
                "its files are being read for its own record of its end; without one, or if they can't \
                 be read until {}, the scheduler's report decides",
                moment(until)
            )
        }
        Verdict::Until(until) => format!(
            "until {} the scheduler may report why it ended; then what is known decides",
            moment(until)
        ),
    };
    Some(format!("attempt {attempt} is over; {awaited}"))
}

fn queued_or_running(active: &Active) -> String {
    let attempt = active.attempt;
    let place = active.host.as_deref().unwrap_or("an unknown host");
    let cluster = active.evidence.cluster.as_ref().map(|(_, state)| state);
    let doing = match cluster {
        Some(ClusterState::Held { reason }) if !active.is_running() => {
            return format!(
                "attempt {attempt} is held by the scheduler ({reason}); it waits until the hold ends, or \
                 until you stop the job"
            );
        }
        Some(ClusterState::Queued { reason }) if active.evidence.requeued => {
            let reason = in_parentheses(reason.as_deref());
            return requeued(attempt, &reason);
        }
        Some(ClusterState::Suspended) => {
            format!(
                "is suspended on {place} by the scheduler, and goes on where it stopped when that ends"
            )
        }
        _ if active.started.is_some() => format!("runs on {place}"),
        Some(ClusterState::Running { .. }) => {
            format!("was started on {place} and has not reported yet")
        }
        Some(ClusterState::Queued { reason }) => {
            format!("is queued{}", in_parentheses(reason.as_deref()))
        }
        _ => "is queued".to_owned(),
    };
    let remade = match active.output_remade {
        true => format!("; {}", output_remade("it")),
        false => String::new(),
    };
    let then = match (&active.evidence.request, active.wish) {
        (Some(_), _) => "it has asked to be resumed, and is resubmitted when it ends",
        (None, Some(Wish::CheckpointAndExit)) if active.has_spoken() => {
            "it was asked to save and exit"
        }
        (None, Some(Wish::CheckpointAndExit)) => {
            "it will be asked to save and exit as soon as it reports"
        }
        (None, Some(Wish::Cancel)) => "it was asked to end",
        (None, None) if active.evidence.results => {
            "it has delivered its results, and is done when it ends"
        }
        (None, None) => return format!("attempt {attempt} {doing}{remade}"),
    };
    format!("attempt {attempt} {doing}; {then}{remade}")
}

impl Display for Reason<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => out.write_str("it has not been submitted yet"),
            Self::Delayed { attempt, reason } => {
                write!(out, "attempt {attempt} can't be submitted now: {reason}")
            }
            Self::NotSubmitted {
                attempt,
                unclear: Some(answer),
            } => write!(out, "attempt {attempt} was not submitted: {answer}"),
            Self::NotSubmitted {
                attempt,
                unclear: None,
            } => write!(out, "attempt {attempt} was not submitted"),
            Self::RefusedForNow {
                attempt,
                reason,
                until,
            } => write!(
                out,
                "attempt {attempt} {}; the scheduler took the job before, so the attempt is submitted \
                 again and again until {}",
                refused(reason),
                moment(*until)
            ),
            Self::Refused { attempt, reason } => {
                write!(out, "attempt {attempt} {}", refused(reason))
            }
            Self::Retried => out.write_str("`cu retry` started it again"),
            Self::Stopped => out.write_str("`cu stop` cancelled it"),
            Self::EndedEarly => {
                out.write_str("early stopping ended it, and it counts with what it announced last")
            }
            Self::TooManyFailures(limit) => write!(
                out,
                "it was cancelled because {} jobs have failed, at which the run is given up",
                limit.value()
            ),
            Self::LateResults(attempt) => write!(
                out,
                "attempt {attempt}, which had been given up, delivered the results"
            ),
            Self::Ended(ended) => write!(out, "{ended}"),
            Self::CancelledOutside(Ended { active, end, .. }) => write!(
                out,
                "a person or the scheduler cancelled attempt {} ({})",
                active.attempt,
                seen(active, *end, last_line)
            ),
            Self::Exhausted { ended, used, limit } => match limit {
                Some(limit) => write!(
                    out,
                    "gave up: {used} attempts without progress {}, {} allowed; {ended}",
                    many_ended(ended.end),
                    match limit.value() {
                        1 => "1 is".to_owned(),
                        most => format!("{most} are"),
                    }
                ),
                None => write!(out, "{ended}"),
            },
            Self::UsedUp { ended, limit } => write!(
                out,
                "gave up: {}; {ended}",
                match limit {
                    Limit::MaxTime(seconds) => format!(
                        "its attempts have run for {} together, the most allowed",
                        shown(Duration::from_secs((*seconds).into()))
                    ),
                    other => format!("it has had {} attempts, the most allowed", other.value()),
                }
            ),
            Self::Stuck { ended, limit } => write!(
                out,
                "gave up: {} in a row changed no file in the output or working directory, and left \
                 neither a newer checkpoint nor a larger fraction; {ended}",
                match limit.value() {
                    1 => "1 attempt".to_owned(),
                    attempts => format!("{attempts} attempts"),
                }
            ),
        }
    }
}

impl Display for Ended<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "attempt {} {}",
            self.active.attempt,
            account(*self, last_line)
        )
    }
}

/// The end of an attempt with all the evidence, for its history; to follow "attempt 3 ".
pub(super) fn whole_account(ended: Ended<'_>) -> String {
    account(ended, |text| text.trim_end())
}

/// The end of an attempt with the evidence; to follow "attempt 3 ". `excerpt` is what of the text that
/// the program gave for its failure is shown.
fn account(ended: Ended<'_>, excerpt: fn(&str) -> &str) -> String {
    let Ended { active, end, .. } = ended;
    let seen = seen(active, end, excerpt);
    if let (AttemptEnd::Completed, Some(earlier)) = (end, active.superseded_by) {
        let cause = Reason::LateResults(earlier);
        return format!("was no longer needed, since {cause} ({seen})");
    }
    let verb = match end {
        AttemptEnd::Completed if active.evidence.results => "delivered its results",
        AttemptEnd::Completed => "completed the job",
        AttemptEnd::ResumeRequested => match (stopped(active), asked_itself(ended)) {
            (Some(cause), false) => return format!("{cause} ({seen})"),
            (Some(cause), true) => return format!("{cause} and asked to be resumed ({seen})"),
            (None, _) if is_not_done(ended) => "ended, and the job is not done",
            (None, _) => "asked to be resumed",
        },
        AttemptEnd::Cancelled if stop_cause(active) == Some(StopCause::Cancel) => {
            return format!("was cancelled by the main process ({seen})");
        }
        AttemptEnd::Failed => "failed",
        AttemptEnd::TimeLimit => match stopped_by_a_rule(active) {
            Some(cause) => return format!("{cause} ({seen})"),
            None => "reached its time limit",
        },
        AttemptEnd::Preempted => "was preempted",
        AttemptEnd::NodeFailure => "lost its node",
        AttemptEnd::OutOfMemory => "ran out of memory",
        AttemptEnd::Cancelled => "was cancelled",
        AttemptEnd::Removed => "was removed by the cluster",
        AttemptEnd::Lost => "was lost",
        AttemptEnd::NotActivated => "could not activate its environment",
    };
    format!("{verb} ({seen})")
}

/// Whether nothing but the user's condition for "done" keeps the job from being completed.
pub(super) fn is_not_done(ended: Ended<'_>) -> bool {
    let record = ended.active.evidence.record.as_ref();
    record.is_some_and(|(_, record)| record.stop.is_none()) && !asked_itself(ended)
}

/// What became of the user's condition for "done", where that decides.
fn condition(record: &ExitRecord) -> Option<String> {
    match record.condition.as_ref()? {
        Condition::Met => Some("it meets the condition for \"done\"".to_owned()),
        _ if record.end != ProgramEnd::Exited(0) => None,
        Condition::NotMet(reason) => {
            Some(format!("the condition for \"done\" is not met: {reason}"))
        }
        Condition::Unknown(reason) => Some(format!(
            "could not tell whether it meets the condition for \"done\": {reason}"
        )),
    }
}

/// The evidence of an attempt's end, to stand in parentheses.
fn seen(active: &Active, end: AttemptEnd, excerpt: fn(&str) -> &str) -> String {
    let evidence = &active.evidence;
    let record = evidence.record.as_ref().map(|(_, record)| record);
    let mut seen = match record {
        Some(record) => match (&record.end, &evidence.stopped) {
            (ProgramEnd::Signaled(9), Some(stopped)) if stopped.kill().is_some() => {
                let words = killed_by_cu(stopped);
                let words = words.unwrap_or_else(|| "was killed by cu".to_owned());
                format!("{}; its program {words}", asked(stopped))
            }
            (end, Some(stopped)) if !stopped.pushes.is_empty() => {
                let end = program_end(end, record.started.is_some());
                format!("{}; {end}", pushes(stopped))
            }
            (end, _) => program_end(end, record.started.is_some()),
        },
        None => without_record(active),
    };
    if record.is_some()
        && let Some((_, ClusterState::Ended(end))) = &evidence.cluster
        && matches!(
            end.cause,
            EndCause::Cancelled | EndCause::Removed | EndCause::Preempted
        )
    {
        seen += &format!("; the scheduler reports: {}", end.text);
    }
    if let Some(text) = record.and_then(condition) {
        seen += &format!("; {text}");
    }
    // Progress decides only whether a next attempt makes sense.
    let is_followed = !matches!(
        end,
        AttemptEnd::Completed | AttemptEnd::Failed | AttemptEnd::Cancelled
    );
    if let Some(OutputChange::Unknown(reason)) = record.map(|record| &record.output_changed)
        && is_followed
    {
        seen += &format!("; could not tell whether its output directory changed: {reason}");
    }
    if let Some(text) = &evidence.last_words {
        seen += &format!("; its standard error ends with: {text}");
    }
    if active.output_remade {
        seen += &format!("; {}", output_remade("it"));
    }
    if let Some(text) = &evidence.failure {
        seen += &format!(", after it reported: {}", excerpt(text));
    }
    if let Some(processes) = record.and_then(|it| it.noticed.ended_processes.as_ref()) {
        seen += &format!("; cu ended what it left running: {processes}");
    }
    if let Some(left) = &active.left_behind {
        seen += &format!("; it {}", left_behind(left));
    }
    seen
}

fn program_end(end: &ProgramEnd, was_started: bool) -> String {
    match end {
        ProgramEnd::Exited(code) => format!("its program exited with code {code}"),
        ProgramEnd::Signaled(signal) => {
            format!("its program was killed by {}", signal_name(*signal))
        }
        ProgramEnd::NotStarted(text) => format!("its program could not be started: {text}"),
        ProgramEnd::Fenced(text) if was_started => {
            format!("how its program ended is not known: {text}")
        }
        ProgramEnd::Fenced(text) => format!("its program was not started: {text}"),
    }
}

fn without_record(active: &Active) -> String {
    let scheduler = match &active.evidence.cluster {
        Some((_, ClusterState::Ended(end))) => format!("the scheduler reports: {}", end.text),
        Some((_, ClusterState::Gone)) => "the scheduler no longer has it".to_owned(),
        _ => return "no record of its end was found".to_owned(),
    };
    match active.was_started() {
        true => format!("no record of its end was found; {scheduler}"),
        false => format!(
            "nothing shows that its program was started; {scheduler}{}",
            perhaps_blind(active)
        ),
    }
}

/// The usual cause if a node ran an attempt's script, and not even its standard error is there.
fn perhaps_blind(active: &Active) -> String {
    let evidence = &active.evidence;
    let ran = match &evidence.cluster {
        Some((_, ClusterState::Ended(end))) => matches!(
            end.cause,
            EndCause::Exited(_) | EndCause::Signaled(_) | EndCause::NotStarted
        ),
        _ => false,
    };
    match &active.host {
        Some(host) if ran && evidence.last_words.is_none() => {
            format!("; it left no message: perhaps {host} does not see the run directory")
        }
        _ => String::new(),
    }
}

/// The last line of a text of several, such as a traceback, that is not empty.
fn last_line(text: &str) -> &str {
    let mut lines = text.lines().map(str::trim);
    lines.rfind(|line| !line.is_empty()).unwrap_or_default()
}

/// To follow "attempt 3 ".
pub(super) fn refused(reason: &str) -> String {
    format!("was refused by the scheduler: {reason}")
}

/// To follow "attempt 3 ".
pub(super) fn left_behind(left: &LeftBehind) -> String {
    format!(
        "left processes behind on {} that can't be killed: {}; the next attempt waits until they have \
         ended",
        left.host, left.processes
    )
}

/// The job will be resumed, which it did not ask for.
pub(super) fn to_be_resumed(reason: &Reason<'_>) -> String {
    format!("{reason}; it will be resumed")
}

/// The submission will be repeated.
pub(super) fn to_be_repeated(reason: &str) -> String {
    format!("{reason}; it is tried again")
}

/// What several attempts did, to follow "21 attempts without progress ".
fn many_ended(end: AttemptEnd) -> &'static str {
    match end {
        AttemptEnd::TimeLimit => "reached their time limit",
        AttemptEnd::Preempted => "were preempted",
        AttemptEnd::NodeFailure => "lost their node",
        AttemptEnd::OutOfMemory => "ran out of memory",
        AttemptEnd::Removed => "were removed by the cluster",
        AttemptEnd::Lost => "were lost",
        AttemptEnd::NotActivated => "could not activate their environment",
        AttemptEnd::Failed => "failed",
        AttemptEnd::ResumeRequested | AttemptEnd::Completed | AttemptEnd::Cancelled => "ended",
    }
}

/// Why an attempt that runs has not started its program.
pub(super) fn waits(attempt: Attempt, waiting: &Waiting) -> String {
    format!(
        "attempt {attempt} waits on {} and has not started its program: {}; it starts as soon as it may, \
         and if that is not before {}, it ends without starting anything, and the job is resumed",
        waiting.host,
        waiting.reason,
        moment(waiting.until)
    )
}

/// What an attempt that had been given up has reported.
pub(super) fn too_late(late: Late) -> String {
    let said = match late.said {
        LateWord::EarlyMetrics => "early metrics",
        LateWord::Results => "its results",
        LateWord::ResumeRequest => "a request to be resumed",
        LateWord::Failure => "why it failed",
    };
    format!(
        "attempt {}, which had been given up, has reported something since, most recently {said}: that \
         is recorded, and the job stays as it is",
        late.attempt
    )
}

/// Somebody has deleted the output directory; `attempt` is the next to use it.
pub(super) fn output_remade(attempt: &str) -> String {
    format!(
        "its output directory was missing before {attempt} started and was made anew, without any \
         checkpoint"
    )
}

pub(super) fn held(attempt: Attempt, reason: &str) -> String {
    format!("attempt {attempt} is held by the scheduler: {reason}")
}

/// `reason` is empty, or stands in parentheses.
pub(super) fn requeued(attempt: Attempt, reason: &str) -> String {
    format!(
        "attempt {attempt} was put back into the queue by the scheduler{reason}; when the scheduler starts \
         it again, it ends, and the job is resumed"
    )
}

fn in_parentheses(reason: Option<&str>) -> String {
    reason.map_or_else(String::new, |reason| format!(" ({reason})"))
}
