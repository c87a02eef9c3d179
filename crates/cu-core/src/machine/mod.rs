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
//! attempts never overlap. `step.rs` takes events in, `witnesses.rs` decides who is believed about an
//! end, `end.rs` what an end means. The rules speak in values; `words.rs` has the sentences for people.
//! Nothing here asks a clock: the time comes with the event.

mod action;
mod end;
mod event;
pub mod invariants;
mod job;
mod orders;
mod reason;
mod schedule;
mod step;
mod tally;
mod witnesses;
mod words;

use std::collections::BTreeSet;
use std::sync::Arc;

use cu_protocol::{Attempt, JobId, Timestamp};

pub use action::Action;
pub use event::{Event, Order};
pub use job::{
    Active, Evidence, Job, Late, LateWord, MOST_WITHOUT_RECORD, Outcome, Phase, Reading, Stage,
    Used, Wanted, Window,
};
pub use orders::orders;
pub(crate) use orders::{order, selection};
pub use step::{Effects, Measured};
pub use tally::{Share, Tally};
pub(crate) use witnesses::is_over;
pub use witnesses::{LONGEST_READING, SCHEDULER_GRACE, Verdict, judge};
pub use words::{Why, why};
pub(crate) use words::{moment, one_line, was_asked};

use crate::{ExitRules, JobState, Level, Policy, Status};
use step::Step;

/// How many jobs [`Machine::pass_time`] takes at once. What a commit records is in memory several times, and the
/// first of a hundred thousand jobs need not wait for the last.
const MOST_DUE: usize = 2_000;

/// All jobs of a run, and when something is due for one of them.
#[derive(Debug)]
pub struct Machine {
    jobs: Vec<Job>,
    policy: Policy,
    /// When something happens to a job by itself. At most one entry a job, here or in `waiting`.
    deadlines: BTreeSet<(Timestamp, JobId)>,
    /// When a job may be submitted, if there is room.
    waiting: BTreeSet<(Timestamp, JobId)>,
    tally: Tally,
    /// The jobs that are submitted and not running.
    queued: BTreeSet<JobId>,
    /// The jobs whose submission is being delayed. Not stored: the next main process reports it again.
    delayed: BTreeSet<JobId>,
    /// The jobs for which the scheduler has no room. Not stored: the next main process asks anew.
    without_room: BTreeSet<JobId>,
    /// How many attempts wait in the scheduler's queue.
    in_queue: usize,
    /// Nothing is submitted any more: the main process is about to end.
    is_closed: bool,
}

impl Machine {
    /// The machine for `jobs`, in the order of their numbers, from 0.
    #[must_use]
    pub fn new(jobs: Vec<Job>, policy: Policy) -> Self {
        let mut machine = Self {
            jobs: Vec::new(),
            policy,
            deadlines: BTreeSet::new(),
            waiting: BTreeSet::new(),
            tally: Tally::default(),
            queued: BTreeSet::new(),
            delayed: BTreeSet::new(),
            without_room: BTreeSet::new(),
            in_queue: 0,
            is_closed: false,
        };
        for job in &jobs {
            machine.enter(Derived::of(job, &machine.policy));
        }
        machine.jobs = jobs;
        machine
    }

    /// Takes in what happened to `job` at `at`, and returns whether it is to be recorded. Ignores unknown
    /// jobs and repeated messages.
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
            self.notify_of_delay(job, event, effects);
            self.note_room(job, event);
        }
        changed || late
    }

    /// Has people read once that a job can't be submitted, not each time that it is tried.
    fn notify_of_delay(&mut self, job: JobId, event: &Event, effects: &mut Effects) {
        let level = match event {
            // `retry_after` means that a limit was reached, which is not an error.
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
            effects.actions.push(Action::Notify {
                job,
                level,
                text: words::to_be_repeated(reason),
                limit: None,
            });
            self.delayed.insert(job);
        }
    }

    fn note_room(&mut self, job: JobId, event: &Event) {
        match event {
            Event::SubmitDelayed {
                retry_after: Some(_),
                ..
            } => self.without_room.insert(job),
            Event::SubmitDelayed { .. } | Event::Submitted { .. } => self.without_room.remove(&job),
            _ => false,
        };
    }

    /// Whether the scheduler has no room for some jobs that could be submitted.
    #[must_use]
    pub fn awaits_room(&self) -> bool {
        !self.without_room.is_empty()
    }

    /// This many attempts have left the scheduler: as many jobs for which it had no room are due. Returns
    /// them, each to be recorded as [`Event::RoomMade`].
    pub fn make_room(&mut self, at: Timestamp, places: usize, effects: &mut Effects) -> Vec<JobId> {
        let mut due = Vec::new();
        while due.len() < places
            && let Some(job) = self.without_room.pop_first()
        {
            if self.step(at, job, &Event::RoomMade, effects) {
                due.push(job);
            }
        }
        due
    }

    /// Gives the run up if more than `failed` jobs have failed by now, and as many as may: cancels all
    /// jobs that are not settled. Returns them, each to be recorded as an [`Order::GiveUp`].
    ///
    /// Only a further failure does that. Else a job that was retried among many failed ones would be
    /// cancelled at once.
    pub fn give_up(&mut self, failed: u32, at: Timestamp, effects: &mut Effects) -> Vec<JobId> {
        let now = self.tally.counts.failed;
        let most = self.policy.max_failures;
        if now <= failed || most.is_none_or(|most| now < most.get()) {
            return Vec::new();
        }
        self.set_to_come(0);
        let goes_on = |job: &&Job| !job.state().is_settled() && !job.wanted.is_end();
        let jobs: Vec<_> = self.jobs.iter().filter(goes_on).map(|job| job.id).collect();
        for job in &jobs {
            self.step(at, *job, &Event::Ordered(Order::GiveUp), effects);
        }
        jobs
    }

    /// Does what is due at `at`: submits attempts, ends waits. Returns the jobs that this changed, in
    /// order, each to be recorded as [`Event::TimePassed`]. Of very many it leaves some for the next call:
    /// [`next_deadline`](Self::next_deadline) then says that they are due.
    pub fn pass_time(&mut self, at: Timestamp, effects: &mut Effects) -> Vec<JobId> {
        let mut changed = Vec::new();
        while changed.len() < MOST_DUE
            && let Some(id) = self.next_due(at)
        {
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
        changed
    }

    /// The next job with something to do by `at`. Those that wait for room are not looked at one by one: there
    /// may be hundreds of thousands.
    fn next_due(&self, at: Timestamp) -> Option<JobId> {
        let is_due = |(due, _): &&(Timestamp, JobId)| *due <= at;
        let waiting = || self.waiting.first().filter(|_| self.has_room());
        let due = self.deadlines.first().filter(is_due);
        due.or_else(|| waiting().filter(is_due)).map(|(_, id)| *id)
    }

    /// Whether the job's next attempt is about to be submitted, and nothing of the run would take the place
    /// of `attempt`, which is over, before that.
    pub(crate) fn starts_when_it_leaves(&self, job: JobId, attempt: Attempt) -> bool {
        let next = self.job(job).and_then(Job::active);
        let is_next = |next: &Active| {
            next.stage == Stage::Submitting && next.attempt == Attempt(attempt.0 + 1)
        };
        self.in_queue == 0 && next.is_some_and(is_next)
    }

    /// Whether more may soon become due than what is being submitted: an attempt may end, or a wait.
    pub(crate) fn can_more_become_due(&self) -> bool {
        self.in_queue > 0 || self.tally.counts.running > 0 || self.next_deadline().is_some()
    }

    /// Adds a job. Its number is the next one.
    pub fn add(&mut self, exit_rules: ExitRules) -> JobId {
        // Each has a number of its own, of that width.
        let id = JobId(self.jobs.len() as u32);
        let job = Job::new(id, exit_rules);
        self.enter(Derived::of(&job, &self.policy));
        self.jobs.push(job);
        self.set_to_come(self.to_come().saturating_sub(1));
        id
    }

    /// This many jobs are still to come.
    pub fn set_to_come(&mut self, to_come: u32) {
        self.tally.set_to_come(to_come);
    }

    /// How many jobs are still to come.
    #[must_use]
    pub fn to_come(&self) -> u32 {
        self.tally.counts.to_come
    }

    /// Whether jobs are not settled, or were settled just now, and each of them is paused or was.
    #[must_use]
    pub fn is_paused(&self, just_settled: &[JobId]) -> bool {
        let counts = &self.tally.counts;
        let open = counts.known() - counts.settled();
        let settled = just_settled.iter().filter_map(|id| self.job(*id));
        let mut of_interest = self.jobs.iter().filter(|job| !job.state().is_settled());
        let any = open > 0 || !just_settled.is_empty();
        any && settled
            .chain(&mut of_interest)
            .all(|job| job.wanted == Wanted::Pause)
    }

    /// Submits nothing from now on: the next main process does that.
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
        let waiting = self.waiting.first().filter(|_| self.has_room());
        let next = self.deadlines.first().into_iter().chain(waiting).min();
        next.map(|(due, _)| *due)
    }

    /// Whether every job is completed, failed or cancelled.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.tally.counts.settled() == self.tally.counts.total
    }

    /// Whether the scheduler is needed, now or later. Not if all jobs that are left are paused.
    #[must_use]
    pub fn needs_scheduler(&self) -> bool {
        let counts = &self.tally.counts;
        counts.queued + counts.running > 0
            || !(self.deadlines.is_empty() && self.waiting.is_empty())
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

    /// Writes what the jobs are into the status of their run.
    pub(crate) fn show_in(&self, status: &mut Status) {
        let first_queued = match self.tally.counts.running {
            0 => self.queued.first().and_then(|id| self.job(*id)),
            _ => None,
        };
        self.tally.show_in(status, first_queued, &self.policy);
    }

    /// The numbers it decides by.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// How many attempts the scheduler has, or is about to.
    pub(crate) fn submitted(&self) -> u32 {
        self.tally.counts.queued + self.tally.counts.running
    }

    fn has_room(&self) -> bool {
        let most = self.policy.max_submitted;
        !self.is_closed && most.is_none_or(|most| self.submitted() < most.get())
    }

    /// Changes a job and what is derived from it: sum and deadlines.
    fn change(&mut self, id: JobId, change: impl FnOnce(&mut Job, &Policy)) -> bool {
        let Some(job) = self.jobs.get_mut(id.0 as usize) else {
            return false;
        };
        // Metrics never change alone: the number of the last message changes with them. So they are left
        // out of the comparison, and `change` need not copy them.
        let mut before = job.clone();
        before.metrics = Arc::default();
        change(job, &self.policy);
        before.metrics = job.metrics.clone();
        if before == *job {
            return false;
        }
        let now = Derived::of(job, &self.policy);
        self.leave(Derived::of(&before, &self.policy));
        self.enter(now);
        true
    }

    fn enter(&mut self, job: Derived) {
        self.tally.add(job.share);
        self.in_queue += usize::from(job.is_in_queue);
        if job.share.state == JobState::Queued {
            self.queued.insert(job.id);
        }
        if let Some(due) = job.due {
            self.due(job.share.state).insert((due, job.id));
        }
    }

    fn leave(&mut self, job: Derived) {
        self.tally.remove(job.share);
        self.in_queue -= usize::from(job.is_in_queue);
        if job.share.state == JobState::Queued {
            self.queued.remove(&job.id);
        }
        if let Some(due) = job.due {
            self.due(job.share.state).remove(&(due, job.id));
        }
    }

    /// Where it stands when something is due for a job in this state.
    fn due(&mut self, state: JobState) -> &mut BTreeSet<(Timestamp, JobId)> {
        match state {
            JobState::Waiting => &mut self.waiting,
            _ => &mut self.deadlines,
        }
    }
}

/// What the machine derives from a job, and keeps up to date.
struct Derived {
    id: JobId,
    share: Share,
    is_in_queue: bool,
    /// When something happens to it by itself.
    due: Option<Timestamp>,
}

impl Derived {
    fn of(job: &Job, policy: &Policy) -> Self {
        Self {
            id: job.id,
            share: job.into(),
            is_in_queue: job.is_in_queue(),
            due: schedule::next_deadline(job, policy),
        }
    }
}
