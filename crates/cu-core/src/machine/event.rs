//! The closed list of what can happen to a job.

use std::time::Duration;

use cu_protocol::{Attempt, ExitRecord, Message, Sequence, Timestamp};
use cu_scheduler::{ClusterJobId, Observation};
use serde::{Deserialize, Serialize};

/// What happened to a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// An attempt said something, over its connection or by its outbox.
    Said {
        /// Which attempt.
        attempt: Attempt,
        /// The message's number.
        sequence: Sequence,
        /// What it said.
        message: Message,
    },
    /// An attempt's exit record was found in its directory.
    RecordFound {
        /// Which attempt.
        attempt: Attempt,
        /// The record.
        record: ExitRecord,
    },
    /// The files of an attempt were read, all that they hold was told, and there was no exit record.
    RecordsRead {
        /// Which attempt.
        attempt: Attempt,
        /// When the reading began: what was there by then was seen.
        begun: Timestamp,
        /// Whether they show that its program was started, or was about to be.
        #[serde(default)]
        started: bool,
        /// If not, the last lines of its standard error.
        #[serde(default)]
        last_words: Option<String>,
    },
    /// The output directory was missing before the attempt was submitted, and was made anew.
    OutputRemade {
        /// Which attempt.
        attempt: Attempt,
    },
    /// The scheduler took the attempt, or was found to have taken it.
    Submitted {
        /// Which attempt.
        attempt: Attempt,
        /// The scheduler's name for it.
        cluster_job: ClusterJobId,
    },
    /// The scheduler refused the attempt and would again.
    SubmitRejected {
        /// Which attempt.
        attempt: Attempt,
        /// Its words.
        reason: String,
    },
    /// The scheduler can't take the attempt now. Nothing was submitted.
    SubmitDelayed {
        /// Which attempt.
        attempt: Attempt,
        /// Its words.
        reason: String,
        /// When asking again is worth it, if it said so.
        retry_after: Option<Duration>,
    },
    /// Nobody knows whether the attempt was submitted.
    SubmitUncertain {
        /// Which attempt.
        attempt: Attempt,
        /// What happened instead of an answer.
        reason: String,
    },
    /// The scheduler was asked for the attempt's name and has no such submission.
    NotFound {
        /// Which attempt.
        attempt: Attempt,
    },
    /// The scheduler says what has become of the attempt.
    Observed {
        /// Which attempt.
        attempt: Attempt,
        /// Its words.
        observation: Observation,
    },
    /// An operator wants something of the job.
    Ordered(Order),
    /// A moment that was waited for has come: the next attempt is submitted, a cancellation
    /// repeated, a better witness given up.
    TimePassed,
}

/// What an operator wants of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// End it for good.
    Stop,
    /// Checkpoint, exit, and wait.
    Pause,
    /// Go on after a pause.
    Continue,
    /// A new chance after a failure or a cancellation.
    Retry,
    /// Checkpoint, exit, and be resumed at once.
    Checkpoint,
}
