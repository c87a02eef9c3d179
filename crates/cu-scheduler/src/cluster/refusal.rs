//! What follows from a call to a cluster that came to nothing.

use std::time::Duration;

use cu_system::causes::in_one_line;

use super::Failure;
use crate::{Error, SubmissionName, SubmitError};

/// When asking again is worth it after a limit on jobs was reached.
const AFTER_A_LIMIT: Duration = Duration::from_secs(60);

/// Why a call came to nothing for all submissions that it carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The cluster refused them and would again. Other submissions are not concerned.
    Rejected {
        /// In the cluster's own words, with the file or the option at fault.
        reason: String,
    },
    /// There are too many jobs; fewer may be taken.
    Full {
        /// In the cluster's own words.
        reason: String,
    },
    /// Nothing was taken, and other submissions would fare no better now.
    Unavailable {
        /// In the cluster's own words.
        reason: String,
        /// When asking again is worth it, if that is known.
        retry_after: Option<Duration>,
    },
    /// Nobody knows whether they were taken.
    Uncertain {
        /// What happened instead of an answer.
        reason: String,
    },
}

impl Refusal {
    /// [`Refusal::Rejected`] for this reason.
    pub fn rejected(reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self::Rejected { reason }
    }

    /// [`Refusal::Full`] for this reason.
    pub fn full(reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self::Full { reason }
    }

    /// [`Refusal::Unavailable`] for this reason, without a time.
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self::Unavailable {
            reason: reason.into(),
            retry_after: None,
        }
    }

    /// [`Refusal::Uncertain`] for this reason.
    pub fn uncertain(reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self::Uncertain { reason }
    }

    /// What follows from a submit command that did not run to its end.
    #[must_use]
    pub fn of_failure(failure: Failure) -> Self {
        match failure {
            Failure::NotStarted { .. } => Self::unavailable(failure.to_string()),
            Failure::TimedOut { .. } | Failure::GaveUp { .. } | Failure::Broken { .. } => {
                Self::uncertain(failure.to_string())
            }
        }
    }

    /// The error of the submission `name`.
    #[must_use]
    pub fn of(self, name: &SubmissionName) -> SubmitError {
        let name = name.clone();
        match self {
            Self::Rejected { reason } => SubmitError::Rejected { name, reason },
            Self::Full { reason } => SubmitError::Unavailable {
                name,
                reason,
                retry_after: Some(AFTER_A_LIMIT),
            },
            Self::Unavailable {
                reason,
                retry_after,
            } => SubmitError::Unavailable {
                name,
                reason,
                retry_after,
            },
            Self::Uncertain { reason } => SubmitError::Uncertain { name, reason },
        }
    }

    /// The refusal of the submissions that were to follow in calls of their own; `None` if these calls
    /// are worth making. A cluster that is away for one is away for all, and each call may take as
    /// long as the first.
    #[must_use]
    pub fn of_the_rest(&self) -> Option<Self> {
        match self {
            Self::Rejected { .. } => None,
            Self::Full { .. } | Self::Unavailable { .. } => Some(self.clone()),
            Self::Uncertain { reason } => Some(Self::unavailable(format!(
                "the outcome of the call before is not known: {reason}"
            ))),
        }
    }
}

/// An error before the submit command was started: nothing was submitted.
impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::unavailable(in_one_line(&error))
    }
}
