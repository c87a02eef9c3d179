//! The secret of a run, as it lies in its directory.

use cu_protocol::Secret;
use cu_system::files;

use crate::{Error, Result, RunDir};

/// More than a secret has, in bytes.
const LONGEST: u64 = 1024;

/// Reads what lets attempts and operators in: 64 hexadecimal digits.
///
/// # Errors
/// If the file can't be read, is not this user's alone, or holds something else.
pub fn read_secret(run_dir: &RunDir) -> Result<Secret> {
    let path = run_dir.secret();
    let text = files::read_own(&path, LONGEST).map_err(Error::file("read", &path))?;
    Secret::parse(&String::from_utf8_lossy(&text)).map_err(|error| Error::content(&path, error))
}
