//! What `cu sbatch` and `cu condor-submit` share: the run is named after the job, goes on in the background, and
//! its first attempts have been submitted when the command ends.

use std::path::Path;
use std::time::{Duration, Instant};

use cu_core::{JobReport, JobState, Reader, RunDir, Status};

use crate::config::check_name;
use crate::error::{Error, Result};
use crate::shell_word::shell_word;
use crate::terminal;

/// How long to wait for the ids of the first attempts.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);

/// A name for a run: that of the job as far as it can be one, or the file's without its ending; else `otherwise`.
pub fn name_of_run(job: &str, otherwise: &str) -> String {
    let stem = Path::new(job).file_stem().unwrap_or_default();
    let stem = stem.to_string_lossy();
    match check_name(&stem) {
        Ok(()) => stem.into_owned(),
        Err(_) => otherwise.to_owned(),
    }
}

/// The run and its jobs, once the first attempt of the first `count` of them is with the scheduler or has been
/// refused; after a bounded time in any case.
///
/// # Errors
/// If the run can't be read.
pub fn await_submission(run: &RunDir, count: usize) -> Result<(Status, Vec<JobReport>)> {
    let reader = Reader::open(run)?;
    let began = Instant::now();
    loop {
        let status = reader.status()?;
        let jobs = reader.jobs()?;
        if jobs.is_empty() {
            return Err(Error::usage("the run has no job"));
        }
        let is_over = |job: &JobReport| id(job).is_some() || job.state == JobState::Failed;
        if jobs.iter().take(count).all(is_over) || began.elapsed() > PATIENCE {
            return Ok((status, jobs));
        }
        std::thread::sleep(PAUSE);
    }
}

/// The scheduler's id of a job's first attempt.
pub fn id(job: &JobReport) -> Option<&str> {
    let first = job.attempts.first()?;
    first.cluster_job_id.as_deref()
}

/// Says how to follow the run, of which `what` is what the scheduler's id names.
pub fn say_how_to_follow(run: &RunDir, what: &str) {
    let run = shell_word(run.path());
    terminal::say(&format!(
        "{what}. `cu watch {run}` shows the run until it ends, `cu logs {run}` its output, `cu stop all {run}` \
         cancels it"
    ));
}
