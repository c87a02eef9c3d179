//! Removes a run. Its directory gets another name first: so no part of a run is ever taken for a whole one, and a
//! removal that was killed can be ended by the next one.

use std::io;
use std::path::{Path, PathBuf};

use cu_system::files;

use crate::store::must_exist;
use crate::{Error, Reader, Result, RunDir, lock};

/// How the name of a run begins that is being removed.
const REMOVED: &str = ".cu-removed-";

/// Checks that the run in `run_dir` may be removed: that it is this user's own, that no main process works on it, and
/// that the scheduler has none of its attempts.
///
/// # Errors
/// [`Error::NoRun`], [`Error::Untrusted`], [`Error::InUse`], [`Error::HasAttempts`], [`Error::File`].
pub fn check_removable(run_dir: &RunDir) -> Result<()> {
    must_exist(run_dir)?;
    let path = run_dir.path();
    files::own_directory(path).map_err(Error::file("remove", path))?;
    cu_run_dir::check_run(run_dir)?;
    Reader::open(run_dir)?.check_unused()?;
    check_attempts(run_dir)
}

fn check_attempts(run_dir: &RunDir) -> Result<()> {
    let counts = Reader::open(run_dir)?.status()?.jobs;
    match counts.queued + counts.running {
        0 => Ok(()),
        jobs => Err(Error::HasAttempts {
            path: run_dir.path().to_owned(),
            jobs,
        }),
    }
}

/// Removes the run in `run_dir` with all that lies in its directory. Links in it are removed, and not followed.
///
/// # Errors
/// Those of [`check_removable`]. If the removal fails in the middle, [`finish_removal`] ends it.
pub fn remove_run(run_dir: &RunDir) -> Result<()> {
    check_removable(run_dir)?;
    let path = run_dir.path();
    // Held until the end, so that no main process begins.
    let _lock = lock::take_briefly(run_dir)?;
    // A main process may have come and gone before.
    check_attempts(run_dir)?;
    finish_removal(path)?;
    let away = away(path)?;
    std::fs::rename(path, &away).map_err(Error::file("remove", path))?;
    finish_removal(path).map(drop)
}

/// Ends the removal of the run that was in `path`, if one was begun and killed. Returns whether there was one.
///
/// # Errors
/// [`Error::File`].
pub fn finish_removal(path: &Path) -> Result<bool> {
    let away = away(path)?;
    match files::own_directory(&away) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        found => found.map_err(Error::file("remove", &away))?,
    }
    std::fs::remove_dir_all(&away).map_err(Error::file("remove", &away))?;
    Ok(true)
}

fn away(path: &Path) -> Result<PathBuf> {
    let Some(name) = path.file_name() else {
        let no_name = io::Error::new(io::ErrorKind::InvalidInput, "the path ends without a name");
        return Err(Error::file("remove", path)(no_name));
    };
    let mut away = std::ffi::OsString::from(REMOVED);
    away.push(name);
    Ok(path.with_file_name(away))
}
