//! Decides what happens to each job, from events alone: the same events give the same run.
//!
//! ```text
//!            submit                submitted            the end is judged
//! waiting ───────────► submitting ──────────► queued ─► running ─────────► settled
//!    ▲  ▲                  │  uncertain: find                       │        ▲ completed
//!    │  └──────────────────┘  not found, or not now                 │        │ failed
//!    └──────────────────────────────────────────────────────────────┘        │ cancelled
//!         asked to be resumed, or a budget allows it
//! ```
//!
//! A resume needs both the request and the attempt's end; whichever comes later decides, so that
//! attempts never overlap. `step.rs` takes events in, `witnesses.rs` says who is believed about an
//! end, `end.rs` what an end means.

mod action;
mod end;
mod event;
pub mod invariants;
mod job;
mod step;
mod tally;
mod why_active;
mod witnesses;

use std::collections::BTreeSet;
use std::sync::Arc;

use cu_protocol::{JobId, Timestamp};

pub use action::{Action, Level};
pub use event::{Event, Order};
pub use job::{
    Active, Evidence, Job, Late, LateWord, MOST_UNHEARD, Outcome, Phase, Reading, Stage, Wanted,
    Window,
};
pub use step::{Effects, Measured};
pub use tally::Tally;
pub(crate) use witnesses::is_over;
pub use witnesses::{LONGEST_READING, SCHEDULER_GRACE, Verdict, judge};

use crate::Policy;
use step::Step;

pub(crate) use end::{one_line, why};

/// All jobs of a run, and when something is due for one of them.
#[derive(Debug)]
pub struct Machine {
    jobs: Vec<Job>,
    policy: Policy,
    /// When something happens to a job by itself. At most one entry a job.
    deadlines: BTreeSet<(Timestamp, JobId)>,
    tally: Tally,
    /// Whose submission is being delayed. Not stored: who goes on with the run is told anew.
    delayed: BTreeSet<JobId>,
    /// Nothing is submitted any more: the main process is about to end.
    is_closed: bool,
}

impl Machine {
    /// The machine for `jobs`, which stand in the order of their numbers, from 0.
    #[must_use]
    pub fn new(jobs: Vec<Job>, policy: Policy) -> Self {
        let mut machine = Self {
            jobs: Vec::new(),
            policy,
            deadlines: BTreeSet::new(),
            tally: Tally::default(),
            delayed: BTreeSet::new(),
            is_closed: false,
        };
        for job in &jobs {
            machine.enter(job);
        }
        machine.jobs = jobs;
        machine
    }

    /// Takes in what happened to `job` at `at`, and tells whether that is news, to be recorded.
    /// Unknown jobs are none of ours, and a repeated message is no news.
    pub fn step(
        &mut self,
        at: Timestamp,
        job: JobId,
        event: &Event,
        effects: &mut Effects,
    ) -> bool {
        let late = match (event, self.job(job)) {
            (Event::Said { attempt, .. }, Some(job)) => {
                job.active().is_none_or(|active| active.attempt != *attempt)
            }
            _ => false,
        };
        let changed = self.change(job, |job, policy| {
            Step {
                job,
                at,
                policy,
                effects,
            }
            .handle(event);
        });
        if changed {
            self.tell_of_a_delay(job, event, effects);
        }
        changed || late
    }

    /// Tells people once when a job can't be submitted, not each time that it is tried.
    fn tell_of_a_delay(&mut self, job: JobId, event: &Event, effects: &mut Effects) {
        let level = match event {
            // Who says when to come back has a limit, and nothing is wrong.
            Event::SubmitDelayed {
                retry_after: Some(_),
                ..
            } => Level::Info,
            Event::SubmitDelayed { .. } | Event::NotFound { .. } => Level::Warning,
            Event::Submitted { .. } => {
                self.delayed.remove(&job);
                return;
            }
            _ => return,
        };
        let phase = self.job(job).map(|job| &job.phase);
        if let Some(Phase::Waiting { reason, .. }) = phase
            && !self.delayed.contains(&job)
        {
            let text = format!("{reason}; it is tried again");
            effects.actions.push(Action::Notify { job, level, text });
            self.delayed.insert(job);
        }
    }

    /// Does what is due at `at`: attempts are submitted, waits end. Returns the jobs to which that
    /// happened, in its order, each to be recorded as [`Event::TimePassed`].
    pub fn pass_time(&mut self, at: Timestamp, effects: &mut Effects) -> Vec<JobId> {
        let mut changed = Vec::new();
        let mut full = Vec::new();
        while let Some((due, id)) = self.deadlines.pop_first() {
            if due > at {
                self.deadlines.insert((due, id));
                break;
            }
            let waiting = matches!(self.jobs[id.0 as usize].phase, Phase::Waiting { .. });
            if waiting && !self.has_room() {
                full.push((due, id));
                continue;
            }
            self.deadlines.insert((due, id)); // `change` takes it out again.
            let time_passed = |job: &mut Job, policy: &Policy| {
                let mut step = Step {
                    job,
                    at,
                    policy,
                    effects,
                };
                step.handle(&Event::TimePassed);
            };
            if self.change(id, time_passed) {
                changed.push(id);
            }
        }
        self.deadlines.extend(full);
        changed
    }

    /// From now on nothing is submitted: whoever goes on with the run does that.
    pub fn close(&mut self) {
        self.is_closed = true;
    }

    /// Whether nothing is submitted any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// When [`pass_time`](Self::pass_time) has something to do, if nothing happens before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let room = self.has_room();
        self.deadlines
            .iter()
            .find(|(_, id)| {
                room || !matches!(self.jobs[id.0 as usize].phase, Phase::Waiting { .. })
            })
            .map(|(due, _)| *due)
    }

    /// Whether every job is completed, failed or cancelled.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.tally.counts.settled() == self.tally.counts.total
    }

    /// Whether anything is wanted of the scheduler, now or later. Not if all that is left is paused.
    #[must_use]
    pub fn needs_scheduler(&self) -> bool {
        let counts = &self.tally.counts;
        counts.queued + counts.running > 0 || !self.deadlines.is_empty()
    }

    /// The jobs, by their numbers.
    #[must_use]
    pub fn jobs(&self) -> &[Job] {
        &self.jobs
    }

    /// One job.
    #[must_use]
    pub fn job(&self, id: JobId) -> Option<&Job> {
        self.jobs.get(id.0 as usize)
    }

    /// The jobs summed up.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The numbers it decides by.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    fn has_room(&self) -> bool {
        let submitted = self.tally.counts.queued + self.tally.counts.running;
        let most = self.policy.max_submitted;
        !self.is_closed && most.is_none_or(|most| submitted < most.get())
    }

    /// Changes a job and what is derived from it: sum and deadlines.
    fn change(&mut self, id: JobId, change: impl FnOnce(&mut Job, &Policy)) -> bool {
        let Some(job) = self.jobs.get_mut(id.0 as usize) else {
            return false;
        };
        // Metrics never change alone: with them the number of the last message does. They are not held
        // here, so that they need not be copied to be changed.
        let mut before = job.clone();
        before.metrics = Arc::default();
        change(job, &self.policy);
        before.metrics = job.metrics.clone();
        if before == *job {
            return false;
        }
        self.tally.remove(&before);
        if let Some(due) = step::next_deadline(&before, &self.policy) {
            self.deadlines.remove(&(due, id));
        }
        let after = job.clone();
        self.enter(&after);
        true
    }

    fn enter(&mut self, job: &Job) {
        self.tally.add(job);
        if let Some(due) = step::next_deadline(job, &self.policy) {
            self.deadlines.insert((due, job.id));
        }
    }
}

#[cfg(test)]
mod tests;
