//! The answers that the loop has given to supervisors and operators, until their connections have sent them. A
//! supervisor that did not hear that its end is recorded records it once more. That takes two waits for the disk, and
//! delays the end of the main process.

use std::sync::Arc;

use tokio::sync::{oneshot, watch};

/// How many answers are still to be sent. Cheap to clone: all clones are one.
#[derive(Clone, Debug)]
pub(crate) struct Answers(Arc<watch::Sender<usize>>);

/// An answer that is still to be sent, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Unsent<T> {
    pub answer: T,
    _counted: Counted,
}

#[derive(Debug)]
struct Counted(Answers);

/// Where an answer is awaited.
pub(crate) type Asker<T> = oneshot::Sender<Unsent<T>>;

impl Answers {
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }

    /// Gives `answer` to the peer that asked. A peer that is gone asks again when it reconnects.
    pub fn give<T>(&self, asker: Asker<T>, answer: T) {
        self.0.send_modify(|count| *count += 1);
        let _counted = Counted(self.clone());
        let _ = asker.send(Unsent { answer, _counted });
    }

    /// Waits until all that were given are sent.
    pub async fn are_sent(&self) {
        // The sender lives as long as this.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count -= 1);
    }
}
