//! The lines of the journal: the state that the local backend needs after a crash.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::process::Leader;
use super::table::{self, Job};
use crate::{ClusterEnd, ClusterJobId, EndCause, Resources, Submission, SubmissionName};

/// The version that [`Header`] carries.
pub(super) const VERSION: u32 = 2;

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    /// The first line: the owner of the journal.
    Header(Header),
    /// Numbers below this one may be in use.
    Reserved { below: u64 },
    /// A submission was taken.
    Queued(Box<Queued>),
    /// It is about to be started. From here on it is never started again.
    Starting { number: u64, at_unix_ms: u64 },
    /// It was started.
    Running(Running),
    /// We ended it, for this cause.
    Ending { number: u64, cause: Cause },
    /// It ended.
    Ended(Ended),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Header {
    pub version: u32,
    /// The mark of this directory's processes. No other directory has the same one.
    pub token: String,
    /// The boot in which the journal was written: no process outlives it.
    pub boot: String,
    /// The machine on which it was written.
    pub host: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Queued {
    pub number: u64,
    /// The id that the caller got; `None` in version 1, where the number gives it.
    #[serde(default)]
    id: Option<ClusterJobId>,
    name: String,
    command: Vec<String>,
    environment: BTreeMap<String, String>,
    working_directory: PathBuf,
    directory: PathBuf,
    resources: Resources,
}

/// Identifies the process of an attempt. The pid alone may belong to another process by now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Running {
    pub number: u64,
    pub pid: i32,
    /// Field 22 of `/proc/PID/stat`: ticks since the boot.
    pub start_ticks: u64,
    /// The graphics processors it was given.
    pub gpus: Vec<u32>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Ended {
    pub number: u64,
    /// As in [`Queued`].
    #[serde(default)]
    id: Option<ClusterJobId>,
    pub name: String,
    pub cause: Cause,
    pub at_unix_ms: Option<u64>,
    pub text: String,
}

/// The causes that this backend distinguishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Cause {
    Exited(i32),
    Signaled(i32),
    TimeLimit,
    Cancelled,
    NotStarted,
    Unknown,
}

impl From<Cause> for EndCause {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::Exited(code) => Self::Exited(code),
            Cause::Signaled(signal) => Self::Signaled(signal),
            Cause::TimeLimit => Self::TimeLimit,
            Cause::Cancelled => Self::Cancelled,
            Cause::NotStarted => Self::NotStarted,
            Cause::Unknown => Self::Unknown,
        }
    }
}

impl Running {
    pub fn new(number: u64, leader: &Leader, gpus: &[u32]) -> Self {
        Self {
            number,
            pid: leader.pid(),
            start_ticks: leader.start_ticks(),
            gpus: gpus.to_vec(),
        }
    }

    pub fn line(number: u64, leader: &Leader, gpus: &[u32]) -> Line {
        Line::Running(Self::new(number, leader, gpus))
    }
}

impl Queued {
    pub fn new(number: u64, id: ClusterJobId, submission: &Submission) -> Self {
        Self {
            number,
            id: Some(id),
            name: submission.name.to_string(),
            command: submission.command.clone(),
            environment: submission.environment.clone(),
            working_directory: submission.working_directory.clone(),
            directory: submission.directory.clone(),
            resources: submission.resources.clone(),
        }
    }

    pub fn id(&self) -> ClusterJobId {
        let id = self.id.clone();
        id.unwrap_or_else(|| table::id_of_version_1(self.number))
    }

    /// Its end, at an unknown time.
    pub fn ended(&self, cause: Cause, text: String) -> Ended {
        Ended {
            number: self.number,
            id: self.id.clone(),
            name: self.name.clone(),
            cause,
            at_unix_ms: None,
            text,
        }
    }

    /// Converts it back to the submission; `None` if its name is invalid, as only in a damaged
    /// journal.
    pub fn into_submission(self) -> Option<Submission> {
        Some(Submission {
            name: self.name.parse().ok()?,
            command: self.command,
            environment: self.environment,
            working_directory: self.working_directory,
            directory: self.directory,
            resources: self.resources,
            previous: None,
            avoid_hosts: Vec::new(),
        })
    }
}

impl Ended {
    pub fn new(number: u64, job: &Job, cause: Cause, at: Option<SystemTime>, text: String) -> Self {
        Self {
            number,
            id: Some(job.id.clone()),
            name: job.name.to_string(),
            cause,
            at_unix_ms: at.map(unix_ms),
            text,
        }
    }

    pub fn id(&self) -> ClusterJobId {
        let id = self.id.clone();
        id.unwrap_or_else(|| table::id_of_version_1(self.number))
    }

    /// Its name. `None` only in a damaged journal.
    pub fn name(&self) -> Option<SubmissionName> {
        self.name.parse().ok()
    }

    #[cfg(test)]
    pub fn for_test(number: u64) -> Self {
        Self {
            number,
            id: None,
            name: String::new(),
            cause: Cause::Unknown,
            at_unix_ms: None,
            text: String::new(),
        }
    }

    pub fn to_end(&self) -> ClusterEnd {
        ClusterEnd {
            cause: self.cause.into(),
            at: self.at_unix_ms.map(from_unix_ms),
            text: self.text.clone(),
        }
    }
}

pub(super) fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn from_unix_ms(milliseconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(milliseconds)
}
