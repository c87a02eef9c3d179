//! Decide: what follows from the scheduler's answer to a submission.

use std::time::Duration;

use cu_protocol::Attempt;
use cu_scheduler::{ClusterJobId, ClusterState};

use super::Step;
use crate::machine::action::Action;
use crate::machine::end::ended_by;
use crate::machine::job::{Outcome, Phase, Stage};
use crate::machine::reason::Reason;
use crate::machine::schedule::back_off;
use crate::machine::words;
use crate::{AttemptEnd, Level};

impl Step<'_> {
    pub(super) fn submitted(&mut self, attempt: Attempt, cluster_job: &ClusterJobId) {
        match self.active(attempt) {
            Some(active) => {
                active.stage = Stage::Submitted(cluster_job.clone());
                let is_being_cancelled = active.is_being_cancelled();
                self.job.refused_since = None;
                if is_being_cancelled {
                    self.cancel();
                }
                self.judge();
            }
            // It was over before the scheduler answered. The cancellation frees whatever the
            // scheduler keeps of it. An attempt that may run is never replaced or settled.
            None => {
                let previous = &mut self.job.previous;
                previous.get_or_insert_with(|| cluster_job.clone());
                self.act(Action::Cancel {
                    cluster_job: cluster_job.clone(),
                });
            }
        }
    }

    pub(super) fn rejected(&mut self, attempt: Attempt, reason: &str, is_final: bool) {
        let at = self.at;
        let Some(active) = self.active(attempt) else {
            return;
        };
        if matches!(active.stage, Stage::Submitted(_)) || active.was_heard() {
            return;
        }
        let superseded_by = active.superseded_by;
        let detail = words::refused(reason);
        let report = active.report(Some((AttemptEnd::Failed, at, detail)));
        let unwanted = self.unwanted(superseded_by);
        if unwanted.is_none() && !is_final && self.is_refused_for_now(attempt, reason) {
            return;
        }
        self.effects.ended.push((self.job.id, report));
        let refused = (Outcome::Failed, Reason::Refused { attempt, reason });
        let (outcome, reason) = unwanted.unwrap_or(refused);
        self.settle(outcome, &reason);
    }

    /// Submits a refused attempt again later, unless it is the first of its job, or the scheduler has
    /// refused it for longer than its patience. What the scheduler took an attempt ago, it refuses for a
    /// reason that may pass.
    fn is_refused_for_now(&mut self, attempt: Attempt, reason: &str) -> bool {
        if self.job.previous.is_none() {
            return false;
        }
        // The scheduler may have no other host for it.
        self.job.avoid_hosts.clear();
        let since = self.job.refused_since.unwrap_or(self.at);
        let until = since.after(self.policy.scheduler_patience);
        if until <= self.at {
            return false;
        }
        let refused = Reason::RefusedForNow {
            attempt,
            reason,
            until,
        };
        if self.job.refused_since.replace(since).is_none() {
            self.notify(Level::Warning, refused.to_string());
        }
        self.was_not_submitted();
        let wait = self.set_back().min(until.since(self.at));
        self.submit_again(&refused, attempt, wait);
        true
    }

    pub(super) fn delayed(
        &mut self,
        attempt: Attempt,
        reason: &str,
        retry_after: Option<Duration>,
    ) {
        if !self.is_unsubmitted(attempt) {
            return;
        }
        self.was_not_submitted();
        // A limit that is reached is not a setback.
        let wait = retry_after.unwrap_or_else(|| self.set_back());
        self.submit_again(&Reason::Delayed { attempt, reason }, attempt, wait);
    }

    /// The wait for room is over. Whether there is room, the scheduler says.
    pub(super) fn room_made(&mut self) {
        if let Phase::Waiting { until, .. } = &mut self.job.phase {
            *until = self.at.min(*until);
        }
    }

    pub(super) fn not_found(&mut self, attempt: Attempt) {
        if !self.is_unsubmitted(attempt) {
            return;
        }
        let active = self.active(attempt);
        let unclear = active.and_then(|active| active.unclear.take());
        let backoff = self.set_back();
        // Once is an accident, such as the end of a main process.
        let wait = match self.job.setbacks {
            1 => Duration::ZERO,
            _ => backoff,
        };
        let unclear = unclear.as_deref();
        self.submit_again(&Reason::NotSubmitted { attempt, unclear }, attempt, wait);
    }

    /// An attempt that the scheduler did not take is not one of the hour.
    fn was_not_submitted(&mut self) {
        let window = &mut self.job.window;
        window.submissions = window.submissions.saturating_sub(1);
    }

    /// Notes a setback, and returns how long to wait after it.
    fn set_back(&mut self) -> Duration {
        let wait = back_off(self.job.setbacks, self.policy);
        self.job.setbacks = self.job.setbacks.saturating_add(1);
        wait
    }

    /// Whether the scheduler, which reports that it does not have `attempt`, is right, and the job still
    /// wants it.
    fn is_unsubmitted(&mut self, attempt: Attempt) -> bool {
        let at = self.at;
        let Some(active) = self.active(attempt) else {
            return false;
        };
        if matches!(active.stage, Stage::Submitted(_)) {
            return false; // An answer that was late: the scheduler has it.
        }
        if active.was_heard() {
            // It has sent a message, so it was submitted, whatever the scheduler reports. The scheduler no longer
            // has it, so it is over.
            active.stage = Stage::Uncertain;
            active.evidence.cluster = Some((at, ClusterState::Gone));
            self.judge();
            return false;
        }
        let superseded_by = active.superseded_by;
        if let Some((outcome, reason)) = self.unwanted(superseded_by) {
            self.settle(outcome, &reason);
            return false;
        }
        true
    }

    /// Submits the attempt again, under the same number, after `wait`.
    fn submit_again(&mut self, reason: &Reason<'_>, attempt: Attempt, wait: Duration) {
        self.job.next_attempt = attempt;
        self.wait(wait, reason);
    }

    pub(super) fn wait(&mut self, wait: Duration, reason: &Reason<'_>) {
        self.job.phase = Phase::Waiting {
            until: self.at.after(wait),
            reason: reason.to_string(),
        };
    }

    /// How the job is settled if an attempt that is no longer wanted was not submitted.
    fn unwanted(&self, superseded_by: Option<Attempt>) -> Option<(Outcome, Reason<'static>)> {
        match superseded_by {
            Some(earlier) => Some((Outcome::Completed, Reason::LateResults(earlier))),
            None if self.job.wanted.is_end() => Some(ended_by(self.job, self.policy)),
            None => None,
        }
    }

    pub(super) fn uncertain(&mut self, attempt: Attempt, reason: &str) {
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
}
