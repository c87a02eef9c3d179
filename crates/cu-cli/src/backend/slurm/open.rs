//! Opens Slurm as a backend.

use std::sync::Arc;

use async_trait::async_trait;
use cu_core::RunDir;
use cu_scheduler::slurm::Slurm;
use cu_scheduler::{Error, Finding, Preview, Submission};

use super::options::options;
use crate::backend::opened::Opened;
use crate::config::File;

/// Opens the backend for `run`, as `file` says. Writes nothing before something is submitted.
///
/// # Errors
/// As [`Slurm::open`].
pub async fn open(run: &RunDir, file: &File) -> Result<Arc<dyn Opened>, Error> {
    Ok(Arc::new(Slurm::open(options(run, file)).await?))
}

#[async_trait]
impl Opened for Slurm {
    async fn examine(&self) -> Vec<Finding> {
        Self::examine(self).await
    }

    async fn preview(&self, batch: &[Submission]) -> Vec<Preview> {
        Self::preview(self, batch).await
    }
}
