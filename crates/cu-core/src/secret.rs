//! The secret of a run. If it is lost, its main process makes a new one.
//!
//! A new secret loses nothing: supervisors read the file each time they connect, and messages that one
//! can't deliver meanwhile are in its attempt's outbox, which is read without any secret.

use cu_protocol::Secret;

use crate::{Error, Result, RunDir};

/// The secret of a run.
pub(crate) struct Kept {
    pub secret: Secret,
    /// Why it had to be made anew, if it had.
    pub lost: Option<String>,
}

/// Makes a new secret in a new file, so that a process that has the old file open does not see it.
///
/// # Errors
/// [`Error::File`].
pub(crate) fn make(run_dir: &RunDir) -> Result<Secret> {
    let path = run_dir.secret();
    let secret = Secret::generate()
        .map_err(|error| Error::file("find randomness for", &path)(std::io::Error::other(error)))?;
    cu_run_dir::write_secret(run_dir, &secret)?;
    Ok(secret)
}

/// Reads the secret. Makes a new one if it is missing or damaged.
///
/// # Errors
/// [`Error::File`] if it can't be read or made.
pub(crate) fn keep(run_dir: &RunDir) -> Result<Kept> {
    use std::io::ErrorKind::{InvalidData, NotFound};
    let lost = match cu_run_dir::read_secret(run_dir).map_err(Error::from) {
        Ok(secret) => return Ok(Kept { secret, lost: None }),
        Err(Error::Read { source, .. }) => match source.kind() {
            NotFound => "is missing".to_owned(),
            InvalidData => format!("is damaged ({source})"),
            _ => return Err(Error::read(&run_dir.secret())(source)),
        },
        Err(other) => return Err(other),
    };
    Ok(Kept {
        secret: make(run_dir)?,
        lost: Some(lost),
    })
}
