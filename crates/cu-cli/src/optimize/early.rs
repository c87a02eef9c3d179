//! Ends jobs that don't get better, by what all jobs have announced.
//!
//! The series of announcements is in the files of the jobs: a message of which the main process did not hear in time is
//! in no store. So whoever opens the run next decides by the same values, and nothing of this is recorded but the order
//! to end a job.

use std::collections::{BTreeMap, BTreeSet};

use cu_core::{JobState, Operator, Reader, RunDir};
use cu_optimize::{Announcements, Direction, Stopper};
use cu_protocol::JobId;
use cu_run_dir::read_early_results;

use super::beside::Beside;
use crate::config::Wanted;
use crate::error::Result;

/// At most this many running jobs are looked at.
const MOST: usize = 100_000;

/// The jobs of a run, as far as they were looked at.
#[derive(Debug)]
pub struct Early {
    run: RunDir,
    metric: String,
    direction: Direction,
    stopper: Stopper,
    operator: Operator,
    announcements: Announcements,
    /// How long the file of each job was, and how many announcements it had.
    seen: BTreeMap<JobId, (u64, usize)>,
    /// The jobs that ran at the last look; `None` before the first.
    running: Option<BTreeSet<JobId>>,
    /// Those that were told to end.
    ended: BTreeSet<JobId>,
}

impl Early {
    /// What ends jobs of `run` early, through `operator`; `None` if nothing is to.
    pub fn new(run: &RunDir, wanted: &Wanted, operator: Operator) -> Option<Self> {
        Some(Self {
            run: run.clone(),
            metric: wanted.metric.clone(),
            direction: wanted.setup.direction,
            stopper: wanted.stopper.clone()?,
            operator,
            announcements: Announcements::new(),
            seen: BTreeMap::new(),
            running: None,
            ended: BTreeSet::new(),
        })
    }

    /// Takes in what `jobs` have announced since the last look, in the order of the announcements.
    fn hear(&mut self, jobs: impl Iterator<Item = JobId>) {
        let mut news = Vec::new();
        for job in jobs {
            let path = self.run.early_results(job);
            let length = path.metadata().map_or(0, |found| found.len());
            let (before, known) = self.seen.get(&job).copied().unwrap_or_default();
            if length == before {
                continue;
            }
            // A file that can't be read now is read at the next look.
            let Ok(series) = read_early_results(&path) else {
                continue;
            };
            let is_it = |(name, _): &&(String, String)| *name == self.metric;
            for announced in series.iter().skip(known) {
                let value = announced.metrics.iter().find(is_it);
                if let Some(value) = value.and_then(|(_, text)| text.parse::<f64>().ok()) {
                    news.push((announced.time.clone(), job, value));
                }
            }
            self.seen.insert(job, (length, series.len()));
        }
        news.sort_by(|(one, ..), (other, ..)| one.cmp(other));
        for (_, job, value) in news {
            self.announcements.announce(job.0 as usize, value);
        }
    }
}

impl Beside for Early {
    fn look(&mut self, reader: &Reader) -> Result<()> {
        let running = reader.running(MOST)?;
        let running: BTreeSet<_> = running.iter().map(|job| job.job).collect();
        let before = self.running.replace(running.clone());
        let settled: Vec<_> = match before {
            Some(before) => {
                let gone = before.difference(&running);
                let gone = gone.map(|job| Ok((*job, reader.job(*job)?.state)));
                gone.collect::<Result<_>>()?
            }
            None => reader
                .jobs()?
                .iter()
                .map(|job| (job.job, job.state))
                .collect(),
        };
        let settled = settled.into_iter().filter(|(_, state)| state.is_settled());
        let settled: Vec<_> = settled.collect();
        self.hear(
            settled
                .iter()
                .map(|(job, _)| *job)
                .chain(running.iter().copied()),
        );
        for (job, state) in settled {
            if state == JobState::Completed && !self.ended.contains(&job) {
                self.announcements.complete(job.0 as usize);
            }
        }
        let mut ends = Vec::new();
        for job in running.difference(&self.ended) {
            let trial = job.0 as usize;
            let judged = self
                .stopper
                .reason_to_end(trial, &self.announcements, self.direction);
            if let Some(reason) = judged {
                tracing::info!("job {job} is ended early: {reason}");
                ends.push(*job);
            }
        }
        if !ends.is_empty() {
            self.ended.extend(&ends);
            self.operator.end_early(ends);
        }
        Ok(())
    }
}
