//! Slurm, through its commands: sbatch, squeue, sacct, scancel, scontrol.

mod cancel;
mod client;
mod config;
mod examine;
mod files;
mod find;
mod job_id;
mod journal;
mod known;
mod limits;
mod names;
mod needs;
mod observe;
mod options;
mod pace;
mod preview;
mod quote;
mod requeue;
mod row;
mod sacct;
mod sbatch;
mod script;
mod squeue;
mod state;
mod submit;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use crate::command::Command;
use crate::{
    Cancel, Capabilities, ClusterJobId, Error, ExitCodes, Finding, Found, Observation, Preview,
    Reach, Scheduler, Submission, SubmissionName, SubmitError, TimeLimits,
};
use client::Client;
use config::{Config, Partition};
use journal::Journal;
use known::Line;
use observe::Missing;
pub use options::{Container, Environment, Resume, SlurmOptions};
use pace::Pace;

/// Slurm as a [`Scheduler`].
#[derive(Debug)]
pub struct Slurm(Arc<Cluster>);

/// One Slurm cluster, and what we know of our jobs on it.
#[derive(Debug)]
struct Cluster {
    options: SlurmOptions,
    config: Config,
    partitions: Vec<Partition>,
    journal: Lazy,
    pace: Pace,
    missing: Missing,
}

/// The journal, opened when something is first submitted or looked up: to examine a cluster leaves
/// no trace.
#[derive(Debug)]
struct Lazy {
    state_dir: PathBuf,
    journal: Mutex<Option<Journal>>,
}

impl Lazy {
    fn with<T>(&self, job: impl FnOnce(&mut Journal) -> Result<T, Error>) -> Result<T, Error> {
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        if journal.is_none() {
            std::fs::create_dir_all(&self.state_dir).map_err(|source| Error::State {
                path: self.state_dir.clone(),
                source,
            })?;
        }
        match &mut *journal {
            Some(journal) => job(journal),
            closed => job(closed.insert(Journal::open(&self.state_dir)?)),
        }
    }
}

impl Slurm {
    /// Asks the cluster for its version and settings, once.
    ///
    /// # Errors
    /// [`Error::Refused`] if an option can't be right, or there are no Slurm commands here;
    /// [`Error::Unavailable`] if the controller does not answer.
    pub async fn open(options: SlurmOptions) -> Result<Self, Error> {
        let refused = |reason: String| Error::Refused {
            scheduler: "Slurm".into(),
            reason,
        };
        options
            .check()
            .map_err(|wrong| refused(wrong.to_string()))?;
        let here = std::path::absolute(&options.state_dir).map_err(|source| Error::State {
            path: options.state_dir.clone(),
            source,
        })?;
        let options = SlurmOptions {
            state_dir: here,
            ..options
        };
        let client = Client::new(&options);
        let show = |what: &str| {
            let command = client
                .command("scontrol")
                .arguments(["--oneliner", "show", what]);
            client.ask(command)
        };
        let config = Config::parse(&show("config").await?.stdout);
        let partitions = Partition::parse_all(&show("partition").await?.stdout);
        Ok(Self(Arc::new(Cluster {
            pace: Pace::new(options.poll),
            missing: Missing::default(),
            journal: Lazy {
                state_dir: options.state_dir.clone(),
                journal: Mutex::new(None),
            },
            options,
            config,
            partitions,
        })))
    }

    /// What of this cluster will hurt, and what not: asked anew, for `cu doctor`.
    pub async fn examine(&self) -> Vec<Finding> {
        self.0.examine().await
    }

    /// What `batch` would be handed over as, and what `sbatch --test-only` says of it. Nothing is
    /// written anywhere; the folders of the submissions need not exist.
    pub async fn preview(&self, batch: &[Submission]) -> Vec<Preview> {
        self.0.preview(batch).await
    }
}

impl Cluster {
    fn client(&self) -> Client {
        Client::new(&self.options)
    }

    /// sbatch, with a person's own defaults for what our options leave open.
    fn sbatch(&self) -> Command {
        let options = &self.options;
        self.client().sbatch(|variable| match variable {
            "SBATCH_ACCOUNT" => options.account.is_some(),
            "SBATCH_PARTITION" => options.partition.is_some(),
            "SBATCH_QOS" => options.qos.is_some(),
            "SBATCH_RESERVATION" => options.reservation.is_some(),
            "SBATCH_CONSTRAINT" => options.constraint.is_some(),
            _ => false,
        })
    }

    /// Notes what was done. What can't be noted is found out again.
    fn note(&self, line: Line) {
        let noted = self.journal.with(|journal| {
            journal.note(line);
            Ok(())
        });
        // It was opened before, or there would be nothing to note.
        noted.ok();
    }
}

impl fmt::Display for Slurm {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl fmt::Display for Cluster {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Slurm")?;
        if let Some(version) = self.config.version() {
            write!(out, " {version}")?;
        }
        if let Some(cluster) = self.config.get("ClusterName") {
            write!(out, " (cluster \"{cluster}\")")?;
        }
        Ok(())
    }
}

#[async_trait]
impl Scheduler for Slurm {
    fn capabilities(&self) -> Capabilities {
        // What one array may hold; it takes well under a second.
        let batch = self.0.config.max_array_size().min(1000) as usize;
        Capabilities::new(
            batch,
            TimeLimits::Coarse,
            ExitCodes::Kept,
            Reach::OtherMachines,
        )
    }

    async fn submit(&self, batch: &[Submission]) -> Vec<Result<ClusterJobId, SubmitError>> {
        self.0.submit_all(batch).await
    }

    async fn observe(&self, jobs: &[ClusterJobId]) -> Result<Vec<Observation>, Error> {
        self.0.observe_all(jobs).await
    }

    async fn changed(&self) {
        self.0.pace.until_due().await;
    }

    async fn find(&self, names: &[SubmissionName]) -> Result<Vec<Found>, Error> {
        self.0.find_all(names).await
    }

    async fn cancel(&self, jobs: &[ClusterJobId], how: Cancel) -> Result<(), Error> {
        self.0.cancel_all(jobs, how).await
    }
}
