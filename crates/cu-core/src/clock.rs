//! The one place that asks what time it is. Built on the runtime's clock, so that a test under
//! virtual time sees virtual time stamps; it never runs backwards, not even from one main process to
//! the next.

use std::time::SystemTime;

use cu_protocol::Timestamp;
use tokio::time::Instant;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Timestamp,
    started: Instant,
}

impl Clock {
    /// The clock of a main process. Should the system's have been set back since the one before
    /// recorded something, it goes on from there.
    pub fn start(recorded: Timestamp) -> Self {
        Self {
            start: recorded.max(Timestamp::from(SystemTime::now())),
            started: Instant::now(),
        }
    }

    pub fn now(&self) -> Timestamp {
        self.start.after(self.started.elapsed())
    }

    /// The runtime's instant of `at`.
    pub fn instant(&self, at: Timestamp) -> Instant {
        self.started + at.since(self.start)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_comes_after_a_record_is_later_whatever_the_system_says() {
        let now = Timestamp::from(SystemTime::now());
        assert!(Clock::start(Timestamp(0)).now() >= now);
        let recorded = now.after(Duration::from_secs(3600));
        assert!(Clock::start(recorded).now() >= recorded);
    }
}
