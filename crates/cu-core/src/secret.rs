//! The secret of a run, as its main process takes it: one that nobody else can know, and a new one in
//! the place of one that is lost.
//!
//! With a new secret nothing is lost. Supervisors read the file each time they connect; whatever one
//! can't deliver meanwhile lies in its attempt's outbox, which is read without any secret.

use std::os::unix::fs::MetadataExt;

use cu_protocol::Secret;
use cu_system::files;

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

/// The secret, if nobody else can know it. A new one if there is none, or something else in its file.
///
/// # Errors
/// [`Error::File`] if others may read it, or it can't be read or made.
pub(crate) fn keep(run_dir: &RunDir) -> Result<Kept> {
    let path = run_dir.secret();
    let found = match files::examine(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Kept {
                secret: make(run_dir)?,
                lost: Some("is missing".to_owned()),
            });
        }
        found => found.map_err(Error::file("read", &path))?,
    };
    if found.mode() & 0o077 != 0 || found.uid() != rustix::process::geteuid().as_raw() {
        let reason = format!(
            "others can read it (owner {}, mode {:o}), and who has read it can speak for every job; \
             if nobody has, make it your own, with mode 600",
            found.uid(),
            found.mode() & 0o7777
        );
        return Err(Error::file("trust", &path)(std::io::Error::other(reason)));
    }
    match operator::read_secret(run_dir) {
        Err(Error::File { source, .. }) if source.kind() == std::io::ErrorKind::InvalidData => {
            Ok(Kept {
                secret: make(run_dir)?,
                lost: Some(format!("is damaged ({source})")),
            })
        }
        secret => secret.map(|secret| Kept { secret, lost: None }),
    }
}
