//! Wrappers around `main` that report its error to the main process.

use std::error::Error as AnyError;
use std::process::ExitCode;

use serde::de::DeserializeOwned;

use crate::Job;
use crate::environment::Environment;
use crate::error::with_causes;
use crate::failure;
use crate::link::Link;

/// Initialises a job, runs `program` with it, and reports an error as the reason of the failure.
///
/// Prints an error with its causes on standard error, and returns exit code 1. Also reports errors
/// of [`Job::initialize`], so that `cu show` explains wrong settings.
///
/// ```no_run
/// use std::process::ExitCode;
/// use cu_client::Job;
///
/// #[derive(serde::Deserialize)]
/// struct Sum { numbers: Vec<f64> }
///
/// fn main() -> ExitCode {
///     cu_client::run(|job: Job<Sum>| {
///         let sum: f64 = job.settings().numbers.iter().sum();
///         std::fs::write(job.output_dir().join("sum.txt"), sum.to_string())?;
///         Ok(job.finalize(&[("sum", sum)].into_iter().collect::<std::collections::BTreeMap<_, _>>())?)
///     })
/// }
/// ```
pub fn run<S: DeserializeOwned>(
    program: impl FnOnce(Job<S>) -> Result<(), Box<dyn AnyError>>,
) -> ExitCode {
    let outcome = Job::initialize().map_err(Into::into).and_then(program);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let text = with_causes(error.as_ref());
            eprintln!("error: {text}");
            // This uses a connection of its own, since the program owns the job and its link.
            if let Ok(Environment { socket, .. }) = Environment::of_this_process() {
                failure::report(&mut Link::to(socket), text);
            }
            ExitCode::FAILURE
        }
    }
}
