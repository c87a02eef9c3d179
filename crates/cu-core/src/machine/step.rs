//! Decide: `(job, time, event) → (job, actions)`. No I/O, no clock, no chance.

mod said;

use std::time::Duration;

use cu_protocol::{Attempt, ExitRecord, Metrics, Timestamp, Wish};
use cu_scheduler::{ClusterJobId, ClusterState, Observation};

use super::action::{Action, Level};
use super::end;
use super::event::{Event, Order};
use super::job::{Active, Job, Outcome, Phase, Reading, Stage, Wanted};
use super::witnesses::{Verdict, is_over, judge};
use crate::{AttemptReport, Policy};
pub(super) use said::{late_results, left_behind};

/// How long after a cancellation that had no effect the scheduler is asked again.
const CANCEL_AGAIN: Duration = Duration::from_secs(60);

/// What one step leads to, besides the job's new state.
#[derive(Debug, Default)]
pub struct Effects {
    /// To be done once all is recorded.
    pub actions: Vec<Action>,
    /// Attempts that are over, for the history.
    pub ended: Vec<(cu_protocol::JobId, AttemptReport)>,
    /// What has become of jobs' metrics, in this order.
    pub measured: Vec<(cu_protocol::JobId, Measured)>,
}

/// How a job's metrics have changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Measured {
    /// These were announced: they are added, or take the place of those with the same names.
    More(Metrics),
    /// These are the results: they take the place of all.
    Results(Metrics),
}

/// The one who decides about one job at one moment.
pub(super) struct Step<'a> {
    pub job: &'a mut Job,
    pub at: Timestamp,
    pub policy: &'a Policy,
    pub effects: &'a mut Effects,
}

impl Step<'_> {
    /// Takes in what happened.
    pub fn handle(&mut self, event: &Event) {
        match event {
            Event::Said {
                attempt,
                sequence,
                message,
            } => self.said(*attempt, *sequence, message),
            Event::RecordFound { attempt, record } => self.record_found(*attempt, record),
            Event::RecordsRead {
                attempt,
                begun,
                started,
                last_words,
            } => self.records_read(*attempt, *begun, *started, last_words.as_ref()),
            Event::OutputRemade { attempt } => self.output_remade(*attempt),
            Event::Submitted {
                attempt,
                cluster_job,
            } => self.submitted(*attempt, cluster_job),
            Event::SubmitRejected { attempt, reason } => self.rejected(*attempt, reason),
            Event::SubmitDelayed {
                attempt,
                reason,
                retry_after,
            } => {
                let reason = format!("attempt {attempt} can't be submitted now: {reason}");
                self.not_submitted(*attempt, reason, |step| {
                    let window = &mut step.job.window;
                    window.submissions = window.submissions.saturating_sub(1);
                    // A limit that is reached is no setback.
                    retry_after.unwrap_or_else(|| end::back_off(step.job, step.policy))
                });
            }
            Event::SubmitUncertain { attempt, reason } => self.uncertain(*attempt, reason),
            Event::NotFound { attempt } => {
                let unclear = self
                    .active(*attempt)
                    .and_then(|active| active.unclear.as_ref());
                let reason = match unclear {
                    Some(words) => format!("attempt {attempt} was not submitted: {words}"),
                    None => format!("attempt {attempt} was not submitted"),
                };
                self.not_submitted(*attempt, reason, |step| {
                    let backoff = end::back_off(step.job, step.policy);
                    // Once is an accident, such as the end of a main process.
                    match step.job.setbacks {
                        1 => Duration::ZERO,
                        _ => backoff,
                    }
                });
            }
            Event::Observed {
                attempt,
                observation,
            } => self.observed(*attempt, observation),
            Event::Ordered(order) => self.ordered(*order),
            Event::TimePassed => self.time_passed(),
        }
    }

    /// Records the intent to submit the next attempt.
    fn submit(&mut self) {
        let attempt = self.job.next_attempt;
        let window = &mut self.job.window;
        if self.at.since(window.since) >= HOUR {
            (window.since, window.submissions) = (self.at, 0);
        }
        window.submissions += 1;
        self.job.next_attempt = attempt.next();
        self.job.phase = Phase::Active(Box::new(Active::intended(attempt, self.at)));
        self.act(Action::Submit {
            job: self.job.id,
            attempt,
            previous: self.job.previous.clone(),
            metrics: self.job.metrics.clone(),
        });
    }

    pub fn act(&mut self, action: Action) {
        self.effects.actions.push(action);
    }

    pub fn notify(&mut self, level: Level, text: String) {
        let job = self.job.id;
        self.act(Action::Notify { job, level, text });
    }

    fn active(&mut self, attempt: Attempt) -> Option<&mut Active> {
        match &mut self.job.phase {
            Phase::Active(active) if active.attempt == attempt => Some(active),
            _ => None,
        }
    }

    fn record_found(&mut self, attempt: Attempt, record: &ExitRecord) {
        let at = self.at;
        if let Some(active) = self.active(attempt)
            && active.evidence.record.is_none()
        {
            active.host.get_or_insert_with(|| record.host.clone());
            active.started = active.started.or(record.started);
            active.evidence.record = Some((at, record.clone()));
            self.judge();
        }
        self.heard(attempt);
    }

    /// It has told its end, and has nothing more to say.
    fn heard(&mut self, attempt: Attempt) {
        self.job.unheard.retain(|unheard| *unheard != attempt);
    }

    /// Of a reading that began before the last one was due nothing follows.
    fn records_read(
        &mut self,
        attempt: Attempt,
        begun: Timestamp,
        started: bool,
        last_words: Option<&String>,
    ) {
        if let Some(active) = self.active(attempt)
            && let Some(Reading::Begun(due)) = active.evidence.reading
            && begun >= due
        {
            active.evidence.reading = Some(match started {
                true => Reading::Started,
                false => Reading::Vain,
            });
            active.evidence.last_words = last_words.cloned();
            self.judge();
        }
    }

    fn output_remade(&mut self, attempt: Attempt) {
        if let Some(active) = self.active(attempt) {
            active.output_remade = true;
            self.notify(
                Level::Warning,
                format!("{OUTPUT_REMADE} before attempt {attempt}"),
            );
        }
    }

    fn submitted(&mut self, attempt: Attempt, cluster_job: &ClusterJobId) {
        match self.active(attempt) {
            Some(active) => {
                active.stage = Stage::Submitted(cluster_job.clone());
                if active.is_being_cancelled() {
                    self.cancel();
                }
                self.judge();
            }
            // It was over before the scheduler told its name, which frees what is kept of it. One
            // that may run is never replaced or settled before that.
            None => self.act(Action::Cancel {
                cluster_job: cluster_job.clone(),
            }),
        }
    }

    fn rejected(&mut self, attempt: Attempt, reason: &str) {
        let at = self.at;
        if let Some(active) = self.active(attempt)
            && !matches!(active.stage, Stage::Submitted(_))
            && !active.was_heard()
        {
            let text = format!("the scheduler refused it: {reason}");
            let report = active.report(Some((crate::AttemptEnd::Failed, at, text.clone())));
            let needless = active.needless;
            self.effects.ended.push((self.job.id, report));
            let failed = (Outcome::Failed, format!("attempt {attempt}: {text}"));
            let (outcome, why) = self.nobody_wants(needless).unwrap_or(failed);
            self.settle(outcome, why);
        }
    }

    /// The attempt was not submitted: it will be, under the same number, after `wait`.
    fn not_submitted(
        &mut self,
        attempt: Attempt,
        reason: String,
        wait: impl FnOnce(&mut Self) -> Duration,
    ) {
        let at = self.at;
        let Some(active) = self.active(attempt) else {
            return;
        };
        if matches!(active.stage, Stage::Submitted(_)) {
            return; // An answer that was late: the scheduler has it.
        }
        if active.was_heard() {
            // It has spoken, so it was submitted, whatever the scheduler says; and if the scheduler
            // has it no longer, it is over.
            active.stage = Stage::Uncertain;
            active.evidence.cluster = Some((at, ClusterState::Gone));
            return self.judge();
        }
        let needless = active.needless;
        if let Some((outcome, why)) = self.nobody_wants(needless) {
            return self.settle(outcome, why);
        }
        let until = at.after(wait(self));
        self.job.next_attempt = attempt;
        self.job.phase = Phase::Waiting { until, reason };
    }

    /// How the job is settled, now that an attempt was not submitted that nobody wants any more.
    fn nobody_wants(&self, needless: Option<Attempt>) -> Option<(Outcome, String)> {
        match needless {
            Some(earlier) => Some((Outcome::Completed, late_results(earlier))),
            None if self.job.wanted == Wanted::Cancel => {
                Some((Outcome::Cancelled, CANCELLED.to_owned()))
            }
            None => None,
        }
    }

    fn uncertain(&mut self, attempt: Attempt, reason: &str) {
        let job = self.job.id;
        if let Some(active) = self.active(attempt)
            && active.stage == Stage::Submitting
        {
            active.stage = Stage::Uncertain;
            active.unclear = Some(reason.to_owned());
            self.act(Action::Find { job, attempt });
            self.judge();
        }
    }

    fn observed(&mut self, attempt: Attempt, observation: &Observation) {
        let at = self.at;
        let job = self.job.id;
        let Some(active) = self.active(attempt) else {
            return;
        };
        if active.cluster_job() != Some(&observation.job) {
            return;
        }
        active.unknown = match &observation.state {
            ClusterState::Unknown { reason } => Some(reason.clone()),
            _ => None,
        };
        if active.unknown.is_some() {
            return;
        }
        if active.host.is_none() {
            active.host.clone_from(&observation.host);
        }
        let known = active.evidence.cluster.as_ref().map(|(_, state)| state);
        if known == Some(&observation.state) {
            return;
        }
        let requeued = is_requeued(active.started.is_some(), known, &observation.state);
        let is_told = active.evidence.requeued;
        active.evidence.requeued |= requeued;
        if requeued {
            active.waiting = None;
        }
        active.evidence.cluster = Some((at, observation.state.clone()));
        active.evidence.reading = None;
        if let ClusterState::Held { reason } = &observation.state {
            self.notify(
                Level::Warning,
                format!("attempt {attempt} is held by the scheduler: {reason}"),
            );
        } else if requeued && !is_told {
            self.notify(
                Level::Warning,
                format!(
                    "attempt {attempt} was put back into the queue by the scheduler; once it is \
                     started there again, it ends, and the job is resumed"
                ),
            );
        }
        self.judge();
        // Most records lie there already; the grace is for the others.
        if let Some(active) = self.active(attempt)
            && is_over(&observation.state)
            && active.evidence.record.is_none()
            && active.evidence.reading.is_none()
        {
            self.act(Action::ReadRecords { job, attempt });
        }
    }

    fn ordered(&mut self, order: Order) {
        match order {
            // A cancellation is for good: nothing that is asked after it takes it back.
            _ if order != Order::Stop && self.job.is_being_cancelled() => {}
            Order::Stop => {
                self.job.wanted = Wanted::Cancel;
                match &self.job.phase {
                    Phase::Waiting { .. } => {
                        self.settle(Outcome::Cancelled, CANCELLED.to_owned());
                    }
                    Phase::Active(_) => self.cancel(),
                    Phase::Settled { .. } => {}
                }
            }
            Order::Pause => {
                self.job.wanted = Wanted::Pause;
                self.tell(Wish::CheckpointAndExit);
            }
            Order::Continue => {
                self.job.wanted = Wanted::Run;
                // One that was not heard of yet would be told at its start.
                if let Phase::Active(active) = &mut self.job.phase
                    && !active.has_spoken()
                {
                    active.wish = None;
                }
            }
            Order::Checkpoint => self.tell(Wish::CheckpointAndExit),
            Order::Retry if !self.job.can_be_retried() => {}
            Order::Retry => {
                self.job.wanted = Wanted::Run;
                self.job.ends.clear();
                self.job.without_progress = 0;
                self.job.setbacks = 0;
                self.job.phase = Phase::Waiting {
                    until: self.at,
                    reason: "an operator gave it a new chance".to_owned(),
                };
            }
        }
    }

    fn cancel(&mut self) {
        self.tell(Wish::Cancel);
        let again = self.at.after(CANCEL_AGAIN);
        if let Phase::Active(active) = &mut self.job.phase
            && let Some(cluster_job) = active.cluster_job().cloned()
        {
            active.cancel_again = Some(again);
            self.act(Action::Cancel { cluster_job });
        }
    }

    fn tell(&mut self, wish: Wish) {
        let job = self.job.id;
        if let Phase::Active(active) = &mut self.job.phase {
            active.wish = Some(wish);
            let attempt = active.attempt;
            self.act(Action::Tell { job, attempt, wish });
        }
    }

    fn time_passed(&mut self) {
        let due = next_deadline(self.job, self.policy);
        if matches!(self.job.phase, Phase::Waiting { .. }) && due.is_some_and(|due| due <= self.at)
        {
            return self.submit();
        }
        if let Phase::Active(active) = &self.job.phase
            && active.cancel_again.is_some_and(|again| again <= self.at)
        {
            self.cancel();
        }
        self.judge();
    }

    /// Looks at the evidence; if it suffices, the attempt is over. Not while the scheduler's answer
    /// to its submission is due: a fast attempt ends before that, and it has a cluster job id.
    fn judge(&mut self) {
        let Phase::Active(active) = &self.job.phase else {
            return;
        };
        if active.stage == Stage::Submitting {
            return;
        }
        let verdict = judge(
            active,
            self.job.resume_exit_code,
            self.policy.record_grace,
            self.at,
        );
        let (job, attempt) = (self.job.id, active.attempt);
        match verdict {
            Verdict::Undecided => {}
            Verdict::Unread(due) => {
                if let Phase::Active(active) = &mut self.job.phase
                    && due <= self.at
                {
                    active.evidence.reading = Some(Reading::Begun(self.at));
                    self.act(Action::ReadRecords { job, attempt });
                }
            }
            Verdict::Until(_) => {
                // Its record is there, and leaves open why: the scheduler may know.
                if active.evidence.record.is_some() {
                    self.act(Action::Observe { job, attempt });
                }
            }
            Verdict::Ended(end) => {
                if let Phase::Active(active) = std::mem::replace(&mut self.job.phase, NOWHERE) {
                    end::conclude(self, &active, end);
                }
            }
        }
    }

    pub fn settle(&mut self, outcome: Outcome, why: String) {
        if outcome == Outcome::Failed {
            self.notify(Level::Error, why.clone());
        }
        self.job.phase = Phase::Settled { outcome, why };
        // Nobody looks at them now and then any more.
        if !self.job.unheard.is_empty() {
            self.act(Action::ReadLate {
                job: self.job.id,
                attempts: self.job.unheard.clone(),
            });
        }
    }
}

/// Whether an attempt that the scheduler ran is back in its queue. An answer that was given before
/// the start and comes after it tells of a queue too, so not every word of one counts.
fn is_requeued(started: bool, before: Option<&ClusterState>, now: &ClusterState) -> bool {
    let ran = matches!(before, Some(ClusterState::Running { .. }));
    match now {
        ClusterState::Queued { .. } => ran,
        ClusterState::Held { .. } => ran || started,
        _ => false,
    }
}

/// A place holder for the moment in which an attempt is taken out of its job.
const NOWHERE: Phase = Phase::Waiting {
    until: Timestamp::MAX,
    reason: String::new(),
};

pub(super) const HOUR: Duration = Duration::from_secs(3600);
/// What is told of an output directory that somebody has deleted.
pub(super) const OUTPUT_REMADE: &str =
    "its output directory was missing and was made anew, without any checkpoint,";
pub(super) const CANCELLED: &str = "an operator cancelled it";

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
                job.resume_exit_code,
                policy.record_grace,
                Timestamp(0),
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
        Timestamp(0)
    }
}
