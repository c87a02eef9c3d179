//! The supervisors that are connected, by attempt, with the way to send each a wish.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cu_protocol::{Attempt, JobId, Wish};
use tokio::sync::mpsc;

use crate::watcher::Watched;

#[derive(Debug)]
pub(crate) struct Connections {
    of: Mutex<HashMap<(JobId, Attempt), mpsc::UnboundedSender<Wish>>>,
    watched: Arc<Watched>,
}

impl Connections {
    pub fn new(watched: Arc<Watched>) -> Self {
        let of = Mutex::default();
        Self { of, watched }
    }

    /// Sends `wish`, if the attempt is connected.
    pub fn tell(&self, job: JobId, attempt: Attempt, wish: Wish) {
        if let Some(supervisor) = self.lock().get(&(job, attempt)) {
            // A supervisor that has just left receives the wish when it connects again.
            let _ = supervisor.send(wish);
        }
    }

    /// Ends the attempt's connection. Returns whether there was one.
    pub fn end(&self, job: JobId, attempt: Attempt) -> bool {
        // Its conversation finds that nobody speaks to it any more.
        self.lock().remove(&(job, attempt)).is_some()
    }

    /// How many attempts are connected.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    pub fn has(&self, job: JobId, attempt: Attempt) -> bool {
        self.lock().contains_key(&(job, attempt))
    }

    /// Enters a supervisor in the place of an older one of the same attempt, whose receiver closes.
    pub fn enter(&self, job: JobId, attempt: Attempt) -> mpsc::UnboundedReceiver<Wish> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.lock().insert((job, attempt), sender);
        self.watched.stop_asking(job, attempt);
        receiver
    }

    /// Removes the supervisor with this receiver, but not a newer one of the same attempt. The attempt
    /// may be over.
    pub fn leave(&self, job: JobId, attempt: Attempt, mut receiver: mpsc::UnboundedReceiver<Wish>) {
        receiver.close();
        let mut connections = self.lock();
        if let Some(sender) = connections.get(&(job, attempt))
            && sender.is_closed()
        {
            connections.remove(&(job, attempt));
            self.watched.ask_until_over(job, attempt);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(JobId, Attempt), mpsc::UnboundedSender<Wish>>> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
