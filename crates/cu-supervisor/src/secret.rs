//! The secret of a run, as it lies in its directory.

use cu_protocol::Secret;

use crate::{Error, Result, RunDir};

/// Reads what lets attempts and operators in: 64 hexadecimal digits.
///
/// # Errors
/// If the file can't be read, or holds something else.
pub fn read_secret(run_dir: &RunDir) -> Result<Secret> {
    let path = run_dir.secret();
    let text = std::fs::read_to_string(&path).map_err(Error::file("read", &path))?;
    Secret::parse(&text).map_err(|error| Error::content(&path, error))
}
