//! The trait of an open backend: a [`Scheduler`] that `cu doctor` and dry runs can ask for more.

use async_trait::async_trait;
use cu_scheduler::{Finding, Preview, Scheduler, Submission};

/// An open backend.
#[async_trait]
pub trait Opened: Scheduler {
    /// Findings about the cluster that a person should know before relying on it.
    async fn examine(&self) -> Vec<Finding>;

    /// The files that the cluster would be given for `batch`, and its verdict on them. Empty for this
    /// machine.
    async fn preview(&self, batch: &[Submission]) -> Vec<Preview>;
}
