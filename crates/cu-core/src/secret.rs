//! The secret of a run, as its main process takes it: one that nobody else can know, and a new one in
//! the place of one that is lost.
//!
//! With a new secret nothing is lost. Supervisors read the file each time they connect; whatever one
//! can't deliver meanwhile lies in its attempt's outbox, which is read without any secret.

use cu_protocol::Secret;

use crate::{Error, Result, RunDir, create, operator};

/// The secret of a run.
pub(crate) struct Kept {
    pub secret: Secret,
    /// Why it had to be made anew, if it had.
    pub lost: Option<String>,
}

/// Makes a new secret, in the place of whatever lies there: who may open that has no part in this.
///
/// # Errors
/// [`Error::File`].
pub(crate) fn make(run_dir: &RunDir) -> Result<Secret> {
    let path = run_dir.secret();
    let secret = Secret::generate()
        .map_err(|error| Error::file("find randomness for", &path)(std::io::Error::other(error)))?;
    create::replace(&path, secret.reveal().as_bytes())?;
    Ok(secret)
}

/// The secret. A new one if there is none, or something else in its file.
///
/// # Errors
/// [`Error::File`] if it can't be read or made.
pub(crate) fn keep(run_dir: &RunDir) -> Result<Kept> {
    use std::io::ErrorKind::{InvalidData, NotFound};
    let lost = match operator::read_secret(run_dir) {
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
