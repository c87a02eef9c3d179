//! What an operator's command asks of a running main process, and what it hears.
//!
//! Only what changes a run is asked here; what a run *is* can be read from its store at any time.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::JobId;
use crate::codec::{Decode, Encode};

/// Which jobs are meant.
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

/// What an operator asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
pub enum OperatorRequest {
    /// "Are you there?"
    Ping,
    /// Cancel these jobs: none of them is submitted again.
    Stop(Selection),
    /// Let running attempts checkpoint and exit; submit nothing of these jobs until `Continue`.
    Pause(Selection),
    /// Take up paused jobs again.
    Continue(Selection),
    /// Give failed or cancelled jobs a new chance, with fresh budgets.
    Retry(Selection),
    /// Let running attempts checkpoint and exit, and resume them at once.
    Checkpoint(Selection),
    /// End the main process; attempts go on.
    Detach,
}

/// What the main process answers, after it has recorded the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
pub enum OperatorAnswer {
    /// Done, for so many jobs.
    Done {
        /// How many jobs it changed.
        jobs: u32,
    },
    /// Not done, for this reason.
    Refused(String),
}
