//! How often Slurm is asked: seldom, but soon after something was handed over or cancelled.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Unless a person sets it.
pub(super) const POLL: Duration = Duration::from_secs(30);
/// Asks at most this many times as often, and never more often than every two seconds unless a
/// person sets less.
const QUICKER: u32 = 15;

/// When asking again is worth it.
#[derive(Debug)]
pub(super) struct Pace {
    poll: Duration,
    moments: Mutex<Moments>,
    changed: Notify,
}

#[derive(Debug)]
struct Moments {
    asked: Instant,
    /// When something was last handed over or cancelled, or was seen to change.
    stirred: Instant,
}

impl Pace {
    pub fn new(poll: Option<Duration>) -> Self {
        let now = Instant::now();
        Self {
            poll: poll.unwrap_or(POLL),
            moments: Mutex::new(Moments {
                asked: now,
                stirred: now,
            }),
            changed: Notify::new(),
        }
    }

    /// Slurm was asked just now.
    pub fn asked(&self) {
        self.moments().asked = Instant::now();
    }

    /// Something will happen soon: it starts, or it ends.
    pub fn something_is_expected(&self) {
        self.moments().stirred = Instant::now();
        self.changed.notify_waiters();
    }

    /// Returns when it is time to ask.
    pub async fn until_due(&self) {
        loop {
            // Registered before the moments are read, so that no change is missed.
            let changed = self.changed.notified();
            let due = self.due();
            tokio::select! {
                () = tokio::time::sleep_until(due) => return,
                () = changed => {}
            }
        }
    }

    fn due(&self) -> Instant {
        let moments = self.moments();
        let quiet = moments.asked.saturating_duration_since(moments.stirred);
        // A job that has run for long is not expected to end in the next moment.
        let interval = (quiet / 4).clamp(self.poll / QUICKER, self.poll);
        moments.asked + interval
    }

    fn moments(&self) -> std::sync::MutexGuard<'_, Moments> {
        self.moments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn waited(pace: &Pace) -> u64 {
        let begun = Instant::now();
        pace.until_due().await;
        pace.asked();
        begun.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn polling_slows_down_and_speeds_up_again() {
        let pace = Pace::new(None);
        pace.something_is_expected();
        pace.asked();
        let mut last = 0;
        for turn in 0.. {
            let now = waited(&pace).await;
            assert!((2..=30).contains(&now) && now >= last, "{last} then {now}");
            last = now;
            if now == 30 {
                assert!(
                    (10..40).contains(&turn),
                    "{turn} questions until it is slow"
                );
                break;
            }
        }
        pace.something_is_expected();
        assert_eq!(waited(&pace).await, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_submission_wakes_a_caller_that_waits() {
        let pace = Pace::new(None);
        tokio::time::advance(Duration::from_secs(3600)).await;
        pace.asked();
        let begun = Instant::now();
        tokio::join!(pace.until_due(), async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            pace.something_is_expected();
        });
        assert_eq!(begun.elapsed().as_secs(), 5);
    }
}
