//! Attempts that are over and stay at their places until the next ones are submitted, where the scheduler
//! looks for work whenever a job ends, and at intervals else.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cu_protocol::{Attempt, JobId};
use cu_scheduler::Starts;

use crate::connections::Connections;

/// How soon after a refusal for want of room a job is submitted again whose earlier attempt had still been
/// there. It leaves now, and a cluster takes about this long to clear it away.
pub(crate) const AFTER_LEAVING: Duration = Duration::from_millis(500);

/// Whether an attempt that is over is to stay until the next one is submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stay {
    UntilTheNext,
    Never,
}

#[derive(Debug)]
pub(crate) struct Succession {
    connections: Arc<Connections>,
    is_useful: AtomicBool,
}

impl Succession {
    pub fn new(connections: Arc<Connections>, starts: Starts) -> Self {
        Self {
            connections,
            is_useful: AtomicBool::new(starts == Starts::WhenAJobEnds),
        }
    }

    pub fn stay(&self) -> Stay {
        match self.is_useful.load(Ordering::Relaxed) {
            true => Stay::UntilTheNext,
            false => Stay::Never,
        }
    }

    /// These attempts are submitted, or not for now: the ones before them leave. Returns the jobs whose
    /// attempts had stayed.
    pub fn is_submitted(&self, attempts: &[(JobId, Attempt)]) -> HashSet<JobId> {
        let before = attempts.iter().filter_map(|(job, attempt)| {
            let before = Attempt(attempt.0.checked_sub(1)?);
            self.connections.end(*job, before).then_some(*job)
        });
        before.collect()
    }

    /// There was no room for a job whose earlier attempt had stayed, since a limit counts both. So nobody
    /// stays any more.
    pub fn takes_room(&self) {
        self.is_useful.store(false, Ordering::Relaxed);
    }
}
