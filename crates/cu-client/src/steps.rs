//! The loop of a resumable program as one call, from a first state and a step.

use std::error::Error as AnyError;
use std::ops::ControlFlow;
use std::process::ExitCode;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Job;

/// Runs a whole job: loads the state or calls `start`, calls `step` until the job is done, saves from
/// time to time, and exits for resume when [`Job::should_exit`] returns true.
///
/// `start` makes the state of the first attempt. `step` returns `Continue(())`, or `Break` with the
/// metrics of the finished job. Errors are reported as by [`run`](crate::run).
///
/// ```no_run
/// use std::collections::BTreeMap;
/// use std::ops::ControlFlow::{Break, Continue};
/// use std::process::ExitCode;
/// use cu_client::{Job, Settings, run_steps};
///
/// fn main() -> ExitCode {
///     run_steps(
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
pub fn run_steps<S, T, M>(
    start: impl FnOnce(&Job<S>) -> Result<T, Box<dyn AnyError>>,
    step: impl FnMut(&mut Job<S>, &mut T) -> Result<ControlFlow<M>, Box<dyn AnyError>>,
) -> ExitCode
where
    S: DeserializeOwned,
    T: Serialize + DeserializeOwned,
    M: Serialize,
{
    crate::run(|job: Job<S>| job.run_steps(start, step))
}

impl<S> Job<S> {
    /// As [`run_steps`](crate::run_steps), for a job that is initialised already: to set criteria of
    /// [`should_exit`](Self::should_exit), or to handle errors.
    ///
    /// Returns when the job is finalized. If the job exits for resume, the process ends here.
    ///
    /// # Errors
    /// Those of `start` and `step`, of loading and saving, and of [`finalize`](Self::finalize). Saves
    /// nothing after an error of `step`.
    pub fn run_steps<T, M>(
        mut self,
        start: impl FnOnce(&Self) -> Result<T, Box<dyn AnyError>>,
        mut step: impl FnMut(&mut Self, &mut T) -> Result<ControlFlow<M>, Box<dyn AnyError>>,
    ) -> Result<(), Box<dyn AnyError>>
    where
        T: Serialize + DeserializeOwned,
        M: Serialize,
    {
        let mut state = match self.load()? {
            Some(state) => state,
            None => start(&self)?,
        };
        loop {
            if let ControlFlow::Break(metrics) = step(&mut self, &mut state)? {
                return Ok(self.finalize(&metrics)?);
            }
            if self.should_exit() {
                self.save(&state)?;
                self.exit_for_resume();
            }
            if self.should_save() {
                self.save(&state)?;
            }
        }
    }
}
