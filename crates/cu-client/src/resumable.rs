//! The loop of a resumable program as one call: a state, a step, and what is known when it is done.

use std::error::Error as AnyError;
use std::ops::ControlFlow;
use std::process::ExitCode;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Job;

/// Runs a whole job: loads the state or starts from the beginning, steps until a step says that all
/// is done, saves from time to time, and exits for resume when [`Job::should_exit`] says so.
///
/// `start` makes the state of the very first attempt. `step` returns `Continue(())`, or `Break` with
/// the metrics of the finished job.
///
/// ```no_run
/// use std::collections::BTreeMap;
/// use std::ops::ControlFlow::{Break, Continue};
/// use std::process::ExitCode;
/// use cu_client::{Job, Settings, resumable};
///
/// fn main() -> ExitCode {
///     resumable::run(
///         |_job: &Job<Settings>| Ok(0_u64),
///         |job, step| {
///             *step += 1; // the work
///             job.announce_fraction_finished(*step as f64 / 1e6);
///             Ok(if *step == 1_000_000 {
///                 Break(BTreeMap::from([("steps", *step)]))
///             } else {
///                 Continue(())
///             })
///         },
///     )
/// }
/// ```
pub fn run<S, T, M>(
    start: impl FnOnce(&Job<S>) -> Result<T, Box<dyn AnyError>>,
    step: impl FnMut(&mut Job<S>, &mut T) -> Result<ControlFlow<M>, Box<dyn AnyError>>,
) -> ExitCode
where
    S: DeserializeOwned,
    T: Serialize + DeserializeOwned,
    M: Serialize,
{
    crate::run(|job| run_job(job, start, step))
}

/// As [`run`], with a job that was initialised before: to set criteria of
/// [`should_exit`](Job::should_exit), or to handle errors.
///
/// Returns when the job is finalized; a process that exits for resume ends here.
///
/// # Errors
/// Those of `start` and `step`, of loading and saving, and of [`Job::finalize`]. After the error of
/// a step nothing is saved.
pub fn run_job<S, T, M>(
    mut job: Job<S>,
    start: impl FnOnce(&Job<S>) -> Result<T, Box<dyn AnyError>>,
    mut step: impl FnMut(&mut Job<S>, &mut T) -> Result<ControlFlow<M>, Box<dyn AnyError>>,
) -> Result<(), Box<dyn AnyError>>
where
    T: Serialize + DeserializeOwned,
    M: Serialize,
{
    let mut state = match job.load()? {
        Some(state) => state,
        None => start(&job)?,
    };
    loop {
        if let ControlFlow::Break(metrics) = step(&mut job, &mut state)? {
            return Ok(job.finalize(&metrics)?);
        }
        if job.should_exit() {
            job.save(&state)?;
            job.exit_for_resume();
        }
        if job.should_save() {
            job.save(&state)?;
        }
    }
}
