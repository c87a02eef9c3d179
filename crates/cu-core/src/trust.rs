//! Checks whether a run may be acted on: it must be this user's own, and not a copy of another run.
//!
//! This comes before anything else is done with a run, before a log, a lock or a backend is opened in its
//! directory: what is there is executed, written to and believed.

use cu_system::machine::unique_token;
use cu_system::{files, users};

use crate::store::{must_exist, place};
use crate::{Error, Reader, Result, RunDir};

/// Checks whether the run in `run_dir` may be resumed, stopped, or asked for anything. Reading it needs
/// less: only the permissions of its files.
///
/// # Errors
/// [`Error::NoRun`]; [`Error::Untrusted`] if it is not this user's alone; [`Error::Copy`] if it is a copy
/// and its original still exists; [`Error::File`].
pub fn check_run(run_dir: &RunDir) -> Result<()> {
    must_exist(run_dir)?;
    cu_run_dir::check_run(run_dir)?;
    check_original(run_dir)
}

/// The user that a run directory belongs to, if that is not this process's user. `None` also if the owner
/// can't be found out.
#[must_use]
pub fn foreign_owner(run_dir: &RunDir) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    let found = run_dir.path().metadata().ok()?;
    Some(found.uid()).filter(|owner| *owner != users::own())
}

/// Refuses a copy whose original still exists: both have the same run id, so on a cluster each would take
/// the other's jobs for its own.
///
/// A run that was moved is not a copy: its old place holds no run any more, or another one. Nor is a run
/// seen by another path, through a link or a second mount: a file made here appears there, too.
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
        // Another run, or one that can't be resumed.
        _ => Ok(()),
    }
}

/// Whether both are the same directory. Inode numbers can't show that for a network file system that is
/// mounted twice.
fn is_seen_in(run_dir: &RunDir, other: &RunDir) -> Result<bool> {
    let name = format!(".cu-here-{}", unique_token());
    let mark = run_dir.path().join(&name);
    files::touch(&mark).map_err(Error::file("write", &mark))?;
    let is_seen = other.path().join(&name).exists();
    std::fs::remove_file(&mark).map_err(Error::file("remove", &mark))?;
    Ok(is_seen)
}
