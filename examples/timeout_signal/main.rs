//! Counts slowly, and is not surprised by its time limit: the scheduler's warning makes
//! `should_exit` say yes, the count is saved, and the next attempt goes on from there.

use std::process::ExitCode;
use std::time::Duration;

use cu_client::Job;
use serde::{Deserialize, Serialize};

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// How far to count.
    steps: u64,
    /// How long a step takes.
    step_milliseconds: u64,
}

#[derive(Serialize)]
struct Metrics {
    steps: u64,
}

fn main() -> ExitCode {
    cu_client::run(|mut job: Job<Settings>| {
        let settings = job.settings().clone();
        // The warning is to be what stops us. Usually so much time is left to the deadline that is
        // known from the start: 10 seconds or more, which here is more than the limit.
        job.exit_before_limit(Duration::from_millis(500));
        job.save_every(Duration::from_secs(1));

        let mut step: u64 = job.load()?.unwrap_or(0);
        while step < settings.steps {
            std::thread::sleep(Duration::from_millis(settings.step_milliseconds));
            step += 1;
            job.announce_fraction_finished(step as f64 / settings.steps as f64);
            if job.should_exit() {
                job.save(&step)?;
                println!("saved at step {step}: {:?}", job.exit_reason());
                job.exit_for_resume();
            }
            if job.should_save() {
                job.save(&step)?;
            }
        }
        Ok(job.finalize(&Metrics { steps: step })?)
    })
}
