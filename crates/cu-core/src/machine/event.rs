//! The closed list of events.

use std::time::Duration;

use cu_protocol::{Attempt, ExitRecord, Message, Sequence, Timestamp};
use cu_run_dir::Change;
use cu_scheduler::{ClusterJobId, Observation};
use serde::{Deserialize, Serialize};

/// Something that happened to a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A message of an attempt arrived, over its connection or through its outbox.
    Said {
        /// The attempt.
        attempt: Attempt,
        /// The message's number.
        sequence: Sequence,
        /// The message.
        message: Message,
    },
    /// An attempt's exit record was found in its directory.
    RecordFound {
        /// The attempt.
        attempt: Attempt,
        /// The record.
        record: ExitRecord,
    },
    /// The files of an attempt were read and passed on, and there was no exit record.
    RecordsRead {
        /// The attempt.
        attempt: Attempt,
        /// When the reading began: it has seen whatever was there by then.
        begun: Timestamp,
        /// Whether the files show that the program was started, or was about to be.
        #[serde(default)]
        started: bool,
        /// If not, the last lines of the attempt's standard error.
        #[serde(default)]
        last_words: Option<String>,
    },
    /// The output directory was missing before the attempt was submitted, and was made anew.
    OutputRemade {
        /// The attempt.
        attempt: Attempt,
    },
    /// The scheduler took the attempt, or turned out to have taken it.
    Submitted {
        /// The attempt.
        attempt: Attempt,
        /// The scheduler's name for it.
        cluster_job: ClusterJobId,
    },
    /// The scheduler refused the attempt, and would again.
    SubmitRejected {
        /// The attempt.
        attempt: Attempt,
        /// The scheduler's words.
        reason: String,
        /// Whether the reason can't pass by itself: this machine knows what it has.
        #[serde(default)]
        is_final: bool,
    },
    /// The scheduler can't take the attempt now. Nothing was submitted.
    SubmitDelayed {
        /// The attempt.
        attempt: Attempt,
        /// The scheduler's words.
        reason: String,
        /// When to ask again, if the scheduler answered that.
        retry_after: Option<Duration>,
    },
    /// It is not known whether the attempt was submitted.
    SubmitUncertain {
        /// The attempt.
        attempt: Attempt,
        /// What came in place of an answer.
        reason: String,
    },
    /// The scheduler was asked for the attempt's name and has no such submission.
    NotFound {
        /// The attempt.
        attempt: Attempt,
    },
    /// The scheduler reported the state of the attempt.
    Observed {
        /// The attempt.
        attempt: Attempt,
        /// The report.
        observation: Observation,
    },
    /// The scheduler, which had no room for the job's next attempt, has one job of the run less.
    RoomMade,
    /// An operator gave an order.
    Ordered(Order),
    /// The run was updated. It is recorded with the new budgets and plans, before a main process reads them.
    Updated {
        /// Which update it was.
        id: String,
        /// What it changed.
        changes: Vec<Change>,
    },
    /// The job was added to the run, by what decides which jobs come next. It is the first event of such a job; one
    /// that the run was made with has none.
    Added,
    /// A deadline has come: the next attempt is submitted, a cancellation is repeated, or a better
    /// witness is no longer awaited.
    TimePassed,
}

/// An operator's order to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// End it for good.
    Stop,
    /// Checkpoint, exit, and wait.
    Pause,
    /// Go on after a pause.
    Continue,
    /// Start again with fresh budgets after a failure or a cancellation.
    Retry,
    /// Checkpoint, exit, and be resumed at once.
    Checkpoint,
    /// End it for good, since too many jobs of the run have failed. No operator gives this order.
    GiveUp,
    /// End it as completed with the metrics that it has announced: it does not get better. Early stopping gives this
    /// order.
    EndEarly,
}
