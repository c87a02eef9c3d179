//! The jobs that a command shows: named with their run in any order, or the only job of the run.

use cu_core::{JobReport, Reader, RunDir};
use cu_protocol::Selection;

use super::operate::split;
use crate::args::Common;
use crate::error::{Error, Result};
use crate::runs;

/// The run and the jobs that `words` name. Without a job, the only one of the run.
///
/// # Errors
/// If there is no such run or job, or it is not said which of several.
pub fn jobs_of_run(common: &Common, words: &[String]) -> Result<(RunDir, Reader, Vec<JobReport>)> {
    let is_run = |word: &str| runs::exists(word, common.results_dir());
    // A single number is a job: a run without one has to be named by its path.
    let (jobs, named) = match words {
        [_] => split(words, |_| false)?,
        _ => split(words, is_run)?,
    };
    let run = runs::find(named.as_deref(), common.results_dir())?;
    let reader = Reader::open(&run)?;
    let total = reader.status()?.jobs.known();
    let selection = match jobs {
        None if total != 1 => {
            let message = format!("the run has {total} jobs, numbered from 0: which do you mean?");
            return Err(Error::usage_hint(message, "name jobs by 0, 1-3,5 or `all`"));
        }
        None => Selection::All,
        Some(jobs) => jobs.of(total).map_err(|message| match words {
            [word] if is_run(word) => Error::usage_hint(
                message,
                format!("`{word}` is also a run: write `0 {word}` for its job 0"),
            ),
            _ => Error::usage(message),
        })?,
    };
    let jobs = match selection {
        Selection::All => reader.jobs()?,
        Selection::Jobs(jobs) => {
            let jobs = jobs.into_iter().map(|job| reader.job(job));
            jobs.collect::<cu_core::Result<_>>()?
        }
    };
    Ok((run, reader, jobs))
}
