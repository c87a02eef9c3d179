//! Ending jobs: one scancel for all of them.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::Cluster;
use super::job_id::JobId;
use super::known::Line;
use super::{row, state};
use crate::{Cancel, ClusterJobId, ClusterState, Error};

/// The most ids in one command line.
const IDS_AT_ONCE: usize = 1000;

/// The words of scancel about jobs that need no cancel any more.
const HARMLESS: [&str; 3] = [
    "already completing or completed",
    "Invalid job id specified",
    "Job/step already",
];

impl Cluster {
    pub(super) async fn cancel_all(&self, jobs: &[ClusterJobId], how: Cancel) -> Result<(), Error> {
        if jobs.is_empty() {
            return Ok(());
        }
        // A number that Slurm has given to another job meanwhile must not end that one.
        let Ok(queue) = self.queue().await else {
            return self.cancel_blindly(jobs, how).await;
        };
        let index = row::Index::new(&queue);
        // An answer may lack a job that is there.
        let is_missing = |id: &&ClusterJobId| JobId::parse(id).is_some_and(|job| !index.lists(job));
        let missing: Vec<ClusterJobId> = jobs.iter().filter(is_missing).cloned().collect();
        self.cancel_blindly(&missing, how).await?;
        let states: Vec<(JobId, ClusterState)> = self.journal.with(|journal| {
            let state = |job: JobId| {
                let call = journal.known().call_of(job);
                let row = index.row(job, call.map(|call| call.job_name.as_str()));
                Some((job, state::of(row?)))
            };
            Ok(jobs
                .iter()
                .filter_map(JobId::parse)
                .filter_map(state)
                .collect())
        })?;
        let is_alive = |(_, state): &&(_, _)| !matches!(state, ClusterState::Ended(_));
        let alive = states.iter().filter(is_alive);
        let alive: Vec<JobId> = alive.map(|(job, _)| *job).collect();
        if alive.is_empty() {
            return Ok(());
        }
        self.missing.ended_by_us(&alive);
        self.end(&alive, how, &[]).await?;
        let waits = |state: &ClusterState| {
            matches!(
                state,
                ClusterState::Queued { .. } | ClusterState::Held { .. }
            )
        };
        let waited = states.iter().filter(|(_, state)| waits(state));
        self.missing.cancelled(waited.map(|(job, _)| *job));
        self.pace.something_is_expected();
        Ok(())
    }

    /// Ends jobs of which the queue says nothing: Slurm compares their names itself.
    async fn cancel_blindly(&self, jobs: &[ClusterJobId], how: Cancel) -> Result<(), Error> {
        let by_name = self.journal.with(|journal| {
            let mut by_name: BTreeMap<String, Vec<JobId>> = BTreeMap::new();
            for job in jobs.iter().filter_map(JobId::parse) {
                if let Some(call) = journal.known().call_of(job) {
                    by_name.entry(call.job_name.clone()).or_default().push(job);
                }
            }
            Ok(by_name)
        })?;
        for (name, jobs) in by_name {
            self.missing.ended_by_us(&jobs);
            self.end(&jobs, how, &[&format!("--name={name}")]).await?;
        }
        Ok(())
    }

    /// Ends those of `jobs` that pass the filter.
    async fn end(&self, jobs: &[JobId], how: Cancel, filter: &[&str]) -> Result<(), Error> {
        if how == Cancel::Kill {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            let kill = Line::Kill {
                at_unix_s: since.unwrap_or_default().as_secs(),
                jobs: jobs.iter().map(|job| job.to_cluster().0).collect(),
            };
            self.journal.with(|journal| journal.intend(kill))?;
            // The batch shell, its children and all steps. What waits has none and is not ended by
            // it, so that a cancel follows in either case.
            let kill = [&["--signal=KILL", "--full"], filter].concat();
            self.scancel(&kill, jobs).await?;
        }
        self.scancel(filter, jobs).await
    }

    pub(super) async fn scancel(&self, options: &[&str], jobs: &[JobId]) -> Result<(), Error> {
        let client = self.client();
        for some in jobs.chunks(IDS_AT_ONCE) {
            let ids = some.iter().map(JobId::to_string);
            let command = client.command("scancel").arguments(options).arguments(ids);
            let output = command
                .run()
                .await
                .map_err(|failure| super::client::unavailable(&failure))?;
            let is_serious = |line: &&str| {
                let harmless = HARMLESS.iter().any(|words| line.contains(words));
                !line.trim().is_empty() && !harmless
            };
            let serious = output.stderr.lines().find(is_serious);
            if let (Some(line), true) = (serious, output.code != 0) {
                let (scheduler, reason) = (self.to_string(), line.trim().to_owned());
                return Err(if line.contains("denied") {
                    Error::Refused { scheduler, reason }
                } else {
                    Error::Unavailable { scheduler, reason }
                });
            }
        }
        Ok(())
    }
}
