//! What the command line asks of an open backend beside [`Scheduler`].

use async_trait::async_trait;
use cu_scheduler::{Finding, Preview, Scheduler, Submission};

/// An open backend.
#[async_trait]
pub trait Opened: Scheduler {
    /// What a person should know about the cluster before relying on it.
    async fn examine(&self) -> Vec<Finding>;

    /// What the cluster would be given for `batch`, and its verdict. Empty for this machine.
    async fn preview(&self, batch: &[Submission]) -> Vec<Preview>;
}
