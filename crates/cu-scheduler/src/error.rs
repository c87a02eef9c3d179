//! The errors of schedulers, by what the caller can do about them.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::SubmissionName;

/// Why a call to a scheduler failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The scheduler did not answer. Nothing follows from that for any job: ask again later.
    #[error("{scheduler} is unavailable: {reason}")]
    Unavailable {
        /// The scheduler.
        scheduler: String,
        /// The words of the scheduler or its command.
        reason: String,
    },
    /// The backend itself has ended, by a bug of ours or because this machine lacks something. It
    /// answers no call any more. Open it again.
    #[error("the backend of {scheduler} has ended: {reason}")]
    Ended {
        /// The scheduler.
        scheduler: String,
        /// The part that has ended, and why.
        reason: String,
    },
    /// The answer could not be understood. Asking again may help; if not, it is a bug of ours.
    #[error("{scheduler} answered in a way we do not understand: {answer}")]
    Misunderstood {
        /// The scheduler.
        scheduler: String,
        /// The part of the answer that was not understood.
        answer: String,
    },
    /// The scheduler will not do this, now or later.
    #[error("{scheduler} refused: {reason}")]
    Refused {
        /// The scheduler.
        scheduler: String,
        /// The reason, in its own words.
        reason: String,
    },
    /// Another living process uses the backend's state: end it, or choose another directory.
    #[error("{} is in use by {owner}", state_dir.display())]
    InUse {
        /// The directory of the state.
        state_dir: PathBuf,
        /// The process, and its machine.
        owner: String,
    },
    /// A file of the backend's state can't be read or written.
    #[error("can't use {}", path.display())]
    State {
        /// The file or directory.
        path: PathBuf,
        /// The answer of the system.
        source: io::Error,
    },
    /// The operating system refused what the backend needs on this machine: threads, mostly.
    #[error("can't {what}")]
    System {
        /// The operation that failed.
        what: &'static str,
        /// The answer of the system.
        source: io::Error,
    },
}

#[cfg(any(feature = "local", feature = "cluster"))]
impl Error {
    /// The system refused a thread.
    pub(crate) fn no_thread(source: io::Error) -> Self {
        let what = "start a thread";
        Self::System { what, source }
    }
}

/// Why a submission got no cluster job id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The scheduler refused it and would again. Nothing was submitted.
    #[error("{name} was refused: {reason}")]
    Rejected {
        /// The submission.
        name: SubmissionName,
        /// The reason, in the scheduler's own words, with the file or the option at fault.
        reason: String,
    },
    /// Not now: the scheduler is away, or a limit on jobs is reached. Nothing was submitted.
    #[error("{name} can't be submitted now: {reason}")]
    Unavailable {
        /// The submission.
        name: SubmissionName,
        /// The reason, in the scheduler's own words.
        reason: String,
        /// When asking again is worth it, if that is known.
        retry_after: Option<Duration>,
    },
    /// It may or may not have been submitted: find it by its name before submitting it again.
    #[error("{name} may or may not have been submitted: {reason}")]
    Uncertain {
        /// The submission.
        name: SubmissionName,
        /// The event that took the place of an answer.
        reason: String,
    },
}
