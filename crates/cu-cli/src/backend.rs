//! The scheduler that a run's config asks for.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use cu_core::RunDir;
use cu_scheduler::Scheduler;
use cu_scheduler::local::{Local, LocalOptions};

use crate::config::{File, Source};
use crate::error::{Error, Result};

/// The backend of `run`, as its `run.toml` says. A run without one, as a program of somebody's own
/// makes it, gets what an empty config asks for.
///
/// # Errors
/// If the file can't be read, or the backend can't be had.
pub fn of_run(run: &RunDir) -> Result<Arc<dyn Scheduler>> {
    let file = match run.config().exists() {
        true => Source::read(&run.config(), Vec::new())?.file()?,
        false => File::default(),
    };
    let local = Local::open(local_options(run, &file)).map_err(|error| match error {
        cu_scheduler::Error::InUse { owner, .. } => Error::Run(cu_core::Error::InUse {
            path: run.path().to_owned(),
            holder: owner,
        }),
        source => Error::Backend {
            backend: "local",
            source,
        },
    })?;
    Ok(Arc::new(local))
}

fn local_options(run: &RunDir, file: &File) -> LocalOptions {
    let local = &file.backend.local;
    let mut options = LocalOptions::new(run.backend("local"));
    options.cpus = local.cpus.map(NonZeroU32::get);
    options.gpus = local.gpus.unwrap_or_default();
    // The supervisor takes one grace time to SIGTERM and one more to SIGKILL, and then writes how
    // it ended: the backend must not kill it before.
    options.grace = 2 * file.stop_policy().grace + Duration::from_secs(5);
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_config_arrives_in_the_backend() {
        let text = "[stop]\ngrace = \"10s\"\n[backend.local]\ncpus = 3\ngpus = 1\n";
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("run.toml");
        std::fs::write(&path, text).expect("a file");
        let source = Source::read(&path, Vec::new()).expect("TOML");
        let run = RunDir::new(folder.path());
        let options = local_options(&run, &source.file().expect("a config"));
        assert_eq!(options.state_dir, run.backend("local"));
        assert_eq!((options.cpus, options.gpus), (Some(3), 1));
        assert_eq!(options.grace, Duration::from_secs(25));
    }
}
