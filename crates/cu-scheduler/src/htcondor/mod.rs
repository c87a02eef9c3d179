//! HTCondor, through its commands and one event log for the run.
//!
//! Submissions that need the same go into one submit description (`queue … from`). HTCondor starts a
//! script of ours, which runs the script of the attempt, so that no word of a command, a variable or a
//! path passes through HTCondor's quoting. Output goes to `stdout` and `stderr` in
//! the submission's directory.
//!
//! Beside the variables of its submission, an attempt finds `CU_SUBMISSION` (its [`SubmissionName`]) in its
//! environment, `CU_DEADLINE` (Unix seconds) if it has a time limit, and `CU_KILL_WAIT` (the seconds
//! from SIGTERM to SIGKILL: the [grace](HtcondorOptions::grace), or less if the machine allows no
//! more).
//!
//! # Nothing is started twice
//! HTCondor starts a job again after an eviction, a lost node, or the death of the process that
//! watched it (condor_shadow), then beside a copy that may still run. Our jobs forbid it:
//! the attribute `CuStarts` says how many times HTCondor may start them, and their requirements ask
//! for `JobRunCount < CuStarts`. So every start was asked for and is an attempt of its own, and an
//! eviction is an end: the next attempt goes on from the checkpoint.
//!
//! # Resuming
//! [`Resume`] chooses how an attempt follows another. A job that is put back in the queue stays
//! idle behind that same gate, which opens when it is handed in as
//! [`Submission::previous`].
//!
//! # Time limits, signals
//! HTCondor sends SIGTERM at the limit (`allowed_job_duration`), at an eviction and at a removal,
//! and SIGKILL after the [grace](HtcondorOptions::grace). It has no warning before the limit, so the
//! attempt's script starts a watcher that sends it. [`Cancel::Kill`] takes as long as
//! [`Cancel::Terminate`]: HTCondor kills at once only by forgetting the job while it runs.
//!
//! # Files
//! The state directory has `events.log`, `start` (what HTCondor starts), `descriptions/` (the
//! descriptions that were submitted) and `jobs/` (the script of each cluster job). If it is lost, jobs are
//! still found by the attribute `CuAttempt`, except attempts that went on in a job of their predecessor.
//!
//! # Memory
//! A submission that asks for no memory gets 1 GiB. HTCondor's own default is 1 MB, and it kills a job
//! that takes more.
//!
//! # Limits
//! Files are not transferred: jobs must see the run directory at the same path.

mod access_point;
mod ad;
mod attributes;
mod avoid;
mod description;
mod event;
mod event_log;
mod examine;
mod find;
mod holds;
mod options;
mod preview;
mod queue;
#[cfg(feature = "conformance")]
mod read_events;
mod remove;
mod resume;
mod script;
mod state;
mod submit;
pub mod submit_file;
mod table;
#[cfg(test)]
mod tests;
mod ticket;
mod watch;
mod why_queued;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use cu_system::files;

use crate::cluster::{self, Writer};
use crate::{
    Cancel, Capabilities, ClusterJobId, Error, Examine, ExitCodes, Finding, Found, Observation,
    Preview, Reach, Scheduler, Submission, SubmissionName, SubmitError, TimeLimits,
};
use event::Id;
use queue::Commands;
use ticket::Tickets;
use watch::Watch;

pub use access_point::check_here;
pub use options::{Environment, HoldPolicy, HtcondorOptions, Resume, Universe};
#[cfg(feature = "conformance")]
pub use read_events::read_events;

/// How long condor_version may take, which asks no daemon.
const VERSION_LIMIT: Duration = Duration::from_secs(30);

/// An HTCondor pool as a [`Scheduler`], seen from one of its access points.
#[derive(Debug)]
pub struct Htcondor {
    options: HtcondorOptions,
    /// Absolute, and text that HTCondor takes.
    state_dir: String,
    commands: Commands,
    /// The schedd that has the jobs, if the options or the settings name it.
    access_point: Option<String>,
    tickets: Tickets,
    watch: Watch,
    /// Writes scripts, tickets and descriptions.
    writer: Writer,
    /// Checksums of the headers that HTCondor parsed without a complaint.
    checked: Mutex<BTreeSet<u64>>,
}

impl Htcondor {
    /// Opens the state directory and asks HTCondor for its version. The pool need not answer yet.
    ///
    /// # Errors
    /// [`Error::Refused`] if an option can't be right, [`Error::State`] if the directory can't be used,
    /// [`Error::Unavailable`] if HTCondor's commands are not there.
    pub async fn open(mut options: HtcondorOptions) -> Result<Self, Error> {
        let refused = |reason: String| Error::Refused {
            scheduler: "HTCondor".into(),
            reason,
        };
        options
            .check()
            .map_err(|error| refused(error.to_string()))?;
        let as_text = |directory: &Path| {
            let path =
                std::path::absolute(directory).map_err(|source| state_error(directory, source))?;
            let no_text = || refused(format!("{} is not UTF-8", path.display()));
            let text = path.to_str().ok_or_else(no_text)?.to_owned();
            match description::path_refusal(&text, &options.universe) {
                Some(reason) => Err(refused(format!(
                    "HTCondor can't be given the directory {text}: {reason}"
                ))),
                None => Ok(text),
            }
        };
        let state_dir = as_text(&options.state_dir)?;
        if let Some(directory) = &mut options.initial_dir {
            *directory = as_text(directory)?.into();
        }
        let directory = PathBuf::from(&state_dir);
        options.state_dir.clone_from(&directory);
        prepare(&directory).map_err(|(path, source)| state_error(&path, source))?;
        let mut commands = Commands {
            directory: options.commands.clone(),
            start_in: directory.clone(),
            pool: "HTCondor".into(),
            schedd: options.access_point.clone(),
        };
        let version = commands.command("condor_version").limit(VERSION_LIMIT);
        let version = commands.answer(version).await?;
        let number = version.stdout.split_whitespace().nth(1).unwrap_or("?");
        commands.pool = format!("HTCondor {number}");
        let access_point = match &options.access_point {
            Some(named) => Some(named.clone()),
            None => access_point::name(&commands).await,
        };
        let tickets = Tickets::new(&directory);
        let watch = Watch::new(&directory, tickets.clone(), &options);
        Ok(Self {
            options,
            state_dir,
            commands,
            access_point,
            tickets,
            watch,
            writer: Writer::start("cu-htcondor")?,
            checked: Mutex::default(),
        })
    }

    /// Checks that the queue of the access point can be asked.
    ///
    /// # Errors
    /// [`Error::Unavailable`], with its words.
    pub async fn answers(&self) -> Result<(), Error> {
        let command = self.commands.at_schedd("condor_q").argument("-totals");
        self.commands.answer(command).await.map(drop)
    }

    /// All of a description but its items: equal for submissions that go into one.
    fn header(&self, submission: &Submission) -> String {
        self.header_off(submission, &submission.avoid_hosts)
    }

    /// The same, kept off these hosts.
    fn header_off(&self, submission: &Submission, hosts: &[String]) -> String {
        description::header(&self.options, &self.state_dir, &submission.resources, hosts)
    }

    /// The path `name` in the state directory.
    fn path(&self, name: &str) -> PathBuf {
        Path::new(&self.state_dir).join(name)
    }

    /// Whether HTCondor parsed this header before.
    fn is_checked(&self, header: &str) -> bool {
        let checked = self.checked.lock();
        let checked = checked.unwrap_or_else(PoisonError::into_inner);
        checked.contains(&description::checksum(header))
    }

    fn note_checked(&self, header: &str) {
        let checked = self.checked.lock();
        let mut checked = checked.unwrap_or_else(PoisonError::into_inner);
        checked.insert(description::checksum(header));
    }
}

/// Makes what must be there before anything is submitted: HTCondor would run jobs without a log.
fn prepare(directory: &Path) -> Result<(), (PathBuf, io::Error)> {
    let at = |path: &Path| {
        let path = path.to_path_buf();
        move |source| (path, source)
    };
    files::make_dir(directory).map_err(at(directory))?;
    files::own_directory(directory).map_err(at(directory))?;
    let log = directory.join("events.log");
    files::open_own(&log, files::new_file().append(true)).map_err(at(&log))?;
    let start = directory.join("start");
    let text = script::start(&directory.to_string_lossy());
    // A job may be starting: it must not find the script half written, nor held open for writing.
    if files::read_own(&start, text.len() as u64).is_ok_and(|before| before == text.as_bytes()) {
        return Ok(());
    }
    files::write_whole(&start, text.as_bytes(), files::PRIVATE_PROGRAM).map_err(at(&start))
}

fn state_error(path: &Path, source: io::Error) -> Error {
    Error::State {
        path: path.to_path_buf(),
        source,
    }
}

impl fmt::Display for Htcondor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.commands.pool)?;
        match &self.access_point {
            Some(name) => write!(out, " (access point \"{name}\")"),
            None => Ok(()),
        }
    }
}

#[async_trait]
impl Scheduler for Htcondor {
    fn capabilities(&self) -> Capabilities {
        Capabilities::new(
            5_000,
            TimeLimits::Coarse,
            ExitCodes::Kept,
            Reach::OtherMachines,
        )
    }

    async fn submit(&self, batch: &[Submission]) -> Vec<Result<ClusterJobId, SubmitError>> {
        cluster::submit(self, batch).await
    }

    async fn observe(&self, jobs: &[ClusterJobId]) -> Result<Vec<Observation>, Error> {
        self.watch.observe(&self.commands, jobs).await
    }

    async fn changed(&self) {
        self.watch.wait_for_change().await;
    }

    async fn find(&self, names: &[SubmissionName]) -> Result<Vec<Found>, Error> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        // A submission of a process that was killed may still be under way.
        let locked = submit::lock_submit(self).await;
        let _none_at_work = locked.map_err(|reason| self.commands.unavailable(reason))?;
        self.watch.find(&self.commands, names).await
    }

    async fn cancel(&self, jobs: &[ClusterJobId], _how: Cancel) -> Result<(), Error> {
        // Anything that is not a number would be a user's name to condor_rm.
        let ids: Vec<Id> = jobs.iter().filter_map(|job| job.0.parse().ok()).collect();
        let reason = "cancelled by its run";
        self.watch.remove(&self.commands, &ids, reason).await
    }
}

#[async_trait]
impl Examine for Htcondor {
    async fn examine(&self) -> Vec<Finding> {
        examine::examine(&self.commands, &self.options).await
    }

    /// Asks `condor_submit -dry-run`, which does not ask the pool.
    async fn preview(&self, batch: &[Submission]) -> Vec<Preview> {
        preview::preview(self, batch).await
    }
}
