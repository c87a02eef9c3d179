//! Gathers what is due on a cluster, so that it goes out in few calls. A call takes a controller
//! almost the same time however much it hands over, and a cluster keeps a job waiting far longer
//! than anything waits here.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cu_protocol::{Attempt, JobId, Metrics};
use cu_scheduler::ClusterJobId;
use tokio::time::{Instant, sleep_until};

use crate::act::Actor;

/// The least time between two calls. The first goes out at once.
const BETWEEN_CALLS: Duration = Duration::from_secs(2);

/// What a submission is about, besides its name.
pub(crate) type Due = (JobId, Attempt, Option<ClusterJobId>, Arc<Metrics>);

/// What waits for the next call.
#[derive(Debug, Default)]
pub(crate) struct Gathering(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    due: Vec<Due>,
    /// There is a task that submits whatever is due.
    is_tended: bool,
    last_call: Option<Instant>,
}

impl Gathering {
    /// Adds what has become due. `true` if the caller must have [`submit_all`] see to it.
    pub fn add(&self, due: Vec<Due>) -> bool {
        let mut state = self.lock();
        state.due.extend(due);
        !std::mem::replace(&mut state.is_tended, true)
    }

    /// When the next call may be made. `None` if there is nothing to submit, and nobody tends it
    /// from then on.
    fn next_call(&self) -> Option<Instant> {
        let mut state = self.lock();
        state.is_tended = !state.due.is_empty();
        let now = Instant::now;
        state
            .is_tended
            .then(|| state.last_call.map_or_else(now, |at| at + BETWEEN_CALLS))
    }

    /// All that is due, for a call that is made now.
    fn take(&self) -> Vec<Due> {
        let mut state = self.lock();
        state.last_call = Some(Instant::now());
        std::mem::take(&mut state.due)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Submits until nothing is due. Meanwhile what becomes due gathers for the next call.
pub(crate) async fn submit_all(actor: Actor) {
    while let Some(at) = actor.gathering.next_call() {
        sleep_until(at).await;
        let due = actor.gathering.take();
        actor.clone().submit(due).await;
    }
}
