//! `newest`: the number of a job's newest attempt, written before that is submitted.

use cu_protocol::{Attempt, JobId};
use cu_system::reuse;

use crate::{Error, Result, RunDir, json_file};

/// More bytes than the number of an attempt takes.
const MOST_BYTES: u64 = 64;

/// Reads [`RunDir::newest_attempt`]; `None` if no attempt of the job was ever submitted.
///
/// # Errors
/// [`Error::Content`] if the file holds something else; [`Error::File`] if it can't be read, or is not
/// this user's alone.
pub fn read_newest_attempt(run_dir: &RunDir, job: JobId) -> Result<Option<Attempt>> {
    let path = run_dir.newest_attempt(job);
    let text = json_file::own_content(&path, MOST_BYTES)?;
    let number = text.map(|text| String::from_utf8_lossy(&text).trim().parse());
    number
        .transpose()
        .map_err(|error| Error::content(&path, error))
}

/// Replaces it.
///
/// # Errors
/// [`Error::File`].
pub fn write_newest_attempt(run_dir: &RunDir, job: JobId, attempt: Attempt) -> Result<()> {
    let path = run_dir.newest_attempt(job);
    let written = reuse::replace(&path, attempt.to_string().as_bytes());
    written.map_err(Error::file("write", &path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_cut_short_is_not_taken_for_a_smaller_one() {
        let scratch = tempfile::tempdir().unwrap();
        let run = RunDir::new(scratch.path());
        let job = JobId(7);
        std::fs::create_dir_all(run.attempts(job)).unwrap();
        assert_eq!(read_newest_attempt(&run, job).unwrap(), None);
        write_newest_attempt(&run, job, Attempt(12)).unwrap();
        assert_eq!(read_newest_attempt(&run, job).unwrap(), Some(Attempt(12)));
        for damaged in ["", "-1", "12 13", "one", "4294967296"] {
            std::fs::write(run.newest_attempt(job), damaged).unwrap();
            let read = read_newest_attempt(&run, job);
            assert!(matches!(read, Err(Error::Content { .. })), "{read:?}");
        }
    }
}
