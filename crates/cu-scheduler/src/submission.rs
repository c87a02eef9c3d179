//! Submissions: a command with its needs, and the name by which it is found again.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// The scheduler's name for a submission, as it prints it: `4575177`, `4575177_12`, `812.0`,
/// `local-1f0c9e5a-17`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ClusterJobId(pub String);

impl fmt::Display for ClusterJobId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Our name for a submission, by which it is found when its cluster job id is not known. It consists of
/// run, job and attempt, and is written `RUN/JOB/ATTEMPT`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubmissionName {
    run: String,
    job: u32,
    attempt: u32,
}

impl SubmissionName {
    /// The name of attempt `attempt` of job `job` of the run `run`.
    ///
    /// # Errors
    /// If `run` is empty, longer than 64 bytes, or holds anything but ASCII letters, digits, `-`
    /// and `_`: every scheduler takes these, in a name, a comment and an environment variable.
    pub fn new(
        run: impl Into<String>,
        job: u32,
        attempt: u32,
    ) -> Result<Self, InvalidSubmissionName> {
        let run = run.into();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if run.is_empty() || run.len() > 64 || !run.bytes().all(plain) {
            return Err(InvalidSubmissionName(run));
        }
        Ok(Self { run, job, attempt })
    }

    /// The run.
    #[must_use]
    pub fn run(&self) -> &str {
        &self.run
    }

    /// The job's number in the run.
    #[must_use]
    pub fn job(&self) -> u32 {
        self.job
    }

    /// The attempt's number in the job.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }
}

impl fmt::Display for SubmissionName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}/{}", self.run, self.job, self.attempt)
    }
}

/// A text that is not the name of a submission.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not the name of a submission: expected RUN/JOB/ATTEMPT, with RUN of letters, digits, - and _"
)]
pub struct InvalidSubmissionName(String);

impl FromStr for SubmissionName {
    type Err = InvalidSubmissionName;

    fn from_str(text: &str) -> Result<Self, InvalidSubmissionName> {
        let invalid = || InvalidSubmissionName(text.to_owned());
        let mut parts = text.split('/');
        let (Some(run), Some(job), Some(attempt), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(invalid());
        };
        Self::new(
            run,
            job.parse().map_err(|_| invalid())?,
            attempt.parse().map_err(|_| invalid())?,
        )
    }
}

/// One command to run, with all that a backend needs for it. Options that all submissions share
/// (partition, account, container, …) belong to the backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// The name by which it is found. No two submissions share a name.
    pub name: SubmissionName,
    /// Program and arguments, passed on unchanged: no shell reads them. The program is an
    /// absolute path; any other is rejected.
    pub command: Vec<String>,
    /// Added to the environment that the scheduler gives.
    pub environment: BTreeMap<String, String>,
    /// The directory in which the command starts. It exists.
    pub working_directory: PathBuf,
    /// Where the backend may leave files of this submission: its submission file, `stdout` and
    /// `stderr`. Exists, and is this submission's alone.
    pub directory: PathBuf,
    /// The needs of the command.
    pub resources: Resources,
    /// The submission of the same job that ended before. A backend that is set to put the same
    /// cluster job back in the queue does so with this one; others submit anew.
    pub previous: Option<ClusterJobId>,
    /// Hosts on which earlier attempts of the job could not start. A backend that can starts it on another
    /// host, if there is one. It is a wish: where it can't be met, the submission is not refused for it.
    pub avoid_hosts: Vec<String>,
}

/// The needs of a command.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Resources {
    /// Processors, at least 1.
    pub cpus: u32,
    /// Graphics processors.
    pub gpus: u32,
    /// Main memory in bytes; the cluster's default if `None`.
    pub memory_bytes: Option<u64>,
    /// How long it may run; the cluster's default if `None`.
    pub time_limit: Option<Duration>,
    /// The signal before the time limit. Needs a `time_limit`, by us or by the cluster.
    pub warning: Option<Warning>,
}

impl Default for Resources {
    fn default() -> Self {
        Self {
            cpus: 1,
            gpus: 0,
            memory_bytes: None,
            time_limit: None,
            warning: None,
        }
    }
}

/// A signal to the command's own process, some time before its time limit. Early is allowed (Slurm
/// looks every 30 seconds), late is not. If it is due before the start, it comes soon after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Warning {
    /// The signal.
    pub signal: Signal,
    /// How long before the limit.
    pub before_limit: Duration,
}

/// The signals a person can choose as a warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Signal {
    /// SIGHUP.
    Hup,
    /// SIGINT.
    Int,
    /// SIGTERM.
    Term,
    /// SIGUSR1.
    Usr1,
    /// SIGUSR2.
    Usr2,
}

impl Signal {
    /// The name without `SIG`, as schedulers write it: `USR1`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hup => "HUP",
            Self::Int => "INT",
            Self::Term => "TERM",
            Self::Usr1 => "USR1",
            Self::Usr2 => "USR2",
        }
    }
}
