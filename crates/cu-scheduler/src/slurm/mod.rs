//! Slurm, through its commands: sbatch, squeue, sacct, scancel, scontrol.
//!
//! Tested with versions 20.11, 22.05, 24.11 and 26.05, with and without accounting. The backend reads text
//! output only: JSON differs too much between versions. Nothing in a job calls a command of Slurm's.
//!
//! # What a job is
//! A batch script that sets a few variables and then `exec`s the command, so that the warning
//! (`--signal=B:…`) reaches the command itself. It is easy to read, and is `submit.sh` in the directory
//! of its submission. Submissions that are handed over together and need the same
//! become one job array, whose script is in the state directory; each task reads its command from
//! `start.sh` in the directory of its own submission. Output goes to `stdout` and `stderr` there,
//! with the messages of Slurm itself.
//!
//! Beside the variables of its submission, a command finds `CU_SUBMISSION` (its [`SubmissionName`]),
//! `CU_DEADLINE` (Unix seconds, if Slurm or we know of a time limit) and `CU_KILL_WAIT` (the seconds from
//! SIGTERM to SIGKILL: the cluster's `KillWait`). With [`SlurmOptions::output`] it finds `CU_STDOUT_COPY` and
//! `CU_STDERR_COPY`: the files to which it is to copy what it prints.
//!
//! # Watching
//! One `squeue` reports all jobs; `sacct` is asked for those that the controller has forgotten. A job that
//! neither knows is unknown for two minutes, since accounting may be late or away. Then it is gone, or
//! cancelled if accounting knows its array and it has no output: Slurm forgets a task that is cancelled
//! while it waits, but accounting knows each task that started. Without accounting it is gone when the
//! queue still lacks it some seconds later. A job is known by its id and its name,
//! because a controller that crashed may give ids again: `123_4#2` is the second of our jobs to which it
//! gave the id 123_4. A wait that time does not end, such as that of a job whose time limit no partition allows,
//! is [`ClusterState::Held`](crate::ClusterState::Held).
//!
//! # Files
//! `journal` in the state directory records which submission goes into which call of sbatch, before the
//! call is made, and then its outcome. `calls/` has the files of arrays, and of jobs that are to be
//! requeued. If the state directory is lost, [`find`](Scheduler::find) still finds submissions by the
//! names of jobs, and tasks of arrays by the script that Slurm keeps, until the controller forgets them.
//! If Slurm does not hand out the script of an array that may be alive, that is an error. A call of
//! sbatch that hangs just when the directory is lost can't be found. Tasks that have not started yet
//! fail without their `start.sh`.
//!
//! # Limits
//! - Slurm ends only the processes of a job that it knows (`ProctrackType`): without cgroups, children
//!   whose parent is dead may live on.
//! - Up to version 24.11 Slurm reports exit codes from 128 on as less by 128.
//! - A run is on one cluster of several (`--clusters`). Heterogeneous jobs are not supported.

mod avoid;
pub mod batch_options;
mod cancel;
mod client;
mod completing;
mod config;
mod examine;
mod files;
mod find;
mod hold;
mod job_id;
mod journal;
mod known;
mod limits;
mod lost;
mod names;
mod needs;
mod observe;
mod options;
mod output_copies;
mod pace;
mod preview;
mod quote;
#[cfg(test)]
mod recorded;
mod requeue;
mod row;
mod sacct;
mod sbatch;
mod script;
mod settings;
mod squeue;
mod state;
mod submit;

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use crate::cluster::Writer;
use crate::{
    Cancel, Capabilities, ClusterJobId, Error, Examine, ExitCodes, Finding, Found, Observation,
    Preview, Reach, Scheduler, Starts, Submission, SubmissionName, SubmitError, TimeLimits,
};
use client::Client;
use completing::Completing;
use journal::Journal;
use known::Line;
use observe::Missing;
pub use options::{Container, Environment, Output, Resume, SlurmOptions};
use pace::Pace;
use settings::Current;

/// The most submissions in a batch: these take seconds, even if each needs a call of its own.
const BATCH: usize = 1000;

/// Slurm as a [`Scheduler`].
#[derive(Debug)]
pub struct Slurm(Arc<Cluster>);

/// One Slurm cluster, and our knowledge of our jobs on it.
#[derive(Debug)]
struct Cluster {
    options: SlurmOptions,
    settings: Current,
    journal: Lazy,
    pace: Pace,
    missing: Missing,
    completing: Completing,
    /// The site refused an array and took one of its tasks as a job of its own.
    only_single_jobs: AtomicBool,
    /// Writes scripts and the journal.
    writer: Writer,
}

/// The journal, opened at the first submission or look-up: examining a cluster leaves no trace.
#[derive(Debug)]
struct Lazy {
    state_dir: PathBuf,
    journal: Mutex<Option<Journal>>,
}

impl Lazy {
    fn with<T>(&self, job: impl FnOnce(&mut Journal) -> Result<T, Error>) -> Result<T, Error> {
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        if journal.is_none() {
            let failed = |source| Error::State {
                path: self.state_dir.clone(),
                source,
            };
            cu_system::files::make_dir(&self.state_dir).map_err(failed)?;
            cu_system::files::own_directory(&self.state_dir).map_err(failed)?;
        }
        match &mut *journal {
            Some(journal) => job(journal),
            closed => job(closed.insert(Journal::open(&self.state_dir)?)),
        }
    }
}

impl Slurm {
    /// Asks the cluster for its version and settings. It asks again in every hour with a submission, and
    /// before it refuses a submission because of them.
    ///
    /// # Errors
    /// [`Error::Refused`] if an option can't be right, or this machine has no commands of Slurm;
    /// [`Error::Unavailable`] if the controller does not answer.
    pub async fn open(options: SlurmOptions) -> Result<Self, Error> {
        let refused = |reason: String| Error::Refused {
            scheduler: "Slurm".into(),
            reason,
        };
        options
            .check()
            .map_err(|wrong| refused(wrong.to_string()))?;
        let options = options.or_as_for_sbatch(|variable| std::env::var(variable).ok());
        options.check().map_err(|wrong| {
            refused(format!(
                "{wrong}; it was taken from the environment (`SBATCH_…`)"
            ))
        })?;
        let here = std::path::absolute(&options.state_dir).map_err(|source| Error::State {
            path: options.state_dir.clone(),
            source,
        })?;
        let options = SlurmOptions {
            state_dir: here,
            ..options
        };
        let settings = Current::read(&Client::new(&options)).await?;
        Ok(Self(Arc::new(Cluster {
            pace: Pace::new(options.poll),
            missing: Missing::default(),
            completing: Completing::default(),
            only_single_jobs: AtomicBool::new(false),
            writer: Writer::start("cu-slurm")?,
            journal: Lazy {
                state_dir: options.state_dir.clone(),
                journal: Mutex::new(None),
            },
            options,
            settings,
        })))
    }
}

impl Cluster {
    fn client(&self) -> Client {
        Client::new(&self.options)
    }

    /// Adds a line to the journal. A line that can't be written is found out again.
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
        let settings = self.settings.get();
        if let Some(version) = settings.config.version() {
            write!(out, " {version}")?;
        }
        if let Some(cluster) = settings.config.get("ClusterName") {
            write!(out, " (cluster \"{cluster}\")")?;
        }
        Ok(())
    }
}

#[async_trait]
impl Scheduler for Slurm {
    fn capabilities(&self) -> Capabilities {
        // What is put back into the queue must have ended before.
        let starts = match self.0.options.resume {
            Resume::Submit => Starts::WhenAJobEnds,
            Resume::Requeue => Starts::AtAnyTime,
        };
        let (limits, codes) = (TimeLimits::Coarse, ExitCodes::Kept);
        Capabilities::new(BATCH, limits, codes, Reach::OtherMachines).starting(starts)
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

#[async_trait]
impl Examine for Slurm {
    async fn examine(&self) -> Vec<Finding> {
        self.0.examine().await
    }

    /// Asks `sbatch --test-only`. The directories of the submissions need not exist.
    async fn preview(&self, batch: &[Submission]) -> Vec<Preview> {
        self.0.preview(batch).await
    }
}
