//! Decide: `(job, time, event) → (job, actions)`. No I/O, no clock, no chance.

mod said;
mod submission;

use std::time::Duration;

use cu_protocol::{Attempt, ExitRecord, Metrics, Timestamp, Wish};
use cu_scheduler::{ClusterState, Observation};

use super::action::Action;
use super::end::{BRIEF, Next, conclude, ended_by};
use super::event::{Event, Order};
use super::job::{Active, Job, Outcome, Phase, Reading, Stage, Used, Wanted};
use super::reason::{Ended, Reason};
use super::schedule::{HOUR, next_deadline};
use super::witnesses::{Verdict, is_over, judge};
use super::words;
use crate::{AttemptEnd, AttemptReport, Level, Limit, Policy};

/// How long to wait for the effect of a cancellation before it is repeated.
const CANCEL_AGAIN: Duration = Duration::from_secs(60);

/// What one step leads to, besides the job's new state.
#[derive(Debug, Default)]
pub struct Effects {
    /// To be done once everything is recorded.
    pub actions: Vec<Action>,
    /// Attempts that are over, for the history.
    pub ended: Vec<(cu_protocol::JobId, AttemptReport)>,
    /// Changes of jobs' metrics, in this order.
    pub measured: Vec<(cu_protocol::JobId, Measured)>,
    /// The jobs that were settled, in this order.
    pub settled: Vec<cu_protocol::JobId>,
}

/// How a job's metrics have changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Measured {
    /// Announced metrics: they are added, or replace those with the same names.
    More(Metrics),
    /// Results: they replace all metrics.
    Results(Metrics),
}

/// One job at one moment, about which is decided.
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
            Event::SubmitRejected {
                attempt,
                reason,
                is_final,
            } => self.rejected(*attempt, reason, *is_final),
            Event::SubmitDelayed {
                attempt,
                reason,
                retry_after,
            } => self.delayed(*attempt, reason, *retry_after),
            Event::SubmitUncertain { attempt, reason } => self.uncertain(*attempt, reason),
            Event::NotFound { attempt } => self.not_found(*attempt),
            Event::Observed {
                attempt,
                observation,
            } => self.observed(*attempt, observation),
            Event::RoomMade => self.room_made(),
            Event::Ordered(order) => self.ordered(*order),
            Event::Updated { .. } | Event::Added => {}
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
            avoid_hosts: self.job.avoid_hosts.clone(),
            metrics: self.job.metrics.clone(),
        });
    }

    pub fn act(&mut self, action: Action) {
        self.effects.actions.push(action);
    }

    /// Has people read `text`.
    pub fn notify(&mut self, level: Level, text: String) {
        self.notify_of(level, text, None);
    }

    fn notify_of(&mut self, level: Level, text: String, limit: Option<Limit>) {
        let job = self.job.id;
        self.act(Action::Notify {
            job,
            level,
            text,
            limit,
        });
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

    /// Its own record is there, so it has nothing more to report.
    fn heard(&mut self, attempt: Attempt) {
        let without_record = &mut self.job.ended_without_record;
        without_record.retain(|other| *other != attempt);
    }

    /// Ignores a reading that began before the last one was due.
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
                false => Reading::NoRecord,
            });
            active.evidence.last_words = last_words.cloned();
            self.judge();
        }
    }

    fn output_remade(&mut self, attempt: Attempt) {
        if let Some(active) = self.active(attempt) {
            active.output_remade = true;
            let text = words::output_remade(&format!("attempt {attempt}"));
            self.notify(Level::Warning, text);
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
        if let ClusterState::Unknown { reason } = &observation.state {
            active.unknown = Some(reason.clone());
            return;
        }
        let was_unknown = active.unknown.take().is_some();
        if active.host.is_none() {
            active.host.clone_from(&observation.host);
        }
        let known = active.evidence.cluster.as_ref().map(|(_, state)| state);
        if known == Some(&observation.state) {
            if was_unknown {
                active.evidence.cluster = Some((at, observation.state.clone()));
                self.judge();
            }
            return;
        }
        let requeued = is_requeued(active.started.is_some(), known, &observation.state);
        let is_known = active.evidence.requeued;
        active.evidence.requeued |= requeued;
        if requeued {
            active.waiting = None;
        }
        active.evidence.cluster = Some((at, observation.state.clone()));
        active.evidence.reading = None;
        if let ClusterState::Held { reason } = &observation.state {
            self.notify(Level::Warning, words::held(attempt, reason));
        } else if requeued && !is_known {
            self.notify(Level::Warning, words::requeued(attempt, ""));
        }
        self.judge();
        // Most records are there already; the grace is for the others.
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
            // A cancellation is final: no later order takes it back.
            _ if order != Order::Stop && self.job.is_being_cancelled() => {}
            Order::Stop => self.stop(Wanted::Cancel),
            Order::GiveUp => {
                self.stop(Wanted::GiveUp);
                let (_, reason) = ended_by(self.job, self.policy);
                self.notify_of(Level::Warning, reason.to_string(), reason.limit());
            }
            Order::EndEarly => self.stop(Wanted::EndEarly),
            Order::Pause => {
                self.job.wanted = Wanted::Pause;
                self.tell(Wish::CheckpointAndExit);
            }
            Order::Continue => {
                self.job.wanted = Wanted::Run;
                // An attempt that has not spoken yet would receive the wish at its start.
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
                self.job.used = Used::default();
                self.job.without_progress = 0;
                self.job.setbacks = 0;
                self.job.refused_since = None;
                self.job.avoid_hosts.clear();
                self.wait(Duration::ZERO, &Reason::Retried);
            }
        }
    }

    /// Ends the job for good.
    fn stop(&mut self, wanted: Wanted) {
        self.job.wanted = wanted;
        let (outcome, reason) = ended_by(self.job, self.policy);
        match &self.job.phase {
            Phase::Waiting { .. } => self.settle(outcome, &reason),
            Phase::Active(_) => self.cancel(),
            Phase::Settled { .. } => {}
        }
    }

    fn cancel(&mut self) {
        self.tell(Wish::Cancel);
        let job = self.job.id;
        let Phase::Active(active) = &mut self.job.phase else {
            return;
        };
        let (attempt, cluster_job) = (active.attempt, active.cluster_job().cloned());
        if cluster_job.is_some() {
            active.cancel_again = Some(self.at.after(CANCEL_AGAIN));
        }
        if !active.was_started() {
            self.act(Action::Withdraw { job, attempt });
        }
        if let Some(cluster_job) = cluster_job {
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

    /// Looks at the evidence; if it suffices, the attempt is over. Not before the scheduler has answered
    /// its submission: a fast attempt ends before that, and has a cluster job id all the same.
    fn judge(&mut self) {
        let Phase::Active(active) = &self.job.phase else {
            return;
        };
        if active.stage == Stage::Submitting {
            return;
        }
        let verdict = judge(
            active,
            &self.job.exit_rules,
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
                // Its record is there and leaves the cause open, which the scheduler may know.
                if active.evidence.record.is_some() {
                    self.act(Action::Observe { job, attempt });
                }
            }
            Verdict::Ended(end) => {
                let active = active.clone();
                self.conclude(&active, end);
            }
        }
    }

    /// The attempt is over.
    fn conclude(&mut self, active: &Active, end: AttemptEnd) {
        let rules = self.job.exit_rules.clone();
        let ended = Ended {
            active,
            end,
            rules: &rules,
        };
        let detail = words::whole_account(ended);
        let report = active.report(Some((end, self.at, detail)));
        self.effects.ended.push((self.job.id, report));
        let conclusion = conclude(self.job, ended, self.at, self.policy);
        let job = &mut *self.job;
        let all_brief = match words::is_not_done(ended) {
            true => words::all_brief_not_done,
            false => words::all_brief,
        };
        let warnings = odd_chain(job.used, conclusion.used, all_brief);
        job.used = conclusion.used;
        job.ends = conclusion.ends;
        job.without_progress = conclusion.without_progress;
        job.setbacks = conclusion.setbacks;
        job.newest_checkpoint = conclusion.newest_checkpoint;
        job.previous = active.cluster_job().cloned();
        job.avoid_hosts = conclusion.avoid_hosts;
        job.refused_since = None;
        if active.evidence.record.is_none() {
            job.mark_lost(active.attempt);
        }
        match conclusion.next {
            Next::Settle(outcome, reason) => {
                if let Some(processes) = work_left_behind(active, end) {
                    let text = words::left_its_work(processes);
                    self.notify(Level::Warning, format!("attempt {} {text}", active.attempt));
                }
                self.settle(outcome, &reason);
            }
            Next::ResumeAfter(wait) => {
                warnings.for_each(|text| self.notify(Level::Warning, text));
                let reason = Reason::Ended(ended);
                if end != AttemptEnd::ResumeRequested {
                    self.notify(Level::Warning, words::to_be_resumed(&reason));
                }
                self.wait(wait, &reason);
            }
        }
    }

    /// Settles the job. An attempt that may be with the scheduler must have ended.
    pub fn settle(&mut self, outcome: Outcome, reason: &Reason<'_>) {
        let (why, limit) = (reason.to_string(), reason.limit());
        if outcome == Outcome::Failed {
            self.notify_of(Level::Error, why.clone(), limit);
        }
        self.job.phase = Phase::Settled {
            outcome,
            why,
            limit,
        };
        self.effects.settled.push(self.job.id);
        // From now on their files are no longer read periodically.
        if !self.job.ended_without_record.is_empty() {
            self.act(Action::ReadLate {
                job: self.job.id,
                attempts: self.job.ended_without_record.clone(),
            });
        }
    }
}

/// What a command left running that ended at once, as if it had put its work into the background.
fn work_left_behind(active: &Active, end: AttemptEnd) -> Option<&str> {
    let (_, record) = active.evidence.record.as_ref()?;
    let is_meant = end == AttemptEnd::Completed && !active.evidence.results;
    let started = record.started.filter(|_| is_meant)?;
    let is_brief = record.ended.since(started) < BRIEF;
    let processes = record.noticed.ended_processes.as_deref();
    processes.filter(|_| is_brief)
}

/// After this many odd ends in a row, people are warned, once.
const ODD_IN_A_ROW: u32 = 5;

/// What is odd about a chain since its last end, for people.
fn odd_chain(
    before: Used,
    now: Used,
    all_brief: fn(u32) -> String,
) -> impl Iterator<Item = String> {
    let counts = [
        (before.brief, now.brief, all_brief),
        (
            before.unmoved,
            now.unmoved,
            words::all_unmoved as fn(u32) -> String,
        ),
        (before.repeated, now.repeated, words::all_repeated),
    ];
    let reached = |(before, now, _): &(u32, u32, _)| *before < *now && *now == ODD_IN_A_ROW;
    let counts = counts.into_iter().filter(reached);
    counts.map(|(_, now, text)| text(now))
}

/// Whether the scheduler has put an attempt that it ran back into its queue. A queued state may also be
/// an old answer that arrives after the start, so it counts only after a running state.
fn is_requeued(started: bool, before: Option<&ClusterState>, now: &ClusterState) -> bool {
    let ran = matches!(
        before,
        Some(ClusterState::Running { .. } | ClusterState::Suspended)
    );
    match now {
        ClusterState::Queued { .. } => ran,
        ClusterState::Held { .. } => ran || started,
        _ => false,
    }
}
