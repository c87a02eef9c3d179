//! Counts slowly, and stops before its time limit: the scheduler's warning makes `should_exit`
//! return true, the program saves its count, and the next attempt continues from there.

use std::process::ExitCode;
use std::time::Duration;

use cu_client::Job;
use serde::{Deserialize, Serialize};

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The number to count to.
    steps: u64,
    /// The duration of a step.
    step_milliseconds: u64,
}

#[derive(Serialize)]
struct Metrics {
    steps: u64,
}

fn main() -> ExitCode {
    cu_client::run(|mut job: Job<Settings>| {
        let settings = job.settings().clone();
        // The warning should stop us. By default we stop 10 seconds or more before the deadline,
        // which is longer than the whole limit here.
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
