//! Opens HTCondor as a backend.

use std::sync::Arc;

use async_trait::async_trait;
use cu_core::RunDir;
use cu_scheduler::htcondor::{Htcondor, check_here};
use cu_scheduler::{Error, Examine};

use super::check::check;
use super::options::options;
use crate::backend::interface::Backend;
use crate::backend::keep::shared;
use crate::backend::kind::Kind;
use crate::backend::shared::wrong_option;
use crate::config::{self, File, Parsed};

/// HTCondor. Opening it writes nothing before something is submitted.
pub struct HtcondorBackend;

#[async_trait]
impl Backend for HtcondorBackend {
    async fn open(&self, run: &RunDir, file: &File) -> Result<Arc<dyn Examine>, Error> {
        let opened = Arc::new(Htcondor::open(options(run, file)).await?);
        shared(Kind::Htcondor, run, file.backend.htcondor.keep, opened)
    }

    async fn open_at(
        &self,
        run: &RunDir,
        file: &File,
        place: &str,
    ) -> Option<Result<Arc<dyn Examine>, Error>> {
        let name = place.strip_prefix("access point \"")?.strip_suffix('"')?;
        let mut options = options(run, file);
        options.access_point = Some(name.to_owned());
        let opened = async {
            let opened = Htcondor::open(options).await?;
            opened.answers().await?;
            let keep = file.backend.htcondor.keep;
            shared(Kind::Htcondor, run, keep, Arc::new(opened))
        };
        Some(opened.await)
    }

    fn check(&self, run: &RunDir, parsed: &Parsed) -> Result<Vec<String>, config::Error> {
        let warnings = check(run, parsed)?;
        let here = check_here(&options(run, &parsed.file));
        here.map_err(|wrong| wrong_option(Kind::Htcondor, parsed, wrong))?;
        Ok(warnings)
    }
}
