//! Whether a run may be acted on: it must be this user's own, and no copy of another run.
//!
//! Whoever acts on a run asks this first: before a log, a lock or a backend is opened in its directory,
//! since what lies there is executed, written to and believed.

use cu_system::machine::unique_token;
use cu_system::{files, users};

use crate::store::{must_exist, place};
use crate::{Error, Reader, Result, RunDir};

/// Whether the run in `run_dir` may be resumed, stopped, or asked for anything. To read it needs less:
/// what its files' modes allow.
///
/// # Errors
/// [`Error::NoRun`]; [`Error::Untrusted`] if it is not this user's alone; [`Error::Copy`] if it is a copy
/// and its original is still there; [`Error::File`].
pub fn check_run(run_dir: &RunDir) -> Result<()> {
    must_exist(run_dir)?;
    cu_run_dir::check_run(run_dir)?;
    check_original(run_dir)
}

/// The user to whom a run directory belongs, if that is another than this process's. `None` also if
/// that can't be told.
#[must_use]
pub fn foreign_owner(run_dir: &RunDir) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    let found = run_dir.path().metadata().ok()?;
    Some(found.uid()).filter(|owner| *owner != users::own())
}

/// Tells a copy from its original: both say that they are the same run, so that at a cluster each would
/// take the other's jobs for its own.
///
/// A run that was moved is no copy: where it was is no run any more, or another one. Nor is one that
/// is seen by another path, through a link or a second mount: a file that is made here is there, too.
fn check_original(run_dir: &RunDir) -> Result<()> {
    let reader = Reader::open(run_dir)?;
    let Some(recorded) = reader.place()? else {
        return Ok(());
    };
    if place(run_dir).is_some_and(|here| here == recorded) {
        return Ok(());
    }
    let original = RunDir::new(recorded);
    if files::own_file(&original.store()).is_err() || is_seen_in(run_dir, &original)? {
        return Ok(());
    }
    let is_same_run = Reader::open(&original).and_then(|original| original.run());
    match is_same_run {
        Ok(run) if run == reader.run()? => Err(Error::Copy {
            path: run_dir.path().to_owned(),
            original: original.path().to_owned(),
        }),
        // Another run, or one that nobody can resume.
        _ => Ok(()),
    }
}

/// Whether both are the same directory. Its number does not tell on network file systems that are
/// mounted twice.
fn is_seen_in(run_dir: &RunDir, other: &RunDir) -> Result<bool> {
    let name = format!(".cu-here-{}", unique_token());
    let mark = run_dir.path().join(&name);
    files::touch(&mark).map_err(Error::file("write", &mark))?;
    let is_seen = other.path().join(&name).exists();
    std::fs::remove_file(&mark).map_err(Error::file("remove", &mark))?;
    Ok(is_seen)
}
