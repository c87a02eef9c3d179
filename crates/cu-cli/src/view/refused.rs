//! Messages for cluster_utils that were refused.

use cu_core::{JobReport, Reader, RunDir};
use cu_protocol::JobId;
use cu_run_dir::{JobSpec, Part, RefusedMessages, Template};

use crate::error::Result;

/// The jobs with messages for cluster_utils that were refused, and how many.
///
/// # Errors
/// If the run can't be read.
pub fn of_run(run: &RunDir, reader: &Reader) -> Result<Vec<(JobId, u64)>> {
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
