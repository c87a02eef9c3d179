//! The sum over the jobs of a run, for its status.

use cu_protocol::{Attempt, Fraction};
use serde::{Deserialize, Serialize};

use super::job::{Job, Wanted};
use super::words::{Why, why};
use crate::{Counts, JobState, JobWait, Policy, Status};

/// The sum over jobs, kept up to date one job at a time. The store has it, so that its readers need not look at each job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// Jobs by state.
    pub counts: Counts,
    /// Attempts submitted.
    pub attempts: u64,
    /// Attempts submitted, each job's first aside.
    pub resumes: u64,
    done: f64,
}

/// What one job adds to the sum. Less than the job, since a reader of many thousands reads no more of each.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct Share {
    /// Its state, which the store has beside it.
    #[serde(skip, default = "waiting")]
    pub state: JobState,
    /// As [`Job::wanted`].
    pub wanted: Wanted,
    /// As [`Job::next_attempt`].
    pub next_attempt: Attempt,
    /// As [`Job::fraction`].
    pub fraction: Option<Fraction>,
}

fn waiting() -> JobState {
    JobState::Waiting
}

impl From<&Job> for Share {
    fn from(job: &Job) -> Self {
        Self {
            state: job.state(),
            wanted: job.wanted,
            next_attempt: job.next_attempt,
            fraction: job.fraction,
        }
    }
}

impl Share {
    fn is_paused(&self) -> bool {
        self.wanted == Wanted::Pause && self.state == JobState::Waiting
    }

    /// How much of the job is done, from 0 to 1: 1 when completed, else what was announced.
    fn done(&self) -> f64 {
        match self.state {
            JobState::Completed => 1.0,
            _ => self.fraction.map_or(0.0, Fraction::get),
        }
    }

    fn attempts(&self) -> u64 {
        u64::from(self.next_attempt.0)
    }
}

impl Tally {
    /// Adds a job.
    pub fn add(&mut self, job: impl Into<Share>) {
        let job = job.into();
        self.counts.add(job.state);
        self.counts.paused += u32::from(job.is_paused());
        self.attempts += job.attempts();
        self.resumes += job.attempts().saturating_sub(1);
        self.done += job.done();
    }

    /// Counts this many jobs that are still to come, in the place of those that were.
    pub fn set_to_come(&mut self, to_come: u32) {
        let counts = &mut self.counts;
        counts.total = counts.total - counts.to_come + to_come;
        counts.waiting = counts.waiting - counts.to_come + to_come;
        counts.to_come = to_come;
    }

    /// Takes a job out that was added in this very state.
    pub fn remove(&mut self, job: impl Into<Share>) {
        let job = job.into();
        self.counts.remove(job.state);
        self.counts.paused -= u32::from(job.is_paused());
        self.attempts -= job.attempts();
        self.resumes -= job.attempts().saturating_sub(1);
        self.done -= job.done();
    }

    /// Writes the sum into a status, and what `first_queued` waits for if nothing runs.
    pub fn show_in(&self, status: &mut Status, first_queued: Option<&Job>, policy: &Policy) {
        status.jobs = self.counts;
        status.attempts = self.attempts;
        status.resumes = self.resumes;
        status.done_per_mille = self.done_per_mille();
        let first_queued = first_queued.filter(|_| self.counts.running == 0);
        status.waits_for = first_queued.map(|job| {
            let Why { sentence, limit } = why(job, policy);
            JobWait::new(job.id, sentence, limit)
        });
    }

    fn done_per_mille(&self) -> u32 {
        let done = self.done / f64::from(self.counts.total.max(1));
        // In range: a fraction of a thousand.
        let rounded = (done.clamp(0.0, 1.0) * 1000.0).round() as u32;
        // A sum of fractions that came and went is not exact; the counts are.
        match self.counts.completed == self.counts.total {
            true => 1000,
            false => rounded.min(999),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_done_when_the_last_job_is() {
        let per_mille = |completed, done| {
            let counts = Counts {
                total: 10_000,
                completed,
                failed: 10_000 - completed,
                ..Counts::default()
            };
            let tally = Tally {
                counts,
                done,
                ..Tally::default()
            };
            tally.done_per_mille()
        };
        assert_eq!(per_mille(9999, 9999.0), 999);
        // A sum of fractions that came and went.
        assert_eq!(per_mille(10_000, 9_999.999_999), 1000);
        assert_eq!(per_mille(5000, 5000.0), 500);
    }
}
