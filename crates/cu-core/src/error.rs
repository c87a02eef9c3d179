//! What can go wrong with a run, by what the caller can do about it.

use std::any::Any;
use std::path::PathBuf;

use crate::operator::Silence;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a run could not be made, read or continued.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is a run in this directory already.
    #[error("there is a run in {} already", path.display())]
    RunExists {
        /// The run directory.
        path: PathBuf,
    },
    /// There is no run in this directory.
    #[error("there is no run in {}: it has no run.sqlite", path.display())]
    NoRun {
        /// The directory.
        path: PathBuf,
    },
    /// Another main process works on this run.
    #[error("the run in {} is in use by {holder}", path.display())]
    InUse {
        /// The run directory.
        path: PathBuf,
        /// Host and process that hold it.
        holder: String,
    },
    /// No main process works on this run.
    #[error("no main process works on the run in {}: {reason}", path.display())]
    NoMainProcess {
        /// The run directory.
        path: PathBuf,
        /// What was tried.
        reason: String,
    },
    /// A main process works on this run, and does not answer: it is stopped, or its machine hangs.
    #[error("the main process of the run in {} does not answer: {silence}", path.display())]
    NoAnswer {
        /// The run directory.
        path: PathBuf,
        /// Who says nothing, and for how long.
        silence: Silence,
    },
    /// A newer version of this software wrote the run.
    #[error("the run in {} was written by a newer version (format {found}, we know {known})", path.display())]
    NewerVersion {
        /// The run directory.
        path: PathBuf,
        /// The format it has.
        found: i64,
        /// The newest we know.
        known: i64,
    },
    /// The store can't be read: damaged, or not ours.
    #[error("the store {} is damaged: {reason}", path.display())]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The store could not be written. What happened since the last commit is known to nobody
    /// else: end, and resume the run.
    #[error("can't record in {}: {reason}", path.display())]
    Record {
        /// The database.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The run, or something in its directory that is acted on, is not this user's alone.
    #[error(transparent)]
    Untrusted(#[from] cu_supervisor::Untrusted),
    /// The run is a copy of another one that is still there.
    #[error(
        "the run in {} is a copy of the one in {}: each would take the other's jobs for its own",
        path.display(),
        original.display()
    )]
    Copy {
        /// The run directory.
        path: PathBuf,
        /// The run directory that it was copied from.
        original: PathBuf,
    },
    /// A file or directory of the run could not be read.
    #[error("can't read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file or directory of the run could not be made, examined or written.
    #[error("can't {what} {}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The scheduler did not answer for so long that the main process gives up. The run is as it
    /// was; resume it when the scheduler is back.
    #[error("the scheduler has not answered for {} s: {reason}", after.as_secs())]
    SchedulerUnreachable {
        /// How long.
        after: std::time::Duration,
        /// The last thing it said.
        reason: String,
    },
    /// The backend has ended, while the run goes on. The run is as it was recorded; resume it.
    #[error("{reason}")]
    BackendEnded {
        /// Which, and what of it.
        reason: String,
    },
    /// A part of the main process has panicked: a bug of ours, or of a backend. The run is as it was
    /// recorded; resume it.
    #[error("a part of the main process has died, which is a bug: {reason}")]
    Died {
        /// The words of the panic.
        reason: String,
    },
    /// The operating system refused something that concerns no single file: threads, memory, file
    /// descriptors. The run is as it was recorded.
    #[error("can't {what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// There is no such job in this run.
    #[error("there is no job {job} in this run: {}", jobs_of(*jobs))]
    NoJob {
        /// What was asked for.
        job: cu_protocol::JobId,
        /// How many there are.
        jobs: u32,
    },
    /// The plan can't be made into a run.
    #[error("{0}")]
    Plan(String),
}

fn jobs_of(count: u32) -> String {
    match count {
        0 => "it has none".to_owned(),
        1 => "it has job 0 alone".to_owned(),
        _ => format!("it has jobs 0 to {}", count - 1),
    }
}

impl Error {
    pub(crate) fn died(error: tokio::task::JoinError) -> Self {
        let reason = match error.try_into_panic() {
            Ok(panic) => words(panic),
            Err(error) => error.to_string(),
        };
        Self::Died { reason }
    }

    pub(crate) fn read(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Read { path, source }
    }

    pub(crate) fn file(
        what: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { what, path, source }
    }
}

/// The words of a panic.
pub(crate) fn words(panic: Box<dyn Any + Send>) -> String {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (None, Some(text)) => text.clone(),
        (None, None) => "it said nothing".to_owned(),
    }
}
