//! `cu status`: the state of a run, read from its store.

use cu_core::{JobReport, Reader, RunDir};
use cu_protocol::JobId;
use cu_run_dir::{JobSpec, Part, RefusedMessages, Template};

use crate::args::{Common, RunArgument};
use crate::error::{ExitCode, Result};
use crate::view::json::{RunJson, StatusJson};
use crate::view::summary;
use crate::{runs, terminal};

/// Prints it.
///
/// # Errors
/// If there is no such run, or it can't be read.
pub fn status(common: &Common, run: &RunArgument) -> Result<ExitCode> {
    let run = runs::find(run.run.as_deref(), common.results_dir())?;
    let reader = Reader::open(&run)?;
    let status = reader.status()?;
    let refused = refused_messages(&run, &reader)?;
    if common.json {
        terminal::json(&StatusJson {
            run: RunJson::from(&status),
            refused_messages: refused.iter().map(|(_, count)| count).sum(),
        })?;
    } else {
        let open = reader.unfinished(summary::FEW)?;
        let mut text = summary::status(&status, &open, terminal::width());
        text.push_str(&summary::refused(&refused));
        terminal::data(&text)?;
    }
    Ok(ExitCode::Done)
}

/// The jobs with messages for cluster_utils that were refused, and how many.
fn refused_messages(run: &RunDir, reader: &Reader) -> Result<Vec<(JobId, u64)>> {
    // All jobs of a run have the same command, and most runs have another one: no job is looked at then.
    let spec = JobSpec::read(&run.job_spec(JobId(0)));
    let is_several = |it: &Template| it.parts() == [Part::ClusterUtils];
    if !matches!(spec, Ok(spec) if spec.command.iter().any(is_several)) {
        return Ok(Vec::new());
    }
    let count = |job: JobReport| {
        let refused = RefusedMessages::read(&run.refused_messages(job.job)).ok()?;
        Some((job.job, refused.count)).filter(|(_, count)| *count > 0)
    };
    Ok(reader.jobs()?.into_iter().filter_map(count).collect())
}
