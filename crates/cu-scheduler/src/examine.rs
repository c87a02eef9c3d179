//! The trait of schedulers that can be examined before anything is submitted to them.

use async_trait::async_trait;

use crate::{Finding, Preview, Scheduler, Submission};

/// A [`Scheduler`] that says what to expect of it before anything is submitted. All backends of this crate
/// for real machines implement it.
#[async_trait]
pub trait Examine: Scheduler {
    /// What a person should know of this cluster before relying on it: asked anew with each call.
    async fn examine(&self) -> Vec<Finding>;

    /// The files with which `batch` would be submitted, and the scheduler's verdict on each. Writes and
    /// submits nothing. Empty for a backend that takes submissions without a file.
    async fn preview(&self, batch: &[Submission]) -> Vec<Preview> {
        let _ = batch;
        Vec::new()
    }
}
