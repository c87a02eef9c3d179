//! Whether a run may be acted on: it must be this user's own.
//!
//! Whoever acts on a run asks this first: before a log, a lock or a backend is opened in its directory,
//! since what lies there is executed, written to and believed.

use cu_system::users;

use crate::store::must_exist;
use crate::{Error, Result, RunDir};

/// Whether the run in `run_dir` may be resumed, stopped, or asked for anything. To read it needs less:
/// what its files' modes allow.
///
/// # Errors
/// [`Error::NoRun`]; [`Error::Untrusted`] if it is not this user's alone; [`Error::File`].
pub fn check_run(run_dir: &RunDir) -> Result<()> {
    must_exist(run_dir)?;
    cu_supervisor::check_run(run_dir).map_err(|error| match error {
        cu_supervisor::Error::Untrusted(untrusted) => Error::Untrusted(untrusted),
        cu_supervisor::Error::File { what, path, source } => Error::File { what, path, source },
        other => Error::file("examine", run_dir.path())(std::io::Error::other(other)),
    })
}

/// The user to whom a run directory belongs, if that is another than this process's. `None` also if
/// that can't be told.
#[must_use]
pub fn foreign_owner(run_dir: &RunDir) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    let found = run_dir.path().metadata().ok()?;
    Some(found.uid()).filter(|owner| *owner != users::own())
}
