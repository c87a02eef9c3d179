//! The job: adds up the first terms of Riemann's zeta function, a few steps an attempt.

use std::process::ExitCode;

use cu_client::Job;
use serde::{Deserialize, Serialize};

const STEPS: u64 = 10;
const STEPS_PER_ATTEMPT: u64 = 4;
const TERMS_PER_STEP: u64 = 100_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    exponent: i32,
}

#[derive(Default, Serialize, Deserialize)]
struct Sum {
    steps: u64,
    zeta: f64,
}

/// The `main` of the job.
pub fn job() -> ExitCode {
    cu_client::run(|mut job: Job<Settings>| {
        job.exit_after_steps(STEPS_PER_ATTEMPT);
        let mut sum: Sum = job.load()?.unwrap_or_default();
        while sum.steps < STEPS {
            let first = sum.steps * TERMS_PER_STEP + 1;
            for number in first..first + TERMS_PER_STEP {
                sum.zeta += (number as f64).powi(-job.settings().exponent);
            }
            sum.steps += 1;
            job.announce_fraction_finished(sum.steps as f64 / STEPS as f64);
            if job.should_exit() {
                job.save(&sum)?;
                job.exit_for_resume();
            }
        }
        Ok(job.finalize(&sum)?)
    })
}
