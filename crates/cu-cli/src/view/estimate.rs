//! Estimates the time left, from the work done since the first look.

use std::time::{Duration, Instant};

use cu_core::Status;

/// Watches the fraction of the work that is done.
#[derive(Debug, Default)]
pub struct Estimate {
    first: Option<(Instant, u32)>,
}

impl Estimate {
    /// The time left after `status` was seen at `now`, if there was progress since the first look.
    pub fn left(&mut self, status: &Status, now: Instant) -> Option<Duration> {
        let done = status.done_per_mille.min(1000);
        let (since, before) = *self.first.get_or_insert((now, done));
        let gained = done.checked_sub(before).filter(|gained| *gained > 0)?;
        let elapsed = now.duration_since(since);
        Some(elapsed * (1000 - done) / gained)
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

    #[test]
    fn the_rest_takes_as_long_as_the_work_so_far() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut estimate = Estimate::default();
        assert_eq!(estimate.left(&status(200), at(0)), None);
        assert_eq!(estimate.left(&status(200), at(10)), None);
        let left = estimate.left(&status(400), at(60));
        assert_eq!(left, Some(Duration::from_secs(180)));
        // A retried job can take the fraction back.
        assert_eq!(estimate.left(&status(100), at(70)), None);
        assert_eq!(estimate.left(&status(1000), at(300)), Some(Duration::ZERO));
    }
}
