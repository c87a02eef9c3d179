//! The view of a simulated job: its submission, its number of restarts, its signals.

use std::future::{self, Future};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc::UnboundedReceiver;

use crate::{ClusterJobId, EndCause, Signal, Submission};

/// The program of every job of a cluster.
pub(super) type Program =
    Box<dyn Fn(Run) -> Pin<Box<dyn Future<Output = EndCause> + Send>> + Send + Sync>;

/// One start of one job.
#[derive(Debug)]
pub struct Run {
    /// The submission.
    pub submission: Submission,
    /// Its id.
    pub job: ClusterJobId,
    /// How often the cluster has started it before.
    pub restarts: u32,
    pub(super) signals: UnboundedReceiver<Signal>,
    pub(super) listens: Arc<AtomicBool>,
}

impl Run {
    /// Waits for the next signal. Until the first call of [`listen`](Run::listen) or of this
    /// function, a signal ends the job, as it ends a process without a handler.
    pub async fn signal(&mut self) -> Signal {
        self.listen();
        match self.signals.recv().await {
            Some(signal) => signal,
            // The cluster sends no more signals to this run.
            None => future::pending().await,
        }
    }

    /// Keeps signals for [`signal`](Run::signal) from now on, so that they don't end the job.
    pub fn listen(&self) {
        self.listens.store(true, Ordering::Release);
    }
}
