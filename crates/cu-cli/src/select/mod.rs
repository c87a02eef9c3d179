//! Chooses jobs of a run by what is known of them: their state, settings, metrics and times. `cu jobs` shows
//! the chosen ones; commands that change a run change them.

mod condition;
mod key;
mod value;

use clap::Args;
use cu_core::{JobReport, JobState};

use crate::error::{Error, Result};
pub use condition::Condition;
pub use key::{Key, Names};
pub use value::Value;

/// Which jobs. All of these have to be true of a job.
#[derive(Clone, Debug, Default, PartialEq, Args)]
#[command(next_help_heading = "Which jobs")]
pub struct Filter {
    /// Failed jobs: short for --state failed
    #[arg(long)]
    pub failed: bool,
    /// Running jobs: short for --state running
    #[arg(long)]
    pub running: bool,
    /// Jobs that have not started or wait for their next attempt: short for --state waiting,queued
    #[arg(long)]
    pub queued: bool,
    /// Jobs in one of these states: waiting, queued, running, completed, failed, cancelled
    #[arg(long, value_name = "STATES", value_delimiter = ',', value_parser = value::state)]
    pub state: Vec<JobState>,
    /// Jobs for which this is true, such as settings.lr<0.1, metrics.loss>=2, run_time>1h, host=node7
    /// or why~CUDA; repeatable. Quote it: the shell takes < and > for its own
    #[arg(long = "where", value_name = "CONDITION")]
    pub conditions: Vec<Condition>,
}

impl Filter {
    /// Whether it lets all jobs pass.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Keeps the jobs that it lets pass. `jobs` are all of the run.
    ///
    /// # Errors
    /// If it names something that no job of the run has.
    pub fn keep(&self, jobs: &mut Vec<JobReport>) -> Result<()> {
        let passes = self.resolve(&Names::of(jobs))?;
        jobs.retain(passes);
        Ok(())
    }

    /// Whether it lets a job pass, of a run with these names.
    ///
    /// # Errors
    /// If it names something that no job of the run has.
    pub fn resolve<'a>(&'a self, names: &Names) -> Result<impl Fn(&JobReport) -> bool + use<'a>> {
        let conditions = self.conditions.iter();
        let conditions: Vec<_> = conditions
            .map(|condition| condition.resolve(names))
            .collect::<Result<_, String>>()
            .map_err(|message| Error::usage_hint(message, KEYS))?;
        let states = self.states();
        Ok(move |job: &JobReport| {
            (states.is_empty() || states.contains(&job.state))
                && conditions.iter().all(|condition| condition.is_met(job))
        })
    }

    fn states(&self) -> Vec<JobState> {
        let short = [
            (self.failed, &[JobState::Failed][..]),
            (self.running, &[JobState::Running]),
            (self.queued, &[JobState::Waiting, JobState::Queued]),
        ];
        let short = short.into_iter().filter(|(given, _)| *given);
        let short = short.flat_map(|(_, states)| states).copied();
        self.state.iter().copied().chain(short).collect()
    }
}

/// Where the keys are explained.
pub const KEYS: &str = "`cu jobs --help` explains all keys";

#[cfg(test)]
mod tests {
    use super::*;
    use cu_core::{AttemptEnd, AttemptReport};
    use cu_protocol::{Attempt, JobId, MetricValue, Timestamp};
    use serde_json::json;

    /// A job whose attempts ran for 61 s each.
    fn report(job: u32, state: JobState, attempts: u32) -> JobReport {
        let attempt = |number| {
            let mut attempt = AttemptReport::new(Attempt(number), Timestamp::from_millis(0));
            attempt.host = Some("node1".to_owned());
            attempt.started = Some(Timestamp::from_millis(0));
            attempt.ended = Some(Timestamp::from_millis(61_000));
            attempt.end = Some(AttemptEnd::ResumeRequested);
            attempt
        };
        let mut report = JobReport::new(JobId(job), state);
        report.attempts = (0..attempts).map(attempt).collect();
        report
    }

    /// Four jobs of different states; job N has `settings.lr` N / 10 and `metrics.loss` N.
    fn jobs() -> Vec<JobReport> {
        let states = [
            JobState::Completed,
            JobState::Running,
            JobState::Queued,
            JobState::Failed,
        ];
        let job = |(number, state): (u32, JobState)| {
            let mut job = report(number, state, number);
            let lr = f64::from(number) / 10.0;
            job.parameters.insert("lr".to_owned(), json!(lr));
            job.parameters.insert("loss".to_owned(), json!("l2"));
            if number > 0 {
                let loss = MetricValue::Float(f64::from(number));
                job.metrics.insert("loss".to_owned(), loss);
            }
            job
        };
        (0..).zip(states).map(job).collect()
    }

    fn chosen(filter: &Filter) -> Vec<u32> {
        let mut jobs = jobs();
        filter.keep(&mut jobs).expect("known keys");
        jobs.iter().map(|job| job.job.0).collect()
    }

    fn such_that(conditions: &[&str]) -> Filter {
        let parse = |text: &&str| text.parse().expect("a condition");
        Filter {
            conditions: conditions.iter().map(parse).collect(),
            ..Filter::default()
        }
    }

    #[test]
    fn states_add_up() {
        assert!(Filter::default().is_empty());
        assert_eq!(chosen(&Filter::default()), [0, 1, 2, 3]);
        let filter = Filter {
            failed: true,
            queued: true,
            state: vec![JobState::Completed],
            ..Filter::default()
        };
        assert_eq!(chosen(&filter), [0, 2, 3]);
    }

    #[test]
    fn conditions_narrow_down() {
        for (conditions, expected) in [
            (&["settings.lr<0.2"][..], &[0, 1][..]),
            (&["lr >= 0.1", "lr<=2e-1"], &[1, 2]),
            (&["settings.loss=l2"], &[0, 1, 2, 3]),
            // Without a loss it is neither small nor large, nor different.
            (&["metrics.loss<2"], &[1]),
            (&["metrics.loss!=2"], &[1, 3]),
            (&["metrics.loss="], &[0]),
            (&["metrics.loss!="], &[1, 2, 3]),
            (&["attempts>1"], &[2, 3]),
            (&["state=failed"], &[3]),
            (&["state!=failed", "job!=0"], &[1, 2]),
            (&["run_time>=122s"], &[2, 3]),
            (&["host~ode1"], &[1, 2, 3]),
            (&["metrics.unknown>0"], &[]),
        ] {
            assert_eq!(chosen(&such_that(conditions)), expected, "{conditions:?}");
        }
    }

    #[test]
    fn unknown_keys_and_values_are_refused() {
        for (condition, words) in [
            ("lrr<1", "lr"),
            ("settings.lrr<1", "settings.lr"),
            // Both a setting and a metric.
            ("loss<1", "settings.loss"),
            ("state=done", "completed"),
            ("run_time>5", "unit"),
            ("attempts>many", "number"),
        ] {
            let error = such_that(&[condition]).keep(&mut jobs());
            let error = error.expect_err(condition).to_string();
            assert!(error.contains(words), "{condition}: {error}");
            assert!(error.contains(condition), "{condition}: {error}");
        }
        for text in ["", "lr", "<1", "=1"] {
            assert!(text.parse::<Condition>().is_err(), "{text}");
        }
    }
}
