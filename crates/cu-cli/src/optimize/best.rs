//! The best jobs of a search, for people and programs.

use std::collections::BTreeMap;
use std::fmt::Write;

use cu_core::{JobReport, JobState, Reader, RunDir};
use cu_protocol::JobId;
use serde::Serialize;
use serde_json::{Map, Value};

use super::search::number;
use crate::config::Wanted;
use crate::error::Result;
use crate::text::plural;

/// The best job so far.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Best {
    job: u32,
    metric: String,
    value: f64,
    parameters: Map<String, Value>,
    /// Among how many jobs it is the best.
    #[serde(rename = "of")]
    judged: usize,
    /// How many jobs are completed and don't have the metric.
    without_metric: usize,
}

/// The best job of `run`, whose jobs are `jobs`. `None` if it does not optimise, or no job can be judged yet.
pub fn of(run: &RunDir, jobs: &[JobReport]) -> Option<Best> {
    let wanted = Wanted::of_run(run)?;
    let ranked = ranked(&wanted, jobs);
    let (job, value) = ranked.first()?;
    let completed = jobs.iter().filter(|job| job.state == JobState::Completed);
    Some(Best {
        job: job.job.0,
        metric: wanted.metric,
        value: *value,
        parameters: job.parameters.clone(),
        judged: ranked.len(),
        without_metric: completed.count() - ranked.len(),
    })
}

/// Whether `run` is a search for the best job.
pub fn is_wanted(run: &RunDir) -> bool {
    Wanted::of_run(run).is_some()
}

/// The best job of `run`. Reads nothing more of a run that does not optimise.
///
/// # Errors
/// If the run can't be read.
pub fn of_run(run: &RunDir, reader: &Reader) -> Result<Option<Best>> {
    Ok(match Wanted::of_run(run) {
        Some(_) => of(run, &reader.jobs()?),
        None => None,
    })
}

/// `rank 3 of 17 jobs by loss`, for each of the jobs of `run` that can be judged.
///
/// # Errors
/// If the run can't be read.
pub fn ranks(run: &RunDir, reader: &Reader) -> Result<BTreeMap<JobId, String>> {
    let Some(wanted) = Wanted::of_run(run) else {
        return Ok(BTreeMap::new());
    };
    let jobs = reader.jobs()?;
    let ranked = ranked(&wanted, &jobs);
    let of = plural(ranked.len() as u64, "job");
    let words = |rank: usize| format!("rank {rank} of {of} by {}", wanted.metric);
    let ranks = (1..).zip(&ranked);
    Ok(ranks
        .map(|(rank, (job, _))| (job.job, words(rank)))
        .collect())
}

/// The completed jobs that have the metric, best first; of equal ones the earlier.
pub fn ranked<'a>(wanted: &Wanted, jobs: &'a [JobReport]) -> Vec<(&'a JobReport, f64)> {
    let completed = jobs.iter().filter(|job| job.state == JobState::Completed);
    let judged = completed.filter_map(|job| {
        let value = job.metrics.get(&wanted.metric).and_then(number)?;
        Some((job, value))
    });
    let mut ranked: Vec<_> = judged.collect();
    let cost = |value| wanted.setup.direction.cost(value);
    ranked.sort_by(|(_, one), (_, other)| cost(*one).total_cmp(&cost(*other)));
    ranked
}

impl Best {
    /// `best of 17 jobs: job 12, loss = 0.031; layers = 3, rate = 0.01`
    pub fn in_words(&self) -> String {
        let mut text = format!(
            "best of {}: job {}, {} = {}",
            plural(self.judged as u64, "job"),
            self.job,
            self.metric,
            self.value
        );
        let mut mark = ';';
        for (name, value) in &self.parameters {
            // Writing to a String can't fail.
            let _ = write!(text, "{mark} {name} = {value}");
            mark = ',';
        }
        if self.without_metric > 0 {
            let _ = write!(
                text,
                "\n{} completed without the metric {}, and counted as failed",
                plural(self.without_metric as u64, "job"),
                self.metric
            );
        }
        text
    }
}
