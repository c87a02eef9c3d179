//! Opens HTCondor as a backend.

use std::sync::Arc;

use async_trait::async_trait;
use cu_core::RunDir;
use cu_scheduler::htcondor::Htcondor;
use cu_scheduler::{Error, Examine};

use super::check::check;
use super::options::options;
use crate::backend::interface::Backend;
use crate::config::{self, File, Parsed};

/// HTCondor. Opening it writes nothing before something is submitted.
pub struct HtcondorBackend;

#[async_trait]
impl Backend for HtcondorBackend {
    async fn open(&self, run: &RunDir, file: &File) -> Result<Arc<dyn Examine>, Error> {
        Ok(Arc::new(Htcondor::open(options(run, file)).await?))
    }

    fn check(&self, run: &RunDir, parsed: &Parsed) -> Result<Vec<String>, config::Error> {
        check(run, parsed)
    }
}
