//! What can go wrong with a scheduler, by what the caller can do about it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::SubmissionName;

/// Why a call to a scheduler came to nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The scheduler did not answer. Nothing follows from that for any job: ask again later.
    #[error("{scheduler} is unavailable: {reason}")]
    Unavailable {
        /// Which scheduler.
        scheduler: String,
        /// What it, or its command, said.
        reason: String,
    },
    /// The backend itself has ended, by a bug of ours or a lack of this machine's: no call will be
    /// answered any more. Open it again.
    #[error("the backend of {scheduler} has ended: {reason}")]
    Ended {
        /// Which scheduler.
        scheduler: String,
        /// What has ended.
        reason: String,
    },
    /// The answer could not be understood. Asking again may help; if not, it is a bug of ours.
    #[error("{scheduler} answered in a way we do not understand: {answer}")]
    Misunderstood {
        /// Which scheduler.
        scheduler: String,
        /// The part of the answer that was not understood.
        answer: String,
    },
    /// The request can't be met here, now or later.
    #[error("{scheduler} refused: {reason}")]
    Refused {
        /// Which scheduler.
        scheduler: String,
        /// In its own words.
        reason: String,
    },
    /// Another living process holds the backend's state: end it, or take another folder.
    #[error("{} is in use by {owner}", state_dir.display())]
    InUse {
        /// The folder that holds the state.
        state_dir: PathBuf,
        /// Which process, on which machine.
        owner: String,
    },
    /// A file of the backend's state can't be read or written.
    #[error("can't use {}", path.display())]
    State {
        /// Which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The operating system refused what the backend needs on this machine: threads, mostly.
    #[error("can't {what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

#[cfg(any(feature = "local", feature = "slurm", feature = "htcondor"))]
impl Error {
    /// The system gave no thread.
    pub(crate) fn no_thread(source: io::Error) -> Self {
        let what = "start a thread";
        Self::System { what, source }
    }
}

/// Why one submission did not give a cluster job id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The scheduler refused it and would again. Nothing was submitted.
    #[error("{name} was refused: {reason}")]
    Rejected {
        /// What was to be submitted.
        name: SubmissionName,
        /// In the scheduler's own words, with the file or the option at fault.
        reason: String,
    },
    /// Not now: the scheduler is away, or a limit on jobs is reached. Nothing was submitted.
    #[error("{name} can't be submitted now: {reason}")]
    Unavailable {
        /// What was to be submitted.
        name: SubmissionName,
        /// In the scheduler's own words.
        reason: String,
        /// When asking again is worth it, if that is known.
        retry_after: Option<Duration>,
    },
    /// It may or may not have been submitted: find it by its name before submitting it again.
    #[error("{name} may or may not have been submitted: {reason}")]
    Uncertain {
        /// What was to be submitted.
        name: SubmissionName,
        /// What happened instead of an answer.
        reason: String,
    },
}
