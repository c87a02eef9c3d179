//! The errors of this crate, by what the caller can do about them.

use std::any::Any;
use std::path::PathBuf;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a run could not be made, read or continued.
///
/// `Display` leaves out the cause, which `source()` returns.
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
    /// The scheduler has attempts of this run.
    #[error("the run in {} has {jobs} in the scheduler's hands", path.display(), jobs = counted(*jobs))]
    HasAttempts {
        /// The run directory.
        path: PathBuf,
        /// How many jobs are queued or running.
        jobs: u32,
    },
    /// The file system of this directory has no locks, so two main processes could work on one run.
    #[error("the file system of {} has no locks", path.display())]
    NoLocks {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// No main process works on this run.
    #[error("no main process works on the run in {}: {reason}", path.display())]
    NoMainProcess {
        /// The run directory.
        path: PathBuf,
        /// The outcome of the last try.
        reason: String,
    },
    /// A main process works on this run, and does not answer: it is stopped, its machine hangs, or no network
    /// leads there from here.
    #[error("the main process of the run in {} does not answer: {silence}", path.display())]
    NoAnswer {
        /// The run directory.
        path: PathBuf,
        /// What did not answer, and for how long.
        silence: Silence,
    },
    /// A newer version of this software wrote the run.
    #[error("the run in {} was written by a newer version (format {found}; this version knows formats up to {known})", path.display())]
    NewerVersion {
        /// The run directory.
        path: PathBuf,
        /// The format it has.
        found: i64,
        /// The newest format that we know.
        known: i64,
    },
    /// The store can't be read: it is damaged, or not a store.
    #[error("the store {} is damaged: {reason}", path.display())]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The store could not be written. Whatever happened since the last commit is lost: end the main
    /// process, and resume the run.
    #[error("can't record in {}", path.display())]
    Record {
        /// The database.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The run, or something in its directory that is acted on, is not this user's alone.
    #[error(transparent)]
    Untrusted(#[from] cu_run_dir::Untrusted),
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
        /// The operation, as in "can't read".
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
        /// For how long.
        after: std::time::Duration,
        /// Its last answer.
        reason: String,
    },
    /// The backend has ended, while the run goes on. The run is as it was recorded; resume it.
    #[error("{reason}")]
    BackendEnded {
        /// The backend, and how it ended.
        reason: String,
    },
    /// A part of the main process has panicked: a bug of ours, or of a backend. The run is as it was
    /// recorded; resume it.
    #[error("a part of the main process panicked, which is a bug: {reason}")]
    Died {
        /// The message of the panic.
        reason: String,
    },
    /// The operating system refused something that concerns no single file: threads, memory, file
    /// descriptors. The run is as it was recorded.
    #[error("can't {what}")]
    System {
        /// The operation, as in "can't read".
        what: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// There is no such job in this run.
    #[error("there is no job {job} in this run: {}", jobs_of(*jobs))]
    NoJob {
        /// The job.
        job: cu_protocol::JobId,
        /// How many there are.
        jobs: u32,
    },
    /// The plan can't be made into a run.
    #[error("{0}")]
    Plan(String),
}

impl From<cu_run_dir::Error> for Error {
    fn from(error: cu_run_dir::Error) -> Self {
        match error {
            cu_run_dir::Error::Read { path, source } => Self::Read { path, source },
            cu_run_dir::Error::File { what, path, source } => Self::File { what, path, source },
            cu_run_dir::Error::Untrusted(untrusted) => Self::Untrusted(untrusted),
            cu_run_dir::Error::Content { path, reason } => {
                let source = std::io::Error::new(std::io::ErrorKind::InvalidData, reason);
                Self::read(&path)(source)
            }
        }
    }
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

/// The message of a panic.
pub(crate) fn words(panic: Box<dyn Any + Send>) -> String {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (None, Some(text)) => text.clone(),
        (None, None) => "the panic has no message".to_owned(),
    }
}

/// A main process that does not answer, or that can't be reached from here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Silence {
    /// Its process number and host, if they are known.
    pub process: Option<(u32, String)>,
    /// What was awaited.
    pub reason: String,
    /// It has the request, and may carry it out when it goes on.
    pub has_the_request: bool,
}

impl std::fmt::Display for Silence {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some((process, host)) = &self.process {
            write!(out, "process {process} on {host}: ")?;
        }
        let kept = match self.has_the_request {
            true => "it may carry the request out once it goes on",
            false => "the request was not handed over",
        };
        write!(out, "{}; {kept}", self.reason)
    }
}

fn counted(jobs: u32) -> String {
    match jobs {
        1 => "1 job".to_owned(),
        jobs => format!("{jobs} jobs"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_shown_once() {
        let full = std::io::Error::other("disk full");
        let error = Error::file("write", std::path::Path::new("/results/a"))(full);
        assert_eq!(error.to_string(), "can't write /results/a");
        assert_eq!(
            cu_system::causes::in_one_line(&error),
            "can't write /results/a: disk full"
        );
    }
}
