//! Trains a small neural network to read handwritten digits, as a chain of short attempts. The
//! result is, bit for bit, that of a training that was never interrupted.
//!
//! Load, loop { epoch; if should_exit { save; exit_for_resume } }, finalize.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod data;
mod network;
mod random;
mod training;

use std::process::ExitCode;

use cu_client::Job;
use serde::Serialize;

use data::DataSet;
use training::{Settings, Training};

/// The number of epochs between two looks at the test images.
const REPORT_EVERY: u32 = 100;

/// The content of `metrics.csv` at the end.
#[derive(Serialize)]
struct Metrics {
    /// The fraction of test images that the network reads right.
    test_accuracy: f64,
    /// The mean cross-entropy in the last epoch, in nats.
    train_loss: f64,
    epochs: u32,
}

fn main() -> ExitCode {
    cu_client::run(|mut job: Job<Settings>| {
        let settings = job.settings().clone();
        let data = DataSet::load();
        if let Some(epochs) = settings.epochs_per_attempt {
            job.exit_after_steps(epochs.get());
        }

        let mut training: Training = job.load()?.unwrap_or_else(|| Training::new(&settings));
        while training.epochs < settings.epochs {
            training.epoch(&data.training, &settings);
            job.announce_fraction_finished(training.epochs as f64 / settings.epochs as f64);
            if training.epochs.is_multiple_of(REPORT_EVERY) {
                job.announce_early_results(&metrics(&training, &data));
            }
            if job.should_exit() {
                job.save(&training)?;
                job.exit_for_resume();
            }
            if job.should_save() {
                job.save(&training)?;
            }
        }
        Ok(job.finalize(&metrics(&training, &data))?)
    })
}

fn metrics(training: &Training, data: &DataSet) -> Metrics {
    Metrics {
        test_accuracy: training.network.accuracy(&data.test),
        train_loss: training.loss,
        epochs: training.epochs,
    }
}
