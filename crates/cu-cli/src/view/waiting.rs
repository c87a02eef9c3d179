//! Explains, while no job runs, what the scheduler makes the jobs wait for.

use std::time::{Duration, Instant};

use cu_core::Status;

use super::limit;
use crate::text::moment::in_local_time;

/// A shorter time in the queue needs no explanation.
const SHORT: Duration = Duration::from_secs(10);
/// How often a new reason is shown.
const AGAIN: Duration = Duration::from_secs(60);

/// When to look, and the last reason.
#[derive(Debug, Default)]
pub struct Waiting {
    /// When to look next, while nothing runs.
    next: Option<Instant>,
    said: Option<String>,
}

impl Waiting {
    /// Whether it is time to look for the reason.
    pub fn is_due(&mut self, status: &Status, now: Instant) -> bool {
        if status.jobs.running > 0 || status.jobs.queued == 0 {
            *self = Self::default();
            return false;
        }
        let due = self.next.is_some_and(|next| next <= now);
        if due || self.next.is_none() {
            let pause = if due { AGAIN } else { SHORT };
            self.next = Some(now + pause);
        }
        due
    }

    /// Whether `text` differs from the last reason.
    pub fn is_news(&mut self, text: &str) -> bool {
        self.said.replace(text.to_owned()).as_deref() != Some(text)
    }
}

/// What the first queued job waits for, if nothing runs.
pub fn reason(status: &Status) -> Option<String> {
    let first = status.waits_for.as_ref()?;
    let why = in_local_time(&limit::with_key(&first.why, first.limit));
    let more = match status.jobs.queued {
        0 | 1 => String::new(),
        queued => format!(" (and {} more)", queued - 1),
    };
    Some(format!("no job is running; job {}: {why}{more}", first.job))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::estimate::tests::status;
    use cu_core::JobWait;
    use cu_protocol::JobId;

    #[test]
    fn a_long_wait_is_explained_now_and_then() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut waiting = Waiting::default();
        let mut status = status(0);
        (status.jobs.running, status.jobs.queued) = (0, 3);
        let mut due = |status: &Status| {
            let due = (0..100).filter(|second| waiting.is_due(status, at(*second)));
            due.collect::<Vec<_>>()
        };
        assert_eq!(due(&status), [10, 70]);
        status.jobs.running = 1;
        assert_eq!(due(&status), [0; 0], "something runs");
    }

    #[test]
    fn the_reason_is_said_once() {
        let mut waiting = Waiting::default();
        assert!(waiting.is_news("a"));
        assert!(!waiting.is_news("a"));
        assert!(waiting.is_news("b"));
    }

    #[test]
    fn the_first_queued_job_speaks_for_all() {
        let why = "attempt 0 is queued (PartitionDown)".to_owned();
        let mut status = status(0);
        status.jobs.queued = 3;
        assert_eq!(reason(&status), None, "something runs");
        status.waits_for = Some(JobWait::new(JobId(1), why, None));
        let text = "no job is running; job 1: attempt 0 is queued (PartitionDown) (and 2 more)";
        assert_eq!(reason(&status).as_deref(), Some(text));
    }
}
