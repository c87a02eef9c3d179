//! `cu show`: a job, its chain of attempts, and why it is as it is.

use cu_core::Reader;
use cu_protocol::JobId;

use crate::args::{Common, JobArgument};
use crate::error::{ExitCode, Result};
use crate::shell_word::shell_word;
use crate::view::json::JobJson;
use crate::view::summary;
use crate::{runs, terminal};

/// Prints it.
///
/// # Errors
/// If there is no such run or job, or it can't be read.
pub fn show(common: &Common, arguments: &JobArgument) -> Result<ExitCode> {
    let run = runs::find(arguments.run.run.as_deref(), common.results_dir())?;
    let reader = Reader::open(&run)?;
    let mut job = reader
        .job(JobId(arguments.job))
        .map_err(|error| arguments.explain(error, common))?;
    if !job.state.is_settled() && !reader.has_main_process() {
        job.why = format!(
            "no main process works on this run, and `cu resume {}` goes on with it; as recorded last: {}",
            shell_word(run.path()),
            job.why
        );
    }
    if common.json {
        terminal::json(&JobJson::new(&run, &job))?;
    } else {
        terminal::data(&summary::job(&run, &job))?;
    }
    Ok(ExitCode::Done)
}
