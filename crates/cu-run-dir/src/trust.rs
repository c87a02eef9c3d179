//! Checks that a run is this user's own: its files are executed, written to and believed.
//!
//! As in a repository that `git` calls safe, owner and mode decide, and they are asked before the first
//! byte counts and before the first file is opened for writing. What this finds holds as long as nobody
//! else may rename in the directories above, which is asked when a run is made
//! ([`cu_system::trust::risks`]); the files themselves are opened by [`cu_system::files::open_own`],
//! which asks again.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use cu_protocol::{Attempt, JobId};
use cu_system::{files, trust};

use crate::{Error, Result, RunDir, SQLITE_SUFFIXES, beside};

/// Something in the directory of a run, or on the way to it, is not this user's alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} can't be trusted: {reason}", path.display())]
pub struct Untrusted {
    /// The run directory.
    pub run_dir: PathBuf,
    /// The file or directory.
    pub path: PathBuf,
    /// Why it is not trusted.
    pub reason: Distrust,
}

/// Why something is not trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Distrust {
    /// It is not what should be there, or not ours alone.
    #[error(transparent)]
    Refused(#[from] files::Refusal),
    /// It is a secret that others may read.
    #[error("others can read it (mode {0:o}), and with it they can speak for every job")]
    Readable(u32),
}

/// Checks that the run in `run_dir` may be acted on: resumed, stopped, asked for anything.
///
/// # Errors
/// [`Error::Untrusted`]; [`Error::File`] if something can't be examined.
pub fn check_run(run_dir: &RunDir) -> Result<()> {
    check_way(run_dir)?;
    let files = [
        run_dir.config(),
        run_dir.lock(),
        run_dir.log(),
        run_dir.server_file(),
        run_dir.secret(),
    ];
    // SQLite opens what it finds beside its database, too.
    let store = run_dir.store();
    let beside_it = SQLITE_SUFFIXES.map(|suffix| beside(&store, suffix));
    for file in [&store].into_iter().chain(&beside_it).chain(&files) {
        check(run_dir, file, files::own_file)?;
    }
    let directories = [run_dir.all_attempts(), run_dir.all_output_dirs()];
    for directory in directories.iter().chain(&backends(run_dir)) {
        check(run_dir, directory, files::own_directory)?;
    }
    for state in backends(run_dir)
        .iter()
        .flat_map(|backend| entries(backend))
    {
        check(run_dir, &state, own_whatever_it_is)?;
    }
    check_secret(run_dir)
}

/// Checks that an attempt of the run in `run_dir` may be started, once [`check_way`] has found the run
/// directory itself to be ours.
///
/// # Errors
/// Those of [`check_run`].
pub fn check_attempt(run_dir: &RunDir, job: JobId, attempt: Attempt) -> Result<()> {
    let directories = [
        run_dir.all_attempts(),
        run_dir.attempts(job),
        run_dir.attempt(job, attempt),
        run_dir.all_output_dirs(),
    ];
    let mut directories = directories.iter();
    directories.try_for_each(|directory| check(run_dir, directory, files::own_directory))
}

/// Checks that the run directory itself is ours, and that no stranger has set a link on the way there.
///
/// # Errors
/// Those of [`check_run`].
pub fn check_way(run_dir: &RunDir) -> Result<()> {
    let path = run_dir.path();
    let failed = |error| Error::file("examine", path)(error);
    if let Some((link, user)) = trust::foreign_link(path).map_err(failed)? {
        return Err(untrusted(run_dir, &link, files::Refusal::Foreign(user)));
    }
    // A link of our own may lead there.
    let found = path.metadata().map_err(failed)?;
    files::check_own(&found).map_err(|error| refused(run_dir, path, error))
}

fn check(run_dir: &RunDir, path: &Path, look: impl FnOnce(&Path) -> io::Result<()>) -> Result<()> {
    match look(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome.map_err(|error| refused(run_dir, path, error)),
    }
}

fn check_secret(run_dir: &RunDir) -> Result<()> {
    let path = run_dir.secret();
    match path.symlink_metadata().map(|found| found.mode() & 0o7777) {
        Ok(mode) if mode & 0o077 != 0 => Err(untrusted(run_dir, &path, Distrust::Readable(mode))),
        // If it is missing, its reader reports that.
        _ => Ok(()),
    }
}

/// An error of [`cu_system::files`] about `path`.
fn refused(run_dir: &RunDir, path: &Path, error: io::Error) -> Error {
    match files::refusal(&error) {
        Some(refusal) => untrusted(run_dir, path, refusal),
        None => Error::file("examine", path)(error),
    }
}

fn untrusted(run_dir: &RunDir, path: &Path, reason: impl Into<Distrust>) -> Error {
    Error::Untrusted(Untrusted {
        run_dir: run_dir.path().to_owned(),
        path: path.to_owned(),
        reason: reason.into(),
    })
}

/// The directory of all backends and those in it.
fn backends(run_dir: &RunDir) -> Vec<PathBuf> {
    let mut backends = entries(&run_dir.all_backends());
    backends.push(run_dir.all_backends());
    backends
}

/// The entries of a directory; none if it can't be read.
fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// Checks a backend's file, whatever it is. A backend follows no link where it writes.
fn own_whatever_it_is(path: &Path) -> io::Result<()> {
    let found = path.symlink_metadata()?;
    match found.file_type() {
        it if it.is_symlink() => Ok(()),
        it if it.is_dir() => files::own_directory(path),
        _ => files::own_file(path),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn run() -> (tempfile::TempDir, RunDir) {
        let scratch = tempfile::tempdir().unwrap();
        let run = RunDir::new(scratch.path().join("run"));
        for directory in [
            run.backend("local"),
            run.attempts(JobId(0)),
            run.all_output_dirs(),
        ] {
            files::make_dir(&directory).unwrap();
        }
        for file in [
            run.store(),
            run.config(),
            run.secret(),
            run.log(),
            run.lock(),
        ] {
            files::new_file().write(true).open(file).unwrap();
        }
        (scratch, run)
    }

    fn reason(run: &RunDir) -> Option<(PathBuf, Distrust)> {
        match check_run(run) {
            Ok(()) => None,
            Err(Error::Untrusted(untrusted)) => Some((untrusted.path, untrusted.reason)),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a_file_that_others_may_change_is_refused() {
        let (_scratch, run) = run();
        assert_eq!(reason(&run), None);
        let (files, directories) = (0o660, 0o770);
        for (path, open) in [
            (run.path().to_owned(), directories),
            (run.store(), files),
            (run.config(), files),
            (run.log(), files),
            (run.lock(), files),
            (run.secret(), files),
            (run.all_backends(), directories),
            (run.backend("local"), directories),
            (run.all_attempts(), directories),
            (run.all_output_dirs(), directories),
        ] {
            let before = path.metadata().unwrap().permissions();
            fs::set_permissions(&path, Permissions::from_mode(open)).unwrap();
            let found = files::Refusal::OpenToOthers(open);
            assert_eq!(reason(&run), Some((path.clone(), found.into())));
            fs::set_permissions(&path, before).unwrap();
        }
        // Others may read, except the secret.
        for path in [run.store(), run.config(), run.log(), run.lock()] {
            fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
        }
        assert_eq!(reason(&run), None);
        fs::set_permissions(run.secret(), Permissions::from_mode(0o640)).unwrap();
        assert_eq!(
            reason(&run),
            Some((run.secret(), Distrust::Readable(0o640)))
        );
    }

    #[test]
    fn a_link_in_the_place_of_what_is_written_is_refused() {
        let (scratch, run) = run();
        for path in [
            run.log(),
            beside(&run.store(), "-journal"),
            run.backend("slurm"),
        ] {
            let _ = fs::remove_file(&path);
            symlink(scratch.path(), &path).unwrap();
            let found = Distrust::from(files::Refusal::Link);
            assert_eq!(reason(&run), Some((path.clone(), found)));
            fs::remove_file(&path).unwrap();
        }
        // One of ours that leads to the run is as good as the run.
        let link = scratch.path().join("latest");
        symlink(run.path(), &link).unwrap();
        assert_eq!(reason(&RunDir::new(link)), None);
    }
}
