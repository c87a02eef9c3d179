//! The clock of a main process. It is built on the runtime's, so that a test under virtual time sees
//! virtual time stamps, and never runs backwards, not even from one main process to the next.

use std::time::SystemTime;

use cu_protocol::Timestamp;
use tokio::time::Instant;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Timestamp,
    started: Instant,
}

impl Clock {
    /// Starts now, but not before `recorded`, when the main process before recorded something: the
    /// system's clock may have been set back since.
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
    fn time_goes_on_from_the_last_record_if_set_back() {
        let now = Timestamp::from(SystemTime::now());
        assert!(Clock::start(Timestamp::from_millis(0)).now() >= now);
        let recorded = now.after(Duration::from_secs(3600));
        assert!(Clock::start(recorded).now() >= recorded);
    }
}
