//! Why a job waits or is settled, as the rules see it. `words.rs` has the sentences.

use cu_protocol::{Attempt, Timestamp};

use super::job::Active;
use crate::{AttemptEnd, ExitRules, Limit};

/// Why no attempt of a job is with the scheduler.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reason<'a> {
    /// Nothing has happened to the job yet.
    New,
    /// The scheduler can't take the attempt now.
    Delayed { attempt: Attempt, reason: &'a str },
    /// The scheduler does not have the attempt. `unclear` came in place of its answer.
    NotSubmitted {
        attempt: Attempt,
        unclear: Option<&'a str>,
    },
    /// The scheduler refused the attempt, although it took one of the job before. It is submitted again
    /// until this time.
    RefusedForNow {
        attempt: Attempt,
        reason: &'a str,
        until: Timestamp,
    },
    /// The scheduler refused the attempt, and would again.
    Refused { attempt: Attempt, reason: &'a str },
    /// An operator gave the job fresh budgets.
    Retried,
    /// An operator stopped the job.
    Stopped,
    /// Early stopping ended the job.
    EndedEarly,
    /// Too many jobs of the run have failed.
    TooManyFailures(Limit),
    /// An attempt that had been given up delivered the results.
    LateResults(Attempt),
    /// The attempt ended.
    Ended(Ended<'a>),
    /// Somebody but our operator cancelled the attempt.
    CancelledOutside(Ended<'a>),
    /// The attempt ended, and `used` ends of this kind are more than allowed. No `limit` if none at all
    /// are allowed: then the end itself says enough.
    Exhausted {
        ended: Ended<'a>,
        used: u32,
        limit: Option<Limit>,
    },
    /// The attempt ended, and the job may not use more attempts or time.
    UsedUp { ended: Ended<'a>, limit: Limit },
    /// The attempt ended, the last of too many in a row without progress.
    Stuck { ended: Ended<'a>, limit: Limit },
}

/// An attempt that is over, and how it ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended<'a> {
    pub active: &'a Active,
    pub end: AttemptEnd,
    /// The rules of its job.
    pub rules: &'a ExitRules,
}

impl Reason<'_> {
    /// The limit that decided it.
    pub fn limit(&self) -> Option<Limit> {
        match self {
            Self::Exhausted { limit, .. } => *limit,
            Self::Stuck { limit, .. }
            | Self::UsedUp { limit, .. }
            | Self::TooManyFailures(limit) => Some(*limit),
            _ => None,
        }
    }
}
