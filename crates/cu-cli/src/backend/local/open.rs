//! Opens this machine as a backend.

use std::sync::Arc;

use async_trait::async_trait;
use cu_core::RunDir;
use cu_scheduler::local::Local;
use cu_scheduler::{Error, Examine};

use super::check;
use super::options::options;
use crate::backend::interface::Backend;
use crate::config::{self, File, Parsed};

/// This machine. Opening it makes its directory.
pub struct LocalBackend;

#[async_trait]
impl Backend for LocalBackend {
    async fn open(&self, run: &RunDir, file: &File) -> Result<Arc<dyn Examine>, Error> {
        Ok(Arc::new(Local::open(options(run, file))?))
    }

    fn check(&self, run: &RunDir, parsed: &Parsed) -> Result<Vec<String>, config::Error> {
        check::check(run, parsed)
    }
}
