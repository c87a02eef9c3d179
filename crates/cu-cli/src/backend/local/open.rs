//! Opens this machine as a backend.

use std::sync::Arc;

use async_trait::async_trait;
use cu_core::RunDir;
use cu_scheduler::local::Local;
use cu_scheduler::{Error, Finding, Level, Preview, Submission};

use super::options::options;
use crate::backend::opened::Opened;
use crate::config::File;

/// Opens the backend for `run`, as `file` says. Makes its directory.
///
/// # Errors
/// As [`Local::open`].
pub fn open(run: &RunDir, file: &File) -> Result<Arc<dyn Opened>, Error> {
    Ok(Arc::new(Local::open(options(run, file))?))
}

#[async_trait]
impl Opened for Local {
    async fn examine(&self) -> Vec<Finding> {
        let text = format!("attempts run on {self}, as long as it is not restarted");
        vec![Finding::new("scheduler", Level::Good, text)]
    }

    async fn preview(&self, _batch: &[Submission]) -> Vec<Preview> {
        Vec::new()
    }
}
