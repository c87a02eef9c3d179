//! Requests of an operator's command to a running main process, and the answers.
//!
//! Requests change a run. The state of a run can be read from its store at any time.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::JobId;
use crate::codec::{Decode, Encode};

/// The jobs that a request is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
pub enum Selection {
    /// Every job of the run.
    All,
    /// These.
    Jobs(Vec<JobId>),
}

/// `all jobs`, `job 3`, `jobs 3, 5`.
impl fmt::Display for Selection {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let jobs = match self {
            Self::All => return out.write_str("all jobs"),
            Self::Jobs(jobs) => jobs,
        };
        out.write_str(if jobs.len() == 1 { "job" } else { "jobs" })?;
        for (place, job) in jobs.iter().enumerate() {
            write!(out, "{} {job}", if place == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// A request of an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
pub enum OperatorRequest {
    /// Checks that the main process answers.
    Ping,
    /// Cancel these jobs: none of them is submitted again.
    Stop(Selection),
    /// Let running attempts checkpoint and exit; submit nothing of these jobs until `Continue`.
    Pause(Selection),
    /// Submit paused jobs again.
    Continue(Selection),
    /// Submit failed or cancelled jobs again, with fresh budgets.
    Retry(Selection),
    /// Let running attempts checkpoint and exit, and resume them at once.
    Checkpoint(Selection),
    /// End the main process; attempts go on.
    Detach,
}

/// The main process's answer, after it has recorded the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
pub enum OperatorAnswer {
    /// Done.
    Done {
        /// The number of jobs that it changed.
        jobs: u32,
    },
    /// Not done; the text is the reason.
    Refused(String),
}
