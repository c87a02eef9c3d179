//! The one place that asks what time it is. Built on the runtime's clock, so that a test under
//! virtual time sees virtual time stamps; it never runs backwards.

use std::time::SystemTime;

use cu_protocol::Timestamp;
use tokio::time::Instant;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Timestamp,
    started: Instant,
}

impl Clock {
    pub fn start() -> Self {
        Self {
            start: Timestamp::from(SystemTime::now()),
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
