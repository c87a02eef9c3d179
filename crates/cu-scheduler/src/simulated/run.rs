//! What a simulated job sees of its cluster: its submission, its number of restarts, its signals.

use std::future::{self, Future};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc::UnboundedReceiver;

use crate::{ClusterJobId, EndCause, Signal, Submission};

/// What every job of a cluster does.
pub(super) type Program =
    Box<dyn Fn(Run) -> Pin<Box<dyn Future<Output = EndCause> + Send>> + Send + Sync>;

/// One start of one job.
#[derive(Debug)]
pub struct Run {
    /// What was submitted.
    pub submission: Submission,
    /// Under which id.
    pub job: ClusterJobId,
    /// How often the cluster started it before.
    pub restarts: u32,
    pub(super) signals: UnboundedReceiver<Signal>,
    pub(super) listens: Arc<AtomicBool>,
}

impl Run {
    /// Waits for the next signal. Before the first call of [`listen`](Run::listen) or of this, a
    /// signal ends the job, as it ends a process without a handler.
    pub async fn signal(&mut self) -> Signal {
        self.listen();
        match self.signals.recv().await {
            Some(signal) => signal,
            // The cluster has nothing more to say to this one.
            None => future::pending().await,
        }
    }

    /// From now on signals are kept for [`signal`](Run::signal), and end nothing by themselves.
    pub fn listen(&self) {
        self.listens.store(true, Ordering::Release);
    }
}
