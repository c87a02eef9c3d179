//! Makes directories and replaces files that only this user may read, whatever the umask.

use std::fs::Permissions;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use cu_checkpoint::{AtomicOptions, Durability};
use cu_system::files::{self, Refusal};
use cu_system::{trust, users};

use crate::{Error, Result, RunDir, Untrusted};

/// Makes a directory that only this user may enter (mode 0700), with those above it.
///
/// # Errors
/// [`Error::File`], also if something else lies there.
pub fn make_dir(path: &Path) -> Result<()> {
    files::make_dir(path)
        .map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => {
                std::io::Error::other("a file is in its place: move it away")
            }
            _ => error,
        })
        .map_err(Error::file("make the directory", path))
}

/// Takes all rights in the run directory from other users, so that only this user can read what is in it,
/// or put something there.
///
/// # Errors
/// [`Error::Untrusted`] if it belongs to somebody else, or a link of somebody else leads there.
pub fn keep_private(run_dir: &RunDir) -> Result<()> {
    let path = run_dir.path();
    let examined = |error| Error::file("examine", path)(error);
    let link = trust::foreign_link(path).map_err(examined)?;
    let found = std::fs::metadata(path).map_err(examined)?;
    let owner = Some((path.to_owned(), found.uid()));
    let foreign = link.or(owner.filter(|(_, owner)| *owner != users::own()));
    if let Some((path, owner)) = foreign {
        return Err(Error::Untrusted(Untrusted {
            run_dir: run_dir.path().to_owned(),
            path,
            reason: Refusal::Foreign(owner).into(),
        }));
    }
    if found.mode() & 0o077 == 0 {
        return Ok(());
    }
    std::fs::set_permissions(path, Permissions::from_mode(0o700))
        .map_err(Error::file("make private", path))
}

/// Replaces a small file (mode 0600), so that a reader sees the old content or the new. The file survives
/// the death of any process, but not a power failure.
///
/// # Errors
/// [`Error::File`].
pub fn replace(path: &Path, content: &[u8]) -> Result<()> {
    write(path, content, Durability::ProcessDeath)
}

/// Replaces a file as a whole.
pub(crate) fn write(path: &Path, content: &[u8], durability: Durability) -> Result<()> {
    AtomicOptions::new()
        .mode(0o600)
        .durability(durability)
        .write(path, content)
        .map_err(|error| Error::file("write", path)(error.into_source()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_quotes_the_system() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("no/such/directory");
        let error = replace(&path, b"1").unwrap_err();
        let error = cu_system::causes::in_one_line(&error);
        assert!(
            error.ends_with("No such file or directory (os error 2)"),
            "{error}"
        );
    }
}
