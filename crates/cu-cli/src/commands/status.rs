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
    let jobs = reader.jobs()?;
    let refused = refused_messages(&run, &jobs);
    if common.json {
        terminal::json(&StatusJson {
            run: RunJson::from(&status),
            refused_messages: refused.iter().map(|(_, count)| count).sum(),
        })?;
    } else {
        let mut text = summary::status(&status, &jobs, terminal::width());
        text.push_str(&summary::refused(&refused));
        terminal::data(&text)?;
    }
    Ok(ExitCode::Done)
}

/// The jobs with messages for cluster_utils that were refused, and how many.
fn refused_messages(run: &RunDir, jobs: &[JobReport]) -> Vec<(JobId, u64)> {
    // All jobs of a run have the same command, and most runs have another one: no file is looked for then.
    let spec = jobs
        .first()
        .map(|job| JobSpec::read(&run.job_spec(job.job)));
    let is_several = |it: &Template| it.parts() == [Part::ClusterUtils];
    if !matches!(spec, Some(Ok(spec)) if spec.command.iter().any(is_several)) {
        return Vec::new();
    }
    let count = |job: &JobReport| {
        let refused = RefusedMessages::read(&run.refused_messages(job.job)).ok()?;
        Some((job.job, refused.count)).filter(|(_, count)| *count > 0)
    };
    jobs.iter().filter_map(count).collect()
}
