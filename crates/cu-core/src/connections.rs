//! The supervisors that are connected, by attempt, with the way to send each a wish; and how many operators
//! await an answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cu_protocol::{Attempt, JobId, Wish};
use tokio::sync::{mpsc, watch};

use crate::watcher::Watched;

#[derive(Debug)]
pub(crate) struct Connections {
    of: Mutex<HashMap<(JobId, Attempt), mpsc::UnboundedSender<Wish>>>,
    watched: Arc<Watched>,
    answering: watch::Sender<usize>,
}

/// An operator that awaits an answer.
#[derive(Debug)]
pub(crate) struct Answering<'a>(&'a watch::Sender<usize>);

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Connections {
    pub fn new(watched: Arc<Watched>) -> Self {
        let of = Mutex::default();
        let answering = watch::Sender::new(0);
        Self {
            of,
            watched,
            answering,
        }
    }

    /// An operator awaits an answer for as long as the value lives.
    pub fn begin_to_answer(&self) -> Answering<'_> {
        self.answering.send_modify(|count| *count += 1);
        Answering(&self.answering)
    }

    /// Waits until no operator awaits an answer. A request that settles the last job ends the main process, too.
    pub async fn all_are_answered(&self) {
        // The sender lives as long as this.
        let _ = self
            .answering
            .subscribe()
            .wait_for(|count| *count == 0)
            .await;
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
