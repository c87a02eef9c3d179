//! The secret of a run, as it lies in its directory.

use cu_protocol::Secret;

use crate::{Error, Result, RunDir, json_file, private};

/// More than digits and a line end is something else.
const MOST_BYTES: u64 = 1024;

/// Reads the key of the connections to the main process: 64 hexadecimal digits.
///
/// # Errors
/// If the file can't be read, is not this user's alone, or holds something else.
pub fn read_secret(run_dir: &RunDir) -> Result<Secret> {
    let path = run_dir.secret();
    let missing = || Error::read(&path)(std::io::ErrorKind::NotFound.into());
    let text = json_file::own_content(&path, MOST_BYTES)?.ok_or_else(missing)?;
    Secret::parse(&String::from_utf8_lossy(&text)).map_err(|error| Error::content(&path, error))
}

/// Replaces the file. A process that has the old one open does not learn the new secret.
///
/// # Errors
/// [`Error::File`].
pub fn write_secret(run_dir: &RunDir, secret: &Secret) -> Result<()> {
    private::replace(&run_dir.secret(), secret.reveal().as_bytes())
}
