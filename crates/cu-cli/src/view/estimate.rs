//! Estimates the time left, from how fast the work was done lately. An estimate has to be earned: it needs
//! several steps of progress. Between two steps it counts down; if it reaches zero before the next one, it
//! was wrong and is not shown. A job that has failed counts as done. Where jobs are cancelled, it
//! starts anew.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use cu_core::Status;

/// The fewest steps of progress that it takes, and the shortest time between the first and the last.
const STEPS: usize = 5;
const SHORTEST: Duration = Duration::from_secs(5);
/// Steps older than this part of the time since the first step say little about the present.
const RECENT: f64 = 0.5;
/// At most this many steps are kept. Of more, every other one is dropped.
const MOST: usize = 256;

/// Watches the fraction of the work that is done.
#[derive(Debug, Default)]
pub struct Estimate {
    /// When the work behind us grew, and to how many thousandths. The first is the state at the first look.
    steps: VecDeque<(Instant, u32)>,
    /// How many jobs were cancelled.
    cancelled: u32,
    /// The estimate, and when it was made.
    made: Option<(Instant, Duration)>,
}

impl Estimate {
    /// The time left after `status` was seen at `now`, if that can be told.
    pub fn left(&mut self, status: &Status, now: Instant) -> Option<Duration> {
        let cancelled = status.jobs.cancelled;
        let per_mille = |jobs: u32| {
            let all = u64::from(status.jobs.total.max(1));
            u32::try_from(u64::from(jobs) * 1000 / all).unwrap_or(1000)
        };
        let done = (status.done_per_mille + per_mille(status.jobs.failed)).min(1000);
        let last = self.steps.back().map(|(_, last)| *last);
        if cancelled != self.cancelled || last.is_some_and(|last| done < last) {
            *self = Self {
                cancelled,
                ..Self::default()
            };
        }
        if last != Some(done) || self.steps.is_empty() {
            self.steps.push_back((now, done));
            if self.steps.len() > MOST {
                let mut place = 0;
                self.steps.retain(|_| {
                    place += 1;
                    place % 2 == 1
                });
            }
            self.made = self.rate().map(|rate| {
                let rest = 1000_u32.saturating_sub(done + per_mille(cancelled));
                let left = Duration::try_from_secs_f64(f64::from(rest) / rate);
                (now, left.unwrap_or(Duration::MAX))
            });
        }
        let (made, left) = self.made?;
        left.checked_sub(now.duration_since(made))
    }

    /// Thousandths in a second, of late.
    fn rate(&self) -> Option<f64> {
        // The first look does not count as a step, and the first step may be what was done before.
        let (first, _) = *self.steps.get(1)?;
        let (last, done) = *self.steps.back()?;
        let since = last.checked_sub(last.duration_since(first).mul_f64(RECENT))?;
        let recent = self.steps.iter().skip(1);
        let mut old_enough = recent.clone().filter(|(at, _)| *at <= since);
        let (from, before) = *old_enough.next_back().or(self.steps.get(1))?;
        let steps = recent.filter(|(at, _)| *at >= from).count();
        let took = last.duration_since(from);
        let is_earned = self.steps.len() > STEPS && steps > 2 && took >= SHORTEST;
        is_earned.then(|| f64::from(done - before) / took.as_secs_f64())
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use cu_core::{Counts, RunState};
    use cu_protocol::Timestamp;

    /// A run of ten jobs, two of them running, so far done.
    pub fn status(done_per_mille: u32) -> Status {
        let created = Timestamp::from_millis(1_795_538_912_120);
        let (run_dir, name) = ("/results/digits".into(), "digits".to_owned());
        let mut status = Status::new(run_dir, name, RunState::Running, created);
        status.backend = "this machine (8 CPUs)".to_owned();
        status.jobs = Counts {
            total: 10,
            waiting: 4,
            running: 2,
            completed: 3,
            failed: 1,
            ..Counts::default()
        };
        (status.attempts, status.resumes) = (12, 6);
        status.done_per_mille = done_per_mille;
        status
    }

    /// What is estimated after the work done was these thousandths at these seconds.
    fn after(steps: &[(u64, u32)], look_at: u64) -> Option<u64> {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut estimate = Estimate::default();
        let mut status = status(0);
        status.jobs.failed = 0;
        for (seconds, done) in steps {
            status.done_per_mille = *done;
            let _ = estimate.left(&status, at(*seconds));
        }
        estimate
            .left(&status, at(look_at))
            .map(|left| left.as_secs())
    }

    #[test]
    fn steady_work_is_estimated_by_its_rate() {
        let steps: Vec<_> = (0..=50).map(|step| (step * 10, step as u32 * 10)).collect();
        assert_eq!(after(&steps, 500), Some(500));
        // Until the next step it counts down, and does not go below zero.
        assert_eq!(after(&steps, 600), Some(400));
        assert_eq!(after(&steps, 1001), None);
    }

    #[test]
    fn of_late_counts_more_than_long_ago() {
        // Slow to begin with: one thousandth in ten seconds, then one in each second.
        let slow = (0..=20).map(|step| (step * 10, step as u32));
        let fast = (1..=300).map(|step| (200 + step, 20 + step as u32));
        let steps: Vec<_> = slow.chain(fast).collect();
        let left = after(&steps, 500).expect("it is steady");
        assert!((670..=690).contains(&left), "{left}");
    }

    #[test]
    fn without_several_steps_nothing_is_estimated() {
        // Three jobs of unequal length.
        assert_eq!(after(&[(0, 0), (60, 333), (200, 667)], 200), None);
        // A half that was done before, announced at once.
        assert_eq!(after(&[(0, 0), (1, 500)], 30), None);
        assert_eq!(after(&[(0, 0), (1, 500), (31, 510)], 32), None);
    }

    #[test]
    fn failures_among_many_jobs_leave_the_estimate() {
        let start = Instant::now();
        let mut estimate = Estimate::default();
        let mut status = status(0);
        (status.jobs.total, status.jobs.failed) = (1000, 0);
        let mut left = None;
        for second in 0..=500 {
            // Each second a job ends, and every fifth one fails.
            status.jobs.failed = second / 5;
            status.done_per_mille = second - second / 5;
            left = estimate.left(&status, start + Duration::from_secs(second.into()));
        }
        let left = left.expect("it is steady").as_secs();
        assert!((495..=505).contains(&left), "{left}");
    }

    #[test]
    fn a_cancelled_job_starts_the_estimate_anew() {
        let start = Instant::now();
        let mut estimate = Estimate::default();
        let mut status = status(0);
        for second in 0..100 {
            status.done_per_mille = second;
            let _ = estimate.left(&status, start + Duration::from_secs(second.into()));
        }
        let now = start + Duration::from_secs(100);
        assert!(estimate.left(&status, now).is_some());
        status.jobs.cancelled += 1;
        assert_eq!(estimate.left(&status, now), None);
    }
}
