//! What the directory of each backend offers to the rest of `cu`.

use std::sync::Arc;

use async_trait::async_trait;
use cu_core::RunDir;
use cu_scheduler::{Error, Examine};

use crate::config::{self, File, Parsed};

/// A backend, not yet opened.
#[async_trait]
pub trait Backend: Sync {
    /// Opens the backend for `run`, as `file` says.
    ///
    /// # Errors
    /// If it can't be used.
    async fn open(&self, run: &RunDir, file: &File) -> Result<Arc<dyn Examine>, Error>;

    /// Opens the backend for `run` at another cluster or access point than the one that its commands speak to by
    /// themselves. `place` is how that one names itself, such as `access point "ap2"`. `None` if this kind
    /// of backend can't ask another one.
    ///
    /// # Errors
    /// If that one does not answer.
    async fn open_at(
        &self,
        run: &RunDir,
        file: &File,
        place: &str,
    ) -> Option<Result<Arc<dyn Examine>, Error>> {
        let _ = (run, file, place);
        None
    }

    /// Checks a config for this backend. Returns warnings about what is probably not meant.
    ///
    /// # Errors
    /// The first key with a value that can't be right on any cluster of this kind.
    fn check(&self, run: &RunDir, parsed: &Parsed) -> Result<Vec<String>, config::Error> {
        let _ = (run, parsed);
        Ok(Vec::new())
    }
}
