//! What can go wrong in a supervisor, by what the caller can do.

use std::path::{Path, PathBuf};

use cu_protocol::{Attempt, JobId};

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something of an attempt could not be done.
///
/// `Display` leaves out the cause, which `source()` returns; `cu_system::causes::in_one_line` shows both.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file of the run can't be read, written or trusted.
    #[error(transparent)]
    RunDir(#[from] cu_run_dir::Error),
    /// Another file could not be used.
    #[error("can't {what} {}", path.display())]
    File {
        /// What was tried: `read`, `write`, …
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The operating system refused something that concerns no single file.
    #[error("can't {what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// The job asks for a program that can't be started. The text names it and says what to do.
    #[error("{0}")]
    Program(String),
    /// The job's environment could not be activated. The text says which step failed on which host.
    #[error("{0}")]
    Activation(String),
    /// The main process has not submitted this attempt. Nothing was made for it.
    #[error("attempt {attempt} of job {job} was not submitted: {}", newest.map_or_else(
        || "no attempt was".to_owned(),
        |newest| format!("the newest is attempt {newest}"),
    ))]
    NotSubmitted {
        /// The job.
        job: JobId,
        /// The attempt that was to be started.
        attempt: Attempt,
        /// The newest that was submitted, if any was.
        newest: Option<Attempt>,
    },
}

impl Error {
    pub(crate) fn file(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { what, path, source }
    }

    pub(crate) fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}
