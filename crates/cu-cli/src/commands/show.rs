//! `cu show`: a job, its attempts, and what it waits for or why it ended.

use cu_core::Reader;
use cu_protocol::JobId;

use crate::args::{Common, JobArgument};
use crate::error::{ExitCode, Result};
use crate::view::json::JobJson;
use crate::view::{self, summary};
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
            "{}; last recorded: {}",
            summary::no_main_process(run.path()),
            job.why
        );
    }
    if common.json {
        terminal::json(&JobJson::new(&run, &job))?;
    } else {
        terminal::data(&view::job::job(&run, &job, terminal::columns()))?;
    }
    Ok(ExitCode::Done)
}
