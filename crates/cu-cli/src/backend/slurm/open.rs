//! Opens Slurm as a backend.

use std::sync::Arc;

use async_trait::async_trait;
use cu_core::RunDir;
use cu_scheduler::slurm::Slurm;
use cu_scheduler::{Error, Examine};

use super::check::check;
use super::options::options;
use crate::backend::interface::Backend;
use crate::backend::keep::shared;
use crate::backend::kind::Kind;
use crate::config::{self, File, Parsed};

/// Slurm. Opening it writes nothing before something is submitted.
pub struct SlurmBackend;

#[async_trait]
impl Backend for SlurmBackend {
    async fn open(&self, run: &RunDir, file: &File) -> Result<Arc<dyn Examine>, Error> {
        let slurm = Arc::new(Slurm::open(options(run, file)).await?);
        shared(Kind::Slurm, run, file.backend.slurm.keep, slurm)
    }

    fn check(&self, run: &RunDir, parsed: &Parsed) -> Result<Vec<String>, config::Error> {
        check(run, parsed)
    }
}
