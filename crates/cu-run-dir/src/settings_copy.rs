//! The copy of a job's settings in its output directory.

use cu_protocol::JobId;
use cu_system::reuse;

use crate::{Error, Result, RunDir, json_file, private};

/// Longer settings are not copied, in bytes.
const MOST_BYTES: u64 = 64 << 20;

/// Writes the copy anew, whatever lies in its place. Afterwards its time of change is that of this call, by
/// the clock of the file system on which the program's files are.
///
/// # Errors
/// [`Error::Read`] if the settings can't be read; [`Error::File`] if the copy can't be written.
pub fn renew_settings_copy(run: &RunDir, job: JobId) -> Result<()> {
    let path = run.settings(job);
    let settings = json_file::own_content(&path, MOST_BYTES)?;
    let missing = || Error::read(&path)(std::io::ErrorKind::NotFound.into());
    let (copy, settings) = (run.settings_copy(job), settings.ok_or_else(missing)?);
    match reuse::renew(&copy, &settings) {
        Ok(true) => Ok(()),
        _ => private::replace(&copy, &settings),
    }
}
